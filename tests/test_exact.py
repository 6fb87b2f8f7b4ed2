from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import expm

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import (
    Facts,
    FromExact,
    GaussianReference,
    GaussianSolution,
    Gibbs,
    HeatBox,
    check_linear,
    linear_drift,
    steady_moments,
)
from fvflow.fields import Drift, Expression, Gaussian, Uniform
from fvflow.mesh import Box

SQUARE = Box((-3.0, -2.0), (3.0, 4.0), (30, 30)).build()


def velocity(*parts: str) -> Drift:
    return Drift(velocity=tuple(Expression(part) for part in parts))


BOX = (np.array([-3.0, -2.0]), np.array([3.0, 4.0]))


def test_linear_drifts_are_read_off():
    matrix, shift = linear_drift(velocity("-x - 2*y + 1", "3*x - y/2"), BOX, 0.0)
    np.testing.assert_allclose(matrix, [[-1, -2], [3, -0.5]], atol=1e-13)
    np.testing.assert_allclose(shift, [1, 0], atol=1e-13)
    matrix, shift = linear_drift(Drift(potential=Expression("(x - 1)**2 + x*y")), BOX, 0.0)
    np.testing.assert_allclose(matrix, [[-2, -1], [-1, 0]], atol=1e-12)
    np.testing.assert_allclose(shift, [2, 0], atol=1e-12)
    matrix, _ = linear_drift(Drift(stream=Expression("-0.5*(x**2 + y**2)")), BOX, 0.0)
    np.testing.assert_allclose(matrix, [[0, -1], [1, 0]], atol=1e-12)


@pytest.mark.parametrize(
    "drift",
    [
        velocity("-x**3", "y"),
        velocity("x*y", "0"),
        velocity("abs(x)", "y"),
        velocity("0", "sin(x)"),
        velocity("-x + sin(4*pi*x)", "0"),
        Drift(potential=Expression("0.5*x**2 + cos(4*pi*x)")),
        Drift(potential=Expression("0.5*x**2 + 10*max(x - 2.8, 0)**2")),
    ],
    ids=str,
)
def test_drifts_that_are_not_linear_are_refused(drift):
    with pytest.raises(CaseError, match="linear"):
        check_linear(drift, BOX, 0.0)


@pytest.mark.parametrize("at", [5.0, 100.0, 800.0])
@pytest.mark.parametrize("matrix", [[[-10.0, -0.3], [-0.3, -1.0]], [[-1.0, -5.0], [5.0, -1.0]]])
def test_moments_after_a_long_time_are_stationary(matrix, at):
    """A S + S A' + 2 eps I = 0 (Lyapunov)."""
    matrix = np.array(matrix)
    mean, covariance = steady_moments(np.ones(2), np.eye(2), matrix, np.array([1.0, 2.0]), 0.5, at)
    residual = matrix @ covariance + covariance @ matrix.T + np.eye(2)
    decay = np.exp(np.linalg.eigvals(matrix).real.max() * at)
    np.testing.assert_allclose(residual, 0, atol=1e-13 + 20 * decay)
    np.testing.assert_allclose(mean, -np.linalg.solve(matrix, [1.0, 2.0]), atol=1e-13 + 10 * decay)


def test_moments_that_run_away_are_refused():
    with pytest.raises(NumericsError, match="moments overflow at t = 1000"):
        steady_moments(np.ones(1), np.eye(1), np.eye(1), np.zeros(1), 0.5, 1000.0)


def test_moments_that_cannot_be_integrated_are_refused(monkeypatch):
    import scipy.integrate

    failed = SimpleNamespace(success=False, message="step size too small", y=np.zeros((6, 1)))
    monkeypatch.setattr(scipy.integrate, "solve_ivp", lambda *arguments, **options: failed)
    reference = GaussianReference(SQUARE, np.ones(2), np.eye(2), velocity("t*x", "0"), 0.1)
    with pytest.raises(NumericsError, match=r"no solution at t = 0\.5"):
        reference.moments(0.5)


def test_moments_satisfy_their_differential_equation():
    matrix, shift, eps = np.array([[-1.0, -2.0], [3.0, -0.5]]), np.array([0.3, -0.1]), 0.4
    mean, covariance = np.array([1.0, 0.5]), np.array([[0.3, 0.1], [0.1, 0.2]])
    at, h = 0.7, 1e-4
    before, now, after = (steady_moments(mean, covariance, matrix, shift, eps, at + k * h) for k in (-1, 0, 1))
    np.testing.assert_allclose((after[0] - before[0]) / (2 * h), matrix @ now[0] + shift, atol=1e-7)
    flow = matrix @ now[1]
    np.testing.assert_allclose((after[1] - before[1]) / (2 * h), flow + flow.T + 2 * eps * np.eye(2), atol=1e-7)


def test_moments_of_one_dimension_in_closed_form():
    mean, variance = steady_moments(np.array([1.5]), np.array([[0.3]]), np.array([[-2.0]]), np.zeros(1), 0.7, 0.9)
    decay = np.exp(-2 * 0.9)
    assert mean[0] == pytest.approx(1.5 * decay, rel=1e-14)
    assert variance[0, 0] == pytest.approx(0.3 * decay**2 + 0.35 * (1 - decay**2), rel=1e-14)


