"""Every one-step method keeps the contract of its family; see fvflow/steppers/base.py."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pytest

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.errors import CaseError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, ScharfetterGummel
from fvflow.linalg import Auto, Direct, Multigrid
from fvflow.mesh import Box, Extent
from fvflow.problems import GradientFlow, State
from fvflow.steppers import (
    EVBDF2,
    JKO,
    GradientStepper,
    GradientStepperBase,
    LinearStepper,
    LinearStepperBase,
    Midpoint,
    SplitCrankNicolson,
    Step,
)
from tests.contracts import check_gradient_stepper, check_linear_stepper, check_order_in_time

MESHES = {"line": Box((-2.0,), (2.0,), (24,)), "square": Box((-2.0, -2.0), (2.0, 2.0), (9, 8))}
EPSILON = 0.4
WELL = Drift(potential=Expression("0.5*x**2"))
MOVING = Drift(potential=Expression("0.5*(x - sin(2*t))**2"))
LINEAR = [*(kind() for kind in get_args(LinearStepper)), SplitCrankNicolson(richardson=True)]
GRADIENT = [*(kind() for kind in get_args(GradientStepper)), JKO(accuracy=1e-3), JKO(intervals=2)]


def named(stepper):
    return str(stepper)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("stepper", LINEAR, ids=named)
def test_linear_steppers_keep_their_contract(stepper, mesh):
    check_linear_stepper(stepper, stepper.discretise(MESHES[mesh].build(), WELL, EPSILON, ScharfetterGummel()))


@pytest.mark.parametrize("stepper", [stepper for stepper in LINEAR if not stepper.requires_steady_drift], ids=named)
def test_linear_steppers_keep_their_order_in_a_moving_drift(stepper):
    problem = stepper.discretise(MESHES["line"].build(), MOVING, EPSILON, ScharfetterGummel())
    check_order_in_time(stepper.start(problem), problem.mesh, stepper.order, at_least=stepper.work_grows_with_step)


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("stepper", GRADIENT, ids=named)
def test_gradient_steppers_keep_their_contract(stepper, mesh):
    built = MESHES[mesh].build()
    potential = PotentialTerm(WELL.cell_potential(built, 0.0))
    check_gradient_stepper(stepper, GradientFlow(built, TotalEnergy(built.volume, (EntropyTerm(EPSILON), potential))))


@dataclass(frozen=True)
class ForwardEuler(LinearStepperBase):
    """A method that says nothing of itself but its step."""

    kind: Literal["forward-euler"] = "forward-euler"
    wrong: float = 1.0

    def start(self, problem) -> Step:
        def step(state: State, length: float) -> State:
            content = problem.matrix(state.time, -self.wrong * length).apply(state.density)
            return state.advanced(length, content / problem.mesh.volume)

        return step


def test_the_defaults_promise_nothing():
    stepper, extent = ForwardEuler(), Extent(2, 100, True)
    problem = stepper.discretise(MESHES["line"].build(), WELL, EPSILON, Centred())
    assert stepper.positive_step(problem) == GradientStepperBase().positive_step(None) == 0
    assert stepper.describe(extent, "centred flux", True) == "forward-euler (order 1 in time), centred flux"
    assert stepper.embedded(problem) is None
    stepper.check(replace(problem, drift=MOVING))
    check_order_in_time(stepper.start(problem), problem.mesh, stepper.order)
    with pytest.raises(AssertionError, match="no promise"):
        check_linear_stepper(replace(stepper, wrong=0.0), problem)


def test_a_changed_problem_does_not_inherit_the_coefficients():
    """`dataclasses.replace` gives a problem of its own, caches included."""
    for stepper in LINEAR:
        problem = stepper.discretise(MESHES["line"].build(), WELL, EPSILON, ScharfetterGummel())
        density = np.ones(problem.mesh.cells)
        flux = problem.flux(density, 0.0)
        steeper = replace(problem, drift=Drift(potential=Expression("x**2")))
        np.testing.assert_allclose(steeper.flux(density, 0.0), 2 * flux, atol=1e-14)


def test_a_step_resets_the_statistics_of_the_last_one():
    counts = dict.fromkeys(("iterations", "halvings", "rejections", "switches", "reduced", "damped"), 4)
    sizes = dict.fromkeys(("correction", "residual", "optimality", "gap", "dissipated"), 5.0)
    last = {"previous": np.ones(2), "length": 0.5}
    state = State(1.0, np.ones(2), 2.0, 3, np.zeros(2), fallback="a reason", **last, **counts, **sizes)
    density = np.array([0.5, 1.5])
    after = state.advanced(0.25, density, iterations=2)
    expected = State(1.25, density, 2.0, 4, iterations=2, previous=state.previous, length=0.5)
    assert {**vars(after)} == {**vars(expected)}


@pytest.mark.parametrize("extent", [Extent(1, 10**6, True), Extent(2, 6400), Extent(3, 1000)])
def test_newton_systems_of_small_meshes_are_factorised(extent):
    assert Auto().resolve_symmetric(extent) == Direct()
    expected = Direct().symmetric_memory(extent)
    assert Midpoint().memory(extent) == JKO(intervals=1).memory(extent) == EVBDF2().memory(extent) == expected


@pytest.mark.parametrize("extent", [Extent(2, 6401), Extent(3, 1001)])
def test_newton_systems_of_large_meshes_are_solved_by_multigrid(extent):
    assert Auto().resolve_symmetric(extent) == Multigrid()
    for stepper in (JKO(intervals=1), EVBDF2()):
        assert stepper.describe(extent).endswith("Newton with solver multigrid")
    assert Midpoint().describe(extent).endswith("Newton with solver direct")
    factors = Direct().symmetric_memory(extent)
    assert JKO(intervals=1).memory(extent) == (factors if extent.dimension == 2 else 3000 * extent.cells)
    assert EVBDF2().memory(extent) == factors
    assert Multigrid(7).cg_iterations() == 7
    assert Direct().cg_iterations() is None


def test_auto_has_to_be_resolved_for_newton_systems():
    with pytest.raises(TypeError, match="resolve_symmetric"):
        Auto().cg_iterations()


def test_a_step_of_its_own_flux_has_no_use_for_another():
    """What a case says in vain is refused, for every stepper that says so."""
    from fvflow.flows import FokkerPlanckFlow

    for stepper in LINEAR:
        if stepper.uses_flux:
            assert FokkerPlanckFlow(1.0, stepper=stepper, flux=Centred()).stepper is stepper
        else:
            with pytest.raises(CaseError, match="uses a flux of its own"):
                FokkerPlanckFlow(1.0, stepper=stepper, flux=Centred())
