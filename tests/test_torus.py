"""W2 where axes are periodic: linear programs, circles, shifts through the seam; barycentres and convexity there."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.mesh import Box, Grid
from fvflow.wasserstein import barycentre, bounds, distance_1d, distance_on_circle
from fvflow.wasserstein.dual import DualBound
from fvflow.wasserstein.flux_bound import flux_bound
from fvflow.wasserstein.push import pushed
from fvflow.wasserstein.pyramid import levels
from fvflow.wasserstein.spline_dual import images, spline_bound
from fvflow.wasserstein.spline_potential import SplinePotential
from fvflow.wasserstein.support import Potentials, Reach, conjugate, support
from tests.distance_programs import programs, violated
from tests.transport_pairs import pair


def unit_box(cells, periodic):
    axes = len(cells)
    return Box((0.0,) * axes, (1.0,) * axes, tuple(cells), periodic=tuple(periodic)).build()


def bump(mesh, mean, deviation):
    away = mesh.nearest_image(mesh.centre - np.array(mean))
    values = np.exp(-0.5 * (away**2).sum(axis=1) / deviation**2)
    return values / (mesh.volume @ values)


@pytest.mark.parametrize(
    ("periodic", "families"),
    [("xy", ["smooth", "discs", "rough", "checkers", "dust"]), ("x", ["stripes"]), ("y", ["steep"])],
)
def test_linear_programs_are_never_violated(periodic, families):
    """Moved so that they lie across the seams, on an odd number of cells."""
    for index, family in enumerate(families):
        one, other = (np.roll(density, (3, 2), (0, 1)) for density in pair(family, 9 - index % 2, 40 + index))
        found = bounds(unit_box(one.shape, periodic), one.ravel(), other.ravel(), width=2e-2, cells=400)
        assert not violated(found, *programs(one, other, (1, 2), periodic)), family


def shuffled_bumps(edges, random):
    density = random.random(len(edges) - 1) ** 2 + 2.0 * (random.random(len(edges) - 1) < 0.2)
    return density / (np.diff(edges) @ density)


@pytest.mark.parametrize(
    ("cells", "periodic"), [((30, 31), (0, 1)), ((20, 16), (1,)), ((3, 40), (0, 1)), ((6, 5, 7), (0, 2))]
)
def test_products_are_those_of_circles_and_lines(cells, periodic):
    """W2^2 of products is the sum of those of the factors, on cells of different widths, at any size."""
    random = np.random.default_rng(len(cells))
    edges = [np.cumsum(np.append(0.3, random.uniform(0.7, 1.3, n))) for n in cells]
    pairs = [(shuffled_bumps(edge, random), shuffled_bumps(edge, random)) for edge in edges]
    exact = sqrt(
        sum(
            (distance_on_circle if axis in periodic else distance_1d)(edge, *both) ** 2
            for axis, (edge, both) in enumerate(zip(edges, pairs, strict=True))
        )
    )
    mesh = Grid(tuple(edges), periodic)
    one, other = (
        np.ravel(np.multiply.reduce(np.meshgrid(*(both[which] for both in reversed(pairs)), indexing="ij")))
        for which in (0, 1)
    )
    found = bounds(mesh, one, other, width=3e-2, cells=4 * mesh.cells)
    assert found.lower <= exact <= found.upper
    assert found.width <= 3e-2 or len(cells) == 3


@pytest.mark.parametrize("shift", [(0.3, 0.0), (-0.25, 0.375)])
def test_a_narrow_density_is_shifted_through_the_seam(shift):
    """By less than half a period less its width: the distance and the map are those of the shift."""
    mesh = unit_box((32, 32), "xy")
    one = bump(mesh, (0.9, 0.05), 0.008)
    shift = np.rint(np.array(shift) * 32) / 32
    steps = np.rint(shift * 32).astype(int)
    other = np.roll(one.reshape(32, 32), steps[::-1], (0, 1)).ravel()
    found = bounds(mesh, one, other)
    length = float(np.linalg.norm(shift))
    assert found.lower <= length * (1 + 1e-12)
    assert found.upper >= length * (1 - 1e-12)
    assert found.width <= 1e-3
    occupied = one > 1e-6 * one.max()
    np.testing.assert_allclose(
        (found.map - mesh.centre)[occupied], np.broadcast_to(shift, (occupied.sum(), 2)), atol=0.02
    )


def test_the_interval_is_narrow_and_the_potentials_prove_it_at_the_centres():
    one, other = pair("smooth", 64)
    mesh = unit_box((64, 64), "xy")
    found = bounds(mesh, one.ravel(), other.ravel())
    assert found.reason == "width"
    assert found.width <= 1e-3
    assert found.upper < bounds(unit_box((64, 64), ""), one.ravel(), other.ravel(), width=1e-2).lower
    some = np.random.default_rng(0).integers(0, mesh.cells, 300)
    away = mesh.nearest_image((mesh.centre[some, None] - mesh.centre).reshape(-1, 2)).reshape(300, -1, 2)
    slack = 0.5 * (away**2).sum(axis=2) - found.potential[some, None] - found.conjugate
    assert slack.min() >= -1e-12
    assert np.abs(slack.min(axis=1)).max() <= 1e-12
    rolled = bounds(mesh, *(np.roll(density, (20, 31), (0, 1)).ravel() for density in (one, other)))
    assert rolled.lower <= found.upper
    assert found.lower <= rolled.upper
    assert np.abs(found.map - mesh.centre).max() <= 0.5 + 1e-12


def test_any_function_proves_a_lower_bound_on_a_torus():
    random, n = np.random.default_rng(1), 8
    mu, nu = random.random((2, n, n))
    mu, nu = mu / mu.sum(), nu / nu.sum()
    _, atoms = programs(mu, nu, (1,), "xy")
    edges = (np.linspace(-0.5, 0.5, n + 1),) * 2
    centres, dual = [0.5 * (edge[1:] + edge[:-1]) for edge in edges], DualBound((mu, nu), edges, (1.0, 1.0))
    half = 0.5 * (centres[0][:, None] ** 2 + centres[1] ** 2)
    for wild in (random.normal(size=(n, n)), half - 0.02 * random.random((n, n)), random.normal(size=(n, n)) * 1e200):
        for halvings in (-1, 0, 1):
            assert dual.bound(wild, centres, halvings) <= atoms
    assert dual.bound(half, centres, 2) <= 1e-7  # of the function 0


def test_windows_as_wide_as_the_period_have_each_cell_once():
    one, other = pair("smooth", 9, 3)
    level = levels((one / one.sum(), other / other.sum()), (np.linspace(-0.5, 0.5, 10),) * 2, (1.0, np.inf))[-1]
    g = np.zeros(level.second.count)
    to = conjugate(level, level.second, g, level.first)
    back = conjugate(level, level.first, to.value, level.second)
    rows = support(level, Potentials(to.value, g), to, back, 1.0, Reach(9, 60.0, 9))
    np.testing.assert_array_equal(np.diff(rows.start), 81)
    np.testing.assert_array_equal(np.sort(rows.column.reshape(81, 81), axis=1), np.tile(np.arange(81), (81, 1)))
    x = np.linspace(-0.5, 0.5, 10)[:-1] + 1 / 18
    away = np.abs(x[:, None] - x)
    cost = 0.5 * (np.minimum(away, 1 - away)[:, None, :, None] ** 2 + away[None, :, None, :] ** 2).reshape(81, 81)
    np.testing.assert_allclose(to.value, cost.min(axis=1), atol=1e-15)


def test_a_barycentre_lies_across_the_seam():
    mesh = unit_box((24, 24), "x")
    ends = [bump(mesh, (0.9, 0.45), 0.05), bump(mesh, (0.2, 0.55), 0.05)]
    found = barycentre(mesh, ends, rounds=3, width=1e-2)
    mean = np.angle((mesh.volume * found.density) @ np.exp(2j * np.pi * mesh.centre[:, 0])) / (2 * np.pi)
    assert mean == pytest.approx(0.05, abs=2e-3)
    apart = 0.3**2 + 0.1**2
    assert 0.95 * apart / 4 <= found.lower <= found.upper <= 1.005 * apart / 4  # each half way
    ring = Grid((np.linspace(0.0, 1.0, 41),), (0,))
    ends = [bump(ring, [mean], 0.04) for mean in (0.9, 0.2)]
    half = barycentre(ring, ends)
    mean = np.angle((ring.volume * half.density) @ np.exp(2j * np.pi * ring.centre[:, 0])) / (2 * np.pi)
    assert mean == pytest.approx(0.05, abs=1e-3)
    parts = [distance_on_circle(ring.edges[0], half.density, end) ** 2 for end in ends]
    assert half.lower <= 0.5 * sum(parts) <= half.upper
    assert 0.99 * 0.15**2 <= half.upper <= 1.001 * 0.15**2


def test_pushing_by_whole_turns_leaves_a_density():
    mesh = Grid((np.cumsum(np.append(0.0, 1.0 + 0.3 * np.sin(np.arange(12)))), np.linspace(0, 2, 8)), (0, 1))
    density = np.random.default_rng(2).random(mesh.cells)
    turned = pushed(mesh, density, mesh.centre + np.array([2, -1]) * mesh.periods)
    np.testing.assert_allclose(turned, pushed(mesh, density, mesh.centre), rtol=1e-12)
    assert mesh.volume @ turned == pytest.approx(mesh.volume @ density, rel=1e-13)


TORUS = """
mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 8], periodic: [x, y]}
flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.05}], stepper: {kind: ljko}}
initial: {kind: gaussian, mean: [0.9, 0.1], covariance: [[0.01, 0], [0, 0.02]]}
times: {end: 0.4, step: 0.2}
output: {evi: true, distance: true}
"""


def test_inequalities_of_convexity_hold_on_a_torus():
    """lambda is the least second difference of V, of -0.01 (2 pi)^2 at the first cell."""
    energy = [{"kind": "entropy", "epsilon": 0.05}, {"kind": "potential", "potential": "0.01*cos(2*pi*(x - 1/16))"}]
    simulation = Case.parse(TORUS).replace({"flow.energy": energy}).prepare()
    frames = list(simulation.frames())
    found = simulation.figures()
    assert found["convexity"] == pytest.approx(-0.01 * (16 * np.sin(np.pi / 8)) ** 2, rel=1e-9)
    assert found["evi_violated"] == 0
    assert found["evi_satisfied"] == 2
    assert frames[-1].diagnostics["step_w2_lower"] <= frames[-1].diagnostics["step_w2_upper"]
    kernel = [*energy, {"kind": "interaction", "kernel": "cos(2*pi*x)"}]
    with pytest.raises(fvflow.errors.CaseError, match="no kernel on a torus"):
        Case.parse(TORUS).replace({"flow.energy": kernel}).prepare()


def wave(cells, shift, random):
    phase, more = random.random(2)
    place = (np.arange(cells) + 0.5) / cells - shift
    return 1 + 0.5 * np.cos(2 * np.pi * (place + phase)) + 0.3 * np.sin(4 * np.pi * (place + more))


@pytest.mark.parametrize(
    ("cells", "periodic", "shift"), [((24, 20), (0, 1), 2e-3), ((24, 20), (0, 1), 0.3), ((20, 24), (1,), 0.05)]
)
def test_near_densities_have_narrow_intervals_on_tori(cells, periodic, shift):
    """Of positive products, moved by so many periods through the seams, some of the mass the other way around."""
    random, square, factors = np.random.default_rng(4), 0.0, []
    for axis, n in enumerate(cells):
        state = random.bit_generator.state
        one = wave(n, 0.0, random)
        random.bit_generator.state = state
        other = wave(n, shift / (1 + axis), random)
        factors.append((one, other * (one.sum() / other.sum())))
        exact = distance_on_circle if axis in periodic else distance_1d
        square += exact(np.linspace(0.0, 1.0, n + 1), *factors[-1]) ** 2 * (1 / factors[-1][0].mean())
    mesh = unit_box(cells, ["xy"[axis] for axis in periodic])
    one, other = (np.outer(factors[1][which], factors[0][which]).ravel() for which in (0, 1))
    found, mass = bounds(mesh, one, other), float(mesh.volume @ one)
    assert found.lower <= sqrt(square * mass) <= found.upper
    assert found.width <= 1.5e-2


def test_any_spline_bounds_from_below_and_any_flux_from_above_on_tori():
    """Also where they are bad, where boxes are beyond the ends, and where the potential is at the edge of convexity."""
    random, checked = np.random.default_rng(4), 0
    for trial in range(12):
        cells, spacing = tuple(int(n) for n in random.integers(5, 14, 2)), tuple(random.uniform(0.5, 2.0, 2))
        rings = ((0, 1), (0,), (1,))[trial % 3]
        one, other = ([random.uniform(0.2, 1.0, n) for n in cells] for _ in range(2))
        one, other = ([d / d.sum() for d in pair] for pair in (one, other))
        exact = 0.0
        for axis, (n, h) in enumerate(zip(cells, spacing, strict=True)):
            distance = distance_on_circle if axis in rings else distance_1d
            exact += distance(np.arange(n + 1.0) * h, one[axis] / h, other[axis] / h) ** 2
        mu, nu = np.multiply.outer(*one), np.multiply.outer(*other)
        p = SplinePotential.through(random.normal(size=cells), spacing, rings)
        p = replace(p, coefficient=p.coefficient * random.uniform(0.1, 0.999) / max(p.curvature.max(), 1e-3))
        boxes = images(p)[0]
        found = spline_bound(p, boxes, mu, nu)
        checked += found > -np.inf
        assert found <= exact
        turned = [np.roll(part, -1, rings[0]) for part in (p.coefficient, mu, nu)]
        q = replace(p, coefficient=turned[0])
        assert spline_bound(q, images(q)[0], *turned[1:]) == pytest.approx(found, rel=1e-6, abs=1e-9)
        assert flux_bound(mu, nu, spacing, tolerance=1.0, rings=rings)[0] ** 2 >= exact
    assert checked == 12
