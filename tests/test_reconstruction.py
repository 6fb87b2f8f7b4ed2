"""Reconstruction at points: polynomials that it has to keep, observed orders, walls, periods, averages, time."""

import numpy as np
import pytest
from scipy.interpolate import BSpline, CubicSpline

from fvflow.fields import gaussian_density
from fvflow.mesh import Box, Graded
from fvflow.mesh.files import Gmsh
from fvflow.mesh.grid import Grid
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.reconstruction import FieldInTime, Place, SavedValues, positive, smooth
from fvflow.reconstruction import in_time as in_time_module
from fvflow.reconstruction.axis import SplineAxis
from fvflow.reconstruction.in_time import _LARGEST_BEND
from tests import meshes

ONE = np.ones((1, 1))
LINE = Graded((-1.0,), (2.0,), (9,), (2.5,))
PLANE = Graded((-1.0, 0.0), (2.0, 1.0), (9, 7), (2.5, 0.4))
SPACE = Graded((-1.0, 0.0, 0.0), (2.0, 1.0, 3.0), (6, 5, 4), (2.0, 0.4, 1.0))
SHAPES = [meshes.triangles, meshes.polygons, meshes.node_boxes, meshes.mixed, meshes.tetrahedra_nodes, meshes.solids]


def inside(mesh, count, seed=0):
    """Points in the box of a mesh."""
    lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
    return np.random.default_rng(seed).uniform(lower, upper, (count, mesh.dimension))


def evaluated(space, values, points, order=2, slopes=None):
    return space.at(space.coefficients([values], [slopes or {}]), ONE, points, order)


def polynomial(degree, dimension):
    """A polynomial of a degree in each variable, with gradient and second derivatives."""
    parts = [np.polynomial.Polynomial(np.random.default_rng(axis).normal(size=degree + 1)) for axis in range(dimension)]

    def product(x, orders):
        return np.prod([part.deriv(k)(c) for part, c, k in zip(parts, x.T, orders, strict=True)], axis=0)

    unit = np.eye(dimension, dtype=int)
    return (
        lambda x: product(x, 0 * unit[0]),
        lambda x: np.stack([product(x, i) for i in unit], axis=1),
        lambda x: np.array([[product(x, i + j) for j in unit] for i in unit]).transpose(2, 0, 1),
    )


@pytest.mark.parametrize("kind", [LINE, PLANE, SPACE])
def test_a_spline_keeps_cubics_up_to_the_walls(kind):
    mesh = kind.build()
    f, gradient, second = polynomial(3, mesh.dimension)
    x = np.concatenate([inside(mesh, 200), mesh.walls[0], mesh.points])
    found = evaluated(smooth(mesh), f(mesh.centre), x)  # slopes at the walls are extrapolated
    assert found.value == pytest.approx(f(x), abs=1e-10)
    assert found.gradient == pytest.approx(gradient(x), abs=1e-9)
    assert found.second == pytest.approx(second(x), abs=1e-8)


def test_slopes_at_walls_are_kept_and_nan_is_extrapolated():
    mesh = PLANE.build()
    values, rng = np.sin(3 * mesh.centre).sum(axis=1), np.random.default_rng(1)
    slopes = {0: (rng.normal(size=7), rng.normal(size=7)), 1: (rng.normal(size=9), np.full(9, np.nan))}
    centres, normals = mesh.walls
    found = evaluated(smooth(mesh), values, centres, 1, slopes).gradient
    free = evaluated(smooth(mesh), values, centres, 1).gradient
    for axis, pair in slopes.items():
        for sign, given in zip((-1.0, 1.0), pair, strict=True):
            rows = normals[:, axis] == sign
            assert found[rows, axis] == pytest.approx(np.where(np.isnan(given), free[rows, axis], given), abs=1e-11)


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("dimension", [1, 2])
def test_orders_of_splines(dimension, periodic):
    wave, errors = np.pi * np.arange(1, dimension + 1), []
    for n in (20, 40):
        axes = (-1.0,) * dimension, (1.0,) * dimension, (n * 2,) * dimension, (2.0,) * dimension
        kind = Box(*axes[:3], periodic=("x", "y")[:dimension]) if periodic else Graded(*axes)
        mesh = kind.build()
        x = inside(mesh, 2000)
        if periodic:
            x += 2.0 * np.random.default_rng(3).integers(-3, 4, x.shape)
        found = evaluated(smooth(mesh), np.sin(mesh.centre @ wave), x)
        gradient = np.cos(x @ wave)[:, None] * wave
        second = -np.sin(x @ wave)[:, None, None] * np.outer(wave, wave)
        pairs = [(found.value, np.sin(x @ wave)), (found.gradient, gradient), (found.second, second)]
        errors.append([np.abs(got - exact).max() for got, exact in pairs])
    assert (np.log2(np.divide(*errors)) >= [3.6, 2.6, 1.6]).all()


