"""Conservative transfer between meshes, by the exact volumes in which their cells intersect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from itertools import accumulate, combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze, freeze_index
from fvflow.mesh.cell_geometry import FACES, format_point
from fvflow.mesh.core import Mesh
from fvflow.mesh.pieces import fan, surface
from fvflow.mesh.revolution import Revolution

if TYPE_CHECKING:
    from scipy.sparse import coo_array

_Numbers = NDArray[np.int64]
_CHUNK = 2**15  # pairs of bounding boxes at a time, so that their simplices stay in the cache
_ROUND_OFF = 1e-14  # intersection volume that counts as zero, relative to the smaller cell


def transferred(source: Mesh, target: Mesh, density: Array) -> Array:
    """A density (source cell,) transferred to the target mesh (target cell,); the mass is conserved.

    As `transfer`, without what it tells.
    """
    return transfer(source, target, density)[0]


def transfer(source: Mesh, target: Mesh, density: Array, truncate: float = 0.0) -> tuple[Array, float]:
    """A density (source cell,) on the target mesh (target cell,), and the share of its mass that was outside of it.

    rho_L = sum_K m_K |K cap L| / (|L| sum_M |K cap M|) with m_K = |K| rho_K and M the target cells: the mass of a cell
    that sticks out is moved in. On identical meshes the density is returned unchanged. Raises CaseError as `overlaps`
    does, and if the cells that overlap no target cell hold more than the share `truncate` of the mass; up to that,
    their mass is lost.
    """
    lengths = _overlaps_by_axis(source, target)
    arrays = ((mesh.points, mesh.cell_points, mesh.volume) for mesh in (source, target))
    shapes = (mesh.edges or () for mesh in (source, target)) if lengths else arrays
    if source.revolution == target.revolution and all(map(np.array_equal, *shapes)):
        return freeze(density.copy()), 0.0
    mass = source.volume * density
    if lengths:
        covered = _covered_by_axis(lengths)
        _require_covered(source, mass, covered > 0, truncate)
        found = _distributed_by_axis(source, mass, lengths)
    else:
        cell, other, volume = overlaps(source, target)
        covered = np.bincount(cell, volume, source.cells).astype(float)
        _require_covered(source, mass, covered > 0, truncate)
        found = np.bincount(other, mass[cell] * (volume / covered[cell]), target.cells).astype(float)
    outside = mass @ np.maximum(1.0 - covered / source.volume, 0.0) / mass.sum()
    return freeze(found / target.volume), float(outside)


def overlaps(source: Mesh, target: Mesh) -> tuple[Index, Index, Array]:
    """The pairs of cells K of the source and L of the target that overlap, and |K cap L|: three arrays (pair,).

    Raises CaseError for meshes of different dimensions and for cells whose shape is not stored.
    """
    if lengths := _overlaps_by_axis(source, target):
        from scipy import sparse

        pairs = reduce(lambda so_far, length: sparse.kron(length, so_far, format="coo"), lengths)
        return freeze_index(pairs.row), freeze_index(pairs.col), freeze(pairs.data)
    cell, other, volume = _overlaps_of_simplices(source, target)
    real = volume > _ROUND_OFF * np.minimum(source.volume[cell], target.volume[other])
    return freeze_index(cell[real]), freeze_index(other[real]), freeze(volume[real])


def averaged(source: Mesh, target: Mesh, values: Array) -> Array:
    """Means (target cell,) of a field (source cell,) over the cells of another mesh, by the exact overlaps.

    sum_K |K cap L| u_K / sum_K |K cap L| in the cell L. Raises CaseError as `overlaps` does.
    """
    if source.cells == target.cells and np.array_equal(source.centre, target.centre):
        return values
    cell, other, volume = overlaps(source, target)
    covered = np.bincount(other, volume, target.cells)
    return np.asarray(np.bincount(other, volume * values[cell], target.cells) / covered)


def _require_covered(source: Mesh, mass: Array, covered: NDArray[np.bool_], truncate: float) -> None:
    """Raise CaseError if the cells that are not covered hold more than a share of the mass."""
    outside = np.flatnonzero(~covered & (mass != 0))
    if np.abs(mass[outside]).sum() > truncate * np.abs(mass).sum():
        first = int(outside[0])
        corners = source.cell_points[first]
        at = format_point(source.points[corners[0]] if len(corners) else source.centre[first])
        raise CaseError(f"a mass of {mass[outside].sum():.4g} is outside the target mesh, near {at}; enlarge the mesh")


def _overlaps_by_axis(source: Mesh, target: Mesh) -> list[coo_array]:
    """Overlap lengths of two grids, one sparse matrix per axis, whose products are the volumes; [] for other meshes."""
    if source.dimension != target.dimension:
        raise CaseError(
            f"the mesh has dimension {target.dimension}, the density {source.dimension}; give both the same dimension"
        )
    if source.revolution != target.revolution:
        raise CaseError(
            "one of two meshes has a radius as x, or another one than the other, so that their densities differ in "
            "meaning; give both the same"
        )
    measures: list[Callable[[Array], Array]] = [np.diff] * source.dimension
    if source.revolution is not None:
        measures[0] = source.revolution.between
    return list(map(_line_overlaps, source.edges, target.edges, measures)) if source.edges and target.edges else []


def _line_overlaps(edge: Array, other: Array, measure: Callable[[Array], Array]) -> coo_array:
    """The measures (interval, other interval) of the intersections of intervals between two sets of edges."""
    cuts = np.unique(np.clip(np.concatenate([edge, other]), max(edge[0], other[0]), min(edge[-1], other[-1])))
    row, column = (np.searchsorted(each, cuts[:-1], side="right") - 1 for each in (edge, other))
    length = np.diff(cuts)
    real = length > _ROUND_OFF * np.minimum(np.diff(edge)[row], np.diff(other)[column])
    length = measure(cuts)
    from scipy.sparse import coo_array

    return coo_array((length[real], (row[real], column[real])), shape=(len(edge) - 1, len(other) - 1))


def _distributed_by_axis(source: Mesh, mass: Array, lengths: list[coo_array]) -> Array:
    """The masses (target cell,) between grids, distributed along one axis after the other."""
    from scipy.sparse import csr_array

    totals = _totals(lengths)
    field = mass.reshape(source.shape)
    for length, total in zip(lengths[::-1], totals, strict=True):
        share = csr_array((length.data / total[length.row], (length.col, length.row)), length.shape[::-1])
        distributed = np.asarray(share @ field.reshape(len(field), -1))
        field = np.moveaxis(distributed.reshape(-1, *field.shape[1:]), 0, -1)
    return field.ravel()


def _totals(lengths: list[coo_array]) -> list[Array]:
    """The covered length (interval,) of each interval of the source, by axis, z first as in a cell field."""
    return [np.bincount(length.row, length.data, length.shape[0]).astype(float) for length in lengths[::-1]]


def _covered_by_axis(lengths: list[coo_array]) -> Array:
    """The covered volume (source cell,) of the cells of a grid."""
    return reduce(np.multiply.outer, _totals(lengths)).ravel()


def _overlaps_of_simplices(source: Mesh, target: Mesh) -> tuple[_Numbers, _Numbers, Array]:
    """K, L and |K cap L|: sums over the simplices of K and L, each with the sign of its orientation."""
    (cell, corner, det), (other_cell, other, other_det) = _simplices(source), _simplices(target)
    frame = np.linalg.inv(
        np.moveaxis(other[1:] - other[0], 2, 0)
    )  # maps the target simplex to x_i >= 0, sum_i x_i <= 1
    parts = [(np.empty(0, np.int64), np.empty(0))]
    for here, there in candidates(corner, other):
        x = np.einsum("vap,pac->vcp", corner[:, :, here] - other[0][:, there], frame[there])
        inside = _clipped_determinant(x, source.revolution, other[:, 0, there])
        volume = inside * other_det[there] * np.sign(det[here]) / factorial(source.dimension)
        parts.append(_summed(cell[here] * target.cells + other_cell[there], volume))
    key, volume = _summed(*map(np.concatenate, zip(*parts, strict=True)))
    return key // target.cells, key % target.cells, np.abs(volume)


def _summed(key: _Numbers, volume: Array) -> tuple[_Numbers, Array]:
    """The distinct keys, and the sum of the volumes of each."""
    distinct, index = np.unique(key, return_inverse=True)
    return distinct, np.bincount(index, volume, len(distinct)).astype(
        float
    )  # bincount of an empty array is of integers


def _simplices(mesh: Mesh) -> tuple[_Numbers, Array, Array]:
    """The simplices of all cells, sorted so that those close in space are close in memory.

    Returns the cell (simplex,), the corners (vertex, axis, simplex) and the determinants (simplex,).
    """
    own = mesh.signed_simplices()
    if own is None:
        corners, parts = (mesh.cell_points >= 0).sum(axis=1), []
        for count in np.unique(corners):
            same = np.flatnonzero(corners == count)
            parts += [(same, nodes) for nodes in _split(mesh.cell_points[same, :count], mesh.dimension)]
        cell, nodes = map(np.concatenate, zip(*parts, strict=True))
        corner = mesh.points[nodes].transpose(1, 2, 0)
        det = np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0))
    else:
        cell, corner, sign = own[0], own[1].transpose(1, 2, 0), own[2]
        det = sign * np.abs(np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0)))
    whole = np.bincount(cell, np.abs(det)) / factorial(mesh.dimension)
    nondegenerate = np.flatnonzero(np.abs(det) > _ROUND_OFF * whole[cell])
    from scipy.spatial import KDTree

    order = nondegenerate[KDTree(corner.mean(axis=0).T[nondegenerate], leafsize=1).indices]
    return cell[order], np.ascontiguousarray(corner[:, :, order]), det[order]


def _split(nodes: Index, dimension: int) -> list[Index]:
    """The simplices that make up cells (cell, corner), each as its nodes (cell, vertex); some are flat."""
    count = nodes.shape[1]
    if dimension == 2 or count == dimension + 1:
        return fan(nodes) if dimension == 2 else [nodes]
    if count not in FACES:
        raise CaseError(f"cells of {count} corners have no volume to intersect; use cells of 4, 5, 6 or 8 corners")
    lowest = nodes.min(axis=1)
    return [np.column_stack([lowest, part]) for part in surface(nodes)]


def candidates(corner: Array, other: Array) -> Iterator[tuple[_Numbers, _Numbers]]:
    """Pairs of simplices (vertex, axis, simplex) whose bounding boxes overlap: indices (pair,), in batches.

    Two trees of boxes are descended simultaneously: fast if simplices close in space are close in memory.
    """
    depth = (max(corner.shape[2], other.shape[2]) - 1).bit_length()
    boxes, other_boxes = _bounding_boxes(corner, depth), _bounding_boxes(other, depth)
    stack = [(0, np.zeros(1, np.int64), np.zeros(1, np.int64))]
    while stack:
        level, here, there = stack.pop()
        for lower, minus_upper in zip(boxes[level], np.roll(other_boxes[level], corner.shape[1], axis=0), strict=True):
            meet = lower[here] + minus_upper[there] < 0
            here, there = here[meet], there[meet]
        if level == depth:
            yield here, there
        else:
            children = np.ravel(2 * here[:, None] + [0, 0, 1, 1]), np.ravel(2 * there[:, None] + [0, 1, 0, 1])
            parts = (np.array_split(child, 1 + len(child) // _CHUNK) for child in children)
            stack += [(level + 1, *pair) for pair in zip(*parts, strict=True)]


def _bounding_boxes(corner: Array, depth: int) -> list[Array]:
    """Bounding boxes of groups of 2^depth, ..., 2, 1 simplices: lower and negated upper corners (2 axis, group)."""
    box = np.concatenate([corner.min(axis=0), -corner.max(axis=0)])
    box = np.pad(box, ((0, 0), (0, 2**depth - box.shape[1])), constant_values=np.inf)
    return list(accumulate(range(depth), lambda box, _: np.minimum(box[:, ::2], box[:, 1::2]), initial=box))[::-1]


def _clipped_determinant(corner: Array, revolution: Revolution | None, radius: Array) -> Array:
    """|det| (simplex,) of simplices (vertex, axis, simplex) clipped to x_i >= 0, sum_i x_i <= 1.

    With a revolution it is that of what they make when they are turned; the radius is linear, and given at 0 and at the
    unit points (vertex, simplex).
    """
    count, owner = corner.shape[2], np.arange(corner.shape[2])
    for axis in range(corner.shape[1] + 1):
        corner, parent = _clipped(corner, corner[:, axis] if axis < corner.shape[1] else 1.0 - corner.sum(axis=1))
        owner = owner[parent]
    det = np.linalg.det(np.moveaxis(corner[1:] - corner[0], 2, 0))
    if revolution is not None:
        centroid, radius = corner.mean(axis=0), radius[:, owner]
        det *= revolution.measure(radius[0] + (centroid * (radius[1:] - radius[0])).sum(axis=0))
    return np.bincount(owner, np.abs(det), count).astype(float)


def _clipped(corner: Array, height: Array) -> tuple[Array, _Numbers]:
    """Simplices that fill the part of positive height (vertex, simplex), and the index of the one that each is in."""
    pattern = np.packbits(height > 0, axis=0, bitorder="little")[0]
    parts = []
    for bits in range(1, 2 ** len(corner)):
        cut = np.flatnonzero(pattern == bits)
        up = [bits >> vertex & 1 for vertex in range(len(corner))]
        parts += [(cap, cut) for cap in _caps(corner[:, :, cut], height[:, cut], up)]
    clipped, parents = zip(*parts, strict=True)
    return np.concatenate(clipped, axis=2), np.concatenate(parents)


def _caps(x: Array, h: Array, up: list[int]) -> list[Array]:
    """The simplices between the vertices of positive height and the points where their edges to the others are cut."""
    above, below = np.flatnonzero(up), np.flatnonzero(np.logical_not(up))
    rows = [[x[a], *(x[a] + h[a] / (h[a] - h[b]) * (x[b] - x[a]) for b in below)] for a in above]
    turns = combinations(range(len(up) - 1), len(below))  # staircases triangulate a product of simplices
    stairs = ([sum(turn < step for turn in right) for step in range(len(up))] for right in turns)
    return [np.stack([rows[step - right][right] for step, right in enumerate(stair)]) for stair in stairs]
