"""A full tensor of diffusion D(x) on a box of equal cells, by links along lattice directions.

With H the diagonal matrix of the cell widths and H^-1 D H^-1 = sum_k lambda_k e_k e_k^T, lambda_k >= 0, e_k integer,

    D : grad^2 f = sum_k lambda_k (f(x + H e_k) - 2 f(x) + f(x - H e_k)) + O(h^2).

Cells K and L = K + e are linked with the rates lambda_K, lambda_L that the decompositions at the two centres give to e:

    F = |K| (lambda_K rho_K - lambda_L rho_L)                 ito: a jump process with the covariance 2 D dt
    F = |K| (lambda_K + lambda_L)/2 (rho_K - rho_L)           isothermal: int grad rho.D grad rho, cell by cell

A drift v adds w = eps (D^-1 v).H e, the potential of a temperature w = eps (V_K - V_L)/T, eps being the mean of the two
rates. Links that would leave the box are left out, so that the walls are closed; beside them the order is 1.

Fehrenbach, Mirebeau, Sparse non-negative stencils for anisotropic diffusion, J. Math. Imaging Vis. 49 (2014).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields import BaseDrift, Diffusion, Parameters
from fvflow.mesh import Array, Index, Mesh, Openings
from fvflow.mesh.arrays import freeze, freeze_index
from fvflow.problems.diffusivity import logarithmic_mean, seam_notes
from fvflow.problems.selling import selling

_UNIFORM = 1e-9  # deviation of the cells of a box from equal ones, in widths
_SYMMETRIC = 1e-12  # difference of D_ij and D_ji, relative to D, that is round-off
_LONGEST = 4  # directions that fit into the box one after the other, at least
_DEFINITE = 1e-10  # smallest eigenvalue over the largest


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of cells along lattice directions, and what links them."""

    volume: Array
    """Measures |K| (cell,)."""
    owner: Index
    """Cell K of each link (link,)."""
    neighbour: Index
    """Cell L of each link (link,), L > K."""
    here: Array
    """lambda_K (link,), 1/time."""
    there: Array
    """lambda_L (link,), 1/time."""


