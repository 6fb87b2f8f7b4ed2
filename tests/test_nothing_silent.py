"""Runs that went wrong without a word, each with the right value or the refusal."""

from __future__ import annotations

import re
from typing import get_args

import numpy as np
import pytest
import yaml

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.fluxes import Flux
from tests.scenes import every_state

RINGS = """
mesh: {kind: box, lower: [-1], upper: [1], cells: [100]}
flow: {kind: gradient-flow, energy: [{kind: porous-medium, exponent: 2}], stepper: {kind: midpoint}}
initial: {kind: uniform, lower: [-0.25], upper: [0.25]}
times: {end: 0.004, step: 0.001, save: 0.001}
"""


@pytest.mark.parametrize("mobility", ["limited", "centred"])
def test_midpoint_damps_its_start_from_rough_data(mobility):
    """The exact density is an even hump; undamped, its total variation grows from 4 to 7."""
    case = Case.parse(RINGS).replace({"flow.stepper.mobility": mobility})
    simulation = case.prepare()
    states = every_state(case, simulation)
    for state in states[1:]:
        assert np.abs(np.diff(state.density)).sum() <= 4.05
        assert np.abs(state.density - state.density[::-1]).max() <= 1e-10
    assert 1 <= simulation.statistics.damped <= 4
    assert any("damped at the start" in remark for remark in simulation.remarks())
    assert not simulation.statistics.fallbacks
    undamped = case.replace({"flow.stepper.warmup": 0}).prepare()
    list(undamped.frames())
    assert undamped.figures()["variation_growth"] > 0.1


SAW_TOOTH = "{kind: expression, density: 1 + sign(sin(20*x))*0.9, mass: integral}"
ROUGH = [
    ("[{kind: porous-medium, exponent: 3}, {kind: potential, potential: x**2}]", SAW_TOOTH),
    ("[{kind: entropy, epsilon: 1}]", "{kind: spike, at: [0.003]}"),
    ("[{kind: porous-medium, exponent: 0.5}]", "{kind: uniform, lower: [-0.4], upper: [0.1]}"),
]


@pytest.mark.parametrize(("energy", "initial"), ROUGH)
def test_midpoint_keeps_no_roughness_that_should_vanish(energy, initial):
    """Undamped, the total variation of these falls, but to twice and up to fifty times what it should be."""

    def end(stepper, step):
        case = Case.parse(f"""
mesh: {{kind: box, lower: [-1], upper: [1], cells: [100]}}
flow: {{kind: gradient-flow, energy: {energy}, stepper: {{kind: {stepper}}}}}
initial: {initial}
times: {{end: 0.05, step: {step}}}
""")
        simulation = case.prepare()
        return every_state(case, simulation)[-1].density, simulation.statistics.damped

    fine, _ = end("ljko", 0.01 / 32)
    (coarse, _), (midpoint, damped) = end("ljko", 0.01), end("midpoint", 0.01)
    assert 2 <= damped <= 4
    assert np.abs(np.diff(midpoint)).sum() <= 1.1 * np.abs(np.diff(fine)).sum()
    assert np.abs(midpoint - fine).sum() <= 0.7 * np.abs(coarse - fine).sum()


@pytest.mark.parametrize(("diffusion", "step"), [(0.1, 0.05), (0.02, 0.1), (0.3, 0.1)])
def test_smooth_data_need_no_damped_start(diffusion, step):
    """A smooth density that a well gathers, so that the total variation grows, in each method by another amount."""
    well = Case.parse("""
mesh: {kind: box, lower: [-4], upper: [4], cells: [100]}
flow:
  kind: gradient-flow
  energy: [{kind: entropy, epsilon: 0.1}, {kind: potential, potential: x**2}]
  stepper: {kind: midpoint}
initial: {kind: gaussian, mean: [0], covariance: [[0.6]]}
times: {end: 1, step: 0.05}
""").replace({"flow.energy.0.epsilon": diffusion, "times.step": step})
    simulation = well.prepare()
    every_state(well, simulation)
    assert simulation.statistics.damped == 0
    assert 0 < simulation.figures()["variation_growth"] < 0.2
    assert simulation.remarks() == []


