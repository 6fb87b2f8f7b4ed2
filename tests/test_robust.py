"""JKO steps on random problems of a seed: none fails, none is halved; mass, sign and energy are kept."""

import numpy as np
import pytest

from fvflow.energies import (
    Entropy,
    EntropyTerm,
    Interaction,
    PorousMedium,
    Potential,
    PotentialTerm,
    PowerTerm,
    TotalEnergy,
)
from fvflow.errors import NumericsError
from fvflow.linalg import UpwindTriangular, inner
from fvflow.mesh import Box
from fvflow.problems import GradientFlow, State
from fvflow.steppers import EVBDF2, JKO, LJKO, GradientImplicitEuler, Midpoint
from fvflow.steppers.optimality import OPTIMAL, certificate
from fvflow.steppers.step_energy import ContinuedEnergy
from fvflow.steppers.transport_step import TransportStep
from fvflow.steppers.upwind_newton import NotConverged, UpwindNewton
from tests.jko_cases import outcomes, sample, summary


@pytest.mark.parametrize(("kind", "iterations"), [(LJKO, 20), (GradientImplicitEuler, 60)])
@pytest.mark.parametrize("mobility", ["limited", "upwind"])
@pytest.mark.parametrize("interaction", [False, True])
def test_steps_of_random_problems(kind, iterations, mobility, interaction):
    found = list(outcomes(kind(mobility=mobility), (sample(0, number, interaction) for number in range(30))))
    figures = summary(found)
    assert figures["failures"] == 0, [one["failure"] for one in found]
    assert figures["halvings"] == 0
    assert figures["fallbacks"] <= 0.02 * figures["steps"]
    assert figures["mass"] <= 1e-14
    assert figures["energy"] <= 1e-13
    assert figures["mean"] <= iterations


@pytest.mark.parametrize("number", [1, 7, 13])  # the interior point solves 10 in its first round
def test_a_fallback_keeps_mass_and_sign_lowers_the_energy_and_says_that_it_is_not_optimal(number, monkeypatch):
    def never(self, point, *arguments):
        raise NotConverged(0)

    monkeypatch.setattr(UpwindNewton, "solve", never)
    one = sample(0, number)
    after = LJKO(iterations=1).start(one.problem)(one.initial, one.step)
    volume, energy = one.problem.mesh.volume, one.problem.total
    assert (after.halvings, after.switches) == (0, 4)
    assert "interior point" in after.fallback
    assert after.density.min() >= 0
    assert inner(volume, after.density) == pytest.approx(1.0, abs=1e-14)
    assert energy.value(after.density) < energy.value(one.initial.density)
    assert after.optimality > 1000 * OPTIMAL, "it does not minimise"
    assert np.isfinite(after.gap), "how far it is from the minimum is known all the same"


@pytest.mark.parametrize("number", range(20))
def test_the_gap_bounds_the_distance_from_the_minimum(number):
    """Of potentials of any quality, against the value at the accepted one; that of the accepted one is below 1e-9."""
    one = sample(0, number)
    mesh, total = one.problem.mesh, one.problem.total
    solved = LJKO(mobility="upwind").start(one.problem)(one.initial, one.step)
    conductance = one.step * mesh.transmissibility
    step = TransportStep(mesh, one.initial.density, 1.0, UpwindTriangular(mesh), conductance, conductance)
    energy = ContinuedEnergy(total, step.mean)

    def value(phi, density):
        return total.value(density) + step.cost(phi, density)

    least = value(solved.potential, solved.density)
    scale = energy.scale(energy.first(solved.density), solved.density)
    assert solved.fallback or 0 <= solved.gap <= 1e-9
    random = np.random.default_rng(number)
    for size in (1e-6, 1e-3, 1e-1, 1.0):
        phi = solved.potential + size * scale * random.normal(size=mesh.cells)
        with np.errstate(over="ignore"):
            found = certificate(step, energy, phi)
        its_scale = energy.scale(energy.first(found.density), found.density)
        excess = (value(phi, found.density) - least) / its_scale
        assert excess <= found.gap + 1e-9 * scale / its_scale + 1e-12
        assert found.gap >= 0


