"""Dynamic transport: both solvers, published values, closed forms, the flow and its refusals."""

from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import gaussian_density
from fvflow.fields.density import Gaussian
from fvflow.flows import TransportFlow
from fvflow.linalg import divergence
from fvflow.mesh import Box, Graded
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.problems import Transport
from fvflow.transport import InteriorPoint, PrimalDual, TransportSolver, dual_kernels
from fvflow.transport.admissible import GridOperators, MeshOperators, admissible_path
from fvflow.transport.geodesic import cell_vectors, kinetic_energy
from fvflow.transport.proximal import ParaboloidProjection
from fvflow.transport.space_time_grid import SpaceTimeGrid, eigenvalues
from fvflow.wasserstein import bures, distance_1d
from tests.meshes import acute
from tests.scenes import final
from tests.transport_contracts import check_goes_on, check_transport_solver


def box(cells, dimension=2):
    return Box((0.0,) * dimension, (1.0,) * dimension, (cells,) * dimension).build()


def published(cells, name):
    """The test problems of Natale and Todeschi: values at the cell centres, of mass 1."""
    x, y = box(cells).centre.T

    def bump(c):
        r2 = (x - c) ** 2 + (y - c) ** 2
        return np.where(r2 <= 0.09, 1 + np.cos(np.pi * r2 / 0.09), 0)

    inside = np.abs(x - 0.5) <= 0.15
    pairs = {
        "sin": (bump(0.3), bump(0.7)),
        "compression": (
            1 + np.cos(2 * np.pi * (x - 0.5)),
            np.where(inside, (1 + np.cos(2 * np.pi * (x - 0.5) / 0.3)) / 0.3, 0),
        ),
    }
    return [density / density.mean() for density in pairs[name]]


def test_off_grids_w2_is_right_and_the_oscillation_of_densities_is_told():
    mesh, ends = mesh_from_cells(*acute(1)), [([0.4, 0.4], [0.1, 0.1]), ([0.6, 0.55], [0.08, 0.12])]
    laws = [(np.array(mean), np.diag(np.square(deviation))) for mean, deviation in ends]
    densities = [gaussian_density(mesh, *law, "average") for law in laws]
    found = InteriorPoint(1e-6).solve(mesh, *(d / (mesh.volume @ d) for d in densities), 4)
    assert found.w2 == pytest.approx(bures(*laws[0], *laws[1]), rel=5e-3)
    target = Gaussian(mean=(0.6, 0.55), covariance=((0.01, 0.0), (0.0, 0.01)))
    for where, solver, told in ((mesh, InteriorPoint(), 1), (box(4), InteriorPoint(), 0), (box(4), PrimalDual(), 0)):
        flow = TransportFlow(target=target, intervals=4, solver=solver)
        assert len(list(flow.notes(Transport(where)))) == told


@pytest.mark.parametrize(
    ("name", "cells", "intervals", "value"),
    [
        ("sin", 5, 5, 0.6148930),
        ("sin", 10, 9, 0.5749847),
        ("compression", 5, 5, 0.1373108),
        ("compression", 10, 9, 0.1244027),
    ],
)
def test_interior_point_gives_the_published_values(name, cells, intervals, value):
    found = InteriorPoint().solve(box(cells), *published(cells, name), intervals)
    assert found.converged
    assert found.w2 == pytest.approx(value, abs=2e-7)
    assert found.density.min() > -1e-300
    assert found.continuity() <= 1e-10
    assert max(found.hamilton_jacobi_errors()) <= 1e-6


@pytest.mark.parametrize(
    "solver", [*(kind() for kind in get_args(TransportSolver)), PrimalDual(scheme="cell")], ids=lambda s: s.describe()
)
def test_solvers_keep_their_contract(solver):
    check_transport_solver(solver)


def test_a_solve_goes_on_from_within_every_grid_and_every_tolerance():
    """The gap is closed by tolerances that are tightened; the first iterations of each one are those at stake."""
    mesh, solver, places = box(16), PrimalDual(gap=1e-3, tolerance=1e-2), {}

    def look(count, residual, iterate):
        places.setdefault((iterate["level"], iterate["tolerance"]), count)

    path = solver.solve(mesh, *published(16, "sin"), 8, look)
    assert len({level for level, _ in places}) == 2
    assert len(places) > 3
    for count in places.values():
        check_goes_on(solver, mesh, published(16, "sin"), path, count + 3)


