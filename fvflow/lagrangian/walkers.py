"""Particles that walk through a domain, and what takes their steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from fvflow.mesh import Array, Index, Openings


class Walkers(NamedTuple):
    """Particles; steps change their arrays in place."""

    number: Any
    """The number of each in the run (particle,), which its random numbers belong to."""
    position: Array
    """Positions (particle, dim)."""
    cell: Index
    """The cell in which each is (particle,); -1 if it has been absorbed."""
    group: Index
    """The group of openings that has absorbed each (particle,); -1 while it moves."""

    @staticmethod
    def at(position: Array, cell: Index, openings: Openings | None) -> Walkers:
        """All particles of a run at its start, where those in absorbing cells are absorbed."""
        group = np.full(len(cell), -1)
        if openings is not None:
            group[:] = openings.closed[cell]
        return Walkers(np.arange(len(cell)), position, np.where(group < 0, cell, -1).astype(np.int32), group)

    def part(self, rows: Any) -> Walkers:
        """Some of them; arrays of their own unless the rows are a slice."""
        return Walkers(*(values[rows] for values in self))


class Draw(NamedTuple):
    """What random numbers of a step belong to, beside the particle."""

    step: int
    """The number of the step."""
    seed: np.uint64
    """The seed of the run."""


class Walk(ABC):
    """What takes steps along straight lines through a domain with walls."""

    @abstractmethod
    def leaves(self, walkers: Walkers, displacement: Array) -> Any:
        """Whether each step (particle,) would meet a wall."""

    @abstractmethod
    def take(self, walkers: Walkers, displacement: Array, deviation: Array, length: float, draw: Draw) -> int:
        """Take the steps, of the given displacements (particle, dim), in place.

        `deviation` (particle, dim) is the standard deviation of each step along each axis, `length` its time. Returns
        the number of a particle whose step could not be ended, -1 if all have been.
        """
