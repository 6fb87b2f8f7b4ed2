"""The safeguards of the Newton iterations of a JKO step."""

import numpy as np
import pytest

from fvflow.energies import EntropyTerm, PotentialTerm, TotalEnergy
from fvflow.mesh import Box
from fvflow.problems import GradientFlow, State
from fvflow.steppers.newton import CentredNewton
from fvflow.steppers.schur import MeshSystemSolver


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
