"""What a file of trajectories holds, and how one is written."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fvflow.dataset.netcdf import flushed_rename, output_errors, require_name
from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Array, Mesh
from fvflow.system import sync_directory

AXES = "xyz"
Boundary = Literal["WALL", "PERIODIC", "OPEN"]
WALL: Boundary = "WALL"
PERIODIC: Boundary = "PERIODIC"
OPEN: Boundary = "OPEN"
_SAME_STEP = 1e-6  # relative difference below which intervals of time, or widths of cells, are equal
Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Trajectories:
    """What a file of trajectories holds: the fields of many runs on one grid at the same times.

    Raises CaseError for a mesh that is no grid, and for names that two things have.
    """

    grid: Mesh
    """The grid, in whose cells the fields are averages."""
    times: Array
    """The times (time,) of all runs."""
    samples: int
    """The number of runs."""
    fields: Mapping[str, int] = field(default_factory=lambda: {"rho": 0})
    """The order of each field by name: 0 is a number in each cell, 1 a vector, with one component for each axis."""
    numbers: Sequence[str] = ()
    """Names of numbers that each run has, such as drawn parameters or the drift of mass."""
    texts: Sequence[str] = ()
    """Names of texts that each run has, such as the hash of its case."""
    name: str = "fvflow"
    """The name of the data set."""
    boundaries: Sequence[tuple[Boundary, Boundary]] | None = None
    """What is at the lower and upper end of each axis; by default walls, or the other end of a periodic axis."""
    absorbing: NDArray[np.bool_] | None = None
    """Whether each cell absorbs (x[, y[, z]]), so that it holds nothing; None if none does."""
    attributes: Mapping[str, str | float | int] = field(default_factory=dict)
    """What holds for all runs: their common parameters, the case."""

    def __post_init__(self) -> None:
        if self.grid.edges is None:
            raise CaseError("the mesh is no grid, and files of trajectories hold grids; export to vtu, or run on a box")
        if self.grid.revolution is not None:
            raise CaseError("x of this mesh is a radius, and files of trajectories hold grids of the space itself")
        names = [*self.fields, *self.numbers, *self.texts, *self.attributes, "time", *AXES]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise CaseError(f"two things are called {', '.join(repeated)}; all names in a file must differ")

    @property
    def edges(self) -> tuple[Array, ...]:
        """Boundaries of the cells along x, y, z, each (edge,)."""
        return self.grid.edges or ()

    @property
    def centres(self) -> tuple[Array, ...]:
        """Centres of the cells along x, y, z, each (cell,) of its axis."""
        return tuple(0.5 * (edge[1:] + edge[:-1]) for edge in self.edges)

    @property
    def axes(self) -> str:
        """The names of the axes: x, xy or xyz."""
        return AXES[: len(self.edges)]

    @property
    def cells(self) -> tuple[int, ...]:
        """The numbers of cells along x, y, z."""
        return tuple(len(edge) - 1 for edge in self.edges)

    @property
    def sides(self) -> Sequence[tuple[Boundary, Boundary]]:
        """What is at the lower and the upper end of each axis."""
        if self.boundaries is not None:
            return self.boundaries
        ends = ((PERIODIC, PERIODIC) if axis in self.grid.periodic else (WALL, WALL) for axis in range(len(self.edges)))
        return list(ends)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a field in one run, x before y: (time, x[, y[, z]][, component])."""
        return (len(self.times), *self.cells, *(len(self.cells),) * self.fields[name])

    def require_even(self, layout: str) -> None:
        """Raise CaseError unless times and grid are evenly spaced, as some layouts demand."""
        spacings = {"times": np.diff(self.times)}
        spacings |= {f"cells along {axis}": np.diff(edge) for axis, edge in zip(self.axes, self.edges, strict=True)}
        for what, width in spacings.items():
            if len(width) and float(np.ptp(width)) > _SAME_STEP * float(width.mean()):
                raise CaseError(
                    f"the {what} are {width.min():.6g} to {width.max():.6g} apart, and {layout} demands an even "
                    f"spacing; {'save at even times' if what == 'times' else 'take equal cells'}, or choose npz"
                )


