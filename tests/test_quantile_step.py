"""The Lagrangian JKO step on a line: against the closed form of Gaussians, at walls, and against the Eulerian step."""

import numpy as np
import pytest
from scipy.stats import norm

from fvflow.case import Case
from fvflow.errors import NumericsError
from fvflow.lagrangian.quantile_step import LineEnergy, quantile_step
from tests.contracts import assert_order


def gaussian_step(cells):
    """Errors of mean, standard deviation and minimum of one step from N(1, 0.7^2) with V = (x - 0.3)^2."""
    tau, eps, k, c, m0, s0 = 0.1, 0.8, 2.0, 0.3, 1.0, 0.7
    edges = np.linspace(m0 - 7 * s0, m0 + 7 * s0, cells + 1)
    potential = (lambda x: 0.5 * k * (x - c) ** 2, lambda x: k * (x - c), lambda x: k + 0 * x)
    step = quantile_step(edges, np.diff(norm.cdf(edges, m0, s0)), tau, LineEnergy(eps, (), potential))
    m1 = (m0 + k * tau * c) / (1 + k * tau)
    s1 = (s0 + np.sqrt(s0**2 + 4 * eps * tau * (1 + k * tau))) / (2 * (1 + k * tau))
    middle, width = 0.5 * (step.nodes[1:] + step.nodes[:-1]), np.diff(step.nodes)
    mean = step.mass @ middle
    deviation = np.sqrt(step.mass @ ((middle - mean) ** 2 + width**2 / 12))
    minimum = -eps * np.log(s1 * np.sqrt(2 * np.pi * np.e)) + 0.5 * k * (s1**2 + (m1 - c) ** 2)
    minimum += ((m1 - m0) ** 2 + (s1 - s0) ** 2) / (2 * tau)
    return abs(mean - m1), abs(deviation - s1), abs(step.energy + step.cost - minimum), step.iterations


def test_a_gaussian_is_moved_as_the_closed_form_says():
    """Notes, equation (2): the mean to the mass beyond the walls, all else to second order."""
    counts = (50, 100, 200)
    mean, deviation, minimum, iterations = zip(*(gaussian_step(count) for count in counts), strict=True)
    assert max(mean) < 1e-10
    for errors in (deviation, minimum):
        assert_order(1 / np.array(counts), errors, 2.0, 0.02)
    assert max(iterations) <= 10


@pytest.mark.parametrize("tilt", [-5.0, 5.0, 40.0])
def test_mass_may_leave_a_wall_but_not_pass_it(tilt):
    """m = 2 on a slope: what is minimised is stationary inside, and each wall only pushes."""
    edges, tau = np.linspace(0.0, 1.0, 31), 0.1
    mass = np.full(30, 1 / 30)
    energy = LineEnergy(0.0, ((1.0, 2.0),), (lambda x: tilt * x, lambda x: tilt + 0 * x, lambda x: 0 * x))
    nodes = quantile_step(edges, mass, tau, energy).nodes
    assert nodes[0] >= 0
    assert nodes[-1] <= 1
    assert (nodes[0] > 0, nodes[-1] < 1) == (tilt < 0, tilt > 0)

    def value(nodes):
        width, moved = np.diff(nodes), nodes - edges
        cost = (moved[1:] ** 2 + moved[1:] * moved[:-1] + moved[:-1] ** 2) / (6 * tau)
        return mass @ (mass / width + tilt * 0.5 * (nodes[1:] + nodes[:-1]) + cost)

    change = 1e-6 * np.eye(31)
    slope = np.array([value(nodes + e) - value(nodes - e) for e in change]) / 2e-6
    free = (nodes > 0) & (nodes < 1)
    assert np.abs(slope[free]).max() < 3e-7  # that of the differences
    assert (slope[nodes == 0] > 0).all()
    assert (slope[nodes == 1] < 0).all()


def test_what_has_no_step_is_refused():
    with pytest.raises(NumericsError, match="1 cells are empty and have no quantiles"):
        quantile_step(np.arange(3.0), np.array([1.0, 0.0]), 0.1, LineEnergy(1.0))
    hill = (lambda x: -50 * x**2, lambda x: -100 * x, lambda x: -100 + 0 * x)
    with pytest.raises(NumericsError, match="too long to have a unique minimum"):
        quantile_step(np.linspace(-1, 1, 41), np.full(40, 0.025), 1.0, LineEnergy(0.01, (), hill))


PROBLEMS = {
    "a Gaussian": (
        (-5, 5),
        "{kind: entropy, epsilon: 0.8}, {kind: potential, potential: (x - 0.3)**2}",
        LineEnergy(0.8, (), (lambda x: (x - 0.3) ** 2, lambda x: 2 * (x - 0.3), lambda x: 2 + 0 * x)),
        "{kind: gaussian, mean: [1], covariance: [[0.5]]}",
    ),
    "entropy and m = 2 between walls": (
        (0, 1),
        "{kind: entropy, epsilon: 0.1}, {kind: porous-medium, exponent: 2, coefficient: 0.2}",
        LineEnergy(0.1, ((0.2, 2.0),)),
        "{kind: expression, density: 1 + 0.5*cos(2*pi*x), mass: integral}",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_eulerian_step_is_the_lagrangian_one(name):
    """Notes, (1) = (2): densities and minima of both differ by h^2 if the intervals of the step grow with the cells."""
    (lower, upper), energies, energy, initial = PROBLEMS[name]
    gaps = []
    for cells in (20, 40, 80):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [{lower}], upper: [{upper}], cells: [{cells}]}}
flow: {{kind: gradient-flow, energy: [{energies}], stepper: {{kind: jko, intervals: {cells // 10}}}}}
initial: {initial}
times: {{end: 0.1, step: 0.1}}
""").run()
        edges, h = np.linspace(lower, upper, cells + 1), (upper - lower) / cells
        step = quantile_step(edges, h * ds["rho"].values[0], 0.1, energy)
        density = h * np.abs(step.cell_means(edges) - ds["rho"].values[1]).sum()
        minimum = abs(step.energy + step.cost - float(ds["energy"][1] + ds["cost"][1]))
        gaps.append((density, minimum))
    for gap in np.transpose(gaps):
        assert_order(1 / np.array([20, 40, 80]), gap, 2.0, 0.25)
