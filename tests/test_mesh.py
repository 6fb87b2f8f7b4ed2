import numpy as np
import pytest

from fvflow.errors import CaseError
from fvflow.mesh import Box, FiPyMesh, Graded
from fvflow.mesh.fipy import convert
from tests.contracts import check_mesh

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
    box, fipy = Box(*extent).build(), FiPyMesh(*extent).build()
    check_mesh(fipy)
    assert box.shape == fipy.shape
    for name in ("owner", "neighbour", "cell_points", "face_points"):
        np.testing.assert_array_equal(getattr(box, name), getattr(fipy, name), err_msg=name)
    for name in ("centre", "volume", "area", "distance", "normal", "points"):
        np.testing.assert_allclose(getattr(box, name), getattr(fipy, name), atol=4e-15, err_msg=name)


@pytest.mark.parametrize("name", ["Tri2D", "PeriodicGrid2D"])
def test_fipy_meshes_that_are_no_grids_are_refused(name):
    import fipy

    with pytest.raises(CaseError, match=name):
        convert(getattr(fipy, name)(nx=3, ny=3))


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
    total = sum((weight * position[:, 0] ** 3 * position[:, 1] ** 2).sum() for position, weight in mesh.quadrature(2))
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
