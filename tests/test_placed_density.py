"""Where the mass of an initial or target density is: on the mesh, resolved by its cells, with its own integral."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.special import erfc

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.exact import Facts
from fvflow.fields import Drift, Gaussian, Spike, Uniform
from fvflow.fields.sampling import deviation_in_cells
from fvflow.mesh import Box, Graded, box_outside, cells_of
from fvflow.mesh.control_volumes import node_mesh
from fvflow.mesh.polytopes import mesh_from_cells
from tests.meshes import SHAPES, acute

MESHES = {
    "line": Box((-1.0,), (2.0,), (7,)).build,
    "plane": Graded((0.0, 0.0), (1.0, 2.0), (6, 5), (1.2, 1.0)).build,
    "space": Box((0.0, 0.0, 0.0), (1.0, 1.0, 2.0), (4, 5, 6)).build,
    **SHAPES,
}
OU = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}
initial: {kind: gaussian, mean: [1], covariance: [[0.3]]}
times: {end: 0.1, step: 0.05}
"""


def coverage(kind, mesh):
    facts = Facts(mesh, Drift(), 1.0, 1.0, kind)
    return kind.coverage(facts, None, float(mesh.volume @ kind.sample(mesh, {})))


@pytest.mark.parametrize("sampling", ["average", "centre"])
def test_half_a_gaussian_outside_is_refused_with_the_share(sampling):
    half = Case.parse(OU).replace({"initial.mean": [6.0], "initial.sampling": sampling})
    with pytest.raises(CaseError, match=r"50 % of the density is outside the mesh, at most 0.1 % is allowed; .*0.6"):
        half.prepare()
    cut = half.replace({"initial.truncate": 0.6}).prepare()
    assert cut.densities[0].coverage.off_mesh == pytest.approx(0.5, abs=1e-12)
    assert "50 % of the initial density is outside the mesh and cut off" in cut.remarks()
    assert cut.initial.mass == 1.0


@pytest.mark.parametrize(("mean", "told"), [(0.0, False), (4.0, True)])
def test_a_share_above_1e_6_is_told(mean, told):
    simulation = Case.parse(OU).replace({"initial.mean": [mean], "initial.truncate": 0.01}).prepare()
    off = simulation.densities[0].coverage.off_mesh
    assert (off > 1e-6) == told
    assert any("outside the mesh" in remark for remark in simulation.remarks()) == told


@pytest.mark.parametrize(("deviation", "outcome"), [(0.05, "refused"), (0.24, "refused"), (0.5, "told"), (2.5, "")])
def test_a_density_narrower_than_cells_is_told_or_refused(deviation, outcome):
    case = Case.parse(OU).replace({"initial.covariance": [[(0.2 * deviation) ** 2]]})
    if outcome == "refused":
        with pytest.raises(CaseError, match=rf"deviation of the density is {deviation} cells, .* \{{kind: spike"):
            case.prepare()
        return
    simulation = case.prepare()
    assert simulation.densities[0].coverage.deviation == pytest.approx(deviation)
    assert any(f"is {deviation} cells" in remark for remark in simulation.remarks()) == (outcome == "told")


def test_the_deviation_is_measured_along_the_principal_axes():
    flat = Box((-4.0, -4.0), (4.0, 4.0), (80, 20)).build()  # cells of 0.1 by 0.4
    assert coverage(Gaussian((0.0, 0.0), ((0.04, 0.0), (0.0, 0.64))), flat).deviation == pytest.approx(2.0)
    assert coverage(Gaussian((0.0, 0.0), ((0.64, 0.0), (0.0, 0.04))), flat).deviation == pytest.approx(0.5)
    graded = Graded((-1.0,), (1.0,), (40,), (0.2,)).build()
    width = np.diff(graded.edges[0])[np.searchsorted(graded.edges[0], 1e-9) - 1]
    assert coverage(Gaussian((1e-9,), ((0.01,),)), graded).deviation == pytest.approx(0.1 / width)


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_the_shape_of_a_cell_counts_on_every_mesh(turn):
    """Stretched cells as a grid and as polygons, turned with the Gaussian."""
    flat = Box((-4.0, -4.0), (4.0, 4.0), (40, 800)).build()  # cells of 0.2 by 0.01
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = mesh_from_cells(flat.points @ rotation.T, flat.cell_points)
    for covariance in (np.diag([4e-4, 4e-4]), np.array([[4e-2, 9e-4], [9e-4, 1e-4]])):
        there = rotation @ covariance @ rotation.T
        there = 0.5 * (there + there.T)
        assert deviation_in_cells(turned, np.array([0.01, 0.01]), there) == pytest.approx(
            deviation_in_cells(flat, np.array([0.01, 0.01]), covariance), rel=1e-9
        )
    assert deviation_in_cells(turned, np.zeros(2), 4e-4 * np.eye(2)) == pytest.approx(0.1)


