"""Steady states and slowest modes without steps in time: against Gibbs, long times, elimination, closed forms."""

import copy
import json
import math
import tempfile
from itertools import pairwise

import meshio
import numpy as np
import pytest
from scipy.integrate import quad

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError, OutputError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel, Upwind
from fvflow.linalg import FaceMatrix, divergence
from fvflow.linalg.markov import general_spectrum
from fvflow.linalg.markov import gth as kernels
from fvflow.linalg.markov.detailed_balance import detailed_balance_root, tree_products
from fvflow.linalg.markov.gth import null_vector
from fvflow.linalg.markov.spectrum import slowest_modes
from fvflow.linalg.markov.stationary import iterative_null_vector, stationary_density
from fvflow.mesh import Box, Mesh
from fvflow.problems import FokkerPlanck
from tests.contracts import assert_order
from tests.scenes import final

POTENTIALS = {1: "(x**2 - 1)**2", 2: "(x**2 - 1)**2 + y**2 + 0.3*x*y", 3: "(x**2 - 1)**2 + y**2 + 0.3*x*y + z**2"}


def case(dimension, cells, flow, half=2.0, **rest) -> Case:
    box = {"kind": "box", "lower": [-half] * dimension, "upper": [half] * dimension, "cells": [cells] * dimension}
    return Case.parse(json.dumps({"mesh": box, "flow": flow, "initial": {"kind": "uniform"}, **rest}))


def density(case):
    prepared, state, figures = final(case)
    return prepared, state.density, figures


def generator(mesh, potential=None, velocity=None, epsilon=0.3, flux=None) -> FaceMatrix:
    drift = Drift(
        None if potential is None else Expression(potential),
        None if velocity is None else tuple(Expression(part) for part in velocity),
    )
    return FokkerPlanck(mesh, drift, epsilon, flux or ScharfetterGummel()).matrix(0.0, 1.0)


def box(dimension, cells, half=2.0) -> Mesh:
    return Box((-half,) * dimension, (half,) * dimension, (cells,) * dimension).build()


def random_chain(cells, seed, faces=None) -> FaceMatrix:
    """Rates over ten decades on a connected random graph, out of balance."""
    random = np.random.default_rng(seed)
    pairs = {(int(random.integers(0, j)), j) for j in range(1, cells)}
    while len(pairs) < (faces or 3 * cells):
        i, j = sorted(random.choice(cells, 2, replace=False).tolist())
        pairs.add((i, j))
    owner, neighbour = np.array(sorted(pairs), np.int32).T
    rates = 10.0 ** random.uniform(-5, 5, (2, len(owner)))
    return FaceMatrix(random.random(cells) + 0.1, owner, neighbour, *rates)


# the steady state


@pytest.mark.parametrize(("epsilon", "spread"), [(1.0, 1e-3), (0.1, 1e-37), (0.02, 1e-190)])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_gradient_drift_ends_in_gibbs(dimension, epsilon, spread):
    """To 1e-12 in every cell, however small it is there."""
    flow = {"kind": "stationary", "epsilon": epsilon, "potential": POTENTIALS[dimension]}
    prepared, found, figures = density(case(dimension, {1: 500, 2: 60, 3: 20}[dimension], flow))
    exponent = -prepared.problem.energy(0.0).terms[1].potential / epsilon
    gibbs = np.exp(exponent - exponent.max())
    gibbs /= prepared.mesh.volume @ gibbs
    assert gibbs.min() < spread * gibbs.max()
    seen = gibbs > 1e-290
    np.testing.assert_allclose(found[seen], gibbs[seen], rtol=1e-12)
    assert figures["mass_drift"] <= 1e-14
    assert figures["residual"] <= 1e-14


def test_elimination_finds_gibbs_too():
    """Where it is not needed, it can be checked: two wells that exchange mass once in 1e20 relaxation times."""
    mesh = box(2, 48)
    matrix = generator(mesh, "4*(x**2 - 1)**2 + y**2 + 0.2*x", epsilon=0.08)
    root = detailed_balance_root(matrix)
    np.testing.assert_allclose(null_vector(matrix), root**2, rtol=1e-11)
    assert root.min() ** 2 < 1e-150


