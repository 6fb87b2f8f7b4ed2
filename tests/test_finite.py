"""Numbers that are not finite: refused when a case is read, or found in the step where they appear."""

import dataclasses
import math
import re

import numpy as np
import pytest

from fvflow import Box, Case
from fvflow.diagnostics import dissipation
from fvflow.energies import EntropyTerm, PotentialTerm, PowerTerm, TotalEnergy
from fvflow.error_control import Adaptive
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, ScharfetterGummel
from fvflow.march import march
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.steppers import LJKO, ImplicitEuler, finite_check
from fvflow.time_error import DerivativeMonitor
from fvflow.times import Times

MESH = Box((0.0,), (1.0,), (8,)).build()
ENERGY = "gradient-flow, energy: [{kind: porous-medium, exponent: %s}]"
CASE = """
mesh: {kind: box, lower: [0], upper: [1], cells: [8]}
flow: {kind: %s}
initial: {kind: uniform, lower: [0.25], upper: [0.75], mass: 2}
times: {end: 1, step: 0.1}
"""


@pytest.mark.parametrize(
    ("exponent", "message"),
    [
        ("2e6", r"expected a number <= 1000, got 2000000\.0"),
        ("1000", r"not finite at the initial density 4 at x = 0\.3125; use a smaller exponent or coefficient"),
        ("1.0000001", "differs from 1 by less than 1e-06"),
    ],
)
def test_an_exponent_that_overflows_is_refused(exponent, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(CASE % ENERGY % exponent).prepare()


def test_parameters_may_be_of_any_size():
    case = Case.parse("parameters: {planck: 1e-34}\n" + (CASE % ENERGY % "2").replace("step: 0.1", "step: planck*1e33"))
    assert case.times.step == pytest.approx(0.1)


def equation(drift="0", flux=ScharfetterGummel(), epsilon=1.0):
    return FokkerPlanck(MESH, Drift(Expression(drift)), epsilon, flux)


def test_dissipation_is_infinite_where_the_energy_is():
    density = np.array([1.0, 2.0, -1e-9, 0.0, 0.0, 1.0, 1.0, 0.5])
    problem = equation("100*x", Centred())
    assert problem.energy(0.0).value(density) == math.inf
    assert dissipation(problem, density, 0.0) == math.inf


def test_dissipation_is_infinite_into_vacuum_whatever_else_flows():
    density = np.array([1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.5])
    assert dissipation(equation(), density, 0.0) == math.inf
    assert dissipation(equation(), np.ones(8), 0.0) == 0.0


def test_an_infinite_term_makes_the_energy_infinite():
    density = np.full(8, 2.0)
    terms = PowerTerm(1.0, 1e4), PotentialTerm(np.full(8, -1e100))
    assert TotalEnergy(MESH.volume, terms).value(density) == math.inf
    terms = EntropyTerm(1.0), PowerTerm(1.0, 0.5)
    assert TotalEnergy(MESH.volume, terms).value(np.array([1.0] * 7 + [-1.0])) == math.inf


def test_an_estimate_that_overflows_is_infinite():
    monitor = DerivativeMonitor(MESH.volume, 1, 0.5)
    for step in range(3):
        monitor(State(1e-200 * step, np.full(8, float(step**2)), 1.0))
    assert monitor.estimate == math.inf


STATE = State.initial(MESH, np.ones(8), 0.5)


def broken(value):
    """A step after which cell 5 has this density."""

    def step(state, length):
        density = state.density.copy()
        density[5] = value
        return state.advanced(length, density)

    return step


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_density_that_is_not_finite_is_found_with_its_place(value):
    message = rf"became {value} in cell 5 \(x = 0\.6875\) at t = 0\.75, step 1: all terms are finite before the step"
    with pytest.raises(NumericsError, match=message):
        finite_check(equation())(STATE, broken(value)(STATE, 0.25))


def test_every_state_of_a_step_with_an_estimate_of_its_own_is_checked():
    def embedded(state, length):
        return (state.advanced(0.5 * length, state.density), broken(np.nan)(state, length)), 0.0

    times = Times(1.0, Adaptive(0.25, 1e-3, shortest=0.2))
    run = march(
        lambda state, length: state, STATE, times, MESH.volume, 1, embedded=embedded, check=finite_check(equation())
    )
    with pytest.raises(NumericsError, match="became nan in cell 5"):
        list(run)


def test_a_sum_that_overflows_is_found():
    with pytest.raises(NumericsError, match="too large for a sum over the cells in cell 0"):
        finite_check(equation())(STATE, STATE.advanced(0.25, np.full(8, 1e308)))


@pytest.mark.parametrize(
    ("problem", "term"),
    [
        (GradientFlow(MESH, TotalEnergy(MESH.volume, (PowerTerm(1.0, 1e4),))), "the variation of the power energy"),
        (GradientFlow(MESH, TotalEnergy(MESH.volume, (PotentialTerm(np.full(8, np.nan)),))), "the potential"),
        (equation(epsilon=1e305), "the flux"),
    ],
)
def test_the_term_that_is_not_finite_is_named(problem, term):
    start = dataclasses.replace(STATE, density=np.linspace(2.0, 3e10, 8))
    with pytest.raises(NumericsError, match=f"{term} is not finite before the step"):
        finite_check(problem)(start, broken(np.nan)(start, 0.25))


@pytest.mark.parametrize(
    ("flow", "stepper"),
    [("fokker-planck, epsilon: 1", ImplicitEuler), (ENERGY % "2", LJKO)],
    ids=["linear", "gradient"],
)
def test_runs_look_at_every_step(flow, stepper, monkeypatch):
    monkeypatch.setattr(stepper, "start", lambda self, problem: broken(np.nan))
    with pytest.raises(
        NumericsError, match=r"nan in cell 5 \(x = 0\.6875\) at t = 0\.1, step 1: .* from t = 0 to 0\.1"
    ):
        Case.parse(CASE % flow).run()


POTENTIAL = "hamilton-jacobi, potential: 'x**2'"


def test_a_potential_that_is_not_finite_is_found_with_its_place(monkeypatch):
    """In the third of ten steps, as a NaN of phi alone: every comparison with it is false."""
    from fvflow.transport import hamilton_jacobi
    from fvflow.transport.hamilton_jacobi import solve

    steps = []

    def breaking(mesh, phi, hamiltonian, times, cfl, start):
        ((time, phi),) = solve(mesh, phi, hamiltonian, times, cfl, start)
        steps.append(time)
        return iter([(time, np.where(np.arange(8) == 6, np.nan, phi) if len(steps) == 3 else phi)])

    monkeypatch.setattr(hamilton_jacobi, "solve", breaking)
    message = r"phi became nan in cell 6 \(x = 0\.8125\) at t = 0\.3, step 3; .* \(step 3, from t = 0\.2 to 0\.3\)$"
    with pytest.raises(NumericsError, match=message):
        Case.parse(CASE % POTENTIAL).run()
    assert len(steps) == 3


def test_a_velocity_that_is_not_finite_is_named(monkeypatch):
    from fvflow.transport import QuadraticHamiltonian

    def speed(self, mesh, slope):
        return np.where(np.arange(len(slope)) == 4, np.inf, slope)

    monkeypatch.setattr(QuadraticHamiltonian, "face_speed", speed)
    message = (
        r"density became nan in cell 4 \(x = 0\.5625\) at t = 0\.1, step 1: the velocity grad_p H\(grad phi\) is not"
    )
    with pytest.raises(NumericsError, match=message):
        Case.parse(CASE % POTENTIAL).run()


def test_a_closed_form_that_overflows_is_refused():
    case = Case.read("cases/published-fokker-planck.yaml").replace({"flow.energy.1.potential": "-1e6*x"})
    with pytest.raises(CaseError, match=r"the closed form is (inf|nan) in cell \d+ at t = 0: it overflows for these"):
        case.prepare()


def test_a_density_that_is_lost_when_it_is_scaled_is_refused():
    density = "{kind: expression, density: 'where(x < 0.5, 1e-320, 0)'}"
    tiny = re.sub("{kind: uniform.*", density, CASE % "fokker-planck, epsilon: 1")
    with pytest.raises(CaseError, match="too small for doubles; scale it up"):
        Case.parse(tiny).prepare()
