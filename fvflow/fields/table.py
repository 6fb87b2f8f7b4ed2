"""Tables: functions and densities given by values on a rectilinear grid, in a file or as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import MaxLen, MinLen
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.fields.base import Coverage, Sampling, ValuedDensity
from fvflow.fields.coverage import table_coverage
from fvflow.fields.density_types import OwnMass, Truncate
from fvflow.fields.expression import Formula, Parameters, SteadyFormula, require_finite
from fvflow.fields.function import CentralDifference, FunctionKind
from fvflow.fields.grid_values import GridValues, Method, Outside, format_node
from fvflow.fields.number_file import ending, shared
from fvflow.fields.sampling import cell_values
from fvflow.fields.table_file import read_grid
from fvflow.mesh import Array, FilePath, Mesh, Subset
from fvflow.mesh.arrays import freeze

_Corner = Annotated[tuple[float, ...], MinLen(1), MaxLen(3)]
_GAUSS_POINTS = 3  # per axis of a cell, as for a density by an expression


@dataclass(frozen=True, eq=False)
class TableFunction:
    """A function interpolated between values on a grid, which are loaded when it is first evaluated."""

    text: str
    load: Callable[[], GridValues]
    method: Method
    outside: Outside
    _latest: list[Array] = field(default_factory=list, init=False, repr=False)  # positions and the values there

    @property
    def names(self) -> frozenset[str]:
        """None: it depends on the position alone."""
        return frozenset()

    @property
    def regions(self) -> frozenset[str]:
        """None."""
        return frozenset()

    @cached_property
    def values(self) -> GridValues:
        """The values on the grid; raises CaseError if they cannot be loaded or are too few for the method."""
        values = self.load()
        values.require_nodes(self.method)
        return values

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim); raises CaseError as `GridValues.at` and `values`.

        Those at the latest positions are kept if nobody can change these, such as the cell centres of a mesh, where a
        drift whose other parts depend on time is evaluated in every step.
        """
        if self._latest and self._latest[0] is position:
            return self._latest[1]
        value = freeze(self.values.at(position, self.method, self.outside))
        require_finite(value, position, time, self.text)
        if not position.flags.writeable:
            self._latest[:] = position, value
        return value

    def along(self, axis: int, step: float) -> TableSlope:
        """Its derivative along an axis, by differences."""
        return TableSlope(self, axis, step, self)