def test_elimination_against_a_dense_null_vector():
    for seed in range(5):
        matrix = random_chain(40, seed)
        x = null_vector(matrix)
        moved = matrix.down * x[matrix.owner] - matrix.up * x[matrix.neighbour]
        traffic = matrix.down * x[matrix.owner] + matrix.up * x[matrix.neighbour]
        assert np.abs(divergence(matrix, moved)).max() <= 1e-14 * traffic.max()
        dense = np.zeros((40, 40))
        np.add.at(dense, (matrix.neighbour, matrix.owner), matrix.down)
        np.add.at(dense, (matrix.owner, matrix.neighbour), matrix.up)
        np.testing.assert_allclose(x, grassmann(dense), rtol=1e-12)


def grassmann(rate):
    """The algorithm of Grassmann, Taksar and Heyman on a dense matrix of rates from column to row."""
    rate, pivot, count = rate.copy(), np.ones(len(rate)), len(rate)
    for j in range(count - 1):
        pivot[j] = rate[j + 1 :, j].sum()
        rate[j + 1 :, j + 1 :] += np.outer(rate[j + 1 :, j] / pivot[j], rate[j, j + 1 :])
    x = np.ones(count)
    for j in range(count - 2, -1, -1):
        x[j] = rate[j, j + 1 :] @ x[j + 1 :] / pivot[j]
    return x / x.max()


def test_compiled_kernels_equal_their_python():
    matrix = random_chain(30, 7)
    first, row, rate, order = kernels._columns(matrix)
    parent, start, below = kernels.structure(first, row)
    pivot, column, reach, upper, _ = kernels.schur_reduce(first, row, rate, np.zeros(30), parent, start, below)
    x = np.empty(30)
    x[order] = kernels.back_substitute(pivot, column, reach, upper)
    np.testing.assert_allclose(null_vector(matrix), x / x.max(), rtol=1e-14)
    tree = np.array([0, 2, 1]), np.array([-1, 2, 0]), np.array([1.0, 3.0, 0.5])
    np.testing.assert_allclose(tree_products(*tree), [2 / 3, 1.0, 1 / 3], rtol=1e-15)


@pytest.mark.parametrize("flux", ["upwind", "centred", "scharfetter-gummel", "square-root"])
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_it_is_where_implicit_euler_ends(dimension, flux):
    velocity = {1: ["x - x**3"], 2: ["-x - y", "x - y"], 3: ["-x - y", "x - y", "-z + 0.3*x*y"]}[dimension]
    flow = {"kind": "stationary", "epsilon": 0.5, "velocity": velocity, "flux": {"kind": flux}}
    direct = case(dimension, {1: 60, 2: 24, 3: 16}[dimension], flow, 1.5)
    marched = direct.replace({"flow": {**flow, "kind": "fokker-planck"}, "times": {"end": 6000.0, "step": 100.0}})
    one, other = density(direct)[1], density(marched)[1]
    np.testing.assert_allclose(one, other, atol=1e-12 * one.max())
    assert one.min() > 0


def test_iteration_agrees_with_elimination():
    matrix = generator(box(3, 18), None, ["-x - 3*y + sin(z)", "3*x - y", "-z + 0.3*x*y"], 0.2)
    x, count = iterative_null_vector(matrix)
    exact = null_vector(matrix)
    assert np.abs(x / x.sum() - exact / exact.sum()).sum() <= 1e-11
    assert x.min() > 0
    assert count < 60, "no iterations are spent on residuals that are round-off"


def test_iteration_refuses_what_round_off_hides():
    """Wells that exchange mass once in 1e17 relaxation times: elimination shares it, an iteration refuses."""
    mesh = box(3, 12, 3.5)
    drift = Drift(Expression("(x**2 - 4)**2/4 + y**2 + z**2"), tuple(map(Expression, ("0.5*y", "-0.5*x", "0.1*x*y"))))
    matrix = FokkerPlanck(mesh, drift, 0.08, ScharfetterGummel()).matrix(0.0, 1.0)
    with pytest.raises(NumericsError, match="two starts of the iteration"):
        iterative_null_vector(matrix)
    assert stationary_density(matrix, mesh.components, np.ones(1), 3).residual <= 1e-14


