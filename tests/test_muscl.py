"""Limited slopes: positive, bounded and second order, on grids and on other meshes."""

from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.linalg import divergence
from fvflow.mesh import Box, Graded, Voronoi
from fvflow.problems import State
from fvflow.steppers import Muscl
from fvflow.steppers.reconstruction import Limiter, reconstruction
from tests.contracts import assert_order
from tests.scenes import every_state, final, ou, spike

LIMITERS = get_args(Limiter)
CENTRAL = "monotonised-central"
BOX = "{{kind: box, lower: [-1, -1], upper: [1, 1], cells: [{0}, {0}]}}"
GRADED = "{{kind: graded, lower: [-1, -1], upper: [1, 1], cells: [{0}, {0}], ratio: [3.0, 0.2]}}"
VORONOI = "{{kind: voronoi, lower: [-1, -1], upper: [1, 1], cells: [{0}, {0}], seed: 1}}"
TRIANGLES = (
    "{{kind: gmsh, centres: centroids, size: {1}, geometry: "
    "'SetFactory(\"OpenCASCADE\"); Rectangle(1) = {{-1,-1,0,2,2}}; Mesh.MeshSizeMin=1; Mesh.MeshSizeMax=1;'}}"
)
MESHES = {"box": BOX, "graded": GRADED, "voronoi": VORONOI, "triangles": TRIANGLES}
BOTH = [(mesh, limiter) for mesh in MESHES for limiter in LIMITERS if mesh in ("box", "graded") or limiter == CENTRAL]
EDDY = "0.5*cos(pi*x/2)*cos(pi*y/2)*(1 + cos(9*t))/2 + 0.2*sin(pi*x)*sin(pi*y)"  # 0 on the walls


def rotation(mesh: str, cells: int, limiter: str = CENTRAL, **changes) -> Case:
    """A bump about to turn."""
    case = Case.parse(
        f"""
        mesh: {MESHES[mesh].format(cells, 2.0 / cells)}
        flow: {{kind: fokker-planck, epsilon: 0, stream: -0.5*(x**2 + y**2), stepper: {{kind: muscl}}}}
        initial: {{kind: gaussian, mean: [0.4, 0.0], covariance: [[0.02, 0], [0, 0.02]]}}
        times: {{end: 1.0, step: 0.25}}
        exact: {{kind: gaussian}}
        """
    )
    for path, value in {"flow__stepper__limiter": limiter, **changes}.items():
        case = case.replace({path.replace("__", "."): value})
    return case


def plain_rise(limiter: str, a: float, b: float, p: float, q: float, w: float) -> float:
    """The rise to the face ahead from the difference a behind and b ahead, as `GridReconstruction` has it."""

    def minmod(*values: float) -> float:
        if min(values) > 0:
            return min(values)
        return max(values) if max(values) < 0 else 0.0

    if limiter == "minmod":
        return minmod(p * a, q * b)
    if limiter == "superbee":
        return max(minmod(a, q * b), minmod(p * a, b), key=abs)
    if limiter == "van-leer":
        return minmod(2 * p * a * q * b / (p * a + q * b), a, b) if a * b > 0 else 0.0
    return minmod(p * a * w + q * b * (1 - w), a, b)


@pytest.mark.parametrize("limiter", LIMITERS)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_rises_are_those_of_the_formula(dimension, limiter):
    mesh = Graded((0.0,) * dimension, (1.0,) * dimension, (6, 5, 4)[:dimension], (3.0, 0.2, 7.0)[:dimension]).build()
    density = np.random.default_rng(1).random(mesh.cells)
    own, other = reconstruction(mesh, limiter).rises(density)
    width = [np.diff(edge) for edge in mesh.edges]
    shaped = density.reshape(mesh.shape)
    for face, (k, neighbour) in enumerate(zip(mesh.owner, mesh.neighbour, strict=True)):
        axis = int(np.argmax(mesh.normal[face]))
        for cell, found, sign in ((k, own[face], 1), (neighbour, other[face], -1)):
            at = np.array(np.unravel_index(cell, mesh.shape))
            place = dimension - 1 - axis
            i, h = at[place], width[axis]
            expected = 0.0
            if 0 < i < len(h) - 1:
                line = np.moveaxis(shaped, place, -1)[tuple(np.delete(at, place))]
                back, ahead = 0.5 * (h[i - 1] + h[i]), 0.5 * (h[i] + h[i + 1])
                factors = 0.5 * h[i] / back, 0.5 * h[i] / ahead, ahead / (back + ahead)
                expected = sign * plain_rise(limiter, line[i] - line[i - 1], line[i + 1] - line[i], *factors)
            assert found == pytest.approx(expected, rel=1e-13, abs=1e-300)