def test_smooth_data_whose_variation_grows_faster_in_the_undamped_step_are_not_damped():
    case = Case.parse("""
mesh: {kind: box, lower: [-1], upper: [1], cells: [100]}
flow:
  kind: gradient-flow
  energy: [{kind: porous-medium, exponent: 2, coefficient: 0.042}, {kind: potential, potential: 3*x**2}]
  stepper: {kind: midpoint}
initial: {kind: expression, density: exp(-(x - 0.2)**2/0.28), mass: 1}
times: {end: 0.172, step: 0.043}
""")
    simulation = case.prepare()
    first, second, *_ = every_state(case, simulation)
    robust = every_state(case, case.replace({"flow.stepper": {"kind": "ljko"}, "times.step": 0.0215}).prepare())[2]
    variations = [np.abs(np.diff(state.density)).sum() for state in (first, robust, second)]
    assert variations[0] < variations[1] < variations[2] / 1.01
    assert simulation.statistics.damped == 0


def test_each_fallback_has_its_reason():
    simulation = Case.parse("""
mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}
flow:
  kind: gradient-flow
  energy: [{kind: porous-medium, exponent: 3}, {kind: potential, potential: x**2}]
  stepper: {kind: jko, intervals: 2}
initial: {kind: uniform, lower: [-1], upper: [1]}
times: {end: 0.04, step: 0.01}
""").prepare()
    list(simulation.frames())
    count = simulation.figures()["fallbacks"]
    assert count > 0
    assert simulation.statistics.reasons().endswith(f"({count})")
    assert f"{count} of 4 steps were taken by a fallback method" in simulation.remarks()[0]
    assert "negative" in simulation.remarks()[0] or "convergence" in simulation.remarks()[0]


PECLET = """
mesh: {kind: box, lower: [0, 0], upper: [12, 12], cells: [60, 60]}
flow:
  kind: fokker-planck
  velocity: ["(e**2 + x**2)/((1 + x**2)*(1 + y)) - a*x", "(b - y/(1 + c*x**2))/tau"]
  epsilon: 0.001
parameters: {e: 0.1, a: 0.1, b: 0.1, c: 100, tau: 5.0}
initial: {kind: gaussian, mean: [3, 3], covariance: [[0.3, 0], [0, 0.3]]}
times: {end: 2, step: 0.1}
"""


def test_cells_that_do_not_resolve_the_drift_are_told_with_the_extra_diffusion_and_the_cure():
    case = Case.parse(PECLET)
    report = case.check()
    assert "order 2 in space at Peclet numbers below 2" in report["method"]
    assert "first order in space there, with numerical diffusion" in report["Peclet number"]
    assert "use stepper muscl, or cells" in report["Peclet number"]
    simulation = case.prepare()
    every_state(case, simulation)
    (remark,) = simulation.remarks()
    assert remark.startswith("the Peclet number |v| d/epsilon was above 2 at ")
    assert {"peclet", "peclet_share", "numerical_diffusion"} <= simulation.figures().keys()
    limited = case.replace({"flow.stepper": {"kind": "muscl"}}).prepare()
    every_state(case, limited)
    assert limited.remarks() == []
    assert "Peclet number" not in case.replace({"flow.stepper": {"kind": "muscl"}}).check()