def test_which_solvers_are_certified():
    assert InteriorPoint().certified
    assert PrimalDual(scheme="face").certified
    assert not PrimalDual(scheme="cell").certified


def test_both_solvers_solve_the_same_problem():
    for name in ("sin", "compression"):
        point = InteriorPoint().solve(box(10), *published(10, name), 8)
        dual = PrimalDual(tolerance=1e-6).solve(box(10), *published(10, name), 8)
        assert dual.w2 == pytest.approx(point.w2, abs=1e-6)
        np.testing.assert_allclose(dual.density, point.density, atol=2e-3 * point.density.max())


def test_the_discrete_minimum_is_between_its_certificates():
    """Below by phi, above by an admissible path; a gap that is asked for is reached by more iterations."""
    ends = published(16, "sin")
    least = InteriorPoint().solve(box(16), *ends, 8)
    assert least.gap <= 1e-9
    loose = PrimalDual(tolerance=1e-2, gap=0.5).solve(box(16), *ends, 8)
    tight = PrimalDual(tolerance=1e-2, gap=1e-3).solve(box(16), *ends, 8)
    assert loose.gap > 1e-3 >= tight.gap
    assert tight.iterations > loose.iterations
    for found in (loose, tight):
        assert 2 * found.dual_value() <= least.w2**2 <= 2 * found.dual_value() / (1 - found.gap) ** 2


def test_interior_point_weighs_unequal_cells():
    mesh = Graded((0.0,), (1.0,), (60,), (3.0,)).build()
    ends = [
        gaussian_density(mesh, np.array([m]), np.array([[s**2]]), "average") for m, s in ((0.35, 0.08), (0.65, 0.05))
    ]
    one, other = (density / (mesh.volume @ density) for density in ends)
    found = InteriorPoint().solve(mesh, one, other, 24)
    assert found.w2 == pytest.approx(distance_1d(mesh.edges[0], one, other), rel=1e-3)
    assert max(found.hamilton_jacobi_errors()) <= 1e-6


def test_interior_point_stops_where_its_matrix_is_singular():
    """Gaussians narrower than the cells of 56 triangles: the result so far, which says that it did not converge."""
    mesh = mesh_from_cells(*acute(1))
    one, other = (
        Gaussian(mean, ((width, 0.0), (0.0, width))).sample(mesh, {})
        for mean, width in (((0.5976491513450433, 0.6891589322502868), 0.022604124278767044),
                            ((0.6910718477073017, 0.6836157430291998), 0.021570086839911403))
    )  # fmt: skip
    found = InteriorPoint().solve(mesh, one / (mesh.volume @ one), other / (mesh.volume @ other), 8)
    assert not found.converged
    assert found.residual <= 1e-5
    assert found.w2 == pytest.approx(0.0913, abs=2e-4)


GAUSSIANS = Case.read("cases/transport-gaussians-2d.yaml")


@pytest.mark.parametrize("scheme", ["cell", "face"])
def test_a_geodesic_between_gaussians(scheme):
    """W2 at order two; density, potential and velocity near the closed form; what `face` promises."""
    errors, densities = [], []
    for cells in (16, 32):
        changes = {"mesh.cells": [cells, cells], "flow.solver": {"kind": "primal-dual", "scheme": scheme}, "checks": {}}
        prepared, _, figures = final(GAUSSIANS.replace(changes))
        errors.append(abs(figures["w2_solver"] / prepared.reference.distance - 1))
        densities.append(figures["error_l1"])
        assert figures["continuity"] <= 1e-10
        assert figures["minimum"] >= 0
        assert figures["mass_drift"] <= 1e-14
        assert 0 < figures["repair"] <= 1e-5
        assert figures["w2_lower"] <= figures["w2"] <= figures["w2_upper"]
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < {"cell": 7e-4, "face": 3.5e-3}[scheme]
    assert densities[1] < densities[0]
    assert figures["w2_error"] <= 3e-4
    if scheme == "face":
        assert figures["hamilton_jacobi"] <= 1e-4
        assert figures["hamilton_jacobi_excess"] <= 1e-4


