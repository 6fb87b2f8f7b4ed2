"""Tables: potentials, velocities, stream functions and densities from .csv, .npy and .nc files, and from arrays."""

import os
import pickle
from itertools import permutations, product

import netCDF4
import numpy as np
import pytest

from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError, OutputError
from fvflow.exact import Facts
from fvflow.fields import ArrayTable, ArrayTableDensity, Drift, ExpressionDensity, Gaussian, Table
from fvflow.fields.grid_values import GridValues
from fvflow.flows import FokkerPlanckFlow, HamiltonJacobiFlow
from fvflow.input_files import Admission, admitting
from fvflow.mesh import Box, Voronoi
from fvflow.times import Times
from tests import meshes

TERMS = {1: "0.3*x - 0.1", 2: "0.3*x*y - 0.5*y + x", 3: "x*y*z + x - 2*y*z"}  # linear along each axis
CUBICS = {1: "x**3 - x", 2: "x**3*y**2 - y**3 + x", 3: "x**3*y*z**2 - y**3 + x*z"}
MESH = {d: Box((-1.0, 0.0, -1.0)[:d], (1.0, 2.0, 0.0)[:d], (9, 7, 5)[:d]) for d in (1, 2, 3)}
CENTRED = {"mean": [0.2, 1.1, -0.4], "covariance": np.diag([0.1, 0.2, 0.05]).tolist()}


def evaluated(text, axes):
    """An expression at the nodes of axes, indexed [x, y, z]."""
    names = dict(zip("xyz", np.meshgrid(*axes, indexing="ij"), strict=False))
    functions = {"exp": np.exp, "sin": np.sin, "cos": np.cos}
    return eval(text, functions, names) + 0.0 * next(iter(names.values()))


def centres(mesh):
    """The coordinates of the cell centres along each axis."""
    return [0.5 * (edge[1:] + edge[:-1]) for edge in mesh.build().edges]


def even(mesh, count):
    """`count` nodes along each axis of the box of a mesh."""
    return [np.linspace(a, b, count) for a, b in zip(mesh.lower, mesh.upper, strict=True)]


def gaussian(dimension):
    mean, covariance = CENTRED["mean"][:dimension], np.array(CENTRED["covariance"])[:dimension, :dimension]
    return Gaussian(tuple(mean), tuple(map(tuple, covariance.tolist())), truncate=0.5)


def run(mesh, **flow):
    return Case(mesh, FokkerPlanckFlow(0.3, **flow), gaussian(mesh.extent.dimension), Times(0.1, 0.05)).run()


def close(one, other):
    np.testing.assert_allclose(one.rho.values, other.rho.values, rtol=0, atol=1e-12)


def write_csv(path, axes, values, order=None, down=(), swapped=()):
    """One row for each node; the last axis of the order runs first, some run down, and two rows may change places."""
    rows = [(*node, value) for node, value in zip(product(*axes), np.ravel(values), strict=True)]
    order = order or range(len(axes))
    rows.sort(key=lambda row: [-row[axis] if axis in down else row[axis] for axis in order])
    if swapped:
        one, other = swapped
        rows[one], rows[other] = rows[other], rows[one]
    header = ",".join([*"xyz"[: len(axes)], "value"])
    path.write_text("\n".join([header, *(",".join(repr(float(number)) for number in row) for row in rows)]) + "\n")


def write_nc(path, axes, values, name="V", order="xyz", units=None):
    """The variable with its dimensions in the given order, with coordinate variables."""
    letters = [letter for letter in order if letter in "xyz"[: len(axes)]]
    with netCDF4.Dataset(path, "w") as file:
        for letter in letters:
            axis = axes["xyz".index(letter)]
            file.createDimension(letter, len(axis))
            file.createVariable(letter, "f8", (letter,))[:] = axis
            if units:
                file[letter].units = units
        variable = file.createVariable(name, "f8", letters)
        variable[:] = np.transpose(values, ["xyz".index(letter) for letter in letters])


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_table_of_a_polynomial_on_the_cell_centres_gives_the_run_of_the_polynomial(dimension, method):
    mesh, text = MESH[dimension], (TERMS if method == "linear" else CUBICS)[dimension]
    axes = centres(mesh)
    table = ArrayTable(axes, evaluated(text, axes), method)
    close(run(mesh, potential=table), run(mesh, potential=text))


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_a_table_of_a_polynomial_on_other_nodes_reproduces_it_everywhere(dimension, method):
    """Unevenly spaced nodes, and points that are none of them."""
    text, random = (TERMS if method == "linear" else CUBICS)[dimension], np.random.default_rng(5)
    axes = [np.linspace(-1, 1, 7) + random.uniform(-0.1, 0.1, 7) * ([0] + [1] * 5 + [0]) for _ in range(dimension)]
    position = random.uniform(-1, 1, (200, dimension))
    found = ArrayTable(axes, evaluated(text, axes), method).function().at(position, {}, 0.0)
    expected = [float(evaluated(text, [[x] for x in point]).item()) for point in position]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["exp(x)*sin(2*y)", "sin(3*x + y)"])