def test_rotation_along_level_sets_keeps_gibbs():
    """-grad V + (d_y f(V), -d_x f(V)) has the steady state exp(-V/eps); found to second order, not in balance."""
    errors = []
    for cells in (32, 64, 128):
        ring = "(x**2 + y**2 - 1)**2"
        flow = {"kind": "stationary", "epsilon": 0.3, "potential": ring, "stream": f"2*exp(-{ring})"}
        rotating = case(2, cells, flow, output={"fluxes": True})
        prepared, found, figures = density(rotating)
        value = prepared.problem.drift.cell_potential(prepared.mesh, 0.0)
        gibbs = np.exp(-value / 0.3)
        gibbs /= prepared.mesh.volume @ gibbs
        errors.append(float(prepared.mesh.volume @ np.abs(found - gibbs)))
        assert figures["residual"] <= 1e-14
        assert np.abs(prepared.problem.flux(found, 0.0)).max() > 1e-3, "mass flows in circles"
    assert_order(1 / np.array([32, 64, 128]), errors, 2.0, 0.15)


def test_a_voronoi_mesh():
    """On a Voronoi mesh: the end of implicit Euler, and the slowest cosines of the square at the rate pi^2."""
    polygon = [[0, 0], [1, 0], [1, 1], [0, 1]]
    mesh = {"kind": "voronoi", "polygon": polygon, "cells": [16, 16]}
    flow = {"kind": "stationary", "epsilon": 0.2, "velocity": ["0.5 - x - y", "x - y"]}
    direct = case(2, 4, flow).replace({"mesh": mesh})
    marched = direct.replace({"flow": {**flow, "kind": "fokker-planck"}, "times": {"end": 3000.0, "step": 100.0}})
    np.testing.assert_allclose(density(direct)[1], density(marched)[1], rtol=1e-11)
    figures = density(direct.replace({"flow": {"kind": "spectrum", "epsilon": 1.0, "count": 3}}))[2]
    expected = math.pi**2 * np.array([1, 1, 2])
    np.testing.assert_allclose([figures[f"rate_{n}"] for n in (1, 2, 3)], expected, rtol=0.02)


def two_boxes(one: FaceMatrix | None = None) -> FaceMatrix:
    """Two graphs with nothing between them, by default two lines of cells with one well each."""
    one = one or generator(box(1, 20), "x**2")
    ends = (np.concatenate([part, part + len(one.volume)]).astype(np.int32) for part in (one.owner, one.neighbour))
    rates = (np.concatenate([part, part]) for part in (one.down, one.up))
    return FaceMatrix(np.concatenate([one.volume, one.volume]), *ends, *rates)


def counting(counts):
    return lambda count, error, iterate: counts.append(count)


def test_an_iteration_goes_on_from_every_iterate_in_every_part(monkeypatch):
    monkeypatch.setattr("fvflow.linalg.markov.stationary.LARGEST_ELIMINATION", 0)
    one = generator(box(3, 8), None, ["-x - 3*y + sin(z)", "3*x - y", "-z + 0.3*x*y"])
    matrix, parts, masses = two_boxes(one), np.repeat([0, 1], 8**3).astype(np.int32), np.array([0.25, 3.0])
    passed = []
    whole = stationary_density(matrix, parts, masses, 3, lambda *given: passed.append(copy.deepcopy(given)))
    assert {iterate["part"] for _, _, iterate in passed} == {iterate["second"] for _, _, iterate in passed} == {0, 1}
    for index, (_, _, iterate) in enumerate(passed):
        again = []
        found = stationary_density(matrix, parts, masses, 3, counting(again), iterate)
        assert np.array_equal(found.density, whole.density)
        assert found.iterations == whole.iterations
        assert again == [count for count, _, _ in passed[index:]]
    for name, value in {"part": 2, "second": 2, "round": 30, "x": iterate["x"][1:], "count": 1.0, "more": 0}.items():
        with pytest.raises(OutputError, match="does not hold an iterate of this problem"):
            stationary_density(matrix, parts, masses, 3, None, {**iterate, name: value})


