"""What `check` says of the time that a run will take, and what it spends to know it."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fvflow.case import Case, runtime_estimate
from fvflow.case.report import runtime
from fvflow.case.runtime_estimate import duration
from fvflow.errors import NumericsError
from fvflow.mesh import Box, Graded, Voronoi, coarse_proxy
from fvflow.steppers import ImplicitEuler, Muscl
from tests.contracts import EPS
from tests.scenes import final, ou
from tests.test_gaussian_jko import midpoint

UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86400}
ADAPTIVE = {"end": 0.4, "step": {"initial": 1e-3, "tolerance": 1e-4}}


def estimate(case) -> str:
    """The sentence on the time of a case."""
    return runtime(case.prepare(), dict(case.parameters)).describe()


def seconds(sentence: str) -> float:
    """The first time in a sentence."""
    found = re.search(r"about (\S+) (s|min|h|days)\b", sentence)
    return float(found[1]) * UNITS[found[2]]


@pytest.mark.parametrize("kind", [Box((0.0, -1.0), (1.0, 1.0), (50, 37)), Graded((0.0,), (1.0,), (101,), (9.0,))])
def test_a_grid_in_small_is_the_same_domain_with_the_same_mass(kind):
    mesh = kind.build()
    density = np.random.default_rng(1).random(mesh.cells)
    small, found = coarse_proxy(mesh, density, 60)
    assert 15 <= small.cells <= 66
    assert [(edge[0], edge[-1]) for edge in small.edges] == [(edge[0], edge[-1]) for edge in mesh.edges]
    assert small.volume @ found == pytest.approx(mesh.volume @ density, rel=8 * EPS)
    assert coarse_proxy(mesh, density, mesh.cells)[0].cells == mesh.cells


def test_a_mesh_that_is_no_grid_in_small_is_a_piece_about_the_densest_cell():
    mesh = Voronoi((0.0, 0.0), (1.0, 1.0), (20, 20), seed=1).build()
    density = np.exp(-50 * ((mesh.centre - 0.3) ** 2).sum(axis=1))
    small, found = coarse_proxy(mesh, density, 80)
    assert small.cells == 80
    assert found.max() == density.max()
    assert small.components.max() == 0
    ahead = small.centre[small.neighbour] - small.centre[small.owner]
    np.testing.assert_allclose(np.linalg.norm(ahead, axis=1), small.distance, rtol=1e-13)
    whole = {tuple(pair) for pair in mesh.centre}
    assert all(tuple(pair) in whole for pair in small.centre)
    assert (small.owner < small.neighbour).all()
    assert small.integral(lambda at, part: 1.0, 2) == pytest.approx(small.volume)


class Clock:
    """A time that passes only with the steps of a run, n cells taking fixed + rate n^power each."""

    def __init__(self, monkeypatch, rate: float, power: float, ready: float = 0.0, fixed: float = 0.0) -> None:
        self.now, self.rate, self.power, self.sizes = 0.0, rate, power, []
        monkeypatch.setattr(runtime_estimate, "time", SimpleNamespace(perf_counter=lambda: self.now))

        def step(state, length):
            self.sizes.append(len(state.density))
            self.now += fixed + self.rate * len(state.density) ** self.power
            return state

        def start(stepper, problem):
            self.now += ready * problem.mesh.cells
            return step

        monkeypatch.setattr(ImplicitEuler, "start", start)


@pytest.mark.parametrize("power", [1.0, 1.4])
def test_the_time_of_a_large_mesh_is_told_from_smaller_ones(monkeypatch, power):
    """20 steps of 1 s each, and more: none is taken whole, and the budget is kept."""
    case = ou(1, 40_000)
    clock = Clock(monkeypatch, 1.0 / 40_000**power, power)
    sentence = estimate(case)
    assert re.search(r"from one step on a mesh of \d+ cells", sentence)
    assert seconds(sentence) == pytest.approx(20, rel=0.03)
    assert clock.now <= 0.8
    assert max(clock.sizes) < 40_000


def test_the_time_of_making_ready_is_told_once(monkeypatch):
    clock = Clock(monkeypatch, 1e-6, 1.0, ready=5e-6)
    sentence = estimate(ou(1, 10_000))
    assert sentence == "about 0.25 s, from one step"
    assert max(clock.sizes) == 10_000


def test_a_backward_run_goes_over_its_steps_twice(monkeypatch):
    """A step back takes no time of this clock; what it takes is told all the same."""
    case = Case.parse("""
