"""Problems in arrays against their closed forms."""

import numpy as np
import pytest

from fvflow.fields import Drift
from fvflow.fluxes import Upwind
from fvflow.mesh import Box
from fvflow.problems import FokkerPlanck
from fvflow.steppers import CrankNicolson


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("epsilon", [1e-3, 1.0])
def test_the_rate_of_heat_is_two_epsilon_over_h_squared_for_each_axis(dimension, epsilon):
    """And the longest step of Crank-Nicolson that is sure to keep the sign is two over it."""
    mesh = Box((0.0,) * dimension, (2.0,) * dimension, (4,) * dimension).build()
    problem = FokkerPlanck(mesh, Drift(), epsilon, Upwind())
    rate = dimension * 2 * epsilon / 0.5**2
    assert problem.max_outflow_rate(0.0) == pytest.approx(rate, rel=1e-12)
    assert CrankNicolson().positive_step(problem) == pytest.approx(2 / rate, rel=1e-12)


def test_the_rate_bounds_what_a_cell_can_lose():
    """A spike loses all its mass in an explicit Euler step of 1/rate, in the cell that empties fastest."""
    mesh = Box((0.0,), (1.0,), (5,)).build()
    problem = FokkerPlanck(mesh, Drift(), 0.3, Upwind())
    lost = []
    for cell in range(mesh.cells):
        spike = np.eye(mesh.cells)[cell]
        out = problem.flux(spike, 0.0)
        lost.append((out[mesh.owner == cell].sum() - out[mesh.neighbour == cell].sum()) / mesh.volume[cell])
    assert max(lost) / problem.max_outflow_rate(0.0) == pytest.approx(1.0, rel=1e-12)
