"""What crosses each face between saved times, stored by `output: {fluxes: true}`."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
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


@pytest.mark.parametrize("stepper", [kind.kind for kind in get_args(GradientStepper)])
def test_every_gradient_stepper_tells_what_crosses_each_face(stepper):
    case = Case.parse(TRAP).replace({"flow.stepper": {"kind": stepper}})
    ds = case.run()
    assert imbalance(case, ds) <= 2e-15
    np.testing.assert_array_equal(ds.rho, case.replace({"output": {}}).run().rho)


@pytest.mark.parametrize("stepper", ["evbdf2", "jko", "midpoint"])
def test_a_front_that_is_held_back_counts_as_what_has_crossed(stepper):
    """In vacuum the fluxes of a step are limited to what the cells hold."""
    energy = [{"kind": "porous-medium", "exponent": 2}]
    flow = {"kind": "gradient-flow", "energy": energy, "stepper": {"kind": stepper}}
    initial = {"kind": "expression", "density": "0.75*max(1 - x**2, 0)", "mass": 1}
    case = Case.parse(TRAP).replace({"flow": flow, "initial": initial})
    assert imbalance(case, case.run()) <= 2e-15


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
    with fvflow.case.continuation(tmp_path / "r.yaml", output=tmp_path / "r.nc") as found:
        found.case.write(found.path, checkpoint=found.checkpoint, lock=found.lock)
    with fvflow.read(tmp_path / "r.nc") as ds:
        np.testing.assert_array_equal(np.isfinite(ds.flux_mean).all("face")[1:], known)
