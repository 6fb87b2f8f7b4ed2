"""What crosses each face between saved times, stored by `output: {fluxes: true}`."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.continuation import continuation
from fvflow.errors import CaseError
from fvflow.linalg import divergence
from fvflow.steppers import GradientStepper, LinearStepper
from tests.resume_cases import Stop, Stopped

WIND = """
mesh: {kind: box, lower: [-2, -1], upper: [2, 1], cells: [24, 10], periodic: [x]}
flow:
  kind: fokker-planck
  epsilon: 0.3
  potential: 0.3*cos(pi*x/2) + y**2
  tilt: [1, 0]
initial: {kind: gaussian, mean: [0.5, -0.2], covariance: [[0.1, 0], [0, 0.05]]}
times: {end: 0.6, step: 0.05, save: [0.1, 0.3, 0.6]}
output: {fluxes: true}
"""
TRAP = """
mesh: {kind: box, lower: [-3], upper: [3], cells: [40]}
flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2}]}
initial: {kind: gaussian, mean: [1], covariance: [[0.1]]}
times: {end: 0.4, step: 0.1, save: 0.2}
output: {fluxes: true}
"""
STEPPERS = [kind.kind for kind in get_args(LinearStepper)]


def wind(stepper="implicit-euler", **changes):
    return Case.parse(WIND).replace({"flow.stepper": {"kind": stepper}, **changes})


def imbalance(case, ds):
    """The largest change of a cell's mass over the total that the stored means do not account for, by frame."""
    simulation = case.prepare()
    mesh, openings, frames = simulation.mesh, simulation.problem.openings, ds.sizes["time"]
    masses, length = mesh.volume * ds.rho.values.reshape(frames, -1), np.diff(ds.time.values)
    left = np.array([divergence(mesh, mean) for mean in ds.flux_mean.values[1:]])
    if openings is not None:
        left += [openings.by_cell(mean) for mean in ds.outflow_mean.values[1:]]
    return np.abs(np.diff(masses, axis=0) + length[:, None] * left).max() / simulation.initial.mass


@pytest.mark.parametrize("stepper", STEPPERS)
def test_every_linear_stepper_tells_what_crosses_each_face(stepper):
    case = wind(stepper)
    ds = case.run()
    assert np.isnan(ds.flux_mean[0]).all(), "before the first frame there is no interval"
    assert imbalance(case, ds) <= 2e-14
    plain = case.replace({"output": {}}).run()
    np.testing.assert_array_equal(ds.rho, plain.rho)
    assert not {"flux", "flux_mean"} & set(plain)


def test_the_mean_is_that_of_the_flux_over_the_interval():
    """To the order of the method, the part that circulates and that no density tells included."""
    exact = wind("uniformisation", **{"times.step": 0.6}).run().flux_mean[1:]

    def error(stepper, step):
        mean = wind(stepper, **{"times.step": step}).run().flux_mean[1:]
        return float(np.abs(mean - exact).max() / np.abs(exact).max())

    for stepper, step, order in (("implicit-euler", 4e-3, 1), ("split-euler", 4e-3, 1), ("tr-bdf2", 0.01, 2)):
        assert error(stepper, step) / error(stepper, step / 2) == pytest.approx(2**order, rel=0.05)
    assert error("chebyshev", 0.3) <= 1e-11


def test_the_current_around_a_ring_is_kept_when_the_sum_ends_early():
    """Long after the density has become steady, the mean flux is the flux."""
    for stepper in ("uniformisation", "chebyshev"):
        ds = wind(stepper, times={"start": 0, "end": 400, "step": 200, "save": 200}).run()
        np.testing.assert_allclose(ds.flux_mean[-1], ds.flux[-1], rtol=0, atol=1e-11)
        assert np.abs(ds.flux[-1]).max() > 1e-2


@pytest.mark.parametrize("stepper", [kind.kind for kind in get_args(LinearStepper) if kind.takes_openings])
def test_what_leaves_through_each_opening_is_told_too(stepper):
    walls = {"bottom": "absorbing", "top": {"kind": "partial", "rate": 0.5}}
    case = wind(stepper, walls=walls, absorbing={"where": "x > 1.5"})
    ds = case.run()
    assert imbalance(case, ds) <= 2e-14
    names = ds.opening_group.attrs["flag_meanings"].split()
    assert names == ["bottom", "top", "where"]
    for number, name in enumerate(names):
        rates = ds.outflow_mean[1:, ds.opening_group.values == number].sum("opening")
        gone = np.diff(ds[f"absorbed_{name}"]) / np.diff(ds.time)
        np.testing.assert_allclose(rates, gone, rtol=1e-12)
    np.testing.assert_allclose(ds.opening_y[ds.opening_group.values == 0], -1.0)
    assert ds.opening_area.attrs["units"] == ds.face_area.attrs["units"] == "m"


