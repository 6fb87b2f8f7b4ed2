"""What every member of a family has to keep; each test module runs its contract over the closed union of its family."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fvflow.energies import EnergyTerm
from fvflow.errors import CaseError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, Flux
from fvflow.linalg import FaceMatrix, divergence, inner
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.steppers import GradientStepperBase, LinearStepperBase, Step
from fvflow.times import Adaptive, Times

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


STEP_LENGTHS = (1e-3, 0.1, 30.0)


def check_linear_stepper(stepper: LinearStepperBase, problem: FokkerPlanck) -> None:
    """Its promises for a steady gradient drift with a flux that is monotone and keeps Gibbs states."""
    mesh = problem.mesh
    step, gibbs = stepper.start(problem), gibbs_density(problem)
    for density in (np.random.default_rng(4).random(mesh.cells), *spikes(mesh)):
        for length in STEP_LENGTHS:
            after = check_step(step, mesh, density, length)
            if length <= stepper.positive_step(problem):
                assert after.density.min() >= 0, length
        promised = 0.999 * stepper.positive_step(problem)
        if 0 < promised < math.inf:
            assert step(State.initial(mesh, density), promised).density.min() >= 0
    assert stepper.positive_step(problem) > 0 or stepper.positivity_note, "no promise, and no reason"
    if stepper.uses_flux:
        for length in STEP_LENGTHS:
            after = check_step(step, mesh, gibbs, length)
            assert np.abs(after.density - gibbs).max() <= 1e-13 * gibbs.max(), "the Gibbs state is not stationary"
    check_order_in_time(step, mesh, stepper.order, at_least=stepper.work_grows_with_step)
    check_embedded(stepper, problem)
    check_refusals(stepper, problem)
    check_description(stepper, lambda extent: stepper.describe(extent, "a flux", True))
    check_memory(lambda extent: stepper.memory(extent, True), mesh.extent)
    times = Times(1.0, Adaptive(1e-2, 1e-4), 0.25)
    assert stepper.time_grid(times).save_times == times.save_times
    assert stepper.growth > 1


def check_gradient_stepper(stepper: GradientStepperBase, problem: GradientFlow) -> None:
    """Its promises for an entropy and a convex potential, of Gibbs state exp(-V/eps)."""
    mesh, energy = problem.mesh, problem.total
    step, gibbs = stepper.start(problem), gibbs_density(problem)
    for density in (np.random.default_rng(4).random(mesh.cells), *spikes(mesh)):
        for length in STEP_LENGTHS:
            state = State.initial(mesh, density)
            for _ in range(3):
                before, state = energy.value(state.density), step(state, length)
                assert abs(inner(mesh.volume, state.density) / state.mass - 1) <= 1e-14
                fall = before - energy.value(state.density) - state.dissipated
                assert fall >= -1e-9 * (1 + abs(before)), "less energy is lost than the step accounts for"
                if length <= stepper.positive_step(problem):
                    assert state.density.min() >= 0, length
            check_step(step, mesh, density, length)
    for length in STEP_LENGTHS:
        after = check_step(step, mesh, gibbs, length)
        assert np.abs(after.density - gibbs).max() <= 1e-12 * gibbs.max(), "the Gibbs state is not stationary"
    check_order_in_time(step, mesh, stepper.order)
    check_description(stepper, stepper.describe)
    assert stepper.mobility in stepper.describe(mesh.extent)
    check_memory(stepper.memory, mesh.extent)
    assert stepper.growth > 1


def gibbs_density(problem: FokkerPlanck | GradientFlow) -> Array:
    """exp(-V/eps) of mass 1 (cell,)."""
    energy = problem.energy(0.0)
    potential = energy.potential(np.ones(problem.mesh.cells))
    weight = np.exp((potential.min() - potential) / energy.diffusion)
    return weight / inner(problem.mesh.volume, weight)


def spikes(mesh: Mesh) -> list[Array]:
    """All mass in one cell: at a corner and in the interior."""
    return [np.eye(mesh.cells)[cell] / mesh.volume[cell] for cell in (0, mesh.cells // 2 + 1)]


def check_step(step: Step, mesh: Mesh, density: Array, length: float) -> State:
    """A step from time 0.5 advances the state, keeps the mass and its argument, and has no memory of its own."""
    state = replace(State.initial(mesh, density.copy()), time=0.5, step=7, fallbacks=1, halvings=3, residual=1.0)
    after = step(state, length)
    assert (after.time, after.step, after.mass) == (0.5 + length, 8, state.mass)
    assert abs(inner(mesh.volume, after.density) / state.mass - 1) <= 1e-14, length
    assert after.iterations >= 0
    assert after.residual < 1e-3, "a statistic of the step before"
    assert after.correction <= 1e-10, "the scheme has to conserve mass, not the correction"
    assert after.density is not state.density
    np.testing.assert_array_equal(state.density, density)
    step(State.initial(mesh, np.ones(mesh.cells)), 0.77 * length)
    np.testing.assert_array_equal(step(state, length).density, after.density)
    return after


def check_order_in_time(step: Step, mesh: Mesh, order: float, at_least: bool = False) -> None:
    """Differences of successive refinements from a smooth density fall at the order; all are round-off if infinite."""
    offset = mesh.centre - 0.3
    start, steps, densities = np.exp(-2.0 * (offset**2).sum(axis=1)), 0.01 / 2.0 ** np.arange(4), []
    for length in steps:
        state = State.initial(mesh, start)
        for _ in range(round(0.08 / length)):
            state = step(state, length)
            assert state.fallbacks == state.halvings == 0
        densities.append(state.density)
    errors = np.array([np.abs(coarse - fine).sum() for coarse, fine in pairwise(densities)]) / start.sum()
    if math.isinf(order):
        assert errors.max() <= 1e-10
    elif at_least:
        assert (np.diff(np.log(errors)) <= -(order - 0.15) * np.log(2)).all(), errors
    else:
        assert_order(steps[:-1], errors, order, 0.15)


def check_embedded(stepper: LinearStepperBase, problem: FokkerPlanck) -> None:
    """An error estimate of its own falls with the step, and its states are those of a step."""
    step = stepper.embedded(problem)
    if step is None:
        return
    state = State.initial(problem.mesh, np.exp(-2.0 * ((problem.mesh.centre - 0.3) ** 2).sum(axis=1)))
    errors = []
    for length in (1.0, 1e-3, 1e-4):
        states, error = step(state, length)
        assert 0 < states[-1].time <= length
        assert states[-1].step == len(states)
        assert abs(inner(problem.mesh.volume, states[-1].density) / state.mass - 1) <= 1e-14
        errors.append(error)
    assert errors[0] > errors[1] > errors[2] > 0


def check_refusals(stepper: LinearStepperBase, problem: FokkerPlanck) -> None:
    """`check` refuses what the method says it requires, and nothing else; all else it steps."""
    moving = replace(problem, drift=Drift(potential=Expression("0.5*(x - t)**2")))
    centred = replace(problem, flux_kind=Centred(), epsilon=1e-3)
    assert not moving.drift.steady
    assert not centred.monotone
    refusals = (
        (problem, False, ""),
        (moving, stepper.requires_steady_drift, "requires a steady drift"),
        (centred, stepper.requires_monotone_flux, "requires a monotone flux"),
    )
    for case, refused, message in refusals:
        if refused:
            with pytest.raises(CaseError, match=message):
                stepper.check(case)
        else:
            stepper.check(case)
            spike = spikes(case.mesh)[1]
            after = check_step(stepper.start(case), case.mesh, spike, 0.1)
            assert stepper.positive_step(case) < 0.1 or after.density.min() >= 0
            from_zero = stepper.start(case)(State.initial(case.mesh, spike), 0.1)
            same = np.allclose(from_zero.density, after.density, rtol=1e-10, atol=1e-14)
            assert same == case.drift.steady, "the drift is not followed"


def check_description(stepper: LinearStepperBase | GradientStepperBase, describe: Callable[[Extent], str]) -> None:
    """`describe` names the kind and its order."""
    order = "exact in time" if math.isinf(stepper.order) else f"order {stepper.order} in time"
    assert describe(Extent(2, 100, True)).startswith(f"{stepper.kind} ({order})")


def check_memory(memory: Callable[[Extent], int], extent: Extent) -> None:
    """Estimated bytes grow with the mesh, and are at least those of three vectors."""
    estimates = [memory(extent._replace(cells=cells)) for cells in (100, 1000, 10_000, 100_000)]
    assert estimates == sorted(set(estimates))
    assert estimates[0] >= 100 * 3 * 8
