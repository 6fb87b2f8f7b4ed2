"""Curves of densities: metric speed, length, action, and the bound of W2 that an admissible curve gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fvflow.errors import CaseError
from fvflow.geometry.tangent import FaceMean, Tangent, face_density, tangent
from fvflow.linalg import divergence
from fvflow.mesh import Array, Mesh
from fvflow.problems import logarithmic_mean

_CONTINUOUS = 1e-12  # residual of continuity, relative to the mass, up to which an action is that of the curve


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve (rho, m) of densities and momenta: continuity, action and length; the notes, equations (44)-(57)."""

    times: Array
    """Times of the densities (time,)."""
    speed: Array
    """Discrete metric speed of each interval (interval,): (sum d m_s^2/(|s| rho_s))^(1/2)."""
    action: float
    """int |rho'|^2 dt, the sum over intervals of length times speed squared."""
    length: float
    """int |rho'| dt."""
    residual: float
    """Largest |K| |rho^{k+1} - rho^k + dt div m| of a cell, relative to the mass."""
    continuum_action: float
    """int int |m|^2/rho of densities that are constant in each cell and momenta that are linear; inf unless known.

    Between times rho = (1 - s) rho^k + s rho^{k+1} and m is s'(t) times that given, so that continuity holds at every
    point; s goes from 0 to 1, linearly or, where the action is less, as the square of a sine.
    """
    w2_upper: float
    """(duration times `continuum_action`)^(1/2), an upper bound of W2 between the ends; inf unless known."""
    step_upper: Array
    """The same for the ends of each interval (interval,)."""
    length_upper: float
    """The sum of `step_upper`: at least the length of a curve through the densities, and W2, and at most `w2_upper`."""
    fault: str
    """Why no bound of W2 follows, as a sentence; empty if one does."""


