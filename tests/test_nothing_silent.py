"""Runs that went wrong without a word, each with the right value or the refusal."""

from __future__ import annotations

import numpy as np
import pytest

from fvflow.case import Case
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
    assert any("were damped" in remark for remark in simulation.remarks())
    assert not simulation.statistics.fallbacks
    undamped = case.replace({"flow.stepper.warmup": 0}).prepare()
    list(undamped.frames())
    assert undamped.figures()["variation_growth"] > 0.1


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e5])
def test_the_unit_of_mass_does_not_decide_how_midpoint_starts(scale):
    """u -> c u solves the equation with the coefficient divided by c."""
    case = Case.parse(RINGS)
    scaled = case.replace({"flow.energy.0.coefficient": 1 / scale, "initial.mass": scale})
    for one, other in zip(every_state(case), every_state(scaled), strict=True):
        assert np.abs(other.density / scale - one.density).sum() <= 1e-8 * one.density.sum()


def test_smooth_data_need_no_damped_start():
    """A smooth density that a well gathers, so that the total variation grows."""
    well = Case.parse("""
mesh: {kind: box, lower: [-4], upper: [4], cells: [100]}
flow:
  kind: gradient-flow
  energy: [{kind: entropy, epsilon: 0.1}, {kind: potential, potential: x**2}]
  stepper: {kind: midpoint}
initial: {kind: gaussian, mean: [0], covariance: [[0.6]]}
times: {end: 1, step: 0.05}
""")
    simulation = well.prepare()
    every_state(well, simulation)
    assert simulation.statistics.damped == 0
    assert 0 < simulation.figures()["variation_growth"] < 0.1
    assert simulation.remarks() == []


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
