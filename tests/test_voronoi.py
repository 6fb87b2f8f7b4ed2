import numpy as np
import pytest
from scipy.spatial import cKDTree

from fvflow.errors import CaseError
from fvflow.mesh.voronoi import Voronoi
from fvflow.mesh.voronoi_cells import centroids, clipped_voronoi
from tests.contracts import check_mesh

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
TRIANGLE = ((0.0, 0.0), (2.0, 0.0), (1.0, 2.0))
NEEDLE = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.05))  # a corner of three degrees
SKEW = ((-1.0, 0.0), (3.0, -0.1), (2.5, 0.4), (0.0, 0.3))
HEXAGON = tuple((3.0 + np.cos(a), np.sin(a) - 2.0) for a in np.pi / 3 * np.arange(6) + 0.1)
ROUND = tuple((np.cos(a), np.sin(a)) for a in 2 * np.pi / 60 * np.arange(60))
KINDS = {
    "box": Voronoi((-1.0, 2.0), (2.0, 3.0), (30, 12), seed=1),
    "relaxed": Voronoi((0.0, 0.0), (1.0, 1.0), (12, 12), seed=2, relaxations=3),
    "wild": Voronoi((0.0, 0.0), (1.0, 1.0), (40, 40), jitter=0.49, seed=3),
    "lattice": Voronoi((0.0, 0.0), (1.0, 1.0), (25, 20), jitter=0.0),
    "nearly a lattice": Voronoi((0.0, 0.0), (1.0, 1.0), (25, 25), jitter=1e-12),
    "long": Voronoi((0.0, 0.0), (100.0, 1.0), (3, 3)),
    "triangle": Voronoi(polygon=TRIANGLE, cells=(25, 25)),
    "needle": Voronoi(polygon=NEEDLE, cells=(40, 10)),
    "skew": Voronoi(polygon=SKEW, cells=(30, 6), jitter=0.45),
    "hexagon": Voronoi(polygon=HEXAGON, cells=(20, 20)),
    "round": Voronoi(polygon=ROUND, cells=(20, 20)),
    "one": Voronoi((0.0, 0.0), (400.0, 1.0), points=((150.0, 0.3),)),
    "island": Voronoi(polygon=SQUARE, points=tuple(map(tuple, np.random.default_rng(6).uniform(0.4, 0.6, (400, 2))))),
    "two": Voronoi(polygon=TRIANGLE, points=((1.0, 0.3), (1.0, 1.5))),
    "tie in corners": Voronoi(polygon=SQUARE, points=((0.2, 0.1), (0.1, 0.2), (0.9, 0.9))),
    "rings": Voronoi(
        polygon=SQUARE,
        points=tuple(
            (0.5 + r * np.cos(a), 0.5 + r * np.sin(a)) for r in (0.2, 0.4) for a in 2 * np.pi / 50 * np.arange(50)
        ),
    ),
    "clustered": Voronoi(
        polygon=SQUARE, points=tuple(map(tuple, 0.01 + 0.9 * np.random.default_rng(5).uniform(size=(300, 2)) ** 4))
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def made(kind):
    """Sites, polygon, points, cell_points."""
    sites, polygon = kind.sites()
    return sites, polygon, *clipped_voronoi(sites, polygon)


def cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def area(corners):
    ahead = corners - corners[0]
    return 0.5 * cross(ahead, np.roll(ahead, -1, axis=0)).sum()


def polygons(cell_points):
    return [row[row >= 0] for row in cell_points]


def depth(points, polygon):
    """Distances from the walls (point, wall), positive inside."""
    side = np.roll(polygon, -1, axis=0) - polygon
    return cross(side, points[:, None] - polygon) / np.hypot(*side.T)


def sides(cell_points):
    """For each pair of nodes that follow one another in a cell, the cells."""
    found = {}
    for cell, row in enumerate(polygons(cell_points)):
        for pair in zip(row, np.roll(row, -1), strict=True):
            found.setdefault(tuple(sorted(map(int, pair))), []).append(cell)
    return found


@every_kind
def test_cells_cover_the_polygon_and_are_convex_about_their_sites(kind):
    sites, polygon, points, cell_points = made(kind)
    areas = np.array([area(points[row]) for row in polygons(cell_points)])
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(area(polygon), rel=1e-12)
    for site, row in zip(sites, polygons(cell_points), strict=True):
        ahead = points[row]
        after = np.roll(ahead, -1, axis=0)
        assert (cross(ahead - site, after - site) > 0).all()
        assert (cross(after - ahead, np.roll(after, -1, axis=0) - after) > -1e-12 * areas.max()).all()


@every_kind
def test_table_is_of_32_bits_and_padded_at_the_end(kind):
    sites, _, points, cell_points = made(kind)
    assert cell_points.dtype == np.int32
    assert len(cell_points) == len(sites)
    assert (np.diff((cell_points < 0).astype(int), axis=1) >= 0).all()
    assert (cell_points[:, -1] >= 0).any()
    np.testing.assert_array_equal(np.unique(cell_points[cell_points >= 0]), np.arange(len(points)))


@every_kind
def test_nodes_are_distinct_and_as_far_from_each_of_their_sites_as_from_the_nearest(kind):
    sites, polygon, points, cell_points = made(kind)
    size = np.ptp(polygon, axis=0).max()
    assert not cKDTree(points).query_pairs(1e-10 * size)
    nearest = cKDTree(sites).query(points)[0]
    for site, row in zip(sites, polygons(cell_points), strict=True):
        np.testing.assert_allclose(np.hypot(*(points[row] - site).T), nearest[row], atol=1e-11 * size)


@every_kind
def test_places_belong_to_the_nearest_site(kind):
    sites, polygon, points, cell_points = made(kind)
    random = np.random.default_rng(7)
    places = polygon.min(axis=0) + random.uniform(size=(3000, 2)) * np.ptp(polygon, axis=0)
    places = places[(depth(places, polygon) > 0).all(axis=1)]
    rows = polygons(cell_points)
    for place, site in zip(places, cKDTree(sites).query(places)[1], strict=True):
        corners = points[rows[site]] - place
        assert (cross(corners, np.roll(corners, -1, axis=0)) > -1e-10).all()


@every_kind
def test_faces_lie_on_the_bisectors_of_sites(kind):
    sites, polygon, points, cell_points = made(kind)
    inner = [(pair, cells) for pair, cells in sides(cell_points).items() if len(cells) == 2]
    assert len(inner) >= len(sites) - 1
    size = np.ptp(polygon, axis=0).max()
    for pair, (one, other) in inner:
        ahead = (sites[other] - sites[one]) / np.hypot(*(sites[other] - sites[one]))
        first, last = points[list(pair)]
        assert abs((last - first) @ ahead) < 1e-10 * size
        for node in (first, last):
            assert abs((node - 0.5 * (sites[one] + sites[other])) @ ahead) < 1e-10 * size


@every_kind
def test_mesh_is_conforming_and_its_walls_are_those_of_the_polygon(kind):
    """Euler: nodes - faces + cells = 1, and what only one cell has lies on the walls, which it covers."""
    _, polygon, points, cell_points = made(kind)
    found = sides(cell_points)
    assert max(map(len, found.values())) <= 2
    assert len(points) - len(found) + len(cell_points) == 1
    size = np.ptp(polygon, axis=0).max()
    off = np.abs(depth(points, polygon))
    length = np.zeros(len(polygon))
    for pair, cells in found.items():
        if len(cells) == 1:
            wall = np.argmin(off[list(pair)].max(axis=0))
            assert off[list(pair), wall].max() < 4e-16 * (size + np.abs(polygon).max())
            length[wall] += np.hypot(*np.diff(points[list(pair)], axis=0)[0])
    np.testing.assert_allclose(length, np.hypot(*(np.roll(polygon, -1, axis=0) - polygon).T), rtol=1e-12)
    assert depth(points, polygon).min() > -4e-16 * (size + np.abs(polygon).max())
    assert {tuple(corner) for corner in polygon} <= {tuple(point) for point in points}


@pytest.mark.parametrize("jitter", [0.0, 1e-13, 1e-11])
def test_lattice_without_jitter_gives_rectangles(jitter):
    _, _, points, cell_points = made(Voronoi((0.0, -1.0), (3.0, 1.0), (30, 16), jitter=jitter))
    assert cell_points.shape == (480, 4)
    assert len(points) == 31 * 17
    extents = np.ptp(points[cell_points], axis=1)
    np.testing.assert_allclose(extents, np.broadcast_to([0.1, 0.125], extents.shape), atol=1e-9)
    x, y = np.meshgrid(np.linspace(0.0, 3.0, 31), np.linspace(-1.0, 1.0, 17))
    off, order = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], axis=1))
    assert off.max() < 1e-9
    assert len(set(order)) == len(points)