@pytest.mark.parametrize("kind", [LJKO, GradientImplicitEuler])
def test_a_constant_in_the_potential_changes_nothing(kind):
    """Its round-off would hide differences of E'; both energies are those of the same flow."""
    mesh = Box((-2.0,), (2.0,), (60,)).build()
    counts, densities = [], []
    for constant in ("", " + 1e7"):
        energies = (Entropy(0.1), Potential("x**2/2" + constant), Interaction("r**2/4" + constant))
        problem = GradientFlow(mesh, TotalEnergy(mesh.volume, tuple(energy.on(mesh, {}) for energy in energies)))
        density = np.exp(-5 * (mesh.centre[:, 0] - 0.3) ** 2)
        state = State.initial(mesh, density / inner(mesh.volume, density))
        step = kind().start(problem)
        for _ in range(10):
            state = step(state, 0.5)
        counts.append(state.iterations)
        densities.append(state.density)
    np.testing.assert_allclose(densities[1], densities[0], rtol=1e-5)
    assert counts[1] <= counts[0] + 2


@pytest.mark.parametrize(
    "stepper",
    [LJKO(), GradientImplicitEuler(), JKO(intervals=1), JKO(), Midpoint(), Midpoint(mobility="centred"), EVBDF2()],
    ids=lambda stepper: f"{stepper.kind}-{stepper.mobility}",
)
def test_an_exact_constant_in_the_potential_changes_no_bit(stepper):
    """V of multiples of 2^-10 and V + 2^30 are both exact, and so are the differences that a flow is made of."""
    mesh = Box((-2.0,), (2.0,), (64,)).build()
    start = np.exp(-5 * (mesh.centre[:, 0] - 0.3) ** 2)
    counts, densities = [], []
    for constant in (0.0, 2.0**30):
        potential = np.round(512 * mesh.centre[:, 0] ** 2) / 1024 + constant
        terms = (EntropyTerm(0.1), PotentialTerm(potential))
        state = State.initial(mesh, start / inner(mesh.volume, start))
        step = stepper.start(GradientFlow(mesh, TotalEnergy(mesh.volume, terms)))
        for _ in range(5):
            state = step(state, 0.1)
            assert (state.fallback, state.halvings) == ("", 0)
            counts.append(state.iterations)
        densities.append(state.density)
    assert counts[:5] == counts[5:]
    np.testing.assert_array_equal(*densities)


def test_an_energy_beyond_any_transport_cost_is_minimised_in_one_step():
    """1e300 int rho^2: the uniform density."""
    mesh = Box((-2.0,), (2.0,), (40,)).build()
    state = State.initial(mesh, np.ones(40) + mesh.centre[:, 0] / 4)
    terms = (PorousMedium(2.0, 1e300).on(mesh, {}),)
    after = LJKO().start(GradientFlow(mesh, TotalEnergy(mesh.volume, terms)))(state, 1.0)
    np.testing.assert_allclose(after.density, 1.0, rtol=1e-6)
    assert after.halvings == 0


@pytest.mark.parametrize(("seed", "number", "most"), [(0, 57, 60), (0, 143, 60), (0, 388, 60)])
def test_close_to_equilibrium_the_round_off_of_the_potential_does_not_hide_the_minimum(seed, number, most):
    """tau T rho is so large that differences of phi count to 1e-16: without the shift of the energy all fall back."""
    (found,) = outcomes(LJKO(), iter([sample(seed, number)]))
    assert (found["failure"], found["fallbacks"]) == ("", 0)
    assert max(found["iterations"]) <= most


@pytest.mark.parametrize(
    ("seed", "number", "most"), [(2, 146, 500), (1, 34, 250), (2, 353, 250), (21, 161, 400), (21, 53, 250)]
)
def test_large_exponents_need_no_long_continuation(seed, number, most):
    """m up to 20 from a spike or tails: 500 to 3000 iterations by continuation in the length alone."""
    (found,) = outcomes(LJKO(), iter([sample(seed, number)]))
    assert (found["failure"], found["halvings"]) == ("", 0)
    assert max(found["iterations"]) <= most


def long_step(length):
    """Ornstein-Uhlenbeck on 60 cells from a patch."""
    mesh = Box((-2.0,), (2.0,), (60,)).build()
    terms = (EntropyTerm(1.0), PotentialTerm(mesh.centre[:, 0] ** 2 / 2))
    start = 1.0 * (np.abs(mesh.centre[:, 0] - 0.7) < 0.2)
    state = State.initial(mesh, start / inner(mesh.volume, start))
    return mesh, LJKO().start(GradientFlow(mesh, TotalEnergy(mesh.volume, terms)))(state, length)


def test_a_diffusion_that_overflows_the_digits_is_predicted():
    """rho E'' of a patch is 1e24 there, m = 20: the prediction's matrix was singular, and with it all of the step."""
    (found,) = outcomes(LJKO(), iter([sample(41, 373)]), steps=1)
    assert not found["failure"]
    assert max(found["iterations"]) <= 60


