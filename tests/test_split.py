"""What works along the axes of a grid: sweeps, the stencil, the iteration without a matrix, and their steppers."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fvflow import jit
from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Direct, FaceMatrix, Krylov, LocallyOneDimensional, SplitSweeps
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.linalg.grid.stencil import Stencil
from fvflow.mesh import Box, Graded
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import ImplicitEuler, SplitCrankNicolson, SplitEuler
from tests.contracts import EPS, assert_order, check_solver
from tests.scenes import final, ou, spike

SHAPES = [(7,), (5, 6), (9, 1), (1, 4), (4, 3, 5), (1, 3, 2)]
LARGER = [
    (13, 45),
    (8, 32),
    (530, 3),
    (3, 4, 5),
    (17, 6, 7),
]  # tiles, groups and strips that are full, and that are not


def random_matrix(counts, alike=False, seed=1):
    """Any coefficients >= 0 on a graded grid; `alike`: the same on all lines along an axis, on an even one."""
    kind = (lambda *box: Box(*box)) if alike else (lambda *box: Graded(*box, (3.0,) * len(counts)))
    mesh = kind((0.0,) * len(counts), (1.0,) * len(counts), counts).build()
    down, up = 0.5 * np.random.default_rng(seed).random((2, mesh.faces)) + 0.01
    matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up, mesh.shape)
    if alike:
        for place, *parts in matrix.along():
            first = tuple(slice(None) if axis == place else slice(0, 1) for axis in range(len(counts)))
            for part in parts:  # a view
                part[...] = part[first].copy()
    return matrix


def axis_matrix(matrix, axis):
    """The part of a matrix along one axis, without the volumes on its diagonal (dense)."""
    faces = np.concatenate([np.full(down.size, number) for number, (_, down, _) in enumerate(matrix.along())])
    on = faces == axis
    part = replace(matrix, down=matrix.down * on, up=matrix.up * on)
    return part.sparse().toarray() - np.diag(matrix.volume)


@pytest.mark.parametrize("counts", SHAPES + LARGER)
@pytest.mark.parametrize("alike", [False, True], ids=["own", "alike"])
def test_sweeps_are_products_of_dense_solves(counts, alike):
    matrix = random_matrix(counts, alike)
    volume, rho = np.diag(matrix.volume), np.random.default_rng(2).random(len(matrix.volume))
    sweeps, euler, cayley = SplitSweeps(matrix), rho, rho
    for axis in sweeps.axes:
        a = axis_matrix(matrix, axis)
        euler = np.linalg.solve(volume + a, volume @ euler)
        cayley = np.linalg.solve(volume + a, (volume - a) @ cayley)
    before = rho.copy()
    np.testing.assert_allclose(sweeps(rho), euler, rtol=1e-12)
    np.testing.assert_allclose(sweeps(rho, reflected=True), cayley, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(rho, before, err_msg="the density given is not the sweep's to change")
    into = np.empty_like(rho)
    assert np.shares_memory(sweeps(rho, out=into), into)
    np.testing.assert_allclose(sweeps(into, out=into), sweeps(sweeps(rho)), rtol=1e-14, err_msg="in place")


@pytest.mark.parametrize("counts", SHAPES)
def test_the_stencil_is_the_matrix(counts):
    matrix = random_matrix(counts)
    rho, right = np.random.default_rng(3).random((2, len(matrix.volume)))
    dense, out = matrix.sparse().toarray(), np.empty_like(rho)
    np.testing.assert_allclose(matrix.volume * Stencil(matrix).apply(rho, out), dense @ rho, rtol=1e-12, atol=1e-14)
    diagonal = np.diag(dense)
    np.testing.assert_allclose(matrix.diagonal(), diagonal, rtol=1e-14)
    expected = (matrix.volume * right + diagonal * rho - dense @ rho) / diagonal
    np.testing.assert_allclose(Stencil(matrix).jacobi(rho, right, out), expected, rtol=1e-12)
    alone = [np.diag(axis_matrix(matrix, axis)) / matrix.volume for axis in range(len(counts))]
    np.testing.assert_allclose(matrix.rates(), [rates.max(initial=0.0) for rates in alone], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("counts", SHAPES + LARGER)
@pytest.mark.parametrize("fresh", [False, True])
def test_the_residual_follows_from_the_sweeps(counts, fresh):
    matrix = random_matrix(counts)
    right, density = np.random.default_rng(7).random((2, len(matrix.volume)))
    sweeps, swept, before = SplitSweeps(matrix), [right], density.copy()
    for axis in sweeps.axes:
        swept.append(sweeps(swept[-1], (axis,)))
    out = np.empty_like(right)
    norm = Stencil(matrix).residual_after_sweeps(swept[1:], density, fresh, out)
    expected = right - matrix.apply(swept[-1]) / matrix.volume
    np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-12)
    assert norm == pytest.approx(matrix.volume @ np.abs(expected), rel=1e-11, abs=1e-12)
    np.testing.assert_allclose(density, swept[-1] + (0 if fresh else before), rtol=1e-14)


@pytest.mark.parametrize("counts", [(9,), (5, 6), (4, 3, 5), (13, 45)])
def test_compiled_kernels_equal_their_python(counts, monkeypatch):
    matrix, alike = random_matrix(counts), random_matrix(counts, True)
    rho = np.random.default_rng(4).random(len(matrix.volume))

    def found():
        swept = [SplitSweeps(each)(rho, reflected=way) for each in (matrix, alike) for way in (False, True)]
        line = Stencil(matrix)
        moved = [line.apply(rho, np.empty_like(rho)), line.jacobi(rho, rho, np.empty_like(rho))]
        return [*swept, *moved, MatrixFreeSolver(matrix, 1e-12, 99)(rho, float(matrix.volume @ rho)).density]

    fast = found()
    monkeypatch.setattr(jit.Kernel, "dispatcher", property(lambda kernel: kernel.py_func))
    for plain, quick in zip(found(), fast, strict=True):
        np.testing.assert_allclose(plain, quick, rtol=1e-11, atol=1e-13)


def problem(counts, potential="2*x**2 + x*y + y**2", epsilon=0.4):
    mesh = Box((-2.0,) * len(counts), (2.0,) * len(counts), counts).build()
    return FokkerPlanck(mesh, Drift(potential=Expression(potential)), epsilon, ScharfetterGummel())


def test_equal_lines_share_their_multipliers():
    """V1(x) + V2(y) is recognised in the coefficients up to the rounding of V; x y couples the axes."""
    separable = problem((60, 64), "exp(x) + y**4/7 - y").matrix(0.0, 0.1)
    coupled = problem((60, 64), "exp(x) + y**4/7 - y + 1e-6*x*y").matrix(0.0, 0.1)
    assert SplitSweeps(separable).nbytes == 3 * 8 * (60 + 64)
    assert SplitSweeps(coupled).nbytes == 2 * 3 * 8 * 60 * 64
    rho = np.random.default_rng(5).random(3840)
    np.testing.assert_allclose(SplitSweeps(separable)(rho), SplitSweeps(coupled)(rho), rtol=1e-4)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(jit, "MIN_PARALLEL_CELLS", 1)
    matrix = problem((300, 300)).matrix(0.0, 0.1)
    rho = np.random.default_rng(6).random(90_000)
    monkeypatch.setattr(jit, "thread_limit", lambda: 1)
    alone = [SplitSweeps(matrix)(rho), Stencil(matrix).apply(rho, np.empty_like(rho))]
    monkeypatch.setattr(jit, "thread_limit", lambda: 3)
    np.testing.assert_array_equal(alone, [SplitSweeps(matrix)(rho), Stencil(matrix).apply(rho, np.empty_like(rho))])


@pytest.mark.parametrize(("count", "block"), [(10, 1), (10, 4), (3, 4), (1, 1), (9, 4)])
def test_parallel_for_covers_the_range_without_gaps(count, block, monkeypatch):
    monkeypatch.setattr(jit, "thread_limit", lambda: 3)
    runs = []
    jit.parallel_for(lambda *run: runs.append(run), count, jit.MIN_PARALLEL_CELLS, block)
    runs.sort()
    assert [runs[0][0], runs[-1][1]] == [0, count]
    assert all(one[1] == other[0] and other[0] % block == 0 for one, other in pairwise(runs))
    runs.clear()
    jit.parallel_for(lambda *run: runs.append(run), count, jit.MIN_PARALLEL_CELLS - 1, block)
    assert runs == [(0, count)], "little work stays where it is"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"NUMBA_NUM_THREADS": "1"}, 1), ({"OMP_NUM_THREADS": "1"}, 1), ({"OMP_NUM_THREADS": "1,2"}, 1)],
)
def test_the_environment_limits_threads(environment, expected, monkeypatch):
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    free = jit.thread_limit.__wrapped__()
    assert free >= 1
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert jit.thread_limit.__wrapped__() == expected
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1000")
    assert jit.thread_limit.__wrapped__() == free


@pytest.mark.parametrize("step", [1e-4, 1e-1, 1e3])
@pytest.mark.parametrize("counts", [(40,), (9, 9), (6, 6, 6)])
def test_the_iteration_without_a_matrix_keeps_the_contract(counts, step):
    potential = "2*x**2" if len(counts) == 1 else "2*x**2 + x*y + y**2"
    check_solver(Krylov(), problem(counts, potential).matrix(0.0, step))


def test_iterations_do_not_grow_with_the_grid():
    rounds = []
    for count in (32, 64, 128):
        matrix = problem((count, count)).matrix(0.0, 0.02)
        rho = np.exp(-((problem((count, count)).mesh.centre - 0.3) ** 2).sum(axis=1) / 0.3)
        rounds.append(Krylov().prepare(matrix)(matrix.volume * rho, float(matrix.volume @ rho)).iterations)
    assert max(rounds) <= min(rounds) + 2 <= 12


@pytest.mark.parametrize("step", [1.0, 1e2, 1e4])
def test_long_steps_use_multigrid_cycles(step):
    """A double well at eps = 0.05, up to steps of 1e4; the sweep alone stalls, and is left after 12 iterations."""
    p = problem((64, 64), "(x**2 - 1)**2 + 0.5*y**2 + 0.3*x*y", 0.05)
    matrix, right = p.matrix(0.0, step), np.random.default_rng(8).random(p.mesh.cells)
    expected = Direct().prepare(matrix)(matrix.volume * right, float(matrix.volume @ right)).density
    solve = MatrixFreeSolver(matrix, 1e-12, 400)
    found = solve(right, float(matrix.volume @ right))
    assert 12 < found.iterations <= 40
    assert matrix.volume @ np.abs(found.density - expected) <= 1e-8 * (matrix.volume @ right)
    assert solve(expected, float(matrix.volume @ right)).iterations <= 60, "each solve begins with sweeps"


def test_short_steps_use_sweeps_only():
    """No levels are made where the sweeps are on their way."""
    p = problem((64, 64), "(x**2 - 1)**2 + 0.5*y**2 + 0.3*x*y", 0.05)
    solve = MatrixFreeSolver(p.matrix(0.0, 0.01), 1e-12, 400)
    for right in (np.ones(p.mesh.cells), np.random.default_rng(8).random(p.mesh.cells)):
        assert solve(right, float(p.mesh.volume @ right)).iterations <= 20
    assert "_cycle" not in solve.__dict__


def test_the_iteration_ends_without_a_negative_density():
    """Of a spike BiCGStab leaves cells below 0 by what the tolerance allows; the last Jacobi sweep does not."""
    p = problem((128, 128))
    matrix, right = p.matrix(0.0, 0.01), np.zeros(p.mesh.cells)
    right[8256] = 1.0 / p.mesh.volume[8256]
    solution = MatrixFreeSolver(matrix, 1e-12, 400)(right, 1.0)
    assert solution.density.min() >= 0
    assert abs(p.mesh.volume @ solution.density - 1) <= 4 * EPS
    bare = MatrixFreeSolver(replace(matrix), 1e-12, 400)
    bare._matrix.__dict__["monotone"] = False  # what is no M-matrix is promised no sign
    assert bare(right, 1.0).density.min() < 0


def test_the_iteration_reports_where_it_stopped():
    solve = Krylov(iterations=1, tolerance=1e-14).prepare(problem((40, 40)).matrix(0.0, 1e4))
    with pytest.raises(NumericsError, match=r"stopped after 1 iterations at the residual .* or solver direct"):
        solve(np.eye(1600)[7], 1.0)


@pytest.mark.parametrize("cells", [1000, 100_000])
def test_the_multipliers_keep_mass(cells):
    """Before any correction, and of steps that are far beyond the time of relaxation."""
    for step in (1e-4, 1.0, 1e8):
        matrix = problem((cells,), "2*x**2").matrix(0.0, step)
        rho = np.exp(-(np.linspace(-2, 2, cells) ** 2))
        mass = matrix.volume @ rho
        assert abs(matrix.volume @ SplitSweeps(matrix)(rho) / mass - 1) <= 64 * EPS * np.sqrt(cells)


def test_the_mass_of_many_cells_is_known_from_the_start():
    """A sum of 10^6 numbers in one go is off by 2e-14."""
    case = ou(2, 1024, flow__stepper={"kind": "split-euler"}, times={"end": 0.02, "step": 0.01})
    assert final(case)[2]["mass_drift"] <= 2e-15


GIBBS = {1: "(x**2 - 1)**2", 2: "(x**2 - 1)**2 + 0.5*y**2 + 0.3*x*y", 3: "2*x**2 + y**2 + z**2 + x*z"}


@pytest.mark.parametrize("stepper", ["split-euler", "implicit-euler", "separable"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("step", [1e-3, 1.0, 1e4])
def test_gibbs_states_are_stationary_on_grids(stepper, dimension, step):
    potential = GIBBS[dimension] if stepper != "separable" else "+".join(f"({a}**2 - 1)**2" for a in "xyz"[:dimension])
    kind = {"kind": "split-euler"} if stepper != "implicit-euler" else {"kind": stepper, "solver": {"kind": "krylov"}}
    case = ou(dimension, {1: 100, 2: 40, 3: 16}[dimension], flow__potential=potential, flow__epsilon=0.3)
    changes = {"mesh.lower": [-2] * dimension, "mesh.upper": [2] * dimension, "exact": {"kind": "gibbs"}}
    for path, value in {**changes, "initial": {"kind": "gibbs"}, "flow.stepper": kind}.items():
        case = case.replace({path: value})
    prepared, last, figures = final(case.replace({"times": {"end": 300 * step, "step": step}}))
    assert np.abs(last.density - prepared.initial.density).max() <= 1e-13 * prepared.initial.density.max()
    assert figures["mass_drift"] <= 1e-14


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("step", [1e-4, 1e-1, 100.0])
def test_spikes_stay_positive_when_split(dimension, step):
    case = ou(dimension, {1: 100, 2: 24, 3: 18}[dimension], flow__stepper={"kind": "split-euler"}, flow__epsilon=0.02)
    prepared, _, figures = final(spike(case.replace({"times": {"end": 5 * step, "step": step}})))
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 2e-15
    assert prepared.positivity() == "unconditional"


def test_split_crank_nicolson_goes_negative_and_says_so():
    case = spike(ou(2, 80, flow__stepper={"kind": "split-crank-nicolson"}, times={"end": 0.6, "step": 0.3}))
    prepared, _, figures = final(case)
    assert figures["minimum"] < -1e-3
    assert prepared.positivity().startswith("not guaranteed: step 0.3 is above")
    safe = case.flow.positive_step(prepared.problem)
    prepared, _, figures = final(case.replace({"times": {"end": 20 * safe, "step": 0.999 * safe}}))
    assert figures["minimum"] >= 0
    assert prepared.positivity().startswith("guaranteed")
    case = case.replace({"flow.stepper": {"kind": "split-crank-nicolson", "richardson": True}})
    assert "the extrapolation subtracts" in case.prepare().positivity()


@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving"])
@pytest.mark.parametrize(
    ("stepper", "order"),
    [
        ({"kind": "split-euler"}, 1),
        ({"kind": "split-crank-nicolson"}, 2),
        ({"kind": "split-crank-nicolson", "richardson": True}, 4),
    ],
    ids=["euler", "crank-nicolson", "richardson"],
)
def test_orders_in_time_with_axes_that_do_not_commute(stepper, order, moving):
    potential = "x**2 + 0.7*x*y + 0.6*y**2" if not moving else "x**2 + 0.7*x*y + 0.6*(y - sin(2*t))**2"
    steps = (0.05 if order == 1 else 0.2) / 2.0 ** np.arange(4)
    case = ou(2, 40, flow__potential=potential, exact=None, flow__stepper=stepper)
    densities = [final(case.replace({"times": {"end": 0.4, "step": step}}))[1].density for step in steps]
    errors = [np.abs(one - other).sum() for one, other in pairwise(densities)]
    assert_order(steps[:-1], errors, order, 0.2 if order < 4 else 0.5)
    assert case.flow.stepper.order == order


def test_the_split_errors_are_those_of_the_closed_form():
    """2D Ornstein-Uhlenbeck to the spatial error in few steps of order four."""
    changes = {"flow__potential": "1.625*x**2 + 1.299*x*y + 0.875*y**2", "flow__epsilon": 0.5}
    errors = []
    for step, stepper in ((0.125, {"kind": "split-crank-nicolson", "richardson": True}), (0.01, {"kind": "tr-bdf2"})):
        case = ou(2, 96, flow__stepper=stepper, times={"end": 0.5, "step": step}, **changes)
        errors.append(final(case)[2]["error_l1"])
    assert errors[0] == pytest.approx(errors[1], rel=0.05)


def test_split_steppers_need_a_grid():
    for kind in ("split-euler", "split-crank-nicolson"):
        case = ou(2, 10, flow__stepper={"kind": kind})
        points = {"kind": "voronoi", "lower": [-5, -5], "upper": [5, 5], "cells": [10, 10]}
        with pytest.raises(CaseError, match=r"axes of a grid .* use implicit-euler"):
            case.replace({"mesh": points}).prepare()
        assert "solver split" in case.flow.describe(case.prepare().mesh.extent)


def test_split_and_whole_steps_agree_as_they_shrink():
    """The splitting error is of order one in the step."""
    p, off, steps = problem((40, 40)), [], 0.02 / 2.0 ** np.arange(3)
    for length in steps:
        states = []
        for stepper in (SplitEuler(), ImplicitEuler()):
            state, step = State.initial(p.mesh, np.exp(-(p.mesh.centre**2).sum(axis=1))), stepper.start(p)
            for _ in range(round(0.2 / length)):
                state = step(state, length)
            states.append(state.density)
        off.append(np.abs(states[0] - states[1]).sum())
    assert_order(steps, off, 1.0, 0.2)


def test_a_refined_step_of_richardson_is_the_one_it_says():
    p = problem((20, 20))
    state = State.initial(p.mesh, np.exp(-(p.mesh.centre**2).sum(axis=1)))
    plain = SplitCrankNicolson().start(p)
    fine = plain(plain(state, 0.05), 0.05).density
    expected = (4 * fine - plain(state, 0.1).density) / 3
    found = SplitCrankNicolson(richardson=True).start(p)(state, 0.1)
    np.testing.assert_allclose(found.density, expected, rtol=1e-12, atol=1e-15)


def test_what_is_estimated_grows_with_what_is_stored():
    extent = Box((0.0, 0.0), (1.0, 1.0), (512, 512)).extent
    sizes = [solver.memory(extent) for solver in (LocallyOneDimensional(), Krylov(), Direct())]
    assert sizes == sorted(sizes)
    assert SplitSweeps(problem((64, 64)).matrix(0.0, 0.1)).nbytes <= 0.15 * LocallyOneDimensional().memory(extent) / 64


def test_the_positive_step_is_that_at_the_start_of_the_run():
    """Not that at t = 0, where this drift is not defined."""
    case = Case.parse("""
mesh: {kind: box, lower: [0], upper: [1], cells: [40]}
flow: {kind: fokker-planck, epsilon: 1, potential: x/t, stepper: {kind: split-crank-nicolson}}
initial: {kind: uniform}
times: {start: 1, end: 1.1, step: 0.001}
""")
    problem = case.prepare().problem
    assert case.flow.stepper.positive_step(problem) == pytest.approx(4.0 / problem.max_outflow_rate(1.0))
