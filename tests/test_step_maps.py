"""What a minimising-movement step tells of its optimal transport, against the recursion of Gaussians."""

from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.steppers import GradientStepper
from fvflow.steppers.fallible import in_halves
from tests.contracts import assert_order
from tests.resume_cases import Stop, Stopped

EPSILON, TAU = 0.5, 0.1
OU = """
mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [48, 48]}
flow:
  kind: gradient-flow
  energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2 + y**2}]
  stepper: {kind: jko, intervals: 2}
initial: {kind: gaussian, mean: [0.6, -0.3], covariance: [[0.3, 0], [0, 0.2]]}
times: {end: 0.1, step: 0.1}
exact: {kind: gaussian-jko}
output: {potential: true, map: true}
"""


def ou(cells=48, **changes):
    return Case.parse(OU).replace({"mesh.cells": [cells, cells], **changes})


def run(case):
    """The simulation, after its run, and its frames."""
    simulation = case.prepare()
    return simulation, list(simulation.frames())


def map_of(frame):
    return np.stack([frame.fields[name] for name in ("map_x", "map_y", "map_z") if name in frame.fields], axis=1)


def linear_step(reference, centre, time, tau):
    """T x = m + (s/s')(x - m') and phi, T = x - grad phi, of the step of the recursion that ends at a time."""
    (after, wide), (before, narrow) = reference.moments(time), reference.moments(time - tau)
    to = before + (centre - after) * narrow / wide
    return to, 0.5 * ((1 - narrow / wide) * (centre - after) ** 2).sum(axis=1) + (centre - after) @ (after - before)


def errors(case, tau=TAU):
    """Errors of map and potential of the last step, in L2 of rho, relative to their sizes; the largest optimality."""
    simulation, frames = run(case)
    last, mesh = frames[-1], simulation.mesh
    weight = mesh.volume * last.density
    to, phi = linear_step(simulation.reference, mesh.centre, last.time, tau)
    phi = phi - weight @ phi
    off = ((map_of(last) - to) ** 2).sum(axis=1)
    size = ((mesh.centre - to) ** 2).sum(axis=1)
    known = np.isfinite(off)
    assert weight[known].sum() > 1 - 1e-9
    found = np.sqrt([weight[known] @ off[known] / (weight @ size), weight @ (last.fields["step_potential"] - phi) ** 2])
    found[1] /= np.sqrt(weight @ phi**2)
    return *found, np.nanmax(np.abs(last.fields["step_optimality"]))


def test_the_map_of_a_jko_step_is_the_linear_one_at_order_two():
    cells = [12, 24, 36]
    found = np.array([errors(ou(count)) for count in cells])
    assert_order(1 / np.array(cells), found[:, 0], 2.0, 0.3)
    assert_order(1 / np.array(cells), found[:, 1], 2.0, 0.3)
    assert found[-1, :2].max() < 0.02
    assert found[:, 2].max() < 1e-6


def test_the_map_of_ljko_is_off_by_its_step():
    """The scheme linearises the transport in the step."""
    found = []
    for tau in (0.2, 0.1, 0.05):
        times = {"end": tau, "step": tau}
        found.append(errors(ou(48, **{"flow.stepper": {"kind": "ljko"}, "times": times}), tau)[1])
    assert found[2] < 0.6 * found[1] < 0.36 * found[0]
    assert found[2] < 0.03


@pytest.mark.parametrize("kind", ["ljko", "jko"])
def test_maps_off_grids(kind):
    """On a Voronoi diagram, where the gradient is one of least squares."""
    mesh = {"kind": "voronoi", "lower": [-3, -3], "upper": [3, 3], "cells": [24, 24], "seed": 1}
    case = ou(**{"flow.stepper": {"kind": kind}}).replace({"mesh": mesh})
    simulation, frames = run(case)
    assert simulation.mesh.edges is None
    to, _ = linear_step(simulation.reference, simulation.mesh.centre, TAU, TAU)
    weight = simulation.mesh.volume * frames[-1].density
    off, size = ((map_of(frames[-1]) - to) ** 2).sum(axis=1), ((simulation.mesh.centre - to) ** 2).sum(axis=1)
    known = np.isfinite(off)
    assert np.sqrt(weight[known] @ off[known] / (weight @ size)) < 0.1


def test_there_is_no_step_before_the_start():
    _, frames = run(ou(8))
    assert all(np.isnan(values).all() for values in frames[0].fields.values())


def test_without_mass_there_is_no_map():
    """A patch on a bowl: nan in the cells that the mass has not reached, and T inside of the patch at its edge too."""
    patch = {"kind": "uniform", "lower": [-0.6, -0.6], "upper": [0.9, 0.6]}
    energy = [{"kind": "porous-medium", "exponent": 2}, {"kind": "potential", "potential": "x**2 + y**2"}]
    case = ou(40, **{"flow.energy": energy, "initial": patch, "exact": None, "flow.stepper": {"kind": "ljko"}})
    case = case.replace({"times": {"end": 0.02, "step": 0.01}})
    simulation, frames = run(case)
    last, mesh = frames[-1], simulation.mesh
    empty = last.density <= 1e-12 * simulation.initial.mass / mesh.volume.sum()
    assert 0.2 < empty.mean() < 0.95
    for name in ("map_x", "map_y", "step_optimality"):
        np.testing.assert_array_equal(np.isnan(last.fields[name]), empty)
    weight = mesh.volume * last.density
    assert weight[~empty] @ last.fields["step_optimality"][~empty] == pytest.approx(0, abs=1e-12)
    pull = 0.15 / (1 + 2 * 0.01)  # the mean after the first of the two steps
    assert weight @ np.nan_to_num(map_of(last)) == pytest.approx([pull, 0], abs=1e-3)