@pytest.mark.parametrize(("method", "order"), [("linear", 2), ("cubic", 4)])
def test_the_error_falls_with_the_order_of_the_method(text, method, order):
    """The error of the potential at points, which bounds that of the run, in tables of twice as many intervals."""
    mesh, errors, runs = MESH[2], [], []
    position = np.random.default_rng(6).uniform(mesh.lower, mesh.upper, (2000, 2))
    exact = np.array([evaluated(text, [[x] for x in point]).item() for point in position])
    reference = run(mesh, potential=text).rho
    for intervals in (20, 40, 80):
        axes = even(mesh, intervals + 1)
        table = ArrayTable(axes, evaluated(text, axes), method)
        errors.append(np.abs(table.function().at(position, {}, 0.0) - exact).max())
        runs.append(float(np.abs(run(mesh, potential=table).rho - reference).max()))
    assert np.log2(errors[1] / errors[2]) == pytest.approx(order, abs=0.2)
    assert all(0 < density < error for density, error in zip(runs, errors, strict=True))


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_the_three_formats_give_the_same_bits(dimension, method, tmp_path):
    mesh = MESH[dimension]
    axes = even(mesh, 9)
    values = evaluated("exp(x)" if dimension == 1 else "exp(x)*sin(y)", axes)
    write_csv(tmp_path / "V.csv", axes, values, order=range(dimension)[::-1], down=(0,))
    np.save(tmp_path / "V.npy", values)
    write_nc(tmp_path / "V.nc", axes, values, order="zyx")
    box = {"lower": tuple(mesh.lower), "upper": tuple(mesh.upper)}
    tables = [
        Table(str(tmp_path / "V.csv"), method=method),
        Table(str(tmp_path / "V.npy"), **box, method=method),
        Table(str(tmp_path / "V.nc"), field="V", method=method),
        ArrayTable(axes, values, method),
    ]
    first, *others = (run(mesh, potential=table).rho.values for table in tables)
    for other in others:
        np.testing.assert_array_equal(first, other)
    assert np.abs(first - run(mesh).rho.values).max() > 1e-3


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_rows_that_leave_the_order_of_the_grid_are_refused(dimension, tmp_path):
    axes = [np.arange(4.0), np.arange(5.0), np.arange(6.0)][:dimension]
    values = np.arange(float(np.prod([len(axis) for axis in axes]))).reshape([len(axis) for axis in axes])
    file = tmp_path / "V.csv"
    for order in permutations(range(dimension)):
        for down in ((), (0,), tuple(range(dimension))):
            write_csv(file, axes, values, order, down)
            np.testing.assert_array_equal(read_grid(str(file), None, None, None).values, values)
            write_csv(file, axes, values, order, down, swapped=(1, 2))
            with pytest.raises(CaseError, match=r"V\.csv:3: the node .* comes after .*; sort the rows by their coord"):
                read_grid(str(file), None, None, None)
    write_nc(tmp_path / "V.nc", [axes[0][[0, 2, 1, 3]]], values.ravel()[:4])
    with pytest.raises(CaseError, match=r"its coordinates x decrease at x = 1; sort them"):
        read_grid(str(tmp_path / "V.nc"), None, None, "V")


def test_a_variable_may_have_descending_coordinates_and_axis_attributes(tmp_path):
    axes = [np.linspace(-1, 1, 5), np.linspace(0, 2, 6)]
    values = evaluated("x + x*y", axes)
    with netCDF4.Dataset(tmp_path / "V.nc", "w") as file:
        for name, letter, axis in (("north", "Y", axes[1][::-1]), ("east", "X", axes[0])):
            file.createDimension(name, len(axis))
            file.createVariable(name, "f8", (name,))[:] = axis
            file[name].axis, file[name].units = letter, "m"
        file.createVariable("V", "f4", ("north", "east"))[:] = values.T[::-1]
    table = Table(str(tmp_path / "V.nc"), field="V").function()
    position = np.array([[0.3, 1.7], [-1.0, 0.2]])
    np.testing.assert_allclose(table.at(position, {}, 0.0), [0.3 + 0.51, -1.2], atol=1e-6)


