"""Derivatives of expressions: against central differences for every function of the language, and refusals."""

import numpy as np
import pytest

from fvflow.fields import ArrayTable, Drift, Expression, ExpressionError
from fvflow.fields.grammar import FUNCTIONS

STEP = 1e-5
WITHOUT = {"gamma", "lgamma", "j1", "i1"}
SIMPLE = {1: "{}(0.3 + x/4)", 2: "{}(x*y, y + x**2)", 3: "{}(x > y, x**2, x*y)"}
TEXTS = [
    *(SIMPLE[count].format(name) for name, (_, count) in FUNCTIONS.items() if name not in WITHOUT),
    "x**3 - 2*x**-2/y + x**y + 2**x + (+x)**1",
    "-(x - y)/(x*y) + x*(x < 1) + sqrt(x)*exp(-k*x**2/t)",
    "min(x**2, 1 - x) + max(y, x)**2",
    "x**0*y + 3",
]


@pytest.mark.parametrize("text", TEXTS)
def test_against_central_differences(text):
    expression = Expression(text)
    points = np.random.default_rng(0).uniform(0.5, 1.7, (200, 2))
    for axis, shift in enumerate(STEP * np.eye(2)):
        sides = [expression.at(points + side, {"k": 0.7}, 1.3) for side in (shift, -shift)]
        got = expression.along(axis, STEP).at(points, {"k": 0.7}, 1.3)
        jumps = np.abs(sides[0] - sides[1]) > 0.1  # between the sides
        assert np.abs(got - (sides[0] - sides[1]) / (2 * STEP))[~jumps].max() < 1e-7
        assert jumps.mean() < 0.01


def test_second_derivatives():
    points = np.random.default_rng(0).uniform(0.2, 1.7, (50, 1))
    second = Expression("sin(x)*x**4").along(0, STEP).along(0, STEP)
    x = points[:, 0]
    assert np.allclose(second.at(points, {}, 0.0), 12 * x**2 * np.sin(x) + 8 * x**3 * np.cos(x) - x**4 * np.sin(x))


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_functions_without_a_derivative_are_refused_where_it_is_needed(name):
    with pytest.raises(ExpressionError, match=f"the derivative of {name} is no function of the language"):
        Expression(f"{name}(x)").derivative("x")
    assert Expression(f"x + {name}(y)").derivative("x")(x=1.0, y=1.0) == 1.0


def test_regions_have_no_derivative():
    with pytest.raises(ExpressionError, match="jumps between cells"):
        Expression("x*inside(core)").derivative("x")


def test_a_motion_has_the_velocity_and_divergence_of_its_drift():
    x = np.linspace(-2.0, 2.0, 81)
    table = ArrayTable((x, x), np.add.outer(np.sin(x), x**2), method="cubic").function()
    drift = Drift(table, (Expression("x*y"), Expression("t*y**2")), Expression("sin(x)*y"), {}, (0.5, 0.0))
    points = np.random.default_rng(0).uniform(-1.5, 1.5, (100, 2))
    motion, (a, b) = drift.motion(2, 1e-3), points.T
    expected = np.stack([-np.cos(a) + a * b + np.sin(a) + 0.5, -2 * b + 2 * b**2 - np.cos(a) * b], axis=1)
    assert np.abs(motion.velocity(points, 2.0) - expected).max() < 1e-5
    assert np.abs(motion.divergence(points, 2.0) - (np.sin(a) - 2 + b + 4 * b)).max() < 1e-3
