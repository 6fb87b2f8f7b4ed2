"""Two meshes at once: the parts in which both of two densities are constant, and integrals over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Index, Mesh, overlaps

_EDGE = 1e-9  # share of a cell outside of the other mesh that is round-off


@dataclass(frozen=True, eq=False)
class Overlay:
    """The intersections K cap L of the cells of two meshes, and what of each cell is outside of the other mesh."""

    first: Mesh
    second: Mesh
    cell: Index
    """Cell K of the first mesh (part,)."""
    other: Index
    """Cell L of the second mesh (part,)."""
    volume: Array
    """|K cap L| (part,)."""

    @staticmethod
    def of(first: Mesh, second: Mesh) -> Overlay:
        """That of two meshes; raises CaseError if they have other dimensions, or nothing in common."""
        if first.dimension != second.dimension:
            raise CaseError(
                f"A has {first.dimension} dimensions and B {second.dimension}; compare two results of one space"
            )
        if _same(first, second):
            every = np.arange(first.cells, dtype=np.int32)
            return Overlay(first, second, every, every, first.volume)
        cell, other, volume = overlaps(first, second)
        if not len(cell):
            boxes = " and ".join(_box(mesh) for mesh in (first, second))
            raise CaseError(f"the meshes of A and B have no point in common: {boxes}; compare two on one domain")
        return Overlay(first, second, cell, other, volume)

    @cached_property
    def outside(self) -> tuple[Array, Array]:
        """The volumes of each cell of the first mesh outside of the second (cell,), and the other way round."""
        parts = ((self.first, self.cell), (self.second, self.other))
        rest = (mesh.volume - np.bincount(cell, self.volume, mesh.cells) for mesh, cell in parts)
        first, second = (
            np.where(left > _EDGE * mesh.volume, left, 0.0) for left, (mesh, _) in zip(rest, parts, strict=True)
        )
        return first, second

    def parts(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """The values of both densities and the volumes, each (part,), 0 where a mesh is not."""
        (rest, other_rest) = self.outside
        alone, other_alone = np.flatnonzero(rest), np.flatnonzero(other_rest)
        values = np.concatenate([a[self.cell], a[alone], np.zeros(len(other_alone))])
        others = np.concatenate([b[self.other], np.zeros(len(alone)), b[other_alone]])
        return values, others, np.concatenate([self.volume, rest[alone], other_rest[other_alone]])

    def on_coarser(self, a: Array, b: Array) -> tuple[Mesh, Array, Array]:
        """The mesh of fewer cells, and the averages (cell,) of both densities over its cells."""
        first = self.first.cells <= self.second.cells
        mesh, cell = (self.first, self.cell) if first else (self.second, self.other)
        averages = [
            np.bincount(cell, self.volume * values, mesh.cells) / mesh.volume
            for values in (a[self.cell], b[self.other])
        ]
        return (mesh, a, averages[1]) if first else (mesh, averages[0], b)

    def differences(self, a: Array, b: Array) -> tuple[float, float, float]:
        """int |a - b|, the square root of int (a - b)^2, and the largest |a - b|."""
        values, others, volume = self.parts(a, b)
        gap = np.abs(values - others)
        return float(volume @ gap), float(np.sqrt(volume @ gap**2)), float(gap.max(initial=0.0))

    def divergences(self, a: Array, b: Array) -> tuple[float, float]:
        """KL(a|b) = int a log(a/b) - a + b, and KL(b|a); nan if a density is negative.

        For densities of one mass this is the relative entropy int a log(a/b) (Csiszar, Ann. Probab. 3, 1975).
        Infinite if a density has mass where the other is 0.
        """
        from scipy.special import kl_div

        values, others, volume = self.parts(a, b)
        if min(values.min(), others.min()) < 0:
            return np.nan, np.nan
        return float(volume @ kl_div(values, others)), float(volume @ kl_div(others, values))

    def unsupported(self, a: Array, b: Array) -> tuple[float, float]:
        """The mass of each density where the other is 0."""
        values, others, volume = self.parts(a, b)
        return float((volume * values)[others == 0].sum()), float((volume * others)[values == 0].sum())


@dataclass(frozen=True, eq=False)
class MomentWeights:
    """int_K x and int_K x x^T of the cells of a mesh, for the moments of densities that are constant in cells."""

    origin: Array
    """The middle of the mesh (dim,), from which positions count."""
    volume: Array
    first: Array
    """int_K x (dim, cell)."""
    second: Array
    """int_K x x^T (dim, dim, cell)."""

    @staticmethod
    def of(mesh: Mesh) -> MomentWeights:
        """Those of a mesh, by quadrature that is exact for its cells."""
        origin, axes = 0.5 * (mesh.points.min(axis=0) + mesh.points.max(axis=0)), range(mesh.dimension)
        first = [mesh.integral(lambda x, _, i=axis: x[:, i] - origin[i], 2) for axis in axes]  # type: ignore[misc]
        second = np.empty((mesh.dimension, mesh.dimension, mesh.cells))
        for i in axes:
            for j in range(i, mesh.dimension):

                def product(x: Array, _: object, i: int = i, j: int = j) -> Array:
                    return np.asarray((x[:, i] - origin[i]) * (x[:, j] - origin[j]))

                second[i, j] = second[j, i] = mesh.integral(product, 3)
        return MomentWeights(origin, mesh.volume, np.array(first), second)

    def moments(self, density: Array) -> tuple[Array, Array]:
        """The mean (dim,) and the covariance (dim, dim) of a density (cell,); nan if it has no mass."""
        mass = float(self.volume @ density)
        if mass == 0:
            return np.full(len(self.first), np.nan), np.full(self.second.shape[:2], np.nan)
        mean = self.first @ density / mass
        return mean + self.origin, self.second @ density / mass - np.outer(mean, mean)


def _same(first: Mesh, second: Mesh) -> bool:
    """Whether two meshes are one."""
    if first.revolution != second.revolution:
        return False
    if first.edges is not None and second.edges is not None:
        return all(map(np.array_equal, first.edges, second.edges))
    if first.edges is not None or second.edges is not None:
        return False
    arrays = ((mesh.points, mesh.cell_points, mesh.volume) for mesh in (first, second))
    return all(map(np.array_equal, *arrays))


def _box(mesh: Mesh) -> str:
    """The box around a mesh, in words."""
    corners = zip(mesh.points.min(axis=0), mesh.points.max(axis=0), strict=True)
    return " x ".join(f"[{low:.6g}, {high:.6g}]" for low, high in corners)