@pytest.mark.parametrize("shape", ["triangles", "polygons", "node_boxes", "tetrahedra", "tetrahedra_nodes", "prisms"])
def test_tables_on_meshes_of_every_shape(shape):
    mesh = meshes.SHAPES[shape]()
    dimension = mesh.extent.dimension
    axes = [np.linspace(0, 1, 4)] * dimension
    for texts, method in ((TERMS, "linear"), (CUBICS, "cubic")):
        flow = FokkerPlanckFlow(0.3, potential=texts[dimension])
        table = FokkerPlanckFlow(0.3, potential=ArrayTable(axes, evaluated(texts[dimension], axes), method))
        drops = [each.drift({}).potential_drop(mesh, 0.0) for each in (flow, table)]
        np.testing.assert_allclose(*drops, rtol=0, atol=1e-12)
        assert np.abs(drops[0]).max() > 0.01


def test_a_table_on_a_mesh_of_polygons_gives_the_run_of_the_expression():
    mesh = Voronoi((0.0, 0.0), (1.0, 1.0), (8, 7), seed=3)
    axes = [np.linspace(0, 1, 5)] * 2
    start, times = Gaussian((0.5, 0.5), ((0.02, 0.0), (0.0, 0.02))), Times(0.1, 0.05)
    runs = [
        Case(mesh, FokkerPlanckFlow(0.1, potential), start, times).run()
        for potential in (CUBICS[2], ArrayTable(axes, evaluated(CUBICS[2], axes), "cubic"))
    ]
    close(*runs)


def test_velocities_and_stream_functions_may_be_tables():
    """A rotation, which is linear: by a velocity one of whose components is a table, and by a stream function."""
    mesh = MESH[2]
    axes = even(mesh, 4)
    rotation = run(mesh, velocity=("-y", "x"))
    tables = tuple(ArrayTable(axes, evaluated(text, axes)) for text in ("-y", "x"))
    close(run(mesh, velocity=tables), rotation)
    close(run(mesh, velocity=("-y", tables[1])), rotation)
    stream = ArrayTable(axes, evaluated("-0.5*(x**2 + y**2)", axes), "cubic")
    close(run(mesh, stream=stream), rotation)
    assert np.abs(rotation.rho - run(mesh).rho).max() > 0.05


def test_the_velocity_at_points_is_the_gradient_of_the_table():
    axes = even(MESH[2], 6)
    potential = ArrayTable(axes, evaluated(CUBICS[2], axes), "cubic")
    position = np.random.default_rng(1).uniform((-0.9, 0.1), (0.9, 1.9), (50, 2))
    flows = [FokkerPlanckFlow(0.1, given) for given in (CUBICS[2], potential)]
    velocities = [flow.drift({}).velocity_at(position, 0.0, 1e-3) for flow in flows]
    np.testing.assert_allclose(*velocities, atol=1e-11)


def test_values_at_cell_centres_are_kept_and_those_at_other_points_are_not(monkeypatch):
    """A potential by table beside a velocity that depends on time is interpolated once, not in every step."""
    mesh, axes = MESH[2], even(MESH[2], 5)
    made, at = [], GridValues.at
    monkeypatch.setattr(GridValues, "at", lambda self, *rest: made.append(rest) or at(self, *rest))
    table = ArrayTable(axes, evaluated(TERMS[2], axes))
    velocity = ("t*y", "-t*x")
    close(run(mesh, potential=table, velocity=velocity), run(mesh, potential=TERMS[2], velocity=velocity))
    assert len(made) == 1
    function, position = table.function(), np.zeros((1, 2))
    assert function.at(position, {}, 0.0) == 0.0
    position[0, 0] = 1.0
    assert function.at(position, {}, 0.0) == 1.0


TEXT = """
mesh: {kind: box, lower: [-2], upper: [2], cells: [40]}
flow:
  kind: fokker-planck
  epsilon: 0.5
  potential: {kind: table, file: V.csv}
initial: {kind: gaussian, mean: [0.3], covariance: [[0.2]]}
times: {end: 0.1, step: 0.05}
"""
ENERGIES = """{kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: k*x**2},
  {kind: potential, potential: FIRST}]}"""
LINE = [np.linspace(-2, 2, 41)]


@pytest.fixture
def folder(tmp_path):
    """A folder with a case and the tables that it can name: V is x - 0.2 in all three formats, R is 1 + x^2."""
    (tmp_path / "f.yaml").write_text(TEXT)
    values = LINE[0] - 0.2
    write_csv(tmp_path / "V.csv", LINE, values)
    np.save(tmp_path / "V.npy", values)
    write_nc(tmp_path / "V.nc", LINE, values)
    write_csv(tmp_path / "R.csv", LINE, 1 + LINE[0] ** 2)
    return tmp_path


