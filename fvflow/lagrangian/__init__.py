"""Particles, trajectories and maps."""

from fvflow.lagrangian.sampling import samples

__all__ = ["samples"]
