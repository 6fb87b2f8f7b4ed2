"""The safeguards of the Newton iterations of a JKO step."""

import numpy as np
import pytest

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.mesh import Box
from fvflow.problems import GradientFlow, State
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.newton import CentredNewton


def test_a_newton_step_at_most_triples_a_cell_and_keeps_a_tenth():
    """A long step from a spike in a steep well: both limits are met."""
    mesh = Box((-1.0,), (1.0,), (40,)).build()
    x = mesh.centre[:, 0]
    problem = GradientFlow(mesh, TotalEnergy(mesh.volume, (EntropyTerm(0.05), PotentialTerm(20 * x**2))))
    density = np.exp(-20 * (x - 0.6) ** 2) + 1e-3
    state = State.initial(mesh, density)
    mean = state.mass / 2
    iterate = CentredNewton(MeshSystemSolver(mesh), problem, state, density, 10.0)
    ratios = []
    for _ in range(6):
        before = iterate.density
        residuals = iterate.residuals()
        iterate.errors(*residuals)  # how far there is to go chooses the solver of the system
        iterate.advance(*residuals)
        after = iterate.density
        ratios.append(after / before)
        assert (after >= 0.1 * before * (1 - 1e-15)).all()
        assert (after <= np.maximum(3 * before, mean) * (1 + 1e-15)).all()
    assert np.min(ratios) == pytest.approx(0.1), "the lower limit was met"
    assert any(((step > 2.999) & (step < 3.001)).any() for step in ratios), "the upper limit was met"


def test_the_potential_counts_in_an_empty_cell_only_where_it_would_fill_it():
    """E' = log rho + 1, cell 0 at 1e-14 of the mean: phi of a density 1e-13 leaves it empty, phi of 1e-3 does not."""
    mesh = Box((0.0,), (1.0,), (10,)).build()
    problem = GradientFlow(mesh, TotalEnergy(mesh.volume, (EntropyTerm(1.0),)))
    state = State.initial(mesh, np.ones(10))
    for filling, expected in ((1e-13, 0.0), (1e-3, np.log(1e-3 / 1e-12))):
        iterate = CentredNewton(MeshSystemSolver(mesh), problem, state, np.ones(10), 1e-9)
        iterate.density = np.r_[1e-14, np.ones(9)]
        iterate.phi = np.log(np.r_[filling, np.ones(9)]) + 1.0
        _, error = iterate.errors(*iterate.residuals())
        iterate.density, iterate.phi = np.ones(10), np.r_[2.0, np.ones(9)]
        _, unit = iterate.errors(*iterate.residuals())  # of 1 in phi
        assert error / unit == pytest.approx(expected, abs=1e-6)
