"""Transfer between meshes: exact volumes of intersection, and mass that is kept."""

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import Delaunay

from fvflow.errors import CaseError
from fvflow.mesh import Box, Graded
from fvflow.mesh.overlap import overlaps, transferred

SPLITS = {  # tetrahedra of a wedge, a pyramid and a cube with planar faces
    4: [[0, 1, 2, 3]],
    5: [[0, 1, 2, 4], [0, 2, 3, 4]],
    6: [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]],
    8: [[0, 1, 3, 4], [1, 2, 3, 6], [1, 4, 5, 6], [3, 4, 6, 7], [1, 3, 4, 6]],
}


def mesh_of(points, rows):
    """A mesh that is no grid; cells are rows of nodes, of any length."""
    points = np.asarray(points, float)
    cell_points = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for number, row in enumerate(rows):
        cell_points[number, : len(row)] = row
    volume = np.array([volume_of(points[list(row)]) for row in rows])
    return SimpleNamespace(
        points=points,
        cell_points=cell_points,
        volume=volume,
        centre=np.full(points[: len(rows)].shape, np.nan),
        edges=None,
        revolution=None,
        dimension=points.shape[1],
        cells=len(rows),
        signed_simplices=lambda: None,
    )


def volume_of(corner):
    if corner.shape[1] == 1:
        return abs(corner[1, 0] - corner[0, 0])
    if corner.shape[1] == 2:
        (x, y), (u, v) = corner.T, np.roll(corner, -1, axis=0).T
        return 0.5 * np.sum(x * v - u * y)
    return sum(abs(np.linalg.det(corner[part[1:]] - corner[part[0]])) / 6 for part in SPLITS[len(corner)])


def ungridded(grid):
    """The same cells, not known to be a grid."""
    return mesh_of(grid.points, grid.cell_points)


def simplices(dimension, count, seed):
    """A Delaunay mesh of the unit square or cube, of a lattice whose inner nodes are shaken."""
    axes = [np.linspace(0, 1, count + 1)] * dimension
    points = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    shake = np.random.default_rng(seed).uniform(-0.3, 0.3, points.shape) / count
    points += np.where((points > 0) & (points < 1), shake, 0)
    rows = Delaunay(points).simplices.copy()
    det = np.linalg.det(points[rows[:, 1:]] - points[rows[:, :1]])
    rows[det < 0] = rows[det < 0][:, [1, 0, *range(2, dimension + 1)]]
    return mesh_of(points, rows[np.abs(det) > 1e-9])


def solids(count):
    """The unit cube in cubes, each of which is left whole, cut in two wedges or in six pyramids by turns."""
    cube = Box((0.0,) * 3, (1.0,) * 3, (count,) * 3).build()
    points, rows = [*cube.points], []
    for number, c in enumerate(cube.cell_points):
        if number % 3 == 0:
            rows.append(c)
        elif number % 3 == 1:
            rows += [c[[0, 1, 2, 4, 5, 6]], c[[0, 2, 3, 4, 6, 7]]]
        else:
            faces = [[0, 1, 2, 3], [4, 7, 6, 5], [0, 4, 5, 1], [1, 5, 6, 2], [2, 6, 7, 3], [3, 7, 4, 0]]
            rows += [[*c[face], len(points)] for face in faces]
            points.append(cube.centre[number])
    return mesh_of(points, rows)


def disc(sectors, rings):
    """A disc of polygons: one in the middle, and rings of quadrilaterals."""
    angle = 2 * np.pi * np.arange(sectors) / sectors
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.concatenate([radius * circle for radius in np.linspace(0, 1, rings + 1)[1:]])
    turn = np.arange(sectors)
    ahead = (turn + 1) % sectors
    rows = [turn]
    for ring in range(rings - 1):
        low, high = sectors * ring, sectors * (ring + 1)
        rows += [*np.column_stack([low + turn, high + turn, high + ahead, low + ahead])]
    return mesh_of(points, rows)


