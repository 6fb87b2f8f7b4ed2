"""Errors and orders of a result at points, and points per second; by hand: `python -m tests.point_orders`.

Ornstein-Uhlenbeck and a ring of eight Gaussians against closed forms, a double well against a fine run; log rho, score
and velocity in h and in the spacing of saves, as root mean squares over points where there is mass.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import fvflow
from fvflow.case import Case
from fvflow.mesh import Array

Exact = Callable[[Array, float], tuple[Array, Array, Array]]
_STEPS = "{initial: 1.0e-5, tolerance: 1.0e-5}"
_RING = [(2.0 * np.cos(a), 2.0 * np.sin(a)) for a in np.arange(8) * np.pi / 4]


def mixture(means: Array, variance: float) -> Exact:
    """log rho, score and velocity of a mixture of equal Gaussians under dX = -X dt + sqrt(2) dW."""

    def exact(x: Array, t: float) -> tuple[Array, Array, Array]:
        spread = 1.0 + (variance - 1.0) * np.exp(-2.0 * t)
        offset = x[:, None] - means * np.exp(-t)
        logs = -0.5 * (offset**2).sum(axis=2) / spread - 0.5 * x.shape[1] * np.log(2.0 * np.pi * spread)
        top = logs.max(axis=1, keepdims=True)
        weights = np.exp(logs - top)
        total = weights.sum(axis=1, keepdims=True)
        score = -((weights / total)[:, :, None] * offset).sum(axis=1) / spread
        return (top + np.log(total / len(means)))[:, 0], score, -x - score

    return exact


def mixture_case(means: Array, variance: float, cells: int, save: str, end: float) -> Case:
    """A mixture of Gaussians that relaxes to N(0, 1) in the plane."""
    parts = ", ".join(
        f"{{weight: 1, mean: [{x:.17g}, {y:.17g}], covariance: [[{variance}, 0], [0, {variance}]]}}" for x, y in means
    )
    return Case.parse(
        f"mesh: {{kind: box, lower: [-6, -6], upper: [6, 6], cells: [{cells}, {cells}]}}\n"
        "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*(x**2 + y**2), stepper: {kind: tr-bdf2}}\n"
        f"initial: {{kind: mixture, components: [{parts}]}}\ntimes: {{end: {end}, step: {_STEPS}, save: {save}}}"
    )


def well_case(cells: int, save: str) -> Case:
    """A Gaussian on the barrier of a double well."""
    return Case.parse(
        f"mesh: {{kind: box, lower: [-2.5], upper: [2.5], cells: [{cells}]}}\n"
        "flow: {kind: fokker-planck, epsilon: 0.4, potential: (x**2 - 1)**2, stepper: {kind: tr-bdf2}}\n"
        "initial: {kind: gaussian, mean: [0.3], covariance: [[0.05]]}\n"
        f"times: {{end: 0.4, step: {_STEPS}, save: {save}}}"
    )


def functions_of(flow: fvflow.Evaluation) -> Exact:
    """log rho, score and velocity of a result."""
    return lambda x, t: (flow.log_density(x, t), flow.score(x, t), flow.velocity(x, t))


def errors(got: Exact, exact: Exact, points: Array, times: Array) -> Array:
    """Root mean squares of the errors of log rho, score and velocity."""
    squares = [
        [np.mean((a - b) ** 2) for a, b in zip(got(points, t), exact(points, t), strict=True)] for t in times.tolist()
    ]
    return np.sqrt(np.mean(squares, axis=0))


def table(title: str, rows: list[tuple[str, Array]]) -> None:
    """Print errors with the orders between neighbouring rows."""
    print(f"\n{title:34} log rho        score          velocity")
    for number, (name, found) in enumerate(rows):
        orders = np.log2(rows[number - 1][1] / found) if number else np.full(3, np.nan)
        print(f"  {name:32} " + "  ".join(f"{e:.2e} {o:4.2f}" for e, o in zip(found, orders, strict=True)))


def main() -> None:
    """Print all tables and the speed."""
    rng = np.random.default_rng(0)
    for name, means, variance, times, cells in (
        ("Ornstein-Uhlenbeck, 2D", np.array([[1.0, 0.5]]), 0.4, np.array([0.05, 0.15, 0.35]), (48, 96, 192)),
        ("ring of eight Gaussians", np.array(_RING), 0.04, np.array([0.05, 0.15, 0.35]), (96, 192, 384)),
    ):
        exact = mixture(means, variance)
        spread = np.sqrt(1.0 + (variance - 1.0) * np.exp(-2 * times[0]))
        points = means[rng.integers(len(means), size=4000)] * np.exp(-times[0]) + spread * rng.normal(size=(4000, 2))
        rows = []
        for count in cells:
            save = "{kind: geometric, first: 0.005, ratio: 1.3}"
            flow = fvflow.at(mixture_case(means, variance, count, save, 0.4).run())
            rows.append((f"{count} x {count}", errors(functions_of(flow), exact, points, times)))
        table(f"{name}, in h", rows)
    fine = fvflow.at(well_case(1280, "0.01").run())
    points, times = np.linspace(-1.6, 1.6, 401)[:, None], np.array([0.055, 0.155, 0.355])
    found = [(str(n), fvflow.at(well_case(n, "0.01").run())) for n in (40, 80, 160)]
    rows = [(f"{n} cells", errors(functions_of(flow), functions_of(fine), points, times)) for n, flow in found]
    table("double well, in h", rows)
    ds, times = well_case(160, "0.0125").run(), np.linspace(0.2, 0.4, 33)
    for how in ("hermite", "linear"):
        close, rows = functions_of(fvflow.at(ds, in_time=how)), []
        for every in (8, 4, 2):
            flow = fvflow.at(ds.isel(time=slice(None, None, every)), in_time=how, accept=True)
            rows.append((f"saves {every * 0.0125:g}", errors(functions_of(flow), close, points, times)))
        table(f"double well, in time, {how}", rows)
    flow = fvflow.at(mixture_case(np.array([[1.0, 0.5]]), 0.4, 192, "0.1", 0.2).run())
    points = rng.uniform(-6, 6, (10**6, 2))
    for name in ("density", "velocity"):
        getattr(flow, name)(points[:10], 0.13)
        start = time.process_time()
        getattr(flow, name)(points, 0.13)
        print(f"\n{name} at 1e6 points in 2D: {time.process_time() - start:.2f} s of CPU time")


if __name__ == "__main__":
    main()