def test_lattices_in_a_box_keep_all_sites_and_in_a_polygon_those_clear_of_the_walls():
    for jitter in (0.0, 0.3, 0.499):
        assert len(Voronoi((0.0, 0.0), (1.0, 3.0), (17, 9), jitter=jitter).sites()[0]) == 153
    sites, polygon = Voronoi(polygon=TRIANGLE, cells=(40, 40), jitter=0.1).sites()
    inside = depth(sites, polygon)
    assert inside[:, 0].min() >= 0.25 * 2 / 40 - 1e-9
    assert len(sites) == pytest.approx(800, rel=0.1)
    np.testing.assert_array_equal(
        Voronoi(polygon=SQUARE, cells=(9, 9)).sites()[0], Voronoi((0.0, 0.0), (1.0, 1.0), (9, 9)).sites()[0]
    )


def test_sites_are_the_same_for_a_seed_and_others_for_another():
    one, again, other = (made(Voronoi((0.0, 0.0), (1.0, 1.0), (9, 9), seed=seed, relaxations=1)) for seed in (4, 4, 5))
    for mine, same in zip(one, again, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert np.abs(one[0] - other[0]).max() > 1e-3


def test_centroids_are_those_of_triangles_and_boxes():
    points = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 2.0], [0.0, 2.0], [6.0, 0.0]])
    cells = np.array([[0, 1, 2, 3], [1, 4, 2, -1]], np.int32)
    found = centroids(np.array([[0.4, 1.7], [3.2, 0.3]]), points, cells)
    np.testing.assert_allclose(found, [[1.5, 1.0], [4.0, 2 / 3]], rtol=1e-14)