def test_ljko_is_optimal_but_for_the_change_of_the_interaction():
    """It takes interactions at rho^n: what is left is W*(rho - rho^n), here with a mean that does not count."""
    energy = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "interaction", "kernel": "r**2 + x**4/4"}]
    simulation, frames = run(ou(14, **{"flow.energy": energy, "exact": None, "flow.stepper": {"kind": "ljko"}}))
    first, last = (frame.density for frame in frames)
    left = simulation.problem.total.terms[1].first(last - first)
    mean = simulation.mesh.volume @ (last * left)
    assert abs(mean) > 0.01
    found, weight = frames[-1].fields["step_optimality"], simulation.mesh.volume * last
    known = np.isfinite(found)
    assert weight[known].sum() > 1 - 1e-9
    np.testing.assert_allclose(found[known], (left - mean)[known], atol=1e-6)


def test_a_step_that_is_halved_has_the_map_of_its_last_part():
    simulation = ou(16, **{"flow.stepper": {"kind": "ljko"}}).prepare()
    step, start = simulation.flow.stepper.start(simulation.problem), simulation.initial
    whole, halved, middle = step(start, TAU).movement, in_halves(step, start, TAU).movement, step(start, TAU / 2)
    assert (whole.length, halved.length) == (TAU, TAU / 2)
    np.testing.assert_array_equal(whole.before, start.density)
    np.testing.assert_array_equal(halved.before, middle.density)


@pytest.mark.parametrize("kind", ["ljko", "jko"])
def test_w2_of_a_step_is_proved(kind):
    """The recursion's own W2 and the scheme's are in the interval, up to the error of the mesh."""
    simulation, frames = run(ou(24, **{"flow.stepper": {"kind": kind}, "output": {"distance": True}}))
    (before, narrow), (after, wide) = (simulation.reference.moments(time) for time in (0.0, TAU))
    exact = np.sqrt(((after - before) ** 2).sum() + ((wide - narrow) ** 2).sum())
    first, last = (frame.diagnostics for frame in frames)
    assert np.isnan([first[name] for name in ("step_w2", "step_w2_lower", "step_w2_upper")]).all()
    assert last["step_w2_lower"] * 0.99 <= exact <= last["step_w2_upper"] * 1.01
    assert last["step_w2_upper"] <= 1.05 * last["step_w2_lower"]
    assert last["step_w2"] == pytest.approx(exact, rel=0.03)


def test_w2_of_a_step_is_exact_on_a_line():
    line = {"kind": "box", "lower": [-3], "upper": [3], "cells": [100]}
    energy = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "potential", "potential": "0.5*x**2"}]
    initial = {"kind": "gaussian", "mean": [0.6], "covariance": [[0.3]]}
    case = ou().replace({"mesh": line, "flow.energy": energy, "initial": initial, "output": {"distance": True}})
    simulation, frames = run(case)
    last = frames[-1]
    exact = fvflow.wasserstein.distance_1d(simulation.mesh.edges[0], frames[0].density, last.density)
    assert last.diagnostics["step_w2_lower"] <= exact <= last.diagnostics["step_w2_upper"]
    assert last.diagnostics["step_w2_upper"] - last.diagnostics["step_w2_lower"] < 1e-12
    assert last.diagnostics["step_w2"] == pytest.approx(exact, rel=5e-3)


@pytest.mark.parametrize("kind", [kind.kind for kind in get_args(GradientStepper)])
def test_a_stepper_answers_for_its_steps(kind):
    if kind in ("ljko", "jko"):
        states = []
        list(ou(8, **{"flow.stepper": {"kind": kind}}).prepare().frames(states.append))
        assert [state.movement is None for state in states] == [True, False]
        return
    with pytest.raises(CaseError, match=rf"output.map: stepper {kind} does not minimise .* use ljko or jko"):
        ou(8, **{"flow.stepper": {"kind": kind}, "output": {"map": True}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow.mobility": "1 + x**2", "exact": None}, "output.potential: is of W2, and with a mobility the metric"),
        ({"flow": {"kind": "fokker-planck", "epsilon": 1}, "exact": None}, "output.map: is for flow gradient-flow"),
    ],
)
def test_refusals_have_a_place(changes, message):
    with pytest.raises(CaseError, match=message) as refused:
        ou(8, **changes)
    assert "case:" in str(refused.value), "with its line and column"


def test_w2_of_a_step_is_refused_off_boxes():
    mesh = {"kind": "voronoi", "lower": [-3, -3], "upper": [3, 3], "cells": [12, 12], "seed": 1}
    case = ou(output={"distance": True, "evi": True}).replace({"mesh": mesh})
    with pytest.raises(CaseError, match=r"output.distance: W2 is proved on lines, circles and boxes") as refused:
        case.prepare()
    assert "output.evi: W2 is proved on lines" in str(refused.value)


def test_a_resumed_run_has_the_same_maps(tmp_path):
    output = {"potential": True, "map": True, "checkpoint": {"steps": 1}}
    case = ou(12, output=output).replace({"times": {"end": 0.4, "step": 0.1, "save": 0.2}})
    case.write(tmp_path / "whole.nc")
    with pytest.raises(Stopped):
        case.write(tmp_path / "cut.nc", Stop(3))
    fvflow.resume(tmp_path / "cut.parts")
    with fvflow.read(tmp_path / "whole.nc") as whole, fvflow.read(tmp_path / "cut.nc") as cut:
        for name in ("step_potential", "step_optimality", "map_x", "map_y"):
            np.testing.assert_array_equal(whole[name], cut[name])
