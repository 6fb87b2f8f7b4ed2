"""Mass that leaves: every solver and stepper, the balance, what remains when little does, meshes, closed forms."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import expm
from scipy.optimize import brentq
from scipy.stats import norm

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.exact import Exact
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Direct, Krylov, SplitSweeps, Tridiagonal, inner, krylov
from fvflow.linalg.grid.geometric_multigrid import GeometricMultigrid
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.linalg.grid.stencil import Stencil
from fvflow.mesh import Box, Graded, Voronoi, openings
from fvflow.mesh.cell_geometry import circumcentric_areas
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import (
    CrankNicolson,
    ImplicitEuler,
    LinearStepper,
    SplitCrankNicolson,
    SplitEuler,
    TrBdf2,
    Uniformisation,
)
from fvflow.walls import CellSet, named
from tests import meshes
from tests.contracts import assert_order

LINE = Box((0.0,), (1.0,), (60,)).build()
GRIDS = {
    "line": LINE,
    "box": Box((0.0, 0.0), (1.0, 1.0), (24, 20)).build(),
    "graded": Graded((0.0, 0.0), (1.0, 1.0), (19, 24), (3.0, 2.0)).build(),
    "cube": Box((0.0,) * 3, (1.0,) * 3, (8, 7, 9)).build(),
}
OTHERS = {
    "triangles": meshes.triangles(),
    "voronoi": Voronoi((0.0, 0.0), (1.0, 1.0), (9, 8), seed=2).build(),
    "node boxes": meshes.node_boxes(),
    "boxes of tetrahedra": meshes.tetrahedra_nodes(),
}
LENGTHS = (1e-4, 1e-2, 1.0, 1e3)


def opened(mesh, cells=True, moving=False, epsilon=0.3):
    """A drift, one absorbing and one partly absorbing wall, and a set of absorbing cells."""
    centre = mesh.points.mean(axis=0) + 0.1 * np.ptp(mesh.points, axis=0)
    near = np.abs(mesh.centre - centre).max(axis=1) < 0.2 * np.ptp(mesh.points, axis=0).max()
    found = openings(mesh, {"left": math.inf, "right": 0.7}, {"A": near} if cells else {})
    potential = "3*x + sin(9*x)" + ("*(1 + t)" if moving else "")
    return FokkerPlanck(mesh, Drift(Expression(potential)), epsilon, ScharfetterGummel(), openings=found)


def start(problem, seed=0):
    density = np.random.default_rng(seed).random(problem.mesh.cells)
    return State.initial(problem.mesh, density / (problem.mesh.volume @ density), 0.0, problem.openings)


def balance(problem, state):
    return abs(inner(problem.mesh.volume, state.density) + state.absorbed.sum() - state.mass) / state.mass


# solvers


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("mesh", [*GRIDS, *OTHERS])
def test_every_solver_finds_the_same_density_and_keeps_the_balance(mesh, length, monkeypatch):
    monkeypatch.setattr(krylov, "_UNPRECONDITIONED", 10)  # off grids multigrid takes over
    problem = opened({**GRIDS, **OTHERS}[mesh])
    state = start(problem)
    known = ImplicitEuler(Direct()).start(problem)(state, length)
    for solver in [Direct(), Krylov(), *([Tridiagonal()] if mesh == "line" else [])]:
        after = ImplicitEuler(solver).start(problem)(state, length)
        assert balance(problem, after) <= 2e-15
        assert after.density.min() >= 0
        off = problem.mesh.volume @ np.abs(after.density - known.density)
        assert off <= 1e-11 * known.remaining, solver.kind
        np.testing.assert_allclose(after.absorbed, known.absorbed, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("mesh", GRIDS)
def test_sweeps_and_stencil_are_the_leaking_matrix(mesh):
    """Against dense matrices, one axis at a time, and the residual after sweeps against its definition."""
    problem = opened(GRIDS[mesh])
    matrix = problem.matrix(0.0, 0.01)
    rho, right = np.random.default_rng(1).random((2, len(matrix.volume)))
    dense, sweeps = matrix.sparse().toarray(), SplitSweeps(matrix)
    np.testing.assert_allclose(dense.sum(axis=0), matrix.column_sums, rtol=1e-9)
    np.testing.assert_allclose(matrix.volume * Stencil(matrix).apply(rho, np.empty_like(rho)), dense @ rho, rtol=1e-11)
    jacobi = Stencil(matrix).jacobi(rho, right, np.empty_like(rho))
    diagonal = np.diag(dense)
    np.testing.assert_allclose(jacobi, (matrix.volume * right + diagonal * rho - dense @ rho) / diagonal, rtol=1e-9)
    swept, expected, places = (
        [right],
        right,
        np.concatenate([np.full(down.size, axis) for axis, (_, down, _) in enumerate(matrix.along())]),
    )
    for axis in sweeps.axes:
        on = places == axis
        part = replace(matrix, down=matrix.down * on, up=matrix.up * on, leak=matrix.leak_along[axis])
        expected = np.linalg.solve(part.sparse().toarray(), matrix.volume * expected)
        swept.append(sweeps(swept[-1], (axis,)))
        np.testing.assert_allclose(swept[-1], expected, rtol=1e-9)
        assert matrix.rates()[axis] == pytest.approx((np.diag(part.sparse().toarray()) / matrix.volume - 1).max())
    out, added = np.empty_like(rho), np.zeros_like(rho)
    norm_of = Stencil(matrix).residual_after_sweeps(swept[1:], added, True, out)
    residual = right - dense @ expected / matrix.volume
    np.testing.assert_allclose(out, residual, rtol=1e-8, atol=1e-12)
    assert norm_of == pytest.approx(matrix.volume @ np.abs(residual), rel=1e-9, abs=1e-13)


def test_multigrid_solves_long_steps_with_openings():
    """A quarter of the residual and less with each cycle, as with closed walls, however long the step."""
    problem = opened(Box((0.0, 0.0), (1.0, 1.0), (64, 64)).build())
    for length in (1.0, 1e3, 1e6):
        matrix = problem.matrix(0.0, length)
        right = np.random.default_rng(2).random(len(matrix.volume))
        cycle, x = GeometricMultigrid(matrix), np.zeros(len(matrix.volume))
        stencil, norms = Stencil(matrix), []
        for _ in range(6):
            residual = right - stencil.apply(x, np.empty_like(x))
            norms.append(matrix.volume @ np.abs(residual))
            x += cycle(residual)
        assert norms[-1] < 0.25**5 * norms[0], norms
        assert MatrixFreeSolver(matrix, 1e-12, 60)(right, float(matrix.volume @ right)).density.min() >= 0


# steppers


STEPPERS = [kind() for kind in get_args(LinearStepper) if kind.takes_openings]
ON_GRIDS = (SplitEuler, SplitCrankNicolson)


def test_these_steppers_take_openings():
    kinds = {ImplicitEuler, CrankNicolson, TrBdf2, SplitEuler, SplitCrankNicolson, Uniformisation}
    assert {type(stepper) for stepper in STEPPERS} == kinds


@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving"])
@pytest.mark.parametrize("mesh", ["line", "graded", "cube", "triangles", "boxes of tetrahedra"])
@pytest.mark.parametrize("stepper", [*STEPPERS, SplitCrankNicolson(richardson=True)], ids=str)
def test_the_balance_holds_in_every_step(stepper, mesh, moving):
    problem = opened({**GRIDS, **OTHERS}[mesh], moving=moving)
    if (isinstance(stepper, ON_GRIDS) and mesh not in GRIDS) or (moving and stepper.requires_steady_drift):
        return
    step, state = stepper.start(problem), start(problem)
    longest = stepper.positive_step(problem)
    for length in (*LENGTHS[: 3 if stepper.work_grows_with_step else 4], 0.99 * longest if longest < math.inf else 0.1):
        after = step(state, length)
        assert balance(problem, after) <= 1e-14, length
        assert after.remaining == pytest.approx(inner(problem.mesh.volume, after.density), rel=2e-15, abs=2e-15)
        if length <= longest and not moving:
            assert after.density.min() >= 0, length
            assert (after.absorbed >= state.absorbed).all()
        again = step(after, length)
        assert balance(problem, again) <= 1e-14


@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving"])
@pytest.mark.parametrize("stepper", [CrankNicolson(), TrBdf2(), SplitCrankNicolson()], ids=lambda s: s.kind)
def test_densities_of_both_signs_that_cancel_are_stepped_all_the_same(stepper, moving):
    """As long steps leave them: of a mass of 1e-9 beside one of 1; scaled to the mass they would be round-off."""
    problem = opened(LINE, cells=False, moving=moving)
    density = np.sin(2 * np.pi * LINE.centre[:, 0])
    density += 1e-9 - LINE.volume @ density
    left = inner(LINE.volume, density)
    state = replace(State.initial(LINE, density, 0.0, problem.openings), mass=1.0)
    state = replace(state, absorption=np.array([[left, 1.0 - left, 0.0], [0.0] * 3]))
    for length in (1e-3, 0.1, 10.0):
        after = stepper.start(problem)(state, length)
        assert balance(problem, after) <= 1e-14
        assert after.remaining == pytest.approx(inner(LINE.volume, after.density), abs=1e-15)


@pytest.mark.parametrize("stepper", [s for s in STEPPERS if s.kind != "split-euler"], ids=lambda s: s.kind)
def test_the_order_in_time_is_kept(stepper):
    """Against a dense exponential of the chain with absorbing states: the density, and what each group absorbs."""
    problem = opened(LINE, cells=False)
    chain = problem.absorbing_chain(0.0)
    generator = -(chain.sparse().toarray() - np.diag(chain.volume)) / chain.volume
    state = start(problem)
    smooth = State.initial(LINE, 1.5 * np.sin(np.pi * LINE.centre[:, 0]) ** 2, 0.0, problem.openings)
    exact = expm(0.1 * generator) @ np.append(LINE.volume * smooth.density, [0, 0])
    assert state.mass == pytest.approx(1.0)
    errors, counts = [], (20, 40, 80)
    for count in counts:
        step, now = stepper.start(problem), smooth
        for _ in range(count):
            now = step(now, 0.1 / count)
        errors.append(np.abs(np.append(LINE.volume * now.density, now.absorbed) - exact).sum())
    if stepper.order == math.inf:
        assert max(errors) < 1e-12
    else:
        assert_order(1 / np.array(counts), errors, stepper.order, 0.2)


@pytest.mark.parametrize("stepper", [CrankNicolson(), TrBdf2(), SplitCrankNicolson()], ids=lambda s: s.kind)
def test_the_order_in_time_is_kept_under_a_drift_that_moves(stepper):
    """Against steps an eighth as long as the shortest: the density, and what each group absorbs."""
    problem = opened(LINE, cells=False, moving=True)
    density = 1.5 * np.sin(np.pi * LINE.centre[:, 0]) ** 2
    ends, counts = [], (20, 40, 80, 640)
    for count in counts:
        step, now = stepper.start(problem), State.initial(LINE, density, 0.0, problem.openings)
        for _ in range(count):
            now = step(now, 0.1 / count)
        ends.append(np.append(LINE.volume * now.density, now.absorbed))
    errors = [np.abs(end - ends[-1]).sum() for end in ends[:-1]]
    assert_order(1 / np.array(counts[:-1]), errors, 2, 0.2)


@pytest.mark.parametrize("kind", ["implicit-euler", "tr-bdf2", "split-euler", "uniformisation"])
def test_a_run_goes_on_until_nothing_is_left(kind):
    """Each step keeps the same share, to 1e-9 even of a mass of 1e-270; then nothing is left: moments alone are NaN."""
    case = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [40]}\n"
        f"flow: {{kind: fokker-planck, epsilon: 1, stepper: {{kind: {kind}}}}}\n"
        "initial: {kind: expression, density: sin(pi*x)}\nwalls: {left: absorbing, right: absorbing}\n"
        "times: {end: 120, step: 0.05, save: 1}"
    )
    simulation = case.prepare()
    frames = list(simulation.frames())
    survival = np.array([frame.diagnostics["survival"] for frame in frames])
    some = survival > 1e-270
    slopes = np.diff(np.log(survival[some]))
    np.testing.assert_allclose(slopes, slopes[-1], rtol=1e-9)
    assert 10 < some.sum() < len(frames) - 10
    assert survival[-1] == 0.0
    end = frames[-1].diagnostics
    assert end["absorbed_left"] + end["absorbed_right"] == pytest.approx(1.0, abs=1e-14)
    assert np.isnan(end["mean"]).all()
    assert np.isnan(end["covariance"]).all()
    assert not any(np.isnan(value).any() for name, value in end.items() if name not in ("mean", "covariance"))
    assert simulation.figures()["mass_drift"] <= 1e-14
    assert any("all of the mass has been absorbed" in remark for remark in simulation.remarks())


@pytest.mark.parametrize("kind", ["implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "split-crank-nicolson"])
def test_adaptive_steps_keep_the_balance(kind):
    """Survival of a uniform density between absorbing walls, from a density that does not vanish there."""
    case = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [100]}\n"
        f"flow: {{kind: fokker-planck, epsilon: 1, stepper: {{kind: {kind}}}}}\n"
        "initial: {kind: uniform}\nwalls: {rest: absorbing}\n"
        "times: {end: 0.2, step: {initial: 1.0e-6, tolerance: 1.0e-5}, save: 0.05}"
    )
    ds = case.run()
    k = np.arange(1, 400, 2)[:, None]
    series = (8 / (np.pi * k) ** 2 * np.exp(-((np.pi * k) ** 2) * ds.time.values[1:])).sum(axis=0)
    np.testing.assert_allclose(ds.survival[1:], series, atol=2e-3)
    assert ds.attrs["mass_drift"] <= 1e-14


@pytest.mark.parametrize("kind", ["implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler"])
def test_the_estimated_error_in_time_is_the_error(kind):
    """Against the same run without an error in time."""
    case = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [50]}\n"
        f"flow: {{kind: fokker-planck, epsilon: 1, potential: x, stepper: {{kind: {kind}}}}}\n"
        "initial: {kind: expression, density: sin(pi*x)**2, mass: 1}\n"
        "walls: {left: absorbing, right: {kind: partial, rate: 1}}\ntimes: {end: 0.1, step: 0.001, save: 0.1}"
    )
    ds, exact = case.run(), case.replace({"flow.stepper": {"kind": "uniformisation"}}).run()
    off = float(np.abs(ds.rho[-1] - exact.rho[-1]).sum()) / 50
    assert ds.attrs["time_error"] == pytest.approx(off, rel=0.1)


def test_a_wall_that_would_let_mass_in_is_refused():
    """A centred flux from a wall where diffusion is next to none lets mass in: all faces between cells are resolved."""
    text = (
        "mesh: {kind: box, lower: [0], upper: [1], cells: [40]}\n"
        "flow: {kind: fokker-planck, diffusion: {value: 'where(x < 0.01, 1.0e-6, 0.1)', convention: isothermal}, "
        "velocity: [1], flux: {kind: centred}, stepper: {kind: KIND}}\n"
        "initial: {kind: uniform}\nwalls: {left: absorbing}\ntimes: {end: 0.1, step: 0.01}"
    )
    for kind in ("implicit-euler", "uniformisation"):
        with pytest.raises(CaseError, match="flux centred is not monotone at an opening"):
            Case.parse(text.replace("KIND", kind)).prepare()


def test_monotone_steps_towards_a_wall_do_not_count_as_ringing():
    """A uniform density gets slopes at absorbing walls; beyond them it is 0, so that its variation does not grow."""
    text = (
        "mesh: {kind: box, lower: [0], upper: [1], cells: [40]}\n"
        "flow: {kind: fokker-planck, epsilon: 1, stepper: {kind: crank-nicolson}}\n"
        "initial: {kind: uniform}\nwalls: {rest: absorbing}\ntimes: {end: 0.1, step: 1.0e-4, save: 0.1}"
    )
    assert Case.parse(text).run().attrs["variation_growth"] <= 1e-14


# closed forms


def inverse_gaussian(time, eps=0.2):
    """The density of the time at which x = 1 - t + sqrt(2 eps) W reaches 0, and the probability that it has not."""
    density = np.exp(-((1 - time) ** 2) / (4 * eps * time)) / np.sqrt(4 * np.pi * eps * time**3)
    scale = np.sqrt(2 * eps * time)
    return density, norm.cdf((1 - time) / scale) - np.exp(1 / eps) * norm.cdf((-1 - time) / scale)


def test_the_inverse_gaussian_is_the_whole_of_what_passes():
    density, survival = inverse_gaussian(np.array([3.0]))
    assert quad(lambda t: inverse_gaussian(t)[0], 0, 3)[0] == pytest.approx(1 - survival[0], abs=1e-9)
    assert density > 0


def test_first_passage_times_are_inverse_gaussian_to_second_order():
    case, errors, cells = Case.read("cases/first-passage-drift.yaml"), [], (75, 150, 300)
    for count in cells:
        ds = case.replace({"mesh.cells": [count], "times.save": 0.5, "times.step": 0.3 / count}).run()
        density, survival = inverse_gaussian(ds.time.values[1:])
        errors.append((np.abs(ds.outflow_left[1:] - density).max(), np.abs(ds.survival[1:] - survival).max()))
    assert_order(1 / np.array(cells), np.array(errors)[:, 0], 2, 0.25)
    assert_order(1 / np.array(cells), np.array(errors)[:, 1], 2, 0.25)
    times = case.run().sel(time=[0.5, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(times.survival, inverse_gaussian(times.time.values)[1], atol=1e-4)
    np.testing.assert_allclose(times.outflow_left, inverse_gaussian(times.time.values)[0], atol=1e-3)


@pytest.mark.parametrize("kappa", [0.1, 3.0, 1e4])
def test_a_partial_wall_under_a_drift_decays_at_its_rate_to_second_order(kappa):
    """rho = exp(v x/2 eps)(cos q x + v/(2 eps q) sin q x), closed at 0: v rho - eps rho' = kappa rho at 1."""
    v, eps = 0.5, 0.3
    a = v / (2 * eps)

    def off(q):
        mode, slope = math.cos(q) + a / q * math.sin(q), -q * math.sin(q) + a * math.cos(q)
        return (v - kappa) * mode - eps * (a * mode + slope)

    grid = np.linspace(1e-6, 3.0, 4000)
    signs = np.sign([off(q) for q in grid])
    first = int(np.flatnonzero(np.diff(signs))[0]) if np.diff(signs).any() else None
    if first is not None:
        q = brentq(off, grid[first], grid[first + 1], xtol=1e-14)
        rate = eps * (q * q + a * a)
    else:  # a slower mode without oscillation
        rate = None
    if kappa < v:  # the slowest mode is exp(a x)(cosh p x + a/p sinh p x)

        def hyperbolic(p):
            mode, slope = math.cosh(p) + a / p * math.sinh(p), p * math.sinh(p) + a * math.cosh(p)
            return (v - kappa) * mode - eps * (a * mode + slope)

        p = brentq(hyperbolic, 1e-6, a - 1e-9, xtol=1e-14)
        rate = eps * (a * a - p * p)
    errors, cells = [], (20, 40, 80)
    for count in cells:
        mesh = Box((0.0,), (1.0,), (count,)).build()
        found = openings(mesh, {"right": kappa}, {})
        problem = FokkerPlanck(mesh, Drift(velocity=(Expression(str(v)),)), eps, ScharfetterGummel(), openings=found)
        generator = (problem.matrix(0.0, 1.0).sparse().toarray() - np.diag(mesh.volume)) / mesh.volume[:, None]
        errors.append(abs(np.linalg.eigvals(generator).real.min() / rate - 1))
    assert_order(1 / np.array(cells), errors, 2, 0.15)


