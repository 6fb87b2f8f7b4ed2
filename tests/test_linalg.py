import math
from typing import get_args

import numpy as np
import pytest

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Auto, Direct, FaceMatrix, Krylov, Solver, Tridiagonal, aggregated, chosen
from fvflow.linalg.kernels import compiled
from fvflow.linalg.tridiagonal import eliminate, substitute
from fvflow.mesh import Box, Extent
from fvflow.problems import FokkerPlanck
from tests.contracts import check_solver


def matrix(dimension: int, cells: int, step: float) -> FaceMatrix:
    mesh = Box((-2.0,) * dimension, (2.0,) * dimension, (cells,) * dimension).build()
    drift = Drift(potential=Expression("2*x**2" if dimension == 1 else "2*x**2 + x*y + y**2"))
    return FokkerPlanck(mesh, drift, 0.4, ScharfetterGummel()).matrix(0.0, step)


@pytest.mark.parametrize("step", [1e-4, 1e-1, 1e3])
@pytest.mark.parametrize(
    ("solver", "dimension"), [(Tridiagonal(), 1), (Direct(), 1), (Direct(), 2), (Krylov(), 2), (Krylov(), 3)]
)
def test_solver_keeps_the_contract(solver, dimension, step):
    check_solver(solver, matrix(dimension, {1: 40, 2: 9, 3: 6}[dimension], step))


def test_every_solver_is_under_contract():
    assert set(get_args(Solver)) == {Auto, Tridiagonal, Direct, Krylov}


def test_auto_picks_by_dimension_and_size():
    def picked(*cells):
        return type(chosen(Auto(), Extent(len(cells), math.prod(cells))))

    assert picked(10) is Tridiagonal
    assert picked(10, 10) is Direct
    assert picked(8, 8, 8) is Direct
    assert picked(40, 40, 40) is Krylov
    assert chosen(Krylov(), Extent(1, 3)) == Krylov()
    with pytest.raises(CaseError, match="one space dimension"):
        chosen(Tridiagonal(), Extent(2, 9))


def test_compiled_sweeps_equal_the_plain_ones():
    m = matrix(1, 50, 0.3)
    plain = substitute(pivot := eliminate(m.volume, m.down, m.up), m.down, m.up, m.volume)
    fast_pivot = compiled(eliminate)(m.volume, m.down, m.up)
    np.testing.assert_allclose(fast_pivot, pivot, rtol=4e-16)
    np.testing.assert_allclose(compiled(substitute)(fast_pivot, m.down, m.up, m.volume), plain, rtol=1e-14)


def test_the_sweep_is_right_to_round_off_where_subtraction_is_not():
    """A step of 1e12 leaves pivots that subtraction would lose; the mass before any correction is still exact."""
    m = matrix(1, 1000, 1e12)
    x = substitute(eliminate(m.volume, m.down, m.up), m.down, m.up, m.volume)
    assert abs(m.volume @ x / m.volume.sum() - 1) < 1e-12


def test_tridiagonal_refuses_what_is_no_chain():
    with pytest.raises(CaseError, match="one space dimension"):
        Tridiagonal().prepare(matrix(2, 4, 0.1))


def test_a_solver_that_loses_mass_is_not_covered_up():
    m = matrix(1, 10, 0.1)
    with pytest.raises(NumericsError, match="returned the mass"):
        aggregated(m, np.ones(10), 1.001 * m.volume.sum())
    with pytest.raises(NumericsError):
        aggregated(m, np.full(10, np.nan), 1.0)


def test_krylov_says_where_it_stopped():
    with pytest.raises(NumericsError, match=r"residual .* or solver direct"):
        Krylov(iterations=1, tolerance=1e-14).prepare(matrix(2, 40, 1e4))(np.eye(1600)[7], 1.0)


def test_krylov_leaves_no_negative_density():
    """BiCGStab alone leaves cells of -1e-25 in the tails of a spike."""
    m = matrix(3, 20, 0.05)
    right = np.zeros(8000)
    right[4210] = 1.0
    solution = Krylov().prepare(m)(right, 1.0)
    assert solution.density.min() >= 0
    assert solution.iterations > 0


def test_the_correction_of_the_mass_is_reported():
    m = matrix(1, 10, 1e-4)
    solution = aggregated(m, np.full(10, 1.0 + 4e-13), float(m.volume.sum()))
    assert solution.correction == pytest.approx(4e-13, rel=1e-2, abs=0)
    assert abs(m.volume @ solution.density / m.volume.sum() - 1) <= 4e-16