def test_relaxation_moves_sites_towards_the_centroids():
    def off(relaxations):
        sites, _, *cells = made(Voronoi((0.0, 0.0), (1.0, 1.0), (15, 15), jitter=0.45, relaxations=relaxations))
        return np.hypot(*(centroids(sites, *cells) - sites).T).max()

    assert off(10) < 0.5 * off(1) < 0.5 * off(0)


def test_clockwise_polygons_are_turned():
    one, other = Voronoi(polygon=SKEW, cells=(9, 9)), Voronoi(polygon=SKEW[::-1], cells=(9, 9))
    assert area(other.sites()[1]) > 0
    np.testing.assert_array_equal(one.sites()[0], other.sites()[0])


def test_cells_do_not_depend_on_where_and_how_large_the_polygon_is():
    sites, polygon = KINDS["skew"].sites()
    points, cells = clipped_voronoi(sites, polygon)
    for scale, shift in ((1e-6, 0.0), (2.0**30, 0.0), (1.0, 2.0**20)):
        moved, same = clipped_voronoi(sites * scale + shift, polygon * scale + shift)
        assert same.shape == cells.shape
        assert len(moved) == len(points)
        assert cKDTree(moved).query(points * scale + shift)[0].max() < 1e-7 * scale


def test_a_site_close_to_a_wall_is_cut_off_all_the_same():
    polygon = np.array(SQUARE)
    points, cells = clipped_voronoi(np.array([[0.5, 0.7], [0.3, 1.1e-6], [0.9, 0.4]]), polygon)
    assert sum(area(points[row]) for row in polygons(cells)) == pytest.approx(1.0, rel=1e-12)
    assert depth(points, polygon).min() >= 0.0


