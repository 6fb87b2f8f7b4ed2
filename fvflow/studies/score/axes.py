"""Arrays of densities from elsewhere, x before y, in the order of the cells; axes that were swapped are noticed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.studies.score.reference import Reference

_SAME = 1e-3  # difference of a coordinate from that of the reference, relative to a cell: files in single precision
_MUCH_NEARER = 0.1  # error of the transposed densities relative to that of those given, below which axes were swapped
_ORDER = "(b, t, x[, y[, z]]), x before y"


def cell_values(
    name: str, values: Array, reference: Reference, frames: tuple[int, ...], coordinates: Mapping[str, Array]
) -> Array:
    """Densities (member, frame, cell) from (member, time, x[, y[, z]]), or (member, time, cell) off grids.

    `coordinates` are those of the file by axis, as far as it has any. Raises CaseError for another number of axes or
    of cells, for coordinates that are not the centres, and for axes in another order: by their lengths or coordinates,
    or because the densities are much nearer to the reference when they are transposed.
    """
    mesh = reference.mesh
    wanted = mesh.shape[::-1] if mesh.edges is not None else (mesh.cells,)
    found = values.shape[2:]
    if found == (*wanted, 1):
        values, found = values[..., 0], wanted
    if len(found) != len(wanted):
        raise CaseError(
            f"{name}: has {len(found)} axes of space, {_times(found)}, the reference {_times(wanted)} cells; give "
            f"{_ORDER}"
        )
    if found != wanted:
        swapped = sorted(found) == sorted(wanted)
        reason = "its axes are swapped" if swapped else "it is on another grid"
        raise CaseError(
            f"{name}: has {_times(found)} cells, the reference {_times(wanted)}: {reason}; give the densities at the "
            f"centres of its cells, {_ORDER}"
        )
    if mesh.edges is None:
        return values
    _require_coordinates(name, mesh, coordinates)
    order = (0, 1, *range(values.ndim - 1, 1, -1))
    cells = values.transpose(order).reshape(*values.shape[:2], -1)
    if len(set(wanted)) < len(wanted):
        _require_not_transposed(name, cells, reference, frames)
    return cells


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes)) or "none"


def _require_coordinates(name: str, mesh: Mesh, coordinates: Mapping[str, Array]) -> None:
    centres = {axis: 0.5 * (edge[1:] + edge[:-1]) for axis, edge in zip("xyz", mesh.edges or (), strict=False)}
    for axis, given in coordinates.items():
        if axis not in centres or _same(given, centres[axis]):
            continue
        other = next((each for each in centres if each != axis and _same(given, centres[each])), "")
        reason = f"is {other} of the reference: the axes are swapped" if other else "is not that of the reference"
        raise CaseError(f"{name}: {axis} {reason}; give the densities at the centres of its cells, {_ORDER}")


def _same(given: Array, centre: Array) -> bool:
    if given.shape != centre.shape:
        return False
    width = float(np.diff(centre).min()) if len(centre) > 1 else max(abs(float(centre[0])), 1.0)
    return bool(np.abs(given - centre).max() <= _SAME * width)


def _require_not_transposed(name: str, cells: Array, reference: Reference, frames: tuple[int, ...]) -> None:
    """Raise CaseError if exchanging two axes of the same length makes the densities much nearer to the reference."""
    shape, volume = reference.mesh.shape, reference.mesh.volume
    axes = "zyx"[-len(shape) :]
    given = cells.mean(axis=0)
    true = np.stack([reference.density(frame) for frame in frames])
    error = float((np.abs(given - true) @ volume).sum())
    for first in range(len(shape)):
        for second in range(first + 1, len(shape)):
            if shape[first] != shape[second]:
                continue
            turned = np.swapaxes(given.reshape(-1, *shape), first + 1, second + 1).reshape(given.shape)
            if float((np.abs(turned - true) @ volume).sum()) < _MUCH_NEARER * error:
                raise CaseError(
                    f"{name}: is more than {1.0 / _MUCH_NEARER:g} times nearer to the reference with {axes[second]} "
                    f"and {axes[first]} exchanged: its axes are swapped; give {_ORDER}"
                )
