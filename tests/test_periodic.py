"""Periodic axes: the mesh, closed forms on a ring, elimination of rings, translations, refusals, results."""

import dataclasses
from fractions import Fraction
from itertools import combinations
from typing import get_args

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, DriftFunction, Expression, gaussian_density
from fvflow.fields.coverage import gaussian_coverage
from fvflow.fields.density import ArrayDensity
from fvflow.fluxes import ScharfetterGummel, Upwind
from fvflow.linalg import FaceMatrix, SplitSweeps, divergence
from fvflow.linalg.direct.tridiagonal import Tridiagonal
from fvflow.linalg.grid.ring_stencil import RingStencil
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.markov.detailed_balance import detailed_balance_root
from fvflow.mesh import Box, Graded, Grid, Ugrid, box_share, coarse_proxy
from fvflow.problems import FokkerPlanck
from fvflow.steppers import GradientStepper, LinearStepper
from fvflow.steppers.reconstruction import GridReconstruction
from fvflow.transport.hamilton_jacobi import hopf_lax
from fvflow.wasserstein import bounds_available, distance_1d, distance_on_circle
from tests.contracts import assert_order, check_integration_by_parts, check_solver
from tests.resume_cases import Resumed, differences

RING = """
mesh: {kind: box, lower: [0], upper: [1], cells: [40], periodic: [x]}
flow: {kind: fokker-planck, epsilon: 0.05, tilt: [1.5], stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [0.9], covariance: [[0.01]]}
times: {end: 0.05, step: 0.01}
"""
CURRENT = """
mesh: {kind: box, lower: [0], upper: [1], cells: [50], periodic: [x]}
flow: {kind: stationary, epsilon: 0.2, potential: "0.3*cos(2*pi*x) + 0.1*sin(4*pi*x)", tilt: [1.5]}
output: {fluxes: true}
"""
SUBSETS = [axes for count in (1, 2, 3) for axes in combinations("xyz", count)]
STEPPERS = [kind.kind for kind in get_args(LinearStepper)]


def case(text=RING, **changes):
    return Case.parse(text).replace({key.replace("__", "."): value for key, value in changes.items()})


def box(cells, periodic, ratio=None):
    lower, upper = (0.0,) * len(cells), tuple(1.0 + axis for axis in range(len(cells)))
    if ratio is None:
        return Box(lower, upper, cells, periodic=periodic).build()
    return Graded(lower, upper, cells, ratio, periodic=periodic).build()


def drift(**parts):
    return Drift(**{name: Expression(part) if isinstance(part, str) else part for name, part in parts.items()})


# The mesh


@pytest.mark.parametrize("periodic", SUBSETS)
def test_a_face_more_on_each_line_joins_its_ends(periodic):
    shape = (5, 4, 3)
    mesh = box(shape, periodic, ratio=(2.0, 0.5, 3.0))
    assert mesh.faces == sum(60 // n * (n - (name not in periodic)) for n, name in zip(shape, "xyz", strict=True))
    assert len(mesh.wall_points) == len(mesh.wall_cell) == len(mesh.walls[0])
    assert len(mesh.wall_cell) == 2 * sum(60 // n for n, name in zip(shape, "xyz", strict=True) if name not in periodic)
    assert set(mesh.named_walls) == {
        side
        for name, sides in zip("xyz", (("left", "right"), ("bottom", "top"), ("back", "front")), strict=True)
        for side in sides
        if name not in periodic
    }
    seam = mesh.owner > mesh.neighbour
    for axis in range(3):
        rows = seam & (mesh.normal[:, axis] == 1)
        assert rows.any() == ("xyz"[axis] in periodic)
        width = np.diff(mesh.edges[axis])
        assert mesh.distance[rows] == pytest.approx(0.5 * (width[0] + width[-1]))
        np.testing.assert_allclose(mesh.face_centre[rows, axis], mesh.edges[axis][-1], rtol=1e-14)
    ahead = mesh.nearest_image(mesh.centre[mesh.neighbour] - mesh.centre[mesh.owner])
    np.testing.assert_allclose(ahead, mesh.distance[:, None] * mesh.normal, atol=1e-14)
    np.testing.assert_allclose(mesh.face_integral(lambda at, part: 1.0, 2), mesh.area, rtol=1e-13)
    check_integration_by_parts(mesh)
    through = mesh.area * (mesh.normal @ np.array([1.0 * (name in periodic) for name in "xyz"]))
    np.testing.assert_allclose(divergence(mesh, through), 0, atol=1e-15)  # a constant flow has no divergence
    assert len(np.unique(np.stack([mesh.owner, mesh.neighbour], axis=1), axis=0)) == mesh.faces
    assert (mesh.components == 0).all()


def test_the_order_of_faces_is_by_axis_and_owner():
    mesh = box((4, 3), ("x", "y"))
    assert mesh.owner.tolist() == [*range(12), *range(12)]
    assert mesh.neighbour[:4].tolist() == [1, 2, 3, 0]
    assert mesh.neighbour[12:].tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3]


def test_a_coarse_proxy_stays_periodic():
    mesh = box((50, 40), ("x",))
    for cells in (1, 10, 200):
        coarse, density = coarse_proxy(mesh, np.ones(mesh.cells), cells)
        assert coarse.periodic == (0,)
        np.testing.assert_allclose(density, 1.0)


def test_refinement_and_description_keep_the_axes():
    kind = Box((0.0, 0.0), (1.0, 1.0), (4, 6), periodic=("y",))
    assert kind.refined().periodic == ("y",)
    assert kind.describe(kind.build()).endswith("periodic along y")


# Elimination


def exact_solution(matrix, right):
    """M^-1 b in rational arithmetic, with the column sums and rates as they are."""
    count = len(matrix.volume)
    rows = [[Fraction(0)] * count + [Fraction(float(right[i]))] for i in range(count)]
    for i, total in enumerate(matrix.column_sums):
        rows[i][i] += Fraction(float(total))
    for k, j, down, up in zip(matrix.owner, matrix.neighbour, matrix.down, matrix.up, strict=True):
        rows[k][k] += Fraction(float(down))
        rows[j][k] -= Fraction(float(down))
        rows[j][j] += Fraction(float(up))
        rows[k][j] -= Fraction(float(up))
    for i in range(count):
        for j in range(count):
            if j != i:
                factor = rows[j][i] / rows[i][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return np.array([float(rows[i][-1] / rows[i][i]) for i in range(count)])


@pytest.mark.parametrize("cells", [3, 4, 9])
def test_elimination_of_a_ring_is_accurate_in_every_entry(cells):
    random, mesh = np.random.default_rng(cells), box((cells,), ("x",))
    for _ in range(20):
        down, up = 10.0 ** random.uniform(-25, 25, size=(2, cells))
        matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up, mesh.shape, periodic=mesh.periodic)
        right = 10.0 ** random.uniform(-12, 0, cells)
        exact = exact_solution(matrix, right)
        solved = Tridiagonal().prepare(matrix)(right, float(right.sum())).density
        np.testing.assert_allclose(solved, exact, rtol=2e-14)
        np.testing.assert_allclose(SplitSweeps(matrix)(right / mesh.volume), exact, rtol=2e-14)


@pytest.mark.parametrize("solver", ["tridiagonal", "direct", "krylov"])
def test_solvers_on_a_ring(solver):
    mesh, random = box((30,), ("x",), (3.0,)), np.random.default_rng(2)
    down, up = random.random((2, mesh.faces))
    matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up, mesh.shape, periodic=mesh.periodic)
    kind = {solver: part for part in get_args(fvflow.linalg.Solver) for solver in [part().kind]}[solver]
    check_solver(kind(), matrix)