def test_rotation_without_diffusion_turns_the_covariance():
    spin = np.array([[0.0, -1.0], [1.0, 0.0]])
    mean, covariance = steady_moments(np.array([1.0, 0.0]), np.diag([0.3, 0.1]), spin, np.zeros(2), 0.0, np.pi / 2)
    np.testing.assert_allclose(mean, [0, 1], atol=1e-15)
    np.testing.assert_allclose(covariance, np.diag([0.1, 0.3]), atol=1e-15)


def test_drifts_that_move_agree_with_steady_ones_and_with_a_closed_form():
    steady = GaussianReference(SQUARE, np.array([1.0, 0.0]), np.eye(2), velocity("-x - y", "x - y"), 0.2)
    moving = GaussianReference(SQUARE, np.array([1.0, 0.0]), np.eye(2), velocity("-x - y + 0*t", "x - y"), 0.2)
    for one, other in zip(steady.moments(1.3), moving.moments(1.3), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-11)
    line = Box((-3.0,), (3.0,), (10,)).build()
    trap = GaussianReference(line, np.array([0.0]), np.eye(1), Drift(potential=Expression("0.5*(x - sin(t))**2")), 0.5)
    at = 2.0  # m' = -m + sin t, m(0) = 0
    assert trap.moments(at)[0][0] == pytest.approx((np.sin(at) - np.cos(at) + np.exp(-at)) / 2, abs=1e-11)
    assert trap.moments(1.0)[0][0] == pytest.approx((np.sin(1) - np.cos(1) + np.exp(-1)) / 2, abs=1e-11)


def test_the_series_of_the_covariance_against_quadrature():
    matrix, eps, at = np.array([[-1.0, 4.0], [0.0, -0.3]]), 0.6, 1.1
    node, weight = np.polynomial.legendre.leggauss(40)
    times = 0.5 * at * (node + 1)
    integral = sum(
        0.5 * at * w * 2 * eps * expm(matrix * s) @ expm(matrix * s).T for s, w in zip(times, weight, strict=True)
    )
    covariance = steady_moments(np.zeros(2), np.zeros((2, 2)), matrix, np.zeros(2), eps, at)[1]
    np.testing.assert_allclose(covariance, integral, rtol=1e-13)


def facts(mesh, drift=None, epsilon=0.5, initial=None):
    return Facts(mesh, drift or Drift(), epsilon, 2.0, initial or Uniform())


def test_heat_modes_decay_and_average_exactly():
    mesh = Box((0.0, 1.0), (2.0, 2.0), (12, 9)).build()
    reference = HeatBox((2, 1), 0.5).on(facts(mesh, initial=FromExact(2.0)))
    rate = 0.5 * ((2 * np.pi / 2) ** 2 + np.pi**2)
    for at in (0.0, 0.1):
        total = np.zeros(mesh.cells)
        for position, weight, _ in mesh.quadrature(6):
            mode = np.cos(np.pi * position[:, 0]) * np.cos(np.pi * (position[:, 1] - 1))
            total += weight * (1 + 0.5 * np.exp(-rate * at) * mode)
        np.testing.assert_allclose(reference.average(at), total / mesh.volume, rtol=1e-11)
        assert mesh.volume @ reference.average(at) == pytest.approx(2.0, rel=1e-13)


def test_closed_forms_refuse_cases_they_do_not_solve():
    drift = velocity("-x", "-y")
    with pytest.raises(CaseError, match="gaussian initial"):
        GaussianSolution().on(facts(SQUARE, drift))
    with pytest.raises(CaseError, match="heat equation"):
        HeatBox((1, 1)).on(facts(SQUARE, drift, initial=FromExact()))
    with pytest.raises(CaseError, match="needs initial"):
        HeatBox((1, 1)).on(facts(SQUARE))
    with pytest.raises(CaseError, match="one per axis"):
        HeatBox((1,)).on(facts(SQUARE))
    for wrong in (
        facts(SQUARE, drift),
        facts(SQUARE, epsilon=0.0),
        facts(SQUARE, Drift(potential=Expression("t*x"))),
    ):
        with pytest.raises(CaseError, match="gibbs"):
            Gibbs().on(wrong)


def test_the_reference_is_sampled_as_the_initial_density_is():
    initial = Gaussian((0.2, 0.1), ((0.3, 0.1), (0.1, 0.2)), sampling="centre")
    reference = GaussianSolution().on(facts(SQUARE, velocity("-y", "x"), initial=initial))
    np.testing.assert_allclose(reference.average(0.0), 2.0 * initial.sample(SQUARE, {}), rtol=1e-14)


def test_gaussian_reference_is_the_initial_density_at_time_zero():
    initial = Gaussian((0.2, 0.1), ((0.3, 0.1), (0.1, 0.2)))
    reference = GaussianSolution().on(facts(SQUARE, velocity("-y", "x"), initial=initial))
    np.testing.assert_allclose(reference.average(0.0), 2.0 * initial.sample(SQUARE, {}), rtol=1e-14)