def mass_error(source, target, density):
    before = math.fsum(source.volume * density)
    return abs(math.fsum(target.volume * transferred(source, target, density)) - before) / before


LINE = Graded((0.0,), (1.0,), (9,), (3.0,)).build()
UNIT = {
    "line": (LINE, Box((0.0,), (1.0,), (14,)).build()),
    "line that is no grid": (ungridded(LINE), Box((0.0,), (1.0,), (14,)).build()),
    "grids": (Box((0.0, 0.0), (1.0, 1.0), (7, 5)).build(), Graded((0.0, 0.0), (1.0, 1.0), (4, 9), (2.0, 0.5)).build()),
    "cubes": (
        Box((0.0,) * 3, (1.0,) * 3, (2, 3, 4)).build(),
        Graded((0.0,) * 3, (1.0,) * 3, (5, 3, 2), (2.0,) * 3).build(),
    ),
    "triangles": (simplices(2, 9, 0), simplices(2, 11, 1)),
    "square and triangles": (Box((0.0, 0.0), (1.0, 1.0), (12, 12)).build(), simplices(2, 9, 0)),
    "nested": (ungridded(Box((0.0, 0.0), (1.0, 1.0), (12, 12)).build()), Box((0.0, 0.0), (1.0, 1.0), (4, 6)).build()),
    "tetrahedra": (simplices(3, 4, 0), simplices(3, 5, 1)),
    "tetrahedra and cubes": (simplices(3, 4, 0), Box((0.0,) * 3, (1.0,) * 3, (3, 4, 5)).build()),
    "solids": (solids(3), simplices(3, 3, 2)),
}
PAIRS = [(a, b) for a, b in UNIT.values()] + [(b, a) for a, b in UNIT.values()]
NAMES = [*UNIT, *(f"{name}, back" for name in UNIT)]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=NAMES)
def test_overlaps_make_up_the_cells(source, target):
    cell, other, volume = overlaps(source, target)
    np.testing.assert_allclose(np.bincount(cell, volume, source.cells), source.volume, rtol=1e-12)
    np.testing.assert_allclose(np.bincount(other, volume, target.cells), target.volume, rtol=1e-12)
    assert volume.min() > 0
    assert len(set(zip(cell.tolist(), other.tolist(), strict=True))) == len(cell)
    assert cell.dtype == other.dtype == np.int32


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=NAMES)
def test_mass_is_kept_and_a_constant_stays_one(source, target):
    density = np.random.default_rng(3).exponential(size=source.cells)
    assert mass_error(source, target, density) <= 4e-16
    result = transferred(source, target, density)
    assert density.min() * (1 - 1e-12) <= result.min()
    assert result.max() <= density.max() * (1 + 1e-12)
    np.testing.assert_allclose(transferred(source, target, np.full(source.cells, 0.7)), 0.7, rtol=1e-12)


@pytest.mark.parametrize("name", ["grids", "cubes", "line"])
def test_grids_overlap_as_the_same_cells_do_without_their_edges(name):
    source, target = UNIT[name]
    found = [np.zeros((source.cells, target.cells)) for _ in range(2)]
    for matrix, pairs in zip(found, (overlaps(source, target), overlaps(ungridded(source), target)), strict=True):
        matrix[pairs[0], pairs[1]] = pairs[2]
    np.testing.assert_allclose(*found, atol=1e-15)
    density = np.random.default_rng(4).exponential(size=source.cells)
    both = [transferred(mesh, target, density) for mesh in (source, ungridded(source))]
    np.testing.assert_allclose(*both, rtol=1e-12)


