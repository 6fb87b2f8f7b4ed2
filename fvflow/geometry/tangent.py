"""Tangent vectors of densities: potentials, the metric, gradients of energies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.linalg import ReusedAMG, divergence, factorise
from fvflow.mesh import Array, Index, Mesh
from fvflow.problems import logarithmic_mean

FaceMean = Literal["logarithmic", "arithmetic"]
_UNBALANCED = 1e-9  # total of a rate, relative to the sum of its sizes, that is put down to round-off
_RESIDUAL = 1e-13  # at which refinement stops
_REFINEMENTS = 20
_CG = (1e-10, 400)  # tolerance and most iterations of one solve by conjugate gradients
_LARGEST = {1: 2**22, 2: 2**18, 3: 2**14}  # cells of a factorisation, by dimension


@dataclass(frozen=True, eq=False)
class Tangent:
    """A rate s of a density rho, and its potential: -div(rho grad Psi) = s."""

    mesh: Mesh
    density: Array
    """rho (cell,)."""
    rate: Array
    """s (cell,), of total 0 in each part of the mesh in which mass can move."""
    potential: Array
    """Psi (cell,); 0 in the fullest cell of each part, nan in cells that no mass can reach or leave."""
    flux: Array
    """Mass through each face per unit time (face,): |s| rho_s grad Psi . n, refined beyond what Psi can hold."""
    mean: FaceMean
    """The mean of rho on faces."""

    @cached_property
    def velocity(self) -> Array:
        """grad Psi . n of each face (face,): the flux over |s| rho_s; 0 on faces without mass."""
        mass = self.mesh.area * face_density(self.mesh, self.density, self.mean)
        return np.where(mass > 0, self.flux / np.where(mass > 0, mass, 1.0), 0.0)

    @property
    def residual(self) -> float:
        """Largest |sum_s m_s + |K| s| of a cell, relative to sum |K| |s|; 0 for a rate of 0."""
        content = self.mesh.volume * self.rate
        size = float(np.abs(content).sum())
        return float(np.abs(content + divergence(self.mesh, self.flux)).max()) / size if size else 0.0

    @property
    def square(self) -> float:
        """g(s, s) = sum |s| d rho_s (grad Psi . n)^2."""
        return float((self.flux * self.mesh.distance) @ self.velocity)


def face_density(mesh: Mesh, density: Array, mean: FaceMean = "logarithmic") -> Array:
    """rho_s of each face (face,): the logarithmic mean of both cells, of which d rho = rho d log rho, or their average.

    The metric by logarithmic means is more accurate for dilations, by averages for translations; both are of order 2.
    Raises CaseError if the density is negative or not finite, or not one value per cell.
    """
    values = np.asarray(density, float)
    if values.shape != (mesh.cells,):
        raise CaseError(f"a density of shape {values.shape} on a mesh of {mesh.cells} cells; give ({mesh.cells},)")
    if not (values >= 0).all() or not np.isfinite(values).all():
        cell = int(np.argmin(np.where(np.isfinite(values), values, -np.inf)))
        raise CaseError(f"the density is {values[cell]:g} in cell {cell}; give one that is finite and >= 0")
    here, there = values[mesh.owner], values[mesh.neighbour]
    match mean:
        case "logarithmic":
            return logarithmic_mean(here, there)
        case "arithmetic":
            return np.asarray(0.5 * (here + there))
    raise CaseError(f"mean {mean!r}; give logarithmic or arithmetic")


def tangent(mesh: Mesh, density: Array, rate: Array, mean: FaceMean = "logarithmic") -> Tangent:
    """The tangent of a rate (cell,) at a density (cell,): Psi with -div(rho grad Psi) = s; the notes, equation (150).

    sum_s T rho_s (Psi_K - Psi_L) = |K| s, by factors up to some 1e5 cells and by conjugate gradients beyond, refined
    until the residual is 1e-13. What round-off leaves of the total of the rate is spread like the mass in the solve,
    since emptier cells would turn it into velocities, and stays in the residual. Raises CaseError if the rate does not
    keep the mass of each part of the mesh in which mass can move, NumericsError if the residual stays above 1e-9.
    """
    weight = mesh.transmissibility * face_density(mesh, density, mean)
    right = mesh.volume * _checked_rate(mesh, rate)
    part = _parts(mesh, weight > 0)
    size = float(np.abs(right).sum())
    totals = np.bincount(part, right)
    if np.abs(totals).max() > _UNBALANCED * size:
        worst = int(np.argmax(np.abs(totals)))
        cells = int((part == worst).sum())
        if cells < mesh.cells:
            where = (
                f"of the {cells} cells about cell {int(np.argmax(part == worst))}, which exchange no mass with others,"
            )
        else:
            where = "of all cells"
        raise CaseError(f"the rate {where} adds up to {totals[worst]:.3g}; a tangent moves mass, and its total is 0")
    content = mesh.volume * np.asarray(density, float)
    balanced = right - totals[part] * content / np.maximum(np.bincount(part, content), np.finfo(float).tiny)[part]
    potential, flux = _solved(mesh, weight, balanced, part, np.asarray(density, float), size)
    found = Tangent(mesh, np.asarray(density, float), np.asarray(rate, float), potential, flux, mean)
    if not found.residual <= _UNBALANCED:
        raise NumericsError(
            f"the potential of the tangent is off by {found.residual:.1e}: the density spans too many orders of "
            "magnitude; give one that is cut off, or on a finer mesh"
        )
    return found


def inner(mesh: Mesh, density: Array, first: Array, second: Array, mean: FaceMean = "logarithmic") -> float:
    """g(s, t) = int Psi_s t of two rates (cell,) at a density (cell,): the Otto metric, equations (147)-(149)."""
    potential = tangent(mesh, density, second, mean).potential
    return float((mesh.volume * _checked_rate(mesh, first)) @ np.where(np.isfinite(potential), potential, 0.0))


def norm(mesh: Mesh, density: Array, rate: Array, mean: FaceMean = "logarithmic") -> float:
    """sqrt(g(s, s)) of a rate (cell,) at a density (cell,): the metric speed |rho'|."""
    return float(np.sqrt(tangent(mesh, density, rate, mean).square))


