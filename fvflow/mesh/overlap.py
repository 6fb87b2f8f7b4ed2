"""From mesh to mesh: the mass of each cell goes to the cells that it overlaps, by exact volumes of intersection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import accumulate, combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.cell_geometry import FACES
from fvflow.mesh.core import Array, Index, Mesh, freeze, freeze_index

if TYPE_CHECKING:
    from scipy.sparse import coo_array

_Numbers = NDArray[np.int64]
_CHUNK = 2**15  # pairs of boxes at a time, so that their simplices stay in the cache
_ROUND_OFF = 1e-14  # a volume below this part of the smaller cell's is none


def transferred(source: Mesh, target: Mesh, density: Array) -> Array:
    """The density (target cell,) that a density (source cell,) becomes on the target mesh; no mass is lost.

    rho_L = sum_K m_K |K cap L| / (|L| sum_L |K cap L|) with m_K = |K| rho_K. Identical meshes return the density as it
    is. Raises CaseError as overlaps() does, and for mass in a cell that overlaps none.
    """
    lengths = _overlaps_by_axis(source, target)
    whole = ((mesh.points, mesh.cell_points, mesh.volume) for mesh in (source, target))
    shapes = (mesh.edges or () for mesh in (source, target)) if lengths else whole
    if all(map(np.array_equal, *shapes)):
        return freeze(density.copy())
    mass = source.volume * density
    if lengths:
        return freeze(_dealt_by_axis(source, mass, lengths) / target.volume)
    cell, other, volume = overlaps(source, target)
    total = np.bincount(cell, volume, source.cells)
    _require_covered(source, mass, total > 0)
    return freeze(np.bincount(other, mass[cell] * (volume / total[cell]), target.cells) / target.volume)


def overlaps(source: Mesh, target: Mesh) -> tuple[Index, Index, Array]:
    """The cells K of the source and L of the target that overlap, and the volumes |K cap L|: three arrays (pair,).

    Raises CaseError for meshes of different dimensions and for cells without a shape.
    """
    if lengths := _overlaps_by_axis(source, target):
        from scipy import sparse

        pairs = reduce(lambda so_far, length: sparse.kron(length, so_far, format="coo"), lengths)
        return freeze_index(pairs.row), freeze_index(pairs.col), freeze(pairs.data)
    cell, other, volume = _overlaps_of_simplices(source, target)
    real = volume > _ROUND_OFF * np.minimum(source.volume[cell], target.volume[other])
    return freeze_index(cell[real]), freeze_index(other[real]), freeze(volume[real])


def _require_covered(source: Mesh, mass: Array, covered: NDArray[np.bool_]) -> None:
    lost = np.flatnonzero(~covered & (mass != 0))
    if len(lost):
        place = ", ".join(f"{x:.4g}" for x in source.points[source.cell_points[lost[0], 0]])
        raise CaseError(f"a mass of {mass[lost].sum():.4g} is outside of the target mesh, near ({place}); enlarge it")


def _overlaps_by_axis(source: Mesh, target: Mesh) -> list[coo_array]:
    """The factors of the overlaps of two grids, one an axis; none for other meshes."""
    if source.dimension != target.dimension:
        raise CaseError(f"dimension {target.dimension} is not the {source.dimension} of the density; give it the same")
    return list(map(_line_overlaps, source.edges, target.edges)) if source.edges and target.edges else []


def _line_overlaps(edge: Array, other: Array) -> coo_array:
    """The lengths (interval, other interval) that the intervals between two sets of edges share."""
    cuts = np.unique(np.clip(np.concatenate([edge, other]), max(edge[0], other[0]), min(edge[-1], other[-1])))
    row, column = (np.searchsorted(each, cuts[:-1], side="right") - 1 for each in (edge, other))
    length = np.diff(cuts)
    real = length > _ROUND_OFF * np.minimum(np.diff(edge)[row], np.diff(other)[column])
    from scipy.sparse import coo_array

    return coo_array((length[real], (row[real], column[real])), shape=(len(edge) - 1, len(other) - 1))


def _dealt_by_axis(source: Mesh, mass: Array, lengths: list[coo_array]) -> Array:
    """The masses (target cell,) between grids, dealt out along one axis after the other."""
    from scipy.sparse import csr_array

    totals = [np.bincount(length.row, length.data, length.shape[0]) for length in lengths[::-1]]  # z first, as a field
    _require_covered(source, mass, reduce(np.logical_and.outer, [total > 0 for total in totals]).ravel())
    field = mass.reshape(source.shape)
    for length, total in zip(lengths[::-1], totals, strict=True):
        share = csr_array((length.data / total[length.row], (length.col, length.row)), length.shape[::-1])
        dealt = np.asarray(share @ field.reshape(len(field), -1))
        field = np.moveaxis(dealt.reshape(-1, *field.shape[1:]), 0, -1)
    return field.ravel()


def _overlaps_of_simplices(source: Mesh, target: Mesh) -> tuple[_Numbers, _Numbers, Array]:
    """K, L and |K cap L|, added up over their simplices, each with the sign of its orientation."""
    (cell, corner, det), (other_cell, other, other_det) = _simplices(source), _simplices(target)
    frame = np.linalg.inv(np.moveaxis(other[1:] - other[0], 2, 0))  # there the other is x_i >= 0, sum_i x_i <= 1
    parts = [(np.empty(0, np.int64), np.empty(0))]
    for here, there in _candidates(corner, other):
        inside = _det_inside(np.einsum("vap,pac->vcp", corner[:, :, here] - other[0][:, there], frame[there]))
        volume = inside * other_det[there] * np.sign(det[here]) / factorial(source.dimension)
        parts.append(_summed(cell[here] * target.cells + other_cell[there], volume))
    key, volume = _summed(*map(np.concatenate, zip(*parts, strict=True)))
    return key // target.cells, key % target.cells, np.abs(volume)


def _summed(key: _Numbers, volume: Array) -> tuple[_Numbers, Array]:
    once, place = np.unique(key, return_inverse=True)
    return once, np.bincount(place, volume, len(once)).astype(float)  # of no volumes, bincount makes integers


def _simplices(mesh: Mesh) -> tuple[_Numbers, Array, Array]:
    """Cell (simplex,), corner (vertex, axis, simplex) and det (simplex,); those near in space are near in memory."""
    corners, parts = (mesh.cell_points >= 0).sum(axis=1), []
    for count in np.unique(corners):
        alike = np.flatnonzero(corners == count)
        parts += [(alike, nodes) for nodes in _split(mesh.cell_points[alike, :count], mesh.dimension)]
    cell, nodes = map(np.concatenate, zip(*parts, strict=True))
    corner = mesh.points[nodes].transpose(1, 2, 0)
    det = np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0))
    solid = np.flatnonzero(np.abs(det) > _ROUND_OFF * mesh.volume[cell])
    from scipy.spatial import KDTree

    near = solid[KDTree(corner.mean(axis=0).T[solid], leafsize=1).indices]
    return cell[near], np.ascontiguousarray(corner[:, :, near]), det[near]


def _split(nodes: Index, dimension: int) -> list[Index]:
    """The nodes (cell, vertex) of one simplex after the other in cells (cell, corner); some are flat."""
    count = nodes.shape[1]
    if dimension == 2 or count == dimension + 1:
        return _fan(nodes) if dimension == 2 else [nodes]
    if count not in FACES:
        raise CaseError(f"cells of {count} corners have no volume to share; use cells of 4, 5, 6 or 8 corners")
    lowest = nodes.min(axis=1)
    return [np.column_stack([lowest, part]) for face in FACES[count] for part in _fan(nodes[:, face])]


def _fan(polygon: Index) -> list[Index]:
    """The triangles of polygons (polygon, corner) at their lowest node: neighbours cut a warped face alike."""
    turns = polygon.argmin(axis=1)[:, None] + np.arange(polygon.shape[1])
    turned = np.take_along_axis(polygon, turns % polygon.shape[1], axis=1)
    return [turned[:, [0, corner, corner + 1]] for corner in range(1, polygon.shape[1] - 1)]


def _candidates(corner: Array, other: Array) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Pairs of simplices whose boxes overlap, by going down the two trees of boxes side by side."""
    depth = (max(corner.shape[2], other.shape[2]) - 1).bit_length()
    boxes, others = _boxes(corner, depth), _boxes(other, depth)
    waiting = [(0, np.zeros(1, np.int64), np.zeros(1, np.int64))]
    while waiting:
        level, here, there = waiting.pop()
        for lower, minus_upper in zip(boxes[level], np.roll(others[level], corner.shape[1], axis=0), strict=True):
            meet = lower[here] + minus_upper[there] < 0
            here, there = here[meet], there[meet]
        if level == depth:
            yield here, there
        else:
            children = np.ravel(2 * here[:, None] + [0, 0, 1, 1]), np.ravel(2 * there[:, None] + [0, 1, 0, 1])
            parts = (np.array_split(child, 1 + len(child) // _CHUNK) for child in children)
            waiting += [(level + 1, *pair) for pair in zip(*parts, strict=True)]


def _boxes(corner: Array, depth: int) -> list[Array]:
    """Lower and minus upper corners (2 axis, group) of the boxes about groups of 2^depth, ..., 2, 1 simplices."""
    box = np.concatenate([corner.min(axis=0), -corner.max(axis=0)])
    box = np.pad(box, ((0, 0), (0, 2**depth - box.shape[1])), constant_values=np.inf)
    return list(accumulate(range(depth), lambda box, _: np.minimum(box[:, ::2], box[:, 1::2]), initial=box))[::-1]


def _det_inside(corner: Array) -> Array:
    """|det| (simplex,) of the parts of simplices (vertex, axis, simplex) in x_i >= 0, sum_i x_i <= 1."""
    count, owner = corner.shape[2], np.arange(corner.shape[2])
    for axis in range(corner.shape[1] + 1):
        corner, parent = _clipped(corner, corner[:, axis] if axis < corner.shape[1] else 1.0 - corner.sum(axis=1))
        owner = owner[parent]
    det = np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0))
    return np.bincount(owner, np.abs(det), count).astype(float)