def read(folder, **overrides):
    return Case.read(folder / "f.yaml", {name.replace("__", "."): value for name, value in overrides.items()})


def test_a_gradient_flow_with_two_potentials_one_of_them_a_table(folder):
    table = ENERGIES.replace("FIRST", "{kind: table, file: V.csv}")
    runs = [read(folder, flow=flow, parameters="{k: 0.7}") for flow in (table, ENERGIES.replace("FIRST", "x - 0.2"))]
    close(*(case.run() for case in runs))
    drifts = [case.flow.drift({"k": 0.7}) for case in runs]
    mesh = runs[0].mesh.build()
    x = mesh.centre[:, 0]
    for drift in drifts:
        np.testing.assert_allclose(drift.cell_potential(mesh, 0.0), 0.7 * x**2 + x - 0.2, atol=1e-14)
    assert drifts[0].potential.text.startswith("(k*x**2) + (table ")
    assert drifts[0].potential.names == {"k", "x"}
    assert not runs[0].unused_parameters()
    assert [os.path.basename(file) for file in runs[0].files] == ["V.csv"]


def test_equilibrium_and_closed_forms_know_of_tables(folder):
    """The Gibbs state of a table is stationary; a cubic table of x^2/2 is an Ornstein-Uhlenbeck process."""
    still = read(folder, initial="{kind: gibbs}").run()
    np.testing.assert_allclose(still.rho[-1], still.rho[0], rtol=1e-12)
    write_csv(folder / "Q.csv", LINE, 0.5 * LINE[0] ** 2)
    cubic = {"flow.potential": "{kind: table, file: Q.csv, method: cubic}", "exact": "{kind: gaussian}"}
    assert Case.read(folder / "f.yaml", cubic).run().error_l1[-1] < 0.02
    with pytest.raises(CaseError, match="drift that is linear in space"):
        Case.read(folder / "f.yaml", {**cubic, "flow.potential": "{kind: table, file: Q.csv}"}).prepare()


@pytest.mark.parametrize("kind", ["stationary", "spectrum"])
def test_steady_flows_take_tables(folder, kind):
    flows = [f"{{kind: {kind}, epsilon: 0.5, potential: {text}}}" for text in ("{file: V.csv}", "x - 0.2")]
    cases = [Case.parse("\n".join(TEXT.split("\n")[:-2]), str(folder / "f.yaml"), {"flow": flow}) for flow in flows]
    close(*(case.run() for case in cases))


def test_hamilton_jacobi_starts_from_a_table():
    x = np.linspace(-1, 1, 81)
    start, times = Gaussian((0.0,), ((0.05,),)), Times(0.2, 0.05)
    runs = [
        Case(Box((-1.0,), (1.0,), (40,)), HamiltonJacobiFlow(phi), start, times).run()
        for phi in ("x**3/3", ArrayTable((x,), x**3 / 3, "cubic"))
    ]
    np.testing.assert_allclose(*(ds.phi.values for ds in runs), atol=1e-12)


def test_outside_the_table_the_nearest_value_holds(folder):
    write_csv(folder / "small.csv", [np.linspace(-1, 1, 5)], np.linspace(-1, 1, 5))
    table = read(folder, flow__potential="{kind: table, file: small.csv, outside: nearest}").run()
    close(table, read(folder, flow__potential="max(min(x, 1), -1)").run())


def test_a_table_on_the_cell_centres_is_checked_without_its_walls(folder):
    axis = centres(Box((-2.0,), (2.0,), (40,)))
    write_csv(folder / "V.csv", axis, axis[0] - 0.2)
    assert read(folder).check()["walls"] == "no flux; the drift is not defined at the walls"


def test_the_files_of_a_case_are_read_once_for_all_and_not_overwritten(folder, monkeypatch):
    case = read(folder, flow__potential="{kind: table, file: V.nc, field: V}", initial="{kind: gibbs}")
    assert case.files == [str(folder / "V.nc")]
    with pytest.raises(OutputError, match="would overwrite a file that the case reads"):
        case.write(folder / "V.nc")
    made = []
    monkeypatch.setattr("fvflow.fields.table.read_grid", lambda *args: made.append(args) or read_grid(*args))
    simulation = case.prepare()
    assert len(made) == 1
    write_nc(folder / "V.nc", LINE, -LINE[0])
    assert case.prepare().problem.drift.potential_drop(simulation.mesh, 0.0)[0] > 0
    assert simulation.problem.drift.potential_drop(simulation.mesh, 0.0)[0] < 0
    assert len(made) == 2


