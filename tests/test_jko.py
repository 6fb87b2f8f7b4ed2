"""JKO steps: the Newton system, stress, published figures, closed forms."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import PorousMedium
from fvflow.errors import CaseError, NumericsError
from fvflow.exact import Barenblatt, FromExact, Setting
from fvflow.fields import Drift
from fvflow.ledger import moments
from fvflow.linalg import elimination_order, factorise
from fvflow.mesh import Box
from fvflow.steppers.schur import Pattern, Schur
from tests.contracts import assert_order
from tests.scenes import final, ou

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
    "tails": "{kind: expression, density: exp(-((x - 0.3)**2 + (y - 0.4)**2)/0.003) + 1e-12}",
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
    figures = final(case(ENERGIES[energy], STARTS[start], step))[2]
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
        errors.append(final(Case.read("cases/porous-medium-barenblatt-2d.yaml").replace(changes))[2]["error_l1"])
    assert errors[2] < 3e-3
    assert_order(0.5 ** np.arange(3), errors, 0.7, 0.3)


@pytest.mark.parametrize("exponent", [0.75, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_barenblatt_solves_its_equation(exponent, dimension):
    """Mass, edge, and d_t U = c Lap U^m inside the support, by differences."""
    cells = {1: 4000, 2: 160, 3: 40}[dimension]
    half = 2.0 if exponent > 1 else {1: 300.0, 2: 60.0, 3: 40.0}[dimension]
    mesh = Box((-half,) * dimension, (half,) * dimension, (cells,) * dimension).build()
    setting = Setting(mesh, Drift(), 0.0, 0.4, ((0.5, exponent),), None, FromExact(0.4))
    reference = Barenblatt(0.2, sampling="centre").on(setting)
    if exponent > 1:
        assert mesh.volume @ reference.average(0.3) == pytest.approx(0.4, rel=0.01 if dimension > 1 else 1e-3)
        assert reference.edge(0.3) < half
        assert reference.average(0.3)[np.linalg.norm(mesh.centre, axis=1) > reference.edge(0.3)].max() == 0
    point = Box((0.1,) * dimension, (0.1 + 3e-3,) * dimension, (3,) * dimension).build()
    at = Barenblatt(0.2, sampling="centre").on(
        Setting(point, Drift(), 0.0, 0.4, ((0.5, exponent),), None, FromExact(0.4))
    )
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


def test_a_step_that_cannot_converge_says_what_to_try():
    stuck = case(ENERGIES["porous 5"], STARTS["vacuum"], 1.0).replace(
        {"flow.stepper": {"kind": "ljko", "iterations": 1, "halvings": 2}}
    )
    with pytest.raises(NumericsError, match=r"step of 0\.25 after 2 halvings \(residuals .* use a smaller step"):
        final(stuck)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_schur_complement_is_that_of_the_dense_system(dimension):
    mesh = Box((0.0,) * dimension, (1.0,) * dimension, (5, 4, 3)[:dimension]).build()
    random = np.random.default_rng(5)
    ahead = random.random(mesh.faces) < 0.5
    source, target = np.where(ahead, mesh.owner, mesh.neighbour), np.where(ahead, mesh.neighbour, mesh.owner)
    speed, flow = random.random((2, mesh.faces))
    weight = random.random(mesh.cells)
    schur = Schur(Pattern(mesh), mesh.volume, source, target, speed, flow, weight)
    coupling, laplacian = np.diag(mesh.volume).copy(), np.zeros((mesh.cells, mesh.cells))
    for s, t, g, f in zip(source, target, speed, flow, strict=True):
        coupling[s, s] += g
        coupling[t, s] -= g
        laplacian[[s, t], [s, t]] += f
        laplacian[[s, t], [t, s]] -= f
    x = random.normal(size=mesh.cells)
    np.testing.assert_allclose(schur.spread(x), coupling @ x, atol=1e-13)
    np.testing.assert_allclose(schur.gather(x), coupling.T @ x, atol=1e-13)
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


RECURSION = [{"kind": "entropy", "epsilon": 0.8}, {"kind": "potential", "potential": "0.5*2*(x - 0.3)**2"}]


def recursion(cells, step, steps, stepper="jko"):
    changes = {"mesh__lower": [-5], "mesh__upper": [5], "exact": {"kind": "gaussian-jko"}}
    flow = {"kind": "gradient-flow", "energy": RECURSION, "stepper": {"kind": stepper}}
    return ou(1, cells, flow=flow, times={"end": steps * step, "step": step}, **changes)


def deviation(case):
    """How far mean and variance of the last density are from those of the recursion, and the figures."""
    prepared, last, figures = final(case)
    start, end = (moments(prepared.mesh, density) for density in (prepared.initial.density, last.density))
    exact = replace(prepared.reference, mean=start[0], deviation=np.sqrt(np.diag(start[1]))).moments(last.time)
    return abs(end[0] - exact[0])[0], abs(end[1][0, 0] - exact[1][0] ** 2), figures


def test_jko_follows_the_recursion_of_gaussians():
    """Not the flow, which at this tau is a hundred times further away."""
    variances = []
    for cells in (100, 200, 400):
        mean, variance, figures = deviation(recursion(cells, 0.025, 1))
        variances.append(variance)
        assert figures["fallbacks"] == 0
    assert mean <= 1e-5
    assert variance <= 1e-4
    assert variances[0] > 2 * variances[1] > 3 * variances[2]
    case = recursion(400, 0.025, 1)
    flow = final(case.replace({"exact": {"kind": "gaussian"}}))[2]["error_l1"]
    assert final(case)[2]["error_l1"] < 0.05 * flow


def test_jko_is_of_first_order_in_time_and_falls():
    steps = 0.1 / 2.0 ** np.arange(5)
    runs = [final(recursion(200, step, round(0.4 / step))) for step in steps]
    densities = [last.density for _, last, _ in runs]
    errors = [np.abs(one - other).sum() for one, other in pairwise(densities)]
    assert_order(steps[:-1], errors, 1.0, 0.15)
    for _, _, figures in runs:
        assert figures["fallbacks"] == 0
        assert figures["energy_defect"] <= 1e-12
        assert figures["mass_drift"] <= 1e-15


def test_jko_leaves_vacuum_to_ljko_when_it_must():
    for energy in ("porous 2", "low noise"):
        figures = final(case(ENERGIES[energy], STARTS["vacuum"], 0.05).replace({"flow.stepper": {"kind": "jko"}}))[2]
        assert figures["minimum"] >= 0
        assert figures["energy_increase"] <= 1e-13
        assert figures["mass_drift"] <= 1e-14


def test_the_recursion_is_the_minimiser():
    """m' and s' minimise E + W2^2/(2 tau) among Gaussians: E = -eps log s + k (s^2 + (m - c)^2)/2."""
    reference = recursion(50, 0.2, 1).prepare().reference
    (m,), (s,) = reference.moments(0.2)
    m0, s0 = reference.mean[0], reference.deviation[0]

    def cost(m, s):
        return -0.8 * np.log(s) + (s**2 + (m - 0.3) ** 2) + ((m - m0) ** 2 + (s - s0) ** 2) / (2 * 0.2)

    h = 1e-5
    assert abs(cost(m + h, s) - cost(m - h, s)) / (2 * h) < 1e-9
    assert abs(cost(m, s + h) - cost(m, s - h)) / (2 * h) < 1e-9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"times": {"end": 1.0, "step": 0.3, "save": 0.45}}, "steps of one length"),
        ({"initial": {"kind": "uniform"}}, "diagonal covariance"),
        ({"flow.energy": [*RECURSION, {"kind": "porous-medium", "exponent": 2}]}, "sum over the axes"),
    ],
)
def test_the_recursion_refuses_what_it_is_not(changes, message):
    with pytest.raises(CaseError, match=message):
        recursion(50, 0.1, 2).replace(changes).prepare()


OU = [{"kind": "entropy", "epsilon": 0.8}, {"kind": "potential", "potential": "0.5*x**2"}]


def midpoint(cells, step, end=0.4, kind="midpoint", **options):
    flow = {"kind": "gradient-flow", "energy": OU, "stepper": {"kind": kind, **options}}
    return ou(1, cells, flow=flow, times={"end": end, "step": step})


@pytest.mark.parametrize("kind", ["midpoint", "evbdf2"])
def test_order_two_in_time(kind):
    steps = 0.05 / 2.0 ** np.arange(5)
    runs = [final(midpoint(200, step, kind=kind)) for step in steps]
    assert [figures["fallbacks"] for _, _, figures in runs] == [0] * 5
    densities = [last.density for _, last, _ in runs]
    errors = [np.abs(one - other).sum() for one, other in pairwise(densities)]
    assert_order(steps[:-1], errors, 2.0, 0.15)


@pytest.mark.parametrize("kind", ["midpoint", "evbdf2"])
def test_order_two_in_space(kind):
    cells = [50, 100, 200]
    assert_order(1 / np.array(cells), [final(midpoint(n, 0.002, kind=kind))[2]["error_l1"] for n in cells], 2.0, 0.15)


def test_evbdf2_keeps_its_order_where_the_steps_change():
    """Saves every 0.15 of 0.4 cut the last interval into other steps."""
    errors = []
    for step in (0.05, 0.025, 0.0125):
        times = {"end": 0.4, "step": step, "save": 0.15}
        errors.append(final(midpoint(800, step, kind="evbdf2").replace({"times": times}))[2]["error_l1"])
    assert_order([4, 2, 1], errors, 2.0, 0.2)


@pytest.mark.parametrize("step", [1e-3, 0.02, 0.2])
def test_midpoint_balances_the_energy_in_every_step(step):
    prepared = midpoint(200, step, end=6 * step, warmup=1).prepare()
    states = []
    list(prepared.frames(states.append))
    assert [state.fallbacks for state in states[1:]] == [1, 0, 0, 0, 0, 0]
    energy = [prepared.problem.energy(0.0).value(state.density) for state in states]
    off = [
        after - before + state.dissipated for before, after, state in zip(energy, energy[1:], states[1:], strict=False)
    ]
    assert np.abs(off[1:]).max() <= 1e-12 * abs(energy[0])
    assert prepared.watch.mass_drift <= 1e-15


BARENBLATT = {
    "mesh": {"kind": "box", "lower": [-1], "upper": [1], "cells": [800]},
    "initial.mass": 0.07,
    "exact": {"kind": "barenblatt", "start": 1e-3},
    "times": {"end": 0.02, "step": 1e-4},
    "checks": {},
}


@pytest.mark.parametrize(("kind", "nearer"), [("midpoint", 50), ("evbdf2", 50), ("jko", 3)])
def test_centred_steps_carry_a_front_through_vacuum(kind, nearer):
    """Barenblatt, m = 2, on 800 cells: up to 160 times nearer than ljko, and no step is left to it."""
    barenblatt = Case.read("cases/porous-medium-barenblatt-2d.yaml").replace(BARENBLATT)
    figures = final(barenblatt.replace({"flow.stepper": {"kind": kind}}))[2]
    assert figures["fallbacks"] == 0
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-15
    assert figures["energy_defect"] <= 1e-14
    assert final(barenblatt)[2]["error_l1"] > nearer * figures["error_l1"]
    if kind == "midpoint":
        assert figures["error_l1"] <= 1e-4
        assert abs(figures["energy_defect"]) <= 1e-14


def test_intervals_bring_jko_to_the_recursion_at_order_two():
    """In two long steps, whose own discretisation of W2 is what is left."""
    off = []
    for count in (1, 2, 4):
        mean, variance, figures = deviation(
            recursion(800, 0.1, 2).replace({"flow.stepper": {"kind": "jko", "intervals": count}})
        )
        assert figures["fallbacks"] == 0
        off.append((mean, variance))
    assert_order([4, 2, 1], np.array(off)[:, 0], 2.0, 0.15)
    assert off[2][1] < 0.15 * off[0][1]


@pytest.mark.parametrize("kind", ["ljko", "jko"])
@pytest.mark.parametrize(("dimension", "cells"), [(2, 24), (3, 8)])
def test_multigrid_takes_the_same_steps(kind, dimension, cells):
    found = []
    for solver in ("direct", "multigrid"):
        square = case(ENERGIES["low noise"], "{kind: expression, density: exp(-9*(x - 0.3)**2) + 0.01}", 0.05, 3, cells)
        box = {"kind": "box", "lower": [0] * dimension, "upper": [1] * dimension, "cells": [cells] * dimension}
        stepper = {"kind": kind, "solver": {"kind": solver}}
        found.append(final(square.replace({"mesh": box, "flow.stepper": stepper})))
        assert found[-1][2]["fallbacks"] == 0
    (_, direct, _), (_, other, figures) = found
    np.testing.assert_allclose(other.density, direct.density, rtol=1e-7, atol=1e-11)
    assert figures["mass_drift"] <= 1e-15
    assert figures["energy_increase"] <= 0


def test_midpoint_leaves_what_it_cannot_solve_to_ljko_and_counts_it():
    start = case(ENERGIES["porous 2"], STARTS["vacuum"], 1e-3)
    hasty = start.replace({"flow.stepper": {"kind": "midpoint", "iterations": 1}})
    _, last, figures = final(hasty)
    assert figures["fallbacks"] == 5
    assert figures["minimum"] >= 0
    np.testing.assert_array_equal(last.density, final(start)[1].density)


def test_ljko_pays_at_most_what_the_energy_falls():
    """E(rho^{n+1}) + cost <= E(rho^n), halved steps included; notes, equations (145)-(146)."""
    for name in ("porous 3", "low noise"):
        figures = final(case(ENERGIES[name], STARTS["vacuum"], 0.1))[2]
        assert figures["energy_defect"] <= 1e-9 * (1 + abs(figures["energy"]))
        assert figures["energy_defect"] > -np.inf


@pytest.mark.parametrize("stepper", ["ljko", "jko", "midpoint"])
def test_newton_iterations_are_counted(stepper):
    flow = {"kind": "gradient-flow", "energy": OU, "stepper": {"kind": stepper}}
    figures = final(ou(1, 100, flow=flow, times={"end": 0.2, "step": 0.05}))[2]
    assert 4 <= figures["iterations"] <= 40
