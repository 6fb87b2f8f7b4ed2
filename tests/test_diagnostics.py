import numpy as np
import pytest

from fvflow.case import Case
from fvflow.diagnostics import diagnostics_at, dissipation, moments
from fvflow.exact import density_errors
from fvflow.jit import Kernel
from fvflow.mesh import Box
from fvflow.problems import State
from fvflow.run_statistics import RunStatistics
from tests.scenes import final, ou


def test_moments_of_masses():
    mesh = Box((0.0, 0.0), (4.0, 2.0), (4, 2)).build()
    density = np.zeros(8)
    density[[0, 7]] = 1.0
    mean, covariance = moments(mesh, density)
    np.testing.assert_allclose(mean, [2, 1])
    np.testing.assert_allclose(covariance, [[2.25, 0.75], [0.75, 0.25]])


def test_errors_are_the_norms():
    mesh = Box((0.0,), (2.0,), (4,)).build()
    found = density_errors(mesh, np.array([1.0, 2, 3, 4]), np.array([1.0, 1, 3, 6]))
    assert found == {"error_l1": 1.5, "error_l2": pytest.approx(2.5**0.5), "error_linf": 2.0}


def test_the_watch_remembers_the_worst_of_every_step():
    mesh = Box((0.0,), (1.0,), (2,)).build()
    watch = RunStatistics(mesh, lambda state: float(state.density[0]))
    for density in ([1.0, 1.0], [0.5, 1.5], [1.2, 0.8 - 2e-10], [-0.1, 2.1], [1.0, 1.0]):
        watch(State(0.0, np.array(density), 1.0, correction=abs(density[0]) * 1e-16, iterations=2))
    assert watch.minimum == -0.1
    assert watch.mass_drift == pytest.approx(1e-10)
    assert watch.energy_increase == pytest.approx(1.1)
    assert watch.iterations == 10
    assert watch.summary()["mass_correction"] == pytest.approx(1.2e-16, abs=0)


def test_dissipation_is_the_rate_of_energy_loss():
    prepared = ou(1, 100).prepare()
    problem, state = prepared.problem, prepared.initial
    stepper = prepared.flow.stepper.start(problem)
    energy = problem.energy(0.0)
    h = 1e-5
    slope = (energy.value(state.density) - energy.value(stepper(state, h).density)) / h
    assert dissipation(problem, state.density, 0.0) == pytest.approx(slope, rel=1e-3)


def test_dissipation_of_a_gradient_flow_is_its_rate_of_energy_loss():
    flow = {
        "kind": "gradient-flow",
        "energy": [{"kind": "entropy", "epsilon": 0.8}, {"kind": "potential", "potential": "x**2"}],
        "stepper": {"kind": "ljko", "mobility": "upwind"},  # as `problem.flux` is
    }
    prepared = ou(1, 400, flow=flow).prepare()
    energy, state = prepared.problem.energy(0.0), prepared.initial
    h = 1e-4
    after = prepared.flow.stepper.start(prepared.problem)(state, h)
    slope = (energy.value(state.density) - energy.value(after.density)) / h
    assert dissipation(prepared.problem, state.density, 0.0) == pytest.approx(slope, rel=5e-3)


def test_energy_of_a_moving_potential_is_that_of_the_moment():
    prepared = ou(1, 50, flow__potential="0.5*x**2 + 3*t", exact=None).prepare()
    density = prepared.initial.density
    later, now = (prepared.problem.energy(time).value(density) for time in (1.0, 0.0))
    assert later - now == pytest.approx(3.0, rel=1e-12)


def test_the_diagnostics_count_steps_and_iterations():
    case = ou(
        3, 12, flow__stepper={"kind": "implicit-euler", "solver": {"kind": "krylov"}}, times={"end": 0.1, "step": 0.02}
    )
    frames = list(case.prepare().frames())
    assert [frame.diagnostics["steps"] for frame in frames] == [0, 5]
    assert frames[0].diagnostics["iterations"] == 0
    assert 1 <= frames[1].diagnostics["iterations"] < 100


def test_dissipation_of_equilibrium_is_nothing_and_of_a_spike_infinite():
    prepared = ou(1, 50, initial={"kind": "gibbs"}, exact=None).prepare()
    assert abs(dissipation(prepared.problem, prepared.initial.density, 0.0)) < 1e-13
    density = np.zeros(50)
    density[20] = 1.0
    assert dissipation(prepared.problem, density, 0.0) == np.inf


def test_a_negative_density_has_infinite_entropy_not_a_repaired_one():
    prepared = ou(1, 10).prepare()
    density = np.full(10, 0.1)
    density[3] = -1e-9
    found = diagnostics_at(prepared.problem, State(0.0, density, 1.0), None)
    assert found["entropy"] == found["energy"] == np.inf
    assert found["minimum"] == -1e-9


def test_entropy_decays_at_the_rate_of_the_gap():
    """KL(t) <= e^{-2 lambda t} KL(0) for V'' >= lambda (Bakry, Emery); here lambda = 1."""
    case = ou(1, 200, times={"end": 2, "step": 0.005, "save": 0.25}).replace({"flow.epsilon": 1.0})
    frames = list(case.prepare().frames())
    equilibrium = case.replace({"initial": {"kind": "gibbs"}}).replace({"exact": None}).prepare()
    lowest = equilibrium.problem.energy(0.0).value(equilibrium.initial.density)
    excess = np.array([frame.diagnostics["energy"] - lowest for frame in frames])
    assert (excess[1:] <= np.exp(-2 * 0.25 * np.arange(1, 9)) * excess[0] * 1.02).all()
    assert excess[-1] > 0
    assert final(case)[2]["mass_drift"] < 1e-14


def test_the_residuals_of_a_frame_are_the_largest_since_the_one_before():
    mesh = Box((0.0,), (1.0,), (2,)).build()
    watch = RunStatistics(mesh)
    for residual, optimality in ((1e-9, 2e-3), (1e-3, 2e-9), (1e-6, 2e-6)):
        watch(State(0.0, np.ones(2), 1.0, residual=residual, optimality=optimality))
    figures = watch.step_diagnostics()
    assert (figures["residual"], figures["optimality"]) == (1e-3, 2e-3)
    watch(State(0.0, np.ones(2), 1.0, residual=1e-7, optimality=2e-7))
    figures = watch.step_diagnostics()
    assert (figures["residual"], figures["optimality"]) == (1e-7, 2e-7), "each frame starts anew"


def test_diagnostics_have_the_same_bits_compiled_or_not(monkeypatch):
    case = Case.parse("""
mesh: {kind: graded, lower: [-3, -2], upper: [3, 2], cells: [70, 61], ratio: [2, 1]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2 + y**2 + 0.3*x*y, stepper: {kind: split-euler}}
initial: {kind: gaussian, mean: [1, 0], covariance: [[0.3, 0], [0, 0.2]], truncate: 1e-2}
times: {end: 1, step: 0.1, save: 0.5}
""")
    simulation = case.prepare()
    states = list(simulation.flow.states(simulation.problem, simulation.initial, simulation.times))
    compiled = [diagnostics_at(simulation.problem, state, None) for state in states]
    monkeypatch.setattr(Kernel, "ready", property(lambda kernel: False))
    for state, found in zip(states, compiled, strict=True):
        plain = diagnostics_at(simulation.problem, state, None)
        assert plain.keys() == found.keys() >= {"covariance", "dissipation", "relative_entropy"}
        for name, value in plain.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)
    assert 0 < compiled[-1]["relative_entropy"] < 0.2 < compiled[0]["relative_entropy"]  # near to pi and far from it
