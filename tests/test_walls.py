"""Absorbing and partly absorbing walls, and absorbing cells: closed forms, exact balance, refusals."""

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.linalg import FaceMatrix, rescale_to_mass
from fvflow.mesh import Box, openings

LINE = """
mesh: {kind: box, lower: [0], upper: [1], cells: [200]}
flow: {kind: fokker-planck, epsilon: 1, stepper: {kind: tr-bdf2}}
initial: {kind: uniform}
walls: {left: absorbing, right: absorbing}
times: {end: 0.2, step: 0.001, save: 0.05}
"""
STEPPERS = ("implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "split-crank-nicolson", "uniformisation")


def run(text=LINE, **changes):
    return Case.parse(text).replace({key.replace("__", "."): value for key, value in changes.items()}).run()


def survival(time, modes=400):
    """sum over odd k of 8/(pi k)^2 exp(-(k pi)^2 t): a uniform density between two absorbing walls."""
    k = np.arange(1, 2 * modes, 2)[:, None]
    return (8 / (np.pi * k) ** 2 * np.exp(-((np.pi * k) ** 2) * np.asarray(time))).sum(axis=0)


def test_survival_between_absorbing_walls_is_that_of_the_series():
    ds = run()
    np.testing.assert_allclose(ds.survival[1:], survival(ds.time[1:]), rtol=1e-4)
    assert ds.absorbed_left.values == pytest.approx(ds.absorbed_right.values, rel=1e-12)
    rate = -np.gradient(survival(np.array([0.1 - 1e-6, 0.1, 0.1 + 1e-6])), 1e-6)[1]
    assert float(ds.outflow_left.sel(time=0.1) + ds.outflow_right.sel(time=0.1)) == pytest.approx(rate, rel=2e-4)


@pytest.mark.parametrize("stepper", STEPPERS)
def test_what_remains_and_what_is_absorbed_add_up_to_the_mass(stepper):
    """Over 10 000 steps; `crank-nicolson` in steps in which it stays positive."""
    ds = run(
        mesh__cells=[20],
        flow__stepper={"kind": stepper},
        flow__potential="-3*x + sin(9*x)",
        walls={"left": "absorbing", "right": {"kind": "partial", "rate": 0.7}},
        times={"end": 1.0, "step": 1e-4, "save": 0.5},
    )
    total = ds.mass + ds.absorbed_left + ds.absorbed_right
    assert int(ds.steps[-1]) == 10_000
    assert float(abs(total - 1).max()) <= 1e-14
    assert float(abs(ds.survival - ds.mass).max()) <= 1e-14
    assert ds.attrs["mass_drift"] <= 1e-14
    assert float(ds.survival[-1]) < 0.6


@pytest.mark.parametrize("rate", [1e-3, 2.0, 1e6])
def test_a_partial_wall_decays_at_the_rate_of_its_slowest_mode(rate):
    """cos(k (1 - x)) with k tan k = kappa/eps, closed at the right: survival falls like exp(-eps k^2 t)."""
    from scipy.optimize import brentq

    k = brentq(lambda k: k * np.sin(k) - rate * np.cos(k), 1e-9, np.pi / 2)
    mode = f"cos({k}*(1 - x))"
    ds = run(
        initial={"kind": "expression", "density": mode},
        walls={"left": {"kind": "partial", "rate": rate}},
        times={"end": 0.2, "step": 0.001, "save": 0.1},
    )
    np.testing.assert_allclose(np.log(ds.survival[1:]), -(k**2) * ds.time[1:], rtol=2e-4)


def test_the_error_of_the_survival_is_of_second_order_in_the_cells():
    errors = [
        abs(float(run(mesh__cells=[n], times={"end": 0.1, "step": 2e-4}).survival[-1]) - survival(0.1)[0])
        for n in (10, 20, 40)
    ]
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.15).all(), orders


def test_absorbing_cells_are_walls_at_their_faces():
    """The middle of a line absorbs: its halves are lines of their own."""
    ds = run(
        mesh={"kind": "box", "lower": [0], "upper": [3], "cells": [600]},
        absorbing={"where": "(x > 1)*(x < 2)"},
        initial={"kind": "uniform"},
    )
    assert float(ds.absorbed_where[0]) == pytest.approx(1 / 3, rel=1e-13)
    np.testing.assert_allclose(ds.survival[1:], 2 / 3 * survival(ds.time[1:]), rtol=1e-4)
    assert float(ds.rho.values[:, 200:400].max()) == 0.0


def test_a_cell_whose_centre_lies_on_an_absorbing_wall_absorbs():
    """Voronoi boxes of the nodes of triangles, against the square's product of two lines."""
    text = """
mesh:
  kind: gmsh
  control_volumes: nodes
  geometry: |
    SetFactory("OpenCASCADE"); Rectangle(1) = {0, 0, 0, 1, 1}; Mesh.MeshSizeMax = 0.05;
flow: {kind: fokker-planck, epsilon: 1, stepper: {kind: tr-bdf2}}
initial: {kind: uniform}
walls: {rest: absorbing}
times: {end: 0.1, step: 0.001, save: 0.05}
"""
    ds = run(text)
    at = float(ds.time[-1])
    start = 1 - sum(float(ds[f"absorbed_{side}"][0]) for side in ("left", "right", "bottom", "top"))
    assert start == pytest.approx((1 - 0.05) ** 2, abs=0.02)  # the boxes of the nodes on the walls are absorbed at once
    assert float(ds.survival[-1]) == pytest.approx(survival(at)[0] ** 2, rel=0.1)
    assert ds.attrs["mass_drift"] <= 1e-14