def test_the_potential_and_the_velocity_are_those_of_the_closed_form():
    prepared = GAUSSIANS.replace({"mesh.cells": [32, 32], "checks": {}}).prepare()
    mesh, reference = prepared.mesh, prepared.reference
    frames = list(prepared.frames())
    for index in (0, 8, 16):
        frame, time = frames[index], index / 16
        weight = mesh.volume * reference.average(time)
        exact = reference.potential(time)
        off = frame.fields["phi"] - exact
        assert weight @ (off - weight @ off) ** 2 <= (0.02 * np.ptp(exact)) ** 2
        slope = cell_vectors(mesh, (exact[mesh.neighbour] - exact[mesh.owner]) / mesh.distance)
        velocity = np.stack([frame.fields["v_x"], frame.fields["v_y"]], axis=1)
        assert weight @ ((velocity - slope) ** 2).sum(axis=1) <= 1e-2 * reference.distance**2
        momentum = np.stack([frame.fields["m_x"], frame.fields["m_y"]], axis=1)
        shift = reference.target_mean - reference.mean  # what all mass moves by in the mean, at any time
        np.testing.assert_allclose(mesh.volume @ momentum, shift, rtol=5e-3)


def test_closed_forms_solve_their_equations():
    """d_t rho + div(rho v) = 0 and Hamilton-Jacobi, by differences; the ends are the given ones."""
    prepared = GAUSSIANS.replace({"mesh.cells": [64, 64], "checks": {}}).prepare()
    mesh, reference, h = prepared.mesh, prepared.reference, 1e-4
    np.testing.assert_allclose(reference.average(0.0), prepared.initial.density, rtol=1e-9)
    np.testing.assert_allclose(reference.average(1.0), prepared.problem.target, rtol=1e-6, atol=1e-12)
    slope = (reference.potential(0.4 + h) - reference.potential(0.4 - h)) / (2 * h)
    phi = reference.potential(0.4)
    residual = slope + kinetic_energy(mesh, phi)
    inner = np.abs(mesh.centre - 0.5).max(axis=1) < 0.45
    np.testing.assert_allclose(residual[inner], 0, atol=1e-3)
    density = reference.average(0.4)
    face = 0.5 * (density[mesh.owner] + density[mesh.neighbour])
    flux = mesh.area * face * (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance
    change = mesh.volume * (reference.average(0.4 + h) - reference.average(0.4 - h)) / (2 * h)
    assert np.abs(change + divergence(mesh, flux)).sum() <= 0.05 * np.abs(change).sum()


def test_affine_and_quantile_geodesics_agree_on_a_line():
    case = Case.parse("""
        mesh: {kind: box, lower: [0], upper: [2], cells: [300]}
        flow: {kind: transport, intervals: 4, target: {kind: exact}}
        initial: {kind: expression, density: "exp(-(x - 0.4)**2/0.01) + exp(-(x - 0.6)**2/0.002)", mass: 3}
        exact: {kind: affine, shift: [0.3], scale: [1.5]}
        """)
    prepared = case.prepare()
    edges, affine = prepared.mesh.edges[0], prepared.reference
    assert prepared.mesh.volume @ prepared.problem.target == pytest.approx(3)
    one, other = prepared.initial.density, prepared.problem.target
    for time in (0.25, 0.5, 1.0):
        between = fvflow.wasserstein.interpolated_1d(edges, one, other, time)
        assert np.abs(between - affine.average(time)).sum() <= 5e-3 * between.sum()
    assert affine.distance == pytest.approx(distance_1d(edges, one, other), rel=1e-4)


def test_axes_and_units_do_not_matter():
    mesh = Box((0.0, 0.0, 0.0), (1.0, 0.6, 0.8), (20, 12, 8)).build()
    x, y, z = mesh.centre.T
    one = np.exp(-((x - 0.3) ** 2) / 0.02 - (y - 0.25) ** 2 / 0.02 - (z - 0.3) ** 2 / 0.04) + 0.01
    other = np.exp(-((x - 0.6) ** 2) / 0.03 - (y - 0.35) ** 2 / 0.01 - (z - 0.5) ** 2 / 0.03) + 0.01
    one, other = one / (mesh.volume @ one), other / (mesh.volume @ other)
    solver = PrimalDual(tolerance=1e-4)
    found = solver.solve(mesh, one, other, 8)
    turned = Box((0.0, 0.0, 0.0), (0.8, 1.0, 0.6), (8, 20, 12)).build()
    turn = [np.transpose(d.reshape(mesh.shape), (1, 2, 0)).ravel() for d in (one, other)]
    assert solver.solve(turned, *turn, 8).w2 == pytest.approx(found.w2, rel=1e-10)
    large = Box((0.0, 0.0, 0.0), (1e3, 6e2, 8e2), (20, 12, 8)).build()
    scaled = solver.solve(large, 1e-4 * one, 1e-4 * other, 8)
    assert scaled.w2 == pytest.approx(1e3 * (1e-4 * 1e9) ** 0.5 * found.w2, rel=1e-10)


def test_projection_on_the_paraboloid():
    """prox of theta's conjugate: (a, b) goes to the nearest point with a + |b|^2/2 <= 0."""
    random = np.random.default_rng(0)
    start, b = random.normal(size=400) * 3, random.normal(size=(2, 400)) * 3
    start[:3], b[:, :3] = [0.0, -1.0, 2.0], [[0, 0.5, 0.0], [0, 0.5, 0.0]]
    a, q = start.copy(), b.copy()
    dual_kernels.paraboloid(a, q, np.empty(400))
    square = 0.5 * (q**2).sum(axis=0)
    assert (a + square).max() <= 1e-12
    outside = start + 0.5 * (b**2).sum(axis=0) > 0
    np.testing.assert_allclose(a[~outside], start[~outside], atol=1e-12)
    multiplier = start - a  # the normal at a + |b|^2/2 = 0 is (1, b)
    assert (multiplier[outside] > 0).all()
    np.testing.assert_allclose(b - q, multiplier * q, atol=1e-11)
    np.testing.assert_allclose((a + square)[outside], 0, atol=1e-11)
    np.testing.assert_allclose(
        (a, *q), ParaboloidProjection().prox(np.stack([start, *b])), atol=1e-11
    )  # the plain reference


def test_eigenvalues_are_those_of_the_laplacian_between_walls():
    matrix = np.diag([1.0, 2, 2, 1]) - np.eye(4, k=1) - np.eye(4, k=-1)
    np.testing.assert_allclose(eigenvalues(4, 0.5), np.linalg.eigvalsh(matrix) / 0.25, atol=1e-13)


def test_a_repaired_path_is_admissible():
    random = np.random.default_rng(1)
    grid = SpaceTimeGrid((4, 5), (0.2, 0.3), 3, (False, False))
    rho, m = random.normal(size=(4, 4, 5)) + 0.5, random.normal(size=(2, 3, 4, 5))
    rho[0], rho[3] = 1.0, 1.0
    m[0][..., -1], m[1][:, -1] = 0, 0
    fixed, flux, change = admissible_path(rho, np.moveaxis(m, 1, 0), GridOperators(grid))
    assert change == np.abs(fixed - rho).sum(axis=(1, 2)).max() / 20
    flux = np.moveaxis(flux, 0, 1)
    assert fixed.min() >= 0
    np.testing.assert_allclose(fixed.sum(axis=(1, 2)), 20, rtol=1e-14)
    rest = np.diff(fixed, axis=0) / grid.dt + (flux[0] - np.roll(flux[0], 1, -1)) / 0.3
    rest += (flux[1] - np.roll(flux[1], 1, -2)) / 0.2
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    assert (flux[0][..., -1] == 0).all()
    assert (flux[1][:, -1] == 0).all()


@pytest.mark.parametrize("floor", [0.0, 1e-2])
def test_a_repaired_path_is_admissible_on_any_mesh(floor):
    random = np.random.default_rng(2)
    mesh = Graded((0.0, 0.0), (1.0, 2.0), (6, 5), (3.0, 2.0)).build()
    density, momentum = random.normal(size=(5, mesh.cells)) + 0.5, random.normal(size=(4, mesh.faces))
    density[0], density[4] = 1.5, 1.5
    before = density.copy(), momentum.copy()
    fixed, flux, change = admissible_path(density, momentum, MeshOperators(mesh), floor)
    np.testing.assert_array_equal(density, before[0])
    np.testing.assert_array_equal(momentum, before[1])
    np.testing.assert_array_equal(fixed[[0, 4]], 1.5)
    assert fixed[1:4].min() == pytest.approx(1.5 * floor, abs=1e-15)
    np.testing.assert_allclose(fixed @ mesh.volume, 3.0, rtol=1e-14)
    assert change == pytest.approx((np.abs(fixed - density) @ mesh.volume).max() / 3.0, rel=1e-14)
    for k in range(4):
        rest = mesh.volume * (fixed[k + 1] - fixed[k]) * 4 + divergence(mesh, mesh.area * flux[k])
        np.testing.assert_allclose(rest, 0, atol=1e-13)


def test_cell_vectors_of_a_constant_field():
    mesh = Graded((0.0, 0.0), (1.0, 2.0), (6, 5), (3.0, 2.0)).build()
    field = np.array([2.0, -1.0])
    found = cell_vectors(mesh, mesh.normal @ field)
    inner = np.bincount(mesh.owner, minlength=30) + np.bincount(mesh.neighbour, minlength=30) == 4
    np.testing.assert_allclose(found[inner], np.tile(field, (inner.sum(), 1)), atol=1e-13)


def test_speed_is_constant_within_the_certificates():
    ds = GAUSSIANS.replace({"mesh.cells": [24, 24], "checks": {}, "flow.width": 1e-2}).run()
    for first, last in ((0, 8), (4, 12), (8, 16)):
        part = fvflow.wasserstein.distance(ds, first, last, width=1e-2)
        assert part.lower / float(ds.w2_upper) <= 0.5 * (1 + 5e-3)
        assert part.upper / float(ds.w2_lower) >= 0.5 * (1 - 5e-3)


def test_the_result_holds_faces_and_figures(tmp_path):
    small = GAUSSIANS.replace({"mesh.cells": [16, 16], "flow.intervals": 4, "checks": {}})
    small.write(tmp_path / "r.nc")
    memory = small.run()
    with fvflow.read(tmp_path / "r.nc") as ds:
        for name in ("phi", "v_x", "m_y", "momentum", "velocity", "w2", "w2_lower", "hamilton_jacobi", "error_l1"):
            np.testing.assert_allclose(ds[name], memory[name], err_msg=name)
        assert ds.momentum.dims == ("time", "face")
        mesh, flux = small.prepare().mesh, ds.momentum.values
        change = mesh.volume * np.diff(ds.rho.values.reshape(5, -1), axis=0)
        for k in range(4):
            np.testing.assert_allclose(change[k] + 0.25 * divergence(mesh, mesh.area * flux[k + 1]), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow.intervals": 1}, "expected a number >= 2"),
        ({"times": {"end": 1, "step": 0.1}}, "leave times out"),
        ({"flow.target.mass": 2.0}, "the target has the mass 2, the initial density 1"),
        ({"flow.target.mean": [5.0, 0.6]}, r"flow\.target: 100 % of the density is outside the mesh"),
        (
            {"flow.target": {"kind": "expression", "density": "x - 0.5"}, "exact": None},
            "the density is -0.46875 at",
        ),
        (
            {"mesh": {"kind": "graded", "lower": [0, 0], "upper": [1, 1], "cells": [8, 8], "ratio": [2, 1]}},
            "equal cells",
        ),
        ({"checks": {"energy_increase": 1.0}}, "is for flow gradient-flow"),
        ({"exact": {"kind": "gaussian"}}, "use gaussian-geodesic"),
        ({"exact": {"kind": "gibbs"}}, "gibbs needs"),
        ({"exact": {"kind": "quantiles"}}, "one space dimension"),
        ({"exact": {"kind": "affine", "shift": [0.1, 0.1]}}, "the closed form at t = 1 is off the target by"),
        ({"exact": {"kind": "affine", "shift": [1.0]}}, "2 entries"),
    ],
)
def test_bad_transports_are_refused(changes, message):
    with pytest.raises(CaseError, match=message):
        GAUSSIANS.replace({"mesh.cells": [16, 16], "checks": {}}).replace(changes).prepare()