def test_no_closed_form_is_taken_for_one_with_openings():
    for kind in get_args(Exact):
        assert "walls or cells that absorb" not in kind.derived_for
    text = (
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 8]}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        "initial: {kind: exact}\nexact: {kind: heat-box, modes: [1, 0]}\nwalls: {left: absorbing}\n"
        "times: {end: 0.1, step: 0.01}"
    )
    with pytest.raises(
        CaseError, match=r"heat-box was derived for .*linear diffusion, and this case has walls or cells"
    ):
        Case.parse(text).prepare()
    Case.parse(text).replace({"walls": {"left": "no-flux"}}).prepare()


# meshes


TRIANGLES = """
mesh:
  kind: gmsh
  size: 1.0
  geometry: |
    SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 1}; Mesh.MeshSizeMax = 0.06; Mesh.Algorithm = 6;
    Physical Curve("inlet") = {4}; Physical Curve("outlet/1") = {2}; Physical Surface("all") = {1};
flow: {kind: fokker-planck, epsilon: 1, stepper: {kind: tr-bdf2}}
initial: {kind: uniform}
times: {end: 0.1, step: 0.001, save: 0.05}
"""


def test_walls_of_a_mesh_are_named_by_its_physical_groups():
    text = TRIANGLES
    ds = Case.parse(text).replace({"walls": {"inlet": "absorbing", "outlet_1": "absorbing"}}).run()
    k = np.arange(1, 400, 2)[:, None]
    series = (8 / (np.pi * k) ** 2 * np.exp(-((np.pi * k) ** 2) * ds.time.values[1:])).sum(axis=0)
    np.testing.assert_allclose(ds.survival[1:], series, rtol=5e-3)
    np.testing.assert_allclose(ds.absorbed_outlet_1, ds.absorbed_inlet, rtol=0.02)
    assert ds.attrs["mass_drift"] <= 1e-14
    with pytest.raises(CaseError, match="the mesh has no wall outlet; did you mean outlet_1"):
        Case.parse(text).replace({"walls": {"outlet": "absorbing"}}).prepare()
    told = Case.parse(text).replace({"walls": {"inlet": "absorbing", "right": {"kind": "partial", "rate": 2}}}).check()
    assert told["walls"].startswith("inlet absorbs (")
    assert "right lets kappa rho pass, kappa = 2 (" in told["walls"]