@dataclass(frozen=True, eq=False)
class Projection:
    """A velocity on faces (face,) as a gradient and a rest that changes no density: v = grad Psi + w."""

    potential: Array
    """Psi (cell,)."""
    gradient: Array
    """grad Psi . n (face,)."""
    rest: Array
    """w . n (face,), with div(rho w) = 0."""
    action: float
    """int rho |v|^2 of the velocity."""
    least: float
    """int rho |grad Psi|^2, the least that gives the same rate; the rest has the difference."""
    residual: float
    """As of `Tangent`: how far div(rho w) is from 0."""


def project(mesh: Mesh, density: Array, velocity: Array, mean: FaceMean = "logarithmic") -> Projection:
    """The tangent part of a velocity v . n (face,) at a density (cell,); the notes, equations (152)-(153)."""
    v = np.asarray(velocity, float)
    if v.shape != (mesh.faces,):
        raise CaseError(f"a velocity of shape {v.shape} on {mesh.faces} faces; give v . n of each, ({mesh.faces},)")
    mass = mesh.area * face_density(mesh, density, mean)
    found = tangent(mesh, density, -divergence(mesh, mass * v) / mesh.volume, mean)
    action = float((mass * mesh.distance) @ v**2)
    return Projection(found.potential, found.velocity, v - found.velocity, action, found.square, found.residual)


def gradient(mesh: Mesh, density: Array, variation: Array, mean: FaceMean = "logarithmic") -> Array:
    """grad E = -div(rho grad E') (cell,), from E' (cell,): the rate s with g(s, t) = int E' t for every t.

    The gradient flow is d_t rho = -grad E; the notes, equation (149).
    """
    weight = mesh.transmissibility * face_density(mesh, density, mean)
    mu = np.asarray(variation, float)
    return -divergence(mesh, weight * (mu[mesh.neighbour] - mu[mesh.owner])) / mesh.volume


def slope(mesh: Mesh, density: Array, variation: Array, mean: FaceMean = "logarithmic") -> float:
    """|grad E| = (int rho |grad E'|^2)^(1/2), from E' (cell,); a gradient flow lowers E at the rate of its square."""
    weight = mesh.transmissibility * face_density(mesh, density, mean)
    mu = np.asarray(variation, float)
    ahead = np.where(weight > 0, mu[mesh.neighbour] - mu[mesh.owner], 0.0)
    return float(np.sqrt(weight @ ahead**2))