def read_grid(*arguments):
    from fvflow.fields import table_file

    return table_file.read_grid(*arguments)


@pytest.mark.parametrize("sampling", ["average", "centre"])
def test_a_density_by_table(folder, sampling):
    start = read(folder, initial=f"{{kind: table, file: R.csv, mass: 2, sampling: {sampling}, method: cubic}}")
    mesh = start.mesh.build()
    density = start.prepare().initial.density
    expected = ExpressionDensity("1 + x**2", sampling).sample(mesh, {})
    np.testing.assert_allclose(density, 2 * expected / (mesh.volume @ expected), rtol=1e-12)
    arrays = ArrayTableDensity(ArrayTable(LINE, 1 + LINE[0] ** 2, "cubic"), sampling, 2.0)
    case = Case(start.mesh, FokkerPlanckFlow(0.5), arrays, Times(0.1, 0.05))
    np.testing.assert_allclose(case.prepare().initial.density, density, rtol=1e-14)
    assert start.files[-1] == str(folder / "R.csv")


def test_a_case_with_arrays_is_checked_as_one_with_formulas():
    mesh, start, times = Box((-2.0,), (2.0,), (40,)), Gaussian((0.3,), ((0.2,),)), Times(0.1, 0.05)
    table = ArrayTable(LINE, LINE[0])
    with pytest.raises(CaseError, match=r"flow\.epsilon: expected a number >= 0, got -1"):
        Case(mesh, FokkerPlanckFlow(-1.0, table), start, times).prepare()
    with pytest.raises(CaseError, match=r"flow\.potential: expected a kind derived from FunctionKind, got Box"):
        Case(mesh, FokkerPlanckFlow(0.1, mesh), start, times).prepare()
    table = ArrayTable(LINE, LINE[0])
    values = np.asarray(table.values)
    assert not values.flags.writeable
    assert table.function().at(np.array([[0.5]]), {}, 0.0) == pytest.approx(0.5)


ARRAYS = [
    (([0.0, 1.0, 1.0],), [1.0, 2.0, 3.0], "linear", "has the coordinate x = 1 twice"),
    (([0.0, 2.0, 1.0],), [1.0, 2.0, 3.0], "linear", "decrease at x = 1; sort them"),
    (([0.0, 1.0],), [1.0, np.inf], "linear", "value at x = 1 is inf"),
    (([0.0, np.nan],), [1.0, 2.0], "linear", "coordinate x that is not finite"),
    (([0.0, 1.0],), [[1.0, 2.0]], "linear", r"values of shape \(1, 2\) on nodes of shape \(2,\)"),
    (([0.0, 1.0, 2.0],), [1.0, 2.0, 3.0], "cubic", "3 nodes along x; method cubic needs 4"),
    (([0.0],), [1.0], "linear", r"1 node\(s\) along x; give two or more"),
    ([[0.0, 1.0]] * 4, np.zeros((2,) * 4), "linear", "has 4 axes"),
]


@pytest.mark.parametrize(("axes", "values", "method", "message"), ARRAYS)
def test_arrays_that_are_no_table_are_refused(axes, values, method, message):
    with pytest.raises(CaseError, match=message):
        ArrayTable(axes, values, method)