@dataclass(frozen=True)
class TableSlope(CentralDifference):
    """The derivative of a table along an axis: central differences, to one side within a step of its ends."""

    table: TableFunction

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim); raises as the table does, at points that are outside of it."""
        lower, upper = self.table.values.axes[self.axis][[0, -1]]
        x, ahead, behind = position[:, self.axis], position.copy(), position.copy()
        ahead[:, self.axis] = np.where(x <= upper, np.minimum(x + self.step, upper), x)
        behind[:, self.axis] = np.where(x >= lower, np.maximum(x - self.step, lower), x)
        rise = self.function.at(ahead, parameters, time, regions) - self.function.at(behind, parameters, time, regions)
        run = ahead[:, self.axis] - behind[:, self.axis]
        return np.asarray(np.where(run > 0, rise / np.where(run > 0, run, 1.0), 0.0))

    def along(self, axis: int, step: float) -> TableSlope:
        """The difference of this one."""
        return TableSlope(self, axis, step, self.table)


@dataclass(frozen=True)
class TableFile:
    """A file with values on a rectilinear grid, and how they are interpolated: what tables have in common."""

    file: FilePath
    """Path of a .csv, .npy or .nc file, relative to the case file."""
    lower: _Corner | None = None
    """Lower corner of the grid of an .npy file, one coordinate per axis."""
    upper: _Corner | None = None
    """Upper corner of the grid of an .npy file, one coordinate per axis."""
    field: str | None = None
    """Name of the variable in a .nc file."""
    method: Method = "linear"
    """Interpolation: `linear` along each axis, or by `cubic` splines, which need four nodes per axis."""
    outside: Outside = "refuse"
    """Outside the grid: `refuse`, or take the value at the `nearest` point of its box."""

    def __post_init__(self) -> None:
        check_format(self.file, self.lower, self.upper, self.field)

    @property
    def files(self) -> tuple[str, ...]:
        """Path of the file."""
        return (self.file,)

    def function(self) -> TableFunction:
        """The function; the file is read when it is first evaluated."""
        return TableFunction(f"table {self.file}", self._load, self.method, self.outside)

    def _load(self) -> GridValues:
        grid = self.lower, self.upper, self.field
        return shared(self.file, ("table", *grid), lambda: read_grid(self.file, *grid))


@dataclass(frozen=True)
class Table(TableFile, FunctionKind):
    """A function interpolated between values on a rectilinear grid of one to three dimensions, read from a file.

    A .csv file has a header, the columns x[, y[, z]], value, and one row for each node of the product of the
    coordinates, sorted: along any axis first, upwards or downwards. An .npy file holds an array indexed [x, y, z] on
    evenly spaced nodes from `lower` to `upper`, ends included. In a .nc file `field` is a variable whose dimensions
    have coordinate variables, named x, y, z or with the attribute `axis`. Scharfetter-Gummel fluxes take a potential at
    cell centres, where a linear table is as good as its values; a cubic one is smooth and, for smooth functions, fourth
    order in the spacing of the nodes.
    """

    kind: Literal["table"] = "table"


@dataclass(frozen=True, eq=False)
class ArrayTable(FunctionKind):
    """A function interpolated between arrays, for a case made in Python; a case file uses `Table` instead.

    The arrays are copied. Raises CaseError unless they are finite and the axes increase.

    >>> x = np.linspace(0.0, 1.0, 3)
    >>> ArrayTable((x,), x**2).function().at(np.array([[0.5], [0.75]]), {}, 0.0)
    array([0.25 , 0.625])
    """

    axes: Sequence[ArrayLike]
    """Coordinates of the nodes along x, y, z, each (node,)."""
    values: ArrayLike
    """Values at the nodes (x node, y node, z node)."""
    method: Method = "linear"
    """Interpolation: "linear" along each axis, or by "cubic" splines."""
    outside: Outside = "refuse"
    """Outside the grid: "refuse", or take the value at the "nearest" point of its box."""
    kind: Literal["array-table"] = "array-table"
    _grid: GridValues = field(init=False, repr=False)

    def __post_init__(self) -> None:
        grid = GridValues.of("a table of arrays", self.axes, self.values)
        grid.require_nodes(self.method)
        for name, value in {"axes": grid.axes, "values": grid.values, "_grid": grid}.items():
            object.__setattr__(self, name, value)

    def function(self) -> TableFunction:
        """The function."""
        return TableFunction("a table of arrays", self._load, self.method, self.outside)

    def _load(self) -> GridValues:
        return self._grid


@dataclass(frozen=True)
class TableDensity(TableFile, ValuedDensity):
    """A density interpolated between values on a rectilinear grid; cell averages by three Gauss points per axis.

    Files are those of `Table`. The values must not be negative, nor what cubic splines make of them.
    """

    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    mass: OwnMass = None
    """Total mass to which the density is scaled; `integral` keeps its own. 1 by default, where that is all the same."""
    truncate: Truncate = 1e-3
    """Largest share of the mass that may lie outside the mesh, where it is cut off."""
    kind: Literal["table"] = "table"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        return _sampled(mesh, self.function(), self.sampling)

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage | None:
        """The mass of the table outside the mesh."""
        return table_coverage(facts.mesh, self.function().values, self.method)


@dataclass(frozen=True)
class ArrayTableDensity(ValuedDensity):
    """A density interpolated between arrays, for a case made in Python; a case file uses `TableDensity` instead."""

    table: ArrayTable
    """The values, which must not be negative."""
    sampling: Sampling = "average"
    """Cell averages, or values at the cell centres."""
    mass: float | Literal["integral"] | None = None
    """Total mass to which the density is scaled; `integral` keeps its own. 1 by default, where that is all the same."""
    truncate: float = 1e-3
    """Largest share of the mass that may lie outside the mesh, where it is cut off."""
    kind: Literal["array-table"] = "array-table"

    def sample(self, mesh: Mesh, parameters: Parameters) -> Array:
        """Density of each cell (cell,)."""
        return _sampled(mesh, self.table.function(), self.sampling)

    def coverage(self, facts: Any, reference: Any, integral: float) -> Coverage | None:
        """The mass of the table outside the mesh."""
        return table_coverage(facts.mesh, self.table.function().values, self.table.method)


Function = Formula | Table
"""What a case gives for a function of x, y, z, t: an expression or a table."""
SteadyFunction = SteadyFormula | Table
"""What a case gives for a function of x, y, z: an expression or a table."""


def check_format(file: str, lower: _Corner | None, upper: _Corner | None, field: str | None) -> None:
    """Raise CaseError unless the ending of a file is known and the keys that go with it are given, and no others."""
    kind = ending(file)
    if kind not in (".csv", ".npy", ".nc"):
        raise CaseError(f"{file}: is none of .csv, .npy and .nc; convert it to one of them")
    if kind == ".npy":
        if lower is None or upper is None or len(lower) != len(upper):
            raise CaseError(f"{file}: an .npy file has no coordinates; give lower and upper, one entry per axis each")
        for axis, a, b in zip("xyz", lower, upper, strict=False):
            if not a < b:
                raise CaseError(f"lower {a:g} is not below upper {b:g} along {axis}; swap or separate them")
    elif lower is not None or upper is not None:
        raise CaseError(f"{file}: has coordinates of its own; remove lower and upper, which are for .npy files")
    if kind == ".nc" and field is None:
        raise CaseError(f"{file}: which variable? Give its name as field")
    if kind != ".nc" and field is not None:
        raise CaseError(f"{file}: has no named variables; remove field, which is for .nc files")


def _sampled(mesh: Mesh, function: TableFunction, sampling: Sampling) -> Array:
    """Cell values (cell,) of a density; raises CaseError if a value of the table or of a cell is negative."""
    grid = function.values
    if grid.values.min() < 0:
        index = np.unravel_index(int(np.argmin(grid.values)), grid.values.shape)
        node = format_node([axis[i] for axis, i in zip(grid.axes, index, strict=True)])
        raise CaseError(f"{grid.name}: the density at {node} is {grid.values[index]:g}; it has to be >= 0")

    def value(at: Array, cells: Subset) -> Array:
        return function.at(at, {}, 0.0)

    density = cell_values(mesh, value, sampling, _GAUSS_POINTS)
    if function.method == "cubic" and density.min() < 0:
        cell = int(np.argmin(density))
        raise CaseError(
            f"{grid.name}: cubic splines overshoot to a density of {density[cell]:.3g} at "
            f"{format_node(mesh.centre[cell])}; use method: linear"
        )
    return density
