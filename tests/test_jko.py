"""JKO steps: the Newton system, stress, published figures, closed forms."""

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import PorousMedium
from fvflow.errors import CaseError, NumericsError
from fvflow.exact import Barenblatt, Facts, FromExact
from fvflow.fields import Drift
from fvflow.linalg import elimination_order, factorise
from fvflow.mesh import Box
from fvflow.steppers import LJKO, GradientImplicitEuler, jko
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.minimiser import Minimiser
from fvflow.steppers.schur import SchurComplement
from tests.contracts import assert_order
from tests.scenes import every_state, final

SQUARE = "mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [{n}, {n}]}}\n"
ENERGIES = {
    "porous 1.5": "{kind: porous-medium, exponent: 1.5}",
    "porous 2": "{kind: porous-medium, exponent: 2}",
    "porous 3": "{kind: porous-medium, exponent: 3}",
    "porous 5": "{kind: porous-medium, exponent: 5}",
    "porous 2 on a slope": "{kind: porous-medium, exponent: 2, coefficient: 0.1}, {kind: potential, potential: -x}",
    "low noise": "{kind: entropy, epsilon: 0.02}, {kind: potential, potential: 5*((x - 0.6)**2 + (y - 0.6)**2)}",
}
STARTS = {
    "vacuum": "{kind: uniform, lower: [0.3, 0.3], upper: [0.7, 0.7]}",
    "tails": "{kind: expression, density: exp(-((x - 0.3)**2 + (y - 0.4)**2)/0.003) + 1e-12, mass: 1}",
}


def case(energy, start, step, steps=5, cells=24):
    return Case.parse(
        SQUARE.format(n=cells)
        + f"flow: {{kind: gradient-flow, energy: [{energy}]}}\ninitial: {start}\n"
        + f"times: {{end: {steps * step}, step: {step}}}\n"
    )


@pytest.mark.parametrize("step", [1e-3, 1e-2, 1e-1, 1.0])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("energy", ENERGIES)
def test_stress(energy, start, step):
    stressed = case(ENERGIES[energy], STARTS[start], step)
    simulation = stressed.prepare()
    assert max(state.iterations for state in every_state(stressed, simulation)) <= 36
    figures = simulation.figures()
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-14
    assert figures["energy_increase"] <= 1e-14 * (1 + abs(figures["energy"]))


def test_newton_takes_few_iterations():
    """The twenty cases of a square of mass in vacuum or in tails of 1e-12, over ten steps."""
    counts = []
    for step in (1e-3, 1e-2, 1e-1, 1.0):
        for energy in ("porous 1.5", "porous 2", "porous 3", "porous 5"):
            counts.append(final(case(ENERGIES[energy], STARTS["vacuum"], step, 10, 32))[2]["iterations"] / 10)
        counts.append(final(case(ENERGIES["low noise"], STARTS["tails"], step, 10, 32))[2]["iterations"] / 10)
    assert len(counts) == 20
    assert np.mean(counts) <= 12


def test_true_vacuum_stays_empty_beyond_the_front():
    _, last, figures = final(case(ENERGIES["porous 2"], STARTS["vacuum"], 1e-4, steps=2))
    assert figures["minimum"] < 1e-12 * last.density.max()


@pytest.mark.parametrize(
    ("cells", "steps", "published"), [(5, 5, 1.424e-1), (10, 10, 5.750e-2), (20, 20, 2.476e-2), (40, 40, 1.130e-2)]
)
def test_published_errors_are_reproduced(cells, steps, published):
    """Cances, Gallouet, Todeschi, Numer. Math. 2020: all four digits."""
    changes = {"mesh.cells": [cells, cells], "times": {"end": 0.25, "step": 0.25 / steps}, "checks": {}}
    figures = final(Case.read("cases/published-fokker-planck.yaml").replace(changes))[2]
    assert figures["error_l1"] == pytest.approx(published, rel=5e-4)


def test_barenblatt_converges():
    """Its front, where the density has a corner, keeps the order between a half and one, as in the published code."""
    errors = []
    for level in range(3):
        changes = {"mesh.cells": [16 * 2**level] * 2, "times": {"end": 0.01, "step": 1e-3 / 2**level}, "checks": {}}
        changes["flow.stepper"] = {"kind": "ljko", "mobility": "upwind"}
        errors.append(final(Case.read("cases/porous-medium-barenblatt-2d.yaml").replace(changes))[2]["error_l1"])
    assert errors[2] < 3e-3
    assert_order(0.5 ** np.arange(3), errors, 0.7, 0.3)


