from typing import get_args

import numpy as np
import pytest

from fvflow.energies import (
    Energy,
    Entropy,
    EntropyTerm,
    Interaction,
    PorousMedium,
    Potential,
    PotentialTerm,
    PowerLaw,
    TotalEnergy,
)
from fvflow.mesh import Box
from tests.contracts import check_energy

EXAMPLES = {
    Entropy: [Entropy(0.7)],
    Potential: [Potential("x**2*k")],
    PowerLaw: [PowerLaw(2.0), PowerLaw(3.5, 0.3)],
    PorousMedium: [PorousMedium(2.0), PorousMedium(5.0, 0.3), PorousMedium(0.5), PorousMedium(1.01)],
}
MESH = Box((0.0,), (2.0,), (20,)).build()


@pytest.mark.parametrize("kind", [kind for kind in get_args(Energy) if kind is not Interaction])
def test_energy_keeps_the_contract(kind):
    for energy in EXAMPLES[kind]:
        check_energy(energy.on(MESH, {"k": 2.0}), 20)


def test_entropy_at_and_below_zero():
    term = EntropyTerm(2.0)
    np.testing.assert_array_equal(term.value(np.array([0.0, 1.0, -1e-300])), [0.0, 0.0, np.inf])
    assert term.first(np.zeros(1))[0] == -np.inf
    one, empty = np.ones(1), np.zeros(1)
    assert term.secant(one, empty)[0] == term.secant(empty, one)[0] == 0.0


def test_sums_add_and_name_their_potential():
    potential = np.linspace(0, 1, 20)
    total = TotalEnergy(MESH.volume, (EntropyTerm(0.5), PotentialTerm(potential), EntropyTerm(0.25)))
    density = np.linspace(0.5, 1.5, 20)
    expected = MESH.volume @ (0.75 * density * np.log(density) + potential * density)
    assert total.value(density) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(total.first(density), 0.75 * (np.log(density) + 1) + potential, rtol=1e-14)
    np.testing.assert_array_equal(total.potential(density), potential)
    np.testing.assert_array_equal(TotalEnergy(MESH.volume, (EntropyTerm(0.5),)).potential(density), np.zeros(20))