@pytest.mark.parametrize("periodic", SUBSETS)
def test_sweeps_along_rings_are_those_of_dense_matrices(periodic):
    random, mesh = np.random.default_rng(4), box((6, 5, 4), periodic, (2.0, 3.0, 0.5))
    rates = random.random((2, mesh.faces))
    matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, *rates, mesh.shape, periodic=mesh.periodic)
    sweeps, density = SplitSweeps(matrix), random.random(mesh.cells)
    np.testing.assert_allclose(matrix.diagonal(), dataclasses.replace(matrix, shape=None).diagonal(), rtol=1e-14)
    for axis in range(3):
        along = rates * mesh.normal[:, axis]
        dense = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, *along).sparse().toarray()
        expected = np.linalg.solve(dense, mesh.volume * density)
        np.testing.assert_allclose(sweeps(density, (axis,)), expected, rtol=1e-12)
        np.testing.assert_allclose(sweeps(density, (axis,), reflected=True), 2 * expected - density, rtol=1e-11)
        own = (np.diag(dense) / mesh.volume - 1).max()
        assert matrix.rates()[axis] == pytest.approx(own)


def torus_matrix(cells, periodic, length, tilt=0.0, seed=5):
    """That of an implicit step, with a rough potential and a tilt."""
    mesh = box(cells, periodic, tuple(np.linspace(0.5, 2.0, len(cells))))
    potential = np.random.default_rng(seed).normal(size=mesh.cells)
    w = potential[mesh.owner] - potential[mesh.neighbour] + tilt * mesh.distance
    rates = (length * mesh.transmissibility * ScharfetterGummel().weight(sign * w, 1.0) for sign in (-1, 1))
    return FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, *rates, mesh.shape, periodic=mesh.periodic)


@pytest.mark.parametrize("periodic", SUBSETS)
def test_the_matrix_is_applied_without_a_matrix(periodic):
    matrix, random = torus_matrix((5, 4, 3), periodic, 0.3), np.random.default_rng(6)
    stencil, (rho, b) = RingStencil(matrix), random.random((2, 60))
    dense = matrix.sparse().toarray()
    np.testing.assert_allclose(stencil.apply(rho, np.empty(60)), dense @ rho / matrix.volume, rtol=1e-11)
    diagonal = np.diag(dense)
    swept = (matrix.volume * b + diagonal * rho - dense @ rho) / diagonal
    np.testing.assert_allclose(stencil.jacobi(rho, b, np.empty(60)), swept, rtol=1e-11)
    sweeps, steps = SplitSweeps(matrix), []
    for axis in range(3):
        steps.append(sweeps(steps[-1] if steps else b, (axis,)))
    left, found = b - dense @ steps[-1] / matrix.volume, np.zeros(60)
    out = np.empty(60)
    norm = stencil.residual_after_sweeps(steps, found, True, out)
    np.testing.assert_array_equal(found, steps[-1])
    np.testing.assert_allclose(out, left, atol=1e-12)
    assert norm == pytest.approx(matrix.volume @ np.abs(left), rel=1e-9)


@pytest.mark.parametrize("length", [1e-4, 1e-2, 1e3])
@pytest.mark.parametrize("tilt", [0.0, 30.0])
def test_krylov_solves_steps_of_any_length_on_a_torus(length, tilt):
    for cells, periodic in (((40, 30), ("x", "y")), ((12, 10, 8), ("x", "z"))):
        check_solver(Krylov(), torus_matrix(cells, periodic, length, tilt))


# Closed forms


def current(force, epsilon):
    """J = eps (1 - e^{-F L/eps})/int_0^L dx int_0^L dy e^{(U(x + y) - U(x))/eps}, L = 1, by Gauss and trapezia."""
    x = np.arange(400) / 400
    node, weight = np.polynomial.legendre.leggauss(120)

    def tilted(x):
        return 0.3 * np.cos(2 * np.pi * x) + 0.1 * np.sin(4 * np.pi * x) - force * x

    inner = np.exp((tilted(x[:, None] + 0.5 * (node + 1)) - tilted(x[:, None])) / epsilon) @ (0.5 * weight)
    return epsilon * -np.expm1(-force / epsilon) / inner.mean()