KINDS = {
    "box": Box((0.0, 0.0), (1.0, 1.0), (8, 7)),
    "graded": Graded((0.0, 0.0), (1.0, 1.0), (8, 7), (3.0, 0.2)),
    "line": Graded((0.0,), (1.0,), (9,), (5.0,)),
    "voronoi": Voronoi((0.0, 0.0), (1.0, 1.0), (8, 8), seed=1),
}


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    limiter=st.sampled_from(LIMITERS),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_what_the_proof_of_positivity_needs(kind, limiter, seed, spread):
    """r and 2 rho - r in bounds, and no more leaves a cell than c_K rho_K, whatever density and flow are."""
    mesh, random = KINDS[kind].build(), np.random.default_rng(seed)
    sides = reconstruction(mesh, CENTRAL if kind == "voronoi" else limiter)
    density = np.exp(spread * random.normal(size=mesh.cells)) * (random.random(mesh.cells) < 0.7)
    flow = random.normal(size=mesh.faces)
    leaving = np.zeros(mesh.cells)
    for cell, rise, out in zip((mesh.owner, mesh.neighbour), sides.rises(density), (flow, -flow), strict=True):
        for value in (density[cell] + rise, density[cell] - rise):
            assert value.min() >= 0
            assert value.max() <= density.max() * (1 + 1e-15)
        leaving += np.bincount(cell, np.maximum(out, 0) * (density[cell] + rise), mesh.cells)
    assert (leaving <= sides.outflow_bound(flow) * density * (1 + 1e-14)).all()


@pytest.mark.parametrize(("mesh", "limiter"), BOTH)
def test_orders_in_space_without_diffusion(mesh, limiter):
    """A bump that turns; minmod and superbee come to order 2 later, as they flatten extrema or make corners."""
    errors = []
    for count in (24, 48, 96) if limiter in (CENTRAL, "van-leer") else (48, 96, 192):
        figures = final(rotation(mesh, count, limiter, times={"end": 0.5, "step": 0.25}))[2]
        assert figures["minimum"] >= 0
        assert figures["mass_drift"] <= 1e-14
        errors.append(figures["error_l1"])
    orders = -np.diff(np.log2(errors))
    assert orders[-1] >= (1.85 if limiter in (CENTRAL, "van-leer") else 1.6), (orders, errors)
    assert orders[-1] <= 2.4, (orders, errors)


@pytest.mark.parametrize("limiter", LIMITERS)
def test_orders_in_space_with_a_drift_down_a_potential(limiter):
    changes = {"flow__stepper": {"kind": "muscl", "limiter": limiter}, "times": {"end": 0.2, "step": 0.1}}
    cells = np.array([200, 400, 800])
    errors = [final(ou(1, int(n), flow__epsilon=0.02, **changes))[2]["error_l1"] for n in cells]
    assert_order(1 / cells[1:], errors[1:], 2.0, 0.2)


@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving"])
def test_order_in_time(moving):
    """At least second order on one mesh, each step one substep; limiters that switch keep it from three."""
    steps = 0.04 / 2.0 ** np.arange(6)
    potential = "0.5*(x - sin(3*t))**2" if moving else "0.5*x**2"
    densities = []
    for step in steps:
        times = {"end": 0.4, "step": float(step)}
        _, last, _ = final(ou(1, 24, flow__potential=potential, flow__stepper={"kind": "muscl"}, times=times))
        assert last.iterations == 1
        densities.append(last.density)
    errors = [np.abs(one - other).sum() for one, other in pairwise(densities)]
    assert np.log2(errors[0] / errors[-1]) / (len(errors) - 1) >= Muscl.order


def test_order_in_time_where_no_limiter_switches():
    """Third, for a front that stays monotone."""
    mesh = Box((0.0,), (1.0,), (40,)).build()
    changes = {"mesh": {"kind": "box", "lower": [0], "upper": [1], "cells": [40]}, "initial": {"kind": "uniform"}}
    case = ou(1, 40, exact=None).replace(changes)
    case = case.replace({"flow": {"kind": "fokker-planck", "epsilon": 0.0, "velocity": ["x*(1 - x)*(2 + cos(5*t))"]}})
    case = case.replace({"flow.stepper": {"kind": "muscl"}})
    problem, steps, found = case.prepare().problem, 0.01 / 2.0 ** np.arange(5), []
    for length in steps:
        state, step = State.initial(mesh, np.exp(mesh.centre[:, 0])), case.flow.stepper.start(problem)
        for _ in range(round(0.04 / length)):
            state = step(state, length)
        found.append(state.density[10:30])
    assert_order(steps[:-1], [np.abs(one - other).sum() for one, other in pairwise(found)], 3.0, 0.2)


