"""Particles, trajectories and maps."""

from fvflow.lagrangian.quantile_step import LineEnergy, QuantileStep, quantile_step
from fvflow.lagrangian.sampling import samples

__all__ = ["LineEnergy", "QuantileStep", "quantile_step", "samples"]