class TrajectoryWriter(ABC):
    """A file of trajectories that is written a block of runs at a time, and has its name once it is complete.

    Opening it raises CaseError for what the layout cannot hold and OutputError for a name that it cannot have. As a
    context it is closed at the end, or, after an error, discarded. A layout defines `endings`, `title`, `require`,
    `_open`, `_write` and `_finish`, which `base` documents.
    """

    endings: ClassVar[tuple[str, ...]]
    """Endings of the file's name, the first one the usual."""
    title: ClassVar[str]
    """What the layout is called in sentences."""
    library: ClassVar[str] = ""
    """What it needs of the extra `ml`; empty if that is nothing."""

    def __init__(self, path: str | os.PathLike[str], trajectories: Trajectories) -> None:
        self.path, self.trajectories = Path(path), trajectories
        self.require_name()
        self.require(trajectories)
        self.temporary = self.path.with_name(f"{self.path.name}.tmp")
        self._written = np.zeros(trajectories.samples, bool)
        with output_errors(self.path):
            self._open()

    @classmethod
    def check(cls, path: str | os.PathLike[str], trajectories: Trajectories) -> None:
        """Raise what opening a file would raise of its name, its contents and missing libraries, without opening it."""
        unopened = cls.__new__(cls)
        unopened.path, unopened.trajectories = Path(path), trajectories
        unopened.require_name()
        unopened.require(trajectories)
        if cls.library:
            imported(cls.library)

    def write(
        self,
        start: int,
        fields: Mapping[str, ArrayLike],
        numbers: Mapping[str, ArrayLike] | None = None,
        texts: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Write the runs from number `start` on, each field (sample, time, x[, y[, z]][, component]).

        `numbers` and `texts` are (sample,). Blocks may come in any order; fields are stored in single precision.
        Raises ValueError for names or shapes that are not those of the trajectories and for a run written before,
        OutputError if the disk refuses.
        """
        _require_names(self.trajectories.fields, fields)
        _require_names(self.trajectories.numbers, numbers or {})
        _require_names(self.trajectories.texts, texts or {})
        values = {name: np.asarray(part, np.float32) for name, part in fields.items()}
        count = len(next(iter(values.values())))
        for name, part in values.items():
            if part.shape != (expected := (count, *self.trajectories.shape(name))):
                raise ValueError(f"{name} has the shape {part.shape}; {expected} is needed")
        if not 0 <= start <= start + count <= self.trajectories.samples:
            raise ValueError(f"runs {start} to {start + count - 1} of {self.trajectories.samples}")
        if self._written[start : start + count].any():
            raise ValueError(f"runs {start} to {start + count - 1} are written already")
        with output_errors(self.path):
            own = {name: np.asarray(part, float) for name, part in (numbers or {}).items()}
            self._write(start, values, own, texts or {})
        self._written[start : start + count] = True

    def close(self) -> None:
        """Give the file its name; raises OutputError, and keeps the name from it, if a run is missing."""
        if not self._written.all():
            missing = int(np.argmin(self._written))
            self.discard()
            raise OutputError(
                f"{self.path}: run {missing} of {len(self._written)} was not written; write all of them before the end"
            )
        with output_errors(self.path):
            self._finish()
            self._rename()

    def discard(self) -> None:
        """Remove what was written so far."""
        with output_errors(self.path):
            self._finish()
            self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def require_name(self) -> None:
        """Raise OutputError for a name that the file cannot have."""
        require_name(self.path, self.endings, f"a file for {self.title}")

    def require(self, trajectories: Trajectories) -> None:  # noqa: B027
        """Raise CaseError for trajectories that the layout cannot hold; by default it holds all."""

    @abstractmethod
    def _open(self) -> None:
        """Make the temporary file, with all that is known before the first run."""

    @abstractmethod
    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        """Write a block of runs."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete and close the temporary file."""

    def _rename(self) -> None:
        flushed_rename(self.temporary, self.path)

    def _remove(self) -> None:
        self.temporary.unlink(missing_ok=True)
        sync_directory(self.path.parent)


def _require_names(wanted: Iterable[str], given: Mapping[str, Any]) -> None:
    """Raise ValueError unless a block has just the names that are wanted."""
    if set(wanted) != given.keys():
        raise ValueError(f"expected {', '.join(wanted) or 'nothing'}, got {', '.join(given) or 'nothing'}")


def x_first(values: ArrayLike, grid: Mesh) -> NDArray[Any]:
    """Fields in the order of a result, (..., cell) or (..., [z, y,] x), as arrays (..., x[, y[, z]])."""
    array, shape = np.asarray(values), grid.shape
    flat = array.shape[-1:] == (grid.cells,)
    leading = array.ndim - (1 if flat else len(shape))
    whole = array.reshape(*array.shape[:leading], *shape)
    return whole.transpose(*range(leading), *range(whole.ndim - 1, leading - 1, -1))


def imported(name: str) -> Any:
    """A library of the extra `ml`; raises CaseError if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise CaseError(
            f"this layout needs {name}, which is not installed; install it with pip install -e '.[ml]' in the folder "
            f"of fvflow, or with pip install {name}"
        ) from None
