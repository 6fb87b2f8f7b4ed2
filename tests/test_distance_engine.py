"""The engine behind `bounds`: supports, scaling, repair, levels, round-off, and bounds that are never violated."""

from math import sqrt

import numpy as np
import ot
import pytest

from fvflow.mesh import Box
from fvflow.wasserstein import bounds, distance_1d
from fvflow.wasserstein.dual import DualBound
from fvflow.wasserstein.exact_plan import optimal_plan
from fvflow.wasserstein.plan_kernels import dot2, match, morton
from fvflow.wasserstein.pyramid import levels, split_levels, without_smallest
from fvflow.wasserstein.scaling import ScalingMultigrid, SparseRows
from fvflow.wasserstein.support import Potentials, Reach, conjugate, support
from tests import distance_programs
from tests.transport_pairs import FAMILIES, pair

pytestmark = pytest.mark.usefixtures("no_products")


def cell_centres(n, dimension):
    axis = (np.arange(n) + 0.5) / n
    return np.stack(np.meshgrid(*[axis] * dimension, indexing="ij"), -1).reshape(-1, dimension)


def unit_box(n, dimension):
    return Box((0.0,) * dimension, (1.0,) * dimension, (n,) * dimension).build()


def test_sums_cancel_without_error():
    assert dot2(np.array([1e16, 1.0, -1e16]), np.ones(3)) == 1.0
    random = np.random.default_rng(0)
    x = random.normal(size=2000) * 10.0 ** random.integers(-12, 12, 2000)
    x, y = np.concatenate([x, -x, [1e-9]]), np.concatenate([np.full(4000, 1 / 3), [1.0]])
    order = random.permutation(4001)
    assert dot2(x[order], y[order]) == pytest.approx(1e-9, rel=1e-6)


def test_the_lower_bound_is_proved_for_potentials_of_any_size():
    """A function of 1e16, 1 and -1e16 proves nothing wrong, and an added constant changes next to nothing."""
    random, n = np.random.default_rng(1), 8
    mu, nu = random.random((2, n, n))
    mu, nu = mu / mu.sum(), nu / nu.sum()
    edges = (np.linspace(-0.5, 0.5, n + 1),) * 2
    place, dual = cell_centres(n, 2), DualBound((mu, nu), edges)
    atoms = ot.emd2(mu.ravel(), nu.ravel(), ot.dist(place, place)) ** 0.5  # an upper bound
    centres = tuple(0.5 * (edge[1:] + edge[:-1]) for edge in edges)
    for wild in (random.choice([1e16, 1.0, -1e16], (n, n)), random.normal(size=(n, n)) * 1e300):
        assert dual.bound(wild, centres, 0) <= atoms
    square = 0.5 * (centres[0][:, None] ** 2 + centres[1] ** 2)
    shifted, plain = dual.bound(square + 1e6, centres, 2), dual.bound(square, centres, 2)
    assert abs(shifted - plain) <= 1e-4


@pytest.mark.parametrize(("dimension", "n"), [(1, 21), (2, 13), (3, 6)])
def test_moments_of_coarse_cells_are_those_of_the_density(dimension, n):
    random = np.random.default_rng(2)
    edges = tuple(np.cumsum(random.uniform(0.5, 2, n + 1)) for _ in range(dimension))
    masses = tuple(random.random((n,) * dimension) for _ in range(2))
    pyramid = levels(masses, edges)
    assert pyramid[-1].shape == (n,) * dimension
    assert np.prod(pyramid[0].shape) <= 8**dimension
    middle = [0.5 * (e[1:] + e[:-1]) for e in edges]
    second = [(e[1:] ** 2 + e[1:] * e[:-1] + e[:-1] ** 2) / 3 for e in edges]
    for level in pyramid[:-1]:
        for atoms, mass in zip((level.first, level.second), masses, strict=True):
            assert atoms.mass.sum() == pytest.approx(mass.sum(), rel=1e-13)
            for axis in range(dimension):
                line = mass.sum(axis=tuple(a for a in range(dimension) if a != axis))
                assert atoms.mass @ atoms.mean[:, axis] == pytest.approx(line @ middle[axis], rel=1e-12)
            whole = sum(
                mass.sum(axis=tuple(a for a in range(dimension) if a != axis)) @ second[axis]
                for axis in range(dimension)
            )
            found = atoms.mass @ ((atoms.mean**2).sum(axis=1) + atoms.variance)
            assert found == pytest.approx(whole, rel=1e-12)
    halved = next(split_levels(pyramid[-1]))
    assert halved.first.mass.sum() == pytest.approx(masses[0].sum(), rel=1e-13)