def test_the_corners_of_a_cube_of_tetrahedra_absorb():
    """Boxes about nodes whose centres lie on the wall absorb as a whole; the rest keeps the balance."""
    problem = opened(OTHERS["boxes of tetrahedra"], cells=False)
    assert (problem.openings.closed >= 0).any()
    state = start(problem)
    assert state.absorbed[0] > 0
    for _ in range(20):
        state = TrBdf2().start(problem)(state, 0.01)
    assert balance(problem, state) <= 1e-14


# cases


CASE = """
mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [20, 20]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: x*y}
initial: {kind: uniform}
walls: {left: absorbing, top: {kind: partial, rate: 2}}
absorbing: {where: x > 0.8}
times: {end: 0.2, step: 0.01, save: 0.1}
"""


def test_check_and_run_tell_which_walls_absorb_and_what_is_absorbed_at_once():
    case = Case.parse(CASE)
    told = case.check()
    assert told["walls"].startswith(
        "left absorbs (20 faces); top lets kappa rho pass, kappa = 2 (16 faces); where absorbs (80 cells); elsewhere no"
    )
    assert told["absorbed at once"] == "20 % of the mass"
    ds = case.run()
    assert ds.attrs["remarks"] == "20 % of the mass is in absorbing cells and absorbed at once"
    assert ds.attrs["survival"] == float(ds.survival[-1]) == pytest.approx(float(ds.mass[-1]), rel=1e-14)
    assert ds.attrs["absorbed_top"] == float(ds.absorbed_top[-1])
    everywhere = case.replace({"walls": {"rest": "absorbing"}, "absorbing": []})
    assert everywhere.check()["walls"] == "; ".join(
        f"{name} absorbs (20 faces)" for name in ("left", "right", "bottom", "top")
    )
    assert "absorbed at once" not in everywhere.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"absorbing": {"where": "x < 0.8"}, "initial": {"kind": "spike", "at": [0.5, 0.5]}}, "all of its mass is in"),
        ({"walls": {}, "absorbing": [], "checks": {"survival": 1}}, "needs walls or cells that absorb"),
        (
            {"flow.stepper": {"kind": "chebyshev"}},
            "its bound on round-off is that of a chain which conserves mass; use",
        ),
        ({"walls": {}, "flow.stepper": {"kind": "muscl"}}, "absorbing: stepper muscl takes no absorbing walls"),
        ({"flow.stepper": {"kind": "muscl"}}, "a wall has none; use implicit-euler, crank-nicolson, tr-bdf2, split"),
    ],
)
def test_bad_cases_are_refused(changes, message):
    with pytest.raises(CaseError) as caught:
        Case.parse(CASE).replace(changes).prepare()
    assert message in str(caught.value)


