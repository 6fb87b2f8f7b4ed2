"""Proximal splitting methods as generators of iterates; numbers (79)-(118) are equations of the course notes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array
from fvflow.transport.proximal import Map, Proximal

_ROUND_OFF = 1e-9  # relative, in bounds on steps


@dataclass(frozen=True, eq=False)
class Iterate:
    """One iterate of z <- z + relaxation (T(z) - z); given as `start`, the iteration continues bit-identically."""

    point: Array  # converges to a minimiser
    governing: tuple[Array, ...]  # z
    image: tuple[Array, ...]  # T of the previous z
    iteration: int = 0
    residual: float = math.inf  # |T(z) - z| of the previous z
    size: float = 0.0  # |z| of the previous z
    inertia: float = 1.0  # t of `fista`


def proximal_gradient(
    gradient: Map, function: Proximal, start: Array | Iterate, step: float, lipschitz: float | None = None
) -> Iterator[Iterate]:
    """Minimise f + g by x <- prox_{step g}(x - step grad f(x)), (79), (94)-(101); (114) omits the step.

    For g = 0 and quadratic f the error decreases by the factor |I - step H|, (102). Raises CaseError unless
    0 < step < 2/L, if the L of |grad f(x) - grad f(y)| <= L |x - y| is given.
    """
    _require_step(step, lipschitz, 2.0)

    def image(x: Array) -> tuple[Array, ...]:
        point = function.prox(x - step * gradient(x), step)
        return point, point

    return _iterated(_begin(start), image)


def fista(
    gradient: Map,
    function: Proximal,
    start: Array | Iterate,
    step: float,
    lipschitz: float | None = None,
    objective: Callable[[Array], float] | None = None,
) -> Iterator[Iterate]:
    """Minimise f + g by x' = prox_{step g}(y - step grad f(y)), y = x' + (t - 1)/t' (x' - x), t' (t' - 1) = t^2.

    It restarts from t = 1, y = x' whenever f + g grows, if `objective` is given, else whenever <y - x', x' - x> > 0.
    Raises CaseError unless 0 < step <= 1/L. Beck, Teboulle, A fast iterative shrinkage-thresholding algorithm for
    linear inverse problems, 2009; O'Donoghue, Candes, Adaptive restart for accelerated gradient schemes, 2015.
    """
    _require_step(step, lipschitz, 1.0)
    return _accelerated(_begin(start), lambda y: function.prox(y - step * gradient(y), step), objective)


def douglas_rachford(
    first: Proximal, second: Proximal, start: Array | Iterate, step: float, relaxation: float = 1.0
) -> Iterator[Iterate]:
    """Minimise f + g by T(z) = z + x' - x, x = prox_{step f}(z), x' = prox_{step g}(2 x - z); the point is x'.

    Raises CaseError unless 0 < step and 0 < relaxation < 2. Lions, Mercier, Splitting algorithms for the sum of two
    nonlinear operators, 1979; Eckstein, Bertsekas, On the Douglas-Rachford splitting method and the proximal point
    algorithm for maximal monotone operators, 1992.
    """
    _require_step(step, None, 1.0)
    _require_relaxation(relaxation)

    def image(z: Array) -> tuple[Array, ...]:
        near = first.prox(z, step)
        point = second.prox(2.0 * near - z, step)
        return point, z + (point - near)

    return _iterated(_begin(start), image, relaxation)


def chambolle_pock(
    operator: tuple[Map, Map],
    function: Proximal,
    conjugate: Proximal,
    start: tuple[Array, Array] | Iterate,
    steps: tuple[float, float],
    norm: float | None = None,
    relaxation: float = 1.0,
) -> Iterator[Iterate]:
    """Minimise g(x) + f(K x) by x' = prox_{tau g}(x - tau K^T y), y' = prox_{sigma f*}(y + sigma K (2 x' - x)).

    T(x, y) = (x', y'), the image of an iterate; the point is x'. operator: K and K^T; function: g; conjugate: f*;
    start: x and y; steps: tau and sigma. Raises CaseError unless both are positive, tau sigma |K|^2 <= 1, if |K| is
    given, and 0 < relaxation < 2. Chambolle, Pock, A first-order primal-dual algorithm for convex problems with
    applications to imaging, 2011; Condat, A primal-dual splitting method for convex optimization involving
    Lipschitzian, proximable and linear composite terms, 2013.
    """
    _require_steps(steps, norm)
    _require_relaxation(relaxation)
    (forward, adjoint), (tau, sigma) = operator, steps

    def image(x: Array, y: Array) -> tuple[Array, ...]:
        point = function.prox(x - tau * adjoint(y), tau)
        return point, point, conjugate.prox(y + sigma * forward(2.0 * point - x), sigma)

    return _iterated(_begin(start), image, relaxation)


def until(
    iterates: Iterable[Iterate], tolerance: float, most: int = 10_000, absolute: float = 0.0
) -> Iterator[Iterate]:
    """The iterates up to the first with residual <= tolerance size + absolute.

    Raises NumericsError after `most` iterations without one, and if a residual is not finite.
    """
    for count, state in enumerate(iterates):
        yield state
        if state.residual <= tolerance * state.size + absolute:
            return
        if count and not math.isfinite(state.residual):
            raise NumericsError(f"the residual is {state.residual} in iteration {state.iteration}; use shorter steps")
        if count >= most:
            raise NumericsError(
                f"the residual is {state.residual:.3g} after {most} iterations, at a size of {state.size:.3g}; allow "
                f"more iterations or a tolerance above {tolerance:g}"
            )


def observed(iterates: Iterable[Iterate], callback: Callable[[Iterate], None]) -> Iterator[Iterate]:
    """The same iterates; `callback` is called with each of them."""
    for state in iterates:
        callback(state)
        yield state


def last(iterates: Iterable[Iterate]) -> Iterate:
    """The last iterate; raises NumericsError if there is none."""
    tail = deque(iterates, maxlen=1)
    if not tail:
        raise NumericsError("the iteration has no iterates; include its start")
    return tail[0]


def _begin(start: Array | tuple[Array, ...] | Iterate) -> Iterate:
    if isinstance(start, Iterate):
        return start
    parts = start if isinstance(start, tuple) else (start,)
    return Iterate(parts[0], parts, parts)


def _iterated(state: Iterate, image: Callable[..., tuple[Array, ...]], relaxation: float = 1.0) -> Iterator[Iterate]:
    """The iterates of T; image(*z) returns the point, then the parts of T(z)."""
    while True:
        yield state
        z = state.governing
        with np.errstate(all="ignore"):  # `until` reports what is not finite
            point, *after = image(*z)
            relaxed = after
            if relaxation != 1.0:  # otherwise T(z) itself, without round-off
                relaxed = [old + relaxation * (new - old) for old, new in zip(z, after, strict=True)]
            state = _next(state, point, tuple(relaxed), tuple(after))


def _accelerated(state: Iterate, descend: Map, objective: Callable[[Array], float] | None) -> Iterator[Iterate]:
    """The iterates of `fista`, where descend(y) is the proximal gradient step."""
    value = objective(state.point) if objective else math.inf
    while True:
        yield state
        (y,) = state.governing
        with np.errstate(all="ignore"):
            point = descend(y)
            moved, before = point - state.point, value
            value = objective(point) if objective else math.inf
            restart = value > before if objective else np.vdot(y - point, moved) > 0
            inertia = 1.0 if restart else 0.5 + math.sqrt(0.25 + state.inertia**2)
            ahead = point if restart else point + (state.inertia - 1.0) / inertia * moved
            state = _next(state, point, (ahead,), (point,), inertia)


def _next(
    state: Iterate, point: Array, governing: tuple[Array, ...], image: tuple[Array, ...], inertia: float = 1.0
) -> Iterate:
    residual = _norm(*(new - old for old, new in zip(state.governing, image, strict=True)))
    return Iterate(point, governing, image, state.iteration + 1, residual, _norm(*state.governing), inertia)


def _norm(*parts: Array) -> float:
    return math.sqrt(sum(float(np.vdot(part, part)) for part in parts))


def _require_step(step: float, lipschitz: float | None, factor: float) -> None:
    """Require step < 2/L if the factor is 2, step <= 1/L if it is 1."""
    most = factor / lipschitz if lipschitz else math.inf
    if 0 < step < most or (factor == 1.0 and 0 < step <= most * (1.0 + _ROUND_OFF) < math.inf):
        return
    bound = f"{'below' if factor == 2.0 else 'at most'} {factor:g}/L = {most:g}" if lipschitz else "finite"
    remedy = f"{1 / lipschitz:g} = 1/L" if lipschitz else "1, say"
    raise CaseError(f"step {step:g}; the iteration converges if it is positive and {bound}; use {remedy}")


def _require_steps(steps: tuple[float, float], norm: float | None) -> None:
    if not 0 < min(steps) <= max(steps) < math.inf:
        raise CaseError(f"steps {steps[0]:g} and {steps[1]:g}; give two positive finite steps")
    product = steps[0] * steps[1] * (norm or 0.0) ** 2
    if not product <= 1.0 + _ROUND_OFF:
        raise CaseError(
            f"tau = {steps[0]:g} and sigma = {steps[1]:g} with |K| = {norm:g} have tau sigma |K|^2 = {product:g}; the "
            f"iteration converges up to 1; multiply both by {0.99 / math.sqrt(product):.3g}"
        )


def _require_relaxation(relaxation: float) -> None:
    if not 0 < relaxation < 2:
        raise CaseError(
            f"relaxation {relaxation:g}; the iteration converges if it is above 0 and below 2; use 1 or 1.9"
        )
