"""What a step of a linear method moves through each link, and out of each opening."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Array
from fvflow.problems import FokkerPlanck, State


class Crossing:
    """Adds up the fluxes of the stages of a step from a state, if that asks for them."""

    def __init__(self, problem: FokkerPlanck, state: State) -> None:
        self._problem = problem
        self.total: Array | None = None if state.crossed is None else np.zeros_like(state.crossed)
        """`State.crossed` (link + opening,) of the stages so far; None if the state does not ask for it."""

    def add(self, density: Array, time: float, length: float, axis: int | None = None) -> None:
        """Add what the flux of a density (cell,) moves in so long, with an axis what it moves along that."""
        if self.total is not None:
            self.add_flux(self._problem.crossing(density, time, axis), length)

    def add_flux(self, flux: Array, length: float) -> None:
        """Add what a flux (link + opening,) moves in so long."""
        if self.total is not None:
            self.total += length * flux