@pytest.mark.parametrize("cells", [(1,), (2,), (3,), (1, 5), (5, 1)])
def test_few_cells_keep_constants(cells):
    mesh = Box((0.0,) * len(cells), (1.0,) * len(cells), cells).build()
    for space in (smooth(mesh), positive(mesh)):
        found = evaluated(space, np.full(mesh.cells, 3.0), inside(mesh, 20))
        assert found.value == pytest.approx(np.full(20, 3.0), abs=1e-12)
        assert np.abs(found.gradient).max() <= 1e-11


def test_banded_equations_are_those_of_the_splines():
    axis = SplineAxis(np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 12)))
    values = np.random.default_rng(1).normal(size=(11, 3))
    slopes = np.ones(3), -np.ones(3)
    found = axis.coefficients(values, slopes)
    matrix = sum(np.diag(axis._equations[max(0, -k) : axis.size - max(0, k), k + 2], k) for k in range(-2, 3))
    right = np.concatenate([slopes[0][None], values, slopes[1][None]])
    assert found == pytest.approx(np.linalg.solve(matrix, right), abs=1e-12)


@pytest.mark.parametrize("periodic", [False, True])
def test_splines_are_those_of_scipy(periodic):
    """Random values, so that neighbouring pieces differ."""
    edges = Graded((-1.0,), (2.0,), (12,), (9.0,)).build().edges[0]
    mesh = Grid((edges,), (0,) if periodic else ())
    values, x = np.random.default_rng(4).normal(size=12), np.linspace(-1, 2, 3001)[:, None]
    centres = mesh.centre[:, 0]
    if periodic:
        ends = np.append(centres, centres[0] + 3.0), np.append(values, values[0])
        oracle = CubicSpline(*ends, bc_type="periodic")
    else:
        axis = SplineAxis(edges)
        oracle = BSpline(np.pad(axis.breaks, 3, mode="edge"), axis.coefficients(values[:, None])[:, 0], 3)
        assert oracle(centres) == pytest.approx(values, abs=1e-12)
    found = evaluated(smooth(mesh), values, x)
    assert found.value == pytest.approx(oracle(x[:, 0]), abs=1e-11)
    assert found.gradient[:, 0] == pytest.approx(oracle(x[:, 0], 1), abs=1e-9)
    assert found.second[:, 0, 0] == pytest.approx(oracle(x[:, 0], 2), abs=1e-7)


@pytest.mark.parametrize("cells", [3, 5, 70])
def test_coefficients_around_a_period_repeat_themselves(cells):
    axis = SplineAxis(np.cumsum(np.random.default_rng(cells).uniform(0.5, 2, cells + 1)), periodic=True)
    values = np.random.default_rng(1).normal(size=(cells, 2))
    found = axis.coefficients(values)
    assert len(found) == axis.size == cells + 3
    assert found[:3] == pytest.approx(found[-3:], abs=1e-13)


@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_averages_become_values_at_the_centres(ratio):
    errors = []
    for n in (40, 80):
        mesh = Graded((-2.0, -2.0), (2.0, 2.0), (n, n), (ratio, 1.0)).build()
        moments = np.array([0.3, -0.1]), np.array([[0.3, 0.0], [0.0, 0.4]])
        average, exact = (np.log(gaussian_density(mesh, *moments, sampling)) for sampling in ("average", "centre"))
        found = smooth(mesh).point_values(average)
        errors.append([np.abs(found - exact).max(), np.abs(average - exact).max()])
    assert np.log2(np.divide(*errors)) == pytest.approx([4, 2], abs=0.3)
    assert errors[1][0] < 0.02 * errors[1][1]