@pytest.mark.parametrize("force", [1.5, -0.4, 6.0])
def test_the_current_around_a_tilted_ring_is_of_second_order(force):
    errors = []
    for cells in (25, 50, 100):
        flux = case(CURRENT, mesh__cells=[cells], flow__tilt=[force]).run().flux.values[-1]
        assert np.ptp(flux) <= 1e-13 * cells**2
        errors.append(abs(flux.mean() - current(force, 0.2)))
    assert_order([1 / 25, 1 / 50, 1 / 100], errors, 2.0, 0.1)


def test_the_ratchet_of_the_cases_has_the_current_of_the_theory():
    flux = Case.read("cases/ring-ratchet.yaml").run().flux.values[-1]
    x, (node, weight) = np.arange(400) / 400, np.polynomial.legendre.leggauss(120)

    def tilted(x):
        return 0.3 * (np.sin(2 * np.pi * x) + np.sin(4 * np.pi * x) / 4) - x

    inner = np.exp((tilted(x[:, None] + 0.5 * (node + 1)) - tilted(x[:, None])) / 0.1) @ (0.5 * weight)
    np.testing.assert_allclose(flux, 0.1 * -np.expm1(-10) / inner.mean(), rtol=1e-3)


def test_a_velocity_gives_the_current_of_the_same_tilt():
    tilted, blown = (case(CURRENT, **change).run() for change in ({}, {"flow__tilt": None, "flow__velocity": ["1.5"]}))
    np.testing.assert_allclose(blown.rho, tilted.rho, rtol=1e-12)


def test_without_a_tilt_there_is_no_current_and_the_gibbs_state():
    ds = case(CURRENT, flow__tilt=[0], exact={"kind": "gibbs"}).run()
    assert abs(float(ds.flux[-1].mean())) <= 1e-15
    assert float(ds.error_linf[-1]) <= 1e-13
    march = case(
        flow={"kind": "fokker-planck", "epsilon": 0.2, "potential": "cos(2*pi*x)"},
        initial={"kind": "gibbs"},
        times={"end": 100, "step": 10},
        exact={"kind": "gibbs"},
    )
    assert float(march.run().error_linf[-1]) <= 1e-13


def test_a_potential_on_a_torus_is_in_detailed_balance():
    ds = case(
        CURRENT,
        mesh={"kind": "graded", "lower": [0, 0], "upper": [1, 2], "cells": [12, 9], "ratio": [2, 1]}
        | {"periodic": ["x", "y"]},
        flow={"kind": "stationary", "epsilon": 0.1, "potential": "cos(2*pi*x)*sin(pi*y)"},
        exact={"kind": "gibbs"},
    ).run()
    assert float(ds.error_linf[-1] / ds.maximum[-1]) <= 1e-12


def test_the_root_of_a_gibbs_state_on_a_torus_is_found_along_paths():
    mesh = box((7, 5), ("x", "y"), (2.0, 1.0))
    flow = FokkerPlanck(mesh, drift(potential="cos(2*pi*x)*sin(pi*y)"), 0.1, ScharfetterGummel())
    root = detailed_balance_root(flow.matrix(0.0, 1.0))
    gibbs = np.exp(-flow.drift.cell_potential(mesh, 0.0) / 0.2)
    np.testing.assert_allclose(root, gibbs / gibbs.max(), rtol=1e-12)
    tilted = dataclasses.replace(flow, drift=dataclasses.replace(flow.drift, tilt=(0.1, 0.0)))
    assert detailed_balance_root(tilted.matrix(0.0, 1.0)) is None


def test_modes_decay_like_exp_of_their_square():
    errors = []
    for cells in (16, 32, 64):
        ds = case(
            mesh__cells=[cells],
            flow={"kind": "fokker-planck", "epsilon": 0.3, "stepper": {"kind": "chebyshev"}},
            initial={"kind": "exact"},
            exact={"kind": "heat-box", "modes": [4]},
        ).run()
        errors.append(float(ds.error_linf[-1]))
        mode = np.cos(4 * np.pi * ds.x)
        sizes = (ds.rho * mode).mean("x") / (mode**2).mean()
        rate = 0.3 * 2 * cells**2 * (1 - np.cos(4 * np.pi / cells))  # that of the mesh, k = 4 pi
        np.testing.assert_allclose(sizes, sizes[0] * np.exp(-rate * ds.time), rtol=1e-10)
    assert_order([1 / 16, 1 / 32, 1 / 64], errors, 2.0, 0.1)


def test_a_wrapped_gaussian_that_drifts_around_the_ring_is_of_second_order():
    errors = []
    for cells in (64, 128, 256):
        ds = case(
            mesh__cells=[cells],
            flow__tilt=[4.0],
            flow__stepper={"kind": "chebyshev"},
            exact={"kind": "gaussian"},
            times={"end": 0.4, "step": 0.05},
        ).run()
        errors.append(float(ds.error_l1[-1]))
    assert_order([1 / 64, 1 / 128, 1 / 256], errors, 2.0, 0.15)


@pytest.mark.parametrize("deviation", [0.05, 0.4, 0.6, 1.49, 1.51, 30.0])
def test_cell_averages_of_a_wrapped_gaussian_are_those_of_its_fourier_series(deviation):
    mesh, k = box((10,), ("x",), (3.0,)), np.arange(1, 60)[:, None]
    edges = mesh.edges[0]
    waves = np.exp(-0.5 * (2 * np.pi * k * deviation) ** 2) / (np.pi * k) * np.sin(2 * np.pi * k * (edges - 0.2))
    expected = 1 + np.diff(waves.sum(axis=0)) / np.diff(edges)
    for mean in (0.2, -4.8, 7.2):
        found = gaussian_density(mesh, np.array([mean]), np.array([[deviation**2]]), "average")
        np.testing.assert_allclose(found, expected, atol=1e-13)