def test_each_connected_part_keeps_its_mass():
    matrix, parts = two_boxes(), np.repeat([0, 1], 20).astype(np.int32)
    found = stationary_density(matrix, parts, np.array([0.25, 3.0]), 1)
    np.testing.assert_allclose(np.bincount(parts, matrix.volume * found.density), [0.25, 3.0], rtol=1e-14)
    np.testing.assert_allclose(found.density[20:] / found.density[:20], 12.0, rtol=1e-12)


def test_wells_without_exchange_are_refused():
    flow = {"kind": "stationary", "epsilon": 1e-4, "potential": "(x**2 - 1)**2"}
    with pytest.raises(NumericsError, match="as no mass leaves any of 2 sets of cells: the drift is so steep"):
        density(case(1, 20, flow))
    one_well = density(case(1, 20, {**flow, "potential": "x**2"}))
    assert one_well[2]["residual"] <= 1e-14
    assert one_well[1].min() == 0, "cells that mass leaves for good are empty"


# the spectrum


def gap_of(cells, half=4.8, flow=None):
    base = {"kind": "spectrum", "epsilon": 1.0, "potential": "0.5*x**2 + 1.2*y**2", "count": 2}
    return density(case(2, cells, {**base, **(flow or {})}, half))[2]


def test_the_gap_of_an_ornstein_uhlenbeck_process():
    """The smallest curvature, to 1e-3 on 128 x 128 cells, and second order."""
    gaps = np.array([gap_of(cells)["spectral_gap"] for cells in (32, 64, 128)])
    assert abs(gaps[-1] - 1.0) <= 1e-3
    assert_order(1 / np.array([32, 64, 128]), np.abs(gaps - 1.0), 2.0, 0.15)


def test_the_modes_of_an_ornstein_uhlenbeck_process_are_hermite():
    """mode_n/rho = He_n(x)/sqrt(n!) in the mean square of rho, to fourth order even; the rate n to second."""
    errors, rates = [], []
    for cells in (100, 200, 400):
        flow = {"kind": "spectrum", "epsilon": 1.0, "potential": "0.5*x**2", "count": 4}
        prepared, state, figures = final(case(1, cells, flow, 9.0))
        x, volume = prepared.mesh.centre[:, 0], prepared.mesh.volume
        rates.append([figures[f"rate_{n}"] for n in range(1, 5)])
        off = []
        for n in range(1, 5):
            eigenfunction = state.fields[f"mode_{n}"] / state.density
            hermite = np.polynomial.hermite_e.hermeval(x, np.eye(5)[n]) / math.sqrt(math.factorial(n))
            sign = np.sign(volume @ (state.density * eigenfunction * hermite))
            off.append(math.sqrt(volume @ (state.density * (eigenfunction - sign * hermite) ** 2)))
            assert abs(volume @ state.fields[f"mode_{n}"]) <= 1e-12
        errors.append(off)
    for n in range(4):
        assert_order([1, 0.5, 0.25], [row[n] for row in errors], 4.0, 0.15)
        assert_order([1, 0.5, 0.25], [abs(row[n] - n - 1) for row in rates], 2.0, 0.15)


