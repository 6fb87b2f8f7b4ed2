"""The Krylov solver on meshes that are no grids, where it has a matrix."""

import numpy as np
import pytest

from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, ScharfetterGummel
from fvflow.linalg import Direct, Krylov
from fvflow.mesh import Voronoi
from fvflow.problems import FokkerPlanck

MESH = Voronoi((0.0, 0.0), (1.0, 1.0), (9, 8), seed=2).build()


@pytest.mark.parametrize("flux", [ScharfetterGummel(), Centred()])
def test_signs_are_those_of_the_solution(flux):
    """What is negative for a reason stays so: right-hand sides of both signs, and fluxes that are not monotone."""
    problem = FokkerPlanck(MESH, Drift(velocity=(Expression("3"), Expression("-y"))), 0.01, flux)
    matrix = problem.matrix(0.0, 0.02)
    assert matrix.monotone == (flux == ScharfetterGummel())
    spike = MESH.volume * np.eye(MESH.cells)[40] / MESH.volume[40]
    both = MESH.volume * (1.0 + 9.0 * np.sin(20 * MESH.centre[:, 0]))
    for right, negative in ((spike, not matrix.monotone), (both, True)):
        total = float(right.sum())
        exact = Direct().prepare(matrix)(right, total).density
        assert (exact.min() < -1e-6) == negative
        np.testing.assert_allclose(Krylov().prepare(matrix)(right, total).density, exact, rtol=1e-8, atol=1e-9)