def test_a_correlated_gaussian_is_wrapped_too():
    mesh, mean, covariance = box((20, 30), ("x", "y")), np.array([0.9, 0.1]), np.array([[0.03, 0.02], [0.02, 0.05]])
    density = gaussian_density(mesh, mean, covariance, "average")
    assert mesh.volume @ density == pytest.approx(1.0, rel=1e-6)
    moved = gaussian_density(mesh, mean + np.array([0.25, 0.2]), covariance, "average")
    np.testing.assert_allclose(np.roll(density.reshape(30, 20), (3, 5), (0, 1)).ravel(), moved, atol=1e-12)
    assert gaussian_coverage(mesh, mean, covariance).off_mesh == 0.0


def test_spectrum_of_a_ring_has_pairs():
    ds = case(CURRENT, flow={"kind": "spectrum", "epsilon": 1.0, "count": 6}, output={}, mesh__cells=[400]).run()
    k = 2 * np.pi * np.array([1, 1, 2, 2, 3, 3]) / 400
    np.testing.assert_allclose([ds.attrs[f"rate_{i}"] for i in range(1, 7)], 2 * 400**2 * (1 - np.cos(k)), rtol=1e-9)


# Translations


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("cells", [(40,), (12, 9)])
def test_rolling_the_initial_data_rolls_the_result(stepper, cells):
    dim = len(cells)
    values = np.random.default_rng(0).random(cells[::-1])
    axes = list("xyz"[:dim])
    base = case(
        mesh={"kind": "box", "lower": [0] * dim, "upper": [1] * dim, "cells": list(cells), "periodic": axes},
        flow={"kind": "fokker-planck", "epsilon": 0.05, "tilt": [1.5, -0.7][:dim], "stepper": {"kind": stepper}},
        initial={"kind": "uniform"},
    )

    def last(values):
        ds = dataclasses.replace(base, initial=ArrayDensity(values.ravel())).run()
        assert ds.attrs["mass_drift"] <= 1e-14
        return ds.rho.values[-1], float(ds.minimum.min())

    rho, least = last(values)
    for shift in [(1, 2)[:dim], (5, 7)[:dim]]:
        moved, _ = last(np.roll(values, shift, range(dim)))
        np.testing.assert_allclose(moved, np.roll(rho, shift, range(dim)), atol=2e-14)
    assert least >= (0 if stepper != "chebyshev" else -1e-12)


@pytest.mark.parametrize("stepper", [kind.kind for kind in get_args(GradientStepper)])
@pytest.mark.parametrize("cells", [(30,), (15, 8)])
def test_gradient_flows_go_on_through_the_seam(stepper, cells):
    dim, part = len(cells), 4 / cells[0]

    def last(shift):
        return case(
            mesh={"kind": "box", "lower": [0] * dim, "upper": [1] * dim, "cells": list(cells), "periodic": ["x"]},
            flow={
                "kind": "gradient-flow",
                "energy": [
                    {"kind": "porous-medium", "exponent": 2, "coefficient": 0.1},
                    {"kind": "entropy", "epsilon": 0.02},
                    {"kind": "potential", "potential": f"0.3*cos(2*pi*(x - {shift}))"},
                ],
                "stepper": {"kind": stepper},
            },
            initial={"kind": "gaussian", "mean": [0.95 + shift, 0.5][:dim], "covariance": (0.02 * np.eye(dim)).tolist()}
            | {"truncate": 0.1},
        ).run()

    here, moved = last(0.0), last(part)
    assert "evi_defect" not in here.attrs
    assert here.attrs["mass_drift"] <= 1e-14
    assert here.attrs["energy_increase"] <= 0
    assert float(here.minimum.min()) >= 0
    np.testing.assert_allclose(moved.rho[-1], np.roll(here.rho[-1], 4, dim - 1), atol=1e-9)


def test_coupled_oscillators_agree_as_far_as_the_theory_of_their_mean_field_says():
    """W = -K cos(2 pi d): the steady state is exp(K R cos(2 pi x)/eps)/Z with R = I_1(K R/eps)/I_0(K R/eps)."""
    from scipy.optimize import brentq
    from scipy.special import ive

    exact = brentq(lambda r: r - ive(1, r / 0.3) / ive(0, r / 0.3), 0.1, 0.99)
    errors = []
    for cells in (16, 32):
        ds = case(
            mesh__cells=[cells],
            flow={
                "kind": "gradient-flow",
                "energy": [{"kind": "entropy", "epsilon": 0.3}, {"kind": "interaction", "kernel": "-cos(2*pi*x)"}],
            },
            initial={"kind": "gaussian", "mean": [1.1], "covariance": [[0.01]]},
            times={"end": 4.0, "step": 0.05},
        ).run()
        angle = 2j * np.pi * ds.x.values
        errors.append(abs(abs((ds.rho.values[-1] * np.exp(angle)).mean()) - exact))
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 3


@pytest.mark.parametrize("limiter", ["monotonised-central", "minmod", "van-leer", "superbee"])
def test_limited_slopes_wrap(limiter):
    """Transport of a smooth density once around the ring: second order but at the two extrema."""
    errors = []
    for cells in (64, 128, 256):
        ds = case(
            mesh__cells=[cells],
            flow={
                "kind": "fokker-planck",
                "epsilon": 1e-9,
                "tilt": [1],
                "stepper": {"kind": "muscl", "limiter": limiter},
            },
            initial={"kind": "expression", "density": "1 + 0.5*sin(2*pi*x)", "mass": 1},
            times={"end": 1.0, "step": 0.1},
        ).run()
        errors.append(float(abs(ds.rho[-1] - ds.rho[0]).mean()))
    assert errors[2] < errors[1] / 3 < errors[0] / 9


