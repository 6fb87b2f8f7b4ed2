"""Times of the clock: starts other than 0, continuing from a file, and saved times that are listed."""

from __future__ import annotations

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.times import GeometricSaves, Times

DRIVEN = """
mesh: {kind: box, lower: [-2.5], upper: [2.5], cells: [100]}
flow: {kind: fokker-planck, epsilon: 0.1, potential: (x**2-1)**2/4 - 0.3*x*sin(t)}
initial: {kind: gaussian, mean: [-1], covariance: [[0.05]]}
times: {end: 1, step: 0.01, save: 0.5}
"""
OU = """
mesh: {kind: box, lower: [-5], upper: [5], cells: [200]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [1], covariance: [[0.3]]}
times: {end: 1, step: 0.01, save: 0.5}
exact: {kind: gaussian}
"""


def continued(path, **times):
    return Case.parse(DRIVEN).replace({"initial": {"kind": "file", "file": str(path)}, "times": times})


@pytest.mark.parametrize("start", [{}, {"start": 1.0}])
def test_a_run_continued_from_a_file_is_the_single_run(start, tmp_path):
    """With a drift that uses t, it starts at the time of the frame unless another start is given."""
    Case.parse(DRIVEN).write(tmp_path / "first.nc")
    second = continued(tmp_path / "first.nc", end=3, step=0.01, save=0.5, **start).run()
    single = Case.parse(DRIVEN).replace({"times.end": 3}).run()
    np.testing.assert_array_equal(second.time, single.time[2:])
    np.testing.assert_allclose(second.rho, single.rho[2:], rtol=0, atol=1e-12)


def test_from_an_earlier_frame_and_at_another_start(tmp_path):
    Case.parse(DRIVEN).write(tmp_path / "first.nc")
    case = continued(tmp_path / "first.nc", end=3, step=0.01)
    assert case.replace({"initial.time": 0.5}).prepare().initial.time == 0.5
    assert case.replace({"times.start": -2}).prepare().initial.time == -2.0
    steady = case.replace({"flow.potential": "x**2"}).prepare()
    assert steady.initial.time == 0.0, "nothing depends on the clock"
    with pytest.raises(CaseError, match=r"end 1 has to be above start 1: both are times of the clock"):
        case.replace({"times.end": 1}).prepare()
    assert "from t = 1 on" in case.check()["steps"]


def test_a_closed_form_starts_with_the_run():
    """The initial density is that at the start, whatever the clock shows; a drift that moves sees the clock."""
    errors = {}
    for start in (0.0, 3.0):
        case = Case.parse(OU).replace({"times": {"start": start, "end": start + 1, "step": 0.01}})
        errors[start] = float(case.run().error_l1[-1])
    assert errors[3.0] == pytest.approx(errors[0.0], rel=1e-6)
    moving = Case.parse(OU).replace({"flow.potential": "0.5*(x - sin(t))**2"})
    for start in (0.0, 2.0):
        run = moving.replace({"times": {"start": start, "end": start + 1, "step": 0.01}}).run()
        assert float(run.error_l1[-1]) < 5e-4


def test_a_drift_that_is_singular_before_the_start():
    late = Case.parse(DRIVEN).replace({"flow.potential": "x**2*log(t)", "times.start": 0.5})
    assert late.run().time[0] == 0.5
    with pytest.raises(CaseError, match="finite"):
        late.replace({"times.start": 0}).prepare()


@pytest.mark.parametrize("stepper", ["ljko", "evbdf2"])
def test_gradient_flows_and_adaptive_steps_start_anywhere(stepper):
    case = Case.parse("""
mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}
flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2}]}
initial: {kind: gaussian, mean: [0.5], covariance: [[0.3]]}
times: {end: 0.5, step: 0.05, save: 0.25}
""").replace({"flow.stepper": {"kind": stepper}})
    for step in (0.05, {"initial": 0.01, "tolerance": 1e-3}):
        here = case.replace({"times.step": step}).run()
        there = case.replace({"times": {"start": 8, "end": 8.5, "step": step, "save": 0.25}}).run()
        np.testing.assert_array_equal(there.time, here.time + 8)
        np.testing.assert_allclose(there.rho, here.rho, rtol=1e-9)
        assert there.length[-1] == pytest.approx(float(here.length[-1]), rel=1e-9)


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        ((0.0, 0.01, 0.1, 1.0), (0.0, 0.01, 0.1, 1.0)),
        ((0.3,), (0.0, 0.3, 1.0)),
        ((), (0.0, 1.0)),
        (GeometricSaves(0.1, 2.0), (0.0, 0.1, 0.2, 0.4, 0.8, 1.0)),
        (GeometricSaves(0.125, 2.0), (0.0, 0.125, 0.25, 0.5, 1.0)),
        (GeometricSaves(1.0, 2.0), (0.0, 1.0)),
    ],
)
def test_listed_and_geometric_saves(save, expected):
    for start in (0.0, -2.0):
        listed = tuple(start + time for time in save) if isinstance(save, tuple) else save
        times = Times(start + 1.0, 0.05, listed, start)
        np.testing.assert_allclose(times.save_times, [start + time for time in expected], rtol=1e-15, atol=1e-15)
        assert times.steps == sum(times.substeps(i) for i in range(1, times.saves + 1))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"save": [0.2, 0.1]}, "have to rise"),
        ({"save": [0.1, 2.0]}, "end 1|between 0 and 1"),
        ({"save": [-0.1]}, "end 1|between 0 and 1"),
        ({"save": {"kind": "geometric", "first": 2, "ratio": 2}}, "first 2 is longer"),
        ({"save": {"kind": "geometric", "first": 0.1, "ratio": 1}}, "expected a number > 1"),
        ({"save": {"kind": "geometric", "first": 1e-6, "ratio": 1.000001}}, "further above 1"),
        ({"start": 1}, "end 1 has to be above start 1"),
        ({"start": 2}, "end 1 has to be above start 2"),
        ({"start": 0.95, "step": 0.1}, "step 0.1 is longer than the run, from 0.95 to 1"),
        ({"step": {"initial": 0.5, "tolerance": 1e-3, "shortest": 2}}, "shortest 2 is longer than end 1"),
    ],
)
def test_times_that_contradict_each_other_are_refused(times, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(OU).replace({"times": {"end": 1, "step": 0.05, **times}})


def test_the_result_of_a_late_start_can_be_read_and_drawn(tmp_path):
    path = tmp_path / "late.nc"
    Case.parse(DRIVEN).replace({"times": {"start": 1, "end": 2, "step": 0.1, "save": [1.1, 1.5]}}).write(path)
    with fvflow.read(path) as ds:
        np.testing.assert_allclose(ds.time, [1.0, 1.1, 1.5, 2.0])
        from fvflow import plot

        plot.save(ds, tmp_path / "late.png", None)
