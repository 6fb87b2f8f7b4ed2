"""BiCGStab against dense solves: what it stops at, what it returns, what it leaves alone."""

import numpy as np
import pytest

from fvflow.linalg.bicgstab import WORK, bicgstab


def system(count=30, seed=1):
    random = np.random.default_rng(seed)
    a = np.eye(count) + 0.4 * random.normal(size=(count, count)) / np.sqrt(count)
    return a, random.normal(size=count)


def times(a):
    def operator(vector, /, *, out):
        np.matmul(a, vector, out=out)
        return out

    return operator


def solved(a, b, weight=None, **options):
    x, residual = np.zeros_like(b), b.copy()
    options = {"goal": 1e-12, "most": 100, "weight": np.ones_like(b) if weight is None else weight, **options}
    count, stalled = bicgstab(times(a), x, residual, **options)
    return x, residual, count, stalled


def test_it_solves_and_the_residual_is_the_true_one():
    a, b = system()
    x, residual, count, stalled = solved(a, b)
    np.testing.assert_allclose(x, np.linalg.solve(a, b), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(residual, b - a @ x, atol=1e-13)
    assert np.abs(residual).sum() <= 1e-12
    assert (0 < count < 30, stalled) == (True, False)


def test_it_starts_from_the_guess():
    a, b = system()
    x = np.ones_like(b)
    bicgstab(times(a), x, b - a @ x, goal=1e-12, most=100, weight=np.ones_like(b))
    np.testing.assert_allclose(a @ x, b, atol=1e-11)


def test_a_good_preconditioner_takes_one_iteration():
    a, b = system()
    x, _, count, _ = solved(a, b, precondition=times(np.linalg.inv(a)))
    assert count == 1
    np.testing.assert_allclose(a @ x, b, atol=1e-11)


@pytest.mark.parametrize("goal", [1e-2, 1e-6])
def test_it_stops_in_the_weighted_norm(goal):
    """An iteration less misses the goal, and weights of 1e-3 spare iterations."""
    a, b = system()
    weight = np.linspace(1.0, 2.0, len(b))
    _, residual, count, _ = solved(a, b, weight, goal=goal)
    assert weight @ np.abs(residual) <= goal
    _, residual, less, _ = solved(a, b, weight, goal=goal, most=count - 1)
    assert less == count - 1
    assert weight @ np.abs(residual) > goal
    assert solved(a, b, 1e-3 * weight, goal=goal)[2] < count


def test_the_caller_judges_the_progress():
    seen = []

    def stalled(count, norm):
        seen.append((count, norm))
        return count == 3

    a, b = system()
    _, residual, count, slow = solved(a, b, stalled=stalled)
    assert (count, slow) == (3, True)
    assert [each for each, _ in seen] == [1, 2, 3]
    assert seen[-1][1] == pytest.approx(np.abs(residual).sum(), rel=1e-14)


def test_workspace_changes_nothing():
    a, b = system()
    work = np.full((WORK, len(b)), np.nan)
    np.testing.assert_array_equal(solved(a, b, work=work)[0], solved(a, b)[0])


@pytest.mark.parametrize("a", [np.zeros((3, 3)), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])])
def test_a_breakdown_ends_it_without_a_warning(a):
    x, _, count, stalled = solved(a, np.array([1.0, 0.0, 0.0]))
    assert (count, stalled) == (1, False)
    assert np.isfinite(x).all()


def test_a_residual_that_overflows_ends_it():
    _, residual, count, _ = solved(1e200 * np.eye(3), np.full(3, 1e200))
    assert count == 1
    assert not np.isfinite(residual).all()
