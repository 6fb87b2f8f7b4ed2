"""Limited linear reconstruction: the density on both sides of each face, from the cells around."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Index, Mesh
from fvflow.mesh.core import along

Limiter = Literal["monotonised-central", "minmod", "van-leer", "superbee"]
_FLAT = 1e-8  # of the largest moment: cells that lie on a line, or in a plane, tell no slope across it


class Reconstruction(Protocol):
    """Values r at the faces of each cell with r and 2 rho_K - r between the least and the largest density around."""

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), in its owner and in its neighbour."""

    def leaving(self, flow: Array) -> Array:
        """c_K (cell,) with sum_s max(q_s, 0) r_s <= c_K rho_K, from q_s of each face (face,) out of its owner."""


def reconstruction(mesh: Mesh, limiter: Limiter) -> Reconstruction:
    """The reconstruction on a mesh; raises CaseError where it has none with the limiter."""
    if mesh.edges is not None:
        return Lines(mesh, limiter)
    if limiter != "monotonised-central":
        raise CaseError(f"limiter {limiter} needs a grid (mesh box or graded); use monotonised-central")
    return Cells(mesh)


@dataclass(frozen=True, eq=False)
class _Axis:
    """The cells along one axis of a grid, the first and the last of each line left out."""

    place: int  # of the axis in arrays of the grid's shape
    faces: slice  # those across the axis
    shape: tuple[int, ...]  # of these
    back: Array  # half a cell over the distance to the cell behind
    ahead: Array  # the same to the cell ahead
    bias: Array  # weight of the difference behind in the slope at the centre

    def cut(self, start: int, stop: int | None) -> tuple[slice, ...]:
        """The index of the layers from start to stop."""
        return (*(slice(None) for _ in range(self.place)), slice(start, stop))