@pytest.mark.parametrize("epsilon", [0.1, 0.05, 0.03])
def test_two_wells_exchange_mass_at_the_rate_of_kramers(epsilon):
    """The inverse mean first-passage time by quadrature, down to 5e-22: far below the round-off of the matrix."""
    hill, width = 1.5, math.sqrt(epsilon / 12)

    def weight(x, sign):
        return math.exp(sign * (hill * (x * x - 1) ** 2 - hill * (sign > 0)) / epsilon)

    well, top = [1 - 3 * width, 1.0, 1 + 3 * width], [-3 * width, 0.0, 3 * width]
    inner = quad(weight, 0, 2.5, (-1,), points=well, limit=400, epsabs=0)[0]
    outer = quad(weight, -1, 1, (1,), points=top, limit=400, epsabs=0)[0]
    expected = 2 * epsilon / (inner * outer) * math.exp(-hill / epsilon)
    flow = {"kind": "spectrum", "epsilon": epsilon, "potential": f"{hill}*(x**2 - 1)**2", "count": 2}
    figures = density(case(1, 800, flow))[2]
    assert figures["spectral_gap"] == pytest.approx(expected, rel=1e-3)  # passage is exponential to e^(-hill/epsilon)
    assert figures["gap_error"] <= 1e-2
    assert figures["rate_2"] > 1


def test_a_gap_lost_in_round_off_is_reported():
    """Of 7e-33 round-off leaves nothing, and the result says so."""
    flow = {"kind": "spectrum", "epsilon": 0.02, "potential": "1.5*(x**2 - 1)**2", "count": 2}
    lost = case(1, 800, flow, checks={"gap_error": 0.01})
    figures = density(lost)[2]
    assert figures["gap_error"] > 0.9
    assert lost.checks.missed(figures)[0].name == "gap_error"


def test_a_perturbation_decays_as_its_mode_says():
    flow = {"kind": "spectrum", "epsilon": 0.3, "potential": POTENTIALS[2], "count": 3}
    prepared, state, figures = final(case(2, 40, flow))
    matrix = prepared.problem.matrix(0.0, 1.0)
    for n in range(1, 4):
        mode = state.fields[f"mode_{n}"]
        leaving = divergence(matrix, prepared.problem.flux(mode, 0.0))
        expected = figures[f"rate_{n}"] * prepared.mesh.volume * mode
        np.testing.assert_allclose(leaving, expected, atol=1e-9 * np.abs(expected).max() + 1e-12)


def test_all_three_solvers_find_the_same_modes():
    mesh = box(3, 6)
    matrix = generator(mesh, "x**2 + 0.7*y**2 + 0.4*z**2 + 0.3*x*y", epsilon=0.5)
    root = detailed_balance_root(matrix)
    dense = slowest_modes(matrix, root, mesh.components, 4, True)
    rates = np.linalg.eigvals(np.diag(1 / matrix.volume) @ (matrix.sparse().toarray() - np.diag(matrix.volume)))
    np.testing.assert_allclose(dense.rates, np.sort(rates.real)[1:5], rtol=1e-10)
    finer = box(3, 12)
    matrix = generator(finer, "x**2 + 0.7*y**2 + 0.4*z**2 + 0.3*x*y", epsilon=0.5)
    root = detailed_balance_root(matrix)
    one, other = (slowest_modes(matrix, root, finer.components, 4, direct) for direct in (True, False))
    np.testing.assert_allclose(one.rates, other.rates, rtol=1e-10)
    np.testing.assert_allclose(np.abs((one.vectors * other.vectors).sum(axis=1)), 1.0, rtol=1e-9)


def test_modes_of_a_mesh_in_parts():
    """Both parts have their own steady state, and each of their modes comes twice."""
    matrix, parts = two_boxes(), np.repeat([0, 1], 20).astype(np.int32)
    half = detailed_balance_root(generator(box(1, 20), "x**2"))
    found = slowest_modes(matrix, np.concatenate([half, half]), parts, 4, True)
    np.testing.assert_allclose(found.rates[::2], found.rates[1::2], rtol=1e-10)
    assert found.rates[0] > 0.5


def test_densities_beyond_all_doubles():
    flow = {"kind": "spectrum", "epsilon": 0.01, "potential": "2*x**2", "count": 2}
    _, state, figures = final(case(1, 400, flow, 3.0))
    assert state.density.min() == 0
    assert all(np.isfinite(part).all() for part in state.fields.values())
    assert figures["spectral_gap"] == pytest.approx(4.0, rel=2e-2)


# out of balance