def test_known_overlaps():
    """Squares and simplices whose common parts are known by hand."""
    square = mesh_of([[0, 0], [1, 0], [1, 1], [0, 1]], [[0, 1, 2, 3]])
    diamond = mesh_of([[0.5, -0.5], [1.5, 0.5], [0.5, 1.5], [-0.5, 0.5]], [[0, 1, 2, 3]])
    octagon = mesh_of([[0.5, -0.25], [1.25, 0.5], [0.5, 1.25], [-0.25, 0.5]], [[0, 1, 2, 3]])
    assert overlaps(square, diamond)[2] == pytest.approx([1.0], rel=1e-14)
    assert overlaps(square, octagon)[2] == pytest.approx([1 - 4 * 0.25**2 / 2], rel=1e-14)
    corner = mesh_of([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 1, 2, 3]])
    opposite = mesh_of([[0.5] * 3, [-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]], [[0, 1, 2, 3]])
    cube = Box((0.0,) * 3, (0.5,) * 3, (1,) * 3).build()
    assert overlaps(corner, cube)[2] == pytest.approx([1 / 6 - 3 * 0.5**3 / 6], rel=1e-14)
    assert overlaps(opposite, cube)[2] == pytest.approx([0.5**3 - 1 / 6 * (1.5 - 1) ** 3], rel=1e-14)
    assert overlaps(corner, opposite)[2] == pytest.approx([1 / 12], rel=1e-14)  # 1/8 less two corners (1/2)^3/6


def test_cells_that_only_touch_do_not_overlap():
    for mesh in (simplices(2, 9, 0), simplices(3, 4, 0), disc(7, 3)):
        cell, other, _ = overlaps(mesh, mesh)
        np.testing.assert_array_equal(cell, np.arange(mesh.cells))
        np.testing.assert_array_equal(cell, other)
    assert len(overlaps(Box((0.0,), (1.0,), (3,)).build(), Box((1.0,), (2.0,), (3,)).build())[2]) == 0


def test_a_cell_round_a_corner_of_the_domain_need_not_be_convex():
    ell = mesh_of([[0, 1], [0, 0], [2, 0], [2, 2], [1, 2], [1, 1]], [range(6)])
    _, other, volume = overlaps(ell, Box((0.0, 0.0), (2.0, 2.0), (4, 4)).build())
    assert set(other.tolist()) == set(range(16)) - {8, 9, 12, 13}
    np.testing.assert_allclose(volume, 0.25, rtol=1e-14)


def test_neighbours_cut_a_warped_face_alike():
    """Two hexahedra with a warped face between them fill their box without gap or overlap."""
    points = np.array([[x, y, z] for z, y, x in product(range(2), range(2), range(3))], float)
    points[[4, 7], 0] += [0.2, -0.1]
    pair = mesh_of(points, [[0, 1, 4, 3, 6, 7, 10, 9], [1, 2, 5, 4, 7, 8, 11, 10]])
    box = Box((0.0,) * 3, (2.0, 1.0, 1.0), (4, 3, 2)).build()
    _, other, volume = overlaps(pair, box)
    np.testing.assert_allclose(np.bincount(other, volume), box.volume, rtol=1e-13)


def test_flat_corners_and_graded_cells():
    """A corner on a straight side is no trouble, nor are cells of very different sizes."""
    source = mesh_of([[0, 0], [0.3, 0], [1, 0], [1, 1], [0, 1]], [[1, 2, 3, 4, 0]])
    target = ungridded(Graded((0.0, 0.0), (1.0, 1.0), (40, 30), (1e6, 1e-5)).build())
    _, other, volume = overlaps(source, target)
    np.testing.assert_allclose(volume[np.argsort(other)], target.volume, rtol=1e-9)


def averages(grid, order):
    """Exact cell averages of products of a power of each coordinate."""
    factors = [np.diff(edge ** (order + 1)) / (order + 1) / np.diff(edge) for edge in grid.edges]
    result = factors[0]
    for factor in factors[1:]:
        result = np.multiply.outer(factor, result).ravel()
    return result


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("by_axis", [True, False])
def test_averages_on_a_finer_grid_give_those_on_a_coarser_one(dimension, by_axis):
    kind = Graded((0.0,) * dimension, (1.0,) * dimension, (3, 4, 2)[:dimension], (3.0, 0.5, 2.0)[:dimension])
    coarse, fine = kind.build(), kind.refined(3).build()
    result = transferred(fine if by_axis else ungridded(fine), coarse, averages(fine, 2))
    np.testing.assert_allclose(result, averages(coarse, 2), rtol=1e-12)