@pytest.mark.parametrize("limiter", ["monotonised-central", "minmod", "van-leer", "superbee"])
def test_slopes_on_a_ring_are_those_on_its_repetition(limiter):
    """In the middle third of a line of three periods, whose walls are far away."""
    ring = box((7, 4), ("x",), (3.0, 2.0))
    edges = ring.edges[0]
    line = Grid(
        (np.concatenate([edges[:-1] + shift for shift in (-1.0, 0.0, 1.0)] + [edges[-1:] + 1.0]), ring.edges[1])
    )
    density = np.random.default_rng(7).random((4, 7))
    found = GridReconstruction(ring, limiter).rises(density.ravel())
    longer = GridReconstruction(line, limiter).rises(np.tile(density, 3).ravel())
    along_x, along_y = 4 * 7, 4 * 20  # faces normal to x of the ring and of the line
    for rise, expected in zip(found, longer, strict=True):
        np.testing.assert_allclose(rise[:along_x].reshape(4, 7), expected[:along_y].reshape(4, 20)[:, 7:14], atol=1e-14)
        np.testing.assert_allclose(rise[along_x:].reshape(3, 7), expected[along_y:].reshape(3, 21)[:, 7:14], atol=1e-14)
    flow = np.random.default_rng(8).normal(size=ring.faces)
    both = np.maximum(flow[:along_x].reshape(4, 7), -np.roll(flow[:along_x].reshape(4, 7), 1, 1))
    across = np.zeros((2, 4, 7))
    across[0, :-1], across[1, 1:] = flow[along_x:].reshape(3, 7), -flow[along_x:].reshape(3, 7)
    bound = 2 * (np.maximum(both, 0) + np.maximum(across.max(axis=0), 0))
    np.testing.assert_allclose(GridReconstruction(ring, limiter).outflow_bound(flow), bound.ravel(), atol=1e-14)


def test_a_tilt_is_a_velocity_at_openings_too():
    line = {
        "mesh": {"kind": "box", "lower": [0], "upper": [1], "cells": [30]},
        "walls": {"right": "absorbing"},
        "initial": {"kind": "uniform"},
    }
    tilted = case(**line).run()
    blown = case(
        **line, flow={"kind": "fokker-planck", "epsilon": 0.05, "velocity": ["1.5"]}, flow__stepper={"kind": "tr-bdf2"}
    )
    np.testing.assert_allclose(tilted.survival, blown.run().survival, rtol=1e-13)
    assert float(tilted.survival[-1]) < 0.95


# Densities


def test_a_point_at_the_seam_is_shared_by_the_cells_beside_it():
    ds = case(initial={"kind": "spike", "at": [0.99]}).run()
    first = ds.rho.values[0] / 40
    assert first[-1] == pytest.approx(0.9)
    assert first[0] == pytest.approx(0.1)
    assert first.sum() == pytest.approx(1.0)
    moved = case(initial={"kind": "spike", "at": [3.49]}).run().rho.values[0] / 40
    np.testing.assert_allclose(np.roll(first, 20), moved, atol=1e-12)
    assert "beyond" not in case(initial={"kind": "spike", "at": [0.99]}).check()["initial density"]


def test_a_uniform_box_goes_on_through_the_seam():
    through, inside = (
        case(initial={"kind": "uniform", "lower": [low], "upper": [low + 0.3]}, mesh__cells=[20]).run().rho.values[0]
        for low in (0.82, 0.32)
    )
    np.testing.assert_allclose(np.roll(through, 10), inside, atol=1e-12)
    with pytest.raises(CaseError, match="outside the mesh"):
        case(initial={"kind": "uniform", "lower": [0.5], "upper": [1.7]}).prepare()


