"""The safeguards of the Newton iterations of a JKO step."""

import numpy as np
import pytest

from fvflow.energies import EntropyTerm, PotentialTerm, PowerTerm, TotalEnergy
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import Auto, Multigrid
from fvflow.mesh import Box, Graded, Voronoi
from fvflow.problems import FokkerPlanck, GradientFlow, State
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.newton import CentredNewton
from fvflow.steppers.predictor import Predictor
from fvflow.steppers.upwind_newton import keeps_pace


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


def test_errors_keep_pace_that_are_in_time_or_fall_so_fast_that_they_will_be():
    """pace(k) = 10^(2 - k/5), a fifth of a digit an iteration."""

    def pace(iteration):
        return 10.0 ** (2 - iteration / 5)

    assert keeps_pace([99.0], pace)
    assert not keeps_pace([101.0], pace), "one error has no ratio"
    assert not keeps_pace([np.inf], pace)
    assert keeps_pace([1e3, 90.0 * 10**-0.2], pace), "in time"
    assert keeps_pace([1e4, 1e3], pace), "1 three iterations on"
    assert not keeps_pace([1e4, 5e3], pace), "625 three iterations on"
    assert not keeps_pace([200.0, 200.0], pace)
    assert not keeps_pace([200.0, 201.0], pace)
    assert keeps_pace([1e6, 0.0], pace)
    assert not keeps_pace([1e6, np.nan], pace)


@pytest.mark.parametrize("solver", [Auto(), Multigrid()], ids=["factorised", "multigrid"])
@pytest.mark.parametrize(
    "mesh",
    [
        Box((-1.0,), (1.0,), (12,)),
        Box((-1.0, -1.0), (1.0, 1.0), (6, 5)),
        Box((-1.0, -1.0), (1.0, 1.0), (6, 5), periodic=("y",)),
        Graded((-1.0,) * 3, (1.0,) * 3, (4, 3, 3), (2.0, 1.0, 1.0)),
        Voronoi((-1.0, -1.0), (1.0, 1.0), (5, 5), seed=1),
    ],
    ids=["line", "box", "cylinder", "space", "voronoi"],
)
def test_the_prediction_of_a_linear_flow_is_its_implicit_step(mesh, solver):
    """To first order in tau where it is split by axis, as on grids whose systems are iterated."""
    built, eps = mesh.build(), 0.3
    text = "x**2" if built.periodic or built.dimension == 1 else "x**2 + x*y"
    flow = FokkerPlanck(built, Drift(potential=Expression(text)), eps, ScharfetterGummel())
    energy = TotalEnergy(built.volume, (EntropyTerm(eps), PotentialTerm(flow.drift.cell_potential(built, 0.0))))
    state = State.initial(built, 0.1 + np.random.default_rng(3).random(built.cells))
    predict = Predictor(GradientFlow(built, energy), solver)
    split = built.edges is not None and built.dimension > 1 and solver == Multigrid()
    errors = []
    for tau in (1e-3, 5e-4, 1e-3):
        found = predict(state, tau)
        exact = np.linalg.solve(flow.matrix(0.0, tau).sparse().toarray(), built.volume * state.density)
        errors.append(abs(found - exact).max())
        assert built.volume @ found == pytest.approx(state.mass, rel=1e-12)
    if split:
        assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1), "tau^2 in one step"
    else:
        assert max(errors) <= 1e-9
    with np.errstate(all="raise"):
        thin = GradientFlow(built, TotalEnergy(built.volume, (PowerTerm(1.0, 3.0),)))
        assert Predictor(thin, solver)(state, 0.1).min() >= 0
