"""A full tensor of diffusion D(x) on a box of equal cells, by links along lattice directions.

With H the diagonal matrix of the cell widths and H^-1 D H^-1 = sum_k lambda_k e_k e_k^T, lambda_k >= 0, e_k integer,

    D : grad^2 f = sum_k lambda_k (f(x + H e_k) - 2 f(x) + f(x - H e_k)) + O(h^2).

Cells K and L = K + e are linked with the rates lambda_K, lambda_L that the decompositions at the two centres give to e:

    F = |K| (lambda_K rho_K - lambda_L rho_L)                 ito: a jump process with the covariance 2 D dt
    F = |K| (lambda_K + lambda_L)/2 (rho_K - rho_L)           isothermal: int grad rho.D grad rho, cell by cell

A drift v adds w = eps (D^-1 v).H e, the potential of a temperature w = eps (V_K - V_L)/T, eps being the mean of the two
rates. Links that would leave the box are left out where walls are closed, beside which the order is 1; elsewhere they
end where they meet the wall or a cell that absorbs: see `fvflow.problems.lattice`.

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
from fvflow.mesh import Array, Mesh, Openings
from fvflow.problems.diffusivity import logarithmic_mean, require_nonnegative, seam_notes
from fvflow.problems.lattice import Directions, Lattice, Links, link_openings, links
from fvflow.problems.selling import selling

_UNIFORM = 1e-9  # deviation of the cells of a box from equal ones, in widths
_SYMMETRIC = 1e-12  # difference of D_ij and D_ji, relative to D, that is round-off
_LONGEST = 4  # directions that fit into the box one after the other, at least
_DEFINITE = 1e-10  # smallest eigenvalue over the largest


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
        if self.mesh.nonuniformity > _UNIFORM or self.mesh.product_edges is None:
            raise CaseError(
                "a full tensor of diffusion needs a box of equal cells; use mesh box, or a list if it is diagonal"
            )
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

    @property
    def along_axes(self) -> None:
        """None: its axes turn from point to point."""
        return

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
    def lattice(self) -> Lattice:
        """The cells as points of a lattice."""
        return Lattice(self.mesh)

    @cached_property
    def directions(self) -> Directions:
        """The lattice directions and their rates.

        Where the directions are so long that they leave corners of the box unlinked, half of the smallest eigenvalue of
        H^-1 D H^-1 goes along the axes, and the rest is decomposed. Raises CaseError if a direction is longer than a
        quarter of the box.
        """
        scaled = self._tensors / np.multiply.outer(self.lattice.widths, self.lattice.widths)
        found = self._short(Directions.of(*selling(scaled)))
        if _connected(links(self.lattice, found)):
            return found
        unit = np.eye(self.mesh.dimension)
        least = 0.5 * np.linalg.eigvalsh(scaled)[:, :1]
        weights, offsets = selling(scaled - least[:, :, None] * unit)
        along = np.broadcast_to(unit.astype(int), (len(scaled), *unit.shape))
        weights = np.concatenate([weights, np.broadcast_to(least, along.shape[:2])], axis=1)
        return self._short(Directions.of(weights, np.concatenate([offsets, along], axis=1)))

    def _short(self, found: Directions) -> Directions:
        """The directions; raises CaseError if one is too long for the box."""
        counts, longest = np.array(self.lattice.counts), found.longest
        if (_LONGEST * longest > counts).any():
            axis = int(np.argmax(longest / counts))
            raise CaseError(
                f"the lattice directions of the tensor of diffusion are up to {longest[axis]} cells long along "
                f"{'xyz'[axis]}; use at least {_LONGEST * longest[axis]} cells of the same shape along it, or a tensor "
                "of less anisotropy"
            )
        return found

    @cached_property
    def graph(self) -> Links:
        """The links between cells."""
        return links(self.lattice, self.directions)

    def opened(self, openings: Openings) -> Openings:
        """The openings of the links: where they leave the box through an open wall, or meet a cell that absorbs."""
        return link_openings(self.lattice, self.directions, self.graph, openings)

    @cached_property
    def conductance(self) -> Array:
        """|K| of each link (link,)."""
        return self.mesh.volume[self.graph.owner]

    def on_links(self, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each link (link,), 1/time; raises CaseError or NumericsError if the drift is not defined."""
        drift.require_joined(self.mesh, time)
        links = self.graph
        here, there = links.here, links.there
        mean = 0.5 * (here + there)
        w, eps = (here - there, logarithmic_mean(here, there)) if self.diffusion.power else (np.zeros_like(mean), mean)
        rest = drift
        if self.temperature is not None:
            value = drift.cell_potential(self.mesh, time)
            w = w + mean * (value[links.owner] - value[links.neighbour]) / self.temperature
            rest = drift.parts[1]
        if rest.absent:
            return w, eps
        start, tensors = self.mesh.centre[links.owner], self._tensors
        leap = self.mesh.nearest_image(self.mesh.centre[links.neighbour] - start)
        if len(tensors) > 1:
            tensors = 0.5 * (tensors[links.owner] + tensors[links.neighbour])
        return w + mean * self._pull(rest, tensors, start, leap, time), eps

    def _pull(self, drift: BaseDrift, tensors: Array, start: Array, leap: Array, time: float) -> Array:
        """(D^-1 v).leap (point,), v in the middle of leaps (point, dim) from their starts (point, dim)."""
        if drift.regional:
            raise CaseError(
                "a drift by regions is not defined on the links of a full tensor; write it without inside()"
            )
        middle = self.mesh.inside_period(start + 0.5 * leap)
        v = drift.velocity_at(middle, time, 1e-3 * float(self.lattice.widths.min()))
        return np.asarray((np.linalg.solve(tensors, v[:, :, None])[:, :, 0] * leap).sum(axis=1))

    def at_openings(self, openings: Openings, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each opening (opening,), eps being n.D n for the normal n of the wall: see `link_openings`.

        Raises NumericsError if n.D n is negative on the wall.
        """
        mesh, cell, axis = self.mesh, openings.cell, openings.axis
        tensors = np.broadcast_to(self._tensors, (mesh.cells, *self._tensors.shape[1:]))[cell]
        here = there = tensors[np.arange(len(cell)), axis, axis]
        if self.diffusion.power:
            there = np.empty(len(cell))
            for along in range(mesh.dimension):
                part, met = self.diffusion.components[along * (mesh.dimension + 1)], axis == along
                at = openings.position[met]
                there[met] = self.factor * part.at(at, self.parameters, time, {})
                require_nonnegative(there[met], at, f"diffusion {part.text}", time)
        mean = 0.5 * (here + there)
        w, eps = (here - there, logarithmic_mean(here, there)) if self.diffusion.power else (np.zeros_like(mean), mean)
        rest = drift
        if self.temperature is not None:
            potential, rest = drift.parts
            w = w + mean * potential.drop_to_openings(mesh, openings, time) / self.temperature
        if rest.absent:
            return w, eps
        leap = mesh.nearest_image(openings.position - mesh.centre[cell])
        return w + mean * self._pull(rest, tensors, mesh.centre[cell], leap, time), eps

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
