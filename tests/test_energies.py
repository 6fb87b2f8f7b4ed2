from typing import get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import (
    Energy,
    EnergyKind,
    EnergyTerm,
    Entropy,
    EntropyTerm,
    Interaction,
    PorousMedium,
    Potential,
    PotentialTerm,
    PowerLaw,
    TotalEnergy,
)
from fvflow.errors import CaseError
from fvflow.fields import Gaussian
from fvflow.flows import WassersteinFlow
from fvflow.mesh import Box, Graded
from fvflow.steppers import JKO, LJKO, Midpoint
from fvflow.times import Times
from tests.contracts import check_energy

EXAMPLES = {
    Entropy: [Entropy(0.7)],
    Potential: [Potential("x**2*k")],
    PowerLaw: [PowerLaw(2.0), PowerLaw(3.5, 0.3)],
    PorousMedium: [PorousMedium(2.0), PorousMedium(5.0, 0.3), PorousMedium(0.7), PorousMedium(1.01)],
    Interaction: [Interaction("k*exp(-r**2)"), Interaction("log(r)")],
}
MESH = Box((0.0,), (2.0,), (20,)).build()
START = Gaussian((0.1,), ((0.1,),))
MESHES = {
    "line": MESH,
    "graded line": Graded((0.0,), (2.0,), (14,), (3.0,)).build(),
    "plane": Box((0.0, 0.0), (1.0, 2.0), (6, 5)).build(),
    "space": Box((0.0,) * 3, (1.0, 2.0, 1.0), (3, 4, 5)).build(),
}


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.kind) for kind in get_args(Energy)])
def test_energy_keeps_the_contract(kind, mesh):
    for energy in EXAMPLES[kind]:
        check_energy(energy, MESHES[mesh], {"k": 2.0})


class Quadratic(EnergyKind):
    """rho^2/2, of which nothing is declared but its convexity; the flow is d_t rho = Lap rho^2/2."""

    kind = "quadratic"
    strictly_convex = True

    def on(self, mesh, parameters):
        return QuadraticTerm()


class QuadraticTerm(EnergyTerm):
    def value(self, density):
        return 0.5 * density**2

    def first(self, density):
        return density

    def second(self, density):
        return np.ones_like(density)


def test_an_energy_of_ones_own_keeps_the_contract():
    check_energy(Quadratic(), MESH)


@pytest.mark.parametrize("stepper", [LJKO(), JKO(), Midpoint()], ids=lambda stepper: stepper.kind)
def test_an_energy_of_ones_own_runs_as_a_built_in_one(stepper):
    """rho^2/2 is the porous-medium energy with coefficient 1/2."""

    def run(energy):
        case = Case(Box((-2.0,), (2.0,), (40,)), WassersteinFlow((energy,), stepper), START, Times(0.2, 0.05))
        return case.run()

    mine, built_in = run(Quadratic()), run(PorousMedium(2.0, 0.5))
    np.testing.assert_allclose(mine.rho, built_in.rho, rtol=1e-7, atol=1e-9)
    assert (mine.rho >= 0).all()
    assert (np.diff(mine.energy) < 0).all()
    assert abs(mine.rho[-1] - mine.rho[0]).max() > 0.1


def test_an_energy_without_a_name_is_refused():
    class Nameless(Quadratic):
        kind = None

    case = Case(Box((-2.0,), (2.0,), (40,)), WassersteinFlow((Nameless(),), LJKO()), START, Times(0.2, 0.05))
    with pytest.raises(CaseError, match=r'^flow\.energy\.0: Nameless has no name; write kind = "..." in the class$'):
        case.prepare()


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