BAD = [
    ({"walls": {"lefft": "absorbing"}}, "the mesh has no wall lefft; did you mean left"),
    ({"walls": {"top": "absorbing"}}, "the mesh has no wall top; it has left, right"),
    ({"walls": {"left": "open"}}, "expected 'no-flux' or 'absorbing', got \"open\""),
    ({"walls": {"left": {"kind": "partial"}}}, "rate: is missing"),
    ({"walls": {"left": {"kind": "partial", "rate": 0}}}, "expected a number > 0"),
    ({"absorbing": {"where": "x > 2"}}, "where holds the centre of no cell"),
    ({"absorbing": {"where": "x < 2"}}, "absorb in every cell of the mesh"),
    ({"absorbing": {"region": "A"}}, "the mesh has no region A; it has none"),
    ({"absorbing": {}}, "give either region or where"),
    ({"absorbing": [{"where": "x < 0.5"}, {"where": "x < 0.4"}]}, "where and where_2 overlap"),
    ({"flow.stepper": {"kind": "muscl"}}, "stepper muscl takes no absorbing walls or cells"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_walls_are_refused(changes, message):
    with pytest.raises(CaseError) as caught:
        Case.parse(LINE).replace(changes).prepare()
    assert message in str(caught.value)


def test_flows_without_openings_refuse_walls():
    text = LINE.replace(LINE.splitlines()[-1], "").replace("fokker-planck", "stationary")
    with pytest.raises(CaseError, match=r"walls: is for flows fokker-planck, .*; leave it out"):
        Case.parse(text.replace(", stepper: {kind: tr-bdf2}", ""))


def test_openings_lie_on_their_faces():
    mesh = Box(lower=(0.0, 0.0), upper=(3.0, 2.0), cells=(3, 2)).build()
    found = openings(mesh, {"left": np.inf}, {"A": mesh.centre[:, 0] > 2})
    assert found.names == ("left", "A")
    at = {tuple(position) for position in found.position}
    assert at == {(0.0, 0.5), (0.0, 1.5), (2.0, 0.5), (2.0, 1.5)}
    np.testing.assert_allclose(found.distance, 0.5)
    assert found.by_group(found.area).tolist() == [2.0, 2.0]


def test_the_rest_of_the_walls_goes_by_the_names_of_the_mesh():
    case = Case.parse(
        "mesh: {kind: gmsh, file: cases/channel-obstacle.msh}\n"
        "flow: {kind: first-passage, epsilon: 1, velocity: [1, 0]}\n"
        "walls: {outlet: absorbing, rest: {kind: partial, rate: 1}}",
        overrides={"flow.target": {"wall": "outlet"}},
    )
    told = case.check()["walls"]
    assert [clause.split()[0] for clause in told.split("; ")] == ["outlet", "walls", "inlet", "obstacle"]


def test_the_drift_is_judged_where_walls_are_closed():
    told = Case.parse(LINE).replace({"walls": {"right": "absorbing"}, "flow.velocity": [1]}).check()["walls"]
    assert told.endswith("elsewhere no flux; the drift does not point out there at t = 0")


def test_a_wall_behind_absorbing_cells_has_no_openings():
    told = Case.parse(LINE).replace({"walls": {"right": "absorbing"}, "absorbing": {"where": "x > 0.8"}}).check()
    assert told["walls"].startswith("right is behind cells that absorb; where absorbs (")


@pytest.mark.parametrize("stepper", ["implicit-euler", "tr-bdf2", "split-crank-nicolson"])
def test_adaptive_steps_keep_the_tail(stepper):
    """The tolerance of a step is relative to what is left, so that a survival of 1e-13 is as accurate as one of 1."""
    steps = {"end": 3, "step": {"initial": 1e-4, "tolerance": 1e-4}, "save": 1}
    ds = run(mesh__cells=[50], flow__stepper={"kind": stepper}, times=steps)
    off = ds.survival.values[1:] / survival(ds.time.values[1:]) - 1
    assert np.abs(off).max() <= (0.2 if stepper == "implicit-euler" else 5e-3)
    assert 1e-14 < float(ds.survival[-1]) < 2e-13


def test_muscl_is_no_advice_where_walls_absorb():
    told = {
        "flow__velocity": ["1000"],
        "flow__stepper": {"kind": "implicit-euler"},
        "times": {"end": 0.01, "step": 0.001},
    }
    closed, opened = run(walls={}, **told).attrs["remarks"], run(**told).attrs["remarks"]
    assert "Peclet" in closed
    assert "muscl" in closed
    assert "Peclet" in opened
    assert "muscl" not in opened


def test_a_share_that_is_round_off_is_no_remark():
    """A Gaussian ten standard deviations from the cells that absorb, and one close to them."""
    initial = {"kind": "gaussian", "mean": [0.5], "covariance": [[0.0009]]}
    changes = {"absorbing": {"where": "x > 0.8"}, "times": {"end": 0.01, "step": 0.001}}
    assert "at once" not in run(initial=initial, **changes).attrs["remarks"]
    initial["mean"] = [0.75]
    assert "% of the mass is in absorbing cells" in run(initial=initial, **changes).attrs["remarks"]


def test_no_solver_is_advised_where_there_is_none():
    """A sweep, an extrapolation or a sum of products takes no solver of the case."""
    with pytest.raises(NumericsError) as told:
        rescale_to_mass(openings_matrix(), np.ones(3), 2.0)
    assert "use a smaller step" in str(told.value)
    assert "solver" not in str(told.value).partition(";")[2]


def openings_matrix():
    faces = np.array([0, 1], np.int32)
    return FaceMatrix(np.ones(3), faces, faces + 1, np.ones(2), np.ones(2))
