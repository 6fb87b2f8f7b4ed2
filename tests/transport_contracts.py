"""What every solver of the union `TransportSolver` has to keep."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest

from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Box, Extent, Graded, Mesh
from fvflow.transport import BaseTransportSolver
from fvflow.transport.geodesic import Geodesic
from fvflow.wasserstein import distance_1d

_MESHES = {
    "line": Box((0.0,), (2.0,), (48,)),
    "graded line": Graded((0.0,), (2.0,), (40,), (2.5,)),
    "plane": Box((0.0, 0.0), (1.0, 1.2), (12, 10)),
}
_INTERVALS = 8


def check_transport_solver(solver: BaseTransportSolver) -> None:
    """Refusals agree, paths are admissible, W2 is inside its certificate and right, the speed is constant.

    From an iterate on, the path is the same to the last bit.

    Tolerances follow from the solver's own `tolerance` and from the mesh, never from its kind.
    """
    assert 0 < solver.tolerance < 1
    assert solver.describe().startswith(solver.kind)
    assert f"{solver.tolerance:g}" in solver.describe()
    sizes = [solver.memory(Extent(2, cells, grid=True), _INTERVALS) for cells in (100, 1000)]
    assert 8 * 100 * _INTERVALS <= sizes[0] < sizes[1]
    assert solver.memory(Extent(2, 100, grid=True), 2 * _INTERVALS) > sizes[0]
    fitting = 0
    for kind in _MESHES.values():
        mesh = kind.build()
        one, other = _bumps(mesh)
        if message := _refusal(solver, mesh):
            with pytest.raises(CaseError, match=re.escape(message)):
                solver.solve(mesh, one, other, _INTERVALS)
            continue
        fitting += 1
        counts: list[int] = []
        residuals: list[float] = []

        def progress(
            count: int, residual: float, iterate: Any, counts: Any = counts, residuals: Any = residuals
        ) -> None:
            counts.append(count)
            residuals.append(residual)

        path = solver.solve(mesh, one, other, _INTERVALS, progress)
        assert path.converged
        assert path.residual <= solver.tolerance
        assert counts == sorted(counts)
        assert (counts[-1], residuals[-1]) == (path.iterations, path.residual)
        _check_admissible(path, one, other)
        _check_value(solver, path)
        _check_constant_speed(path)
        for count in {counts[0], counts[len(counts) // 2], counts[-1]}:
            check_goes_on(solver, mesh, (one, other), path, count)
    assert fitting > 0
    mesh = _MESHES["line"].build()
    rest = solver.solve(mesh, one := _bumps(mesh)[0], one, _INTERVALS)
    assert (rest.w2, rest.continuity(), rest.converged) == (0.0, 0.0, True)


class _Reached(Exception):
    """The iteration is reached."""


def check_goes_on(
    solver: BaseTransportSolver, mesh: Mesh, ends: tuple[np.ndarray, np.ndarray], path: Geodesic, count: int
) -> None:
    """From its iterate after so many iterations the solver finds the same path; another mesh's iterate is refused."""
    kept: dict[str, Any] = {}

    def stop(iterations: int, residual: float, iterate: Any) -> None:
        if iterations == count:
            kept.update(copy.deepcopy(iterate))
            raise _Reached

    with pytest.raises(_Reached):
        solver.solve(mesh, *ends, _INTERVALS, stop)
    for wrong in ({}, {**kept, "rho": np.zeros(3)}, {**kept, "extra": 1}, {**kept, "phi": None}):
        with pytest.raises(OutputError, match=r"does not hold an iterate of this problem: .* run the case again"):
            solver.solve(mesh, *ends, _INTERVALS, start=wrong)
    counts: list[int] = []
    again = solver.solve(mesh, *ends, _INTERVALS, lambda iterations, *_: counts.append(iterations), kept)
    assert all(iterations >= count for iterations in counts), "it began anew"
    for name, value in vars(path).items():
        np.testing.assert_array_equal(getattr(again, name), value, err_msg=name) if name != "mesh" else None


def _bumps(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Two positive densities of mass 3: a bump, and a wider one further along every axis."""
    low, size = mesh.points.min(axis=0), np.ptp(mesh.points, axis=0)
    at = (mesh.centre - low) / size
    shapes = [np.exp(-((at - m) ** 2).sum(axis=1) / (2 * s**2)) + 0.05 for m, s in ((0.35, 0.1), (0.6, 0.13))]
    one, other = (3.0 * density / (mesh.volume @ density) for density in shapes)
    return one, other


def _refusal(solver: BaseTransportSolver, mesh: Mesh) -> str:
    """The message of `fits`; empty if the mesh fits."""
    try:
        solver.fits(mesh)
    except CaseError as error:
        return str(error)
    return ""


def _check_admissible(path: Geodesic, one: np.ndarray, other: np.ndarray) -> None:
    """Ends exact, densities >= 0, mass and continuity to round-off, a repair no larger than 1e-2 of the mass."""
    mesh = path.mesh
    assert path.density.shape == (_INTERVALS + 1, mesh.cells)
    assert path.flux.shape == (_INTERVALS, mesh.faces)
    assert path.potential.shape == (_INTERVALS, mesh.cells)
    np.testing.assert_array_equal(path.density[0], one)
    np.testing.assert_array_equal(path.density[-1], other)
    assert path.density.min() >= 0
    np.testing.assert_allclose(path.density @ mesh.volume, 3.0, rtol=1e-14)
    assert path.continuity() <= 1e-14
    assert 0 <= path.repair <= 1e-2


def _check_value(solver: BaseTransportSolver, path: Geodesic) -> None:
    """lower <= W2 of the discrete problem <= upper if certified, W2 between them; on lines near the exact distance."""
    assert solver.certified == np.isfinite(path.gap)
    slack = 1 + solver.tolerance
    if solver.certified:
        lower, upper = (2 * path.dual_value()) ** 0.5, (2 * path.action()) ** 0.5
        assert 0 <= path.gap < 0.01
        assert lower <= path.w2 * slack
        assert path.w2 <= lower / (1 - path.gap) * slack
        assert lower <= upper * slack
    if path.mesh.dimension == 1:
        exact = distance_1d(path.mesh.edges[0], path.density[0], path.density[-1])
        assert path.w2 == pytest.approx(exact, rel=5e-3)


def _check_constant_speed(path: Geodesic) -> None:
    """On lines, W2(rho^k, rho^l) = |k - l| W2/N."""
    if path.mesh.dimension > 1:
        return
    edges = path.mesh.edges[0]
    whole = distance_1d(edges, path.density[0], path.density[-1])
    for length in (1, 2, _INTERVALS // 2):
        for k in range(_INTERVALS + 1 - length):
            part = distance_1d(edges, path.density[k], path.density[k + length])
            assert part == pytest.approx(whole * length / _INTERVALS, rel=0.03), (k, length)
