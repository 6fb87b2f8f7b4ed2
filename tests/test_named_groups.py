"""Groups of mesh files: two regions and two boundaries in every format, sets of sets, what is refused or left out."""

import meshio
import netCDF4
import numpy as np
import pytest

from fvflow import Case, CaseError
from fvflow.mesh import Gmsh, Meshio, Ugrid

POINTS = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]], float)
QUADS = np.array([[0, 1, 4, 3], [1, 2, 5, 4]])
LINES = np.array([[3, 0], [2, 5]])


def in_space(points=POINTS):
    return np.column_stack([points, np.zeros(len(points))])


def tagged(folder, ending, name, points=POINTS):
    """A file whose cells and lines have whole-numbered data."""
    data = {name: [np.array([1, 2], np.int32), np.array([10, 20], np.int32)]}
    meshio.Mesh(points, [("quad", QUADS), ("line", LINES)], cell_data=data).write(folder / f"m.{ending}")


def med(folder):
    mesh = meshio.Mesh(POINTS, [("quad", QUADS), ("line", LINES)], cell_data={"cell_tags": [[-1, -2], [-3, -4]]})
    mesh.cell_data["cell_tags"] = [np.array([-1, -2]), np.array([-3, -4])]
    mesh.cell_tags = {-1: ["A", "all"], -2: ["B", "all"], -3: ["inlet"], -4: ["outlet"]}
    mesh.write(folder / "m.med")


def abaqus(folder):
    nodes = "\n".join(f"{k + 1}, {x}, {y}" for k, (x, y) in enumerate(POINTS))
    (folder / "m.inp").write_text(
        f"""*HEADING
** a comment
*NODE
{nodes}
*ELEMENT, TYPE=CPS4, ELSET=cells
7, 1, 2, 5, 4
9, 2, 3, 6, 5
*ELEMENT, TYPE=T3D2, ELSET=ends
20, 4, 1
30, 3, 6
*ELSET, ELSET=A
7
*Elset, elset=B, generate
9, 9, 1
*ELSET, ELSET=inlet
20,
*ELSET, ELSET=outlet
30
*ELSET, ELSET=all
A, B
*ELSET, ELSET=everything
all
ends
*NSET, NSET=corners
1, 3
"""
    )


def su2(folder):
    rows = "\n".join(f"9 {' '.join(map(str, row))} {k}" for k, row in enumerate(QUADS))
    points = "\n".join(f"{x} {y} {k}" for k, (x, y) in enumerate(POINTS))
    (folder / "m.su2").write_text(
        f"""NDIME= 2
NELEM= 2
{rows}
NPOIN= 6
{points}
NMARK= 2
MARKER_TAG= inlet
MARKER_ELEMS= 1
3 3 0
% between
MARKER_TAG= outlet
MARKER_ELEMS= 1
3 2 5
"""
    )


def exodus(folder, element="QUAD4", side=(4, 2), cells=QUADS, points=POINTS):
    with netCDF4.Dataset(folder / "m.e", "w") as file:
        for name, size in {"num_el_blk": 2, "len_name": 33, "one": 1, "sets": 2}.items():
            file.createDimension(name, size)
        file.createDimension("num_nodes", len(points))
        file.createDimension("nodes_each", len(cells[0]))
        for axis, values in zip("xyz", points.T, strict=False):
            file.createVariable(f"coord{axis}", "f8", ("num_nodes",))[:] = values

        def texts(name, dimension, values):
            variable = file.createVariable(name, "S1", (dimension, "len_name"))
            variable[:] = netCDF4.stringtochar(np.array(values, "S33"))

        file.createVariable("eb_prop1", "i4", ("num_el_blk",))[:] = [11, 12]
        texts("eb_names", "num_el_blk", ["A", ""])
        for block, row in enumerate(cells, start=1):
            variable = file.createVariable(f"connect{block}", "i4", ("one", "nodes_each"))
            variable.elem_type = element
            variable[:] = row + 1
        file.createVariable("ss_prop1", "i4", ("sets",))[:] = [1, 2]
        texts("ss_names", "sets", ["inlet", "outlet"])
        for number, (cell, place) in enumerate(zip((1, 2), side, strict=True), start=1):
            file.createVariable(f"elem_ss{number}", "i4", ("one",))[:] = cell
            file.createVariable(f"side_ss{number}", "i4", ("one",))[:] = place