@pytest.mark.parametrize(
    "stepper", [*({"kind": kind.kind} for kind in get_args(GradientStepper)), {"kind": "midpoint", "warmup": 2}]
)
def test_every_gradient_stepper_tells_what_crosses_each_face(stepper):
    """Also in steps of two halves."""
    case = Case.parse(TRAP).replace({"flow.stepper": stepper})
    ds = case.run()
    assert imbalance(case, ds) <= 2e-15
    np.testing.assert_array_equal(ds.rho, case.replace({"output": {}}).run().rho)


def test_what_is_held_back_at_a_front_has_not_crossed():
    """The extrapolation would take from empty cells: its fluxes are limited to what the cells hold."""
    energy = [{"kind": "porous-medium", "exponent": 3}, {"kind": "potential", "potential": "0.5*x**2"}]
    flow = {"kind": "gradient-flow", "energy": energy, "stepper": {"kind": "evbdf2"}}
    initial = {"kind": "expression", "density": "where(abs(x) < 1, 1, 0)", "mass": 1}
    case = Case.parse(TRAP).replace({"flow": flow, "initial": initial, "times.step": 0.02})
    ds = case.run()
    assert ds.attrs["reduced"] > 0
    assert imbalance(case, ds) <= 2e-15


@pytest.mark.parametrize("name", ["implicit-euler", "muscl"])
def test_adaptive_steps_tell_what_those_that_were_taken_have_moved(name):
    case = wind(name, **{"times.step": {"initial": 0.01, "tolerance": 1e-3}})
    assert imbalance(case, case.run()) <= 2e-14


def test_a_run_goes_on_with_what_has_crossed_so_far(tmp_path):
    """Stopped within an interval and resumed, also with adaptive steps: bit for bit."""
    case = wind("split-crank-nicolson", **{"output.checkpoint": {"steps": 1}, "times.step": 0.02})
    case.write(tmp_path / "whole.nc")
    with pytest.raises(Stopped):
        case.write(tmp_path / "r.nc", Stop(8))
    fvflow.resume(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "whole.nc") as whole, fvflow.read(tmp_path / "r.nc") as resumed:
        np.testing.assert_array_equal(resumed.flux_mean, whole.flux_mean)


@pytest.mark.parametrize(("steps", "known"), [(8, [False, False, True]), (5, [False, True, True])])
def test_the_interval_in_which_fluxes_are_asked_for_is_not_known(steps, known, tmp_path):
    """Only if the run had not begun it: the first save is after 5 steps."""
    case = wind(**{"output": {"checkpoint": {"steps": 1}}, "times.step": 0.02})
    with pytest.raises(Stopped):
        case.write(tmp_path / "r.nc", Stop(steps))
    (tmp_path / "r.yaml").write_text(case.replace({"output.fluxes": True}).text)
    with continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc") as found:
        found.case.write(found.path, checkpoint=found.checkpoint, lock=found.lock)
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(np.isfinite(ds.flux_mean).all("face")[1:], known)


