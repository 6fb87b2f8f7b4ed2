"""Runge-Kutta pairs: the same steps as scipy's, which chooses them for one state after another."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from fvflow.lagrangian.runge_kutta import integrated

START = np.random.default_rng(0).normal(size=40)


def rate(time, values):
    x, y = values.reshape(2, -1)
    return np.concatenate([y + np.sin(5 * time), -5 * np.sin(x)])


@pytest.mark.parametrize("name", ["rk45", "dop853"])
@pytest.mark.parametrize("span", [(0.0, 3.0), (2.0, -1.0)])
@pytest.mark.parametrize("longest", [np.inf, 0.1])
def test_steps_are_those_of_scipy(name, span, longest):
    times = {"ours": [], "scipy": []}

    def told(who):
        return lambda time, values: times[who].append(time) or rate(time, values)

    floor = np.full(40, 1e-7)
    ours = integrated(name, told("ours"), START, span, relative=1e-6, absolute=floor, longest=longest)
    expected = solve_ivp(told("scipy"), span, START, name.upper(), rtol=1e-6, atol=floor, max_step=longest)
    assert np.allclose(times["ours"], times["scipy"], rtol=0, atol=1e-10)
    assert np.allclose(ours, expected.y[:, -1], rtol=0, atol=1e-11)


def test_what_blows_up_has_no_step():
    with np.errstate(all="ignore"):
        found = integrated(
            "rk45", lambda t, y: y**2, np.ones(1), (0, 2), relative=1e-6, absolute=np.full(1, 1e-6), longest=np.inf
        )
    assert found is None


def test_nothing_moves_in_no_time_or_without_a_rate():
    for rate_of, span in ((rate, (1.0, 1.0)), (lambda t, y: 0 * y, (0.0, 1.0))):
        found = integrated("dop853", rate_of, START, span, relative=1e-6, absolute=np.full(40, 1e-6), longest=np.inf)
        assert np.array_equal(found, START)
