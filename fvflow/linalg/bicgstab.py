"""BiCGStab, preconditioned from the right and stopped in a weighted 1-norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array
from fvflow.parallel import world
from fvflow.sums import inner

WORK = 5  # vectors of workspace


class Operator(Protocol):
    """A linear map of vectors (cell,)."""

    def __call__(self, vector: Array, /, *, out: Array) -> Array:
        """Write the image of the vector into `out`, another array, and return it."""


@np.errstate(all="ignore")  # a breakdown shows in the norm
def bicgstab(
    operator: Operator,
    x: Array,
    residual: Array,
    *,
    goal: float,
    most: int,
    weight: Array,
    precondition: Operator | None = None,
    work: Array | None = None,
    stalled: Callable[[int, float], bool] | None = None,
    layers: int = 1,
) -> tuple[int, bool]:
    """Improve x (cell,) in place, of A x = b with the residual r = b - A x, which is updated along with it.

    Iterates on A P, P the `precondition`, until the norm sum_K weight_K |r_K| is at most the `goal`, or for `most`
    iterations, or until the recursion breaks down, or until `stalled(iterations, norm)` holds. Each iteration applies
    A and P twice. The residual is that of the recursion: compute the true one afterwards, and start again from it if
    round-off keeps the two apart.

    Returns the iterations and whether it stalled. `work` (5, cell) saves allocating. On a grid `layers` is their number
    across its slowest axis, along which it may be divided among processes; the norm is summed layer by layer.

    van der Vorst, Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric linear
    systems, SIAM J. Sci. Stat. Comput. 13 (1992).
    """
    shadow, p, v, t, memory = np.empty((WORK, len(x))) if work is None else work
    shadow[:], p[:], v[:], norms = residual, 0.0, 0.0, np.empty(layers)
    former = alpha = omega = 1.0
    for count in range(1, most + 1):
        rho = inner(shadow, residual)
        update_direction(residual, p, v, rho / former * alpha / omega, omega)
        step = p if precondition is None else precondition(p, out=memory)
        operator(step, out=v)
        alpha = _quotient(rho, inner(shadow, v))
        advance(x, residual, alpha, step, v, weight, norms)
        norm = world().total_of_layers(norms)
        if norm <= goal or alpha == 0.0:
            return count, False
        step = residual if precondition is None else precondition(residual, out=memory)
        operator(step, out=t)
        omega, former = _quotient(inner(t, residual), inner(t, t)), rho
        advance(x, residual, omega, step, t, weight, norms)
        norm = world().total_of_layers(norms)
        if norm <= goal or omega == 0.0 or rho == 0.0 or not np.isfinite(norm):
            return count, False
        if stalled is not None and stalled(count, norm):
            return count, True
    return most, False


def _quotient(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator != 0.0 else 0.0


@kernel()
def update_direction(residual: Any, p: Any, v: Any, beta: Any, omega: Any) -> None:
    """p = r + beta (p - omega v)."""
    for i in range(len(p)):
        p[i] = residual[i] + beta * (p[i] - omega * v[i])


@kernel()
def advance(x: Any, residual: Any, length: Any, step: Any, image: Any, weight: Any, norms: Any) -> None:
    """x += length step, r -= length image; the weighted 1-norm of r in each layer into `norms` (layer,)."""
    count = len(x) // len(norms)
    for layer in range(len(norms)):
        norm = 0.0
        for i in range(layer * count, (layer + 1) * count):
            x[i] += length * step[i]
            residual[i] -= length * image[i]
            norm += weight[i] * abs(residual[i])
        norms[layer] = norm