def curve(
    mesh: Mesh, times: Array, density: Array, momentum: Array | None = None, mean: FaceMean = "logarithmic"
) -> Curve:
    """The curve of densities (time, cell) at times (time,), with mass fluxes (interval, face) through the faces.

    Without momentum, that of the tangents is taken, at the mean of the two densities. The bound of W2 is known on
    grids, of the torus if axes are periodic, where continuity holds to 1e-12 of the mass: it is that of Benamou and
    Brenier for a pair which satisfies the equation exactly (Numer. Math. 84, 2000), evaluated in closed form. Raises
    CaseError for arrays that do not fit.
    """
    times, density = _checked(mesh, times, density)
    steps = np.diff(times)
    if momentum is None:
        momentum = np.stack([each.flux for each in _tangents(mesh, times, density, mean)])
    flux = np.asarray(momentum, float)
    if flux.shape != (len(steps), mesh.faces):
        raise CaseError(f"momenta of shape {flux.shape}; give ({len(steps)}, {mesh.faces}), by interval and face")
    mass = float(mesh.volume @ density[0])
    squares, continuum, residual = np.zeros(len(steps)), np.zeros(len(steps)), 0.0
    for k, (step, m) in enumerate(zip(steps, flux, strict=True)):
        change = mesh.volume * (density[k + 1] - density[k]) + step * divergence(mesh, m)
        residual = max(residual, float(np.abs(change).max()) / mass)
        between = face_density(mesh, 0.5 * (density[k] + density[k + 1]), mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(m == 0, 0.0, mesh.distance * m**2 / (mesh.area * between))
        squares[k] = parts.sum()
        continuum[k] = step * _continuum(mesh, density[k], density[k + 1], m)
    fault = _fault(mesh, residual)
    if fault:
        continuum[:] = math.inf
    elif not np.isfinite(continuum).all():
        fault = "mass moves where there is none, so that the action is infinite: no bound of W2 follows"
    speed, upper = np.sqrt(squares), np.sqrt(steps * continuum)
    action = float(continuum.sum())
    return Curve(
        times,
        speed,
        float(steps @ squares),
        float(steps @ speed),
        residual,
        action,
        math.sqrt(float(times[-1] - times[0]) * action),
        upper,
        float(upper.sum()),
        fault,
    )


def _fault(mesh: Mesh, residual: float) -> str:
    """Why the action is that of no curve between the densities, or not known; empty if neither."""
    if not residual <= _CONTINUOUS:
        return (
            f"continuity is violated by {residual:.1e} of the mass, which is no round-off: these fluxes lead to other "
            "densities, and no bound of W2 follows"
        )
    if mesh.product_edges is None:
        return "no bound of W2 follows on this mesh: one is known on boxes and graded boxes"
    return ""


def speed(mesh: Mesh, times: Array, density: Array, mean: FaceMean = "logarithmic") -> Array:
    """The metric speed (interval,) of densities (time, cell): the norm of their difference quotients at their means."""
    times, density = _checked(mesh, times, density)
    return np.sqrt([each.square for each in _tangents(mesh, times, density, mean)])


def geodesic_defect(mesh: Mesh, times: Array, density: Array, mean: FaceMean = "logarithmic") -> float:
    """How far a curve is from a geodesic of constant speed: d_t Psi + |grad Psi|^2/2 = c(t) on its support.

    The root mean square, weighted by mass and divided by that of |grad Psi|^2/2, of the left side less its mean, over
    all inner times; 0 for geodesics as cells and intervals shrink. Raises CaseError for fewer than three times.
    """
    times, density = _checked(mesh, times, density)
    if len(times) < 3:
        raise CaseError(f"{len(times)} times; the equation of geodesics needs at least 3")
    found = _tangents(mesh, times, density, mean)
    middle = 0.5 * (times[1:] + times[:-1])
    total, scale = 0.0, 0.0
    for k in range(1, len(found)):
        before, after = found[k - 1], found[k]
        weight = mesh.volume * density[k]
        kinetic = 0.25 * (_kinetic(before) + _kinetic(after))
        left = (after.potential - before.potential) / (middle[k] - middle[k - 1]) + kinetic
        known = np.isfinite(left) & (weight > 0)
        weight = np.where(known, weight, 0.0) / weight[known].sum()
        left = np.where(known, left, 0.0)
        total += float(weight @ (left - weight @ left) ** 2)
        scale += float(weight @ np.where(known, kinetic, 0.0) ** 2)
    return math.sqrt(total / scale) if scale > 0 else 0.0


def _kinetic(found: Tangent) -> Array:
    """|grad Psi|^2 of each cell (cell,): sum of |s| d v^2/2 of its faces over |K|, exact in the mean over the mesh."""
    mesh = found.mesh
    half = 0.5 * mesh.area * mesh.distance * found.velocity**2
    total = np.bincount(mesh.owner, half, mesh.cells) + np.bincount(mesh.neighbour, half, mesh.cells)
    return np.asarray(total / mesh.volume)


def _tangents(mesh: Mesh, times: Array, density: Array, mean: FaceMean) -> list[Tangent]:
    """The tangent of each interval, at the mean of its two densities."""
    pairs = zip(density[:-1], density[1:], np.diff(times), strict=True)
    return [tangent(mesh, 0.5 * (a + b), (b - a) / step, mean) for a, b, step in pairs]


def _continuum(mesh: Mesh, before: Array, after: Array, flux: Array) -> float:
    """int |m|^2/rho over an interval of length 1, on a grid; inf on other meshes.

    rho = (1 - s) a + s b and m = s' M with s = t, int dt/rho = 1/logmean(a, b), or, where that is less,
    s = sin(pi t/2)^2, int s'^2 dt/rho = pi^2/(2 (a^(1/2) + b^(1/2))^2), which is finite where one of them is 0.
    Along each axis M is linear between the faces of a cell, 0 at walls: int M^2 = |K| (l^2 + l u + u^2)/3.
    """
    if mesh.product_edges is None:
        return math.inf
    square = np.zeros(mesh.cells)
    along = np.argmax(np.abs(mesh.normal), axis=1)
    for axis in range(mesh.dimension):
        faces = np.flatnonzero(along == axis)
        m = flux[faces] / mesh.area[faces]
        upper, lower = np.zeros(mesh.cells), np.zeros(mesh.cells)
        upper[mesh.owner[faces]], lower[mesh.neighbour[faces]] = m, m
        square += (upper**2 + upper * lower + lower**2) / 3.0
    means = logarithmic_mean(before, after), 2.0 / np.pi**2 * (np.sqrt(before) + np.sqrt(after)) ** 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return min(float(mesh.volume @ np.where(square == 0, 0.0, square / mean)) for mean in means)


def _checked(mesh: Mesh, times: Array, density: Array) -> tuple[Array, Array]:
    """The times and densities; raises CaseError if they do not fit."""
    at, values = np.asarray(times, float), np.asarray(density, float)
    if at.ndim != 1 or len(at) < 2 or not (np.diff(at) > 0).all():
        raise CaseError(f"times {at.shape}; give at least two, increasing")
    values = values.reshape(len(values), -1)
    if values.shape != (len(at), mesh.cells):
        raise CaseError(f"densities of shape {values.shape}; give ({len(at)}, {mesh.cells}), by time and cell")
    mass = values @ mesh.volume
    if np.abs(mass - mass[0]).max() > 1e-9 * abs(mass[0]):
        raise CaseError(f"the masses go from {mass.min():.15g} to {mass.max():.15g}; a curve keeps its mass")
    return at, values