@pytest.mark.parametrize("bandwidth", [0.01, 0.1])
def test_a_kernel_narrower_than_a_cell_is_told_or_refused(bandwidth, tmp_path):
    (tmp_path / "x.csv").write_text("x\n0.37\n")
    case = Case.parse(OU).replace(
        {"initial": {"kind": "samples", "file": str(tmp_path / "x.csv"), "bandwidth": bandwidth}}
    )
    if bandwidth < 0.05:
        with pytest.raises(CaseError, match=r"bandwidth of the density is 0.05 cells, .* or bandwidth: none"):
            case.prepare()
        assert case.replace({"initial.bandwidth": "none"}).prepare().remarks() == []
    else:
        (remark,) = case.prepare().remarks()
        assert remark == "the smallest bandwidth of the initial density is 0.5 cells: the mesh hardly resolves it"


def test_two_cells_but_for_round_off_are_two_cells():
    exactly = Case.parse(OU).replace({"initial.covariance": [[(0.4 * (1 - 1e-13)) ** 2]]})
    assert exactly.prepare().densities[0].coverage.deviation < 2.0
    assert exactly.prepare().remarks() == []


@pytest.mark.parametrize("name", MESHES)
def test_a_uniform_density_fills_the_part_of_each_cell_in_its_box(name):
    """Mass and mean of the box, wherever its faces are; nothing is rounded to whole cells."""
    mesh = MESHES[name]()
    low, size = mesh.points.min(axis=0), np.ptp(mesh.points, axis=0)
    lower, upper = low + 0.21 * size, low + 0.83 * size
    share = Uniform(tuple(lower), tuple(upper)).sample(mesh, {})
    assert 0.0 <= share.min() <= share.max() <= 1.0

    def inside(at, cells):
        return ((at >= lower) & (at <= upper)).all(axis=1).astype(float)

    sampled = mesh.integral(inside, 30) / mesh.volume
    np.testing.assert_allclose(share, sampled, atol=0.08)
    assert mesh.volume @ share == pytest.approx(mesh.volume @ sampled, rel=0.03)


def test_a_uniform_density_within_one_cell_has_its_mass():
    line = Case.parse(OU).replace({"initial": {"kind": "uniform", "lower": [0.31], "upper": [0.34]}}).prepare()
    assert line.initial.mass == 1.0
    assert (line.initial.density > 0).sum() == 1
    with pytest.raises(CaseError, match=r"the box from \[0.4\] to \[0.3\] is empty .*; give lower < upper"):
        Case.parse(OU).replace({"initial": {"kind": "uniform", "lower": [0.4], "upper": [0.3]}}).prepare()


def test_a_uniform_box_over_a_missing_corner_is_refused():
    box = {"kind": "uniform", "lower": [-0.5, -0.5], "upper": [0.5, 0.5]}
    heat = "mesh: {kind: gmsh, file: cases/l-shape.msh}\nflow: {kind: fokker-planck, epsilon: 1}\n"
    case = Case.parse(heat + "initial: {kind: uniform}\ntimes: {end: 0.1, step: 0.1}").replace({"initial": box})
    with pytest.raises(CaseError, match="25 % of the density is outside the mesh"):
        case.prepare()
    nodes = SHAPES["tetrahedra_nodes"]()
    assert box_outside(nodes, np.full(3, 0.1), np.full(3, 0.9)) == pytest.approx(0.0, abs=1e-14)
    assert box_outside(nodes, np.full(3, 0.5), np.array([1.5, 1.0, 1.0])) == pytest.approx(0.5)


