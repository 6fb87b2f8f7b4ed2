"""What every member of a family has to keep; each test module runs its contract over the closed union of its family."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.energies import EnergyTerm
from fvflow.fluxes import Flux
from fvflow.linalg import FaceMatrix, divergence
from fvflow.mesh import Mesh

EPS = np.finfo(float).eps


def check_mesh(mesh: Mesh, measure: float | None = None, orthogonal: float = 1e-12) -> None:
    """A face graph: closed cells, admissible faces, right measures, read-only arrays."""
    assert (mesh.owner < mesh.neighbour).all()
    assert mesh.owner.dtype == mesh.neighbour.dtype == np.int32
    assert len(np.unique(np.stack([mesh.owner, mesh.neighbour], axis=1), axis=0)) == mesh.faces, "a face is twice"
    ahead = mesh.centre[mesh.neighbour] - mesh.centre[mesh.owner]
    np.testing.assert_allclose(np.linalg.norm(ahead, axis=1), mesh.distance, rtol=1e-13)
    np.testing.assert_allclose(ahead / mesh.distance[:, None], mesh.normal, atol=orthogonal, err_msg="not orthogonal")
    if measure is None:
        measure = np.ptp(mesh.points, axis=0).prod()
    np.testing.assert_allclose(mesh.volume.sum(), measure, rtol=1e-13)
    np.testing.assert_allclose(mesh.integral(lambda at, part: 1.0, 2), mesh.volume, rtol=1e-13)
    np.testing.assert_allclose(mesh.face_integral(lambda at, part: 1.0, 2), mesh.area, rtol=1e-13, atol=1e-15)
    for array in (mesh.centre, mesh.volume, mesh.owner, mesh.area, mesh.distance, mesh.normal, mesh.points):
        assert not array.flags.writeable
    check_gauss(mesh)
    check_integration_by_parts(mesh)


def check_gauss(mesh: Mesh) -> None:
    """int_K div v = sum over faces of v.n for the linear field v = x, on cells that touch no wall."""
    flux = mesh.face_integral(lambda at, part: (at * mesh.normal[part]).sum(axis=1), 2)
    inner = ~on_the_wall(mesh)
    expected = mesh.dimension * mesh.volume
    np.testing.assert_allclose(divergence(mesh, flux)[inner], expected[inner], atol=1e-12)


def on_the_wall(mesh: Mesh) -> Any:
    """The cells with a node on a wall."""
    wall = np.zeros(len(mesh.points) + 1, bool)
    wall[mesh.wall_points] = True
    wall[-1] = False  # what -1 has marked
    own = mesh.cell_points if mesh.cell_points.shape[1] else np.arange(mesh.cells)[:, None]
    return wall[own].any(axis=1)


def check_integration_by_parts(mesh: Mesh) -> None:
    """<phi, div F> = -<grad phi, F> to round-off; notes, equation (13)."""
    random = np.random.default_rng(1)
    phi, flux = random.normal(size=mesh.cells), random.normal(size=mesh.faces)
    left = phi @ divergence(mesh, flux)
    right = -(phi[mesh.neighbour] - phi[mesh.owner]) @ flux
    assert abs(left - right) <= 1e-14 * max(1.0, np.abs(phi[mesh.owner]) @ np.abs(flux))


def check_flux(flux: Flux) -> None:
    """B(0) = eps, B(-w) - B(w) = w (+ w^3/(24 eps^2)), Gibbs in balance, B >= 0 and non-increasing if it says so."""
    every = np.concatenate([-np.logspace(3, -20, 200), [0.0], np.logspace(-20, 3, 200)])
    for eps in (1e-3, 1.0, 7.0):
        mild = np.abs(every) <= (0.1 if flux.kind == "square-root" else 35) * eps
        w = every[mild] if flux.kind == "square-root" else every
        weight = flux.weight(w, eps)
        if flux.keeps_gibbs:
            near = every[mild]
            np.testing.assert_allclose(flux.weight(-near, eps), flux.weight(near, eps) * np.exp(near / eps), rtol=1e-13)
        assert flux.weight(np.zeros(1), eps)[0] == eps
        net = w + w**3 / (24 * eps**2) if flux.kind == "square-root" else w
        np.testing.assert_allclose(
            flux.weight(-w, eps) - weight, net, rtol=1e-7 if flux.kind == "square-root" else 1e-12, atol=4 * EPS * eps
        )
        if flux.monotone:
            assert (weight >= 0).all()
            assert (np.diff(weight) <= 2 * EPS * weight.max()).all()


def check_energy(term: EnergyTerm, cells: int) -> None:
    """The variations are derivatives: Taylor remainders of order 2 and 3."""
    random = np.random.default_rng(2)
    density, direction = 1.0 + random.random(cells), random.normal(size=cells)
    steps = np.array([1e-1, 5e-2, 2.5e-2, 1.25e-2])
    first, second = [], []
    for step in steps:
        change = term.value(density + step * direction) - term.value(density)
        linear = step * term.first(density) * direction
        first.append(np.abs(change - linear).max())
        second.append(np.abs(change - linear - 0.5 * step**2 * term.second(density) * direction**2).max())
    for part in (1.0, 1e-3, 1e-7, 1e-9, 0.0):  # the discrete gradient, near and far
        after = density * (1 + part * (random.random(cells) - 0.4))
        rise = term.value(after) - term.value(density)
        secant = term.secant(density, after)
        np.testing.assert_allclose(secant * (after - density), rise, atol=4 * EPS * np.abs(term.value(density)).max())
        if part <= 1e-3:
            np.testing.assert_allclose(secant, term.first(0.5 * (density + after)), rtol=1e-6, atol=1e-6)
    assert_order(steps, first, 2.0, 0.15, exact=1e-13)
    assert_order(steps, second, 3.0, 0.2, exact=1e-13)


def check_solver(solver: Any, matrix: FaceMatrix) -> None:
    """Right to 1e-9 against a dense solve, mass to round-off, no negative cell from a non-negative right-hand side."""
    random = np.random.default_rng(3)
    dense = matrix.sparse().toarray()
    lost = np.abs(dense.sum(axis=0) - matrix.volume)
    assert (lost <= 4 * EPS * np.diag(dense)).all(), "1'M = volume"
    solve = solver.prepare(matrix)
    for right in (random.random(len(matrix.volume)), np.eye(len(matrix.volume))[3]):
        solution = solve(right, float(right.sum()))
        np.testing.assert_allclose(solution.density, np.linalg.solve(dense, right), rtol=1e-9, atol=1e-11)
        assert abs(matrix.volume @ solution.density / right.sum() - 1) <= 4 * EPS
        assert solution.density.min() >= 0


def assert_order(sizes: Any, errors: Any, expected: float, within: float, exact: float = 0.0) -> None:
    """The slope of log(error) over log(size) in every refinement; errors below `exact` count as none."""
    sizes, errors = np.asarray(sizes), np.asarray(errors)
    if (errors <= exact).all():
        return
    orders = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    assert np.abs(orders - expected).max() <= within, f"orders {orders}, expected {expected} +- {within} ({errors})"
