import dataclasses
import json
from typing import get_args

import numpy as np
import pytest

from fvflow.errors import CaseError
from fvflow.mesh import (
    Box,
    Extent,
    FiPyMesh,
    Gmsh,
    Graded,
    MeshDescription,
    Meshio,
    MeshKind,
    Ugrid,
    Voronoi,
    from_fipy,
)
from tests.contracts import check_mesh
from tests.meshes import EXAMPLES
from tests.scenes import ou

MESH_KINDS = get_args(MeshKind)
every_mesh_kind = pytest.mark.parametrize("kind", MESH_KINDS, ids=[kind.kind for kind in MESH_KINDS])

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
    with pytest.raises(CaseError, match="control_volumes: auto"):  # the circumcentres of right triangles coincide
        from_fipy(triangles, "cells")
    mesh = from_fipy(triangles)
    check_mesh(mesh)
    assert mesh.cells == np.asarray(triangles.vertexCoords).shape[1]


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


def written(description):
    """The keys of a mesh as a YAML file holds them."""
    return json.loads(json.dumps(dataclasses.asdict(description)))


def test_there_is_an_example_of_every_mesh_kind():
    assert set(EXAMPLES) == set(MESH_KINDS)


@every_mesh_kind
def test_every_mesh_kind_keeps_the_contract(kind, tmp_path):
    description = EXAMPLES[kind](tmp_path)
    assert isinstance(description, MeshDescription)
    mesh = description.build()
    check_mesh(mesh, None if mesh.revolution is None else 4 * np.pi / 3 * 2.0**3, orthogonal=1e-11)
    assert description.extent in (None, mesh.extent)
    assert kind.declared_dimension(written(description)) in (None, mesh.dimension)
    assert description.describe(mesh).startswith(f"{kind.kind}, ")
    assert str(mesh.shape[0]) in description.describe(mesh)
    assert all((tmp_path / file).exists() for file in description.files)


def refined(description):
    """The refined mesh kind; None if it refuses, which the tests of each kind check."""
    try:
        return description.refined(2)
    except CaseError:
        return None


@every_mesh_kind
def test_refined_kinds_have_as_many_more_cells_as_they_say(kind, tmp_path):
    description = EXAMPLES[kind](tmp_path)
    fine, mesh = refined(description), description.build()
    if fine is not None:
        assert type(fine) is kind
        assert fine.build().cells == pytest.approx(2**mesh.dimension * mesh.cells, rel=0.25)


def test_meshes_in_files_of_results_cannot_be_refined():
    with pytest.raises(CaseError, match="use the mesh kind that generated it"):
        Ugrid("m.nc").refined()


@every_mesh_kind
@pytest.mark.parametrize("value", [None, 3, "two", [], [1] * 4, {}, True])
def test_declared_dimensions_take_any_value(kind, value):
    for key in ("lower", "upper", "cells", "polygon", "points", "file"):
        assert kind.declared_dimension({key: value}) == kind.declared_dimension({})


@pytest.mark.parametrize(
    ("kind", "values", "dimension"),
    [
        (Box, {"lower": [0, 0], "cells": [3]}, 2),
        (Box, {"cells": [3, 4, 5]}, 3),
        (Graded, {"lower": "oops", "upper": [1]}, 1),
        (FiPyMesh, {"lower": [0, 0, 0]}, 3),
        (Voronoi, {}, 2),
        (Gmsh, {"file": "disc.msh", "lower": [0, 0]}, None),
        (Meshio, {"file": "m.vtu"}, None),
    ],
)
def test_declared_dimension_is_read_off_the_keys(kind, values, dimension):
    assert kind.declared_dimension(values) == dimension


@pytest.mark.parametrize(
    ("description", "extent", "dimension"),
    [
        (Box((0.0, 0.0), (1.0, 1.0), (5, 4)), Extent(2, 20, True), 2),
        (Graded((0.0,), (1.0,), (5,), (2.0,)), Extent(1, 5, True), 1),
        (FiPyMesh((0.0,) * 3, (1.0,) * 3, (2, 3, 4)), Extent(3, 24, True), 3),
        (Voronoi((0.0, 0.0), (1.0, 1.0), (5, 4)), Extent(2, 20), 2),
        (Voronoi((0.0, 0.0), (1.0, 1.0), points=((0.5, 0.5),)), Extent(2, 1), 2),
        (Voronoi(polygon=((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)), cells=(9, 9)), None, 2),
        (Gmsh(file="m.msh"), None, None),
        (Meshio("m.vtu"), None, None),
        (Ugrid("m.nc"), None, None),
    ],
)
def test_extents_are_known_before_building_where_they_can_be(description, extent, dimension):
    assert description.extent == extent
    assert type(description).declared_dimension(written(description)) == dimension


def test_files_are_those_that_a_kind_reads():
    assert [kind.files for kind in (Gmsh(file="m.msh"), Meshio("m.vtu"), Ugrid("m.nc"))] == [
        ("m.msh",),
        ("m.vtu",),
        ("m.nc",),
    ]
    assert Gmsh(geometry="x").files == Box((0.0,), (1.0,), (3,)).files == ()


def test_descriptions_name_kind_cells_and_faces():
    box = Box((0.0, 0.0), (1.0, 1.0), (5, 4))
    assert box.describe(box.build()) == "box, 5 x 4 cells, 31 faces"


def test_a_kind_about_which_nothing_is_known_has_safe_defaults():
    class Moebius(MeshDescription):
        kind = "moebius"

    strange = Moebius()
    assert (strange.extent, strange.files) == (None, ())
    assert Moebius.declared_dimension({"lower": [0]}) is None
    with pytest.raises(CaseError, match="kind moebius cannot be refined by 2"):
        strange.refined()
    with pytest.raises(NotImplementedError):
        strange.build()


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


def test_a_small_grid_is_made_once_and_told_from_others():
    box = Box((-1.0, 0.0), (1.0, 2.0), (5, 4))
    assert box.build() is Box((-1.0, 0.0), (1.0, 2.0), (5, 4)).build()
    assert box.build() is not dataclasses.replace(box, periodic=("x",)).build()
    assert box.build() is not dataclasses.replace(box, axisymmetric=False, upper=(1.0, 2.5)).build()
    large = dataclasses.replace(box, cells=(2**8, 2**8))
    assert large.build() is not large.build()
    for name in ("volume", "centre", "area", "transmissibility", "coordinates", "owner"):
        assert not getattr(box.build(), name).flags.writeable, name