@pytest.mark.parametrize(
    ("velocity", "times", "largest"),
    [("5*sin(pi*t)**2", "{end: 1, step: 0.005}", 5.0), ("1 + 20*exp(-(x - 5)**2)", "{end: 6, step: 0.01}", 21.0)],
)
def test_a_drift_that_the_mass_meets_between_two_frames_is_seen(velocity, times, largest):
    """A drift that is 0 at every saved time, and one in places that the mass only passes through."""
    case = Case.parse(f"""
mesh: {{kind: box, lower: [0], upper: [10], cells: [100]}}
flow: {{kind: fokker-planck, velocity: ["{velocity}"], epsilon: 0.05}}
initial: {{kind: gaussian, mean: [2], covariance: [[0.05]]}}
times: {times}
""")
    simulation = case.prepare()
    list(simulation.frames())
    assert simulation.figures()["peclet"] == pytest.approx(largest * 0.1 / 0.05, rel=0.01)
    assert any(remark.startswith("the Peclet number |v| d/epsilon was above 2") for remark in simulation.remarks())


@pytest.mark.parametrize("flux", get_args(Flux))
def test_the_numerical_diffusion_of_a_flux_is_what_a_travelling_density_shows(flux):
    """In a constant velocity the variance grows at 2 (eps + numerical diffusion), exactly, for every two-point flux."""
    case = Case.parse(f"""
mesh: {{kind: box, lower: [-10], upper: [14], cells: [80]}}
flow: {{kind: fokker-planck, epsilon: 0.1, velocity: [1.5], flux: {{kind: {flux.kind}}}, stepper: {{kind: tr-bdf2}}}}
initial: {{kind: gaussian, mean: [0], covariance: [[1]]}}
times: {{end: 1, step: 0.01}}
""")
    simulation = case.prepare()
    first, *_, last = every_state(case, simulation)
    centre, mass = simulation.mesh.centre[:, 0], simulation.mesh.volume[0]
    before, after = (mass * state.density @ centre**2 - (mass * state.density @ centre) ** 2 for state in (first, last))
    found = (after - before) / (2 * 0.1) - 1.0
    assert simulation.statistics.resolution.diffusion == pytest.approx(found, rel=1e-3, abs=1e-3)
    assert simulation.statistics.resolution.peclet == pytest.approx(1.5 * 0.3 / 0.1)


def test_a_drift_that_is_resolved_is_not_blamed():
    case = Case.parse(PECLET).replace({"flow.epsilon": 1.0})
    simulation = case.prepare()
    every_state(case, simulation)
    assert simulation.remarks() == []
    assert "above" not in case.check()["Peclet number"]


@pytest.mark.parametrize("stepper", ["implicit-euler", "crank-nicolson", "tr-bdf2"])
@pytest.mark.parametrize(
    "flow",
    ["epsilon: 0.8, potential: 0.5*x**2", "epsilon: 0.3, potential: (x**2-1)**2", "epsilon: 0.1, velocity: [sin(x)/2]"],
)
def test_the_error_in_time_is_estimated(flow, stepper):
    """Against the difference from a run in steps of an eighth."""
    case = Case.parse(f"""
mesh: {{kind: box, lower: [-5], upper: [5], cells: [100]}}
flow: {{kind: fokker-planck, {flow}, stepper: {{kind: {stepper}}}}}
initial: {{kind: gaussian, mean: [1], covariance: [[0.3]]}}
times: {{end: 0.8, step: 0.005}}
""")
    simulation = case.prepare()
    coarse = every_state(case, simulation)[-1].density
    fine = every_state(case.replace({"times.step": 0.005 / 8}))[-1].density
    order = 1 if stepper == "implicit-euler" else 2
    error = simulation.mesh.volume @ np.abs(coarse - fine) / (1 - 8.0**-order)
    assert simulation.figures()["time_error"] == pytest.approx(error, rel=0.1)


SHEARED = "{kind: fokker-planck, epsilon: 0.3, velocity: [1 - x/2 + sin(3*y), x + cos(y)], stepper: "
MOVING = '{kind: fokker-planck, epsilon: 0.3, velocity: ["2*cos(20*t) - x"], stepper: '
FALLING = "{kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.3}, {kind: potential, potential: WELL}], stepper: "
ACCOMPANIED = {
    "split": SHEARED + "{kind: split-euler}}",
    "split-crank-nicolson": SHEARED + "{kind: split-crank-nicolson}}",
    "moving": MOVING + "{kind: implicit-euler}}",
    "moving-tr-bdf2": MOVING + "{kind: tr-bdf2}}",
    "jko": FALLING + "{kind: jko, intervals: 1}}",
    "midpoint": FALLING + "{kind: midpoint}}",
    "evbdf2": FALLING + "{kind: evbdf2}}",
    "implicit-euler": "{kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.3}, "
    "{kind: potential, potential: WELL}], stepper: {kind: implicit-euler}}",
    "ljko": "{kind: gradient-flow, energy: [{kind: porous-medium, exponent: 2}, {kind: potential, potential: WELL}]}",
}