def test_the_smallest_cells_may_be_left_out():
    mass = np.array([[1.0, 1e-14, 0.0], [3e-13, 2e-12, 1.0]])
    kept, moved = without_smallest(mass)
    assert moved == pytest.approx(3.1e-13)
    np.testing.assert_array_equal(kept, [[1.0, 0, 0], [0, 2e-12, 1.0]])


def reference_sweep(matrix, a, b, p, q):
    """One sweep in plain numpy."""

    def scaled(p, s, a):
        ratio = a / (s * p)
        return np.where((ratio > 0.5) & (ratio < 2), p * ratio**1.3, a / s)

    p = scaled(p, matrix @ q, a)
    return p, scaled(q, matrix.T @ p, b)


def reference_cycle(matrix, a, b, rows, columns, p, q):
    """The V-cycle on a dense matrix."""
    if len(a) <= 60:
        for _ in range(40):
            p, q = reference_sweep(matrix, a, b, p, q)
        return p, q
    for _ in range(3):
        p, q = reference_sweep(matrix, a, b, p, q)
    big_rows, row = np.unique(rows >> 1, axis=0, return_inverse=True)
    big_columns, column = np.unique(columns >> 1, axis=0, return_inverse=True)
    down = np.eye(len(big_rows))[row.ravel()].T
    across = np.eye(len(big_columns))[column.ravel()]
    big = down @ (p[:, None] * matrix * q) @ across
    ones = np.ones(len(big_rows)), np.ones(len(big_columns))
    big_p, big_q = reference_cycle(big, down @ a, b @ across, big_rows, big_columns, *ones)
    p = p * np.clip(big_p[row.ravel()] ** 1.9, 1e-3, 1e3)
    q = q * np.clip(big_q[column.ravel()] ** 1.9, 1e-3, 1e3)
    for _ in range(3):
        p, q = reference_sweep(matrix, a, b, p, q)
    return p, q


def scaling_problem(n, seed=3):
    """A support with its values, from a pair of smooth densities."""
    one, other = pair("smooth", n, seed)
    edges = (np.linspace(-0.5, 0.5, n + 1),) * 2
    level = levels((one / one.sum(), other / other.sum()), edges)[-1]
    g = np.zeros(level.second.count)
    to = conjugate(level, level.second, g, level.first)
    back = conjugate(level, level.first, to.value, level.second)
    eps = 2 / n**2
    return level, support(level, Potentials(to.value, g), to, back, eps, Reach(n, 60.0, n)), eps


def test_the_multigrid_cycle_is_that_of_dense_matrices():
    level, rows, _ = scaling_problem(20)
    first, second = level.first, level.second
    dense = np.zeros((first.count, second.count))
    dense[np.repeat(np.arange(first.count), np.diff(rows.start)), rows.column] = rows.value
    p, q = first.mass.copy(), second.mass * second.count
    expected = reference_cycle(dense, first.mass, second.mass, first.index, second.index, p.copy(), q.copy())
    ScalingMultigrid(rows, first.mass, second.mass, first.index, second.index).cycle(p, q)
    np.testing.assert_allclose(p, expected[0], rtol=1e-9)
    np.testing.assert_allclose(q, expected[1], rtol=1e-9)


def test_the_support_is_what_its_inequalities_say():
    n = 10
    _, rows, eps = scaling_problem(n)
    place = cell_centres(n, 2)
    cost = 0.5 * ot.dist(place, place)
    f = cost.min(axis=1)
    kept = cost - f[:, None] <= 60 * eps
    ghat = (cost - f[:, None]).min(axis=0)
    kept |= cost - f[:, None] - ghat <= 60 * eps
    found = np.zeros_like(kept)
    row = np.repeat(np.arange(n * n), np.diff(rows.start))
    assert len(set(zip(row, rows.column, strict=True))) == len(row)  # each once
    found[row, rows.column] = True
    np.testing.assert_array_equal(found, kept)
    np.testing.assert_allclose(rows.value, np.exp((f[:, None] - cost) / eps)[row, rows.column], rtol=1e-10)


