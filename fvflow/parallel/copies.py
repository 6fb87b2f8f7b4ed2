"""Processes that MPI connects, each with the whole mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fvflow.parallel.alone import Alone
from fvflow.parallel.ranks import Ranks


class Copies(Ranks):
    """Ranks that take the same steps on copies of one state; with PETSc they share the rows of matrices.

    What they compute of their copies is the same to the last bit, so that nothing has to be reduced.
    """

    holds_all = True

    def __init__(self, ranks: Alone) -> None:
        vars(self).update(vars(ranks))
        self.division = None

    @property
    def share(self) -> float:
        """How many copies of the run there are on this machine."""
        return float(self._local)

    divide = Alone.divide
    total = Alone.total
    total_of_layers = Alone.total_of_layers
    largest = Alone.largest
    smallest = Alone.smallest
    some = Alone.some
    every = Alone.every
    at_extreme = Alone.at_extreme
    middle_line = Alone.middle_line
    refresh = Alone.refresh
    part = Alone.part
    holds_part = Alone.holds_part
    owned = Alone.owned
    gathered = Alone.gathered

    def collect(self, arrays: Mapping[str, Any], use: Callable[[Mapping[str, Any]], None]) -> None:
        """The first rank uses its own arrays."""
        self.on_first(lambda: use(arrays))