@pytest.mark.parametrize("name", sorted(ACCOMPANIED.keys() - {"evbdf2"}))
def test_the_error_in_time_is_estimated_by_a_companion(name):
    """Within a factor of two of the difference from a run in steps of an eighth, the largest at a saved time."""
    two = name.startswith("split")
    box = "lower: [-3, -3], upper: [3, 3], cells: [20, 20]" if two else "lower: [-3], upper: [3], cells: [60]"
    start = "mean: [0.5, 0], covariance: [[0.3, 0], [0, 0.3]]" if two else "mean: [0.5], covariance: [[0.3]]"
    case = Case.parse(f"""
mesh: {{kind: box, {box}}}
flow: {ACCOMPANIED[name].replace("WELL", "(x**2-1)**2/4")}
initial: {{kind: gaussian, {start}}}
times: {{end: 0.25, step: 0.01, save: 0.05}}
""")
    simulation = case.prepare()
    coarse, fine = every_state(case, simulation)[5::5], every_state(case.replace({"times.step": 0.01 / 8}))[40::40]
    off = (simulation.mesh.volume @ np.abs(a.density - b.density) for a, b in zip(coarse, fine, strict=True))
    error = max(off) / (1 - 8.0**-case.flow.order_in_time)
    found = simulation.figures()["time_error"]
    assert 0.5 * error < found < 2 * error
    assert case.check()["error in time"] == "estimated during the run"


def test_two_more_steps_beside_nine_are_dear():
    case = Case.parse(MOVED)
    few = case.replace({"times.end": 0.09, "times.save": 0.09}).prepare()
    list(few.frames())
    assert "time_error" not in few.figures()
    told = "not estimated in fewer than 10 steps; compare with a run in steps half as long"
    assert few.untold_error_in_time() == told == few.flow.error_in_time_note(few.problem, few.times)


MOVED = f"""
mesh: {{kind: box, lower: [-3], upper: [3], cells: [60]}}
flow: {MOVING}{{kind: implicit-euler}}}}
initial: {{kind: gaussian, mean: [0.5], covariance: [[0.3]]}}
times: {{end: 0.3, step: 0.01, save: 0.1}}
"""


def test_a_companion_goes_on_from_a_checkpoint_to_the_last_bit():
    whole, parts = (Case.parse(MOVED).prepare() for _ in range(2))
    every_state(Case.parse(MOVED), whole)
    run = parts.flow.states(parts.problem, parts.initial, parts.times)
    first, second = (parts.flow.error_in_time(parts.problem, parts.times) for _ in range(2))
    saved = set(parts.times.save_times)
    for state in run:
        watch = first if state.step <= 13 else second
        watch(state)
        if state.time in saved:
            watch.saved()
        if state.step == 13:  # between two steps of the companion and between two saves
            second.restore(first.to_tree())
    assert second.largest == whole.figures()["time_error"]


def test_an_error_in_time_that_longer_steps_do_not_show_is_told_as_that():
    """Of a start that is smooth for the run and rough in steps five times as long."""
    case = Case.parse("""
mesh: {kind: box, lower: [-4], upper: [4], cells: [116]}
flow:
  kind: gradient-flow
  energy: [{kind: entropy, epsilon: 0.67}, {kind: potential, potential: 0.3*cos(3*x)}]
  stepper: {kind: midpoint}
initial: {kind: gaussian, mean: [0], covariance: [[0.3]]}
times: {end: 3, step: 0.15}
""")
    simulation = case.prepare()
    every_state(case, simulation)
    assert "time_error" not in simulation.figures()
    assert any(
        remark.startswith("the error in time is not estimated: a step of 0.75, by which it would be seen, was damped")
        for remark in simulation.remarks()
    )