def test_cycles_converge_where_sweeps_do_not():
    n = 64
    index = np.stack(np.meshgrid(np.arange(n), np.arange(n), [0], indexing="ij"), -1).reshape(-1, 3).astype(np.int32)
    rows, columns = [], []
    for shift in np.ndindex(5, 5):
        to = index[:, :2] + np.array(shift) - 2
        inside = ((to >= 0) & (to < n)).all(axis=1)
        rows.append(np.arange(n * n)[inside])
        columns.append(to[inside] @ np.array([n, 1]))
    row, column = np.concatenate(rows), np.concatenate(columns)
    order = np.argsort(row, kind="stable")
    row, column = row[order], column[order]
    value = np.exp(-0.5 * ((index[row] - index[column]) ** 2).sum(axis=1))
    wave = np.exp(np.sin(2 * np.pi * (np.arange(n) + 0.5) / n))
    factor = np.outer(wave, wave[::-1]).ravel()
    target = factor[row] * value / factor[column]
    a, b = np.bincount(row, target), np.bincount(column, target)
    a, b = a / a.sum(), b / b.sum()
    matrix = SparseRows(np.concatenate([[0], np.cumsum(np.bincount(row))]), column.astype(np.int32), value)
    multigrid = ScalingMultigrid(matrix, a, b, index, index)
    p, q = a.copy(), b.copy()
    errors = [multigrid.cycle(p, q) for _ in range(8)]
    assert errors[-1] <= 1e-5
    plain_p, plain_q = a.copy(), b.copy()
    sweeps = [multigrid._sweeps(plain_p, plain_q, 1) for _ in range(64)]
    assert sweeps[-1] >= 10 * errors[-1]
    p, q = a.copy(), b.copy()
    assert multigrid.scale(p, q, 0.0, 8) <= 0.1 * errors[-1]  # cycles that are mixed


def test_what_is_left_is_matched_nearby():
    random = np.random.default_rng(4)
    places = random.integers(0, 64, (200, 3)).astype(np.int32)
    near = np.minimum(places + random.integers(0, 2, places.shape), 63).astype(np.int32)
    left = random.random(200)
    orders = [np.argsort(morton(points), kind="stable") for points in (places, near)]
    source, target, mass = np.empty(400, np.int64), np.empty(400, np.int64), np.empty(400)
    count = match(
        morton(places)[orders[0]], morton(near)[orders[1]], left[orders[0]], left[orders[1]], 3, 60,
        source, target, mass,
    )  # fmt: skip
    rows, columns = orders[0][source[:count]], orders[1][target[:count]]
    np.testing.assert_allclose(np.bincount(rows, mass[:count], 200), left, atol=1e-13)
    np.testing.assert_allclose(np.bincount(columns, mass[:count], 200), left, atol=1e-13)
    apart = np.sqrt(((places[rows] - near[columns]) ** 2).sum(axis=1)) @ mass[:count] / left.sum()
    shuffled = np.sqrt(((places - near[random.permutation(200)]) ** 2).sum(axis=1)).mean()
    assert apart <= 0.5 * shuffled


@pytest.mark.parametrize("family", FAMILIES)
def test_no_bound_is_violated_by_linear_programs(family):
    """Of more pairs on more cells by hand: tests/distance_programs.py."""
    for seed, parts in ((0, (1, 2)), (1, (1,))):
        one, other = pair(family, 12, seed)
        found, coarse = (bounds(unit_box(12, 2), one.ravel(), other.ravel(), cells=cells) for cells in (2304, 144))
        programs = distance_programs.programs(one, other, parts)
        for interval in (found, coarse):
            assert not distance_programs.violated(interval, *programs)
        assert found.lower <= coarse.upper
        assert coarse.lower <= found.upper


def test_few_atoms_are_transported_by_the_optimal_plan():
    one, other = pair("dust", 32, 0)
    level = levels((one / one.sum(), other / other.sum()), (np.linspace(-0.5, 0.5, 33),) * 2)[-1]
    matrix, potentials = optimal_plan(level)
    cost = ot.dist(level.first.mean, level.second.mean)
    best = ot.emd2(level.first.mass / level.first.mass.sum(), level.second.mass / level.second.mass.sum(), cost)
    row = np.repeat(np.arange(level.first.count), np.diff(matrix.start))
    assert matrix.value @ cost[row, matrix.column] == pytest.approx(best, rel=1e-12)
    np.testing.assert_allclose(np.bincount(row, matrix.value), level.first.mass, rtol=1e-9, atol=1e-15)
    assert (0.5 * cost - potentials.first[:, None] - potentials.second).min() >= -1e-12
    dual = 2 * (level.first.mass @ potentials.first + level.second.mass @ potentials.second)
    assert dual == pytest.approx(best, rel=1e-10)
    found = bounds(unit_box(32, 2), one.ravel(), other.ravel())
    assert found.width <= 1e-2


