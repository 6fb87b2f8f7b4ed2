"""Particles, trajectories and maps."""

from fvflow.lagrangian.stepping import EulerMaruyama, Jump, ParticleStepper, StochasticHeun

__all__ = ["EulerMaruyama", "Jump", "ParticleStepper", "StochasticHeun"]