class Trap:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def _write_bad(folder):
    """Files of each fault."""
    texts = {
        "gap": "x,y,value\n0,0,1\n0,1,1\n1,0,1\n1,2,1\n0,2,1\n",
        "twice": "x,value\n-2,1\n2,1\n\n-2,3\n",
        "nan": "x,value\n-2,1\n2,nan\n",
        "inf": "x,value\n-2,1\n\n2,inf\n",
        "word": "x,value\n-2,1\n2,one\n",
        "short": "x,value\n-2,1\n2\n",
        "long": "x,value\n-2,1,3\n2,1,4\n",
        "header": "-2,1\n2,1\n",
        "columns": "x,z,value\n-2,0,1\n",
        "semicolons": "x;value\n-2;1\n",
        "none": "x,value\n",
        "one": "x,value\n-2,1\n",
        "three": "x,value\n-2,1\n0,1\n2,1\n",
        "small": "x,value\n-1,1\n1.5,1\n",
        "plane": "x,y,value\n-2,0,1\n2,0,1\n-2,1,1\n2,1,1\n",
        "negative": "x,value\n-2,1\n0,-0.25\n2,1\n",
        "steep": "x,value\n-2,0\n-1,0\n0,0\n0.5,1\n1,0\n2,0\n",
        "empty": "",
        "huge": "x,value\n-2,-1e308\n-1,1e308\n1,-1e308\n2,1e308\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    (folder / "bytes.csv").write_bytes(b"x,value\n\xff\xfe\n")
    os.mkfifo(folder / "pipe.csv")
    (folder / "folder.csv").mkdir()
    np.save(folder / "object.npy", np.array([Trap(folder / "trapped"), None]), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps(Trap(folder / "trapped")))
    np.save(folder / "plane.npy", np.zeros((3, 3)))
    np.save(folder / "text.npy", np.array(["a", "b"]))
    np.save(folder / "nan.npy", np.array([0.0, np.nan, 1.0]))
    (folder / "cut.npy").write_bytes((folder / "V.npy").read_bytes()[:-8])
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }"
    (folder / "bomb.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    (folder / "text.nc").write_text("no netCDF")
    line = [np.linspace(-2, 2, 5)]
    write_nc(folder / "degrees.nc", line, line[0], units="degrees_east")
    write_nc(folder / "nanometres.nc", line, line[0], units="nm")
    write_nc(folder / "twice.nc", [np.array([-2.0, 1.0, 1.0, 2.0])], np.arange(4.0))
    with netCDF4.Dataset(folder / "other.nc", "w") as file:
        for name in ("q", "t", "x", "many"):
            file.createDimension(name, 2**20 if name == "many" else 3)
        for name, letters in {"q": ("q",), "x": ("x",), "V": ("q",), "W": ("t",), "M": ("x",), "U": ("x", "q")}.items():
            file.createVariable(name, "f8", letters)[:] = np.arange(3.0)
        file["M"][1] = np.ma.masked
        file.createVariable("B", "f8", ("many", "x", "many"), chunksizes=(1, 3, 2**10), zlib=True)
        file.createVariable("S", str, ("x",))


V = "flow.potential"
NPY = "lower: [-2], upper: [2]"
BAD = [  # where, the table without its kind, what is said
    (V, "file: gap.csv", r"gap\.csv: has no row for the node x = 1, y = 1 of the 2 x 3 coordinates; give a row for"),
    (V, "file: twice.csv", r"has the node x = -2 twice, in lines 2 and 5; keep one"),
    (V, "file: nan.csv", r"nan\.csv: line 3 has value nan; give finite numbers"),
    (V, "file: inf.csv", r"line 4 has value inf"),
    (V, "file: word.csv", r'line 3 has "one" as value; give a number'),
    (V, "file: short.csv", r"line 3 has 1 values; give 2, as the header names"),
    (V, "file: long.csv", r"line 2 has 3 values; give 2"),
    (V, "file: header.csv", r'has no header \(its first line is "-2,1"\); name the columns: the columns x, value or'),
    (V, "file: columns.csv", r'its header is "x,z,value"; give the columns x, value or x, y, value or'),
    (V, "file: semicolons.csv", r'its header is "x;value"'),
    (V, "file: none.csv", r"has a header and no rows"),
    (V, "file: nanometres.nc, field: V", r"x is in nm, and coordinates are .* convert .* units: 1 \(1, m and none"),
    (V, "file: one.csv", r"has 1 node\(s\) along x; give two or more"),
    (V, "file: three.csv, method: cubic", r"has 3 nodes along x; method cubic needs 4 or more"),
    (V, "file: small.csv", r"covers -1 <= x <= 1.5, and the point x = -1.95 is outside; give a larger table, or out"),
    (V, "file: plane.csv", r"is a table over x, y, the mesh has 1 dimension\(s\); give a table with one axis for each"),
    (V, "file: empty.csv", r"empty\.csv: is empty"),
    (V, "file: bytes.csv", r"is not UTF-8 text \(byte 8\)"),
    (V, "file: pipe.csv", r"pipe\.csv: is a pipe and no regular file"),
    (V, "file: folder.csv", r"folder\.csv: is a directory and no regular file"),
    (V, "file: missing.csv", r"missing\.csv: cannot be read \(No such file or directory\); give the path of a file"),
    (V, 'file: "a\\0b.csv"', r"cannot be read \(.*null"),
    (V, "file: V.txt", r"V\.txt: is none of \.csv, \.npy and \.nc; convert it"),
    (V, "file: V.npy", r"an \.npy file has no coordinates; give lower and upper"),
    (V, "file: V.npy, lower: [-2], upper: [2, 3]", r"give lower and upper, one entry per axis each"),
    (V, "file: V.npy, lower: [2], upper: [2]", r"lower 2 is not below upper 2 along x"),
    (V, f"file: V.csv, {NPY}", r"has coordinates of its own; remove lower and upper"),
    (V, f"file: V.npy, {NPY}, field: V", r"has no named variables; remove field"),
    (V, f"file: object.npy, {NPY}", r"cannot be read \(it holds pickled objects\); write it with numpy.save"),
    (V, f"file: pickle.npy, {NPY}", r"is not an \.npy file \(pickled objects are not read\)"),
    (V, f"file: cut.npy, {NPY}", r"cut\.npy: cannot be read \(.*\); write it with numpy.save"),
    (V, f"file: bomb.npy, {NPY}", r"bomb\.npy: cannot be read"),
    (V, f"file: text.npy, {NPY}", r"holds 2 values of type <U1"),
    (V, f"file: nan.npy, {NPY}", r"the value at x = 0 is nan; give a finite value at every node"),
    (V, f"file: plane.npy, {NPY}", r"its array has 2 dimension\(s\), lower and upper have 1 entries"),
    (V, "file: V.nc", r"which variable\? Give its name as field"),
    (V, "file: V.nc, field: W", r"has no variable W; it has x, V"),
    (V, "file: text.nc, field: V", r"text\.nc: cannot be read"),
    (V, "file: degrees.nc, field: V", r"x is in degrees_east; project the coordinates to lengths"),
    (V, "file: twice.nc, field: V", r"has the coordinate x = 1 twice; keep one"),
    (V, "file: other.nc, field: V", r"V has the dimension\(s\) q; name them x, y, z, or give their coordinate"),
    (V, "file: other.nc, field: U", r"U has the dimension\(s\) x, q"),
    (V, "file: other.nc, field: W", r"the dimension t of W has no coordinates; add a variable t\(t\)"),
    (V, "file: other.nc, field: M", r"the value at x = 1 is nan"),
    (V, "file: other.nc, field: S", r"it is no table \(S does not hold numbers"),
    (V, "file: other.nc, field: B", r"the dimension many of B has no coordinates"),
    (V, "file: V.csv, method: quintic", r"expected 'linear' or 'cubic', got \"quintic\""),
    (V, "file: V.csv, outside: zero", r"expected 'refuse' or 'nearest', got \"zero\""),
    ("flow.velocity", "file: missing.csv", r"missing\.csv: cannot be read"),
    ("initial", "file: negative.csv", r"negative\.csv: the density at x = 0 is -0\.25; it has to be >= 0"),
    (
        "initial",
        "file: steep.csv, method: cubic",
        r"cubic splines overshoot to a density of -[\d.]+ at x = .*; use meth",
    ),
    ("initial", "file: small.csv", r"covers -1 <= x <= 1.5, and the point x = .* is outside"),
    ("initial", "file: missing.csv", r"missing\.csv: cannot be read"),
    ("initial", "file: V.txt", r"is none of \.csv, \.npy and \.nc"),
    ("initial", "file: plane.csv", r"is a table over x, y, the mesh has 1"),
]


@pytest.mark.parametrize(("where", "table", "message"), BAD)
def test_bad_tables_are_refused_in_one_line_with_their_place_in_the_case(folder, where, table, message):
    _write_bad(folder)
    given = f"{{kind: table, {table}}}"
    text = {
        V: TEXT.replace("{kind: table, file: V.csv}", given),
        "flow.velocity": TEXT.replace("potential: {kind: table, file: V.csv}", f"velocity: [{given}]"),
        "initial": TEXT.replace("{kind: gaussian, mean: [0.3], covariance: [[0.2]]}", given),
    }[where]
    (folder / "f.yaml").write_text(text)
    with pytest.raises(CaseError, match=message) as caught:
        Case.read(folder / "f.yaml").prepare()
    first, *excerpt = str(caught.value).splitlines()
    assert first.startswith(f"{folder}/f.yaml:")
    assert first.split(": ")[1].startswith(where.split(".")[0])
    assert len(excerpt) in (0, 2), "one line, and the place with a caret"
    assert not (folder / "trapped").exists()
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "f.yaml"), "-o", str(folder / "r.nc")])
    assert ended.value.code == 3