@pytest.mark.parametrize(("mesh", "limiter"), BOTH)
@pytest.mark.parametrize("cfl", [0.2, 0.4999])
def test_a_box_stays_between_its_bounds(mesh, limiter, cfl):
    """In a divergence-free flow that moves, up to round-off; and constants stay constant."""
    case = rotation(mesh, 32, limiter, flow__stream=EDDY, flow__stepper__cfl=cfl, exact=None)
    prepared = case.prepare()
    assert np.abs(divergence(prepared.mesh, prepared.problem.flow(0.3)[0])).max() < 1e-15
    assert prepared.positivity() == "unconditional"
    step = case.flow.stepper.start(prepared.problem)
    x, y = prepared.mesh.centre.T
    state = State.initial(prepared.mesh, np.where((np.abs(x - 0.3) < 0.25) & (np.abs(y) < 0.3), 1.0, 0.0))
    for _ in range(4):
        state = step(state, 0.5)
        assert state.density.min() >= 0
        assert state.density.max() <= 1 + 1e-14
        assert abs(prepared.mesh.volume @ state.density / state.mass - 1) <= 2e-15
    flat = step(State.initial(prepared.mesh, np.ones(prepared.mesh.cells)), 2.0)
    np.testing.assert_allclose(flat.density, 1.0, rtol=1e-13)


def test_the_bound_is_needed():
    """The test above can fail: with substeps four times as long the box leaves its bounds; a case cannot ask for it."""
    problem = rotation("box", 32, flow__stream=EDDY, exact=None).prepare().problem
    x, y = problem.mesh.centre.T
    state = State.initial(problem.mesh, np.where((np.abs(x - 0.3) < 0.25) & (np.abs(y) < 0.3), 1.0, 0.0))
    after = Muscl(cfl=1.9).start(problem)(state, 1.0)
    assert after.density.min() < -1e-3


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("epsilon", [1.0, 0.02, 0.0])
@pytest.mark.parametrize("potential", ["0.5*x**2", "-2*x**2", "0.5*(x - 3*sin(8*t))**2*(1 + 30*t)"])
def test_spikes_stay_positive(dimension, epsilon, potential):
    """Where the drift converges, diverges, or moves and grows."""
    changes = {"flow__potential": potential, "flow__epsilon": epsilon, "times": {"end": 0.2, "step": 0.1}}
    case = spike(ou(dimension, {1: 100, 2: 24, 3: 12}[dimension], flow__stepper={"kind": "muscl"}, **changes))
    figures = final(case)[2]
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 2e-15


def test_mass_over_ten_thousand_substeps():
    """Thirds that do not add up to 1 in doubles would lose 1e-12."""
    times = {"end": 100, "step": 1.0}
    figures = final(ou(1, 100, flow__stepper={"kind": "muscl"}, times=times))[2]
    assert figures["iterations"] >= 10_000
    assert figures["mass_drift"] <= 1e-14


def test_rotation_with_little_diffusion():
    """A quarter of the benchmark's cells; upwind has 0.2 and Scharfetter-Gummel 0.1 here."""
    case = rotation("box", 128, flow__epsilon=1e-3, times={"end": 1.0, "step": 0.02})
    case = case.replace({"initial.covariance": [[0.01, 0.0], [0.0, 0.01]]})
    prepared, _, figures = final(case)
    assert figures["error_l1"] <= 9e-3
    assert figures["minimum"] >= 0
    assert prepared.problem.numerical_diffusion() is None


def test_gibbs_is_kept_to_second_order_only():
    errors = []
    for cells in (100, 200, 400):
        changes = {"flow__epsilon": 0.3, "initial": {"kind": "gibbs"}, "exact": {"kind": "gibbs"}}
        times = {"end": 1.0, "step": 0.5}
        errors.append(final(ou(1, cells, flow__stepper={"kind": "muscl"}, times=times, **changes))[2]["error_l1"])
    assert errors[0] > 1e-5
    assert_order(1 / np.array([100, 200, 400]), errors, 2.0, 0.2)


