"""JKO steps on random problems of a seed: none fails, none is halved; mass, sign and energy are kept."""

import pytest

from fvflow.linalg import inner
from fvflow.steppers import LJKO
from fvflow.steppers.optimality import OPTIMAL
from tests.jko_cases import outcomes, sample, summary


@pytest.mark.parametrize("mobility", ["limited", "upwind"])
@pytest.mark.parametrize("interaction", [False, True])
def test_steps_of_random_problems(mobility, interaction):
    found = list(outcomes(LJKO(mobility=mobility), (sample(0, number, interaction) for number in range(30))))
    figures = summary(found)
    assert figures["failures"] == 0, [one["failure"] for one in found]
    assert figures["halvings"] == 0
    assert figures["fallbacks"] <= 0.1 * figures["steps"]
    assert figures["mass"] <= 1e-14
    assert figures["energy"] <= 1e-13
    assert figures["mean"] <= 50


@pytest.mark.parametrize("number", [1, 7, 10, 13])
def test_a_fallback_keeps_mass_and_sign_lowers_the_energy_and_says_that_it_is_not_optimal(number):
    one = sample(0, number)
    after = LJKO(iterations=1).start(one.problem)(one.initial, one.step)
    volume, energy = one.problem.mesh.volume, one.problem.total
    assert (after.fallbacks, after.halvings) == (1, 0)
    assert after.density.min() >= 0
    assert inner(volume, after.density) == pytest.approx(1.0, abs=1e-14)
    assert energy.value(after.density) < energy.value(one.initial.density)
    assert after.optimality > 1000 * OPTIMAL, "it does not minimise"