def rotating(cells, **flow):
    base = {"kind": "spectrum", "epsilon": 1.0, "potential": "0.5*x**2 + 0.5*y**2", "stream": "0.75*(x**2 + y**2)"}
    return final(case(2, cells, {**base, "count": 5, **flow}, 5.0))


def rates_of(figures, count=5):
    return np.array([complex(figures[f"rate_{i}"], figures[f"frequency_{i}"]) for i in range(1, count + 1)])


def test_rates_of_a_rotating_trap():
    """m + n + i w (m - n), to second order: two complex pairs, and the radial mode between them."""
    exact = np.array([1 + 1.5j, 1 - 1.5j, 2, 2 + 3j, 2 - 3j])
    errors = np.array([np.abs(rates_of(rotating(cells)[2]) - exact) for cells in (32, 64, 128)])
    for off in errors.T:
        assert_order([1, 0.5, 0.25], off, 2.0, 0.15)
    assert errors[-1].max() <= 6e-3


def test_modes_of_a_rotating_trap_turn_as_they_decay():
    """A (m + i n) = (rate + i frequency) (m + i n), scaled together to the mass, and without any mass."""
    prepared, state, figures = rotating(40)
    volume = prepared.mesh.volume
    first, second = state.fields["mode_1"], state.fields["mode_2"]
    for i, pair in ((1, (first, second)), (3, (state.fields["mode_3"], 0 * first))):
        rate = complex(figures[f"rate_{i}"], figures[f"frequency_{i}"])
        image = [divergence(prepared.mesh, prepared.problem.flux(part, 0.0)) for part in pair]
        expected = rate * volume * (pair[0] + 1j * pair[1])
        np.testing.assert_allclose(image[0] + 1j * image[1], expected, atol=1e-11 * np.abs(expected).max())
        assert volume @ ((pair[0] ** 2 + pair[1] ** 2) / state.density) == pytest.approx(1.0, rel=1e-12)
        assert abs(volume @ pair[0]) + abs(volume @ pair[1]) <= 1e-12
    assert volume @ (first * second / state.density) == pytest.approx(0.0, abs=1e-12)
    assert figures["gap_error"] <= 1e-11


def test_both_solvers_find_the_same_complex_modes(monkeypatch):
    dense = rotating(16)
    monkeypatch.setattr(general_spectrum, "LARGEST_DENSE", 0)
    sparse = rotating(16)
    np.testing.assert_allclose(rates_of(dense[2]), rates_of(sparse[2]), rtol=1e-11)
    for name in ("mode_1", "mode_2", "mode_3"):
        one, other = (found[1].fields[name] for found in (dense, sparse))
        apart = min(np.abs(one - other).max(), np.abs(one + other).max())
        if name == "mode_3":  # a pair may come with any phase, as the trap is round
            assert apart <= 1e-9 * np.abs(one).max()
    assert sparse[1].iterations > 0


def test_real_rates_out_of_balance():
    """Upwind fluxes of a potential: no detailed balance in two dimensions, rates that are nearly those of balance."""
    flow = {"flux": {"kind": "upwind"}, "stream": None, "potential": "0.5*x**2 + y**2 + 0.3*x*y", "count": 2}
    upwind = rotating(48, **flow)[2]
    slowest = np.linalg.eigvalsh(np.array([[1, 0.3], [0.3, 2]]))[0]
    np.testing.assert_allclose(rates_of(upwind, 2), [slowest, 2 * slowest], rtol=0.1)


def test_a_gap_in_a_wind_lost_in_round_off_is_reported():
    flow = {"epsilon": 0.02, "potential": "1.5*(x**2 - 1)**2 + y**2", "stream": "0.1*(x**2 + y**2)", "count": 2}
    figures = final(case(2, 40, {"kind": "spectrum", **flow}, 1.5))[2]
    assert figures["gap_error"] > 0.9


def test_an_empty_cell_is_refused_out_of_balance():
    flow = {"kind": "spectrum", "epsilon": 0.005, "potential": "x**2 + y**2", "stream": "0.01*(x**2 + 2*y**2)"}
    with pytest.raises(NumericsError, match="below all doubles in"):
        final(case(2, 12, flow))


