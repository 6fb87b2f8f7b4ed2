"""Evolution variational inequality and contraction where W2 is a proved interval."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.continuation import continuation
from fvflow.energies import Convexity
from fvflow.energies.convexity import kernel_modulus, least_curvature
from fvflow.errors import CaseError
from fvflow.evi_bounds import EviBounds, SignCount
from fvflow.fields import Expression, Kernel
from fvflow.mesh import Box, Graded
from fvflow.wasserstein import distance_1d
from tests.resume_cases import Stop, Stopped

OU = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "potential", "potential": "0.5*x**2 + y**2"}]
TEXT = """
mesh: {kind: box, lower: [-3, -3], upper: [3, 3], cells: [14, 14]}
flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}]}
initial: {kind: gaussian, mean: [0.6, -0.3], covariance: [[0.3, 0], [0, 0.2]]}
times: {end: 0.6, step: 0.2}
output: {evi: true}
"""


def plane(energy=OU, cells=14, **changes):
    return Case.parse(TEXT).replace({"flow.energy": energy, "mesh.cells": [cells, cells], **changes})


def figures(case):
    simulation = case.prepare()
    list(simulation.frames())
    return simulation.figures()


def line(potential="0.5*x**2", **changes):
    box = {"kind": "box", "lower": [-5], "upper": [5], "cells": [100]}
    energy = [{"kind": "entropy", "epsilon": 0.8}, {"kind": "potential", "potential": potential}]
    initial = {"kind": "gaussian", "mean": [1.0], "covariance": [[0.5]]}
    return plane(energy).replace({"mesh": box, "initial": initial, "times": {"end": 0.4, "step": 0.1}, **changes})


@pytest.mark.parametrize("kind", ["ljko", "jko"])
def test_every_sign_of_ornstein_uhlenbeck_is_proved(kind):
    """lambda = 1, the lesser curvature; the defect is about tau W2^2/2 below 0, which is wider than the interval."""
    found = figures(plane(**{"flow.stepper": {"kind": kind}, "times.end": 0.4}))
    assert found["convexity"] == pytest.approx(1.0, rel=1e-9)
    for name in ("evi", "contraction"):
        assert (found[f"{name}_violated"], found[f"{name}_satisfied"], found[f"{name}_undecided"]) == (0, 2, 0)
        assert found[f"{name}_defect_lower"] <= found[f"{name}_defect_upper"] <= 0


@pytest.mark.parametrize("kind", ["Ornstein-Uhlenbeck", "porous medium"])
def test_signs_are_proved_wherever_the_defect_exceeds_the_interval(kind, monkeypatch):
    """In ten steps, until Ornstein-Uhlenbeck is near rest, where W2 is much less than a cell and the defect smaller."""
    seen, defect = [], EviBounds._defect

    def kept(*args):
        seen.append(defect(*args))
        return seen[-1]

    monkeypatch.setattr(EviBounds, "_defect", kept)
    energy = OU if kind == "Ornstein-Uhlenbeck" else [{"kind": "porous-medium", "exponent": 2}]
    found = figures(plane(energy, 10, times={"end": 2, "step": 0.2}))
    clear = [(lower, upper) for lower, upper in seen if abs(lower + upper) > 2 * (upper - lower)]
    assert len(clear) >= 5
    assert all(upper <= 0 for _, upper in clear)
    assert found["evi_violated"] == 0
    assert found["evi_satisfied"] + found["evi_undecided"] == 10
    assert found["evi_undecided"] <= len(seen) - len(clear)


@pytest.mark.parametrize("exponent", [1.5, 3])
def test_porous_media_are_never_proved_to_violate(exponent):
    """lambda = 0 without a potential: with vacuum, and only the initial density to compare with."""
    patch = {"kind": "uniform", "lower": [-1, -0.8], "upper": [0.9, 1.1], "mass": 1.0}
    found = figures(plane([{"kind": "porous-medium", "exponent": exponent}], initial=patch))
    assert found["convexity"] == 0.0
    assert found["evi_violated"] == 0
    assert found["evi_satisfied"] + found["evi_undecided"] == 3
    assert "contraction_violated" not in found


def test_interactions_count_about_the_mean():
    """W = r^2: lambda_W = 2, of which a common motion feels nothing; 3 of mass counts 3 times."""
    energy = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "interaction", "kernel": "r**2"}]
    found = figures(plane(energy, **{"initial.mass": 3.0, "times": {"end": 0.2, "step": 0.1}}))
    assert found["interaction_convexity"] == pytest.approx(2.0, rel=1e-9)
    assert found["convexity"] == 0.0
    assert (found["evi_violated"], found["evi_satisfied"]) == (0, 2)


def test_a_modulus_that_is_too_large_is_proved_to_be_violated():
    """lambda = 8 instead of 1, and a density that moves the wrong way."""
    simulation = plane().prepare()
    steep = replace(simulation.statistics.evi_bounds, moduli=Convexity(potential=8.0))
    steep(simulation.initial)
    away = np.roll(simulation.initial.density.reshape(simulation.mesh.shape), 2, axis=1).ravel()
    steep(replace(simulation.initial, time=0.2, density=away))
    assert (steep.evi.violated, steep.contraction.violated) == (1, 1)
    assert steep.evi.lower > 0


def test_on_a_line_the_interval_is_the_exact_defect():
    found = figures(line())
    assert found["evi_violated"] == found["evi_undecided"] == 0
    assert found["evi_defect_lower"] <= found["evi_defect"] <= found["evi_defect_upper"]
    assert found["evi_defect_upper"] - found["evi_defect_lower"] < 1e-10
    assert found["contraction_defect_lower"] <= found["contraction_defect"] <= found["contraction_defect_upper"]


def test_the_defect_of_a_density_that_stays_is_known():
    """W2 cancels but for lambda, and E does not: with mass 2, an interaction and a potential."""
    energy = [*line().flow.energy, fvflow.energies.Interaction("r**2/2")]
    made = line()
    flow = replace(made.flow, energy=tuple(energy))
    simulation = replace(made, flow=flow, initial=replace(made.initial, mass=2.0)).prepare()
    monitor, start, mesh = simulation.statistics.evi_bounds, simulation.initial, simulation.mesh
    sigma = np.exp(-((mesh.centre[:, 0] + 0.7) ** 2))
    sigma *= start.mass / (mesh.volume @ sigma)
    monitor.references = (sigma,)
    monitor(start)
    monitor(replace(start, time=0.1))
    squared = distance_1d(mesh.edges[0], start.density, sigma) ** 2
    apart = (mesh.volume @ ((start.density - sigma) * mesh.centre[:, 0])) ** 2
    rise = monitor.energy.value(start.density) - monitor.energy.value(sigma)
    expected = 0.5 * (1.0 + 2.0) * squared - 0.5 * apart + rise
    assert monitor.evi.lower <= expected + 1e-9 <= monitor.evi.upper + 2e-9
    assert monitor.evi.lower == pytest.approx(expected, rel=1e-9)


def test_the_ends_of_intervals_are_paired_for_the_worst(monkeypatch):
    """W2 in [1, 1.1] before and [.8, .9] after a step of tau = .1 with lambda = 1, in which E does not change."""
    intervals = iter([{"lower": 1.0, "upper": 1.1}] * 2 + [{"lower": 0.8, "upper": 0.9}] * 2)
    monkeypatch.setattr("fvflow.wasserstein.bounds", lambda *given, width: SimpleNamespace(**next(intervals)))
    simulation = line().prepare()
    monitor, start = simulation.statistics.evi_bounds, simulation.initial
    monitor(start)
    monitor(replace(start, time=0.1))
    rise = monitor.energy.value(start.density) - monitor.energy.value(monitor.references[1])
    assert monitor.evi.lower == pytest.approx((1.1 * 0.8**2 - 1.1**2) / 0.2 + rise)
    assert monitor.evi.upper == pytest.approx((1.1 * 0.9**2 - 1.0**2) / 0.2 + rise)
    assert monitor.contraction.lower == pytest.approx((1.1**0.5 * 0.8 - 1.1) / 1.1)
    assert monitor.contraction.upper == pytest.approx((1.1**0.5 * 0.9 - 1.0) / 1.1)


def test_beyond_the_step_that_convexity_allows_nothing_is_proved():
    """V = -x^2 and tau = 0.6: 1 + lambda tau < 0."""
    found = figures(line("-x**2", times={"end": 0.6, "step": 0.6}, initial={"kind": "uniform"}))
    assert (found["evi_violated"], found["evi_satisfied"], found["evi_undecided"]) == (0, 0, 1)
    assert "evi_defect_lower" not in found


def test_counts_of_signs():
    count = SignCount()
    for defects in ([(-2.0, -1.0), (-1.0, 0.0)], [(-1.0, 0.5)], [(-3.0, -2.0), (0.1, 0.2)], []):
        count.add(defects)
    assert (count.satisfied, count.undecided, count.violated) == (1, 2, 1)
    assert (count.lower, count.upper) == (0.1, 0.5)


@pytest.mark.parametrize(
    "grid", [Box((-1.0, -2.0), (2.0, 1.0), (7, 9)), Graded((-1.0, -2.0), (2.0, 1.0), (9, 7), (1.3, 1.0))]
)
def test_the_least_curvature_of_a_quadratic_function_is_exact(grid):
    mesh = grid.build()
    x, y = mesh.centre.T
    centres = [0.5 * (edge[1:] + edge[:-1]) for edge in reversed(mesh.edges)]
    values = (1.5 * x**2 + 2 * x * y - y**2 + 3 * x).reshape(mesh.shape)
    least = np.linalg.eigvalsh([[3.0, 2.0], [2.0, -2.0]])[0]
    assert least_curvature(values, centres) == pytest.approx(least, rel=1e-9)
    assert np.isnan(least_curvature(values[:2], [centres[0][:2], centres[1]]))


@pytest.mark.parametrize(
    ("kernel", "modulus"),
    [
        ("r**2/2 + x*y", 0.0),
        ("r**4", 0.0),
        ("-exp(-r**2/2)", -2 * np.exp(-1.5)),
        ("abs(x)", 0.0),
        ("-abs(x)", None),
        ("-r", None),
        ("-log(r)", None),
    ],
)
def test_moduli_of_kernels(kernel, modulus):
    """-exp(-r^2/2) has D^2 >= -2 exp(-3/2); concave kinks and poles have no lower bound."""
    found = kernel_modulus(Kernel(Expression(kernel)), Box((-3.0, -3.0), (3.0, 3.0), (10, 10)).build())
    if modulus is None:
        assert np.isnan(found)
    else:
        assert modulus - 0.05 <= found <= modulus + 1e-12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow.energy": [*OU, {"kind": "interaction", "kernel": "-log(r)"}]}, "output.evi: no modulus of convexity"),
        ({"mesh.cells": [2, 40], "initial": {"kind": "uniform"}}, "output.evi: no modulus of convexity"),
        ({"flow.mobility": "1 + x**2"}, "output.evi: is of W2, and with a mobility the metric is another"),
        ({"output": {}, "checks": {"evi_violated": 0}}, "checks.evi_violated: needs bounds of W2 in every step"),
    ],
)
def test_what_is_not_known_is_refused(changes, message):
    with pytest.raises(CaseError, match=message):
        plane(**changes).prepare()


def test_a_resumed_run_has_the_same_counts(tmp_path):
    case = line(output={"evi": True, "checkpoint": {"steps": 1}})
    whole = case.write(tmp_path / "whole.nc")
    with pytest.raises(Stopped):
        case.write(tmp_path / "cut.nc", Stop(3))
    fvflow.resume(tmp_path / "cut.parts")
    with fvflow.read(tmp_path / "cut.nc") as cut:
        for name in (name for name in whole if name.startswith(("evi", "contraction", "convexity"))):
            assert cut.attrs[name] == whole[name], name


def test_a_run_that_began_without_the_bounds_cannot_go_on_with_them(tmp_path):
    case = line(output={"checkpoint": {"steps": 1}})
    with pytest.raises(Stopped):
        case.write(tmp_path / "cut.nc", Stop(2))
    with pytest.raises(CaseError, match=r"output.evi: False was, True is"):
        continuation(tmp_path / "cut.parts", overrides={"output.evi": "true"})