def test_survival_is_a_check():
    run = Case.parse(CASE).replace({"checks": {"survival": 0.1}}).run()
    assert "check survival missed" in run.attrs["checks_missed"]
    assert Case.parse(CASE).replace({"checks": {"survival": 0.9}}).run().attrs["checks_missed"] == "none"


def test_a_run_goes_on_from_a_file_with_what_is_left(tmp_path):
    """Two runs of 0.1 are one of 0.2; the survival of the second is that of what the first left."""
    whole = Case.parse(CASE).run()
    Case.parse(CASE).replace({"times.end": 0.1}).write(tmp_path / "a.nc")
    second = Case.parse(CASE).replace({"initial": {"kind": "file", "file": str(tmp_path / "a.nc")}, "times.end": 0.1})
    ds = second.run()
    assert float(ds.mass[0]) == pytest.approx(float(whole.survival[1]), rel=1e-14)
    np.testing.assert_allclose(ds.rho[-1], whole.rho[-1], rtol=1e-12)
    assert float(ds.survival[-1] * ds.mass[0]) == pytest.approx(float(whole.survival[-1]), rel=1e-13)


def test_names_that_sets_and_walls_share_are_told_apart():
    sets = [CellSet(region="left"), CellSet(where="x > 0"), CellSet(where="y > 0"), CellSet(region="left")]
    assert list(named(sets, ["left"])) == ["left_2", "where", "where_2", "left_3"]


