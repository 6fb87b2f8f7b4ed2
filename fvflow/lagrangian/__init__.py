"""Particles, trajectories and maps."""