def _clipped(corner: Array, height: Array) -> tuple[Array, _Numbers]:
    """Simplices that fill those given where the height (vertex, simplex) is positive, and in which each lies."""
    pattern = np.packbits(height > 0, axis=0, bitorder="little")[0]
    pieces = []
    for bits in range(1, 2 ** len(corner)):
        cut = np.flatnonzero(pattern == bits)
        up = [bits >> vertex & 1 for vertex in range(len(corner))]
        pieces += [(cap, cut) for cap in _caps(corner[:, :, cut], height[:, cut], up)]
    parts, parents = zip(*pieces, strict=True)
    return np.concatenate(parts, axis=2), np.concatenate(parents)


def _caps(x: Array, h: Array, up: list[int]) -> list[Array]:
    """The simplices between vertices that are up and the cuts of their edges to the others."""
    above, below = np.flatnonzero(up), np.flatnonzero(np.logical_not(up))
    rows = [[x[a], *(x[a] + h[a] / (h[a] - h[b]) * (x[b] - x[a]) for b in below)] for a in above]
    turns = combinations(range(len(up) - 1), len(below))  # a product of simplices is made up of those along staircases
    stairs = ([sum(turn < step for turn in right) for step in range(len(up))] for right in turns)
    return [np.stack([rows[step - right][right] for step, right in enumerate(stair)]) for stair in stairs]
