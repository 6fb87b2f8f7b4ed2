"""Implicit Euler with upstream mobility: a step that has a solution for any data, found by continuation if need be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import factorise
from fvflow.mesh import Array
from fvflow.steppers.newton import NotConverged, limited, round_off
from fvflow.steppers.step_energy import VACUUM, ContinuedEnergy
from fvflow.steppers.transport_step import Faces, TransportStep
from fvflow.steppers.upwind_newton import capped_weight

_DIRECT, _CONTINUED = 15, 14  # Newton iterations at the whole length, and at each of a continuation
_SHRINK, _FIRST_GROWTH, _MAX_GROWTH, _MIN_GROWTH = 4.0, 8.0, 64.0, 1.0005
_FAST = 8  # iterations below which the continuation grows faster
_ATTEMPTS = 60
_LARGEST_COUNT = 5000  # Newton iterations of a continuation
_TOLERANCE = 1e-10  # residual of continuity, relative to the mass


def newton(step: TransportStep, energy: ContinuedEnergy, start: Array, iterations: int) -> tuple[Array, Array, int]:
    """mu = E'(rho), rho (cell,) and the iterations of |K| (rho - rho^n) + outflow(rho, mu) = 0, from a start (cell,).

    The outflow of a cell rises with its own density and falls with those beside it, and the columns of the Jacobian sum
    to |K|: an M-function, so that there is one solution, it is non-negative, and the energy falls (Bailo, Carrillo, Hu,
    Commun. Math. Sci. 18, 2020). Unknowns are the changes of mu, which scales the columns of empty cells. Raises
    NotConverged if the iteration does not converge.
    """
    mesh, volume, mean = step.mesh, step.mesh.volume, step.mean
    density = np.maximum(start, VACUUM * mean)
    density *= step.mass / float(volume @ density)
    lost = np.inf
    for iteration in range(iterations + 1):
        mu = energy.first(density)
        faces = step.faces(mu)
        flow = faces.conductance * density[faces.source]
        residual = step.continuity(density, faces)
        lost = float(np.abs(residual).sum()) / step.mass
        if lost <= max(_TOLERANCE, round_off(mesh, flow, mu, step.mass) / step.mass):
            return mu, step.transported(mu), iteration
        if iteration == iterations or not np.isfinite(lost):
            break
        try:
            change = _newton_step(step, energy, faces, mu, density, residual)
        except NumericsError:
            break
        density = limited(density, change, mean)
    raise NotConverged(iteration, f"the implicit upwind step stopped at the residual {lost:.1e} of the mass")


def _newton_step(
    step: TransportStep, energy: ContinuedEnergy, faces: Faces, mu: Array, density: Array, residual: Array
) -> Array:
    """The change of rho (cell,) that cancels the residual to first order; raises NumericsError if there is none."""
    from scipy.sparse import coo_array

    mesh, volume, cells = step.mesh, step.mesh.volume, np.arange(step.mesh.cells)
    flow = faces.conductance * density[faces.source]
    weight = capped_weight(energy.second(density), density, step.mean, energy.scale(mu, density))
    gain = faces.speed * weight[faces.source]
    diagonal = volume * weight + np.bincount(faces.source, gain, mesh.cells)
    diagonal += np.bincount(mesh.owner, flow, mesh.cells) + np.bincount(mesh.neighbour, flow, mesh.cells)
    rows = np.concatenate([cells, mesh.owner, mesh.neighbour, faces.target])
    columns = np.concatenate([cells, mesh.neighbour, mesh.owner, faces.source])
    scale = 1.0 / np.maximum(diagonal, np.finfo(float).tiny)
    values = np.concatenate([diagonal, -flow, -flow, -gain]) * scale[columns]
    if not np.isfinite(values.sum()):
        raise NumericsError("the Newton matrix overflowed")
    matrix = coo_array((values, (rows, columns)), shape=(mesh.cells, mesh.cells)).tocsc()
    return np.asarray(weight * scale * factorise(matrix).solve(-residual))


def solve(step: TransportStep, energy: ContinuedEnergy, predict: Callable[[float], Array]) -> tuple[Array, Array, int]:
    """As `newton`; if that does not converge, by continuation in the length of the step.

    `predict(part)` is a start for the step of that part of the length. The solution depends continuously on the length,
    from rho^n at 0, and the Jacobian is never singular; so each length is reached from a shorter one, by factors that
    shrink where Newton's method does not follow. Raises NotConverged if round-off stops that.
    """

    def scaled(part: float) -> TransportStep:
        return replace(step, forward=part * step.forward, backward=part * step.backward)

    try:
        return newton(step, energy, predict(1.0), _DIRECT)
    except NotConverged as failure:
        spent = failure.iterations
    part, mu, density, more = _first_part(scaled, energy, predict)
    spent, growth = spent + more, _FIRST_GROWTH
    while part < 1.0:
        next_part = min(1.0, part * growth)
        try:
            mu, density, count = newton(scaled(next_part), energy, density, _CONTINUED)
            part, spent = next_part, spent + count
            growth = min(growth**1.5, _MAX_GROWTH) if count < _FAST else growth
        except NotConverged as failure:
            growth, spent = growth**0.5, spent + failure.iterations
            if growth < _MIN_GROWTH:
                raise NotConverged(spent, str(failure)) from None
        if spent > _LARGEST_COUNT:
            raise NotConverged(spent, f"the implicit upwind step took more than {_LARGEST_COUNT} iterations")
    return mu, density, spent


def _first_part(
    scaled: Callable[[float], TransportStep], energy: ContinuedEnergy, predict: Callable[[float], Array]
) -> tuple[float, Array, Array, int]:
    """A part of the length for which Newton's method converges from the prediction."""
    part, spent = 1.0, 0
    for _ in range(_ATTEMPTS):
        part /= _SHRINK
        try:
            mu, density, count = newton(scaled(part), energy, predict(part), _CONTINUED)
            return part, mu, density, spent + count
        except NotConverged as failure:
            spent += failure.iterations
    raise NotConverged(spent, "the implicit upwind step does not converge at any length")