MESH22 = """$MeshFormat
2.2 0 8
$EndMeshFormat
$PhysicalNames
4
1 3 "inlet"
1 4 "outlet"
2 1 "A"
2 2 "all"
$EndPhysicalNames
$Nodes
6
{nodes}
$EndNodes
$Elements
5
1 1 2 3 1 4 1
2 1 2 4 2 3 6
3 3 2 1 1 1 2 5 4
4 3 2 2 1 1 2 5 4
5 3 2 2 2 2 3 6 5
$EndElements
"""


def gmsh22(folder, text=MESH22):
    nodes = "\n".join(f"{k + 1} {x} {y} 0" for k, (x, y) in enumerate(POINTS))
    (folder / "m.msh").write_text(text.format(nodes=nodes))


FORMATS = {
    "vtk": (
        lambda folder: tagged(folder, "vtk", "region", in_space()),
        ["region_1", "region_2", "region_10", "region_20"],
    ),
    "vtu": (lambda folder: tagged(folder, "vtu", "material", in_space()), [f"material_{k}" for k in (1, 2, 10, 20)]),
    "xdmf": (lambda folder: tagged(folder, "xdmf", "region", in_space()), [f"region_{k}" for k in (1, 2, 10, 20)]),
    "mesh": (lambda folder: tagged(folder, "mesh", "medit:ref"), [f"medit_{k}" for k in (1, 2, 10, 20)]),
    "med": (med, ["A", "B", "inlet", "outlet"]),
    "inp": (abaqus, ["A", "B", "inlet", "outlet"]),
    "su2": (su2, [None, None, "inlet", "outlet"]),
    "e": (exodus, ["A", "block_12", "inlet", "outlet"]),
    "msh": (gmsh22, ["A", "all", "inlet", "outlet"]),
}


def built(folder, ending):
    return (Gmsh if ending == "msh" else Meshio)(file=str(folder / f"m.{ending}")).build()


@pytest.mark.parametrize("ending", FORMATS)
def test_regions_and_boundaries_have_their_names_and_measures(ending, tmp_path):
    write, (first, second, inlet, outlet) = FORMATS[ending]
    write(tmp_path)
    mesh = built(tmp_path, ending)
    assert mesh.volume.sum() == pytest.approx(2.0)
    measures = {name: float(mesh.volume @ share) for name, share in mesh.regions.items()}
    if first:
        assert measures[first] == pytest.approx(1.0)
        assert measures[second] == pytest.approx(2.0 if ending == "msh" else 1.0)
    for name, x in ((inlet, 0.0), (outlet, 2.0)):
        rows = mesh.boundaries[name]
        assert mesh.wall_area[rows].sum() == pytest.approx(1.0)
        np.testing.assert_allclose(mesh.walls[0][rows], [[x, 0.5]])


def test_sets_of_sets_are_their_union(tmp_path):
    abaqus(tmp_path)
    mesh = built(tmp_path, "inp")
    assert mesh.volume @ mesh.regions["all"] == pytest.approx(2.0)
    assert mesh.volume @ mesh.regions["everything"] == pytest.approx(2.0)
    assert len(mesh.boundaries["everything"]) == 2
    assert mesh.left_out == ("sets of nodes: corners",)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("A, B\n", "A, C\n", "contains C, which is no element set"),
        ("A, B\n", "A, everything\n", "contains itself"),
        ("CPS4", "CAX4", "Element type not available: CAX4"),
        ("*NODE", "*NODES", "NODE"),
    ],
)
def test_faults_of_abaqus_files_are_told(before, after, message, tmp_path):
    abaqus(tmp_path)
    text = (tmp_path / "m.inp").read_text()
    (tmp_path / "m.inp").write_text(text.replace(before, after))
    with pytest.raises(CaseError, match=message):
        built(tmp_path, "inp")


