"""Limited linear reconstruction: the density on both sides of each face, from the surrounding cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Grid, Index, Mesh
from fvflow.mesh.quadrature import along

Limiter = Literal["monotonised-central", "minmod", "van-leer", "superbee"]
_MIN_MOMENT = 1e-8  # relative to the largest: neighbours on a line or in a plane determine no slope across it


class Reconstruction(Protocol):
    """Face values r of each cell K such that r and 2 rho_K - r lie between the extrema of the surrounding cells."""

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), for its owner and for its neighbour."""

    def outflow_bound(self, flow: Array) -> Array:
        """c_K (cell,) such that sum_s max(q_s, 0) r_s <= c_K rho_K, for the flow q (face,) from owner to neighbour."""


def reconstruction(mesh: Mesh, limiter: Limiter) -> Reconstruction:
    """The reconstruction on a mesh; raises CaseError if the mesh does not allow the limiter."""
    if mesh.edges is not None:
        return GridReconstruction(mesh, limiter)
    if limiter != "monotonised-central":
        raise CaseError(f"limiter {limiter} needs a grid (mesh box or graded); use monotonised-central")
    return LeastSquaresReconstruction(mesh)


@dataclass(frozen=True, eq=False)
class _Axis:
    """One axis of a grid; the coefficients are those of all cells with one behind and one ahead.

    Without walls, on a periodic axis, these are all cells; otherwise the first and last of each line are none.
    """

    place: int
    """Position of the axis in arrays of the grid's shape."""
    faces: slice
    """The faces normal to the axis."""
    shape: tuple[int, ...]
    """Shape of the array of these faces."""
    behind: Array
    """p, half a cell width over the distance to the cell behind."""
    ahead: Array
    """q, half a cell width over the distance to the cell ahead."""
    bias: Array
    """w, the weight of the difference behind in the slope at the centre."""
    periodic: bool
    """Whether the last face of a line joins its last cell to its first."""

    def jumps(self, cells: Array) -> tuple[Array, Array, tuple[slice, ...]]:
        """The differences over the faces behind and ahead of the cells between two others, and where these are."""
        if self.periodic:
            ahead = np.roll(cells, -1, self.place) - cells
            return np.roll(ahead, 1, self.place), ahead, self.layers(0, None)
        jump = np.diff(cells, axis=self.place)
        return jump[self.layers(0, -1)], jump[self.layers(1, None)], self.layers(1, -1)

    def owners(self, cells: Array) -> Array:
        """The values at the lower side of the faces."""
        return cells if self.periodic else cells[self.layers(0, -1)]

    def neighbours(self, cells: Array) -> Array:
        """The values at the upper side of the faces."""
        return np.roll(cells, -1, self.place) if self.periodic else cells[self.layers(1, None)]

    def sides(self, across: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """The values of the faces ahead and behind of each cell, 0 at walls."""
        if self.periodic:
            return across, np.roll(across, 1, self.place)
        ahead, behind = np.zeros((2, *shape))
        ahead[self.layers(0, -1)] = across
        behind[self.layers(1, None)] = across
        return ahead, behind

    def layers(self, start: int, stop: int | None) -> tuple[slice, ...]:
        """Index of the layers of cells from start to stop along the axis."""
        return (*(slice(None) for _ in range(self.place)), slice(start, stop))


class GridReconstruction:
    """On a grid: along each axis, from the differences a and b between a cell and the cells behind and ahead of it.

    With p and q, half the cell width over the distances to these (1/2 on uniform grids), the rise to the face ahead is

        monotonised-central   minmod(p a w + q b (1 - w), a, b),  w such that the slope is second order on any grid
        minmod                minmod(p a, q b)
        van-leer              minmod(2 p a q b/(p a + q b), a, b)
        superbee              maxmod(minmod(a, q b), minmod(p a, b))

    and the rise to the face behind is its negative; both are 0 at extrema and at walls. Van Leer, Towards the ultimate
    conservative difference scheme V, J. Comput. Phys. 32 (1979); Sweby, High resolution schemes using flux limiters for
    hyperbolic conservation laws, SIAM J. Numer. Anal. 21 (1984).
    """

    def __init__(self, mesh: Mesh, limiter: Limiter) -> None:
        self._mesh, self._magnitude = mesh, _MAGNITUDES[limiter]
        self._axes = list(_axes(mesh))

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), for its owner and for its neighbour."""
        owner, neighbour = np.empty((2, self._mesh.faces))
        shaped = density.reshape(self._mesh.shape)
        for axis in self._axes:
            rise = self._rise(shaped, axis)
            owner[axis.faces].reshape(axis.shape)[...] = axis.owners(rise)
            np.negative(axis.neighbours(rise), out=neighbour[axis.faces].reshape(axis.shape))
        return owner, neighbour

    def _rise(self, density: Array, axis: _Axis) -> Array:
        """The rise in each cell along an axis."""
        rise = np.zeros(self._mesh.shape)
        a, b, inside = axis.jumps(density)
        magnitude = self._magnitude(np.abs(a), np.abs(b), axis)
        sign = 0.5 * (np.sign(a) + np.sign(b))
        np.multiply(magnitude, sign, out=rise[inside])
        return rise

    def outflow_bound(self, flow: Array) -> Array:
        """2 sum max(q, 0) over the axes, with the larger outflow of the two faces of each: r_- + r_+ = 2 rho_K."""
        total = np.zeros(self._mesh.shape)
        for axis in self._axes:
            ahead, behind = axis.sides(flow[axis.faces].reshape(axis.shape), self._mesh.shape)
            total += 2.0 * np.maximum(np.maximum(ahead, -behind), 0.0)
        return total.ravel()


def _axes(mesh: Mesh) -> Iterator[_Axis]:
    assert isinstance(mesh, Grid)
    first = 0
    for number, width in enumerate(mesh.widths):
        place = mesh.dimension - 1 - number
        periodic, gap = number in mesh.rings, mesh.gaps(number)
        shape = tuple(count - (at == place and not periodic) for at, count in enumerate(mesh.shape))
        faces = slice(first, first + int(np.prod(shape)))
        first = faces.stop
        column = (-1,) + (1,) * number
        parts = 0.5 * width[1:-1], gap[:-1], gap[1:]
        if periodic:
            parts = 0.5 * width, np.roll(gap, 1), gap
        half, gap_behind, gap_ahead = (part.reshape(column) for part in parts)
        bias = gap_ahead / (gap_behind + gap_ahead)
        yield _Axis(place, faces, shape, half / gap_behind, half / gap_ahead, bias, periodic)


def _central(a: Array, b: Array, axis: _Axis) -> Array:
    size = axis.behind * axis.bias * a + axis.ahead * (1.0 - axis.bias) * b
    return np.minimum(np.minimum(a, b, out=a), size, out=a)


def _minmod(a: Array, b: Array, axis: _Axis) -> Array:
    return np.minimum(axis.behind * a, axis.ahead * b)


def _van_leer(a: Array, b: Array, axis: _Axis) -> Array:
    p, q = axis.behind * a, axis.ahead * b
    total = p + q
    mean = np.divide(2.0 * p * q, total, out=np.zeros_like(total), where=total > 0)
    return np.minimum(np.minimum(a, b), mean)


def _superbee(a: Array, b: Array, axis: _Axis) -> Array:
    return np.maximum(np.minimum(a, axis.ahead * b), np.minimum(axis.behind * a, b))


_MAGNITUDES = {"monotonised-central": _central, "minmod": _minmod, "van-leer": _van_leer, "superbee": _superbee}


class LeastSquaresReconstruction:
    """On any mesh: r = rho_K + g.(x_s - c_K) at the centroid x_s of each face, g by least squares between centroids c.

    The rise r - rho_K is clipped face by face to min(rho_K - minimum, maximum - rho_K), with the extrema over the
    neighbours of K and their neighbours, so that r and 2 rho_K - r lie between them. Linear densities are reconstructed
    exactly in the interior. After Barth, Jespersen, The design and application of upwind schemes on unstructured
    meshes, AIAA 89-0366, 1989, who scale g instead.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        owner, neighbour = mesh.owner, mesh.neighbour
        centroid = np.stack([mesh.integral(along(axis), 2) for axis in range(mesh.dimension)], axis=1)
        centroid /= mesh.volume[:, None]
        ahead = centroid[neighbour] - centroid[owner]
        self._weight = ahead / (ahead**2).sum(axis=1)[:, None]  # weight 1/|c_L - c_K|^2
        moment = self._sum_over_faces(self._weight[:, :, None] * ahead[:, None, :])
        self._inverse = np.linalg.pinv(moment, rcond=_MIN_MOMENT, hermitian=True)
        self._reach = mesh.face_centre - centroid[owner], mesh.face_centre - centroid[neighbour]

    def _sum_over_faces(self, values: Array) -> Array:
        """The sum of face values (face, ...) over the faces of each cell (cell, ...)."""
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        count, parts = self._mesh.cells, range(flat.shape[1])
        sides = self._mesh.owner, self._mesh.neighbour
        total = np.stack([sum(np.bincount(side, flat[:, part], count) for side in sides) for part in parts], axis=1)
        return np.asarray(total.reshape(count, *values.shape[1:]))

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), for its owner and for its neighbour."""
        jump = density[self._mesh.neighbour] - density[self._mesh.owner]
        slope = np.einsum("kij,kj->ki", self._inverse, self._sum_over_faces(self._weight * jump[:, None]))
        bound = self._bound(density)
        owner, neighbour = (
            np.clip((slope[cell] * reach).sum(axis=1), -bound[cell], bound[cell])
            for cell, reach in zip((self._mesh.owner, self._mesh.neighbour), self._reach, strict=True)
        )
        return owner, neighbour

    def _bound(self, density: Array) -> Array:
        """Largest |r - rho_K| allowed in each cell (cell,)."""
        minimum = _over_neighbours(np.minimum, _over_neighbours(np.minimum, density, self._mesh), self._mesh)
        maximum = _over_neighbours(np.maximum, _over_neighbours(np.maximum, density, self._mesh), self._mesh)
        return np.minimum(density - minimum, maximum - density)

    def outflow_bound(self, flow: Array) -> Array:
        """2 sum max(q, 0) over the faces of each cell, since 0 <= r <= 2 rho_K."""
        forward, backward, cells = np.maximum(flow, 0.0), np.maximum(-flow, 0.0), self._mesh.cells
        outflow = np.bincount(self._mesh.owner, forward, cells) + np.bincount(self._mesh.neighbour, backward, cells)
        return np.asarray(2.0 * outflow)


def _over_neighbours(extremum: np.ufunc, density: Array, mesh: Mesh) -> Array:
    """The minimum or maximum over each cell and its neighbours (cell,)."""
    result = density.copy()
    owner: Index = mesh.owner
    extremum.at(result, owner, density[mesh.neighbour])
    extremum.at(result, mesh.neighbour, density[owner])
    return result
