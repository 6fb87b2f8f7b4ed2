"""JKO, midpoint and evbdf2 steps against closed forms, and what their diagnostics promise."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.diagnostics import moments
from fvflow.errors import CaseError
from fvflow.linalg import UpwindTriangular
from fvflow.mesh import Box
from fvflow.problems import State
from fvflow.steppers.jko import transported_density
from fvflow.wasserstein import distance_1d
from tests.contracts import assert_order
from tests.scenes import final, ou
from tests.test_jko import ENERGIES, STARTS, case


def test_heat_is_the_entropy_alone():
    """Notes, equation (139): a cosine mode between walls, and the spreading Gaussian."""
    heat = {"kind": "gradient-flow", "energy": [{"kind": "entropy", "epsilon": 0.1}], "stepper": {"kind": "midpoint"}}
    box = Case.read("cases/heat-box-2d.yaml").replace({"flow": heat, "times": {"end": 0.5, "step": 0.05}, "checks": {}})
    assert final(box)[2]["error_l1"] < 2e-3
    line = ou(1, 200, flow=heat, times={"end": 1.0, "step": 0.05})
    prepared, _, figures = final(line)
    assert prepared.reference.moments(1.0)[1][0, 0] == pytest.approx(0.5 + 2 * 0.1)
    assert figures["error_l1"] < 1e-3


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


@pytest.mark.parametrize("accuracy", [1e-3, 1e-4])
def test_jko_leaves_vacuum_to_ljko_when_it_must(accuracy):
    for energy in ("porous 2", "low noise"):
        started = case(ENERGIES[energy], STARTS["vacuum"], 0.05)
        figures = final(started.replace({"flow.stepper": {"kind": "jko", "accuracy": accuracy}}))[2]
        assert figures["minimum"] >= 0
        assert figures["energy_increase"] <= 1e-13
        assert figures["mass_drift"] <= 1e-14


def test_a_step_that_would_empty_cells_below_nothing_is_left_to_ljko():
    """m = 3 on a bowl, from a patch: the centred fluxes ask for more than round-off from cells at the front."""
    square = case(
        "{kind: porous-medium, exponent: 3}, {kind: potential, potential: x**2 + y**2}", STARTS["vacuum"], 0.01
    )
    prepared = square.replace({"flow.stepper": {"kind": "jko", "intervals": 2}}).prepare()
    states = []
    list(prepared.frames(states.append))
    assert states[1].fallback == "no convergence"
    one = final(square.replace({"times": {"end": 0.01, "step": 0.01}}))[1]
    np.testing.assert_array_equal(states[1].density, one.density)
    assert prepared.figures()["fallbacks"] >= 4
    assert prepared.statistics.mass_drift <= 1e-14


@pytest.mark.parametrize("kind", ["jko", "evbdf2"])
@pytest.mark.parametrize("exponent", [2, 3])
def test_centred_steps_hardly_need_a_fallback_in_vacuum(kind, exponent):
    """The interior point takes them: a minimum over rho >= 0 of the same energy, at most that of ljko."""
    energy = f"{{kind: porous-medium, exponent: {exponent}}}, {{kind: potential, potential: 2*(x**2 + y**2)}}"
    square = case(energy, STARTS["vacuum"], 0.01, steps=10)
    figures = final(square.replace({"flow.stepper": {"kind": kind}}))[2]
    assert figures["fallbacks"] <= 1
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-14
    assert figures["energy_increase"] < 0


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


@pytest.mark.parametrize(
    ("options", "within"),
    [({"kind": "midpoint", "mobility": "centred"}, 0.15), ({"kind": "midpoint"}, 0.3), ({"kind": "evbdf2"}, 0.15)],
)
def test_order_two_in_space(options, within):
    """Limited mobility falls to first order at the maximum."""
    cells = [50, 100, 200]
    errors = [final(midpoint(n, 0.002, **options))[2]["error_l1"] for n in cells]
    assert_order(1 / np.array(cells), errors, 2.0, within)


@pytest.mark.parametrize("exponent", [1.5, 2, 3, 6])
@pytest.mark.parametrize("step", [1e-3, 1e-2, 1e-1])
def test_the_limited_midpoint_step_hardly_needs_a_fallback_in_vacuum(exponent, step):
    """A patch on a bowl, where the centred one would be negative in every step; energy balanced, density >= 0."""
    case = Case.parse(
        f"""
        mesh: {{kind: box, lower: [-1, -1], upper: [1, 1], cells: [24, 24]}}
        flow:
          kind: gradient-flow
          energy: [{{kind: porous-medium, exponent: {exponent}}}, {{kind: potential, potential: 2*(x**2 + y**2)}}]
          stepper: {{kind: midpoint}}
        initial: {{kind: uniform, lower: [-0.3, -0.2], upper: [0.4, 0.5]}}
        times: {{end: {10 * step}, step: {step}}}
        """
    )
    figures = final(case)[2]
    assert figures["fallbacks"] <= 1
    assert figures["minimum"] >= 0
    assert abs(figures["energy_defect"]) <= 1e-12
    assert figures["energy_increase"] < 0


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
    assert [np.isfinite(state.gap) for state in states[1:]] == [True] + 5 * [False], "the first is one of ljko"
    assert not any(state.damped or state.fallback for state in states), "as the case asks for it"
    energy = [prepared.problem.energy(0.0).value(state.density) for state in states]
    off = [
        after - before + state.dissipated for before, after, state in zip(energy, energy[1:], states[1:], strict=False)
    ]
    assert np.abs(off[1:]).max() <= 1e-12 * abs(energy[0])
    assert prepared.statistics.mass_drift <= 1e-15


BARENBLATT = {
    "mesh": {"kind": "box", "lower": [-1], "upper": [1], "cells": [800]},
    "initial.mass": 0.07,
    "exact": {"kind": "barenblatt", "start": 1e-3},
    "times": {"end": 0.02, "step": 1e-4},
    "checks": {},
}


@pytest.mark.parametrize(("kind", "nearer"), [("midpoint", 50), ("evbdf2", 50), ("jko", 3)])
def test_centred_steps_carry_a_front_through_vacuum(kind, nearer):
    """Barenblatt, m = 2, on 800 cells: up to 160 times nearer than upwind ljko, and no step is left to it."""
    barenblatt = Case.read("cases/porous-medium-barenblatt-2d.yaml").replace(BARENBLATT)
    figures = final(barenblatt.replace({"flow.stepper": {"kind": kind}}))[2]
    assert figures["fallbacks"] == 0
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-15
    assert figures["energy_defect"] <= 1e-14
    upwind = barenblatt.replace({"flow.stepper": {"kind": "ljko", "mobility": "upwind"}})
    assert final(upwind)[2]["error_l1"] > nearer * figures["error_l1"]
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
        square = case(
            ENERGIES["low noise"], "{kind: expression, density: exp(-9*(x - 0.3)**2) + 0.01, mass: 1}", 0.05, 3, cells
        )
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


@pytest.mark.parametrize("kind", ["ljko", "jko", "midpoint", "evbdf2"])
def test_convexity_promises_are_kept(kind):
    """The evolution variational inequality and contraction towards exp(-V/eps), for lambda = 1."""
    figures = final(midpoint(200, 0.02, kind=kind))[2]
    assert figures["convexity"] == pytest.approx(1.0)
    assert -0.1 < figures["evi_defect"] <= 1e-4
    assert -0.1 < figures["contraction_defect"] <= 1e-4


def test_a_step_away_from_the_minimum_breaks_the_promises():
    """What they would show of a wrong density."""
    prepared = midpoint(200, 0.02).prepare()
    convexity = prepared.statistics.convexity
    convexity(prepared.initial)
    shifted = np.roll(prepared.initial.density, 10)
    convexity(replace(prepared.initial, time=0.02, density=shifted))
    assert convexity.evi_defect > 1
    assert convexity.contraction_defect > 0.05


def test_the_modulus_is_the_least_curvature_and_counts():
    """V = x^2/2 + x^4/12 has V'' = 1 + x^2; the figure of a step that does not move is known."""
    line = midpoint(100, 0.02).replace({"flow.energy": [OU[0], {"kind": "potential", "potential": "x**2/2 + x**4/12"}]})
    prepared = line.replace({"exact": None}).prepare()
    convexity = prepared.statistics.convexity
    assert convexity.modulus == pytest.approx(1.0, abs=2e-2)
    convexity(prepared.initial)
    convexity(replace(prepared.initial, time=0.02))
    energy, edges = prepared.problem.energy(0.0), prepared.mesh.edges[0]
    equilibrium = convexity.references[1]
    far = distance_1d(edges, prepared.initial.density, equilibrium)
    rise = energy.value(prepared.initial.density) - energy.value(equilibrium)
    assert convexity.evi_defect == pytest.approx(max(0.0, 0.5 * convexity.modulus * far**2 + rise), rel=1e-9)


def test_evbdf2_accounts_for_no_energy_but_of_its_first_step():
    states = []
    list(midpoint(100, 0.05, kind="evbdf2").prepare().frames(states.append))
    assert states[1].dissipated > 0
    assert [state.dissipated for state in states[2:]] == [0.0] * (len(states) - 2)


def test_the_diagnostics_of_a_gradient_flow_add_up():
    ds = recursion(200, 0.05, 8).replace({"times": {"end": 0.4, "step": 0.05, "save": 0.1}}).run()
    np.testing.assert_allclose(ds.length, [0.0, 0.05, 0.05, 0.05, 0.05], atol=1e-15)
    np.testing.assert_allclose(ds.balance, ds.energy - ds.energy[0] + ds.cost, atol=1e-14)
    assert (np.diff(ds.cost) > 0).all()
    assert (ds.balance[1:] < 0).all()
    assert (ds.residual <= 1e-12).all()
    assert (ds.optimality[1:] > 0).all()
    assert (ds.optimality <= 1e-8).all()
    assert ds.fallbacks[-1] == ds.halvings[-1] == 0
    exact = midpoint(200, 0.05).run()
    np.testing.assert_allclose(exact.balance, 0, atol=1e-12)


@pytest.mark.parametrize("kind", ["ljko", "midpoint", "evbdf2"])
def test_adaptive_steps_of_a_gradient_flow(kind):
    rule = {"initial": 1e-3, "tolerance": 1e-3}
    few = final(midpoint(400, 0.01, kind=kind).replace({"times": {"end": 0.4, "step": rule}}))[2]
    many = final(midpoint(400, 0.01, kind=kind).replace({"times": {"end": 0.4, "step": rule | {"tolerance": 1e-6}}}))[2]
    assert few["steps"] < many["steps"]
    assert many["error_l1"] < few["error_l1"] < 0.05
    assert few["time"] == 0.4
    assert few["minimum"] >= 0


def test_only_round_off_may_be_kept_back():
    """A flux that takes more from a cell than there is: refused beyond the tolerance, kept back below it."""
    mesh = Box((0.0,), (3.0,), (3,)).build()
    state, phi = State.initial(mesh, np.array([1.0, 0.0, 1.0])), np.array([1.0, 2.0, 0.0])
    downhill = UpwindTriangular(mesh)
    assert transported_density(mesh, downhill, state, np.array([0.0, 1e-3]), phi, 1e-12) is None
    kept, crossed = transported_density(mesh, downhill, state, np.array([0.0, 1e-14]), phi, 1e-12)
    np.testing.assert_array_equal(kept, state.density)
    np.testing.assert_array_equal(crossed, [0.0, 0.0])


def test_a_drift_that_moves_has_no_recursion():
    with pytest.raises(CaseError, match="gaussian-jko"):
        ou(1, 50, flow__potential="0.5*(x - t)**2", exact={"kind": "gaussian-jko"}).prepare()


def test_the_accuracy_chooses_the_intervals():
    """Each is nearer to the recursion than the one before; intervals that do not reach it are told."""
    off = []
    for options in ({"intervals": 1}, {}, {"accuracy": 1e-6}):
        mean, variance, figures = deviation(
            recursion(400, 0.25, 2).replace({"flow.stepper": {"kind": "jko", **options}})
        )
        assert "reduced" not in figures
        off.append(abs(mean) + abs(variance))
    assert off[1] < 0.4 * off[0]
    assert off[2] < 0.4 * off[1]
    unreachable = recursion(60, 0.25, 2).replace({"flow.stepper": {"kind": "jko", "accuracy": 1e-13}})
    assert final(unreachable)[2]["reduced"] == 2


@pytest.mark.parametrize(("kind", "steps"), [("jko", 5), ("evbdf2", 20)])
def test_steps_of_a_front_that_keep_less_than_they_promise_are_counted(kind, steps):
    energy = "{kind: porous-medium, exponent: 3}, {kind: potential, potential: 2*(x**2 + y**2)}"
    square = case(energy, STARTS["vacuum"], 0.01, steps=steps)
    figures = final(square.replace({"flow.stepper": {"kind": kind}}))[2]
    assert 1 <= figures["reduced"] <= steps
    assert ("step_gap" in figures) == bool(figures["fallbacks"]), "only ljko proves one"