def test_a_stiffness_that_underflows_makes_no_step_a_long_one():
    """rho E'' of the mean density is 0 in doubles for m = 1000."""
    mesh = Box((-1.1,), (1.1,), (20,)).build()
    energy = TotalEnergy(mesh.volume, (PowerTerm(1.0, 1000.0),))
    state = State.initial(mesh, np.maximum(1.0 - mesh.centre[:, 0] ** 2, 0.0) / 2.0)
    assert energy.stiffness(state.mass / 2.2) == 0.0
    after = LJKO().start(GradientFlow(mesh, energy))(state, 0.01)
    assert abs(inner(mesh.volume, after.density) / state.mass - 1.0) <= 1e-14


@pytest.mark.parametrize("length", [1e12, 1e30, 1e60, 1e250])
def test_a_step_of_any_length_ends_at_the_minimum_of_the_energy(length):
    """exp(-V/eps), which the step's own certificate says too; what is left of W2^2/(2 tau) is below round-off."""
    mesh, after = long_step(length)
    expected = np.exp(-(mesh.centre[:, 0] ** 2) / 2)
    np.testing.assert_allclose(after.density, expected / inner(mesh.volume, expected), rtol=1e-6)
    assert (after.halvings, after.fallback) == (0, "")
    assert after.iterations <= 10
    assert after.optimality <= OPTIMAL
    assert after.gap <= 1e-9


def test_a_step_whose_length_overflows_is_refused_without_halving_it():
    with pytest.raises(NumericsError, match=r"step 1e\+308, so long a step is beyond double precision; use one of"):
        long_step(1e308)


def test_few_steps_take_long():
    """Of 90 steps."""
    found = summary(list(outcomes(LJKO(), (sample(0, number) for number in range(100, 130)))))
    assert (found["failures"], found["halvings"], found["fallbacks"]) == (0, 0, 0)
    assert found["mean"] <= 12
    assert found["p99"] <= 60


@pytest.mark.parametrize("range_", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("number", [0, 3, 57])
def test_any_q_has_a_potential(number, range_):
    """With a theta of either direction: q of the potential is the q that was asked for."""
    mesh = sample(0, number).problem.mesh
    random = np.random.default_rng(number)
    forward, backward = (mesh.transmissibility * random.uniform(0.5, 2.0, mesh.faces) for _ in range(2))
    step = TransportStep(mesh, np.ones(mesh.cells), 1.0, UpwindTriangular(mesh), forward, backward)
    q = range_ * random.normal(size=mesh.cells)
    phi = step.potential(q)
    np.testing.assert_allclose(step.hamilton_jacobi(phi, step.faces(phi)), q, rtol=0, atol=1e-11 * range_)
    assert (phi <= q).all()


def test_no_scale_of_the_energy_without_mass():
    """Not numpy's error for the range of nothing: an iterate may underflow everywhere, as in very long steps."""
    mesh = Box((-1.0,), (1.0,), (10,)).build()
    energy = ContinuedEnergy(TotalEnergy(mesh.volume, (EntropyTerm(1.0),)), 0.5)
    for density in (np.zeros(10), np.full(10, np.nan)):
        with pytest.raises(NumericsError, match="range nan"):
            energy.scale(energy.first(density), density)


def test_no_density_is_above_that_of_all_mass_in_one_cell(monkeypatch):
    """E' = log rho + 1 is inverted at once; where q would need more, it is not looked for by bisection."""
    mesh = Box((0.0,), (1.0,), (9,)).build()
    energy, asked = ContinuedEnergy(TotalEnergy(mesh.volume, (Entropy(1.0).on(mesh, {}),)), 0.5), []
    first = ContinuedEnergy.first
    monkeypatch.setattr(ContinuedEnergy, "first", lambda self, density: asked.append(0) or first(self, density))
    q = np.linspace(-2.0, 6.0, 9)
    np.testing.assert_allclose(energy.inverse(q), np.minimum(np.exp(q - 1.0), energy.largest), rtol=1e-9)
    assert np.exp(q[-1] - 1.0) > energy.largest == pytest.approx(9.0)
    assert len(asked) <= 4


def test_the_level_of_an_energy_that_is_flat_in_doubles_is_refused():
    """rho^999 is 0 in doubles up to rho = .5: every density below has the same E'."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (9, 9)).build()
    terms = (PorousMedium(1000.0).on(mesh, {}),)
    with pytest.raises(NumericsError, match="lost to round-off"), np.errstate(all="ignore"):
        ContinuedEnergy(TotalEnergy(mesh.volume, terms), 0.07).level(0.07)
