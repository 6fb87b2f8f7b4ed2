"""The contract of each family of kinds; the test module of a family runs it over every member of its union."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import EnergyKind, EnergyTerm, TotalEnergy
from fvflow.energies.interaction import convolution
from fvflow.error_control import Adaptive
from fvflow.errors import CaseError
from fvflow.exact import ClosedForm, Facts, Reference
from fvflow.exact.facts import INGREDIENTS, PERIODIC, RADIUS
from fvflow.fields import DensityKind, Drift, Expression, Kernel, Sampling, Uniform
from fvflow.flows import FokkerPlanckFlow
from fvflow.fluxes import Centred, FluxKind
from fvflow.linalg import FaceMatrix, divergence, inner
from fvflow.mesh import Array, Box, Extent, Grid, Mesh, Openings, Revolution, openings
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.steppers import GradientStepperBase, LinearStepperBase, Step
from fvflow.times import Times
from fvflow.wasserstein import interpolated_1d
from tests.scenes import final

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
    space = mesh.dimension if mesh.revolution is None else mesh.dimension - 1 + mesh.revolution.dimension
    expected = space * mesh.volume
    np.testing.assert_allclose(divergence(mesh, flux)[inner], expected[inner], atol=1e-12)


def on_the_wall(mesh: Mesh) -> Any:
    """The cells with a node on a wall, or a part of one."""
    wall = np.zeros(len(mesh.points) + 1, bool)
    wall[mesh.wall_points] = True
    wall[-1] = False  # what -1 has marked
    own = mesh.cell_points if mesh.cell_points.shape[1] else np.arange(mesh.cells)[:, None]
    found = wall[own].any(axis=1)
    found[mesh.wall_contacts(np.arange(len(mesh.wall_points)))[1]] = True
    return found


def check_integration_by_parts(mesh: Mesh) -> None:
    """<phi, div F> = -<grad phi, F> to round-off; notes, equation (13)."""
    random = np.random.default_rng(1)
    phi, flux = random.normal(size=mesh.cells), random.normal(size=mesh.faces)
    left = phi @ divergence(mesh, flux)
    right = -(phi[mesh.neighbour] - phi[mesh.owner]) @ flux
    assert abs(left - right) <= 1e-14 * max(1.0, np.abs(phi[mesh.owner]) @ np.abs(flux))


def check_flux(flux: FluxKind) -> None:
    """B(0) = eps, B(-w) - B(w) = w up to O(w^3), and whatever the flux declares, on all Peclet numbers it allows."""
    largest = min(flux.max_peclet, 1e6)
    peclet = np.concatenate([-np.geomspace(largest, 1e-20, 200), [0.0], np.geomspace(1e-20, largest, 200)])
    small = np.array([0.2, 0.1, 0.05, 0.025])
    for eps in (1e-3, 1.0, 7.0):
        weight = flux.weight(eps * peclet, eps)
        assert np.isfinite(weight).all()
        assert flux.weight(np.zeros(1), eps)[0] == eps
        defect = np.abs(flux.weight(-eps * small, eps) - flux.weight(eps * small, eps) - eps * small) / eps
        if (defect <= 4 * EPS).all():  # exactly consistent
            net = flux.weight(-eps * peclet, eps) - weight
            np.testing.assert_allclose(net, eps * peclet, rtol=1e-12, atol=4 * EPS * eps)
        else:
            assert_order(small, defect, 3.0, 0.15)
        if flux.monotone:
            assert (weight >= 0).all()
            assert (np.diff(weight) <= 2 * EPS * np.abs(weight[1:])).all()
        if flux.keeps_gibbs:
            near = eps * peclet[np.abs(peclet) <= min(35.0, largest)]
            np.testing.assert_allclose(flux.weight(-near, eps), flux.weight(near, eps) * np.exp(near / eps), rtol=1e-13)
        if np.isfinite(flux.max_peclet):
            with pytest.raises(CaseError, match=r"Peclet number .* \(allowed: "):
                flux.weight(np.array([-1.01 * eps * flux.max_peclet]), eps)
    assert flux.valid(0.0)
    assert flux.valid(flux.max_peclet)
    assert np.isinf(flux.max_peclet) or not flux.valid(1.01 * flux.max_peclet)
    _check_without_diffusion(flux)
    assert flux.order >= 1
    assert flux.describe(1.0).startswith(f"{flux.kind} flux (order {flux.order}")


def _check_without_diffusion(flux: FluxKind) -> None:
    """At eps = 0 a flux is refused, by a remedy, or is upwind."""
    mesh = Box((0.0,), (1.0,), (3,)).build()
    if flux.requires_diffusion:
        for make in (lambda: FokkerPlanck(mesh, Drift(), 0.0, flux), lambda: FokkerPlanckFlow(0.0, flux=flux)):
            with pytest.raises(CaseError, match=f"flux {flux.kind} needs epsilon > 0; use flux"):
                make()
    else:
        w = np.array([-2.0, 0.0, 3.0])
        np.testing.assert_array_equal(flux.weight(w, 0.0), np.maximum(-w, 0.0))
        assert flux.describe(0.0).startswith(f"{flux.kind} flux (upwind")


def check_energy(kind: EnergyKind, mesh: Mesh, parameters: Mapping[str, float] | None = None) -> None:
    """Variations are derivatives, the secant is a discrete gradient, and kind and term agree on what they declare."""
    parameters = parameters or {}
    term = kind.on(mesh, parameters)
    random = np.random.default_rng(2)
    density, direction = 1.0 + random.random(mesh.cells), random.uniform(-1, 1, mesh.cells)
    _check_variations(term, mesh, density, direction)
    _check_secant(term, mesh, density, random)
    _check_linearity(term, density, direction)
    if kind.strictly_convex:
        assert (term.second(density) > 0).all()
    if kind.described:
        _check_description(kind, term, mesh, density, parameters)
    if term.displacement_convex and mesh.dimension == 1:
        _check_displacement_convexity(term, mesh)
    assert 0 <= kind.memory(Extent(mesh.dimension, 100)) <= kind.memory(Extent(mesh.dimension, 1000))


def _check_variations(term: EnergyTerm, mesh: Mesh, density: Any, direction: Any) -> None:
    """Taylor remainders of order 2 and 3; of each cell where the energy is local, and of the total energy."""
    total = TotalEnergy(mesh.volume, (term,))
    steps = np.array([1e-1, 5e-2, 2.5e-2, 1.25e-2])
    first, second = [], []
    local_first, local_second = [], []
    for step in steps:
        change = total.value(density + step * direction) - total.value(density)
        linear = step * mesh.volume @ (total.first(density) * direction)
        hessian = total.second(density) * direction + total.offdiagonal_hessian_product(direction)
        first.append(abs(change - linear))
        second.append(abs(change - linear - 0.5 * step**2 * mesh.volume @ (hessian * direction)))
        if not term.nonlocal_:
            change = term.value(density + step * direction) - term.value(density)
            linear = step * term.first(density) * direction
            local_first.append(np.abs(change - linear).max())
            local_second.append(np.abs(change - linear - 0.5 * step**2 * term.second(density) * direction**2).max())
    exact = 1e-13 * max(1.0, abs(total.value(density)))
    for remainders, order in ((first, 2.0), (local_first, 2.0), (second, 3.0), (local_second, 3.0)):
        if remainders:
            assert_order(steps, remainders, order, 0.3, exact=exact)


def _check_secant(term: EnergyTerm, mesh: Mesh, density: Any, random: Any) -> None:
    """|K| secant (b - a) is the change of the energy, for near and far densities, and the default secant agrees."""
    total = TotalEnergy(mesh.volume, (term,))
    for size in (1.0, 1e-3, 1e-7, 1e-9, 0.0):
        after = density * (1 + size * (random.random(mesh.cells) - 0.4))
        secant = term.secant(density, after)
        rise = total.value(after) - total.value(density)
        scale = mesh.volume @ np.abs(term.value(density))
        np.testing.assert_allclose(mesh.volume @ (secant * (after - density)), rise, atol=8 * EPS * scale, rtol=1e-12)
        if size <= 1e-3:
            np.testing.assert_allclose(secant, term.first(0.5 * (density + after)), rtol=1e-6, atol=1e-6)
        if not term.nonlocal_:
            change = term.value(after) - term.value(density)
            atol = 8 * EPS * np.abs(term.value(density)).max()
            np.testing.assert_allclose(secant * (after - density), change, atol=atol)
            np.testing.assert_allclose(EnergyTerm.secant(term, density, after), secant, rtol=1e-11, atol=1e-12)


def _check_linearity(term: EnergyTerm, density: Any, direction: Any) -> None:
    """`external`, `nonlocal_` and `diffusion` say how `first` depends on the density."""
    other = density + 0.3 * direction
    change = term.first(other) - term.first(density)
    if term.external:
        np.testing.assert_array_equal(change, 0.0)
    if term.nonlocal_:
        np.testing.assert_allclose(term.first(0.3 * direction), change, rtol=1e-9, atol=1e-12)
    if term.diffusion is not None:
        np.testing.assert_allclose(change, term.diffusion * np.log(other / density), rtol=1e-9, atol=1e-13)


def _check_description(kind: EnergyKind, term: EnergyTerm, mesh: Mesh, density: Any, parameters: Any) -> None:
    """The energy is the sum of what its kind declares: linear diffusion, potential, power laws, kernels."""
    value = kind.diffusion * density * np.log(density)
    if kind.external_potential is not None:
        value += Expression(kind.external_potential).at(mesh.centre, parameters, 0.0) * density
    for coefficient, exponent in kind.power_laws:
        value += coefficient * density**exponent / (exponent - 1)
    for kernel in kind.kernels(parameters):
        value += 0.5 * density * convolution(kernel, mesh)(mesh.volume * density)
    np.testing.assert_allclose(term.value(density), value, rtol=1e-12, atol=1e-14)
    linear = not (kind.power_laws or kind.kernels(parameters))
    assert term.diffusion == (kind.diffusion if linear else None)


def _check_displacement_convexity(term: EnergyTerm, mesh: Mesh) -> None:
    """E is convex along the geodesic of two bumps, up to the error of the mesh."""
    low, size = mesh.points.min(), np.ptp(mesh.points)
    at = (mesh.centre[:, 0] - low) / size
    ends = [np.exp(-((at - mean) ** 2) / (2 * width**2)) + 0.05 for mean, width in ((0.35, 0.08), (0.65, 0.12))]
    first, last = (density / (mesh.volume @ density) for density in ends)
    energy = [mesh.volume @ term.value(interpolated_1d(mesh.edges[0], first, last, t)) for t in (0.0, 0.5, 1.0)]
    assert energy[1] <= 0.5 * (energy[0] + energy[2]) + 1e-3 * np.ptp(energy)


def check_density(kind: DensityKind, mesh: Mesh, finer: Mesh, parameters: Mapping[str, float] | None = None) -> None:
    """Non-negative cell values, mass, moments, and files as declared; on a finer mesh it is the same density."""
    parameters = parameters or {}
    values = kind.sample(mesh, parameters)
    assert values.shape == (mesh.cells,)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    mass = inner(mesh.volume, values)
    assert mass > 0
    assert kind.total_mass(mesh, parameters) == (mass if kind.scaled_mass is None else kind.scaled_mass)
    facts = Facts(mesh, Drift(), 1.0, 1.0, kind, parameters=parameters)
    coverage = kind.coverage(facts, None, mass)
    if coverage is not None:
        assert 0 <= coverage.off_mesh <= kind.truncate
        assert coverage.deviation > 0
        if kind.scaled_mass is not None and kind.gaussian is not None:
            assert mass == pytest.approx(1.0 - coverage.off_mesh, abs=1e-3)
    mean = mesh.volume * values @ mesh.centre / mass
    width = np.ptp(mesh.points, axis=0) * mesh.cells ** (-1 / mesh.dimension)
    if kind.gaussian is not None:
        expected, covariance = kind.gaussian
        offset = mesh.centre - mean
        np.testing.assert_allclose(mean, expected, atol=0.05 * float(width.min()))
        spread = (offset * (mesh.volume * values)[:, None]).T @ offset / mass
        np.testing.assert_allclose(spread, covariance, atol=float((width**2).max()) / 6)
    if kind.any_mesh:
        fine = kind.sample(finer, parameters)
        fine_mean = finer.volume * fine @ finer.centre / (finer.volume @ fine)
        assert (np.abs(fine_mean - mean) <= width).all()
    assert kind.own_density
    assert not kind.is_exact
    np.testing.assert_array_equal(kind.on(facts, None, 0.0), values)
    assert all(Path(file).exists() for file in kind.files)
    assert kind.sampling in get_args(Sampling)


def check_exact(exact: ClosedForm, cases: Sequence[Case], sizes: Any, order: float) -> None:
    """Runs converge to the closed form at the order of their method, and it accepts no other equation than its own.

    `cases` are runs that are compared with it on successive refinements, `sizes` their cell widths up to a factor.
    """
    errors = []
    for case in cases:
        simulation, last, figures = final(case)
        errors.append(figures[exact.figures[0]])
        assert figures["mass_drift"] <= 1e-13
        for time in (0.0, last.time) if "error_l1" in exact.figures else ():
            density = simulation.reference.average(time)
            assert density.min() >= 0
            assert simulation.mesh.volume @ density == pytest.approx(last.mass, rel=2e-3)
    assert_order(sizes, errors, order, 0.15)
    facts = _facts_of(cases[0], exact)
    assert facts.ingredients <= exact.derived_for
    assert not list(exact.faults(facts))
    assert set(ADDITIONS) == {*INGREDIENTS, "energy mine"}
    for name, add in ADDITIONS.items():
        altered = add(facts)
        assert name in altered.ingredients
        if name in facts.ingredients:
            continue
        if altered.ingredients <= exact.derived_for and name in (PERIODIC, RADIUS):
            continue  # each asks for more: tests/test_periodic.py, tests/test_radial.py
        if altered.ingredients <= exact.derived_for:
            assert not list(exact.faults(altered)), name
            exact.on(altered)
        else:
            assert list(exact.faults(altered)), name
            with pytest.raises(CaseError, match=exact.kind):
                exact.on(altered)


def _with_drift(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, drift=replace(facts.drift, **changes))


def _with_potential(facts: Facts, text: str) -> Facts:
    before = "0" if facts.drift.potential is None else facts.drift.potential.text
    return _with_drift(facts, potential=Expression(f"({before}) + {text}"))


def _with_wind(facts: Facts) -> Facts:
    along_x = ("0.1", "0", "0")[: facts.mesh.dimension]
    return _with_drift(facts, velocity=tuple(Expression(component) for component in along_x))


def _periodic_along_x(mesh: Mesh) -> Mesh:
    """A box about the mesh."""
    corners = (tuple(map(float, end)) for end in (mesh.points.min(axis=0), mesh.points.max(axis=0)))
    return Box(*corners, (8,) * mesh.dimension, periodic=("x",)).build()


def _absorbing_cell(mesh: Mesh) -> Openings:
    return openings(mesh, {}, {"A": np.arange(mesh.cells) == 0})


def _turned(mesh: Mesh) -> Mesh:
    """A box as large as the mesh, whose x is a radius."""
    edges = tuple(np.linspace(0.0, size, 9) for size in np.ptp(mesh.points, axis=0))
    return Grid(edges, revolution=Revolution.whole(2))


ADDITIONS: dict[str, Callable[[Facts], Facts]] = {
    "linear diffusion": lambda facts: replace(facts, epsilon=0.5),
    "a drift": lambda facts: _with_potential(facts, "0.1*x"),
    "a drift that is not a gradient": _with_wind,
    "a drift that depends on t": lambda facts: _with_potential(facts, "0.1*t*x"),
    "nonlinear diffusion": lambda facts: replace(facts, power_laws=(*facts.power_laws, (0.1, 3.0))),
    "an interaction": lambda facts: replace(facts, kernels=(Kernel(Expression("0.1*r**2")),)),
    "walls or cells that absorb": lambda facts: replace(facts, openings=_absorbing_cell(facts.mesh)),
    "a target": lambda facts: replace(facts, target=Uniform()),
    "energy mine": lambda facts: replace(facts, undescribed=("energy mine",)),
    PERIODIC: lambda facts: replace(facts, mesh=_periodic_along_x(facts.mesh)),
    RADIUS: lambda facts: replace(facts, mesh=_turned(facts.mesh)),
}
"""Facts with one ingredient more, in the simplest form: one that a closed form derived for the ingredient accepts."""


def _facts_of(case: Case, exact: ClosedForm) -> Facts:
    """The facts that a case presents to its closed form."""
    found: list[Facts] = []

    class Recorder(ClosedForm):
        kind = "recorder"
        stationary = exact.stationary

        def on(self, facts: Facts) -> Reference:
            found.append(facts)
            return exact.on(facts)

    replace(case, exact=Recorder()).prepare()
    return found[0]


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
            if stepper.tells_crossing:
                check_crossing(step, mesh, density, length, problem.max_outflow_rate(0.0))
        promised = 0.999 * stepper.positive_step(problem)
        if 0 < promised < math.inf:
            assert step(State.initial(mesh, density), promised).density.min() >= 0
    assert stepper.positive_step(problem) > 0 or stepper.positivity_note, "no promise, and no reason"
    if stepper.uses_flux:
        for length in STEP_LENGTHS:
            after = check_step(step, mesh, gibbs, length)
            assert np.abs(after.density - gibbs).max() <= 1e-13 * gibbs.max(), "the Gibbs state is not stationary"
    check_order_in_time(step, mesh, stepper.order, at_least=stepper.work_grows_with_step)
    assert stepper.takes_openings or stepper.openings_note, "no openings, and no reason"
    if stepper.takes_openings:
        check_openings(stepper, replace(problem, openings=_absorbing_cell(mesh)))
    check_embedded(stepper, problem)
    check_refusals(stepper, problem)
    check_description(stepper, lambda extent: stepper.describe(extent, "a flux", True))
    check_memory(lambda extent: stepper.memory(extent, True), mesh.extent)
    times = Times(1.0, Adaptive(1e-2, 1e-4), 0.25)
    assert stepper.time_grid(times).save_times == times.save_times
    assert stepper.growth > 1


def check_openings(stepper: LinearStepperBase, problem: FokkerPlanck) -> None:
    """What remains and what is absorbed are the mass, and absorbing cells stay empty."""
    step, volume = stepper.start(problem), problem.mesh.volume
    for length in STEP_LENGTHS:
        state = State.initial(problem.mesh, np.random.default_rng(4).random(len(volume)), 0.0, problem.openings)
        for _ in range(3):
            state = step(state, length)
            assert abs((inner(volume, state.density) + state.absorbed.sum()) / state.mass - 1) <= 1e-14
            assert state.density[0] == 0.0
            if length <= stepper.positive_step(problem):
                assert state.density.min() >= 0, length
        _check_crossing_of_openings(step, problem, state, length)


def _check_crossing_of_openings(step: Step, problem: FokkerPlanck, state: State, length: float) -> None:
    """What leaves through each opening is what each group absorbs, and accounts for the change of each cell."""
    links, openings_ = len(problem.graph.owner), problem.openings
    assert openings_ is not None
    after = step(replace(state, crossed=np.zeros(links + len(openings_.cell))), length)
    inside, leaving = np.split(after.crossed, [links])
    change = problem.mesh.volume * (after.density - state.density)
    left = divergence(problem.graph, inside) + openings_.by_cell(leaving)
    np.testing.assert_allclose(change, -left, rtol=0, atol=1e-13 * state.mass)
    np.testing.assert_allclose(openings_.by_group(leaving), after.absorbed - state.absorbed, atol=1e-13 * state.mass)


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
            check_crossing(step, mesh, density, length, 10.0)
    for length in STEP_LENGTHS:
        after = check_step(step, mesh, gibbs, length)
        assert np.abs(after.density - gibbs).max() <= 1e-12 * gibbs.max(), "the Gibbs state is not stationary"
    kinks = 0.15 if stepper.mobility == "limited" else 0.0  # a limiter that switches
    check_order_in_time(step, mesh, stepper.order, within=0.15 + kinks)
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
    state = replace(State.initial(mesh, density.copy()), time=0.5, step=7, fallback="x", halvings=3, residual=1.0)
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


def check_crossing(step: Step, mesh: Mesh, density: Array, length: float, rate: float) -> None:
    """A step that is asked for what crosses each face is the same, and the density changes by nothing else.

    Round-off is that of what a cell exchanges at a largest `rate`, which may be far more than the change.
    """
    state = replace(State.initial(mesh, density), crossed=np.zeros(mesh.faces))
    plain, after = step(replace(state, crossed=None), length), step(state, length)
    assert plain.crossed is None, "nobody asked"
    np.testing.assert_array_equal(after.density, plain.density)
    np.testing.assert_array_equal(state.crossed, 0.0)
    change, allowed = mesh.volume * (after.density - density), 1e-14 * (1.0 + length * rate) * state.mass
    np.testing.assert_allclose(change, -divergence(mesh, after.crossed), rtol=0, atol=allowed)


def check_order_in_time(step: Step, mesh: Mesh, order: float, at_least: bool = False, within: float = 0.15) -> None:
    """Differences of successive refinements from a smooth density fall at the order; all are round-off if infinite."""
    offset = mesh.centre - 0.3
    start, steps, densities = np.exp(-2.0 * (offset**2).sum(axis=1)), 0.01 / 2.0 ** np.arange(4), []
    for length in steps:
        state = State.initial(mesh, start)
        for _ in range(round(0.08 / length)):
            state = step(state, length)
            assert not state.fallback
            assert state.halvings == 0
        densities.append(state.density)
    errors = np.array([np.abs(coarse - fine).sum() for coarse, fine in pairwise(densities)]) / start.sum()
    if math.isinf(order):
        assert errors.max() <= 1e-10
    elif at_least:
        assert (np.diff(np.log(errors)) <= -(order - 0.15) * np.log(2)).all(), errors
    else:
        assert_order(steps[:-1], errors, order, within)


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