def test_a_density_that_falls_off_within_a_cell_has_a_value_at_its_centre():
    values = smooth(Box((0.0,), (1.0,), (9,)).build()).point_values(np.array([-500.0] * 4 + [0.0] + [-500.0] * 4))
    assert values[4] == pytest.approx(np.log(2), abs=1e-12)


@pytest.mark.parametrize("kind", [LINE, PLANE, SPACE, Box((0.0, 0.0), (1.0, 1.0), (5, 4), periodic=("x",))])
def test_the_positive_reconstruction_of_grids_is_multilinear(kind):
    mesh = kind.build()
    x, values = inside(mesh, 500), np.random.default_rng(5).uniform(1, 2, mesh.cells)
    found = evaluated(positive(mesh), values, x, 0).value
    assert values.min() <= found.min() <= found.max() <= values.max()
    if not mesh.periodic:
        f, gradient, _ = polynomial(1, mesh.dimension)
        ends = mesh.centre.min(axis=0), mesh.centre.max(axis=0)
        x = np.random.default_rng(2).uniform(*ends, (200, mesh.dimension))
        found = evaluated(positive(mesh), f(mesh.centre), x, 1)
        assert found.value == pytest.approx(f(x), abs=1e-12)
        assert found.gradient == pytest.approx(gradient(x), abs=1e-11)
    else:
        shifted = evaluated(positive(mesh), values, x + np.array([3.0, 0.0]), 0).value
        assert shifted == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_least_squares_keep_quadratics_at_nodes_and_linear_functions_everywhere(shape):
    mesh = shape()
    d, space = mesh.dimension, smooth(mesh)
    root = np.random.default_rng(0).normal(size=(d, d))
    curved, slope = root + root.T, np.arange(1.0, d + 1)

    def quadratic(at):
        return 0.5 * np.einsum("pi,ij,pj->p", at, curved, at) + at @ slope + 1.0

    x = inside(mesh, 300)
    x = x[~space.outside(x)]
    assert len(x) > 100
    found = evaluated(space, quadratic(mesh.centre), x)
    assert found.gradient == pytest.approx(x @ curved + slope, abs=1e-8)
    assert found.second == pytest.approx(np.broadcast_to(curved, found.second.shape), abs=1e-7)
    nodes = mesh.points[np.unique(mesh.plot_cells[mesh.plot_cells >= 0])]
    assert evaluated(space, quadratic(mesh.centre), nodes, 0).value == pytest.approx(quadratic(nodes), abs=1e-8)
    assert evaluated(space, mesh.centre @ slope, x, 0).value == pytest.approx(x @ slope, abs=1e-9)


def test_two_layers_determine_linear_functions():
    mesh, slope = meshes.prisms(), np.array([1.0, 2.0, 3.0])
    found = evaluated(smooth(mesh), mesh.centre @ slope, inside(mesh, 100))
    assert found.gradient == pytest.approx(np.tile(slope, (100, 1)), abs=1e-9)
    assert np.abs(found.second).max() <= 1e-8


@pytest.mark.parametrize("shape", SHAPES)
def test_means_at_nodes_stay_between_the_values(shape):
    mesh = shape()
    x, values = inside(mesh, 300), np.random.default_rng(5).uniform(1, 2, mesh.cells)
    x = x[~positive(mesh).outside(x)]
    found = evaluated(positive(mesh), values, x, 0).value
    assert values.min() <= found.min() <= found.max() <= values.max()
    assert evaluated(positive(mesh), np.ones(mesh.cells), x, 0).value == pytest.approx(np.ones(len(x)), abs=1e-12)


def test_orders_of_least_squares():
    wave, errors = np.array([1.5, 1.0]), []
    for level in (3, 4):
        mesh = mesh_from_cells(*meshes.acute(level))
        space, x = smooth(mesh), inside(mesh, 3000)
        found = evaluated(space, np.sin(mesh.centre @ wave), x, 1)
        gradient = np.cos(x @ wave)[:, None] * wave
        pairs = [(found.value, np.sin(x @ wave)), (found.gradient, gradient)]
        errors.append([np.sqrt(np.mean((got - exact) ** 2)) for got, exact in pairs])
    assert np.log2(np.divide(*errors)) == pytest.approx([2, 2], abs=0.35)


