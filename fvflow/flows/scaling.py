"""What a flow says of runs of other sizes: finer and coarser ones, and those on several ranks."""

from __future__ import annotations

import math
from typing import ClassVar, Self

from fvflow.mesh import Extent


class FlowScaling:
    """The orders of a flow, and what of it several ranks can share."""

    kind: str
    refinement_fault: ClassVar[str] = ""
    """Why results on finer meshes and in shorter steps do not tell the error of this one; empty if they do."""

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """Figures of the whole run that converge as cells and steps shrink, so that their errors can be estimated."""
        return ()

    @property
    def undivided(self) -> str:
        """Why it is not run on several ranks; empty if it is."""
        return f"flow {self.kind} runs on one rank"

    @property
    def shares_rows(self) -> bool:
        """Whether several ranks that all hold the whole mesh share the rows of its linear systems."""
        return False

    reach: int = 1
    """How many layers of cells beside its own change a cell of a grid in one evaluation of the fluxes."""

    def divided_solver_fault(self, extent: Extent, steady: bool) -> str:
        """Why its solver is not run on several ranks, on a mesh of this extent; empty if it is."""
        return ""

    @property
    def order_in_time(self) -> float:
        """Order in time; infinite if no error of steps is known."""
        return math.inf

    @property
    def order_in_space(self) -> float | None:
        """Order in space, where the solution is smooth; None if the method declares none."""
        return None

    def in_intervals(self, factor: float) -> Self:
        """The same in intervals of time `factor` times as long, where it has such of its own, not those of `times`."""
        return self
