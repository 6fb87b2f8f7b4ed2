"""Points, with numbers that belong to them, in .csv, .npy, .npz and .nc files."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.fields.grid_values import format_node
from fvflow.fields.number_file import ending, line_of, read_archive, read_array, read_rows, require_readable
from fvflow.input_files import admission
from fvflow.mesh import Array
from fvflow.mesh.arrays import freeze, real_numbers
from fvflow.mesh.netcdf_file import opened

POINTS = "points"
"""The name of the positions in an .npz and in a .nc file."""
VALUES = ("weight", "log_density", "log_det")
"""The numbers that a file may hold for each point: columns of a .csv file, arrays of an .npz or a .nc file."""
ENDINGS = (".csv", ".npy", ".npz", ".nc")
"""The formats, by the ending of the name."""
_AXES = (("x",), ("x", "y"), ("x", "y", "z"))
_WANTED = "the columns x[, y[, z]][, weight][, log_density][, log_det]"


@dataclass(frozen=True, eq=False)
class PointSet:
    """Points in space, and what a file says of each."""

    points: Array
    """Positions (point, dim)."""
    weight: Array | None = None
    """Weights of a sample (point,), not negative."""
    log_density: Array | None = None
    """Logarithm of a density at the points (point,); -inf where it is 0."""
    log_det: Array | None = None
    """Logarithm of the determinant of the map that brought the points where they are (point,)."""


def require_point_file(file: str) -> None:
    """Raise CaseError unless the name of a file has the ending of one of the formats."""
    if ending(file) not in ENDINGS:
        raise CaseError(f"{file}: is none of {', '.join(ENDINGS)}; convert it to one of them")


def read_points(path: str, dimension: int | None = None) -> PointSet:
    """The points in a file, and the values that it has for them; `dimension` is that of the points, if it matters.

    A .csv file has a header and the columns x[, y[, z]] and any of `VALUES`; an .npy file holds the positions
    (point, dim), or (point,) on a line; .npz and .nc files hold them as `points`, and arrays (point,) of the names
    in `VALUES`. Raises CaseError for whatever is wrong with the file.
    """
    require_point_file(path)
    readers: dict[str, Callable[[str], dict[str, Array]]] = {
        ".csv": _of_rows,
        ".npy": lambda file: {POINTS: read_array(file)},
        ".npz": _of_archive,
        ".nc": _of_variables,
    }
    values = readers[ending(path)](path)
    points = checked_points(path, values.pop(POINTS), "point")
    if dimension not in (None, points.shape[1]):
        raise CaseError(
            f"{path}: its points have {points.shape[1]} coordinate(s), the mesh {dimension} dimension(s); give one "
            "coordinate per axis"
        )
    return PointSet(points, **{name: _checked_values(path, name, values[name], len(points)) for name in values})


def holds_points(path: str) -> bool:
    """Whether a file is one of points: by the ending of its name, and a .nc file by what it holds."""
    if ending(path) != ".nc":
        return ending(path) in ENDINGS
    with opened(path) as data:
        return POINTS in data.variables and not data.is_result


def checked_points(name: str, positions: ArrayLike, noun: str) -> Array:
    """The positions (point, dim) from (point, dim), or from (point,) on a line; they are copied.

    `name` and `noun` are for messages: where they are from and what they are. Raises CaseError unless there are some
    and all are finite.
    """
    points = real_numbers(name, positions).copy()
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or not 1 <= points.shape[1] <= 3:
        raise CaseError(f"{name}: has the shape {points.shape}; give positions ({noun}, dim), dim 1, 2 or 3")
    if not len(points):
        raise CaseError(f"{name}: has no {noun}s; give one or more")
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise CaseError(f"{name}: {noun} {bad} is at {format_node(points[bad])}; give finite numbers")
    return freeze(points)


def _checked_values(path: str, name: str, values: Array, count: int) -> Array:
    """One value for each point; the logarithm of a density may be -inf, and no weight is negative."""
    if values.shape != (count,):
        raise CaseError(f"{path}: has {count} points and {name} of shape {values.shape}; give one for each")
    right = np.isfinite(values) | ((values == -np.inf) & (name == "log_density"))
    if not right.all():
        bad = int(np.argmin(right))
        raise CaseError(f"{path}: point {bad} has the {name} {values[bad]:g}; give finite numbers")
    if name == "weight" and (negative := values < 0).any():
        bad = int(np.argmax(negative))
        place = f"line {line_of(path, bad)}" if ending(path) == ".csv" else f"point {bad}"
        raise CaseError(f"{path}: {place} has the weight {values[bad]:g}; give weights >= 0")
    return freeze(values)


def _of_rows(path: str) -> dict[str, Array]:
    allowed = tuple((*axes, *some) for axes in _AXES for some in _subsets(VALUES))
    names, rows = read_rows(path, allowed, _WANTED, infinite=("log_density",))
    dimension = sum(name in _AXES[-1] for name in names)
    return {POINTS: rows[:, :dimension], **dict(zip(names[dimension:], rows.T[dimension:], strict=True))}


def _subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """All subsets of the names, in their order."""
    subsets: list[tuple[str, ...]] = [()]
    for name in names:
        subsets += [(*subset, name) for subset in subsets]
    return subsets


def _of_archive(path: str) -> dict[str, Array]:
    found = read_archive(path, (POINTS, *VALUES))
    _require_points(path, found)
    return found


def _of_variables(path: str) -> dict[str, Array]:
    require_readable(path)
    with opened(path, "a .nc file with a variable points(point, axis)", "it holds no points") as data:
        _require_points(path, data.variables)
        found = [name for name in (POINTS, *VALUES) if name in data.variables]
        for name in found:
            if 8 * (count := prod(data.shape_of(name))) > admission().largest:
                raise CaseError(f"{path}: {name} has {count} values; at most {admission().largest // 8} are read")
        return {name: data.numbers_or_nan(name) for name in found}


def _require_points(path: str, found: Collection[str]) -> None:
    if POINTS not in found:
        raise CaseError(f"{path}: has no array {POINTS}; give the positions (point, dim) this name")