def test_values_that_overflow_between_the_nodes_are_refused(folder):
    _write_bad(folder)
    with pytest.raises(CaseError, match=r"table .*huge\.csv is (inf|nan|-inf) at x = .*; it has to be finite"):
        read(folder, flow__potential="{kind: table, file: huge.csv, method: cubic}").prepare()


def test_files_and_arrays_beyond_the_limit_are_not_read(folder):
    np.save(folder / "small.npy", np.zeros(100, np.int8))
    with admitting(Admission(largest=300)):
        with pytest.raises(CaseError, match=r"V\.csv: has .* GiB; at most .* are read \(--largest allows more\)"):
            read(folder).prepare()
        with pytest.raises(CaseError, match="holds 100 values of type int8; write it with numpy"):
            read(folder, flow__potential=f"{{kind: table, file: small.npy, {NPY}}}").prepare()


def test_a_potential_may_be_left_out_or_null(folder):
    close(read(folder, flow__potential="null").run(), read(folder, flow__potential="0").run())


MESH_AROUND = {d: Box((-1.0,) * d, (1.0,) * d, (5,) * d).build() for d in (1, 2, 3)}


def tent(dimension, nodes=41):
    """A table of the product of 1 - |x_i| over [-1, 1]^d; the share beyond x = c > 0 is (1 - c)^2/2."""
    axes = [np.linspace(-1, 1, nodes)] * dimension
    return ArrayTable(axes, evaluated("*".join(f"(1 - abs({letter}))" for letter in "xyz"[:dimension]), axes))