GAUSSIAN = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}
initial: {kind: gaussian, mean: [1], covariance: [[0.5]], sampling: centre}
times: {end: 0.01, step: 0.01}
output: {velocity: true, score: true, rate: true}
"""


def fields(ds, name, dimension):
    """The components of a vector at the start (cell, axis)."""
    return np.stack([ds[f"{name}_{axis}"][0].values.ravel() for axis in "xyz"[:dimension]], axis=1)


def deviation(case, mean, variance):
    """Largest errors of score and velocity away from walls, and the L1 error of the rate, from a Gaussian."""
    ds, mesh = case.run(), case.prepare().mesh
    x, rho, dimension = mesh.centre, ds.rho[0].values.ravel(), mesh.dimension
    score = -(x - mean) / variance
    velocity = -x - score
    rate = -rho * ((1 / variance - 1) * dimension + (velocity * score).sum(axis=1))
    inside = (np.abs(x) < 0.8 * np.abs(mesh.points).max()).all(axis=1)
    return (
        np.abs(fields(ds, "score", dimension) - score)[inside].max(),
        np.abs(fields(ds, "v", dimension) - velocity)[inside].max(),
        mesh.volume @ np.abs(ds.rate[0].values.ravel() - rate),
    )


@pytest.mark.parametrize(
    ("mesh", "allowed"),
    [
        ({}, 1e-11),
        ({"kind": "box", "lower": [-6, -6, -6], "upper": [6, 6, 6], "cells": [12, 14, 10]}, 1e-11),
        ({"kind": "graded", "lower": [-6, -6], "upper": [6, 6], "cells": [40, 40], "ratio": [1.02, 0.98]}, 1e-4),
    ],
)
def test_score_and_velocity_of_a_gaussian_are_exact_on_grids(mesh, allowed):
    """log rho and V are quadratic; on graded grids the velocities of faces are those half way between the centres."""
    case = Case.parse(GAUSSIAN).replace({"mesh": mesh} if mesh else {})
    dimension = case.mesh.extent.dimension
    square, eye = "+".join(f"{axis}**2" for axis in "xyz"[:dimension]), np.eye(dimension)
    start = {"mean": [1.0] + [0.0] * (dimension - 1), "covariance": (0.5 * eye).tolist(), "truncate": 0.1}
    case = case.replace({"flow.potential": f"0.5*({square})", "initial": {**GAUSS, **start}})
    score, velocity, _ = deviation(case, np.array(start["mean"]), 0.5)
    assert score <= 1e-11
    assert velocity <= allowed


GAUSS = {"kind": "gaussian", "sampling": "centre"}


def test_the_rate_is_of_second_order():
    case = Case.parse(GAUSSIAN)
    coarse, fine = (deviation(case.replace({"mesh.cells": [n]}), np.array([1.0]), 0.5)[2] for n in (60, 120))
    assert coarse / fine == pytest.approx(4, rel=0.1)
    energies = [{"kind": "entropy", "epsilon": 1}, {"kind": "potential", "potential": "0.5*x**2"}]
    jko = case.replace({"flow": {"kind": "gradient-flow", "energy": energies}})
    coarse, fine = (deviation(jko.replace({"mesh.cells": [n]}), np.array([1.0]), 0.5)[2] for n in (60, 120))
    assert coarse / fine == pytest.approx(4, rel=0.1)


def test_off_grids_the_score_of_a_gaussian_is_exact_and_the_velocity_of_first_order():
    start = {**GAUSS, "mean": [0.2, 0.1], "covariance": [[0.3, 0], [0, 0.3]], "truncate": 0.5}
    case = Case.read("cases/disc-ou.yaml").replace({"checks": {}, "exact": None, "initial": start})
    ds, mesh = case.replace({"output": {"velocity": True, "score": True}}).run(), case.prepare().mesh
    score = -(mesh.centre - [0.2, 0.1]) / 0.3
    np.testing.assert_allclose(fields(ds, "score", 2), score, atol=1e-8)
    off = np.abs(fields(ds, "v", 2) - (-mesh.centre - 0.5 * score)).max(axis=1)
    assert np.median(off) <= 0.01, "at walls it is not that of the Gaussian, which leaves"


def test_velocity_times_density_is_what_leaves_through_walls():
    """Where a wall absorbs, the velocity points out; by a wind alone it is the wind, also beside the wall."""
    flow = {"kind": "fokker-planck", "epsilon": 0, "flux": {"kind": "upwind"}, "tilt": [1.5]}
    case = Case.parse(GAUSSIAN).replace({"flow": flow, "output": {"velocity": True, "rate": True}})
    ds = case.replace({"walls": {"right": "absorbing"}}).run()
    np.testing.assert_allclose(ds.v_x[-1, 1:], 1.5, rtol=1e-12)
    assert ds.v_x[-1, 0] == pytest.approx(0.75), "half way between the closed wall and the first face"
    leaving = -(ds.rate[-1] * ds.cell_length).sum()
    assert leaving == pytest.approx(float(ds.outflow_right[-1]), rel=1e-12)


def test_where_there_is_no_density_score_and_velocity_are_nan():

    start = {"kind": "expression", "density": "where(abs(x) < 2, 1, 0)"}
    ds = Case.parse(GAUSSIAN).replace({"initial": start}).run()
    outside = np.abs(ds.x) > 2.3
    for name in ("score_x", "v_x"):
        assert np.isnan(ds[name][0, outside]).all(), name
        assert np.isfinite(ds[name][0, np.abs(ds.x) < 1.5]).all(), name
        assert np.isfinite(ds[name][1]).all(), name
    assert np.isfinite(ds.rate).all()


@pytest.mark.parametrize("name", ["fluxes", "velocity", "rate"])
def test_a_flow_without_fluxes_refuses_what_needs_them(name):
    with pytest.raises(CaseError, match=rf"output\.{name}: is for flows .*fokker-planck.*; leave it out"):
        Case.read("cases/transport-translation-2d.yaml").replace({"output": {name: True}})


def test_a_full_tensor_has_no_velocity_on_faces():
    case = Case.read("cases/anisotropic-diffusion.yaml")
    assert "rate" in case.replace({"output": {"rate": True}, "times": {"end": 0.1, "step": 0.1}}).run()
    with pytest.raises(CaseError, match=r"output\.velocity: a full tensor of diffusion moves mass along diagonals"):
        case.replace({"output": {"velocity": True}})


def test_check_counts_the_fields(tmp_path):
    plain, full = ({"fluxes": False}, {"fluxes": True, "velocity": True, "score": True, "rate": True})
    runs = [wind(output=output).prepare() for output in (plain, full)]
    mesh, layouts = runs[0].mesh, [run.layout() for run in runs]
    assert runs[1].memory - runs[0].memory == 32 * 5 * mesh.cells + 40 * mesh.faces
    assert layouts[1].frame_bytes - layouts[0].frame_bytes == 8 * (5 * mesh.cells + 2 * mesh.faces)