# cases and results


@pytest.mark.parametrize("kind", ["stationary", "spectrum"])
def test_no_initial_density_is_needed(kind):
    """Without one the mass is 1, and a density that is given counts by its mass only."""
    flow = {"kind": kind, "epsilon": 0.3, "potential": POTENTIALS[2]}
    given = case(
        2,
        16,
        flow,
        initial={"kind": "gaussian", "mean": [0.2, 0], "covariance": [[1, 0], [0, 1]], "mass": 3, "truncate": 0.5},
    )
    bare = given.replace({"initial": None})
    assert "initial" not in bare.values
    one, three = density(bare), density(given)
    assert one[0].mesh.volume @ one[1] == pytest.approx(1.0, rel=1e-15)
    np.testing.assert_allclose(3 * one[1], three[1], rtol=1e-13)
    assert one[2].get("rate_1") == three[2].get("rate_1")
    assert bare.check()["steps"] == "none, 1 frame"


def test_parts_of_a_mesh_share_the_mass_by_their_size():
    """Two triangles of areas 2 and 1/2, apart from each other, each cut into sixteen."""
    points = np.array([[0, 0], [2, 0], [1, 2], [5, 0], [6, 0], [5.5, 1]])
    with tempfile.TemporaryDirectory() as folder:
        meshio.write_points_cells(f"{folder}/two.msh", points, [("triangle", [[0, 1, 2], [3, 4, 5]])])
        mesh = {"kind": "meshio", "file": f"{folder}/two.msh", "refinements": 2}
        flow = {"kind": "stationary", "epsilon": 1, "potential": "y"}
        ds = Case.parse(json.dumps({"mesh": mesh, "flow": flow})).run()
    right = ds.mesh_face_x.values > 4
    assert (ds.rho[0] * ds.cell_area).values[right].sum() == pytest.approx(0.2, rel=1e-13)


@pytest.mark.parametrize("flow", ["{kind: fokker-planck, epsilon: 1}", "{kind: hamilton-jacobi, potential: x}"])
def test_flows_in_time_need_one(flow):
    text = f"mesh: {{kind: box, lower: [0], upper: [1], cells: [4]}}\nflow: {flow}\ntimes: {{end: 1, step: 1}}\n"
    with pytest.raises(CaseError, match=r"^f\.yaml:1:1: initial: is missing"):
        Case.parse(text, "f.yaml")


def test_the_result_holds_modes_and_rates(tmp_path):
    flow = {"kind": "spectrum", "epsilon": 0.5, "potential": POTENTIALS[2], "count": 2}
    spectrum = case(2, 20, flow, exact={"kind": "gibbs"}, checks={"error_l1": 1e-12, "residual": 1e-12})
    figures = spectrum.write(tmp_path / "r.nc")
    assert spectrum.checks.missed(figures) == []
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.sizes["time"] == 1
        assert ds.mode_2.dims == ("time", "y", "x")
        assert float(ds.rate_1) == float(ds.spectral_gap) == ds.attrs["rate_1"] == figures["rate_1"]
        assert "mode_2" in ds.rate_2.long_name
    assert 'Name="mode_2"' in (tmp_path / "r.xmf2").read_text()
    same = spectrum.run()
    assert float(same.rate_2) == figures["rate_2"]


def test_reports_mention_no_time_steps():
    report = case(2, 20, {"kind": "stationary", "epsilon": 0.5, "potential": POTENTIALS[2]}).check()
    assert report["steps"] == "none, 1 frame"
    assert report["positivity"] == "unconditional"
    assert "time" not in report