def test_points_just_behind_a_wall_of_a_grid_are_outside():
    mesh = Box((0.0, 0.0), (1.0, 2.0), (5, 4), periodic=("y",)).build()
    x = np.array([[0.0, 1.0], [1.0, 2.0], [-1e-9, 1.0], [1.0 + 1e-9, 1.0], [0.5, 9.0]])
    for space in (smooth(mesh), positive(mesh)):
        assert space.outside(x).tolist() == [False, False, True, True, False]


def test_points_in_the_notch_of_an_l_shape_are_outside():
    mesh = Gmsh("cases/l-shape.msh").build()
    x = inside(mesh, 4000)
    assert (smooth(mesh).outside(x) == ((x[:, 0] > 0) & (x[:, 1] < 0))).all()


def test_averages_on_triangles_are_taken_at_the_centroids():
    mesh = meshes.triangles()
    average = mesh.integral(lambda at, part: 1.0 + at @ [2.0, -1.0], 2) / mesh.volume
    assert smooth(mesh).point_values(average) == pytest.approx(1.0 + mesh.centre @ [2.0, -1.0], abs=1e-10)


def in_time(times, value, rate, how="hermite"):
    """A field that is the same in all of a small mesh."""
    mesh = Box((0.0,), (1.0,), (4,)).build()

    def saved(frame):
        slope = None if rate is None else np.full(4, rate(times[frame]))
        return SavedValues(np.full(4, value(times[frame])), slope)

    return FieldInTime(smooth(mesh), times, saved, how)


def value_at(field, interval, t):
    return float(field.at(Place(interval, np.array([[0.3]]), np.array([t]))).value[0])


@pytest.mark.parametrize(("how", "order"), [("hermite", 4), ("linear", 2)])
def test_orders_in_time(how, order):
    errors = []
    for count in (10, 20):
        times = np.linspace(0, 1, count + 1) ** 1.2
        field = in_time(times, lambda t: np.sin(3 * t), lambda t: 3 * np.cos(3 * t), how)
        middle = 0.5 * (times[1:] + times[:-1])
        errors.append(max(abs(value_at(field, k, t) - np.sin(3 * t)) for k, t in enumerate(middle)))
        assert value_at(field, 3, times[4]) == pytest.approx(np.sin(3 * times[4]), abs=1e-14)
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize(("values", "kept"), [(10, [18, 3, 19]), (4 * 28, [17, 18, 3, 19])])
def test_as_many_intervals_are_kept_as_memory_allows(values, kept, monkeypatch):
    monkeypatch.setattr(in_time_module, "_KEPT_VALUES", values)
    times = np.linspace(0, 1, 21)
    field = in_time(times, np.sin, np.cos)
    for k in (*range(20), 3, 19):
        assert value_at(field, k, times[k] + 0.01) == pytest.approx(np.sin(times[k] + 0.01), abs=1e-6)
    assert list(field._known) == kept


def test_a_derivative_far_beyond_the_change_does_not_take_over():
    field = in_time(np.array([0.0, 1.0]), lambda t: t, lambda t: 1e9)
    bends = [value_at(field, 0, s) - s for s in np.linspace(0, 1, 21)]
    assert max(map(abs, bends)) <= _LARGEST_BEND * 4 / 27 * (1 + 1e-12)  # max s (1 - s)^2 = 4/27
    assert max(map(abs, bends)) > 0.3


def test_the_watcher_sees_each_interval_once_with_the_difference_from_linear():
    seen, times = [], np.array([0.0, 0.5, 1.0])
    mesh = Box((0.0,), (1.0,), (4,)).build()
    field = FieldInTime(
        smooth(mesh),
        times,
        lambda frame: SavedValues(np.full(4, times[frame] ** 2), np.full(4, 2 * times[frame])),
        watch=lambda interval, difference: seen.append((interval, difference)),
    )
    for t in (0.1, 0.2, 0.7, 0.3):
        assert value_at(field, int(t > 0.5), t) == pytest.approx(t**2, abs=1e-4)
    assert [interval for interval, _ in seen] == [0, 1]
    assert seen[0][1] == pytest.approx(np.full(4, 0.25**2 - 0.5 * 0.5**2), rel=1e-3)