def test_a_linear_density_is_met_to_order_two():
    """Averages on finer and finer grids, on triangles that stay; an average of a linear density is at the centroid."""
    target = simplices(2, 3, 0)
    exact = 1 + target.points[target.cell_points].mean(axis=1) @ [1.0, 2.0]
    errors = []
    for count in (10, 20, 40, 80):
        source = Box((0.0, 0.0), (1.0, 1.0), (count, count)).build()
        density = transferred(source, target, 1 + source.centre @ [1.0, 2.0])
        errors.append(np.sqrt(np.average((density - exact) ** 2, weights=target.volume)))
    assert 0 < errors[-1] < 1e-3
    assert math.log2(errors[0] / errors[-1]) / 3 > 1.8


def test_from_a_grid_to_triangles_and_back():
    source, between = Box((0.0, 0.0), (1.0, 1.0), (16, 16)).build(), simplices(2, 64, 0)
    density = np.exp(-8 * ((source.centre - 0.4) ** 2).sum(axis=1))
    there = transferred(source, between, density)
    back = transferred(between, source, there)
    assert mass_error(between, source, there) <= 4e-16
    assert math.fsum(source.volume * back) == pytest.approx(math.fsum(source.volume * density), rel=4e-16)
    assert 1e-6 < np.abs(back - density).max() < 0.03
    assert density.min() <= back.min()
    assert back.max() <= density.max()


@pytest.mark.parametrize(("few", "many"), [(12, 40), (40, 12), (7, 7 * 5)])
def test_mass_is_kept_between_discs_of_different_walls(few, many):
    source, target = disc(few, 4), disc(many, 9)
    density = 1 + source.points[source.cell_points[:, 0], 0] ** 2
    volume = overlaps(source, target)[2]
    small, large = sorted((few, many))
    inner = small / 2 * math.sin(2 * math.pi / small)
    if large % small == 0:  # one polygon lies in the other
        assert volume.sum() == pytest.approx(inner, rel=1e-12)
    assert volume.sum() < max(source.volume.sum(), target.volume.sum()) * (1 - 1e-3)
    assert mass_error(source, target, density) <= 4e-16
    assert transferred(source, target, density).min() >= 0


def test_the_same_mesh_returns_the_density():
    density = np.random.default_rng(5).exponential(size=63)
    for build in (
        Graded((0.0, 0.0), (1.0, 1.0), (9, 7), (3.0, 0.3)).build,
        lambda: ungridded(Box((0.1,), (0.7,), (63,)).build()),
    ):
        result = transferred(build(), build(), density)
        np.testing.assert_array_equal(result, density)
        assert not result.flags.writeable
        assert density.flags.writeable


@pytest.mark.parametrize("gridded", [True, False])
def test_mass_outside_of_the_target_is_refused(gridded):
    source, target = Box((0.0, 0.0), (4.0, 2.0), (8, 4)).build(), Box((0.0, 0.0), (3.0, 2.0), (5, 5)).build()
    shape = source if gridded else ungridded(source)
    inside = np.where(source.centre[:, 0] < 3, 1.0, 0.0)
    assert math.fsum(target.volume * transferred(shape, target, inside)) == pytest.approx(6.0, rel=1e-15)
    with pytest.raises(CaseError, match=r"a mass of 2 is outside the target mesh, near \(3, 0\); enlarge"):
        transferred(shape, target, np.ones(source.cells))


def test_what_has_no_overlap_by_its_kind_is_refused():
    with pytest.raises(CaseError, match="dimension 2, the density 1; give both"):
        transferred(LINE, UNIT["grids"][0], np.ones(LINE.cells))
    clouds = SimpleNamespace(
        **{**vars(simplices(3, 2, 0)), "cell_points": np.zeros((3, 1), np.int32), "volume": np.ones(3)}
    )
    with pytest.raises(CaseError, match="cells of 1 corners"):
        overlaps(clouds, UNIT["cubes"][0])