def duality_map(vectors: Array, power: float) -> Array:
    """j_q(v) = |v|^(q - 2) v of vectors (point, dim), 0 at 0: the tangents of W_q; the notes, equation (154)."""
    if not power > 1:
        raise CaseError(f"the power q is {power:g}; give one above 1")
    v = np.asarray(vectors, float)
    size = np.linalg.norm(v, axis=-1, keepdims=True)
    return np.asarray(np.where(size > 0, np.where(size > 0, size, 1.0) ** (power - 2.0), 0.0) * v)


def _checked_rate(mesh: Mesh, rate: Array) -> Array:
    """The rate (cell,); raises CaseError if it is not finite or not one number per cell."""
    values = np.asarray(rate, float)
    if values.shape != (mesh.cells,) or not np.isfinite(values).all():
        raise CaseError(f"a rate of shape {values.shape} on a mesh of {mesh.cells} cells; give a finite one per cell")
    return values


def _parts(mesh: Mesh, open_faces: Any) -> Index:
    """The number (cell,) of the part of the mesh that each cell exchanges mass with."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = mesh.owner[open_faces], mesh.neighbour[open_faces]
    links = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(mesh.cells, mesh.cells))
    return np.asarray(connected_components(links, directed=False)[1], np.int32)


def _solved(mesh: Mesh, weight: Array, right: Array, part: Index, density: Array, size: float) -> tuple[Array, Array]:
    """Psi (cell,) and the flux (face,), refined until the residual falls no more; the fullest cell of a part keeps 0.

    The fluxes of the corrections are summed, so that they are not lost in those of large differences of Psi.
    """
    from scipy.sparse import coo_array

    order = np.lexsort((mesh.volume * density, part))
    pinned = order[np.append(np.flatnonzero(np.diff(part[order])), len(order) - 1)]  # the last of each part
    diagonal = np.bincount(mesh.owner, weight, mesh.cells) + np.bincount(mesh.neighbour, weight, mesh.cells)
    free = diagonal > 0
    potential = np.where(free, 0.0, np.nan)
    free[pinned] = False
    unknown = np.flatnonzero(free)
    if not len(unknown) or size == 0:
        return potential, np.zeros(mesh.faces)
    place = np.full(mesh.cells, -1)
    place[unknown] = np.arange(len(unknown))
    scale = 1.0 / np.sqrt(diagonal[unknown])
    rows, columns = place[mesh.owner], place[mesh.neighbour]
    both = (rows >= 0) & (columns >= 0) & (weight > 0)
    values = -weight[both] * scale[rows[both]] * scale[columns[both]]
    pairs = (
        np.concatenate([rows[both], columns[both], np.arange(len(unknown))]),
        np.concatenate([columns[both], rows[both], np.arange(len(unknown))]),
    )
    entries = np.concatenate([values, values, np.ones(len(unknown))])
    matrix = coo_array((entries, pairs), shape=(len(unknown),) * 2).tocsc()
    solve = _solver(matrix, mesh)
    psi, flux, left, best = np.zeros(mesh.cells), np.zeros(mesh.faces), right.copy(), np.inf
    for _ in range(_REFINEMENTS):
        step = np.zeros(mesh.cells)
        step[unknown] = scale * solve(scale * left[unknown])
        trial, moved = psi + step, flux + weight * (step[mesh.neighbour] - step[mesh.owner])
        remaining = right + divergence(mesh, moved)
        residual = float(np.abs(remaining).max()) / size
        if residual >= 0.5 * best:
            if residual < best:
                psi, flux, best = trial, moved, residual
            break
        psi, flux, left, best = trial, moved, remaining, residual
        if best <= _RESIDUAL / 10:
            break
    potential[unknown] = psi[unknown]
    return potential, flux


def _solver(matrix: Any, mesh: Mesh) -> Any:
    """right -> solution, by factors or by conjugate gradients."""
    if mesh.cells <= _LARGEST[mesh.dimension]:
        return factorise(matrix).solve
    multigrid, rows = ReusedAMG(), matrix.tocsr()
    return lambda right: multigrid.solve(rows, right, *_CG)