def off_mesh(table, mesh):
    kind = ArrayTableDensity(table, mass=1.0)
    return kind.coverage(Facts(mesh, Drift(), 1.0, 1.0, kind), None, 1.0).off_mesh


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_the_share_of_a_table_beyond_a_grid_is_exact(dimension):
    cut = 0.93
    mesh = Box((-1.5,) * dimension, (cut, *(2.0,) * (dimension - 1)), (17, 9, 8)[:dimension]).build()
    assert off_mesh(tent(dimension), mesh) == pytest.approx((1 - cut) ** 2 / 2, rel=1e-10)
    assert off_mesh(tent(dimension), MESH_AROUND[dimension]) == 0.0


def test_the_share_of_a_cubic_table_is_that_of_its_splines():
    """1 - x^2 over [-1, 1] beyond 0.9: (2/3 - 0.9 + 0.9^3/3)/(4/3)."""
    axis = np.linspace(-1, 1, 11)
    table = ArrayTable([axis], 1 - axis**2, "cubic")
    share = (2 / 3 - 0.9 + 0.9**3 / 3) / (4 / 3)
    assert off_mesh(table, Box((-2.0,), (0.9,), (13,)).build()) == pytest.approx(share, rel=1e-10)


@pytest.mark.parametrize("name", [name for name in meshes.SHAPES if name not in ("solids", "mixed", "quadrilaterals")])
def test_the_share_beyond_a_mesh_that_is_no_grid(name):
    """A tent about a corner of a box has 1 - 2^-d of its mass outside, and nodes on the walls, so that none is cut."""
    mesh = meshes.SHAPES[name]()
    lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
    assert mesh.volume.sum() == pytest.approx(np.prod(upper - lower)), "the domain is a box"
    d, half = mesh.dimension, 0.3 * float((upper - lower).min())
    axes = [half * np.linspace(-1, 1, 9)] * d
    values = evaluated("*".join(f"({half} - abs({letter}))" for letter in "xyz"[:d]), axes)
    found = off_mesh(ArrayTable([axis + a for axis, a in zip(axes, lower, strict=True)], values), mesh)
    assert found == pytest.approx(1 - 0.5**d, rel=1e-9)
    inside = off_mesh(ArrayTable([axis + 1.5 * half + a for axis, a in zip(axes, lower, strict=True)], values), mesh)
    assert inside <= 1e-12


def test_a_table_beyond_the_mesh_is_told_refused_or_cut_off(folder):
    """Half of 1 + x^2 over [-2, 2] is beyond x = 0; of the other table a little, which is told."""
    with pytest.raises(CaseError, match=r"50 % of the density is outside the mesh, at most 0.1 %"):
        read(folder, mesh__upper="[0]", mesh__cells="[20]", initial="{kind: table, file: R.csv, mass: 1}").prepare()
    cut = {"mesh__upper": "[0]", "mesh__cells": "[20]", "initial": "{kind: table, file: R.csv, mass: 1, truncate: 0.6}"}
    assert "50 % of the initial density is outside the mesh and cut off" in read(folder, **cut).prepare().remarks()
    assert read(folder, **cut).run().attrs["initial_off_mesh"] == pytest.approx(0.5)
    write_csv(folder / "D.csv", LINE, 1e-5 * (LINE[0] > 1.05) + (np.abs(LINE[0]) < 0.95))
    told = read(folder, mesh__upper="[1]", initial="{kind: table, file: D.csv, mass: 1}").prepare()
    (density,) = told.densities
    assert 1e-6 < density.coverage.off_mesh < 1e-3
    assert any("outside the mesh" in sentence for sentence in told.remarks())