def test_wall_triangles_are_shared_by_what_is_nearest():
    right, equilateral = [(0, 0, 1), (2, 0, 1), (0, 2, 1)], [(0, 0, 0), (1, 0, 0), (0.5, math.sqrt(0.75), 0)]
    areas = circumcentric_areas(np.array([right, equilateral], float))
    np.testing.assert_allclose(areas, [[1, 0.5, 0.5], [math.sqrt(3) / 12] * 3], rtol=1e-14)


def test_walls_that_change_alone_change_the_matrix():
    """A potential that moves at the wall and at no centre: each step is that of a stepper that starts there."""
    mesh = Box((0.0,), (1.0,), (10,)).build()
    drift = Drift(Expression("where(x < 0.01, sin(60*t), 0)"))
    problem = FokkerPlanck(mesh, drift, 1.0, ScharfetterGummel(), openings=openings(mesh, {"left": math.inf}, {}))
    step, state, losses = ImplicitEuler().start(problem), start(problem), []
    for _ in range(4):
        after, fresh = step(state, 0.01), ImplicitEuler().start(problem)(state, 0.01)
        np.testing.assert_array_equal(after.density, fresh.density)
        losses.append(float((after.absorbed - state.absorbed)[0] / state.density[0]))
        state = after
    assert len(np.unique(np.round(losses, 3))) == 4


def test_little_mass_is_kept_as_well_as_much():
    """Masses of 1e-60: nothing is left below 1e-280, and no density is refused before that."""
    problem = opened(LINE, cells=False, epsilon=1.0)
    state = start(problem)
    state = State.initial(LINE, 1e-60 * state.density, 0.0, problem.openings)
    step = ImplicitEuler().start(problem)
    for _ in range(600):
        state = step(state, 1.0)
        assert balance(problem, state) <= 1e-14
    assert state.remaining == 0.0


def test_the_resolution_of_no_mass_or_less_is_none():
    """Long steps of a method that is not positive take more than all of the mass through a wall."""
    text = (
        "mesh: {kind: box, lower: [0], upper: [2], cells: [9]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.2, velocity: [-1.0e+16], flux: {kind: upwind}, "
        "stepper: {kind: tr-bdf2}}\n"
        "initial: {kind: spike, at: [1]}\nwalls: {left: absorbing}\ntimes: {end: 6.0e-06, step: 2.0e-06, save: 4.0e-06}"
    )
    ds = Case.parse(text).run()
    assert ds.attrs["mass_drift"] <= 1e-14
    assert not any(np.isnan(value) for value in ds.attrs.values() if isinstance(value, float))