def test_a_mixture_is_as_narrow_as_its_narrowest_and_as_far_out_as_its_parts():
    case = Case.parse(OU).replace(
        {
            "initial": {
                "kind": "mixture",
                "truncate": 0.3,
                "components": [
                    {"mean": [0.0], "covariance": [[0.01]], "weight": 3.0},
                    {"mean": [6.0], "covariance": [[1.0]], "weight": 1.0},
                ],
            }
        }
    )
    found = case.prepare().densities[0].coverage
    assert found.off_mesh == pytest.approx(0.125, abs=1e-9)
    assert found.deviation == pytest.approx(0.5)


def test_what_became_of_the_density_is_stored():
    ds = Case.parse(OU).replace({"initial.mean": [4.5], "initial.truncate": 0.01}).run()
    assert ds.attrs["initial_off_mesh"] == pytest.approx(0.00308, rel=0.01)
    assert ds.attrs["initial_deviation_in_cells"] == pytest.approx(0.3**0.5 / 0.2)
    assert ds.attrs["initial_integral"] == pytest.approx(1 - ds.attrs["initial_off_mesh"])
    assert "outside the mesh" in ds.attrs["remarks"]


def test_in_a_linear_flow_the_scaling_is_told():
    linear = Case.parse(OU).replace({"initial": {"kind": "expression", "density": "where(abs(x)<0.25, 1, 0)"}})
    remarks = linear.prepare().remarks()
    assert "the initial density has the integral 0.511111 and is scaled to the mass 1" in remarks[0]
    assert linear.replace({"initial.mass": 1.0}).prepare().remarks() == []
    kept = linear.replace({"initial.mass": "integral"})
    assert kept.prepare().remarks() == []
    assert kept.prepare().initial.mass == pytest.approx(0.511111, rel=1e-5)


def test_a_file_on_a_smaller_mesh_loses_no_mass_without_a_word(tmp_path):
    path = tmp_path / "wide.nc"
    Case.parse(OU).write(path)
    smaller = Case.parse(OU).replace({"initial": {"kind": "file", "file": str(path)}, "mesh.upper": [2.9]})
    with pytest.raises(
        CaseError, match=r"% of the density is outside the mesh, .* or `truncate: [\d.]+` to cut it off"
    ):
        smaller.prepare()
    cut = smaller.replace({"initial.truncate": 0.01}).prepare()
    assert 1e-5 < cut.densities[0].coverage.off_mesh < 1e-2
    assert any("outside the mesh" in remark for remark in cut.remarks())


def off_sphere(points):
    """How far points (point, dim) are from one sphere, relative to its radius: |p|^2 - 2 p.m = r^2 - |m|^2."""
    near = points - points.mean(axis=0)
    matrix = np.column_stack([2 * near, np.ones(len(near))])
    solution = np.linalg.lstsq(matrix, (near**2).sum(axis=1), rcond=None)[0]
    distance = np.linalg.norm(near - solution[:-1], axis=1)
    return np.ptp(distance) / distance.max()


@pytest.mark.parametrize("name", MESHES)
def test_a_spike_keeps_its_place(name):
    """The mean is the point, with at most 2^d cells on grids, and on other meshes d + 1 or the cells on one sphere."""
    mesh = MESHES[name]()
    random = np.random.default_rng(5)
    for _ in range(20):
        part = random.dirichlet(np.ones(mesh.dimension + 1))
        inside = mesh.centre[random.permutation(mesh.cells)[:1]]
        near = mesh.centre[np.argsort(((mesh.centre - inside) ** 2).sum(axis=1))[: mesh.dimension + 1]]
        at = tuple(part @ near if len(near) > mesh.dimension else inside[0])
        if cells_of(mesh, np.array([at]))[0] < 0:  # in a hole of the mesh
            continue
        kind = Spike(at)
        mass = mesh.volume * kind.sample(mesh, {})
        assert mass.min() >= 0
        assert mass.sum() == pytest.approx(1.0, abs=1e-14)
        corners = mesh.centre[mass > 0]
        if len(corners) > (2**mesh.dimension if mesh.edges is not None else mesh.dimension + 1):
            assert mesh.edges is None
            assert off_sphere(corners) <= 1e-8, "corners that no simplex may be chosen of"
        if not coverage(kind, mesh).note:
            np.testing.assert_allclose(mass @ mesh.centre, at, atol=1e-10 * np.ptp(mesh.points, axis=0).max())


