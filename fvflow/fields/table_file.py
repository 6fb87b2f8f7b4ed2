"""Values on rectilinear grids in .csv, .npy and .nc files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import prod

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.grid_values import GridValues, format_node
from fvflow.fields.number_file import ending, line_of, read_array, read_rows, require_readable
from fvflow.input_files import admission
from fvflow.mesh import Array
from fvflow.mesh.netcdf_file import NetCDFFile, opened

Corner = tuple[float, ...]


def read_grid(file: str, lower: Corner | None, upper: Corner | None, field: str | None) -> GridValues:
    """The values on a grid in a file of any of the three formats; raises CaseError for whatever is wrong with it."""
    readers: dict[str, Callable[[], GridValues]] = {
        ".csv": lambda: _grid_of_rows(file),
        ".npy": lambda: _grid_of_array(file, lower or (), upper or ()),
        ".nc": lambda: _grid_of_variable(file, field or ""),
    }
    return readers[ending(file)]()


def _grid_of_array(file: str, lower: Corner, upper: Corner) -> GridValues:
    """The array indexed [x, y, z] on evenly spaced nodes from `lower` to `upper`, ends included."""
    values = read_array(file)
    if values.ndim != len(lower):
        raise CaseError(
            f"{file}: its array has {values.ndim} dimension(s), lower and upper have {len(lower)} entries; give one "
            "for each"
        )
    axes = [np.linspace(a, b, n) for a, b, n in zip(lower, upper, values.shape, strict=True)]
    return GridValues.of(file, axes, values)


def _grid_of_rows(file: str) -> GridValues:
    """The values in rows that run through a product of coordinates, along any axis first and in either direction."""
    allowed = (("x", "value"), ("x", "y", "value"), ("x", "y", "z", "value"))
    _, given = read_rows(file, allowed, "the columns x, value or x, y, value or x, y, z, value")
    order = np.lexsort(given[:, -2::-1].T)
    rows = given[order]
    nodes = rows[:, :-1]
    axes = [np.unique(column) for column in nodes.T]
    twice = (nodes[1:] == nodes[:-1]).all(axis=1)
    if twice.any():
        first = int(np.argmax(twice))
        lines = " and ".join(str(line_of(file, row)) for row in sorted(order[first : first + 2].tolist()))
        raise CaseError(f"{file}: has the node {format_node(nodes[first])} twice, in lines {lines}; keep one")
    shape = tuple(map(len, axes))
    _require_product(file, nodes, axes, shape)
    _require_sorted(file, given[:, :-1], axes, shape)
    return GridValues.of(file, axes, rows[:, -1].reshape(shape))


def _require_product(file: str, nodes: Array, axes: list[Array], shape: tuple[int, ...]) -> None:
    """Raise CaseError with the first node that is missing from sorted nodes (node, dim) of a product grid."""
    number, index = np.arange(len(nodes)), []
    for count in shape[::-1]:
        number, k = np.divmod(number, count)
        index.append(k)
    expected = np.stack([axis[k] for axis, k in zip(axes, index[::-1], strict=True)], axis=1)
    wrong = (nodes != expected).any(axis=1)
    missing = prod(shape) - len(nodes)
    if missing:
        place = int(np.argmax(wrong)) if wrong.any() else len(nodes)
        node = [axis[k] for axis, k in zip(axes, _unravelled(place, shape), strict=True)]
        others = f" and {missing - 1} other(s)" if missing > 1 else ""
        raise CaseError(
            f"{file}: has no row for the node {format_node(node)}{others} of the {' x '.join(map(str, shape))} "
            "coordinates; give a row for each"
        )


def _require_sorted(file: str, nodes: Array, axes: list[Array], shape: tuple[int, ...]) -> None:
    """Raise CaseError with the first row (node, dim) that leaves every order in which loops run through the grid."""
    index = [np.searchsorted(axis, column) for axis, column in zip(axes, nodes.T, strict=True)]
    index = [n - 1 - k if k[0] else k for k, n in zip(index, shape, strict=True)]  # downwards
    kept = 0
    for order in permutations(range(len(shape))):
        number = np.zeros(len(nodes), dtype=int)
        for axis in order:
            number = number * shape[axis] + index[axis]
        wrong = number != np.arange(len(nodes))
        if not wrong.any():
            return
        kept = max(kept, int(np.argmax(wrong)))
    node, before = (format_node(nodes[row]) for row in (kept, kept - 1))
    raise CaseError(
        f"{file}:{line_of(file, kept)}: the node {node} comes after {before}; sort the rows by their coordinates"
    )


def _unravelled(number: int, shape: tuple[int, ...]) -> list[int]:
    """The index of an entry along each axis, the last varying fastest, in integers of any size."""
    index = []
    for count in shape[::-1]:
        number, k = divmod(number, count)
        index.append(k)
    return index[::-1]


# .nc


def _grid_of_variable(file: str, field: str) -> GridValues:
    """A variable whose dimensions are coordinate variables, named x, y, z or with the attribute `axis`."""
    require_readable(file)
    with opened(file, "a .nc file with a variable on a grid", "it is no table") as data:
        if field not in data.variables:
            raise CaseError(f"{file}: has no variable {field}; it has {', '.join(data.variables) or 'none'}")
        dimensions = data.dimensions_of(field)
        axes = {name: _coordinate(data, field, name) for name in dimensions}
        letters = {_letter(data, name): name for name in dimensions}
        if len(letters) != len(dimensions) or set(letters) != set("xyz"[: len(letters)]) or not letters:
            raise CaseError(
                f"{file}: {field} has the dimension(s) {', '.join(dimensions) or 'none'}; name them x, y, z, or give "
                "their coordinate variables the attribute axis: X, Y or Z"
            )
        values = _bounded(data, field)
    order = [dimensions.index(letters[letter]) for letter in "xyz"[: len(letters)]]
    values, nodes = values.transpose(order), []
    for number, place in enumerate(order):
        axis = axes[dimensions[place]]
        upwards = axis[-1] >= axis[0]
        nodes.append(axis if upwards else axis[::-1])  # GridValues refuses what is not sorted
        values = values if upwards else np.flip(values, axis=number)
    return GridValues.of(file, nodes, values)


_UNITS = ("", "1", "m")  # of coordinates: none, or those of the mesh


def _coordinate(data: NetCDFFile, field: str, name: str) -> Array:
    """The coordinates (node,) of a dimension; raises CaseError if there are none or if they are degrees."""
    if data.dimensions_of(name) != (name,):
        raise CaseError(
            f"{data.path}: the dimension {name} of {field} has no coordinates; add a variable {name}({name})"
        )
    units = data.text(name, "units") if data.has_attribute(name, "units") else ""
    if units.lower().startswith("deg"):
        raise CaseError(f"{data.path}: {name} is in {units}; project the coordinates to lengths, as angles are no grid")
    if units.strip() not in _UNITS:
        raise CaseError(
            f"{data.path}: {name} is in {units}, and coordinates are taken in the unit of the mesh as they are; "
            "convert them to it and give the attribute units: 1 (1, m and none are allowed)"
        )
    return _bounded(data, name)


def _letter(data: NetCDFFile, name: str) -> str:
    """The axis that a coordinate variable is: x, y or z."""
    return (data.text(name, "axis") if data.has_attribute(name, "axis") else name).lower()


def _bounded(data: NetCDFFile, name: str) -> Array:
    """All values of a variable (..., dim), NaN where they are missing; raises CaseError if there are too many."""
    count = prod(data.shape_of(name))
    if 8 * count > admission().largest:
        raise CaseError(f"{data.path}: {name} has {count} values; at most {admission().largest // 8} are read")
    return data.numbers_or_nan(name)