mesh: {kind: box, lower: [0], upper: [1], cells: [1000]}
flow: {kind: backward, final: x, epsilon: 1}
times: {end: 1, step: 0.01}
""")
    Clock(monkeypatch, 1e-4, 1.0)
    assert seconds(estimate(case)) == pytest.approx(20, rel=0.03)


def test_one_step_beyond_the_budget_is_not_taken(monkeypatch):
    clock = Clock(monkeypatch, 10.0 / 1600, 1.0)
    assert seconds(estimate(ou(1, 1600))) == pytest.approx(200, rel=0.03)
    assert set(clock.sizes) == {200}, "the smallest problem alone"


@pytest.mark.parametrize("kind", ["muscl", "uniformisation", "chebyshev"])
def test_long_steps_of_explicit_methods_are_timed_in_short(kind):
    """One step of a long time: what is told is about what a hundredth of it takes, and is known soon."""
    case = ou(1, 200, flow__stepper={"kind": kind}, flow__potential="cos(x)", times={"end": 5e5, "step": 5e5})
    case = case.replace({"exact": None, "initial": {"kind": "spike", "at": [3.0]}})
    prepared = case.prepare()
    before = time.perf_counter()
    sentence = runtime(prepared, {}).describe()
    assert time.perf_counter() - before < 20
    if kind == "muscl":  # the others end where they are at rest
        assert re.search(r"from one step of 1/\d+ the length", sentence)
        step = case.flow.stepper.start(prepared.problem)
        before = time.perf_counter()
        step(prepared.initial, 50.0)
        assert 0.1 < seconds(sentence) / 1e4 / (time.perf_counter() - before) < 10


@pytest.mark.parametrize("case", [ou(1, 100), ou(2, 20, flow__stepper={"kind": "muscl"}), midpoint(100, 0.01)])
def test_adaptive_steps_have_a_time_but_no_number(case):
    case = case.replace({"times": ADAPTIVE})
    sentence = case.check()["time"]
    assert re.match(r"about \S+ m?s a step; their error chooses how many, \S+ m?s in all if they stay as", sentence)
    assert 0 < seconds(sentence) < 5


def test_adaptive_steps_of_a_large_mesh(monkeypatch):
    monkeypatch.setattr(runtime_estimate, "_BUDGET", 0.0)
    sentence = ou(2, 100, times=ADAPTIVE).check()["time"]
    assert re.search(r"s a step, from steps on a mesh of 169 cells; their error chooses how many$", sentence)


def test_what_fails_has_no_time(monkeypatch):
    def start(stepper, problem):
        raise NumericsError("no factors; use another solver")

    monkeypatch.setattr(ImplicitEuler, "start", start)
    assert ou(1, 100).check()["time"] == "not known: no factors; use another solver"


def test_a_report_leaves_the_run_as_it_is():
    case = ou(2, 40, flow__stepper={"kind": "crank-nicolson"})
    prepared = case.prepare()
    case.check(prepared)
    for _ in prepared.frames():
        pass
    assert prepared.figures() == final(case)[2]


def test_times_read_well():
    assert [duration(value) for value in (0.5, 150, 1e5, 1e7)] == ["0.5 s", "2.5 min", "28 h", "1.2e+02 days"]


@pytest.mark.parametrize("fixed", [0.0, 1e-3, 1e-2])
def test_what_does_not_grow_with_the_mesh_is_not_scaled_by_it(monkeypatch, fixed):
    """Steps of a + b n seconds: 20 on 40000 cells, of which some hundreds or thousands are timed."""
    clock = Clock(monkeypatch, 1e-5, 1.0, fixed=fixed)
    sentence = ou(1, 40_000).check()["time"]
    assert 200 < max(clock.sizes) < 40_000
    assert seconds(sentence) == pytest.approx(20 * (fixed + 0.4), rel=0.05)


@pytest.mark.parametrize(("power", "taken"), [(1.2, 1.2), (3.0, 1.5)])
def test_the_power_of_the_cells_that_a_time_is_scaled_by_is_clamped(monkeypatch, power, taken):
    """The two smallest problems, of 200 and 1600 cells, are timed and show the power; 20 steps on 40000 are not."""
    clock = Clock(monkeypatch, 4e-3 / 200**power, power)
    sentence = ou(1, 40_000).check()["time"]
    largest = max(clock.sizes)
    assert 200 < largest < 40_000, "two problems, and not the whole one"
    expected = 20 * clock.rate * largest**power * (40_000 / largest) ** taken
    assert seconds(sentence) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("whole", "power", "taken"),
    [(1.5, 1.0, 1.0), (5.0, 1.7, 1.7), (2000.0, 4.0, 2.0), (400.0, 1.0, 1.5)],
    ids=["like the cells", "as shown", "at most squared", "one problem alone"],
)
def test_the_substeps_of_explicit_methods_grow_with_the_mesh(monkeypatch, whole, power, taken):
    """In two dimensions: a single problem counts by the power 3/2, as substeps bounded by h do, and 2 is the most."""
    clock = Clock(monkeypatch, whole / 40_000**power, power)
    monkeypatch.setattr(Muscl, "start", ImplicitEuler.start)
    sentence = ou(2, 200, flow__stepper={"kind": "muscl"}).check()["time"]
    largest = max(clock.sizes)
    assert largest < 40_000
    assert (largest < 300) == (taken == 1.5), clock.sizes
    expected = 20 * clock.rate * largest**power * (40_000 / largest) ** taken
    assert seconds(sentence) == pytest.approx(expected, rel=0.06)