@pytest.mark.parametrize(
    ("element", "points", "side"),
    [
        ("TRI3", POINTS, (1, 2)),
        ("TRI3", in_space(), (3, 4)),
        ("TRISHELL3", in_space(), (3, 4)),
        ("SHELL3", in_space(), (3, 4)),
    ],
)
def test_sides_of_triangles_in_exodus_files(element, points, side, tmp_path):
    """Numbered from 1 in the plane, after the two faces of a shell in space."""
    exodus(tmp_path, element, side, np.array([[3, 0, 1], [3, 1, 4]]), points)
    mesh = built(tmp_path, "e")
    for name, x in (("inlet", 0.0), ("outlet", 1.0)):
        rows = mesh.boundaries[name]
        assert mesh.wall_area[rows].sum() == pytest.approx(1.0)
        np.testing.assert_allclose(mesh.walls[0][rows].mean(axis=0), [x, 0.5])


def test_a_side_set_of_faces_of_shells_is_left_out(tmp_path):
    exodus(tmp_path, "SHELL4", (1, 4), points=in_space())
    mesh = built(tmp_path, "e")
    assert set(mesh.boundaries) == {"outlet"}
    assert mesh.left_out == ("groups without cells and walls: inlet",)


def test_the_other_nodes_of_exodus_elements_are_remarked(tmp_path):
    """As those of other formats are."""
    middles = 0.5 * (POINTS[QUADS] + POINTS[np.roll(QUADS, -1, axis=1)]).reshape(-1, 2)
    cells = np.hstack([QUADS, len(POINTS) + np.arange(8).reshape(2, 4)])
    exodus(tmp_path, "QUAD8", cells=cells, points=np.vstack([POINTS, middles]))
    mesh = built(tmp_path, "e")
    assert mesh.volume.sum() == pytest.approx(2.0)
    assert mesh.remark == "the elements are of second order and taken as straight, by their corners"
    assert mesh.left_out == ()


def test_elements_listed_once_a_group_are_one_element(tmp_path):
    gmsh22(tmp_path)
    mesh = built(tmp_path, "msh")
    assert mesh.cells == 2
    gmsh22(tmp_path, MESH22.replace("4 3 2 2 1 1 2 5 4", "4 3 2 1 1 1 2 5 4"))  # twice in one group
    with pytest.raises(CaseError):
        built(tmp_path, "msh")


def test_what_is_left_out_is_told_by_check(tmp_path):
    data = {"region": [np.array([0.5, 1.5]), np.array([1.0, 2.0])]}
    mesh = meshio.Mesh(in_space(), [("quad", QUADS), ("line", LINES)], cell_data=data)
    mesh.write(tmp_path / "m.vtu")
    text = f"mesh: {{kind: meshio, file: {tmp_path / 'm.vtu'}}}\nflow: {{kind: stationary, epsilon: 1}}"
    report = Case.parse(text).check()
    assert report["left out"] == "cell data region, which are not whole numbers"
    abaqus(tmp_path)
    report = Case.parse(text.replace("m.vtu", "m.inp")).check()
    assert report["left out"] == "sets of nodes: corners"
    assert report["boundaries"].startswith("ends 2 (2 faces), inlet 1 (1 faces)")


def test_faults_of_exodus_files_are_told(tmp_path):
    exodus(tmp_path, element="NSIDED")
    with pytest.raises(CaseError, match="connect1 has elements of type NSIDED"):
        built(tmp_path, "e")
    exodus(tmp_path, side=(4, 7))
    with pytest.raises(CaseError, match="has side 7 of elements of type quad"):
        built(tmp_path, "e")