def test_steps_are_cut_into_substeps():
    case = rotation("box", 32)
    problem = case.prepare().problem
    rate = problem.flow(0.0)[1]
    assert rate == pytest.approx(2 * (2 - 4 / 32) / (2 / 32)), "twice |v| over h, summed over the axes"
    step = case.flow.stepper.start(problem)
    state = State.initial(problem.mesh, np.ones(problem.mesh.cells))
    for length in (1e-6, 0.999 * 1.6 / rate, 1.001 * 1.6 / rate, 1.0):
        assert step(state, length).iterations == int(np.ceil(length * rate / 1.6))
    assert step(state, 0.3).time == 0.3
    with pytest.raises(NumericsError, match="more than 1e\\+07 substeps"):
        step(state, 1e9)


def test_a_step_of_a_whole_number_of_substeps_ends():
    """0.3 at the rate 1600 and cfl 0.4 is 300 substeps, of which 300 * 4 * 0.4 falls short by round-off."""
    case = ou(2, 32, flow__velocity=["50", "0"], flow__potential=None, flow__epsilon=0, exact=None)
    changes = {"mesh.lower": [-1, -1], "mesh.upper": [1, 1], "flow.stepper": {"kind": "muscl"}}
    changes |= {"initial": {"kind": "uniform"}}
    for path, value in {**changes, "times": {"end": 0.3, "step": 0.3}}.items():
        case = case.replace({path: value})
    assert final(case)[2]["iterations"] == 300


def test_substeps_follow_a_drift_that_grows():
    """The bound is kept at all stages though the drift is at rest when the step begins."""
    case = ou(1, 50, flow__potential="50*t**2*x**2", flow__epsilon=0.0, flow__stepper={"kind": "muscl"}, exact=None)
    problem = case.prepare().problem
    assert problem.flow(0.0)[1] == 0.0
    stepper, seen = Muscl(), []
    euler = problem._euler_rate
    object.__setattr__(
        problem, "_euler_rate", lambda flow, conductance: seen.append(euler(flow, conductance)) or seen[-1]
    )
    after = stepper.start(problem)(State.initial(problem.mesh, np.eye(50)[20]), 1.0)
    assert after.density.min() >= 0
    assert after.iterations >= problem.flow(0.5)[1] / 1.6 / 2
    assert len(seen) < 6 * after.iterations


def pair(tolerance: float, **flow) -> Case:
    """Two cells of size 1/2 with all the mass in the first: no slopes, so that a closed form is met but for time."""
    return Case.parse(
        """
        mesh: {kind: box, lower: [0], upper: [1], cells: [2]}
        flow: {kind: fokker-planck, epsilon: 0, stepper: {kind: muscl}}
        initial: {kind: expression, density: "where(x < 0.5, 2, 0)"}
        times: {end: 1.0, save: 0.5}
        """.replace("0.5}", f"0.5, step: {{initial: 0.05, tolerance: {tolerance}}}}}")
    ).replace({f"flow.{name}": value for name, value in flow.items()})


@pytest.mark.parametrize(
    ("flow", "exact"),
    [
        ({"velocity": ["1 + 0.9*cos(40*t)"]}, 2 * np.exp(-2 * (1 + 0.9 * np.sin(40) / 40))),
        ({"epsilon": 0.3}, 1 + np.exp(-8 * 0.3)),
    ],
    ids=["moving", "diffusion"],
)
def test_the_error_of_adaptive_steps_falls_with_the_tolerance(flow, exact):
    """rho_1' = -2 v rho_1, or (rho_1 - rho_2)' = -8 eps (rho_1 - rho_2): third order, tolerance^(-1/3) steps."""
    tolerances, errors, counts = 10.0 ** -np.arange(3, 9), [], []
    for tolerance in tolerances:
        states = every_state(pair(float(tolerance), **flow))
        assert {0.5, 1.0} <= {state.time for state in states}
        errors.append(abs(states[-1].density[0] - exact))
        counts.append(len(states))
    assert (errors <= tolerances).all()
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert slope == pytest.approx(1, abs=0.15), errors
    assert -np.polyfit(np.log(tolerances), np.log(counts), 1)[0] == pytest.approx(1 / 3, abs=0.04), counts


