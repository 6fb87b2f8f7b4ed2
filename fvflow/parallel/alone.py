"""A single process: the communicator of a serial run, and the contract of one of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fvflow.parallel.division import Division

Array = NDArray[np.float64]
T = TypeVar("T")


class Alone:
    """One process, which holds the whole mesh. `Ranks` overrides what several have to do together.

    Arrays of cells are those that a process holds, layers of its neighbours included; reductions count each cell once.
    All processes have to call the same methods in the same order, but for `told` and `arrived`.
    """

    rank = 0
    size = 1
    division: Division | None = None
    """What each process holds of the grid; None before that is known, and if each holds all of it."""
    holds_all: bool = True
    """Whether each process holds the whole mesh."""

    def divide(self, layers: int, layer: int, depth: int = 1, periodic: bool = False) -> None:
        """Take a slab of a grid; raises CaseError if there are too few layers."""

    def total(self, sums: Callable[..., Array], *arrays: Array) -> float:
        """The sum over all cells of what `sums` gives by blocks (block,) of 4096 cells of the arrays (cell,)."""
        return added(sums(*arrays))

    def total_of_layers(self, values: Array) -> float:
        """The sum of values (layer,) of the layers."""
        return float(values.sum())

    def largest(self, values: Any) -> float:
        """The largest of values (cell,)."""
        return float(values.max())

    def smallest(self, values: Any) -> float:
        """The smallest of values (cell,)."""
        return float(values.min())

    def every(self, flag: bool) -> bool:
        """Whether it holds in all processes."""
        return flag

    def some(self, values: Any) -> bool:
        """Whether one of the values (cell,) is true, or not 0."""
        return bool(values.any())

    def at_extreme(self, index: int, key: float, values: Array) -> tuple[int, float]:
        """The number in the whole mesh, and the value, of the cell `index` of the process whose key is smallest."""
        return index, float(values[index])

    def middle_line(self, lines: Array) -> Array:
        """The line in the middle (1, along, 1) of lines (row, along, column), none of which is divided."""
        o, k = lines.shape[0] // 2, lines.shape[2] // 2
        return np.ascontiguousarray(lines[o : o + 1, :, k : k + 1])

    @property
    def slab(self) -> Division:
        """The `division`; only where there is one."""
        assert self.division is not None
        return self.division

    def neighbour(self, step: int) -> int | None:
        """The process below (-1) or above (1) this one; None if there is none."""
        return None

    def refresh(self, values: Array) -> Array:
        """Fetch the layers (cell,) that belong to neighbours, in place; returns the same array."""
        return values

    def shared(self, value: T) -> T:
        """The value of the first process."""
        return value

    def by_first(self, action: Callable[[], T]) -> T:
        """What an action returns on the first process, which alone runs it; an error is raised on all."""
        return action()

    def on_first(self, action: Callable[[], Any]) -> None:
        """Run an action on the first process; an error is raised on all."""
        action()

    def highest(self, value: float) -> float:
        """The largest number of all processes."""
        return value

    def collect(self, arrays: Mapping[str, Any], use: Callable[[Mapping[str, Any]], None]) -> None:
        """Let the first process use arrays (cell,) of the whole mesh, in pieces (`Pieced`) if it does not hold them.

        An error is raised on all.
        """
        use(arrays)

    def holds_part(self, value: Any) -> bool:
        """Whether a value is an array (cell,) of the cells that this process holds, but not the whole mesh."""
        return False

    def part(self, values: Any) -> Any:
        """The values (cell,) that this process holds of those of the whole mesh."""
        return values

    def joined(self, values: Array, counts: Sequence[int]) -> Array:
        """The values of all processes, one after the other, of which each gives as many as `counts` says."""
        return values

    def owned(self, cells: NDArray[Any]) -> Any:
        """Whether each of some cells (any,) that this process holds is its own, rather than a neighbour's."""
        return np.ones(len(cells), bool)

    def gathered(self, values: Array) -> Array:
        """The values (any,) of all processes, one after the other, however many each gives."""
        return values

    def require_same(self, value: str, sentence: str) -> None:
        """Raise CaseError with the sentence on all processes unless they all give the same value."""

    def arrived(self, seconds: float) -> bool:
        """Whether all processes come to this call within so many seconds."""
        return True

    def told(self) -> bool:
        """Whether another process tells the error that this one has met too."""
        return False

    def leave(self, code: int) -> None:
        """End all processes at once, with an exit code, if they cannot come to their ends together."""

    @property
    def share(self) -> float:
        """The share of a run that the processes of this machine hold."""
        return 1.0

    @property
    def cores(self) -> int | None:
        """The cores that this process may use among those of the machine; None if all."""
        return None


def added(sums: Array) -> float:
    """The sum of the sums of blocks (block,), added from the first to the last."""
    return float(np.add.accumulate(sums)[-1] if len(sums) > 1 else sums.sum())
