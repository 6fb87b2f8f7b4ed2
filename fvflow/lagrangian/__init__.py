"""Particles, trajectories and maps."""

from fvflow.lagrangian.bands import bands
from fvflow.lagrangian.problem import ParticleProblem
from fvflow.lagrangian.quantile_step import LineEnergy, QuantileStep, quantile_step
from fvflow.lagrangian.sampling import samples
from fvflow.lagrangian.stepping import EulerMaruyama, Jump, ParticleStepper, StochasticHeun

__all__ = [
    "EulerMaruyama",
    "Jump",
    "LineEnergy",
    "ParticleProblem",
    "ParticleStepper",
    "QuantileStep",
    "StochasticHeun",
    "bands",
    "quantile_step",
    "samples",
]