@pytest.mark.parametrize(
    ("flow", "rest", "told"),
    [
        ({"kind": "stationary", "epsilon": 0, "potential": "x**2"}, {}, "expected a number > 0, got 0"),
        ({"kind": "stationary", "epsilon": 1, "potential": "x**2*t"}, {}, "unknown name t"),
        ({"kind": "stationary", "epsilon": 1}, {"times": {"end": 1, "step": 1}}, "remove times"),
        ({"kind": "stationary", "epsilon": 1}, {"exact": {"kind": "gaussian"}}, "compared with"),
        ({"kind": "stationary", "epsilon": 1e-3, "potential": "x**2", "flux": {"kind": "centred"}}, {}, "not monotone"),
        ({"kind": "spectrum", "epsilon": 1, "count": 64}, {}, "has 63 modes that decay"),
        ({"kind": "spectrum", "epsilon": 1, "count": 0}, {}, "expected a number >= 1"),
        (
            {"kind": "fokker-planck", "epsilon": 1},
            {"checks": {"residual": 1}},
            "checks.residual: is for flows stationary, spectrum",
        ),
        ({"kind": "stationary", "epsilon": 1}, {"checks": {"gap_error": 1}}, "is for flow spectrum"),
    ],
)
def test_refusals(flow, rest, told):
    with pytest.raises(CaseError, match=told):
        case(2, 8, flow, **rest).prepare()


def test_upwind_on_a_line_is_in_balance_too():
    """Any chain is: modes of upwind fluxes, first order, from above and below."""
    gaps = [
        density(
            case(1, n, {"kind": "spectrum", "epsilon": 1, "potential": "0.5*x**2", "flux": {"kind": "upwind"}}, 6.0)
        )[2]["spectral_gap"]
        for n in (100, 200, 400)
    ]
    assert all(abs(b - 1) < 0.6 * abs(a - 1) for a, b in pairwise(gaps))
    assert detailed_balance_root(generator(box(2, 12), "x**2*y**2 + x", flux=Upwind())) is None


@pytest.mark.parametrize("seed", range(4))
def test_cells_that_mass_leaves_for_good_are_empty_in_the_end(seed):
    """A random chain of 30 cells, from 10 of which, anywhere in the order, mass only goes to the others."""
    chain = random_chain(30, seed)
    transient = np.zeros(30, bool)
    transient[np.random.default_rng(seed + 50).choice(30, 10, replace=False)] = True
    down = np.where(~transient[chain.owner] & transient[chain.neighbour], 0.0, chain.down)
    up = np.where(~transient[chain.neighbour] & transient[chain.owner], 0.0, chain.up)
    other = np.flatnonzero(~transient)
    ring = np.sort(np.stack([other, np.roll(other, 1)]), axis=0)  # so that the others are all connected
    matrix = FaceMatrix(
        chain.volume,
        np.concatenate([chain.owner, ring[0]]).astype(np.int32),
        np.concatenate([chain.neighbour, ring[1]]).astype(np.int32),
        np.concatenate([down, np.ones(len(other))]),
        np.concatenate([up, np.ones(len(other))]),
    )
    found = stationary_density(matrix, np.zeros(30, np.int32), np.ones(1), 2)
    assert (found.density[transient] == 0).all()
    assert (found.density[~transient] > 0).all()
    assert matrix.volume @ found.density == pytest.approx(1.0, rel=1e-13)
    assert found.residual <= 1e-13


def test_diffusion_out_of_balance_is_told_and_needs_memory():
    """By axes, or with a drift that is not proportional to it, it need not be in detailed balance."""

    def prepared(diffusion, rest=""):
        box = "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [80, 80]}\n"
        case = Case.parse(f"{box}flow: {{kind: spectrum, diffusion: {{{diffusion}}}{rest}}}")
        extent = case.flow.graph_extent(case.prepare().mesh.extent)
        return case.flow.memory(extent), "out of balance" in case.flow.describe(extent)

    least, told = prepared("value: 1 + x, convention: ito")
    assert not told
    for same in (
        ("value: [1 + x*y, 1], convention: isothermal",),
        ("value: 1 + x, temperature: 1, convention: ito", ", potential: y"),
    ):
        assert prepared(*same) == (least, False)
    for other in (("value: [1 + x*y, 1], convention: ito",), ("value: 1 + x, convention: ito", ", potential: y")):
        assert prepared(*other) == (2 * least - 8 * 6400 * 72, True)