class Lines:
    """On a grid: along each axis, from the differences a and b of a cell to the cells behind it and ahead of it.

    With p and q, half of the cell over the distances to these (1/2 where cells are even), the rise to the face ahead is

        monotonised-central   minmod(p a w + q b (1 - w), a, b),  w making the slope second order on uneven cells
        minmod                minmod(p a, q b)
        van-leer              minmod(2 p a q b/(p a + q b), a, b)
        superbee              maxmod(minmod(a, q b), minmod(p a, b))

    and to the face behind the opposite; 0 at extrema and at walls. Van Leer, Towards the ultimate conservative
    difference scheme V, J. Comput. Phys. 32 (1979); Sweby, High resolution schemes using flux limiters for hyperbolic
    conservation laws, SIAM J. Numer. Anal. 21 (1984).
    """

    def __init__(self, mesh: Mesh, limiter: Limiter) -> None:
        self._mesh, self._size = mesh, _SIZES[limiter]
        self._axes = list(_axes(mesh))

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), in its owner and in its neighbour."""
        owner, neighbour = np.empty((2, self._mesh.faces))
        shaped = density.reshape(self._mesh.shape)
        for axis in self._axes:
            rise = self._rise(np.diff(shaped, axis=axis.place), axis)
            owner[axis.faces].reshape(axis.shape)[...] = rise[axis.cut(0, -1)]
            np.negative(rise[axis.cut(1, None)], out=neighbour[axis.faces].reshape(axis.shape))
        return owner, neighbour

    def _rise(self, jump: Array, axis: _Axis) -> Array:
        """From the jumps at the faces across an axis, the rise in each cell."""
        rise = np.zeros(self._mesh.shape)
        a, b = jump[axis.cut(0, -1)], jump[axis.cut(1, None)]
        size = self._size(np.abs(a), np.abs(b), axis)
        sign = 0.5 * (np.sign(a) + np.sign(b))
        np.multiply(size, sign, out=rise[axis.cut(1, -1)])
        return rise

    def leaving(self, flow: Array) -> Array:
        """2 sum max(q, 0) over the axes, of the two faces of each the larger: as r_- + r_+ = 2 rho_K."""
        total = np.zeros(self._mesh.shape)
        for axis in self._axes:
            across = flow[axis.faces].reshape(axis.shape)
            ahead, behind = np.zeros((2, *self._mesh.shape))
            ahead[axis.cut(0, -1)] = across
            behind[axis.cut(1, None)] = -across
            total += 2.0 * np.maximum(np.maximum(ahead, behind), 0.0)
        return total.ravel()


def _axes(mesh: Mesh) -> Iterator[_Axis]:
    assert mesh.edges is not None
    first = 0
    for number, edge in enumerate(mesh.edges):
        place = mesh.dimension - 1 - number
        shape = tuple(count - (at == place) for at, count in enumerate(mesh.shape))
        faces = slice(first, first + int(np.prod(shape)))
        first = faces.stop
        width, gap = np.diff(edge), np.diff(0.5 * (edge[1:] + edge[:-1]))
        column = (-1,) + (1,) * number
        half, behind, ahead = (part.reshape(column) for part in (0.5 * width[1:-1], gap[:-1], gap[1:]))
        yield _Axis(place, faces, shape, half / behind, half / ahead, ahead / (behind + ahead))


def _central(a: Array, b: Array, axis: _Axis) -> Array:
    size = axis.back * axis.bias * a + axis.ahead * (1.0 - axis.bias) * b
    return np.minimum(np.minimum(a, b, out=a), size, out=a)


def _minmod(a: Array, b: Array, axis: _Axis) -> Array:
    return np.minimum(axis.back * a, axis.ahead * b)


def _van_leer(a: Array, b: Array, axis: _Axis) -> Array:
    p, q = axis.back * a, axis.ahead * b
    total = p + q
    mean = np.divide(2.0 * p * q, total, out=np.zeros_like(total), where=total > 0)
    return np.minimum(np.minimum(a, b), mean)


def _superbee(a: Array, b: Array, axis: _Axis) -> Array:
    return np.maximum(np.minimum(a, axis.ahead * b), np.minimum(axis.back * a, b))


_SIZES = {"monotonised-central": _central, "minmod": _minmod, "van-leer": _van_leer, "superbee": _superbee}


class Cells:
    """On any mesh: rho_K + g.(x_s - c_K) at the centroid x_s of each face, g from least squares between centroids c.

    The rise is cut to min(rho_K - least, largest - rho_K) over the cells beside K and those beside these, face by face
    (after Barth, Jespersen, The design and application of upwind schemes on unstructured meshes, AIAA 89-0366, 1989,
    who scale g instead), so that both r and 2 rho_K - r are between the two: exact for linear densities in the
    interior, and bounded.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        owner, neighbour = mesh.owner, mesh.neighbour
        centroid = np.stack([mesh.integral(along(axis), 2) for axis in range(mesh.dimension)], axis=1)
        centroid /= mesh.volume[:, None]
        ahead = centroid[neighbour] - centroid[owner]
        self._pull = ahead / (ahead**2).sum(axis=1)[:, None]  # weight 1/|c_L - c_K|^2
        moment = self._collected(self._pull[:, :, None] * ahead[:, None, :])
        self._inverse = np.linalg.pinv(moment, rcond=_FLAT, hermitian=True)
        self._reach = mesh.face_centre - centroid[owner], mesh.face_centre - centroid[neighbour]

    def _collected(self, values: Array) -> Array:
        """The sums over the faces of each cell (cell, ...) of what both of their cells get (face, ...)."""
        flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
        count, parts = self._mesh.cells, range(flat.shape[1])
        sides = self._mesh.owner, self._mesh.neighbour
        total = np.stack([sum(np.bincount(side, flat[:, part], count) for side in sides) for part in parts], axis=1)
        return np.asarray(total.reshape(count, *values.shape[1:]))

    def rises(self, density: Array) -> tuple[Array, Array]:
        """r - rho at each face (face,), in its owner and in its neighbour."""
        jump = density[self._mesh.neighbour] - density[self._mesh.owner]
        slope = np.einsum("kij,kj->ki", self._inverse, self._collected(self._pull * jump[:, None]))
        room = self._room(density)
        owner, neighbour = (
            np.clip((slope[cell] * reach).sum(axis=1), -room[cell], room[cell])
            for cell, reach in zip((self._mesh.owner, self._mesh.neighbour), self._reach, strict=True)
        )
        return owner, neighbour

    def _room(self, density: Array) -> Array:
        """How far a face value may be from each cell's (cell,)."""
        least = _spread(np.minimum, _spread(np.minimum, density, self._mesh), self._mesh)
        largest = _spread(np.maximum, _spread(np.maximum, density, self._mesh), self._mesh)
        return np.minimum(density - least, largest - density)

    def leaving(self, flow: Array) -> Array:
        """2 sum max(q, 0) over the faces of each cell: as 0 <= r <= 2 rho_K."""
        out, back, cells = np.maximum(flow, 0.0), np.maximum(-flow, 0.0), self._mesh.cells
        both = np.bincount(self._mesh.owner, out, cells) + np.bincount(self._mesh.neighbour, back, cells)
        return np.asarray(2.0 * both)


def _spread(extreme: np.ufunc, density: Array, mesh: Mesh) -> Array:
    """The extreme of each cell and those beside it (cell,)."""
    found = density.copy()
    owner: Index = mesh.owner
    extreme.at(found, owner, density[mesh.neighbour])
    extreme.at(found, mesh.neighbour, density[owner])
    return found