def test_the_mean_of_a_spike_between_two_cells_is_the_point():
    moved = """
mesh: {kind: box, lower: [0], upper: [10], cells: [20]}
flow: {kind: fokker-planck, epsilon: 0.02}
initial: {kind: spike, at: [5.0]}
times: {end: 1, step: 0.1}
"""
    np.testing.assert_allclose(Case.parse(moved).run()["mean"].values, 5.0, atol=1e-13)
    with pytest.raises(CaseError, match=r"\[5.0\] is none; the nearest is \[4.75\]"):
        Case.parse(moved).replace({"initial.cell": True}).prepare()
    single = Case.parse(moved).replace({"initial.cell": True, "initial.at": [4.75]}).prepare()
    assert (single.initial.density > 0).sum() == 1


def test_a_spike_beyond_the_outermost_centres_is_told():
    mesh = Box((0.0, 0.0), (1.0, 1.0), (10, 10)).build()
    kind = Spike((0.02, 0.5))
    assert (kind.sample(mesh, {}) > 0).sum() == 2
    assert coverage(kind, mesh).note == ("[0.02, 0.5] is beyond the outermost cell centres; its mean is [0.05, 0.5]")
    assert coverage(Spike((0.05, 0.5)), mesh).note == ""


SMALL_BOX = "mesh: {kind: box, lower: [-2, -2], upper: [2, 2], cells: [20, 20]}"
SMALL_VORONOI = "mesh: {kind: voronoi, polygon: [[-2, -2], [2, -2], [2, 2], [-2, 2]], cells: [14, 14]}"
CUT = {
    "gaussian": "{kind: gaussian, mean: [1.2, 0.3], covariance: [[0.3, 0.05], [0.05, 0.2]]}",
    "mixture": "{kind: mixture, components: [{mean: [1.5, 0], covariance: [[0.3, 0], [0, 0.2]]}]}",
    "uniform": "{kind: uniform, lower: [-1, -1], upper: [2.3, 2.4]}",
    "samples": "{kind: samples, file: far.csv}",
    "exact": "{kind: exact}",
}


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("mesh", [SMALL_BOX, SMALL_VORONOI], ids=["box", "voronoi"])
def test_the_advice_of_a_refusal_is_accepted(kind, mesh, tmp_path):
    """The share that `truncate` should allow is enough."""
    (tmp_path / "far.csv").write_text("x,y\n" + "\n".join(f"{0.1 * i},0" for i in range(23)))
    exact = "exact: {kind: barenblatt, start: 20}" if kind == "exact" else ""
    flow = "{kind: gradient-flow, energy: [{kind: porous-medium, exponent: 2}]}"
    (tmp_path / "case.yaml").write_text(
        f"{mesh}\nflow: {flow}\ninitial: {CUT[kind]}\ntimes: {{end: 1, step: 1}}\n{exact}\n"
    )
    case = Case.read(tmp_path / "case.yaml")
    with pytest.raises(CaseError) as refused:
        case.prepare()
    advised = re.findall(r"truncate: ([\d.]*\d)", str(refused.value).splitlines()[0])[-1]
    simulation = case.replace({"initial.truncate": float(advised)}).prepare()
    assert 1e-3 < simulation.densities[0].coverage.off_mesh <= float(advised)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("deviation", [0.3, 0.5, 2.0])