@dataclass(frozen=True, eq=False)
class TensorDiffusivity:
    """D(x) by a symmetric positive definite matrix in each cell of a box; raises CaseError if it is not."""

    mesh: Mesh
    """The mesh: a box of equal cells in two or three dimensions."""
    diffusion: Diffusion
    """What the case says of it."""
    parameters: Parameters
    """The parameters of the case."""
    factor: float
    """A factor of D."""
    steady = True

    def __post_init__(self) -> None:
        if self.mesh.nonuniformity > _UNIFORM:
            raise CaseError(
                "a full tensor of diffusion needs a box of equal cells; use mesh box, or a list if it is diagonal"
            )
        if self.mesh.periodic:
            raise CaseError("a full tensor of diffusion takes no periodic axes; leave out periodic")
        if not self.diffusion.steady:
            raise CaseError("a full tensor of diffusion cannot depend on t; use a list of one entry per axis")
        if self.diffusion.power == 0.5:
            raise CaseError(
                "stratonovich has no meaning for a full tensor D, as it depends on the root of D; use ito, and add the "
                "drift of your root to velocity"
            )

    @property
    def temperature(self) -> float | None:
        """T by which the potential drifts; None if there is none."""
        return self.diffusion.temperature

    @cached_property
    def _widths(self) -> Array:
        """Widths of the cells (dim,)."""
        assert self.mesh.edges is not None
        return np.array([(edge[-1] - edge[0]) / (len(edge) - 1) for edge in self.mesh.edges])

    @cached_property
    def _tensors(self) -> Array:
        """D at the centres (cell, dim, dim), or (1, dim, dim) if it is the same in all."""
        mesh, dimension = self.mesh, self.mesh.dimension
        at = mesh.centre[:1] if self.diffusion.uniform else mesh.centre
        values = [part.at(at, self.parameters, 0.0, mesh.regions) for part in self.diffusion.components]
        tensors = self.factor * np.stack(values, axis=1).reshape(-1, dimension, dimension)
        skew = np.abs(tensors - np.swapaxes(tensors, 1, 2)).max(axis=(1, 2))
        self._require(skew <= _SYMMETRIC * np.abs(tensors).max(axis=(1, 2)), tensors, "symmetric")
        spread = np.linalg.eigvalsh(tensors)
        self._require((spread[:, 0] > 0) & (spread[:, 0] >= _DEFINITE * spread[:, -1]), tensors, "positive definite")
        return tensors

    def _require(self, valid: Any, tensors: Array, what: str) -> None:
        """Raise CaseError at the first cell whose tensor is not valid."""
        if not valid.all():
            worst = int(np.argmin(valid))
            place = ", ".join(f"{name} = {at:.6g}" for name, at in zip("xyz", self.mesh.centre[worst], strict=False))
            shown = "; ".join(" ".join(f"{entry:.6g}" for entry in row) for row in tensors[worst])
            raise CaseError(f"diffusion is [{shown}] at {place}; it has to be {what} everywhere")

    @cached_property
    def graph(self) -> Links:
        """The links between cells.

        Where the directions are so long that they leave corners of the box unlinked, half of the smallest eigenvalue of
        H^-1 D H^-1 goes along the axes, and the rest is decomposed. Raises CaseError if a direction is longer than a
        quarter of the box.
        """
        scaled = self._tensors / np.multiply.outer(self._widths, self._widths)
        links = self._linked(*selling(scaled))
        if _connected(links):
            return links
        unit = np.eye(self.mesh.dimension)
        least = 0.5 * np.linalg.eigvalsh(scaled)[:, :1]
        weights, offsets = selling(scaled - least[:, :, None] * unit)
        along = np.broadcast_to(unit.astype(int), (len(scaled), *unit.shape))
        weights = np.concatenate([weights, np.broadcast_to(least, along.shape[:2])], axis=1)
        return self._linked(weights, np.concatenate([offsets, along], axis=1))

    def _linked(self, weights: Array, offsets: Any) -> Links:
        """The links by weights (cell, link) and offsets (cell, link, dim), or (1, ...) if they are the same in all."""
        mesh, counts = self.mesh, self.mesh.shape[::-1]
        longest = np.abs(offsets[weights > 0]).max(axis=0)
        if (_LONGEST * longest > counts).any():
            axis = int(np.argmax(longest / counts))
            raise CaseError(
                f"the lattice directions of the tensor of diffusion are up to {longest[axis]} cells long along "
                f"{'xyz'[axis]}; use at least {_LONGEST * longest[axis]} cells of the same shape along it, or a tensor "
                "of less anisotropy"
            )
        strides = np.cumprod([1, *counts[:-1]])
        axes = [np.arange(mesh.cells) // stride % count for stride, count in zip(strides, counts, strict=True)]
        place = np.stack(axes, axis=1)
        keys, sides, rates = [], [], []
        for k in range(weights.shape[1]):
            for sign in (1, -1):
                there, weight = place + sign * offsets[:, k], np.broadcast_to(weights[:, k], mesh.cells)
                start = np.flatnonzero(((there >= 0) & (there < counts)).all(axis=1) & (weight > 0))
                end = there[start] @ strides
                keys.append(np.minimum(start, end) * mesh.cells + np.maximum(start, end))
                sides.append(end > start)
                rates.append(weight[start])
        key, link = np.unique(np.concatenate(keys), return_inverse=True)
        side, rate = np.concatenate(sides), np.concatenate(rates)
        return Links(
            mesh.volume,
            freeze_index(key // mesh.cells),
            freeze_index(key % mesh.cells),
            freeze(np.bincount(link[side], rate[side], len(key))),
            freeze(np.bincount(link[~side], rate[~side], len(key))),
        )

    @cached_property
    def conductance(self) -> Array:
        """|K| of each link (link,)."""
        return self.mesh.volume[self.graph.owner]

    def on_links(self, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each link (link,), 1/time; raises CaseError or NumericsError if the drift is not defined."""
        links = self.graph
        here, there = links.here, links.there
        mean = 0.5 * (here + there)
        w, eps = (here - there, logarithmic_mean(here, there)) if self.diffusion.power else (np.zeros_like(mean), mean)
        rest = drift
        if self.temperature is not None:
            value = drift.cell_potential(self.mesh, time)
            w = w + mean * (value[links.owner] - value[links.neighbour]) / self.temperature
            rest = drift.parts[1]
        return (w if rest.absent else w + mean * self._pull(rest, time)), eps

    def _pull(self, drift: BaseDrift, time: float) -> Array:
        """(D^-1 v).H e of each link (link,), at its middle."""
        if drift.regional:
            raise CaseError(
                "a drift by regions is not defined on the links of a full tensor; write it without inside()"
            )
        mesh, links = self.mesh, self.graph
        start, end = mesh.centre[links.owner], mesh.centre[links.neighbour]
        v = drift.velocity_at(0.5 * (start + end), time, 1e-3 * float(self._widths.min()))
        tensors = self._tensors
        if len(tensors) > 1:
            tensors = 0.5 * (tensors[links.owner] + tensors[links.neighbour])
        return np.asarray((np.linalg.solve(tensors, v[:, :, None])[:, :, 0] * (end - start)).sum(axis=1))

    def at_openings(self, openings: Openings, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each opening (opening,): raises CaseError, as no link ends at a wall."""
        raise CaseError(
            "a full tensor of diffusion takes no absorbing walls or cells; leave them out, or use a diagonal one"
        )

    def seam_notes(self, time: float) -> Iterator[str]:
        """Sentences on the periodic axes at whose seam an entry jumps."""
        return seam_notes(self.mesh, self.diffusion, self.parameters, time)

    def gibbs_exponent(self, drift: BaseDrift, time: float) -> Array | None:
        """-V/T (cell,), 0 without a drift; None where the convention has no equilibrium."""
        if self.diffusion.power:
            return None
        if self.temperature is not None:
            return -drift.cell_potential(self.mesh, time) / self.temperature
        return np.zeros(self.mesh.cells) if drift.absent else None


def _connected(links: Links) -> bool:
    """Whether the links join all cells."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    cells, pairs = len(links.volume), (links.owner, links.neighbour)
    graph = coo_array((np.ones(len(links.owner), np.int8), pairs), shape=(cells, cells))
    return int(connected_components(graph, directed=False)[0]) == 1