def test_a_method_whose_longer_steps_tell_little_of_its_error_says_so():
    case = Case.read("cases/ou-1d-evbdf2.yaml")
    assert case.check()["error in time"].startswith("not estimated: longer steps of this method do not tell it")
    assert "time_error" not in case.replace({"times.end": 0.2}).run().attrs


def test_a_run_of_fallbacks_has_the_order_of_the_fallback(monkeypatch):
    """evbdf2 whose every step is left to ljko."""
    from fvflow.errors import NumericsError
    from fvflow.steppers import evbdf2

    def fail(*_):
        raise NumericsError("no convergence")

    monkeypatch.setattr(evbdf2, "_extrapolated", fail)
    monkeypatch.setattr(evbdf2.EVBDF2, "error_fault", "")
    test_the_error_in_time_is_estimated_by_a_companion("evbdf2")


def test_steps_that_are_too_long_are_told():
    case = Case.parse("""
mesh: {kind: box, lower: [-5], upper: [5], cells: [100]}
flow: {kind: fokker-planck, epsilon: 0.3, velocity: [1.0]}
initial: {kind: gaussian, mean: [-2], covariance: [[0.3]]}
times: {end: 3, step: 0.3}
""")
    simulation = case.prepare()
    every_state(case, simulation)
    assert any("error in time is estimated at" in remark for remark in simulation.remarks())
    moving = case.replace({"flow.velocity": ["1 + 0*t"]}).prepare()
    every_state(case, moving)
    assert moving.figures()["time_error"] > 0.05
    assert any("error in time is estimated at" in remark for remark in moving.remarks())


def test_positivity_is_judged_by_the_steps_taken():
    case = Case.parse("""
mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [0], covariance: [[0.3]]}
times: {end: 0.05, step: {initial: 1.0e-4, tolerance: 1.0e-7}}
""")
    simulation = case.prepare()
    assert simulation.positivity().startswith("not guaranteed: step 0.05 is above")
    every_state(case, simulation)
    assert simulation.positivity().startswith(f"guaranteed: step {simulation.statistics.longest_step:g} is at most")
    long = case.replace({"times.step": 0.05}).prepare()
    every_state(case, long)
    assert long.positivity().endswith("all the same the density stayed >= 0")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"boundary": "{a: 1}"}, "unknown key; walls are closed unless"),
        ({"flow.boundary_conditions": "1"}, "unknown key; walls are closed unless"),
        ({"periodic": "[x]"}, r"unknown key; did you mean mesh\.periodic\?"),
        ({"flow.periodic": "[x]"}, r"unknown key; axes are periodic by `mesh: \{kind: box, \.\.\., periodic: \[x\]\}`"),
        ({"flow.diffusivity": "1"}, "the coefficient of diffusion is the number `epsilon`"),
        ({"flow.source": "1"}, "unknown key; the mass is conserved"),
        ({"epsilon": "3"}, r"--set epsilon=3: unknown key; did you mean flow\.epsilon\?"),
        ({"step": "0.1"}, r"did you mean times\.step\?"),
        (
            {"flow.stepper": "{kind: ljko}"},
            r"is for flow gradient-flow: write flow: \{kind: gradient-flow, energy: \.\.\.",
        ),
        ({"flow.stepper": "{kind: muscle}"}, 'did you mean "muscl"'),
        ({"initial": "{kind: delta, at: [0]}"}, 'unknown kind delta; did you mean "spike"'),
        ({"initial": "{kind: normal}"}, 'did you mean "gaussian"'),
        ({"mesh.kind": "grid"}, 'did you mean "box"'),
    ],
)
def test_what_other_programs_call_it_leads_to_what_it_is_here(setting, message):
    with pytest.raises(CaseError, match=message):
        Case.read("cases/ou-1d.yaml", setting)