def test_build_joins_the_sites():
    kind = KINDS["hexagon"]
    mesh = kind.build()
    sites, polygon, *_ = made(kind)
    np.testing.assert_array_equal(mesh.centre, sites)
    check_mesh(mesh, area(polygon), orthogonal=1e-7)


def test_refined_multiplies_the_cells():
    assert KINDS["box"].refined(3) == Voronoi((-1.0, 2.0), (2.0, 3.0), (90, 36), seed=1)
    with pytest.raises(CaseError, match="give cells"):
        KINDS["two"].refined()


BOX = {"lower": (0.0, 0.0), "upper": (1.0, 1.0)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cells": (3, 3)}, "either lower and upper, or polygon"),
        ({"lower": (0.0, 0.0), "cells": (3, 3)}, "either lower and upper, or polygon"),
        ({**BOX, "polygon": SQUARE, "cells": (3, 3)}, "either lower and upper, or polygon"),
        ({"upper": (1.0, 1.0), "polygon": SQUARE, "cells": (3, 3)}, "either lower and upper, or polygon"),
        (BOX, "either a lattice of cells, or points"),
        ({**BOX, "cells": (3, 3), "points": ((0.5, 0.5),)}, "either a lattice of cells, or points"),
        ({"lower": (1.0, 1.0), "upper": (0.0, 0.0), "cells": (3, 3)}, "not below"),
        ({"lower": (0.0, 1.0), "upper": (1.0, 1.0), "cells": (3, 3)}, "not below"),
        ({"lower": (0.0,), "upper": (1.0,), "cells": (3, 3)}, "pairs of x and y"),
        ({**BOX, "cells": (3, 3, 3)}, "one per axis"),
        ({**BOX, "cells": (3, 0)}, "at least 1"),
        ({**BOX, "points": ()}, "pairs of x and y"),
        ({**BOX, "points": ((0.5, 0.5), (1.5, 0.5))}, r"\[1.5, 0.5\] is not inside"),
        ({**BOX, "points": ((0.5, 0.5), (1.0, 0.5))}, r"\[1.0, 0.5\] is not inside"),
        ({**BOX, "points": ((0.5, 0.5), (np.nan, 0.5))}, "not inside"),
        ({**BOX, "points": ((0.5, 0.5), (0.2, 0.5), (0.5, 0.5))}, "0 from another"),
        ({**BOX, "points": ((0.5, 0.5), (0.5, 0.5 + 5e-7))}, "5e-07 from another"),
        ({"polygon": ((0.0, 0.0), (1.0, 1.0)), "cells": (3, 3)}, "convex"),
        ({"polygon": ((0.0, 0.0), (2.0, 0.0), (0.5, 0.5), (0.0, 2.0)), "cells": (3, 3)}, r"\[0.5, 0.5\].*convex"),
        (
            {"polygon": ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 2.0)), "cells": (3, 3)},
            r"\[1.0, 0.0\].*remove this corner",
        ),
        ({"polygon": (*SQUARE, (0.0, 1.0)), "cells": (3, 3)}, r"\[0.0, 1.0\].*remove this corner"),
        ({"polygon": (*SQUARE, (-1.0, 1.0)), "cells": (3, 3)}, "remove this corner"),
        ({"polygon": tuple(HEXAGON[k % 6] for k in range(12)), "cells": (3, 3)}, "winds"),
        ({"polygon": tuple(ROUND[k % 60] for k in range(0, 120, 24)), "cells": (3, 3)}, "winds"),
    ],
)
def test_senseless_voronoi_meshes_are_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        Voronoi(**arguments)


def test_lattices_without_a_site_in_the_polygon_are_refused():
    with pytest.raises(CaseError, match="use more cells"):
        Voronoi(polygon=TRIANGLE, cells=(1, 1), jitter=0.0).sites()


def test_coinciding_sites_are_refused_by_the_triangulation_too():
    with pytest.raises(CaseError, match="coincides with another"):
        clipped_voronoi(np.array([[0.5, 0.5], [0.2, 0.3], [0.5, 0.5]]), np.array(SQUARE))