def test_limited_mobility_is_second_order_where_the_density_is_smooth():
    """Ornstein-Uhlenbeck with steps of order h^2, from a Gaussian; upwind is first order and far worse."""
    errors = {"limited": [], "upwind": []}
    for level in range(3):
        for mobility, found in errors.items():
            changes = {"mesh.cells": [60 * 2**level], "times": {"end": 0.2, "step": 0.01 / 4**level}, "checks": {}}
            changes["flow.stepper"] = {"kind": "ljko", "mobility": mobility}
            found.append(final(Case.read("cases/ou-1d-jko.yaml").replace(changes))[2]["error_l1"])
    assert_order(0.5 ** np.arange(3), errors["limited"], 2.15, 0.35)
    assert_order(0.5 ** np.arange(3), errors["upwind"], 1.0, 0.15)
    assert errors["upwind"][2] > 30 * errors["limited"][2]


@pytest.mark.parametrize("exponent", [0.75, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_barenblatt_solves_its_equation(exponent, dimension):
    """Mass, edge, and d_t U = c Lap U^m inside the support, by differences."""
    cells = {1: 4000, 2: 160, 3: 40}[dimension]
    half = 2.0 if exponent > 1 else {1: 300.0, 2: 60.0, 3: 40.0}[dimension]
    mesh = Box((-half,) * dimension, (half,) * dimension, (cells,) * dimension).build()
    facts = Facts(mesh, Drift(), 0.0, 0.4, FromExact(0.4), ((0.5, exponent),))
    reference = Barenblatt(0.2, sampling="centre").on(facts)
    if exponent > 1:
        assert mesh.volume @ reference.average(0.3) == pytest.approx(0.4, rel=0.01 if dimension > 1 else 1e-3)
        assert reference.support_radius(0.3) < half
        assert reference.average(0.3)[np.linalg.norm(mesh.centre, axis=1) > reference.support_radius(0.3)].max() == 0
    point = Box((0.1,) * dimension, (0.1 + 3e-3,) * dimension, (3,) * dimension).build()
    at = Barenblatt(0.2, sampling="centre").on(Facts(point, Drift(), 0.0, 0.4, FromExact(0.4), ((0.5, exponent),)))
    h, k, middle = 1e-3, 1e-5, point.cells // 2
    slope = (at.average(0.3 + k)[middle] - at.average(0.3 - k)[middle]) / (2 * k)
    power = at.average(0.3) ** exponent
    around = sum(power[middle + s] + power[middle - s] - 2 * power[middle] for s in 3 ** np.arange(dimension)) / h**2
    assert slope == pytest.approx(0.5 * around, rel=2e-4)


def test_closed_forms_of_linear_diffusion_refuse_a_porous_medium():
    energy = [{"kind": "entropy", "epsilon": 1}, {"kind": "porous-medium", "exponent": 2}]
    gaussian = Case.read("cases/ou-1d-jko.yaml").replace({"flow.energy": energy})
    with pytest.raises(CaseError, match="needs linear diffusion"):
        gaussian.prepare()
    with pytest.raises(CaseError, match="one porous-medium energy and no other"):
        gaussian.replace({"exact": {"kind": "barenblatt", "start": 1}, "initial": {"kind": "exact"}}).prepare()
    with pytest.raises(CaseError, match="gibbs needs"):
        gaussian.replace({"exact": {"kind": "gibbs"}}).prepare()


@pytest.mark.parametrize(
    ("exponent", "message"), [(1.0, "use {kind: entropy"), (0.3, "not convex along geodesics"), (-1, "> 0")]
)
def test_exponents_out_of_range_are_refused(exponent, message):
    with pytest.raises(CaseError, match=message):
        case(f"{{kind: porous-medium, exponent: {exponent}}}", STARTS["vacuum"], 0.1).prepare()


def failing(*arguments):
    raise NumericsError("no method converged")


def test_a_step_that_cannot_converge_says_what_to_try(monkeypatch):
    monkeypatch.setattr(Minimiser, "__call__", failing)
    stuck = case(ENERGIES["porous 5"], STARTS["vacuum"], 1.0).replace({"flow.stepper": {"kind": "ljko", "halvings": 2}})
    with pytest.raises(NumericsError, match=r"step of 0\.25 after 2 halvings \(no method .* use a smaller step"):
        final(stuck)


def test_a_step_does_not_fail_for_ever(monkeypatch):
    """Its parts share a hundred failures, or twenty-four halvings would be millions of them."""
    monkeypatch.setattr(jko, "_MAX_FAILURES", 5)
    monkeypatch.setattr(Minimiser, "__call__", failing)
    with pytest.raises(NumericsError, match=r"did not converge .* after 5 halvings"):
        final(case(ENERGIES["porous 5"], STARTS["tails"], 1e-3))


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_schur_complement_is_that_of_the_dense_system(dimension):
    mesh = Box((0.0,) * dimension, (1.0,) * dimension, (5, 4, 3)[:dimension]).build()
    random = np.random.default_rng(5)
    ahead = random.random(mesh.faces) < 0.5
    source, target = np.where(ahead, mesh.owner, mesh.neighbour), np.where(ahead, mesh.neighbour, mesh.owner)
    speed, flow = random.random((2, mesh.faces))
    weight = random.random(mesh.cells)
    schur = SchurComplement(MeshSystemSolver(mesh), mesh.volume, source, target, speed, flow, weight)
    coupling, laplacian = np.diag(mesh.volume).copy(), np.zeros((mesh.cells, mesh.cells))
    for s, t, g, f in zip(source, target, speed, flow, strict=True):
        coupling[s, s] += g
        coupling[t, s] -= g
        laplacian[[s, t], [s, t]] += f
        laplacian[[s, t], [t, s]] -= f
    x = random.normal(size=mesh.cells)
    np.testing.assert_allclose(schur.coupling(x), coupling @ x, atol=1e-13)
    np.testing.assert_allclose(schur.coupling_transpose(x), coupling.T @ x, atol=1e-13)
    dense = laplacian + coupling * weight @ coupling.T
    np.testing.assert_allclose(dense @ schur.inverse(0.0, True)(x), x, atol=1e-10)


def test_nested_dissection_is_a_permutation_with_less_fill():
    from scipy.sparse import csc_array

    assert elimination_order(Box((0.0,), (1.0,), (9,)).build()) is None
    mesh = Box((0.0, 0.0), (1.0, 1.0), (96, 96)).build()
    order = elimination_order(mesh)
    np.testing.assert_array_equal(np.sort(order), np.arange(mesh.cells))
    pairs = [(mesh.owner, mesh.neighbour)]
    corner = np.arange(mesh.cells).reshape(96, 96)
    pairs.append((corner[:-1, 1:].ravel(), corner[1:, :-1].ravel()))  # the diagonal coupling of a JKO step
    rows, columns = (np.concatenate(part) for part in zip(*pairs, strict=True))
    entries = (
        np.concatenate([np.full(mesh.cells, 8.0), np.full(2 * len(rows), -1.0)]),
        (
            np.concatenate([np.arange(mesh.cells), rows, columns]),
            np.concatenate([np.arange(mesh.cells), columns, rows]),
        ),
    )
    matrix = csc_array(entries, shape=(mesh.cells, mesh.cells))
    minimum_degree, dissected = factorise(matrix), factorise(matrix[order][:, order].tocsc(), ordered=True)
    assert dissected.nnz < minimum_degree.nnz


def test_porous_medium_on_a_mesh_is_what_it_says():
    term = PorousMedium(3.0, 2.0).on(Box((0.0,), (1.0,), (2,)).build(), {})
    np.testing.assert_allclose(term.value(np.array([2.0])), 2.0 * 8.0 / 2.0)
    np.testing.assert_array_equal(term.value(np.array([0.0, -1e-9])), [0.0, np.inf])


def test_a_step_that_does_not_converge_is_two_of_half_the_length(monkeypatch):
    """The same density, at the end of the whole step, and figures of both parts."""
    length, potential = 1e-3, Minimiser.__call__

    def only_short(self, state, tau, *parts):
        return potential(self, state, tau, *parts) if tau < length else failing()

    monkeypatch.setattr(Minimiser, "__call__", only_short)
    prepared = case(ENERGIES["porous 5"], STARTS["vacuum"], length).prepare()
    step = LJKO().start(prepared.problem)
    whole, first = step(prepared.initial, length), step(prepared.initial, 0.5 * length)
    second = step(first, 0.5 * length)
    assert whole.halvings == first.halvings + second.halvings + 1
    np.testing.assert_allclose(whole.density, second.density, rtol=1e-12)
    assert whole.time == pytest.approx(length, rel=1e-12)
    assert whole.step == 1
    assert whole.dissipated == pytest.approx(first.dissipated + second.dissipated, rel=1e-12)
    assert whole.optimality == max(first.optimality, second.optimality)


def test_implicit_euler_accounts_for_the_energy_that_its_step_loses():
    """Its dissipation is twice the transport cost: the fall of the energy up to second order in the step, and less."""
    missing = []
    prepared = Case.read("cases/ou-1d-jko.yaml").prepare()
    energy, step = prepared.problem.total, GradientImplicitEuler().start(prepared.problem)
    for length in (0.02, 0.01, 0.005):
        after = step(prepared.initial, length)
        fall = energy.value(prepared.initial.density) - energy.value(after.density)
        missing.append(fall / after.dissipated - 1.0)
    assert_order([4, 2, 1], missing, 1.0, 0.15)
    assert 0 < missing[2] < 0.05