@pytest.mark.parametrize("text", ["mesh:\n\tkind: box\n", "mesh: {kind: box,\n\tcells: [3]}\nflow:\n\tkind: a\n"])
def test_a_tab_is_named(text):
    with pytest.raises(CaseError, match=r"a tab; indent by spaces"):
        Case.parse(text)


def test_a_mesh_that_carries_another_measure_is_refused():
    import fipy

    grid = fipy.CylindricalGrid1D(nr=5, dr=0.2, origin=((-0.5,),))  # no radius
    with pytest.raises(CaseError, match="carries another measure"):
        fvflow.from_fipy(grid)


TRAVELLING = """
mesh: {kind: box, lower: [-10], upper: [14], cells: [240]}
flow: {kind: fokker-planck, epsilon: 0.1, velocity: [1.0]}
initial: {kind: gaussian, mean: [0], covariance: [[1]]}
times: {end: 0.5, step: 0.05}
"""


@pytest.mark.parametrize(
    ("flux", "peclet", "told"),
    [
        ("scharfetter-gummel", 0.5, ""),
        ("scharfetter-gummel", 1.9, ""),
        ("scharfetter-gummel", 20, "first order in space there, with numerical diffusion up to"),
        ("upwind", 0.05, ""),
        ("upwind", 1.9, "upwinding adds a diffusion .v. d/2, 0.95 times epsilon on average"),
        ("upwind", 20, "upwinding adds a diffusion .v. d/2, 10 times epsilon on average"),
        ("centred", 1.9, ""),
        ("centred", 20, "not monotone there, so that the density may oscillate"),
        ("square-root", 1.9, ""),
        ("square-root", 20, "rates of the square-root flux are exp.P/2., too large"),
    ],
)
def test_every_flux_says_what_an_unresolved_drift_means_for_it(flux, peclet, told):
    case = Case.parse(TRAVELLING).replace({"flow.flux": {"kind": flux}, "flow.velocity": [peclet]})
    simulation = case.prepare()
    every_state(case, simulation)
    remarks = [remark for remark in simulation.remarks() if "Peclet" in remark]
    assert bool(remarks) == bool(told)
    if told:
        assert re.search(told, remarks[0])
        assert re.search(told, case.check()["Peclet number"])
        assert "cells 10 times as small" in remarks[0] or flux == "upwind"
        assert simulation.figures()["numerical_diffusion"] == pytest.approx(simulation.statistics.resolution.diffusion)


def test_a_drift_that_is_just_resolved_is_resolved():
    told = Case.parse(TRAVELLING).replace({"flow.velocity": [0.1 * 20 * (1 + 1e-15)]}).check()["Peclet number"]
    assert told == "at most 2 at t = 0 where there is mass (|v| d/epsilon over a face)"


def test_a_stepper_that_the_flow_refuses_is_no_advice():
    case = Case.parse(TRAVELLING).replace({"flow.velocity": [20], "flow.kind": "backward", "flow.final": "x"})
    assert case.check()["Peclet number"].endswith("use cells 10 times as small")


def test_a_mesh_that_nobody_can_make_is_no_advice():
    case = Case.parse(TRAVELLING).replace({"flow.epsilon": 1e-9})
    advice = case.check()["Peclet number"]
    assert advice.endswith("use stepper muscl")
    assert "times as small" not in advice


def test_a_run_that_has_relaxed_is_not_called_exact():
    """The estimate is the largest of all saved times."""
    case = Case.parse("""
mesh: {kind: box, lower: [-5], upper: [5], cells: [100]}
flow: {kind: fokker-planck, epsilon: 0.8, potential: 0.5*x**2}
initial: {kind: gaussian, mean: [2], covariance: [[0.3]]}
times: {end: 20, step: 0.5, save: 0.5}
exact: {kind: gaussian}
""")
    simulation = case.prepare()
    errors = [frame.diagnostics["error_l1"] for frame in simulation.frames()]
    assert max(errors) > 0.1
    assert 0.5 * max(errors) < simulation.figures()["time_error"] < 5 * max(errors)
    assert any("error in time" in remark for remark in simulation.remarks())