@pytest.mark.parametrize("tolerance", [0.5, 1e-5, 1e-8])
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_adaptive_steps_keep_the_bound_and_the_promises(epsilon, tolerance):
    """However loose the tolerance is, no stage is longer than cfl allows, in a drift that moves and grows."""
    potential = "0.5*(x - 3*sin(8*t))**2*(1 + 30*t)"
    times = {"end": 0.2, "save": 0.1, "step": {"initial": 0.2, "tolerance": tolerance}}
    case = spike(ou(1, 100, flow__potential=potential, flow__epsilon=epsilon, flow__stepper={"kind": "muscl"}))
    prepared, last, figures = final(case.replace({"times": times}))
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-14
    states = every_state(case.replace({"times": times}))
    assert len(states) == last.step + 1 == figures["steps"] + 1
    for before, after in pairwise(states):
        tau = after.time - before.time
        rate = max(prepared.problem.flow(before.time + part * tau)[1] for part in (0.0, 0.5, 1.0))
        assert 0.25 * tau * rate <= 0.4 * (1 + 1e-12)
        assert after.iterations == 1


def test_adaptive_steps_of_a_loose_tolerance_are_those_of_cfl():
    case = rotation("box", 32)
    many = final(case)[2]["iterations"]
    figures = final(case.replace({"times.step": {"initial": 0.25, "tolerance": 0.5}}))[2]
    assert figures.get("rejections", 0) == 0
    assert many - 1 <= figures["steps"] <= 1.1 * many


def test_adaptive_steps_beat_equal_ones_where_the_drift_has_a_kick():
    """A pulse of 0.1: as many steps of one length are farther from the same mesh's solution."""
    changes = {"flow__stepper": {"kind": "muscl"}, "flow__epsilon": 0.0, "exact": None}
    case = ou(1, 24, flow__velocity=["8*exp(-((t - 0.5)/0.05)**2)"], **changes)
    found: dict[str, tuple] = {}
    for name, step in {"fine": 5e-4, "adaptive": {"initial": 0.01, "tolerance": 1e-6}}.items():
        found[name] = final(case.replace({"times": {"end": 1.0, "step": step}}))
    count = found["adaptive"][2]["steps"]
    found["equal"] = final(case.replace({"times": {"end": 1.0, "step": 1.0 / count}}))
    far = {name: np.abs(one[1].density - found["fine"][1].density).sum() for name, one in found.items()}
    assert far["adaptive"] < 0.1 * far["equal"], (far, count)


def test_what_cfl_cuts_down_to_nothing_is_told():
    case = ou(1, 50, flow__potential="1e18*x", flow__epsilon=0.0, flow__stepper={"kind": "muscl"}, exact=None)
    prepared = case.prepare()
    attempt = Muscl().embedded(prepared.problem)
    state = State(1.0, prepared.initial.density, 1.0)
    with pytest.raises(NumericsError, match="below round-off; use larger cells"):
        attempt(state, 1e-17)


def test_small_meshes():
    for cells in (1, 2, 3):
        figures = final(ou(1, cells, flow__stepper={"kind": "muscl"}, initial={"kind": "uniform"}, exact=None))[2]
        assert figures["minimum"] >= 0
        assert figures["mass_drift"] <= 2e-15


def test_fluxes_of_the_result_are_those_of_the_step():
    case = rotation("box", 32, output={"fluxes": True})
    prepared = case.prepare()
    frame = next(iter(prepared.frames()))
    np.testing.assert_array_equal(frame.face_fields["flux"], prepared.problem.flux(prepared.initial.density, 0.0))
    own, other = reconstruction(prepared.mesh, CENTRAL).rises(frame.density)
    flow = prepared.mesh.transmissibility * prepared.problem.drift.potential_drop(prepared.mesh, 0.0)
    sides = frame.density[prepared.mesh.owner] + own, frame.density[prepared.mesh.neighbour] + other
    expected = np.maximum(flow, 0) * sides[0] + np.minimum(flow, 0) * sides[1]
    np.testing.assert_allclose(frame.face_fields["flux"], expected)


def test_what_would_do_nothing_is_refused():
    with pytest.raises(CaseError, match="flux of its own; leave out flux"):
        rotation("box", 8, flow__flux={"kind": "upwind"})
    with pytest.raises(CaseError, match="needs a grid"):
        rotation("voronoi", 8, "minmod").prepare()
    with pytest.raises(CaseError, match="cfl"):
        rotation("box", 8, flow__stepper__cfl=0.5)


def test_the_report_names_the_method():
    report = rotation("box", 16, "van-leer").check()
    assert "muscl (order 2 in time), van-leer slopes (order 2 in space), substeps at cfl 0.4" in report["method"]
    assert "numerical diffusion" not in report