@pytest.mark.parametrize("dtype", ["triangle", "quad"])
def test_a_plane_that_is_not_that_of_x_and_y_is_told(dtype, tmp_path):
    points = np.column_stack([POINTS[:, 0], np.zeros(6), POINTS[:, 1]])
    cells = QUADS if dtype == "quad" else QUADS[:, :3]
    meshio.Mesh(points, [(dtype, cells)]).write(tmp_path / "m.vtu")
    with pytest.raises(
        CaseError, match="lies in the plane y = 0, where meshes lie in planes z = const; write x and z as x and y"
    ):
        built(tmp_path, "vtu")


def test_a_node_of_no_cell_may_lie_anywhere(tmp_path):
    meshio.Mesh(np.vstack([in_space(), [9, 9, 3]]), [("quad", QUADS)]).write(tmp_path / "m.vtu")
    assert built(tmp_path, "vtu").volume.sum() == pytest.approx(2.0)


def ugrid(folder, faces, *, start=None, fill=None, units="m", nodes=POINTS):
    with netCDF4.Dataset(folder / "u.nc", "w") as file:
        file.createDimension("node", len(nodes))
        file.createDimension("face", len(faces))
        file.createDimension("corner", len(faces[0]))
        topology = file.createVariable("mesh", "i4")
        topology.setncatts(
            {
                "cf_role": "mesh_topology",
                "topology_dimension": 2,
                "node_coordinates": "x y",
                "face_node_connectivity": "faces",
            }
        )
        for name, values in zip("xy", nodes.T, strict=True):
            variable = file.createVariable(name, "f8", ("node",))
            variable.units = units
            variable[:] = values
        table = file.createVariable("faces", "i4", ("face", "corner"), fill_value=fill)
        if start is not None:
            table.start_index = start
        table.set_auto_mask(False)
        table[:] = faces
    return Ugrid(str(folder / "u.nc"))


ROOF = [0.5, 1.8]
HOUSE = [[0, 1, 4, 3], [1, 2, 5, 4], [3, 4, 6, -1]]


@pytest.mark.parametrize(("start", "fill"), [(0, -1), (1, -999), (0, 2**31 - 1), (1, 0), (1, None)])
def test_rows_are_padded_as_other_writers_do(start, fill, tmp_path):
    pad = -1 if fill is None else fill
    faces = [[pad if node < 0 else node + start for node in row] for row in HOUSE]
    mesh = ugrid(tmp_path, faces, start=start, fill=fill, nodes=np.vstack([POINTS, ROOF])).build()
    assert sorted(mesh.volume) == pytest.approx([0.4, 1.0, 1.0])


def test_numbers_that_are_not_of_nodes_are_told(tmp_path):
    with pytest.raises(CaseError, match="cell 1 of faces has node 77, and there are 6 nodes, counted from 0"):
        ugrid(tmp_path, [[0, 1, 4, 3], [1, 2, 77, 4]], start=0).build()
    with pytest.raises(CaseError, match="counted from 1: write the attribute start_index = 1"):
        ugrid(tmp_path, (QUADS + 1).tolist()).build()


@pytest.mark.parametrize("units", ["degrees_north", "degree", "degrees"])
def test_degrees_are_told(units, tmp_path):
    with pytest.raises(CaseError, match=f"the coordinates x are degrees .units '{units}'"):
        ugrid(tmp_path, QUADS.tolist(), units=units).build()


@pytest.mark.parametrize(
    ("names", "convention"),
    [
        (["verticesOnCell", "nEdgesOnCell"], "MPAS"),
        (["grid_corner_lat", "grid_corner_lon"], "SCRIP"),
        (["vertex_of_cell", "clon", "clat"], "ICON"),
    ],
)
def test_other_conventions_are_named(names, convention, tmp_path):
    with netCDF4.Dataset(tmp_path / "o.nc", "w") as file:
        for name in names:
            file.createVariable(name, "f8")
    with pytest.raises(CaseError, match=f"is a mesh of {convention}"):
        Ugrid(str(tmp_path / "o.nc")).build()