@pytest.mark.parametrize("length", [1.0, 1.5, 2.2])
def test_a_box_longer_than_a_period_fills_the_axis_once(length):
    """Whatever it is along the others: here it takes 5/8 of each cell of the second row."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (5, 8), periodic=("x",)).build()
    share = box_share(mesh, np.array([0.3, 0.0]), np.array([0.3 + length, 1.625 / 8]))
    np.testing.assert_allclose(share.reshape(mesh.shape)[:3], np.array([1.0, 0.625, 0.0])[:, None] * np.ones(5))


def test_samples_lie_on_the_ring_wherever_they_are(tmp_path):
    at = np.array([-0.05, 0.98, 0.01, 2.4])
    np.save(tmp_path / "at.npy", at[:, None])
    np.save(tmp_path / "inside.npy", (at % 1)[:, None])
    for bandwidth in ("none", 0.07, 0.8):
        given = [
            case(initial={"kind": "samples", "file": str(tmp_path / name), "bandwidth": bandwidth}).run()
            for name in ("at.npy", "inside.npy")
        ]
        np.testing.assert_allclose(given[0].rho[0], given[1].rho[0], atol=1e-13)
        if bandwidth != "none":
            mesh = box((40,), ("x",))
            expected = sum(gaussian_density(mesh, np.array([x]), np.array([[bandwidth**2]]), "average") for x in at) / 4
            np.testing.assert_allclose(given[0].rho[0], expected, rtol=1e-11)


def test_absorbing_cells_act_through_the_seam():
    """Cells that absorb at an end of the box act as others of the same number in its middle."""
    ends, middle = (
        dataclasses.replace(
            case(
                RING.replace("periodic: [x]", "periodic: [x], ratio: [1]").replace("kind: box", "kind: graded"),
                absorbing={"where": where},
            ),
            initial=ArrayDensity(np.roll(np.linspace(1, 2, 40), roll)),
        ).run()
        for where, roll in (("x > 0.8", 0), ("abs(x - 0.5) < 0.1", -16))
    )
    np.testing.assert_allclose(ends.survival, middle.survival, rtol=1e-12)
    assert 0.1 < float(ends.survival[-1]) < 0.9


# W2 on the circle


def test_w2_on_the_circle_is_that_of_a_linear_program():
    """Of cells cut into atoms, whose cost differs by O(size^2) where cells are equal."""
    from scipy.optimize import linprog

    random = np.random.default_rng(3)
    for _ in range(3):
        first, second = random.integers(0, 3, size=(2, 6)) + np.array([[1] + [0] * 5, [0] * 5 + [1]])
        edges, cut = np.linspace(0.0, 1.0, 7), 8
        densities = [part / part.mean() for part in (first.astype(float), second.astype(float))]
        at = (np.arange(6 * cut) + 0.5) / (6 * cut)
        away = abs(at[:, None] - at)
        cost = np.minimum(away, 1 - away) ** 2
        masses = [np.repeat(part, cut) / (6 * cut) for part in densities]
        n = len(at)
        sums = np.concatenate([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
        found = linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate(masses))
        exact = distance_on_circle(edges, *densities)
        assert exact <= np.sqrt(found.fun) + 1 / (6 * cut)
        assert exact == pytest.approx(np.sqrt(found.fun), abs=1 / (6 * cut * np.sqrt(3)))


def test_w2_on_the_circle_does_not_know_where_it_is_cut():
    random = np.random.default_rng(5)
    edges = np.linspace(0.0, 3.0, 41)
    first, second = random.random((2, 40)) * (random.random((2, 40)) > 0.5)
    second *= first.sum() / second.sum()
    whole = distance_on_circle(edges, first, second)
    assert whole <= distance_1d(edges, first, second)
    assert distance_on_circle(edges, second, first) == pytest.approx(whole, rel=1e-13)
    for k in (1, 17, 30):
        rolled = distance_on_circle(edges, np.roll(first, k), np.roll(second, k))
        assert rolled == pytest.approx(whole, rel=1e-13)
    assert whole == pytest.approx(
        min(distance_1d(edges, np.roll(first, k), np.roll(second, k)) for k in range(40)), rel=0.1
    )
    assert distance_on_circle(edges, first, first) == 0.0


@pytest.mark.parametrize("steps", [1, 13, 20, 27])
def test_w2_of_a_narrow_density_and_its_rotation_is_the_angle(steps):
    """To the other side of the circle each half goes its own way, and both less far by half the width."""
    edges = np.linspace(0.0, 1.0, 41)
    first = np.zeros(40)
    first[[0, 1, 39]] = 40 / 3
    turned = distance_on_circle(edges, first, np.roll(first, steps))
    assert turned == pytest.approx((min(steps, 40 - steps) - 1.5 * (steps == 20)) / 40, rel=1e-13)


def test_geodesics_go_the_short_way_around_the_ring():
    """By `interior-point`: from both sides of the seam, order 2 in cells and intervals against the distance."""
    errors = []
    for cells in (20, 40):
        ds = case(
            mesh__cells=[cells],
            flow={"kind": "transport", "intervals": cells // 2, "solver": {"kind": "interior-point"}}
            | {"target": {"kind": "gaussian", "mean": [1.15], "covariance": [[0.005]]}},
            initial={"kind": "gaussian", "mean": [0.9], "covariance": [[0.005]]},
            times=None,
        ).run()
        exact = distance_on_circle(np.linspace(0, 1, cells + 1), *ds.rho.values[[0, -1]])
        assert float(ds.w2_upper) == pytest.approx(exact, rel=1e-9)
        assert 0.24 < exact < 0.25  # less than a rotation: some of the tail goes the other way around
        errors.append(abs(float(ds.w2_solver) - exact))
        middle = ds.rho.values[cells // 4]
        assert abs(np.angle((middle * np.exp(2j * np.pi * ds.x.values)).mean()) / (2 * np.pi) - 0.025) < 2e-3
        np.testing.assert_allclose(ds.v_x.values[cells // 4, [0, -1]], 0.25, rtol=0.1)  # beside the seam
    assert errors[1] < errors[0] / 2.5
    assert errors[1] < 2e-3


# Results


def test_results_reopen_with_their_axes(tmp_path, monkeypatch):
    from fvflow.cli import main

    monkeypatch.setenv("MPLBACKEND", "Agg")
    path = tmp_path / "ring.nc"
    wide = case(
        mesh={"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [12, 9], "periodic": ["y"]},
        flow__tilt=[0, 1.5],
        initial={"kind": "gaussian", "mean": [0.5, 0.9], "covariance": [[0.01, 0], [0, 0.01]]},
        output__fluxes=True,
    )
    wide.write(path)
    mesh = Ugrid(str(path)).build()
    assert mesh.periodic == (1,)
    again = fvflow.read(path)
    assert again.y.attrs["topology"] == "circular"
    assert "topology" not in again.x.attrs
    np.testing.assert_array_equal(again.owner, mesh.owner)
    for words in (["info", str(path)], ["plot", str(path), "-o", str(tmp_path / "ring.png")]):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(words)
    on_file = case(mesh={"kind": "ugrid", "file": str(path)}, flow__tilt=[0, 1.5]).replace(
        {"initial": {"kind": "file", "file": str(path), "time": 0}}
    )
    np.testing.assert_allclose(on_file.run().rho[-1], again.rho[-1], atol=1e-14)
    found = fvflow.wasserstein.distance(again, 0, -1, width=1e-2)
    assert 0 < found.lower <= found.upper


def test_the_distance_of_frames_on_a_ring_is_that_on_the_circle():
    ds = case(flow__epsilon=1e-3, flow__tilt=[4.0]).run()
    edges = np.linspace(0, 1, 41)
    found = fvflow.wasserstein.distance(ds, 0, -1)
    assert found.lower <= distance_on_circle(edges, *ds.rho.values[[0, -1]]) <= found.upper
    assert found.upper == pytest.approx(0.2, rel=0.1)  # 4.0 * 0.05, through the seam
    assert bounds_available(box((9, 9), ("x",)))


@pytest.mark.parametrize("stepper", ["tr-bdf2", "split-crank-nicolson", "muscl", "chebyshev", "ljko", "evbdf2"])
def test_resumed_runs_on_a_torus_are_those_that_were_not_stopped(stepper, tmp_path):
    torus = {"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [11, 8], "periodic": ["x", "y"]}
    flow = {"kind": "fokker-planck", "epsilon": 0.1, "potential": "cos(2*pi*(x - y))", "tilt": [1, 2]}
    if stepper in ("ljko", "evbdf2"):
        potential = {"kind": "potential", "potential": "cos(2*pi*(x - y))"}
        flow = {"kind": "gradient-flow", "energy": [{"kind": "entropy", "epsilon": 0.1}, potential]}
    changes = {
        "mesh": torus,
        "flow": flow | {"stepper": {"kind": stepper}},
        "initial": {"kind": "gaussian", "mean": [0, 0.9], "covariance": [[0.04, 0], [0, 0.04]]},
        "times": {"end": 0.1, "step": 0.01, "save": 0.04},
    }
    assert differences(Resumed(stepper, "", case(**changes), 7, 3), tmp_path) == []


def test_moments_say_what_they_are_on_a_ring():
    assert case().run()["mean"].attrs["long_name"].endswith("depends on where periodic axes are cut")
    assert (
        case(mesh__periodic=[], initial={"kind": "uniform"})
        .run()["mean"]
        .attrs["long_name"]
        .startswith("mean position; nan")
    )


def test_check_says_what_is_joined():
    found = case().check()
    assert "periodic along x" in found["mesh"]
    assert found["walls"] == "none: every axis is periodic"


# Refusals


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"mesh__periodic": ["y"]}, "there is no axis y in 1 dimension"),
        ({"mesh__periodic": ["w"]}, "mesh.periodic"),
        ({"mesh__cells": [2]}, "2 cells along x; a periodic axis needs at least 3"),
        ({"walls": {"left": "absorbing"}}, "axis x is periodic and has no wall named left"),
        ({"walls": {"rest": "absorbing"}}, "every axis is periodic, so that there are no walls"),
        (
            {"flow__potential": "x"},
            r"the potential at the upper end of axis x less that at the lower end is 1 at t = 0",
        ),
        ({"flow__potential": "cos(2*pi*x) + 1e-6*x"}, "upper end of axis x"),
        ({"flow__velocity": ["x"]}, "the velocity along x at the upper end"),
        ({"flow__tilt": [1.0, 2.0]}, "tilt has 2 entries in 1 dimensions"),
        ({"flow__tilt": ["a"]}, "expected a number"),
        ({"exact": {"kind": "tilted-box"}}, "exact tilted-box"),
        ({"exact": {"kind": "gibbs"}}, "gibbs needs epsilon > 0 and no drift other"),
        ({"exact": {"kind": "heat-box", "modes": [2]}, "initial": {"kind": "exact"}}, "is for the heat equation"),
        ({"flow__potential": "0.5*sin(2*pi*x)", "exact": {"kind": "gaussian"}}, "linear"),
        ({"exact": {"kind": "heat-box", "modes": [3]}, "initial": {"kind": "exact"}}, "give an even number"),
    ],
)
def test_refusals(changes, match):
    with pytest.raises(CaseError, match=match):
        case(**changes).prepare()


def test_flows_that_take_no_periodic_axis_say_so():
    for flow, match in (
        (
            {"kind": "hamilton-jacobi", "potential": "x"},
            "is 1 at t = 0.*both have to be the same",
        ),
        (
            {
                "kind": "gradient-flow",
                "energy": [{"kind": "entropy", "epsilon": 1}, {"kind": "interaction", "kernel": "r**2"}],
            },
            "the kernel r\\*\\*2 has not the period 1 of axis x",
        ),
    ):
        changes = {"flow": flow} | ({"times": None} if flow["kind"] == "transport" else {})
        with pytest.raises(CaseError, match=match):
            case(**changes).prepare()


def hamilton_jacobi(cells, potential, hamiltonian):
    axes = len(cells)
    mesh = {"kind": "box", "lower": [0] * axes, "upper": [1] * axes, "cells": cells, "periodic": ["x", "y"][:axes]}
    flow = {"kind": "hamilton-jacobi", "potential": potential, "hamiltonian": hamiltonian}
    return case(mesh=mesh, flow=flow, initial={"kind": "uniform"}, times={"end": 0.1, "step": 0.005}).run()


def test_hamilton_jacobi_on_a_ring_is_the_hopf_lax_formula():
    """Its nearest images included, at order 1; the same formula on three turns of the ring without a seam."""
    errors = [hamilton_jacobi([n], "0.3*cos(2*pi*x)", {"kind": "quadratic"}).attrs["hopf_lax"] for n in (50, 100, 200)]
    assert_order([4, 2, 1], errors, 1, 0.4)
    ring, turns = box((30,), ("x",)), Box((-1.0,), (2.0,), (90,)).build()
    phi = np.random.default_rng(3).normal(size=30)
    found = hopf_lax(ring, phi, 0.3)
    np.testing.assert_allclose(found, hopf_lax(turns, np.tile(phi, 3), 0.3)[30:60], atol=1e-14)


@pytest.mark.parametrize("hamiltonian", [{"kind": "quadratic"}, {"kind": "power", "exponent": 3}])
def test_hamilton_jacobi_does_not_know_where_the_ring_is_cut(hamiltonian):
    potential = "0.3*cos(2*pi*{0}) + 0.1*sin(2*pi*({0} + y))"
    one, other = (hamilton_jacobi([24, 20], potential.format(x), hamiltonian) for x in ("x", "(x - 0.25)"))
    for name in ("phi", "rho"):
        rolled = np.roll(one[name].values[-1], 6, axis=-1)
        np.testing.assert_allclose(other[name].values[-1], rolled, atol=1e-11)


def geodesic(means, solver, periodic, cells=16):
    axes = len(means[0])
    covariance = [[0.004 * (i == j) for j in range(axes)] for i in range(axes)]
    start, end = ({"kind": "gaussian", "mean": mean, "covariance": covariance} for mean in means)
    mesh = {"kind": "box", "lower": [0] * axes, "upper": [1] * axes, "cells": [cells] * axes, "periodic": periodic}
    flow = {"kind": "transport", "target": end, "intervals": 8, "solver": solver}
    return case(mesh=mesh, flow=flow, initial=start, times=None).run()


@pytest.mark.parametrize("scheme", ["face", "cell"])
def test_geodesics_by_transforms_go_the_short_way_around_the_ring(scheme):
    run = geodesic([[0.9], [0.15]], {"kind": "primal-dual", "scheme": scheme}, ["x"], 32)
    assert run.attrs["w2_solver"] == pytest.approx(run.attrs["w2"], rel=1e-2)  # the exact one of the circle
    assert run.attrs["w2"] == pytest.approx(0.25, rel=1e-2)
    assert run.attrs["continuity"] <= 1e-13


@pytest.mark.parametrize("periodic", [["x"], ["y"], ["x", "y"]])
def test_both_solvers_of_transport_agree_on_tori(periodic):
    """The interior point needs no transforms."""
    means = [[0.9 if "x" in periodic else 0.6, 0.8 if "y" in periodic else 0.5], [0.3, 0.3]]
    solvers = {"kind": "primal-dual"}, {"kind": "interior-point", "tolerance": 1e-7}
    by_transforms, by_newton = (geodesic(means, solver, periodic) for solver in solvers)
    assert by_transforms.attrs["w2_solver"] == pytest.approx(by_newton.attrs["w2_solver"], rel=2e-5)
    for run in (by_transforms, by_newton):
        assert run.attrs["w2_lower"] <= run.attrs["w2"] <= run.attrs["w2_upper"] <= 1.01 * run.attrs["w2_lower"]
    assert by_transforms.attrs["hamilton_jacobi_excess"] <= 1e-3
    assert float(by_transforms.rho.min()) >= 0


def test_round_off_is_no_jump():
    case(flow__potential="sin(x)**2 + cos(x)**2").prepare()
    case(flow__potential="1e9 + cos(2*pi*x)").prepare()


def test_a_gradient_flow_refuses_a_potential_that_jumps():
    flow = {"kind": "gradient-flow", "energy": [{"kind": "entropy", "epsilon": 1}]}
    flow["energy"].append({"kind": "potential", "potential": "x**2"})
    with pytest.raises(CaseError, match="upper end of axis x less that at the lower end is 1 "):
        case(flow=flow).prepare()


def test_a_potential_that_begins_to_jump_ends_the_run():
    with pytest.raises(NumericsError, match=r"the potential at the upper end .* at t = 0.025"):
        case(flow__potential="(t > 0.025)*x").run()


def test_stream_functions_may_differ_by_a_constant():
    mesh = box((8, 8), ("x", "y"))

    def fluxes(stream):
        return FokkerPlanck(mesh, drift(stream=stream), 0.1, ScharfetterGummel()).coefficients(0.0)

    down, up = fluxes("x + 2*y + sin(2*pi*x)*cos(pi*y)")
    np.testing.assert_allclose(divergence(mesh, down - up), 0, atol=1e-14)
    with pytest.raises(CaseError, match=r"stream function at the upper end of axis x less .* varies by 2 at t = 0"):
        fluxes("x*y")


def test_a_python_drift_has_to_go_on_through_the_seam_too():
    mesh = box((8, 8), ("x",))
    wind = DriftFunction(lambda at, time: np.stack([np.ones(len(at)), at[:, 0]], axis=1))
    FokkerPlanck(mesh, wind, 0.0, Upwind()).coefficients(0.0)
    jumping = DriftFunction(lambda at, time: np.stack([at[:, 0], at[:, 0]], axis=1))
    with pytest.raises(CaseError, match="the velocity along x at the upper end"):
        FokkerPlanck(mesh, jumping, 0.0, Upwind()).coefficients(0.0)


def test_exact_gaussian_on_a_cylinder_needs_a_drift_that_does_not_depend_on_the_angle():
    cylinder = {
        "mesh": {"kind": "box", "lower": [0, -3], "upper": [1, 3], "cells": [20, 60], "periodic": ["x"]},
        "initial": {"kind": "gaussian", "mean": [0.5, 0.3], "covariance": [[0.01, 0], [0, 0.2]]},
        "exact": {"kind": "gaussian"},
    }
    flow = {"kind": "fokker-planck", "epsilon": 0.1, "velocity": ["1 + 0.5*y", "-y"], "stepper": {"kind": "chebyshev"}}
    assert float(case(**cylinder, flow=flow, times={"end": 0.4, "step": 0.1}).run().error_l1[-1]) < 0.02
    with pytest.raises(CaseError, match="does not depend on x"):
        case(**cylinder, flow=flow | {"velocity": ["1", "x"]}).prepare()
    later = flow | {"velocity": ["1", "(t > 0.1)*x"], "stepper": {"kind": "tr-bdf2"}}
    with pytest.raises(CaseError, match="does not depend on x"):
        case(**cylinder, flow=later, times={"end": 0.4, "step": 0.1}).run()


def test_a_diffusion_that_jumps_at_the_seam_is_told():
    diffusion = {"value": "1 + x", "convention": "isothermal"}
    changes = {"flow": {"kind": "fokker-planck", "diffusion": diffusion}}
    told = "diffusion 1 + x is 1 at the lower end of axis x and 2 at the upper end: it is taken to jump where"
    case = Case.parse(RING).replace(changes)
    assert told in case.check()["seam"]
    assert told in case.run().attrs["remarks"]
    smooth = case.replace({"flow.diffusion.value": "2 + sin(2*pi*x)"})
    assert "seam" not in smooth.check()
    assert "jump" not in smooth.run().attrs["remarks"]