def test_a_density_that_becomes_negative_is_told():
    case = Case.parse(TRAVELLING).replace({"flow.stepper": {"kind": "crank-nicolson"}})
    case = case.replace({"initial": {"kind": "spike", "at": [0.0]}, "times.step": 0.25})
    simulation = case.prepare()
    every_state(case, simulation)
    assert any("the density became negative, down to -" in remark for remark in simulation.remarks())
    assert not any("second order" in remark for remark in simulation.remarks()), "it is one"
    assert simulation.figures()["variation_growth"] > 0.0


def test_a_warm_up_that_was_asked_for_is_no_remark():
    case = Case.parse(RINGS).replace({"flow.stepper.warmup": 3})
    simulation = case.prepare()
    every_state(case, simulation)
    assert simulation.remarks() == []


@pytest.mark.parametrize("box", [("[-18]", "[0]"), ("[-6]", "[7]"), ("[7]", "[9]")])
def test_a_uniform_density_that_sticks_out_is_refused(box):
    uniform = f"{{kind: uniform, lower: {box[0]}, upper: {box[1]}}}"
    with pytest.raises(CaseError, match="% of the density is outside the mesh"):
        Case.read("cases/ou-1d.yaml").replace({"exact": None, "checks": {}}).replace(
            {"initial": yaml.safe_load(uniform)}
        ).prepare()


STEADY = """
mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}
flow: {kind: stationary, potential: x**4/4, epsilon: 0.05}
"""


@pytest.mark.parametrize("kind", ["stationary", "spectrum"])
def test_a_case_without_an_initial_density_is_told_nothing_of_one(kind):
    case = Case.parse(STEADY).replace({"flow.kind": kind})
    report = case.check()
    assert "initial density" not in report
    assert re.fullmatch(
        r"at most [\d.]+ \(\|v\| d/epsilon over a face\), above 2 in places; .*", report["Peclet number"]
    )
    ds = case.run()
    assert not [name for name in ds.attrs if name.startswith("initial")]
    assert "initial density" in case.replace({"initial": {"kind": "uniform"}}).check()


@pytest.mark.parametrize("flux", get_args(Flux))
@pytest.mark.parametrize("kind", ["stationary", "fokker-planck"])
def test_a_cure_can_be_followed(flux, kind):
    """Only a flow in steps has a stepper, and no flux is its own cure."""
    text = f"""
mesh: {{kind: box, lower: [-3], upper: [3], cells: [24]}}
flow: {{kind: {kind}, potential: 10*x, epsilon: 0.9, flux: {{kind: {flux.kind}}}}}
initial: {{kind: uniform}}
"""
    case = Case.parse(text + ("times: {end: 0.1, step: 0.1}" if kind == "fokker-planck" else ""))
    if kind == "stationary" and not flux.monotone:
        with pytest.raises(CaseError, match="use flux scharfetter-gummel or a finer mesh"):
            case.prepare()
        return
    sentence = case.check()["Peclet number"]
    assert ("stepper muscl" in sentence) == (kind == "fokker-planck" and flux.kind != "upwind")
    assert f"use flux {flux.kind}" not in sentence
    assert "; use " in sentence


def test_the_drift_of_the_square_root_flux_is_told():
    """At P = 5 the density travels at sinh(2.5)/2.5 = 2.42 times the velocity."""
    case = Case.parse("""
mesh: {kind: box, lower: [-10], upper: [20], cells: [60]}
flow: {kind: fokker-planck, epsilon: 0.2, velocity: [2], flux: {kind: square-root}, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [0], covariance: [[2]]}
times: {end: 1, step: 0.01}
""")
    simulation = case.prepare()
    first, *_, last = every_state(case, simulation)
    mean = [simulation.mesh.volume @ (state.density * simulation.mesh.centre[:, 0]) for state in (first, last)]
    assert (mean[1] - mean[0]) / 2 == pytest.approx(np.sinh(2.5) / 2.5, rel=1e-3)
    assert "the drift is (2 epsilon/d) sinh(P/2) for v, up to 2.42 times it" in simulation.remarks()[0]


