"""Fields of cells that are computed from the density at each saved time: velocity, score, rate of change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from fvflow.mesh import Array, Mesh, Openings
from fvflow.problems import OutputVariable, State
from fvflow.transport.geodesic import cell_vectors

_AXES = "xyz"
_RINGS = 2  # rings of neighbours that a gradient is fitted to, off grids


@dataclass(frozen=True)
class CellFields:
    """The fields of a problem that a case asks for; they are nan in cells where, or beside which, rho has no log."""

    problem: Any
    """The problem in arrays; a velocity needs one with `face_velocity`, a rate one with `rate`."""
    velocity: bool = False
    """Whether v_x, v_y, v_z are wanted: v of d_t rho + div(rho v) = 0, drift - eps grad log rho or -grad E'(rho)."""
    score: bool = False
    """Whether score_x, score_y, score_z are wanted: grad log rho."""
    rate: bool = False
    """Whether d_t rho is wanted, by the discretisation in space."""
    _gradients: list[Callable[[Array], Array]] = field(default_factory=list, init=False, repr=False)

    def variables(self) -> dict[str, OutputVariable]:
        """The variables of a result."""
        found: dict[str, OutputVariable] = {}
        for wanted, name, text in (
            (self.velocity, "v", "component of the velocity of the probability flow"),
            (self.score, "score", "component of the score grad log rho"),
        ):
            for axis in _AXES[: self.problem.mesh.dimension] if wanted else ():
                long_name = f"{axis} {text}, nan where or beside where rho is 0"
                found[f"{name}_{axis}"] = OutputVariable(("cell",), long_name, signed=True)
        if self.rate:
            found["rate"] = OutputVariable(("cell",), "d_t rho, by the fluxes of rho", signed=True)
        return found

    @property
    def memory(self) -> int:
        """Estimated bytes that they need at a saved time; off grids a score needs the weights of its neighbours."""
        mesh: Mesh = self.problem.mesh
        weights = 3000 * mesh.dimension * mesh.cells if self.score and mesh.edges is None else 0
        return 32 * mesh.cells * len(self.variables()) + weights

    def at(self, problem: Any, state: State) -> dict[str, Array]:
        """Their values (cell,) in a state, by name; `problem` is that of the flow in this state."""
        density, time = state.density, state.time
        found: dict[str, Array] = {}
        if self.velocity:
            velocity = cell_velocity(problem.mesh, problem.openings, problem.face_velocity(density, time))
            found |= {f"v_{axis}": component for axis, component in zip(_AXES, velocity.T, strict=False)}
        if self.score:
            if not self._gradients:  # of the mesh, once
                self._gradients.append(cell_gradient(problem.mesh))
            score = self._gradients[0](logarithm(density))
            found |= {f"score_{axis}": component for axis, component in zip(_AXES, score.T, strict=False)}
        if self.rate:
            found["rate"] = problem.rate(density, time)
        return found


def logarithm(density: Array) -> Array:
    """log rho (cell,), nan where rho is not positive."""
    return np.log(density, out=np.full_like(density, np.nan), where=density > 0)


def cell_velocity(mesh: Mesh, openings: Openings | None, normal: Array) -> Array:
    """The velocity at the centres (cell, dim) of normal components (face,), which are 0 on closed walls.

    Second order on grids, first order on other meshes (`cell_vectors`). The component through an opening is that of the
    cell, so that it is first order there.
    """
    if openings is None:
        return cell_vectors(mesh, normal)
    closed = openings.closed >= 0
    shut = closed[mesh.owner] | closed[mesh.neighbour]
    velocity = cell_vectors(mesh, np.where(shut, 0.0, normal))
    reach = mesh.nearest_image(openings.position - mesh.centre[openings.cell])
    if mesh.revolution is None or mesh.edges is None:
        share = openings.area / mesh.volume[openings.cell]
    else:  # one over the width of the cell
        share = 0.5 / (reach * openings.normal).sum(axis=1)
    outward = share[:, None, None] * reach[:, :, None] * openings.normal[:, None, :]
    matrix = np.broadcast_to(np.eye(mesh.dimension), (mesh.cells, mesh.dimension, mesh.dimension)).copy()
    np.subtract.at(matrix, openings.cell, outward)
    beside = np.unique(openings.cell)
    velocity[beside] = np.linalg.solve(matrix[beside], velocity[beside, :, None])[:, :, 0]
    velocity[closed] = np.nan
    return velocity


def cell_gradient(mesh: Mesh) -> Callable[[Array], Array]:
    """f (cell,) at the centres -> grad f (cell, dim), exact for quadratic f; 0 along an axis with a single cell.

    On grids by differences of three centres along each axis, on other meshes by weighted least squares over two rings
    of neighbours, exact only where these suffice for all second derivatives.
    """
    return _grid_gradient(mesh) if mesh.edges is not None else _least_squares_gradient(mesh)


def _grid_gradient(mesh: Mesh) -> Callable[[Array], Array]:
    def along(values: Array, axis: int) -> Array:
        edge, place = (mesh.edges or ())[axis], mesh.dimension - 1 - axis
        centre, rows = 0.5 * (edge[1:] + edge[:-1]), values.reshape(mesh.shape)
        if len(centre) == 1:
            return np.zeros(mesh.cells)
        if axis not in mesh.periodic:
            ends: Literal[1, 2] = 1 if len(centre) == 2 else 2
            return np.asarray(np.gradient(rows, centre, axis=place, edge_order=ends)).ravel()
        period = edge[-1] - edge[0]
        wide = np.concatenate([centre[-1:] - period, centre, centre[:1] + period])
        rows = np.pad(rows, [(int(at == place),) * 2 for at in range(mesh.dimension)], mode="wrap")
        slopes: Array = np.gradient(rows, wide, axis=place)
        return slopes.take(range(1, len(wide) - 1), place).ravel()

    return lambda values: np.stack([along(values, axis) for axis in range(mesh.dimension)], axis=1)


def _least_squares_gradient(mesh: Mesh) -> Callable[[Array], Array]:
    from scipy.sparse import coo_array, eye_array

    cells, ends = mesh.cells, (mesh.owner, mesh.neighbour)
    beside = coo_array((np.ones(2 * mesh.faces), (np.concatenate(ends), np.concatenate(ends[::-1]))), (cells, cells))
    near = eye_array(cells, format="csr")
    for _ in range(_RINGS):
        near = (near @ (beside.tocsr() + eye_array(cells, format="csr"))).tocsr()
    cell, other = near.nonzero()
    cell, other = cell[cell != other], other[cell != other]
    size = mesh.cell_size
    offset = (mesh.centre[other] - mesh.centre[cell]) / size[cell, None]
    pairs = [(one, two) for two in range(mesh.dimension) for one in range(two + 1)]
    terms = np.concatenate([offset, *(offset[:, [one]] * offset[:, [two]] for one, two in pairs)], axis=1)
    weight = 1.0 / (offset**2).sum(axis=1)
    moments = np.zeros((cells, terms.shape[1], terms.shape[1]))
    np.add.at(moments, cell, weight[:, None, None] * terms[:, :, None] * terms[:, None, :])
    inverse = np.linalg.pinv(moments, rcond=1e-10, hermitian=True)[:, : mesh.dimension]
    factors = np.einsum("pij,pj->pi", inverse[cell], terms) * (weight / size[cell])[:, None]

    def of(values: Array) -> Array:
        rise = values[other] - values[cell]
        return np.stack([np.bincount(cell, rise * factor, cells) for factor in factors.T], axis=1)

    return of
