"""The steppers that are exact in time: against dense exponentials, closed forms and each other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import poisson as poisson_law

from fvflow.case import Case
from fvflow.error_control import Adaptive
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, ScharfetterGummel, Upwind
from fvflow.jit import Kernel
from fvflow.linalg import FaceMatrix, RecurrenceStep, chebyshev_growth_bound, jump_rate, recurrence_step
from fvflow.linalg.markov import uniformization
from fvflow.linalg.markov.uniformization import jumps, recur_diagonals, recur_rows
from fvflow.mesh import Box, Graded, Mesh, Voronoi
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import Chebyshev, ImplicitEuler, Uniformisation
from fvflow.steppers.exponential_sums import bessel, chebyshev_sum, poisson, poisson_sum
from fvflow.times import Times
from tests.contracts import EPS, assert_order
from tests.scenes import final, ou, spike
from tests.test_structure import well

EXACT_IN_TIME = (Chebyshev, Uniformisation)
KINDS = [kind.kind for kind in EXACT_IN_TIME]
STEPPERS = [kind() for kind in EXACT_IN_TIME]

MESHES = {
    "line": Box((-2.0,), (2.0,), (60,)),
    "box": Box((-2.0, -2.0), (2.0, 2.0), (14, 11)),
    "graded": Graded((-2.0, -2.0), (2.0, 2.0), (12, 10), (9.0, 0.2)),
    "cube": Box((-2.0,) * 3, (2.0,) * 3, (6, 5, 4)),
    "voronoi": Voronoi((-2.0, -2.0), (2.0, 2.0), (13, 12), jitter=0.4),
}
WELL = Drift(potential=Expression("2*x**2 - 0.4*x"))
TURN = Drift(stream=Expression("2*(x**2 + y**2)"), potential=Expression("0.5*x**2"))


def problem(mesh: str | Mesh, drift: Drift = WELL, epsilon: float = 0.4, flux=None) -> FokkerPlanck:
    built = MESHES[mesh].build() if isinstance(mesh, str) else mesh
    return FokkerPlanck(built, drift, epsilon, flux or ScharfetterGummel())


def generator(of: FokkerPlanck) -> np.ndarray:
    volume = of.mesh.volume
    return (of.matrix(0.0, 1.0).sparse().toarray() - np.diag(volume)) / volume[:, None]


def some(of: FokkerPlanck, seed: int = 5) -> State:
    return State.initial(of.mesh, np.random.default_rng(seed).random(of.mesh.cells))


def distance(of: FokkerPlanck, one: np.ndarray, other: np.ndarray) -> float:
    return float(of.mesh.volume @ np.abs(one - other) / (of.mesh.volume @ np.abs(other)))


@pytest.mark.parametrize("stepper", STEPPERS, ids=KINDS)
@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("length", [1e-3, 0.3, 5.0])
def test_a_step_is_the_exponential(stepper, mesh, length):
    fokker = problem(mesh)
    state = some(fokker)
    after = stepper.start(fokker)(state, length)
    assert distance(fokker, after.density, expm(-length * generator(fokker)) @ state.density) <= 2e-12
    assert after.time == length
    assert after.step == 1
    assert after.iterations > 0
    assert abs(fokker.mesh.volume @ after.density / state.mass - 1) <= 4 * EPS
    assert after.correction <= 1e-13


@pytest.mark.parametrize("stepper", STEPPERS, ids=KINDS)
@pytest.mark.parametrize("mesh", ["box", "graded", "voronoi"])
@pytest.mark.parametrize("epsilon", [0.4, 0.01, 0.0])
def test_turning_drifts_have_complex_spectra(stepper, mesh, epsilon):
    built = MESHES[mesh].build()
    drift = TURN if mesh != "voronoi" else Drift(velocity=(Expression("-y*(4 - x**2)"), Expression("x*(4 - y**2)")))
    fokker = problem(built, drift, epsilon)
    assert np.abs(np.linalg.eigvals(generator(fokker)).imag).max() > 1
    state = some(fokker)
    after = stepper.start(fokker)(state, 0.7)
    assert distance(fokker, after.density, expm(-0.7 * generator(fokker)) @ state.density) <= 2e-12


def test_chebyshev_takes_centred_fluxes_beyond_their_peclet_number():
    fokker = problem("line", epsilon=0.02, flux=Centred())
    assert not fokker.monotone
    state = some(fokker)
    after = Chebyshev().start(fokker)(state, 0.1)
    assert distance(fokker, after.density, expm(-0.1 * generator(fokker)) @ state.density) <= 2e-12


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("kind", EXACT_IN_TIME)
def test_the_error_is_within_the_bound(kind, tolerance):
    fokker = problem("line")
    state = some(fokker)
    exact = expm(-0.3 * generator(fokker)) @ state.density
    after = kind(tolerance).start(fokker)(state, 0.3)
    assert distance(fokker, after.density, exact) <= 2 * tolerance
    assert after.correction <= 1e-13, "what is left out takes no mass with it"
    assert after.iterations <= kind(tolerance / 100).start(fokker)(state, 0.3).iterations - 2


@pytest.mark.parametrize("kind", KINDS)
def test_mass_over_many_steps(kind):
    figures = final(ou(1, 100, flow__stepper={"kind": kind}, times={"end": 100, "step": 0.1}))[2]
    assert figures["mass_drift"] <= 1e-14
    assert figures["mass_correction"] <= 1e-13
    assert figures["steps"] == 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("step", [1e-3, 1.0, 1e4])
def test_gibbs_is_stationary(kind, dimension, step):
    times = {"end": 1000 * step, "step": step}
    case = well(dimension, 100 if dimension == 1 else 40, times=times, flow__stepper={"kind": kind})
    prepared, last, figures = final(case)
    assert figures["steps"] == 1000
    assert np.abs(last.density - prepared.initial.density).max() <= 1e-13 * prepared.initial.density.max()
    assert figures["mass_drift"] <= 1e-14


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_chebyshev_sums_themselves_keep_the_gibbs_state(dimension, length):
    """Steps take none there; here thirty of them do."""
    prepared = well(dimension, 100 if dimension == 1 else 40).prepare()
    matrix = prepared.problem.matrix(0.0, 1.0)
    rate = jump_rate(matrix)
    gibbs = masses = prepared.mesh.volume * prepared.initial.density
    for _ in range(30):
        masses, _ = chebyshev_sum(recurrence_step(matrix, rate), masses, rate * length, 1e-12)
        masses = masses * (gibbs.sum() / masses.sum())  # as a step ends
    assert np.abs(masses - gibbs).max() <= 1e-13 * gibbs.max()


def test_only_the_gibbs_state_itself_is_left_as_it_is():
    """Not one that differs by 1e-11 in a cell that holds 1e-30 of the mass."""
    fokker = problem(Box((-2.0, -2.0), (2.0, 2.0), (20, 20)).build(), Drift(potential=Expression("8*(x**2 + y**2)")))
    gibbs = np.exp(-8 * (fokker.mesh.centre**2).sum(axis=1) / fokker.epsilon)
    step = Chebyshev().start(fokker)
    rest = step(State.initial(fokker.mesh, gibbs), 1.0)
    assert rest.iterations == 0
    np.testing.assert_allclose(rest.density, gibbs, rtol=1e-14)
    least = int(np.argmin(gibbs))
    assert gibbs[least] < 1e-30
    away = gibbs.copy()
    away[least] *= 1 + 1e-11
    assert step(State.initial(fokker.mesh, away), 1.0).iterations > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_step_ends_in_gibbs(kind):
    case = ou(2, 24, flow__stepper={"kind": kind}, times={"end": 100, "step": 100})
    prepared, last, figures = final(case)
    gibbs = case.replace({"initial": {"kind": "gibbs"}, "exact": None}).prepare().initial.density
    assert distance(prepared.problem, last.density, gibbs) <= 1e-12
    assert figures["iterations"] > 1


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("epsilon", [1.0, 0.02])
@pytest.mark.parametrize("step", [1e-4, 1e-2, 1.0, 100.0])
def test_spikes_stay_positive(dimension, epsilon, step):
    changes = {"flow__epsilon": epsilon, "times": {"end": 5 * step, "step": step}}
    case = ou(dimension, {1: 100, 2: 24}[dimension], flow__stepper={"kind": "uniformisation"}, **changes)
    prepared, _, figures = final(spike(case))
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 2e-15
    assert prepared.positivity() == "unconditional"
    figures = final(spike(case.replace({"flow.stepper": {"kind": "chebyshev"}})))[2]
    assert figures["minimum"] >= -1e-9


@settings(max_examples=60, deadline=None)
@given(
    epsilon=st.floats(1e-3, 10),
    step=st.floats(1e-6, 10),
    cells=st.integers(2, 40),
    values=st.lists(st.floats(0, 1), min_size=40, max_size=40),
    upwind=st.booleans(),
)
def test_uniformisation_keeps_sign_and_chebyshev_agrees(epsilon, step, cells, values, upwind):
    mesh = Box((-2.0,), (2.0,), (cells,)).build()
    fokker = problem(mesh, Drift(potential=Expression("x**4/8 - x**2")), epsilon, Upwind() if upwind else None)
    density = np.array(values[:cells])
    density[0] += 1e-3
    state = State.initial(mesh, density)
    one, other = (stepper.start(fokker)(state, step) for stepper in (Uniformisation(), Chebyshev()))
    assert one.density.min() >= 0
    assert distance(fokker, other.density, one.density) <= 5e-12


def test_chebyshev_says_that_it_may_go_negative():
    case = spike(ou(1, 100, flow__stepper={"kind": "chebyshev"}))
    assert case.flow.positive_step(case.prepare().problem) == 0.0
    assert "not guaranteed: positive to its tolerance only" in case.prepare().positivity()


@pytest.mark.parametrize("start", [-1.97, 0.0, 1.97])
@pytest.mark.parametrize("potential", ["200*x**2", "300*abs(x)", "-200*x**2"])
def test_steep_potentials(start, potential):
    """pi from 1 to 1e-300 and beyond; |rho|_{1/pi} overflows, the logarithm does not."""
    fokker = problem(Box((-2.0,), (2.0,), (120,)).build(), Drift(potential=Expression(potential)), 1.0)
    energy = fokker.energy(0.0).terms[1].first(np.ones(120))
    assert np.ptp(energy) >= 590
    density = np.zeros(120)
    density[int(np.argmin(np.abs(fokker.mesh.centre[:, 0] - start)))] = 30.0
    state = State.initial(fokker.mesh, density)
    for length in (1e-3, 0.05):
        exact = expm(-length * generator(fokker)) @ density
        for stepper in STEPPERS:
            assert distance(fokker, stepper.start(fokker)(state, length).density, exact) <= 5e-12


def test_round_off_does_not_grow():
    """A smooth density in a fast stream at Peclet numbers of 100, of which one sum for the step is nothing else."""
    mesh = Box((-1.0, -1.0), (1.0, 1.0), (128, 128)).build()
    fokker = problem(mesh, Drift(stream=Expression("-0.5*(x**2 + y**2)")), 1e-4)
    at = mesh.centre
    state = State.initial(mesh, np.exp(-(((at[:, 0] - 0.4) ** 2) + at[:, 1] ** 2) / 0.02))
    sure, step = (stepper.start(fokker)(state, 1.0).density for stepper in (Uniformisation(), Chebyshev()))
    assert distance(fokker, step, sure) <= 2e-12
    matrix = fokker.matrix(0.0, 1.0)
    rate = jump_rate(matrix)
    with pytest.raises(NumericsError, match=r"grew to .* use stepper uniformisation"):
        chebyshev_sum(recurrence_step(matrix, rate), mesh.volume * state.density, rate, 1e-12)


def test_products_of_a_step():
    """sqrt(2 z log(1/tolerance)) for one, z + 7 sqrt(z) for the other."""
    fokker = problem(Box((-2.0,), (2.0,), (400,)).build(), epsilon=1.0)
    rate = jump_rate(fokker.matrix(0.0, 1.0))
    at = fokker.mesh.centre[:, 0]
    state = State.initial(fokker.mesh, np.exp(-((at - 0.3) ** 2)))
    z, cost = np.array([1e2, 1e3, 1e4]), {}
    for stepper in STEPPERS:
        step = stepper.start(fokker)
        cost[stepper.kind] = np.array([step(state, length).iterations for length in z / rate])
    assert_order(z[1:], cost["chebyshev"][1:], 0.5, 0.05)
    assert (cost["chebyshev"] <= np.sqrt(2 * z * math.log(1e13)) + 10).all()
    assert (np.abs(cost["uniformisation"] - (z + 7 * np.sqrt(z))) <= 0.5 * np.sqrt(z) + 20).all()


def test_a_chain_at_rest_is_not_stepped_further():
    fokker = problem("line")
    state, step = some(fokker), Uniformisation().start(fokker)
    long, longer = step(state, 100.0), step(state, 1e5)
    assert long.iterations == longer.iterations < 0.5 * 100.0 * jump_rate(fokker.matrix(0.0, 1.0))
    assert distance(fokker, longer.density, long.density) <= 1e-13


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_error_in_space_is_left(kind):
    errors, fine = [], []
    for cells in (50, 100, 200):
        case = ou(1, cells, flow__stepper={"kind": kind}, times={"end": 0.4, "step": 0.4})
        errors.append(final(case)[2]["error_l1"])
        fine.append(final(case.replace({"flow.stepper": {"kind": "tr-bdf2"}, "times.step": 2e-4}))[2]["error_l1"])
    assert_order(1 / np.array([50, 100, 200]), errors, 2.0, 0.1)
    np.testing.assert_allclose(errors, fine, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_moving_drifts_are_refused(kind):
    case = ou(1, 50, flow__stepper={"kind": kind}, flow__potential="0.5*(x - t)**2", exact=None)
    with pytest.raises(CaseError, match=r"requires a steady drift.*use implicit-euler or tr-bdf2"):
        case.prepare()


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_steps_reach_from_save_to_save(kind):
    times = {"end": 1.0, "save": 0.25, "step": {"initial": 1e-3, "tolerance": 1e-4}}
    case = ou(1, 50, flow__stepper={"kind": kind}, times=times)
    assert case.check()["steps"] == "4 of at most 0.25, exact in time whatever the tolerance, 5 frames"
    assert final(case)[2]["steps"] == 4
    assert final(case.replace({"times.step": {"initial": 1e-3, "tolerance": 1e-4, "longest": 0.1}}))[2]["steps"] == 12
    assert Times(1.0, Adaptive(1e-3, 1e-4)).without_error_control().step == 1.0
    assert Times(1.0, 0.1).without_error_control().step == 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_a_case_file_runs_and_tells_its_method(kind):
    case = Case.parse(
        f"""
        mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 8]}}
        flow: {{kind: fokker-planck, epsilon: 1.0, stepper: {{kind: {kind}, tolerance: 1.0e-9}}}}
        initial: {{kind: uniform}}
        times: {{end: 1, step: 1}}
        """
    )
    report = case.check()
    flux = "scharfetter-gummel flux (order 2 in space at Peclet numbers below 2)"
    assert report["method"] == f"{kind} (exact in time), {flux}"
    assert case.run()["rho"].shape == (2, 8, 8)
    with pytest.raises(CaseError, match="tolerance"):
        case.replace({"flow.stepper.tolerance": 0.1})


@pytest.mark.parametrize("stepper", STEPPERS, ids=KINDS)
def test_where_nothing_moves_nothing_is_done(stepper):
    for mesh, epsilon in ((Box((0.0,), (1.0,), (5,)), 0.0), (Box((0.0,), (1.0,), (1,)), 1.0)):
        fokker = problem(mesh.build(), Drift(), epsilon)
        state = some(fokker)
        after = stepper.start(fokker)(state, 3.0)
        np.testing.assert_array_equal(after.density, state.density)
        assert after.iterations == 0


def test_a_sum_that_does_not_converge_is_an_error():
    def growing(x, other, twice, back, weight, total) -> tuple[float, float]:
        other[:] = 10 * x
        return float(np.abs(other).sum()), 1.0

    with pytest.raises(NumericsError, match=r"grew to .* use stepper uniformisation"):
        chebyshev_sum(growing, np.ones(3), 20.0, 1e-12)


# ---- the matrix of one jump


def taken(times: RecurrenceStep, x: np.ndarray, twice: float, back: float) -> np.ndarray:
    other, total = x[::-1].copy(), np.ones_like(x)
    norm, change = times(x, other, twice, back, 0.25, total)
    np.testing.assert_allclose([norm, change], [np.abs(other).sum(), np.abs(other - x).sum()], rtol=1e-13)
    np.testing.assert_array_equal(total, 1 + 0.25 * other)
    return other


def plain(matrix: FaceMatrix, rate: float) -> np.ndarray:
    """1 - A |K|^-1/lambda, dense."""
    return np.eye(len(matrix.volume)) - (matrix.sparse().toarray() - np.diag(matrix.volume)) / (rate * matrix.volume)


@pytest.mark.parametrize("mesh", MESHES)
def test_the_matrix_of_a_jump(mesh):
    fokker = problem(mesh, epsilon=0.1)
    matrix = fokker.matrix(0.0, 1.0)
    rate = jump_rate(matrix)
    assert rate == pytest.approx(fokker.max_outflow_rate(0.0), rel=1e-12)
    kept, down, up = jumps(matrix, rate)
    assert min(kept.min(), down.min(), up.min()) >= 0
    dense = plain(matrix, rate)
    np.testing.assert_allclose(dense.sum(axis=0), 1.0, rtol=1e-14)
    x = np.random.default_rng(6).random(fokker.mesh.cells)
    times = recurrence_step(matrix, rate)
    np.testing.assert_allclose(taken(times, x, 1.0, 0.0), dense @ x, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(taken(times, x, 2.0, 1.0), 2 * dense @ x - x[::-1], rtol=1e-12, atol=1e-14)


def test_two_ways_to_the_same_end_add_up():
    """A cell between two that absorb as one: by diagonals as by rows, columns of P add up to 1."""
    volume, ends = np.array([1.0, 1.0]), (np.array([0, 0], np.int32), np.array([1, 1], np.int32))
    matrix = FaceMatrix(volume, *ends, np.array([0.25, 0.5]), np.zeros(2))
    masses, total = np.array([1.0, 0.0]), np.zeros(2)
    recurrence_step(matrix, 1.0)(masses, np.zeros(2), 1.0, 0.0, 1.0, total)
    assert total.tolist() == [0.25, 0.75]


@pytest.mark.parametrize("mesh", ["line", "box", "graded", "cube"])
def test_diagonals_and_rows_give_the_same_bits(mesh, monkeypatch):

    matrix = problem(mesh).matrix(0.0, 1.0)
    rate, x = jump_rate(matrix), np.random.default_rng(6).random(len(matrix.volume))
    banded = taken(recurrence_step(matrix, rate), x, 2.0, 1.0)
    monkeypatch.setattr(uniformization, "_MAX_DIAGONAL_PAIRS", 0)
    np.testing.assert_array_equal(taken(recurrence_step(matrix, rate), x, 2.0, 1.0), banded)


@pytest.mark.parametrize("few", [0, 3])
def test_compiled_loops_equal_their_python(few, monkeypatch):
    """Both loops, uncompiled, over more than one block of cells."""

    matrix = problem(Box((-2.0, -2.0), (2.0, 2.0), (30, 25)).build()).matrix(0.0, 1.0)
    rate, x = jump_rate(matrix), np.random.default_rng(6).random(750)
    assert recur_rows.dispatcher is not recur_rows.py_func
    assert recur_diagonals.dispatcher is not recur_diagonals.py_func
    monkeypatch.setattr(uniformization, "_MAX_DIAGONAL_PAIRS", few)
    quick = taken(recurrence_step(matrix, rate), x, 2.0, 1.0)
    monkeypatch.setattr(Kernel, "dispatcher", property(lambda kernel: kernel.py_func))
    np.testing.assert_allclose(taken(recurrence_step(matrix, rate), x, 2.0, 1.0), quick, rtol=1e-13)


@pytest.mark.parametrize("mesh", ["line", "graded", "voronoi"])
@pytest.mark.parametrize("epsilon", [1.0, 0.05])
def test_the_numerical_range_is_within_its_ellipse(mesh, epsilon):
    """Its support in 24 directions, against that of the ellipse through which `chebyshev_growth_bound` is told."""
    drift = (
        WELL
        if mesh == "line"
        else TURN
        if mesh == "graded"
        else Drift(velocity=(Expression("3 - x"), Expression("-2*y")))
    )
    matrix = problem(mesh, drift, epsilon).matrix(0.0, 1.0)
    rate = jump_rate(matrix)
    root = np.sqrt(matrix.volume)
    scaled = plain(matrix, rate) / root[:, None] * root
    long = 1 + chebyshev_growth_bound(matrix, rate)
    short = math.sqrt(long**2 - 1)
    largest = 0.0
    for angle in np.linspace(0, math.pi, 24):
        turned = np.exp(1j * angle) * scaled
        reach = np.linalg.eigvalsh(0.5 * (turned + turned.conj().T))[-1]
        assert reach <= math.hypot(long * math.cos(angle), short * math.sin(angle)) + 1e-12
        largest = max(largest, reach)
    assert largest > 0.9


def test_weights_of_both_sums():
    for z in (1e-8, 0.3, 7.0, 800.0, 2e5):
        first, weights = poisson(z, 1e-12)
        exact = poisson_law.pmf(np.arange(first, first + len(weights)), z)
        np.testing.assert_allclose(weights, exact, rtol=1e-8 if z > 1e3 else 1e-11, atol=1e-13)
        assert weights.sum() == pytest.approx(1.0, abs=1e-14)
        assert poisson_law.cdf(first - 1, z) + poisson_law.sf(first + len(weights) - 1, z) <= 1.01e-12
        series, tails = bessel(z, 1e-18)
        at = np.linspace(-1, 1, 9)
        np.testing.assert_allclose(
            np.polynomial.chebyshev.chebval(at, series), np.exp(z * (at - 1)), atol=1e-14 if z < 1e4 else 1e-13
        )
        assert 1e-18 < tails[-1] <= 1e-16 or len(tails) == 2
        assert tails[0] + series[0] == pytest.approx(1.0, abs=1e-11)


def test_what_is_left_of_a_poisson_sum_at_rest_is_put_where_it_rests():
    fokker = problem("line")
    matrix = fokker.matrix(0.0, 1.0)
    rate = jump_rate(matrix)
    masses, taken_products = poisson_sum(
        recurrence_step(matrix, rate), fokker.mesh.volume * some(fokker).density, 1e6, 1e-12
    )
    assert taken_products < 1e5
    gibbs = fokker.mesh.volume * np.exp(-fokker.drift.cell_potential(fokker.mesh, 0.0) / 0.4)
    np.testing.assert_allclose(masses / masses.sum(), gibbs / gibbs.sum(), rtol=1e-10)


def test_implicit_euler_converges_to_it():
    """The oracle of another method: errors of first order, down to what is left."""
    fokker = problem("voronoi")
    state = some(fokker)
    exact, errors = Uniformisation().start(fokker)(state, 0.2).density, []
    for steps in (40, 80, 160):
        now, step = state, ImplicitEuler().start(fokker)
        for _ in range(steps):
            now = step(now, 0.2 / steps)
        errors.append(distance(fokker, now.density, exact))
    assert_order(1 / np.array([40, 80, 160]), errors, 1.0, 0.1)


def test_a_well_that_fills_slowly_is_not_taken_for_one_at_rest():
    """Kramers: what one product moves over the hill is far below round-off of the mass, but not of what is there."""
    case = Case.parse(
        """
        mesh: {kind: box, lower: [-2.2], upper: [2.2], cells: [60]}
        flow: {kind: fokker-planck, epsilon: 0.032, potential: (x**2-1)**2}
        initial: {kind: expression, density: "where(x<0, exp(-(x**2-1)**2/0.032), 0)"}
        times: {end: 3.0e+3, step: 100}
        """
    )

    def crossed(case):
        density = final(case)[1].density
        return density[len(density) // 2 :].sum() * 4.4 / 60

    expected = crossed(case)
    assert 7e-11 < expected < 8e-11
    for kind in KINDS:
        changed = case.replace({"flow.stepper": {"kind": kind}, "times.step": 3e3})
        assert crossed(changed) == pytest.approx(expected, abs=3e-12), "the tolerance is 1e-12 of the mass a step"


@pytest.mark.parametrize("kind", KINDS)
def test_steps_that_are_absurdly_long_are_refused(kind):
    case = ou(1, 50, flow__stepper={"kind": kind}, times={"end": 1e12, "step": 1e12})
    with pytest.raises(NumericsError, match="jumps between cells long"):
        final(case)