@pytest.mark.parametrize(
    ("stepper", "velocity", "told"),
    [
        ("implicit-euler", "1", "estimated during the run"),
        ("implicit-euler", "t", "estimated during the run"),
        ("split-euler", "1", "estimated during the run"),
        ("split-crank-nicolson", "t", "estimated during the run"),
        ("muscl", "1", "not estimated: its substeps are those that cfl allows; compare with a run at half the cfl"),
        ("chebyshev", "1", "none: the method is exact in time"),
    ],
)
def test_check_says_whether_the_error_in_time_is_estimated(stepper, velocity, told):
    case = Case.parse(f"""
mesh: {{kind: box, lower: [-6], upper: [6], cells: [60]}}
flow: {{kind: fokker-planck, epsilon: 1, velocity: ["{velocity}"], stepper: {{kind: {stepper}}}}}
initial: {{kind: gaussian, mean: [0], covariance: [[1]]}}
times: {{end: 0.4, step: 0.02}}
""")
    assert case.check()["error in time"].startswith(told)
    simulation = case.prepare()
    list(simulation.frames())
    assert ("time_error" in simulation.figures()) == (told == "estimated during the run")


def test_the_uncertainty_of_a_gap_is_at_least_that_of_a_double():
    spectrum = Case.parse(STEADY).replace({"flow.kind": "spectrum", "flow.epsilon": 1.0}).run()
    assert np.finfo(float).eps <= spectrum.attrs["gap_error"] < 1e-8


def test_the_advice_to_keep_the_integral_of_a_target_can_be_followed():
    case = Case.parse("""
mesh: {kind: box, lower: [0], upper: [1], cells: [20]}
flow: {kind: transport, intervals: 8, target: {kind: expression, density: 2 + x - x}}
initial: {kind: gaussian, mean: [0.5], covariance: [[0.01]]}
""")
    (remark,) = case.prepare().remarks()
    assert "`mass: integral`, with `mass: 2` in the initial density, keeps it" in remark
    with pytest.raises(CaseError, match="mass is conserved: set the same mass in both"):
        case.replace({"flow.target.mass": "integral"}).prepare()
    assert case.replace({"flow.target.mass": "integral", "initial.mass": 2}).prepare().remarks() == []


def test_a_time_that_a_file_lacks_is_named_with_all_its_digits(tmp_path):
    changes = {"flow.kind": "fokker-planck", "initial": {"kind": "uniform"}, "times": {"end": 1, "step": 0.5}}
    case = Case.parse(STEADY).replace(changes)
    case.write(tmp_path / "one.nc")
    start = {"kind": "file", "file": str(tmp_path / "one.nc"), "time": 1.0000001}
    with pytest.raises(CaseError, match=r"has no time 1.0000001; the nearest is 1,"):
        case.replace({"initial": start}).prepare()


def test_an_infinite_energy_has_its_remark():
    case = Case.parse("""
mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}
flow: {kind: fokker-planck, epsilon: 0.1, potential: 2*x**2, flux: {kind: centred}, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [0.5], covariance: [[0.2]]}
times: {end: 1, step: 0.1}
""")
    simulation = case.prepare()
    list(simulation.frames())
    assert simulation.figures()["energy"] == np.inf
    assert any("so that its energy is infinite" in remark for remark in simulation.remarks())


def test_a_parameter_that_is_set_at_the_top_is_found():
    case = Case.parse(STEADY).replace({"parameters": {"tau": 1.0}})
    with pytest.raises(CaseError, match=r"unknown key; did you mean parameters\.tau\?"):
        case.replace({"tau": 3})