@pytest.mark.parametrize("n", [32, 100])
def test_products_of_lines_are_inside_at_any_size(n):
    random = np.random.default_rng(n)
    x = (np.arange(n) + 0.5) / n
    for _ in range(2 if n < 100 else 1):
        factors = []
        for _ in range(2):
            pairs = [np.exp(-0.5 * ((x - random.uniform(0.2, 0.8)) / random.uniform(0.04, 0.2)) ** 2) for _ in range(2)]
            factors.append([d * n / d.sum() for d in pairs])
        edges = np.linspace(0, 1, n + 1)
        exact = sqrt(sum(distance_1d(edges, *factor) ** 2 for factor in factors))
        one, other = (np.outer(factors[1][k], factors[0][k]).ravel() for k in range(2))
        found = bounds(unit_box(n, 2), one, other * (one.sum() / other.sum()))
        assert found.lower <= exact <= found.upper
        assert found.width <= 1e-3


def test_it_stops_at_the_first_level_that_proves_the_width():
    one, other = pair("gaussians", 128, 0)
    mesh = unit_box(128, 2)
    wide, narrow = (bounds(mesh, one.ravel(), other.ravel(), width=width) for width in (1e-1, 1e-3))
    assert (wide.reason, narrow.reason) == ("width", "width")
    assert wide.level < narrow.level <= (128, 128)
    assert (wide.width <= 1e-1, narrow.width <= 1e-3) == (True, True)
    less = bounds(mesh, one.ravel(), other.ravel(), width=1e-7, cells=128**2)
    assert (less.reason, less.level) == ("cells", (128, 128))


@pytest.mark.parametrize(("limit", "reason"), [({"seconds": 0.0}, "time"), ({"memory": 1e5}, "memory")])
def test_limits_return_the_interval_so_far(limit, reason):
    one, other = pair("smooth", 64, 0)
    mesh, told = unit_box(64, 2), []
    found = bounds(mesh, one.ravel(), other.ravel(), **limit, report=lambda *figures: told.append(figures))
    assert (found.reason, found.level) == (reason, (8, 8))
    assert found.width > 1e-3
    assert [figures[0] for figures in told] == [(8, 8)]
    full = bounds(mesh, one.ravel(), other.ravel())
    assert found.lower <= full.lower <= full.upper <= found.upper


def test_an_interrupt_leaves_nothing_behind():
    one, other = pair("smooth", 64, 0)
    mesh = unit_box(64, 2)

    def stop(shape, lower, upper):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bounds(mesh, one.ravel(), other.ravel(), report=stop)
    first, second = (bounds(mesh, one.ravel(), other.ravel()) for _ in range(2))
    assert first == second


def test_equal_densities_that_one_cell_holds():
    mesh, density = unit_box(9, 2), np.zeros(81)
    density[40] = 3.0
    found = bounds(mesh, density, density)
    assert found.lower == found.upper == 0.0
    np.testing.assert_array_equal(found.map, mesh.centre)


def test_nearly_equal_densities():
    random = np.random.default_rng(5)
    one = 1 + 0.1 * random.random((24, 24))
    shift = np.array([1e-6, 1e-9, 1e-12])
    for size in shift:
        other = one * (1 + size * random.normal(size=one.shape))
        other *= one.sum() / other.sum()
        found = bounds(unit_box(24, 2), one.ravel(), other.ravel())
        total = 0.5 * np.abs(one - other).sum() / one.sum()
        assert 0 <= found.lower <= sqrt(2 * total)
        assert found.upper >= found.lower
        assert found.upper <= 2 * sqrt(2 * total + 1e-15) + 1e-7


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_maps_and_potentials(dimension):
    """Shifted bumps: T = x + a, S = y - a, phi + psi <= c with equality on the graph."""
    n, shift = {1: 64, 2: 48, 3: 16}[dimension], np.array([0.25, 0.125, 0.0625])[:dimension]
    mesh = unit_box(n, dimension)
    x = mesh.centre
    one, other = (np.exp(-0.5 * (((x - c) / 0.07) ** 2).sum(axis=1)) for c in (np.full(dimension, 0.4), 0.4 + shift))
    other *= one.sum() / other.sum()
    found = bounds(mesh, one, other)
    for density, moved, sign in ((one, found.map, 1.0), (other, found.reverse_map, -1.0)):
        assert moved.shape == (n**dimension, dimension)
        error = ((moved - x - sign * shift) ** 2).sum(axis=1) @ density / density.sum()
        assert sqrt(error) <= 0.5 / n
        assert moved.min() >= 0
        assert moved.max() <= 1
    heavy = np.flatnonzero(one > 1e-2 * one.max())
    cost = 0.5 * ot.dist(x[heavy], x)
    slack = cost - found.potential[heavy, None] - found.conjugate
    assert slack.min() >= -1e-12
    assert np.mean(slack.min(axis=1)) <= 0.1 / n**2
    dual = 2 * (found.potential @ one / one.sum() + found.conjugate @ other / other.sum())
    assert dual == pytest.approx(found.upper**2 * n**dimension / one.sum(), rel=2e-2)
