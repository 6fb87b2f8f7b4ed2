import matplotlib
import numpy as np
import pytest

from fvflow.errors import CaseError
from fvflow.mesh import Box
from fvflow.mesh.section import polygons, section

matplotlib.use("Agg")
UPPER, COUNTS = (2.0, 3.0, 1.0), (4, 3, 5)
TETS = [[0, a, b, 6] for a, b in ((1, 2), (2, 3), (3, 7), (7, 4), (4, 5), (5, 1))]
WEDGES = [[0, 1, 2, 4, 5, 6], [0, 2, 3, 4, 6, 7]]
PYRAMIDS = [
    [0, 3, 2, 1],
    [4, 5, 6, 7],
    [0, 1, 5, 4],
    [1, 2, 6, 5],
    [2, 3, 7, 6],
    [3, 0, 4, 7],
]  # bases; tips in the middle


def solid(kind):
    """The box 2 x 3 x 1 cut into hexahedra, or these into tetrahedra, wedges or pyramids, or some of them into each."""
    box = Box((0.0,) * 3, UPPER, COUNTS).build()
    points, corners = box.points, box.cell_points
    if kind == "hexahedra":
        return points, corners
    if kind == "tetrahedra":
        return points, np.concatenate([corners[:, part] for part in TETS])
    if kind == "wedges":
        return points, np.concatenate([corners[:, part] for part in WEDGES])
    middle = len(points) + np.arange(len(corners), dtype=np.int32)[:, None]
    cells = np.concatenate([np.hstack([corners[:, part], middle]) for part in PYRAMIDS])
    return np.concatenate([points, box.centre]), cells


def mixed():
    """Hexahedra, wedges, pyramids and tetrahedra in one mesh, in no order."""
    points, corners = solid("pyramids")
    hexahedra = solid("hexahedra")[1]
    quarter = np.array_split(np.arange(len(hexahedra)), 4)
    parts = [hexahedra[quarter[0]]]
    parts += [hexahedra[quarter[1]][:, part] for part in WEDGES]
    parts += [hexahedra[quarter[2]][:, part] for part in TETS]
    parts.append(corners[np.isin(np.arange(len(corners)) % len(hexahedra), quarter[3])])
    cells = np.concatenate([np.pad(part, ((0, 0), (0, 8 - part.shape[1])), constant_values=-1) for part in parts])
    return points, np.random.default_rng(5).permutation(cells)


def mesh(kind):
    return mixed() if kind == "mixed" else solid(kind)


def area(pieces):
    """Signed, so that clockwise or folded ones are noticed."""
    x, y = np.moveaxis(pieces, 2, 0)
    return 0.5 * (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)


def centroid(pieces):
    x, y = np.moveaxis(pieces, 2, 0)
    right, up = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    cross = x * up - y * right
    return np.stack([((x + right) * cross).sum(axis=1), ((y + up) * cross).sum(axis=1)], 1) / (
        6 * area(pieces)[:, None]
    )


KINDS = ["hexahedra", "tetrahedra", "wedges", "pyramids", "mixed"]
SPACING = np.array(UPPER) / COUNTS
LEVELS = ["between", "nodes", "centres", "above", "below", "top"]


def level_at(which, axis):
    h = SPACING[axis]
    return {
        "between": 1.3 * h,
        "nodes": 2 * h,
        "centres": 1.5 * h,  # through the tips of the pyramids
        "above": h * (2 + 1e-6),
        "below": h * (2 - 1e-6),
        "top": UPPER[axis],
    }[which]


@pytest.mark.parametrize("which", LEVELS)
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_the_pieces_make_up_the_plane(kind, axis, which):
    points, cells = mesh(kind)
    pieces, cell = section(points, cells, axis, level_at(which, axis))
    sides = np.delete(UPPER, axis)
    areas = area(pieces)
    assert (areas > 0).all()
    assert areas.sum() == pytest.approx(sides.prod(), rel=1e-12)
    np.testing.assert_allclose(areas @ centroid(pieces) / areas.sum(), sides / 2, rtol=1e-9)
    assert (np.diff(cell) > 0).all(), "every cell is cut at most once"
    assert cell.dtype == np.int32


