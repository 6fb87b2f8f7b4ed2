"""JKO steps on random problems of a seed: none fails, none is halved; mass, sign and energy are kept."""

import pytest

from fvflow.steppers import LJKO
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
