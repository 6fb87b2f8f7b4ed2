import numpy as np
import pytest

from fvflow.errors import CaseError
from fvflow.mesh import Box, FiPyMesh, Graded, from_fipy
from tests.contracts import check_mesh
from tests.scenes import ou

EXTENTS = [
    ((-1.0,), (2.0,), (7,)),
    ((0.0, -1.0), (1.0, 1.0), (5, 4)),
    ((0.0, -1.0, 2.0), (1.0, 1.0, 3.0), (4, 3, 5)),
    ((0.0, 0.0), (1.0, 1.0), (1, 6)),
]


@pytest.mark.parametrize("extent", EXTENTS)
def test_box_keeps_the_contract(extent):
    check_mesh(Box(*extent).build())


@pytest.mark.parametrize("extent", EXTENTS)
def test_graded_keeps_the_contract(extent):
    check_mesh(Graded(*extent, ratio=(3.0, 0.5, 1.0)[: len(extent[0])]).build())


@pytest.mark.parametrize("extent", EXTENTS)
def test_fipy_grids_are_the_same_mesh_array_for_array(extent):
    mesh, grid = FiPyMesh(*extent).build(), fipy_grid(*extent)
    check_mesh(mesh)
    assert mesh.shape == Box(*extent).build().shape
    inner = np.asarray(grid.interiorFaces.value)
    owner, neighbour = np.asarray(grid.faceCellIDs)[:, inner]
    order = np.lexsort((owner, neighbour - owner))  # FiPy counts faces otherwise: by axis, then by owner
    np.testing.assert_array_equal(mesh.owner, owner[order])
    np.testing.assert_array_equal(mesh.neighbour, neighbour[order])
    np.testing.assert_allclose(mesh.centre, np.asarray(grid.cellCenters).T, atol=4e-15)
    np.testing.assert_allclose(mesh.volume, grid.cellVolumes, atol=4e-15)
    np.testing.assert_allclose(mesh.area, np.asarray(grid._faceAreas)[inner][order], atol=4e-15)
    np.testing.assert_allclose(mesh.distance, np.asarray(grid._cellDistances)[inner][order], atol=4e-15)


def fipy_grid(lower, upper, cells):
    import fipy

    spacing = {f"d{a}": (up - low) / n for a, low, up, n in zip("xyz", lower, upper, cells, strict=False)}
    grid = (fipy.Grid1D, fipy.Grid2D, fipy.Grid3D)[len(cells) - 1]
    return grid(**dict(zip(("nx", "ny", "nz"), cells, strict=False)), **spacing) + [[low] for low in lower]


def test_fipy_triangles_are_a_mesh_of_boxes_about_their_nodes():
    import fipy

    triangles = fipy.Tri2D(nx=4, ny=3)
    mesh = from_fipy(triangles, "nodes")
    check_mesh(mesh)
    assert mesh.cells == np.asarray(triangles.vertexCoords).shape[1]
    with pytest.raises(CaseError, match="control_volumes: nodes"):  # the circumcentres of right triangles coincide
        from_fipy(triangles)


def test_periodic_fipy_meshes_are_refused():
    import fipy

    with pytest.raises(CaseError, match="PeriodicGrid2D is periodic"):
        from_fipy(fipy.PeriodicGrid2D(nx=3, ny=3))


def test_graded_cells_grow_by_the_ratio_and_refine_in_place():
    graded = Graded((0.0,), (1.0,), (64,), (9.0,))
    width = graded.build().volume
    assert width[-1] / width[0] == pytest.approx(9.0, rel=0.05)
    assert (np.diff(width) > 0).all()
    fine = graded.refined(2).build().edges[0]
    np.testing.assert_allclose(fine[::2], graded.build().edges[0], atol=1e-15)


@pytest.mark.parametrize("kind", [Box((0.0, 0.0), (1.0, 2.0), (3, 2)), FiPyMesh((0.0,), (1.0,), (3,))])
def test_refined_multiplies_the_cells_and_keeps_the_kind(kind):
    fine = kind.refined(3)
    assert type(fine) is type(kind)
    assert fine.cells == tuple(3 * count for count in kind.cells)
    assert fine.build().volume.sum() == pytest.approx(kind.build().volume.sum())


@pytest.mark.parametrize("kind", ["box", "fipy"])
def test_quadrature_is_exact_for_polynomials_of_its_degree(kind):
    extent = ((0.0, 1.0), (2.0, 4.0), (3, 2))
    mesh = (Box if kind == "box" else FiPyMesh)(*extent).build()
    total = mesh.integral(lambda at, part: at[:, 0] ** 3 * at[:, 1] ** 2, 2).sum()
    assert total == pytest.approx(4.0 * 21.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.0,), (0.0,), (3,)), "not below"),
        (((1.0,), (0.0,), (3,)), "not below"),
        (((0.0,), (1.0,), (0,)), "at least 1"),
        (((0.0, 0.0), (1.0,), (3,)), "one per axis"),
        (((0.0,), (1.0,), (2**31,)), "use fewer"),
        (((1e16,), (1e16 + 4,), (8,)), "too thin"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        Box(*arguments)


def test_grids_compute_only_what_is_asked_for():
    mesh = Box((0.0,) * 2, (1.0,) * 2, (50, 50)).build()
    assert mesh.cells == 2500
    assert "owner" not in vars(mesh)
    assert "centre" not in vars(mesh)


def test_a_ratio_and_its_inverse_are_mirror_images():
    """Both may stand in a case; 0 may not."""
    graded = {"kind": "graded", "lower": [-5], "upper": [5], "cells": [20], "ratio": [4.0]}
    case = ou(1).replace({"mesh": graded})
    ahead, back = case.mesh.build(), case.replace({"mesh.ratio": [0.25]}).mesh.build()
    np.testing.assert_allclose(back.volume, ahead.volume[::-1], rtol=1e-13)
    assert ahead.volume[-1] / ahead.volume[0] == pytest.approx(4.0 ** (19 / 20), rel=1e-12)
    with pytest.raises(CaseError, match="ratio"):
        case.replace({"mesh.ratio": [0.0]})


@pytest.mark.parametrize("ratio", [(2.0,), (2.0, 2.0, 2.0)])
def test_a_ratio_is_asked_for_each_axis(ratio):
    with pytest.raises(CaseError, match="one per axis"):
        Graded((0.0, 0.0), (1.0, 1.0), (4, 3), ratio)
