"""Times of the clock: starts other than 0, continuing from a file, and saved times that are listed."""

from __future__ import annotations

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.saves import GeometricSaves
from fvflow.times import Times

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
        ({"save": [0.1, 2.0]}, "have to be between 0 and 1"),
        ({"save": [-0.1]}, "have to be between 0 and 1"),
        ({"save": {"kind": "geometric", "first": 2, "ratio": 2}}, "first 2 is longer"),
        ({"save": {"kind": "geometric", "first": 0.1, "ratio": 1}}, "expected a number > 1"),
        ({"save": {"kind": "geometric", "first": 1e-6, "ratio": 1.000001}}, "further above 1"),
        ({"start": 1}, "end 1 has to be above start 1"),
        ({"start": 2}, "end 1 has to be above start 2"),
        ({"start": 0.95, "step": 0.1}, "step 0.1 is longer than the run, from 0.95 to 1"),
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


OU_FLOW = "epsilon: 0.5, potential: 0.5*x**2"
CLOSED_FORMS = {
    "heat-box": ("epsilon: 0.1", "{kind: exact}", "{kind: heat-box, modes: [2]}", "lower: [0], upper: [1]"),
    "gaussian": (
        OU_FLOW,
        "{kind: gaussian, mean: [1], covariance: [[0.3]]}",
        "{kind: gaussian}",
        "lower: [-6], upper: [6]",
    ),
    "gibbs": (OU_FLOW, "{kind: gibbs}", "{kind: gibbs}", "lower: [-3], upper: [3]"),
    "tilted-box": ("epsilon: 1, potential: -2*x", "{kind: exact}", "{kind: tilted-box}", "lower: [0], upper: [1]"),
}


@pytest.mark.parametrize(
    ("name", "start"),
    [(name, start) for name in CLOSED_FORMS for start in (-0.01, 0.0, 3.0) if (name, start) != ("tilted-box", -0.01)],
)
def test_every_closed_form_is_that_of_the_clock(name, start):
    """The first frame is on it, and the last to the order of the method."""
    flow, initial, exact, box = CLOSED_FORMS[name]
    ds = Case.parse(f"""
mesh: {{kind: box, {box}, cells: [100]}}
flow: {{kind: fokker-planck, {flow}, stepper: {{kind: tr-bdf2}}}}
initial: {initial}
times: {{start: {start}, end: {start + 0.1}, step: 0.005}}
exact: {exact}
""").run()
    assert float(ds.error_l1[0]) <= 1e-12
    assert float(ds.error_l1[-1]) <= 1e-3


@pytest.mark.parametrize(("start", "message"), [(-1.0, "begins at t = -1, and the run at -1"), (-2.0, "start later")])
def test_a_closed_form_before_its_own_beginning_is_refused(start, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(f"""
mesh: {{kind: box, lower: [-3], upper: [3], cells: [60]}}
flow: {{kind: gradient-flow, energy: [{{kind: porous-medium, exponent: 2}}]}}
initial: {{kind: exact}}
times: {{start: {start}, end: 3, step: 0.1}}
exact: {{kind: barenblatt, start: 1}}
""").prepare()


def test_a_closed_form_that_is_negative_at_the_start_is_refused():
    """tilted-box is a density from t = 0 on only."""
    flow, initial, exact, box = CLOSED_FORMS["tilted-box"]
    case = Case.parse(f"""
mesh: {{kind: box, {box}, cells: [100]}}
flow: {{kind: fokker-planck, {flow}}}
initial: {initial}
times: {{start: -0.01, end: 0.1, step: 0.01}}
exact: {exact}
""")
    with pytest.raises(CaseError, match="it has to be >= 0 everywhere"):
        case.prepare()


def test_a_closed_form_that_overflows_before_the_start_is_refused():
    with pytest.raises(CaseError, match="overflows for these parameters"):
        Case.parse("""
mesh: {kind: box, lower: [0], upper: [1], cells: [10]}
flow: {kind: fokker-planck, epsilon: 1}
initial: {kind: exact}
times: {start: -1000, end: 0, step: 1}
exact: {kind: heat-box, modes: [1]}
""").prepare()


def test_a_geodesic_from_a_file_has_a_time_of_its_own(tmp_path):
    Case.parse(OU).write(tmp_path / "first.nc")
    case = Case.parse(f"""
mesh: {{kind: box, lower: [-5], upper: [5], cells: [200]}}
flow: {{kind: transport, intervals: 4, target: {{kind: gaussian, mean: [1], covariance: [[0.3]]}}, accept: true}}
initial: {{kind: file, file: {tmp_path / "first.nc"}, time: 0.5}}
exact: {{kind: quantiles}}
""").replace({"flow.solver": {"kind": "primal-dual", "iterations": 5}})
    ds = case.run()
    np.testing.assert_allclose(ds.time, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert float(ds.error_l1[0]) <= 1e-12


@pytest.mark.parametrize("start", [0.0, -1e4, 1.7e9, 1.7e9 + 0.3, 1.7e9 + 0.7])
def test_a_start_far_from_0_takes_the_same_steps(start):
    """Unix time, where doubles are 2e-7 apart."""
    end = start + 10.0
    times = Times(np.nextafter(end, np.inf), 0.01, 0.1, start)
    assert (times.saves, times.steps) == (100, 1000)
    assert {times.substeps(index) for index in range(1, 101)} == {10}
    assert times.length == pytest.approx(0.01, rel=1e-4)


def test_steady_equations_do_not_see_the_clock():
    """Translation in time: whatever the start, the same densities."""
    for stepper in ("implicit-euler", "tr-bdf2", "chebyshev", "muscl", "split-euler"):
        case = Case.parse(OU).replace({"exact": None, "flow.stepper": {"kind": stepper}})
        here = case.replace({"times": {"end": 1, "step": 0.125}}).run()
        there = case.replace({"times": {"start": 16, "end": 17, "step": 0.125}}).run()
        np.testing.assert_allclose(there.rho, here.rho, rtol=1e-11)