@pytest.mark.parametrize("mesh", [SMALL_BOX, SMALL_VORONOI], ids=["box", "voronoi"])
def test_an_error_of_quadrature_is_no_mass_outside(correlation, deviation, mesh):
    """Gaussians in the middle lose no more than their tails beyond the walls, however badly cells resolve them."""
    size = deviation * (0.2 if "box" in mesh else 4 / 14)
    root = np.array([[1.0, 0.0], [correlation, np.sqrt(1 - correlation**2)]]) * size
    covariance = (root @ root.T).tolist()
    case = Case.parse(
        f"{mesh}\nflow: {{kind: fokker-planck, epsilon: 1}}\ntimes: {{end: 1, step: 1}}\n"
        f"initial: {{kind: gaussian, mean: [0.05, 0.02], covariance: {covariance}}}"
    )
    if deviation <= 0.5 and correlation == 0.9:
        with pytest.raises(CaseError, match="standard deviation"):
            case.prepare()
    else:
        tails = [erfc((2.0 - abs(at)) / (np.sqrt(2) * size)) for at in (0.05, 0.02)]
        assert case.prepare().densities[0].coverage.off_mesh <= sum(tails) + 1e-9


def test_what_quadrature_misses_far_from_all_walls_is_not_outside():
    """Of a density 0.3 node boxes wide, two points per axis miss 1e-10; the nearest wall is 17 deviations away."""
    mesh = node_mesh(mesh_from_cells(*acute(2)))
    deviation = 0.3 * float(np.median(mesh.volume)) ** 0.5
    narrow = Gaussian(tuple(mesh.points.mean(axis=0)), ((deviation**2, 0.0), (0.0, deviation**2)))
    assert 1.0 - mesh.volume @ narrow.sample(mesh, {}) > 1e-11
    assert coverage(narrow, mesh).off_mesh < 1e-50


@pytest.mark.parametrize("name", SHAPES)
def test_the_bound_of_what_is_outside_is_one(name):
    """Against a sum over many random points of the Gaussian."""
    mesh = SHAPES[name]()
    random = np.random.default_rng(3)
    middle = mesh.centre[np.argmin(((mesh.centre - mesh.points.mean(axis=0)) ** 2).sum(axis=1))]
    for width in (0.15, 0.4):
        covariance = np.diag((width * np.ptp(mesh.points, axis=0)) ** 2)
        points = random.multivariate_normal(middle, covariance, 4000)
        outside = float((cells_of(mesh, points) < 0).mean())
        found = coverage(Gaussian(tuple(middle), tuple(map(tuple, covariance.tolist()))), mesh)
        assert found.deviation > 0.25 or width < 0.4
        if found.deviation > 0.25:
            assert found.off_mesh == pytest.approx(outside, abs=0.04)


@pytest.mark.parametrize("at", [(-0.9997, -0.9860), (-1.0, -1.0), (0.3, 0.2), (0.0, 0.0), (0.5, 0.0)])
def test_round_off_chooses_no_triangulation_of_a_spike(at):
    """Four centres on a circle have two; a translation of the mesh once chose the other one."""
    points, cells = acute(1)
    meshes = [mesh_from_cells(-2 + 4 * points + shift, cells) for shift in ((0.0, 0.0), (58.0, 61.0), (-7.1, 3.3))]
    first, *others = (
        mesh.volume * Spike(tuple(np.add(at, mesh.points.min(axis=0) + 2.0))).sample(mesh, {}) for mesh in meshes
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-9)
    assert first @ meshes[0].centre == pytest.approx(at, abs=1e-12)


def test_centres_on_one_circle_share_a_spike_alike():
    """A ring of cells about the point: each of them, by symmetry, has the same part."""
    side = np.linspace(0, 2 * np.pi, 9)[:-1]
    ring = np.concatenate([radius * np.stack([np.cos(side), np.sin(side)], axis=1) for radius in (1.0, 2.0)])
    cells = [[i, (i + 1) % 8, 8 + (i + 1) % 8, 8 + i] for i in range(8)]
    cells.append([0, 1, 2, 3, 4, 5, 6, 7])
    padded = np.array([cell + [-1] * (8 - len(cell)) for cell in cells])
    mesh = mesh_from_cells(ring, padded, centroids=True)
    mesh_mass = mesh.volume * Spike((0.4, 0.0)).sample(mesh, {})
    assert mesh_mass @ mesh.centre == pytest.approx((0.4, 0.0), abs=1e-12)
    assert mesh_mass[0] == pytest.approx(mesh_mass[7], abs=1e-12)
