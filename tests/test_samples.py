"""Densities from samples: histograms and kernel estimates, on meshes of every shape, and what is refused."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.fields import ArraySamples, Component, Gaussian, Mixture, Samples, sampling, weighted_samples
from fvflow.flows import FokkerPlanckFlow, TransportFlow
from fvflow.mesh import Box, Graded, cells_of, location
from fvflow.times import Times
from tests import meshes

GRIDS = {d: Graded((-1.0, 0.0, -1.0)[:d], (1.0, 2.0, 0.0)[:d], (9, 7, 5)[:d], (3.0, 1.0, 0.5)[:d]) for d in (1, 2, 3)}


def inside(mesh, count, seed=0):
    """Positions in cells that are drawn at random, as convex combinations of their corners, and the cells."""
    random = np.random.default_rng(seed)
    cell = random.integers(0, mesh.cells, count)
    corners = mesh.cell_points[cell]
    weight = random.exponential(size=corners.shape) * (corners >= 0)
    return np.einsum("sc,sca->sa", weight / weight.sum(axis=1)[:, None], mesh.points[corners]), cell


@pytest.mark.parametrize(
    "shape",
    [
        "triangles",
        "quadrilaterals",
        "polygons",
        "node_boxes",
        "mixed",
        *("tetrahedra",),
        "solids",
        "hexahedra",
        "prisms",
    ],
)
def test_points_are_found_in_the_cells_that_they_are_drawn_from(shape, monkeypatch):
    monkeypatch.setattr(location, "_CHUNK", 1000)
    mesh = meshes.SHAPES[shape]()
    points, cell = inside(mesh, 3000)
    np.testing.assert_array_equal(cells_of(mesh, points), cell)
    far = points + 2 * np.ptp(mesh.points, axis=0)
    np.testing.assert_array_equal(cells_of(mesh, np.concatenate([far, points])), [*[-1] * 3000, *cell])


def test_points_in_voronoi_boxes_of_tetrahedra_belong_to_the_nearest_node():
    mesh = meshes.SHAPES["tetrahedra_nodes"]()
    points = np.random.default_rng(1).uniform(-0.2, 1.2, (3000, 3))
    nearest = ((points[:, None] - mesh.centre) ** 2).sum(axis=2).argmin(axis=1)
    outside = ((points < 0) | (points > 1)).any(axis=1)
    np.testing.assert_array_equal(cells_of(mesh, points), np.where(outside, -1, nearest))
    assert 0 < outside.sum() < 3000


@pytest.mark.parametrize("shape", ["triangles", "polygons", "mixed", "solids", "hexahedra"])
def test_nodes_and_points_on_faces_belong_to_a_cell_beside_them(shape):
    """Round-off loses no point of a wall or between cells."""
    mesh = meshes.SHAPES[shape]()
    cell = cells_of(mesh, mesh.points)
    assert (mesh.cell_points[cell] == np.arange(len(mesh.points))[:, None]).any(axis=1).all()
    on_face = cells_of(mesh, mesh.face_centre)
    assert ((on_face == mesh.owner) | (on_face == mesh.neighbour)).all()


def test_stretched_cells_are_found_where_the_nearest_centre_is_that_of_another():
    mesh = meshes.mesh_from_cells(
        np.array([[0, 0], [10, 0], [10, 1], [0, 1], [10, 1.5], [0, 1.5], [11, 0], [11, 1]]),
        np.array([[0, 1, 2, 3], [3, 2, 4, 5], [1, 6, 7, 2]]),
    )
    np.testing.assert_array_equal(cells_of(mesh, np.array([[9.9, 0.5], [9.9, 1.2], [10.1, 0.5]])), [0, 1, 2])


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_counts_on_a_grid_are_those_of_a_histogram(dimension):
    mesh = GRIDS[dimension].build()
    random = np.random.default_rng(2)
    positions, weights = random.uniform(-1.2, 2.2, (5000, dimension)), random.exponential(size=5000)
    density = ArraySamples(positions, weights, truncate=0.99)
    counts, _ = np.histogramdd(positions, mesh.edges, weights=weights)
    expected = counts.transpose().ravel() / weights.sum()
    np.testing.assert_allclose(mesh.volume * density.sample(mesh, {}), expected, rtol=1e-12)
    off = ((positions < mesh.points.min(axis=0)) | (positions > mesh.points.max(axis=0))).any(axis=1)
    assert density.outside(mesh) == off.sum() > 100
    assert density.mass_off_mesh(mesh) == pytest.approx(weights[off].sum() / weights.sum(), rel=1e-12)
    assert density.effective_samples() == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)


def test_samples_on_edges_count_once():
    mesh = Box((0.0,), (3.0,), (3,)).build()
    counts = 5 * ArraySamples([0.0, 1.0, 2.0, 2.5, 3.0]).sample(mesh, {})
    np.testing.assert_allclose(counts, [1, 1, 3], rtol=1e-14)


@pytest.mark.parametrize("shape", ["triangles", "polygons", "solids", "tetrahedra_nodes"])
def test_counts_on_meshes_of_every_shape_are_exact(shape):
    mesh = meshes.SHAPES[shape]()
    if len(mesh.cell_points[0]):
        points, cell = inside(mesh, 2000)
    else:
        points = np.random.default_rng(4).uniform(0, 1, (2000, 3))
        cell = ((points[:, None] - mesh.centre) ** 2).sum(axis=2).argmin(axis=1)
    density = ArraySamples(points).sample(mesh, {})
    np.testing.assert_allclose(2000 * mesh.volume * density, np.bincount(cell, minlength=mesh.cells), rtol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2, 3])
@pytest.mark.parametrize("bandwidth", ["none", 0.3])
def test_the_mean_of_the_density_is_that_of_the_samples(dimension, bandwidth):
    mesh = Box((-4.0,) * dimension, (4.0,) * dimension, (32, 20, 16)[:dimension]).build()
    random = np.random.default_rng(3)
    positions, weights = random.normal(0.2, 0.5, (400, dimension)), random.uniform(0, 1, 400)
    density = ArraySamples(positions, weights, bandwidth).sample(mesh, {})
    width = np.array([8 / 32, 8 / 20, 8 / 16])[:dimension]
    assert mesh.volume @ density == pytest.approx(1.0, abs=1e-12)
    assert (np.abs(mesh.volume * density @ mesh.centre - weights @ positions / weights.sum()) < width / 2).all()


@pytest.mark.parametrize(
    "mesh", [*GRIDS.values(), "triangles", "solids"], ids=["1D", "2D", "3D", "triangles", "solids"]
)
@pytest.mark.parametrize("chunk", [2**22, 40])
def test_a_kernel_estimate_is_the_mixture_of_its_kernels(mesh, chunk, monkeypatch):
    """Also in blocks of a few samples, and by the other implementation of the error function."""
    monkeypatch.setattr(weighted_samples, "_CHUNK", chunk)
    monkeypatch.setattr(sampling, "_MANY", 0 if chunk == 40 else 10**6)
    mesh = meshes.SHAPES[mesh]() if isinstance(mesh, str) else mesh.build()
    lower, upper = mesh.points.min(axis=0), mesh.points.max(axis=0)
    random = np.random.default_rng(7)
    positions, weights = random.uniform(lower, upper, (13, mesh.dimension)), random.uniform(1, 2, 13)
    width = max(0.3, 1.05 * sampling.widest(mesh, np.arange(mesh.cells)))  # below, a mixture takes more points
    covariance = tuple(map(tuple, (width**2 * np.eye(mesh.dimension)).tolist()))
    parts = [Component(tuple(x), covariance, w) for x, w in zip(positions.tolist(), weights, strict=True)]
    estimate = ArraySamples(positions, weights, width, truncate=0.99)
    expected = Mixture(tuple(parts)).sample(mesh, {})
    np.testing.assert_allclose(estimate.sample(mesh, {}), expected, rtol=1e-11)
    assert estimate.mass_off_mesh(mesh) == pytest.approx(1 - mesh.volume @ expected, abs=1e-12)


def test_a_kernel_that_the_quadrature_does_not_resolve_is_refused():
    """On a grid it is exact, however narrow; elsewhere the narrowest that is allowed keeps its mass to 1e-3."""
    mesh = meshes.SHAPES["polygons"]()
    middle, widest = [[0.5, 0.5]], sampling.widest(mesh, np.arange(mesh.cells))
    with pytest.raises(
        CaseError, match=r"bandwidth 0\.01 is not resolved by .*; use 0\.0\d+ or more, a finer mesh, or"
    ):
        ArraySamples(middle, bandwidth=0.01).sample(mesh, {})
    assert mesh.volume @ ArraySamples(middle, bandwidth=0.5 * widest).sample(mesh, {}) == pytest.approx(1, abs=1e-3)
    grid = Box((0.0, 0.0), (1.0, 1.0), (9, 9)).build()
    assert grid.volume @ ArraySamples(middle, bandwidth=1e-6).sample(grid, {}) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("cells", [(10_000,), (100, 100)])
def test_memory_of_a_kernel_estimate_does_not_grow_with_samples_times_cells(cells, monkeypatch):
    monkeypatch.setattr(weighted_samples, "_CHUNK", 2**16)
    mesh = Box((0.0,) * len(cells), (1.0,) * len(cells), cells).build()
    estimate = ArraySamples(np.random.default_rng(8).uniform(0.4, 0.6, (3000, len(cells))), bandwidth=0.1)
    tracemalloc.start()
    estimate.sample(mesh, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000 * 100 * 8 * 10, "a tenth of an array of samples by cells"


TEXT = """
mesh: {kind: box, lower: [-2], upper: [2], cells: [40]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2}
initial: {kind: samples, file: S.csv}
times: {end: 0.1, step: 0.05}
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a case and 1000 samples of N(0.3, 0.04) in both formats."""
    (tmp_path / "f.yaml").write_text(TEXT)
    positions = np.random.default_rng(9).normal(0.3, 0.2, 1000)
    (tmp_path / "S.csv").write_text("x\n" + "\n".join(map(repr, positions.tolist())))
    np.save(tmp_path / "S.npy", positions[:, None])
    return tmp_path


def read(folder, initial):
    return Case.read(folder / "f.yaml", {"initial": f"{{kind: samples, {initial}}}"})


@pytest.mark.parametrize("bandwidth", ["", ", bandwidth: none", ", bandwidth: 0.1"])
def test_both_formats_and_arrays_start_the_same_run(folder, bandwidth):
    runs = [read(folder, f"file: {file}{bandwidth}") for file in ("S.csv", "S.npy")]
    positions = np.load(folder / "S.npy")
    given = 0.1 if "0.1" in bandwidth else "none"
    flow, times = FokkerPlanckFlow(0.5, "0.5*x**2"), Times(0.1, 0.05)
    arrays = [ArraySamples(each, bandwidth=given) for each in (positions, positions[:, 0], positions.tolist())]
    runs += [Case(Box((-2.0,), (2.0,), (40,)), flow, initial, times) for initial in arrays]
    first, *others = (case.run() for case in runs)
    for other in others:
        np.testing.assert_array_equal(first.rho, other.rho)
    assert first.mass[0] == pytest.approx(1.0, rel=1e-14)
    assert float(first["mean"].values.ravel()[0]) == pytest.approx(positions.mean(), abs=0.05)
    assert runs[0].files == [str(folder / "S.csv")]


def test_weights_are_those_of_repeated_samples(folder):
    (folder / "W.csv").write_text("weight,x\n2,0.31\n1,-0.2\n0,55\n3,0.7\n")
    (folder / "R.csv").write_text("x\n0.31\n0.31\n-0.2\n0.7\n0.7\n0.7\n")
    weighted, repeated = (read(folder, f"file: {file}").run() for file in ("W.csv", "R.csv"))
    np.testing.assert_allclose(weighted.rho, repeated.rho, rtol=1e-12, atol=1e-15)


def test_what_is_cut_off_may_be_allowed(folder):
    """The rest is scaled to the mass."""
    (folder / "O.csv").write_text("x\n" + "0.31\n" * 99 + "7\n")
    with pytest.raises(
        CaseError, match=r"1 % of the density is outside the mesh \(1 of 100 samples are outside the mesh\)"
    ):
        read(folder, "file: O.csv").prepare()
    case = read(folder, "file: O.csv, truncate: 0.01, mass: 3")
    assert case.run().mass[0] == pytest.approx(3.0, rel=1e-14)
    mesh = case.mesh.build()
    assert case.initial.outside(mesh) == 1
    assert case.initial.mass_off_mesh(mesh) == pytest.approx(0.01)


def test_a_transport_goes_to_samples(folder):
    target = Samples(str(folder / "S.npy"), 0.1)
    case = Case(Box((-2.0,), (2.0,), (40,)), TransportFlow(target, 4), Gaussian((-0.5,), ((0.05,),)))
    simulation = case.prepare()
    expected = target.sample(simulation.mesh, {})
    np.testing.assert_allclose(simulation.problem.target, expected, rtol=2e-3)
    assert case.files == [str(folder / "S.npy")]


ARRAYS = [
    (([[0.0, np.nan]],), "sample 0 is at x = 0, y = nan; give finite numbers"),
    (([[0.0]], [-1.0]), "sample 0 has the weight -1; give finite weights >= 0"),
    (([[0.0]], [np.inf]), "sample 0 has the weight inf"),
    (([[0.0]], [0.0]), "all weights are 0"),
    (([[0.0]], [1.0, 2.0]), r"has 1 samples and weights of shape \(2,\)"),
    ((np.zeros((2, 2, 2)),), r"has the shape \(2, 2, 2\); give positions \(sample, dim\)"),
    ((np.zeros((0, 2)),), "has no samples"),
    (([0.0], None, -1.0), 'bandwidth -1.0; give a number > 0, or "none"'),
    (([0.0], None, "no"), 'bandwidth no; give a number > 0, or "none"'),
]


@pytest.mark.parametrize(("arguments", "message"), ARRAYS)
def test_arrays_that_are_no_samples_are_refused(arguments, message):
    with pytest.raises(CaseError, match=message):
        ArraySamples(*arguments)


def test_weights_may_be_large():
    mesh = Box((0.0,), (2.0,), (2,)).build()
    np.testing.assert_allclose(ArraySamples([0.5, 1.5], [1e308, 1e308]).sample(mesh, {}), [0.5, 0.5])


BAD = [  # the samples without their kind, what is said
    ("file: nan.csv", r"nan\.csv: line 3 has x nan; give finite numbers"),
    ("file: nan.npy", r"nan\.npy: point 1 is at x = nan"),
    ("file: word.csv", r'line 3 has "one" as x; give a number'),
    ("file: weight.csv", r"line 3 has the weight -2; give weights >= 0"),
    ("file: zero.csv", r"all weights are 0; give a positive one"),
    ("file: plane.csv", r"plane\.csv: its samples have 2 coordinate\(s\), the mesh 1 dimension\(s\); give one coordin"),
    ("file: plane.csv, bandwidth: 0.1", r"its samples have 2 coordinate\(s\), the mesh 1 dimension\(s\)"),
    ("file: columns.csv", r'its header is "x,mass"; give the columns x\[, y\[, z\]\]\[, weight\]'),
    ("file: none.csv", r"has a header and no rows"),
    ("file: none.npy", r"none\.npy: "),
    ("file: cube.npy", r"has the shape \(2, 2, 2\); give positions"),
    ("file: object.npy", r"cannot be read \(it holds pickled objects\)"),
    ("file: pickle.npy", r"is not an \.npy file \(pickled objects are not read\)"),
    ("file: missing.npy", r"missing\.npy: cannot be read \(No such file or directory\)"),
    ("file: S.txt", r"S\.txt: is none of \.csv, \.npy, \.npz, \.nc; convert it"),
    ("file: off.csv", r"initial: 50 % of the density is outside the mesh \(1 of 2 samples are outside the mesh\), at mo"
                      r"st 0\.1 % is allowed; use a mesh that holds it, or `truncate: 0\.6` to cut it off$"),
    ("file: off.csv, truncate: 0.4", r"50 % of the density is outside the mesh .* at most 40 % is allowed"),
    ("file: far.csv", r"100 % of the density is outside the mesh \(1 of 1 samples .* use a mesh that holds it$"),
    ("file: S.csv, bandwidth: 1.5", r"19\.5 % of the density is outside the mesh, at most 0\.1 % is allowed; .*0\.2"),
    ("file: S.csv, bandwidth: 0.001", r"smallest bandwidth of the density is 0\.\d+ cells, .* or bandwidth: none$"),
    ("file: S.csv, bandwidth: 0", r"expected a number > 0, got 0"),
    ("file: S.csv, bandwidth: broad", r"expected a number, got \"broad\""),
    ("file: S.csv, truncate: 1", r"expected a number < 1, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_samples_are_refused_in_one_line_with_their_place_in_the_case(folder, given, message):
    texts = {
        "nan": "x\n0\nnan\n",
        "word": "x\n0\none\n",
        "weight": "x,weight\n0,1\n0.5,-2\n",
        "zero": "x,weight\n0,0\n0.5,0\n",
        "plane": "y,x\n0,0\n",
        "columns": "x,mass\n0,0\n",
        "none": "x\n",
        "off": "x\n0\n3\n",
        "far": "x\n3\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    for name, values in {"nan": [0, np.nan], "none": np.zeros((0, 1)), "cube": np.zeros((2, 2, 2))}.items():
        np.save(folder / f"{name}.npy", values)
    np.save(folder / "object.npy", np.array([Path(), None]), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps([0.0]))
    (folder / "f.yaml").write_text(TEXT.replace("file: S.csv", given))
    with pytest.raises(CaseError) as caught:
        Case.read(folder / "f.yaml").prepare()
    first, *excerpt = str(caught.value).splitlines()
    assert first.startswith(f"{folder}/f.yaml:4:")
    assert first.split(": ")[1].startswith("initial")
    with pytest.raises(CaseError, match=message):
        raise CaseError(first)
    assert len(excerpt) == 2, "one line, and the place with a caret"
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "f.yaml"), "-o", str(folder / "r.nc")])
    assert ended.value.code == 3
