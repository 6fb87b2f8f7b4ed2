"""Implicit Euler with upstream mobility: a step that has a solution for any data, found by continuation if need be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg import factorise, inner
from fvflow.mesh import Array
from fvflow.steppers.newton import NotConverged, limited, round_off
from fvflow.steppers.step_energy import VACUUM, ContinuedEnergy
from fvflow.steppers.transport_step import Faces, TransportStep
from fvflow.steppers.upwind_newton import capped_weight

_PREDICTED, _FLAT, _CONTINUED = 40, 120, 8  # iterations without gain from each start, see `newton`
_LONGEST = 150  # Newton iterations from one start
_FLOOR = 0.01  # smallest density of the start of constant E', relative to the mean
_SHRINK, _FIRST_GROWTH, _MAX_GROWTH, _MIN_GROWTH = 4.0, 8.0, 64.0, 1.0005
_FAST = 8  # iterations below which the continuation grows faster
_ATTEMPTS = 60
_LARGEST_COUNT = 5000  # Newton iterations of a continuation
_TOLERANCE = 1e-10  # residual of continuity, relative to the mass


def newton(step: TransportStep, energy: ContinuedEnergy, start: Array, patience: int) -> tuple[Array, Array, int]:
    """mu = E'(rho), rho (cell,) and the iterations of |K| (rho - rho^n) + outflow(rho, mu) = 0, from a start (cell,).

    The outflow of a cell rises with its own density and falls with those beside it, and the columns of the Jacobian sum
    to |K|: an M-function, so that there is one solution, it is non-negative, and the energy falls (Bailo, Carrillo, Hu,
    Commun. Math. Sci. 18, 2020). Unknowns are the changes of mu, which scales the columns of empty cells. Raises
    NotConverged where the least residual has not halved for `patience` iterations: a spike of a large exponent first
    loses a third of a digit in each, and a front then crosses the mesh at almost constant residual.
    """
    mesh, volume, mean = step.mesh, step.mesh.volume, step.mean
    density = np.maximum(start, VACUUM * mean)
    density *= step.mass / inner(volume, density)
    lost, least, gained = np.inf, np.inf, 0
    for iteration in range(_LONGEST + 1):
        mu = energy.first(density)
        faces = step.faces(mu)
        flow = faces.conductance * density[faces.source]
        residual = step.continuity(density, faces)
        lost = float(np.abs(residual).sum()) / step.mass
        parts = np.maximum(np.abs(energy.potential(density)), density * energy.second(density))  # which cancel in mu
        if lost <= max(_TOLERANCE, round_off(mesh, flow, np.maximum(np.abs(mu), parts), step.mass) / step.mass):
            return mu, step.transported(mu), iteration
        if lost < 0.5 * least:
            least, gained = lost, iteration
        if not np.isfinite(lost) or iteration - gained >= patience or iteration == _LONGEST:
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
    """As `newton` from the prediction, else from the density of constant E', else by continuation in the length.

    `predict(part)` is a start for the step of that part of the length. The solution depends continuously on the length,
    from rho^n at 0, and the Jacobian is never singular; so each length is reached from a shorter one, by factors that
    shrink where Newton's method does not follow. Raises NotConverged if round-off stops that.
    """

    def flat(part: float) -> Array:
        return _flat(step, energy)

    spent = 0
    for start, patience in ((predict, _PREDICTED), (flat, _FLAT)):
        try:
            mu, density, count = newton(step, energy, start(1.0), patience)
            return mu, density, spent + count
        except NotConverged as failure:
            spent += failure.iterations
    part, mu, density, more = _first_part(step.scaled, energy, predict)
    spent, growth = spent + more, _FIRST_GROWTH
    while part < 1.0:
        next_part = min(1.0, part * growth)
        try:
            mu, density, count = newton(step.scaled(next_part), energy, density, _CONTINUED)
            part, spent = next_part, spent + count
            growth = min(growth**1.5, _MAX_GROWTH) if count < _FAST else growth
        except NotConverged as failure:
            growth, spent = growth**0.5, spent + failure.iterations
            if growth < _MIN_GROWTH:
                raise NotConverged(spent, str(failure)) from None
        if spent > _LARGEST_COUNT:
            raise NotConverged(spent, f"the implicit upwind step took more than {_LARGEST_COUNT} iterations")
    return mu, density, spent


def _flat(step: TransportStep, energy: ContinuedEnergy) -> Array:
    """The density (cell,) of constant E', nowhere below a hundredth of the mean; raises NotConverged if lost."""
    try:
        density = energy.inverse(np.full(step.mesh.cells, energy.level(step.mass)))
    except NumericsError as failure:
        raise NotConverged(0, str(failure)) from None
    return np.maximum(density, _FLOOR * step.mean)


def _first_part(
    scaled: Callable[[float], TransportStep], energy: ContinuedEnergy, predict: Callable[[float], Array]
) -> tuple[float, Array, Array, int]:
    """A part of the length for which Newton's method converges from the prediction."""
    part, shrink, spent = 1.0, _SHRINK, 0
    for _ in range(_ATTEMPTS):
        part, shrink = part / shrink, min(_SHRINK * shrink, _MAX_GROWTH)
        try:
            mu, density, count = newton(scaled(part), energy, predict(part), _CONTINUED)
            return part, mu, density, spent + count
        except NotConverged as failure:
            spent += failure.iterations
    raise NotConverged(spent, "the implicit upwind step does not converge at any length")