def test_quantiles_need_mass_on_the_mesh():
    """A density so wide that the differences of its distribution function are 0 in every cell."""
    wide = {"kind": "mixture", "components": [{"mean": [0.6], "covariance": [[1e60]]}], "truncate": 0.9}
    with pytest.raises(CaseError, match="exact quantiles needs mass on the mesh, got a density that is 0 in every"):
        Case.read("cases/transport-mixture-1d.yaml").replace({"flow.target": wide, "mesh.cells": [20]}).prepare()


def test_transport_checks_are_for_transport_and_times_for_the_others():
    ou = Case.read("cases/ou-1d.yaml")
    with pytest.raises(CaseError, match="is for flow transport"):
        ou.replace({"checks": {"gap": 1e-3}})
    with pytest.raises(CaseError, match="is missing"):
        ou.replace({"times": None})


def test_checks_that_have_nothing_to_check_are_refused():
    with pytest.raises(CaseError, match="needs an exact solution"):
        GAUSSIANS.replace({"exact": None, "checks": {"w2_error": 1e-3}})
    with pytest.raises(CaseError, match="needs flow transport with target"):
        Case.read("cases/ou-1d.yaml").replace({"exact": {"kind": "affine", "shift": [0.1]}, "checks": {}}).prepare()


def test_a_graded_mesh_has_an_interval_too():
    graded = {"kind": "graded", "lower": [0, 0], "upper": [1, 1], "cells": [8, 8], "ratio": [2, 1]}
    small = GAUSSIANS.replace({"mesh": graded, "flow.solver": {"kind": "interior-point"}, "flow.intervals": 4})
    figures = final(small.replace({"checks": {}}))[2]
    assert figures["w2_lower"] <= figures["w2"] <= figures["w2_upper"]
    assert figures["gap"] <= 1e-2
    assert figures["w2"] == pytest.approx(0.3365, rel=0.15)