@pytest.mark.parametrize("kind", KINDS)
def test_every_piece_is_in_its_cell(kind):
    """Its corners are: each is a mean of the cell's corners with weights >= 0."""
    from scipy.optimize import nnls

    points, cells = mesh(kind)
    level = 0.37
    for piece, cell in zip(*section(points, cells, 2, level), strict=True):
        own = points[cells[cell][cells[cell] >= 0]]
        system = np.vstack([own.T, np.ones(len(own))])
        assert max(nnls(system, [*corner, level, 1.0])[1] for corner in piece) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_function_has_its_integral_over_the_plane(kind):
    """By its values at the nodes of the cell, not at the piece: the number of the cell matters."""
    points, cells = mesh(kind)
    pieces, cell = section(points, cells, 1, 1.234)
    total = 0.0
    for size, middle, own in zip(area(pieces), centroid(pieces), cells[cell], strict=True):
        corner = points[own[own >= 0]]
        values = corner @ [2.0, -1.0, 0.5] + 3.0
        plane = np.linalg.lstsq(np.column_stack([corner, np.ones(len(corner))]), values, rcond=None)[0]
        assert corner[:, 1].min() <= 1.234 <= corner[:, 1].max()
        total += size * (plane @ [middle[0], 1.234, middle[1], 1.0])
    assert total == pytest.approx(2.0 * 1.0 * (2.0 * 1.0 - 1.234 + 0.5 * 0.5 + 3.0), rel=1e-10)


def test_sections_of_a_hexahedron_askew_have_up_to_six_corners():
    """The cube on its tip: the plane through its middle cuts a regular hexagon."""
    u, v, w = np.array([1, -1, 0]) / 2**0.5, np.array([1, 1, -2]) / 6**0.5, np.ones(3) / 3**0.5
    cube = Box((0.0,) * 3, (1.0,) * 3, (1, 1, 1)).build()
    points = (cube.points - 0.5) @ np.stack([u, v, w], axis=1)
    pieces, _ = section(points, cube.cell_points, 2, 0.0)
    assert pieces.shape == (1, 6, 2)
    np.testing.assert_allclose(np.linalg.norm(pieces[0], axis=1), 0.5**0.5, rtol=1e-12)
    assert area(pieces)[0] == pytest.approx(0.75 * 3**0.5)


def test_nodes_on_the_plane_up_to_round_off_are_on_it():
    """Else the cells on both sides are cut, each in part."""
    random = np.random.default_rng(2)
    for kind in KINDS:
        points, cells = mesh(kind)
        moved = points + 1e-14 * random.normal(size=points.shape)
        for axis in range(3):
            pieces, cell = section(moved, cells, axis, 2 * SPACING[axis])
            np.testing.assert_array_equal(cell, section(points, cells, axis, 2 * SPACING[axis])[1])
            assert area(pieces).sum() == pytest.approx(np.delete(UPPER, axis).prod(), rel=1e-10)


def test_a_cell_that_only_comes_up_to_the_plane_has_no_piece():
    tip = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 2]])
    tip_and_edge = np.array([[0, 1, 2, 3], [0, 2, 3, 4]], np.int32)
    through = np.array([[0, 1, 2, 5]], np.int32)
    pieces, cell = section(tip, np.concatenate([tip_and_edge, through]), 2, 1.0)
    assert cell.tolist() == [2]
    assert area(pieces)[0] == pytest.approx(0.125)
    with pytest.raises(CaseError, match="cuts no cell"):
        section(tip, tip_and_edge, 2, 1.0)


@pytest.mark.parametrize(("axis", "level"), [(0, 0.0), (1, -0.1), (2, 1.001), (2, np.nan)])
def test_planes_beside_the_mesh_are_refused(axis, level):
    with pytest.raises(CaseError, match="cuts no cell"):
        section(*solid("hexahedra"), axis, level)


def test_what_has_no_section_is_refused():
    points, cells = solid("hexahedra")
    with pytest.raises(CaseError, match="give 0, 1 or 2"):
        section(points, cells, 3, 0.5)
    with pytest.raises(CaseError, match="7 corners"):
        section(points, cells[:, :7], 0, 0.5)


def test_cells_in_the_plane_are_drawn_as_they_are():
    from matplotlib.collections import PolyCollection

    points = np.array([[0.0, 0], [2, 0], [2, 1], [1, 2], [0, 1], [3, 0], [3, 1]])
    cells = np.array([[0, 1, 2, 3, 4], [1, 5, 6, 2, -1], [2, 6, 3, -1, -1]], np.int32)
    plot_cells = polygons(points, cells)
    assert plot_cells.shape == (3, 5, 2)
    np.testing.assert_allclose(area(plot_cells), [3.0, 1.0, 0.5])
    np.testing.assert_array_equal(plot_cells[2], [[2, 1], [3, 1], [1, 2], [1, 2], [1, 2]])
    inside = [[(1.0, 1.5), False], [(2.5, 0.5), True], [(2.1, 1.1), False], [(2.9, 1.01), False], [(2.9, 1.1), False]]
    path = PolyCollection(plot_cells).get_paths()[1]
    assert [bool(path.contains_point(at)) for at, _ in inside] == [answer for _, answer in inside]


def test_cells_of_a_grid_need_no_padding():
    box = Box((0.0, 1.0), (2.0, 2.0), (4, 3)).build()
    plot_cells = polygons(box.points, box.cell_points)
    assert plot_cells.shape == (12, 4, 2)
    np.testing.assert_allclose(area(plot_cells), box.volume)
    np.testing.assert_allclose(plot_cells.mean(axis=1), box.centre)