@pytest.mark.parametrize("solver", ["primal-dual", "interior-point"])
def test_the_geodesic_from_a_density_to_itself_rests(solver):
    start = {"kind": "gaussian", "mean": [0.4, 0.5], "covariance": [[0.02, 0], [0, 0.02]], "truncate": 0.01}
    changes = {"mesh.cells": [8, 8], "flow.intervals": 4, "flow.target": start, "initial": start}
    still = GAUSSIANS.replace(changes).replace({"flow.solver": {"kind": solver}, "checks": {"w2_error": 1e-3}})
    _, last, figures = final(still)
    assert figures["w2_solver"] <= 1e-4
    assert still.checks.missed(figures) == []
    np.testing.assert_allclose(last.density, still.prepare().initial.density, rtol=1e-6)


def test_a_prepared_case_runs_again_as_if_it_were_the_first_time():
    prepared = Case.read("cases/ou-1d-jko.yaml").replace({"times": {"end": 0.1, "step": 0.05}}).prepare()
    list(prepared.frames())
    first = prepared.figures()
    list(prepared.frames())
    assert prepared.figures() == first


def test_the_cap_is_an_error_unless_accepted():
    capped = GAUSSIANS.replace({"mesh.cells": [16, 16], "flow.solver": {"kind": "primal-dual", "iterations": 20}})
    with pytest.raises(NumericsError, match=r"stopped after .* iterations at the residual .* say accept: true"):
        final(capped)
    figures = final(capped.replace({"flow.accept": True}))[2]
    assert figures["converged"] == 0
    assert figures["w2_lower"] <= 0.3364931 * 1.001
    assert figures["w2_upper"] >= 0.3364931 * 0.999
    assert figures["continuity"] <= 1e-10


@pytest.mark.parametrize("unit", [1e-4, 1e4])
@pytest.mark.parametrize("solver", [InteriorPoint(), PrimalDual()])
def test_the_solvers_do_not_depend_on_the_unit_of_length(solver, unit):
    """The same mass on a box so many times as large: W2 so many times as large, by as many iterations."""
    ends = published(8, "compression")
    here = solver.solve(box(8), *ends, 5)
    large = Box((0.0, 0.0), (unit, unit), (8, 8)).build()
    there = solver.solve(large, *(density / unit**2 for density in ends), 5)
    assert here.converged
    assert there.converged
    assert there.iterations == here.iterations
    assert there.w2 == pytest.approx(unit * here.w2, rel=1e-9)
    np.testing.assert_allclose(there.density * unit**2, here.density, rtol=0, atol=1e-6)
