"""Geometric multigrid for long steps on grids: its parts against dense algebra, and what it takes."""

from itertools import product

import numpy as np
import pytest

from fvflow import jit
from fvflow.fields import Drift, Expression
from fvflow.fluxes import Centred, ScharfetterGummel, Upwind, scharfetter_gummel
from fvflow.linalg import Direct, FaceMatrix
from fvflow.linalg.grid import multigrid_transfer
from fvflow.linalg.grid.geometric_multigrid import GeometricMultigrid, _Level
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.mesh import Box, Graded
from fvflow.problems import FokkerPlanck
from tests.contracts import EPS

SHAPES = [(1, 1, 7), (1, 6, 5), (1, 1, 2), (1, 4, 1), (3, 4, 5), (4, 2, 1)]  # (z, y, x)
ROTATION = {"velocity": ("-y", "x")}
DRIFTS = {  # a drift, epsilon, a flux
    "none": ({"potential": "0*x"}, 1.0, ScharfetterGummel()),
    "trap": ({"potential": "0.5*x**2 + 0.5*y**2"}, 0.5, ScharfetterGummel()),
    "wells": ({"potential": "(x**2 - 1)**2 + 0.5*y**2 + 0.3*x*y"}, 0.05, ScharfetterGummel()),
    "rotation": (ROTATION, 0.05, ScharfetterGummel()),
    "whirl": (ROTATION, 1e-3, Upwind()),
    "spiral": ({"velocity": ("-x - 4*y", "4*x - y")}, 0.3, Upwind()),
    "vortices": ({"stream": "8*sin(pi*x/2)*sin(pi*y/2)"}, 0.05, ScharfetterGummel()),
    "wind": ({"velocity": ("3 + 0*x", "1 + 0*x")}, 0.02, Upwind()),
}


RINGS = [((1, 6, 5), (0,)), ((1, 5, 6), (0, 1)), ((1, 4, 3), (0,)), ((4, 5, 6), (0, 2)), ((3, 4, 5), (0, 1, 2))]
GRIDS = [*((shape, ()) for shape in SHAPES), *RINGS]  # and the axes that are periodic


def random_matrix(shape, seed=1, periodic=()):
    """Any coefficients >= 0."""
    counts = shape[::-1]
    mesh = Box((0.0,) * 3, (1.0,) * 3, counts, periodic=tuple("xyz"[axis] for axis in periodic)).build()
    random = np.random.default_rng(seed)
    volume, down, up = random.random(mesh.cells) + 0.5, *random.random((2, mesh.faces))
    return FaceMatrix(volume, mesh.owner, mesh.neighbour, down + 0.01, up + 0.01, mesh.shape, periodic=periodic)


def problem(name, counts, stretch=1.0):
    drift, epsilon, flux = DRIFTS[name]
    box, stretches = ((-2.0,) * len(counts), (2.0,) * len(counts), counts), (stretch, 1 / stretch, stretch)
    mesh = (Box(*box) if stretch == 1.0 else Graded(*box, stretches[: len(counts)])).build()
    fields = {
        key: Expression(value) if isinstance(value, str) else tuple(Expression(each) for each in value)
        for key, value in drift.items()
    }
    return FokkerPlanck(mesh, Drift(**fields), epsilon, flux)


def spike(mesh):
    right = np.zeros(mesh.cells)
    cell = np.argmin(((mesh.centre - 0.37) ** 2).sum(axis=1))
    right[cell] = 1.0 / mesh.volume[cell]
    return right


def by_cycles(matrix):
    """The iteration with cycles from the start."""
    solve = MatrixFreeSolver(matrix, 1e-12, 400)
    solve._sweep = solve._cycle

    def begun(x, right, goal):
        x[:] = solve._cycle(right)
        return *solve._residual(right, x), 0

    solve._corrected = begun
    return solve


@pytest.mark.parametrize(("shape", "periodic"), GRIDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_smoothing_solves_along_every_second_line(shape, periodic, reverse):
    """The line beside itself over a seam, where their number is odd, counts as it was before."""
    matrix = random_matrix(shape, periodic=periodic)
    dense, cells = matrix.sparse().toarray(), np.indices(shape).reshape(3, -1)
    right, x = np.random.default_rng(2).random((2, len(matrix.volume)))
    expected, order = x.copy(), list(product([axis for axis in (2, 1, 0) if shape[axis] > 1], (0, 1)))
    for place, colour in reversed(order) if reverse else order:
        across = np.delete(cells, place, axis=0)
        on = across.sum(axis=0) % 2 == colour
        together = on[:, None] & on & (across[:, :, None] == across[:, None]).all(axis=0)
        own = np.where(together, dense, 0.0)
        solved = np.linalg.lstsq(own, matrix.volume * right - (dense - own) @ expected, rcond=None)[0]
        expected = np.where(on, solved, expected)
    _Level(matrix).smooth(x, right, reverse)
    np.testing.assert_allclose(x, expected, rtol=1e-10)


def summed(fine, shape, factors):
    """The sums over blocks of cells, plainly."""
    coarse = np.zeros([-(-count // factor) for count, factor in zip(shape, factors, strict=True)])
    for place, value in zip(np.ndindex(*shape), fine, strict=True):
        coarse[tuple(at // factor for at, factor in zip(place, factors, strict=True))] += value
    return coarse.ravel()


@pytest.mark.parametrize(("shape", "periodic"), GRIDS)
def test_what_flows_in_balance_flows_on_the_coarser_grid(shape, periodic):
    """Mass and outflow of u = 1 there are the sums of those of w here; signs stay."""
    matrix = random_matrix(shape, periodic=periodic)
    level = _Level(matrix)
    coarse, w = level.coarse, level._equilibrium
    assert (w > 0).all()
    assert coarse.monotone
    np.testing.assert_allclose(coarse.volume, summed(matrix.volume * w, shape, level._factor), rtol=1e-14)
    found = coarse.apply(np.ones(len(coarse.volume)))
    np.testing.assert_allclose(found, summed(matrix.apply(w), shape, level._factor), rtol=1e-12, atol=1e-13)
    right, x = np.random.default_rng(3).random((2, len(w)))
    expected = summed(matrix.volume * right - matrix.apply(x), shape, level._factor) / coarse.volume
    np.testing.assert_allclose(level.restrict(right, x), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("w", [0.0, 1e-3, 2.0, 30.0])
def test_faces_compose_as_exponentials_do(w):
    """Two Scharfetter-Gummel faces in a row are one of twice the length, and so are two halves."""

    def face(drop, length):
        drop = np.array([drop])
        return scharfetter_gummel(-drop, 0.7) / length, scharfetter_gummel(drop, 0.7) / length

    np.testing.assert_allclose(multigrid_transfer._compose(face(w, 1.0), face(w, 1.0)), face(2 * w, 2.0), rtol=1e-12)
    down, up = face(w, 1.0)
    half = (down + np.sqrt(down * up), up + np.sqrt(down * up))
    np.testing.assert_allclose(half, face(w / 2, 0.5), rtol=1e-12)
    np.testing.assert_allclose(multigrid_transfer._compose(half, half), (down, up), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_corrections_are_linear_between_coarse_cells(shape):
    level = _Level(random_matrix(shape))
    coarse, x = level.coarse.shape, np.zeros(len(level._equilibrium))
    level.correct(x, np.ones(np.prod(coarse)))
    np.testing.assert_allclose(x, level._equilibrium, rtol=1e-14, err_msg="u = 1")
    for place in range(3):
        ramp = np.indices(coarse)[place].astype(float)
        x[:] = 0.0
        level.correct(x, ramp.ravel())
        at = np.arange(shape[place]) / level._factor[place] - (0.25 if level._factor[place] == 2 else 0.0)
        if shape[place] % 2:
            at[-1] = coarse[place] - 1.0  # a cell without a partner
        expected = np.clip(at, 0.0, coarse[place] - 1.0)
        found = (x / level._equilibrium).reshape(shape)
        np.testing.assert_allclose(
            found, np.broadcast_to(np.expand_dims(expected, [p for p in range(3) if p != place]), shape), atol=1e-14
        )


@pytest.mark.parametrize("count", [8, 7])
def test_corrections_are_linear_over_a_seam(count):
    level = _Level(random_matrix((1, 4, count), periodic=(0,)))
    x, coarse = np.zeros((4, count)), np.zeros((2, 4))
    coarse[:, 0], coarse[:, -1] = 1.0, 5.0
    level.correct(x.reshape(-1), coarse.ravel())
    u = x / level._equilibrium.reshape(4, count)
    np.testing.assert_allclose(u[:, 0], 0.75 + 0.25 * 5.0, rtol=1e-14)
    np.testing.assert_allclose(u[:, -1], 0.75 * 5.0 + 0.25 if count == 8 else 5.0, rtol=1e-14)


@pytest.mark.parametrize("w", [0.0, 2.0])
@pytest.mark.parametrize("count", [8, 7])
def test_faces_over_a_seam_compose_as_those_elsewhere(count, w):
    """A ring of equal cells in a wind: the coarser one is that of cells of twice the length."""
    fine, whole = (np.full((1, 1, count), part) for part in (2.0 + w, 2.0))
    volume = np.ones((1, 1, count))
    none = np.zeros((1, 0, count)), np.zeros((0, 1, count))
    faces = [(fine, whole), *((part, part) for part in none)]
    masses, coarse = multigrid_transfer.merge_pairs(volume, faces, 0)
    (down, up), pairs = (part.ravel() for part in coarse[0]), count // 2
    assert masses.ravel().tolist() == [2.0] * pairs + [1.0] * (count % 2)
    assert len(down) == len(up) == len(masses.ravel())
    np.testing.assert_allclose(down - up, w, rtol=1e-14, atol=1e-14)
    between = down[: pairs - 1] if count % 2 else down
    np.testing.assert_allclose(between, between[0], rtol=1e-14)
    if count % 2:
        np.testing.assert_allclose(down[-2:], down[-1], rtol=1e-14, err_msg="both sides of the lone cell")


@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 4, 5)])
def test_compiled_kernels_equal_their_python(shape, monkeypatch):
    matrix = random_matrix(shape)
    right, x = np.random.default_rng(4).random((2, len(matrix.volume)))

    def found():
        level, y = _Level(matrix), x.copy()
        level.smooth(y, right)
        coarse = level.restrict(right, y)
        level.correct(y, coarse)
        return y

    fast = found()
    monkeypatch.setattr(jit.Kernel, "dispatcher", property(lambda kernel: kernel.py_func))
    np.testing.assert_allclose(found(), fast, rtol=1e-13)


def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(jit, "MIN_PARALLEL_CELLS", 1)
    p = problem("wells", (300, 270))
    matrix, right = p.matrix(0.0, 10.0), np.random.default_rng(5).random(p.mesh.cells)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(jit, "thread_limit", lambda count=count: count)
        found.append(GeometricMultigrid(matrix)(right))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("step", [0.1, 10.0, 1e3, 1e5])
@pytest.mark.parametrize("stretch", [1.0, 20.0])
@pytest.mark.parametrize("name", DRIFTS)
def test_any_step_is_solved(name, stretch, step):
    """From a point, as by elimination; with cycles from the start in iterations that do not grow with the grid."""
    rounds = []
    for count in (64, 128, 256) if stretch == 1.0 and step == 1e3 else (64,):
        p = problem(name, (count, count), stretch)
        matrix, right = p.matrix(0.0, step), spike(p.mesh)
        solution = by_cycles(matrix)(right, 1.0)
        rounds.append(solution.iterations)
        assert solution.density.min() >= 0
        assert abs(p.mesh.volume @ solution.density - 1) <= 8 * EPS
    assert max(rounds) <= (18 if name == "whirl" else 12 if stretch == 1.0 else 15)
    p = problem(name, (64, 64), stretch)
    matrix, right = p.matrix(0.0, step), spike(p.mesh)
    expected = Direct().prepare(matrix)(matrix.volume * right, 1.0).density
    solution = MatrixFreeSolver(matrix, 1e-12, 100)(right, 1.0)
    assert p.mesh.volume @ np.abs(solution.density - expected) <= 1e-8
    assert solution.iterations <= 60


TORI = {
    "none": ({"potential": "0*x"}, 1.0),
    "wells": ({"potential": "cos(pi*x/2)*sin(pi*y/2) + 0.3*sin(pi*x)"}, 0.05),
    "vortices": DRIFTS["vortices"][:2],
    "wind": DRIFTS["wind"][:2],
}


@pytest.mark.parametrize("periodic", ["x", "xy"])
@pytest.mark.parametrize("name", TORI)
def test_any_step_is_solved_on_tori_and_cylinders(name, periodic):
    """As by elimination; in iterations that do not grow with the grid, for odd numbers of cells too."""
    rounds = []
    for count in (63, 64, 128):
        drift, epsilon = TORI[name]
        mesh = Box((-2.0, -2.0), (2.0, 2.0), (count, count), periodic=tuple(periodic)).build()
        given = {
            key: Expression(value) if isinstance(value, str) else tuple(Expression(each) for each in value)
            for key, value in drift.items()
        }
        p = FokkerPlanck(mesh, Drift(**given), epsilon, ScharfetterGummel())
        matrix, right = p.matrix(0.0, 1e3), spike(mesh)
        solution = by_cycles(matrix)(right, 1.0)
        rounds.append(solution.iterations)
        assert solution.density.min() >= 0
        if count < 128:
            expected = Direct().prepare(matrix)(matrix.volume * right, 1.0).density
            assert mesh.volume @ np.abs(solution.density - expected) <= 1e-8
    assert max(rounds) <= 14, rounds


@pytest.mark.parametrize("counts", [(700,), (1, 700), (37, 41), (2, 300), (1000, 3), (11, 17, 13), (3, 90, 2)])
def test_any_shape_is_solved(counts):
    name = "trap" if len(counts) > 1 else "none"
    p = problem(name, counts)
    matrix, right = p.matrix(0.0, 1e3), spike(p.mesh)
    expected = Direct().prepare(matrix)(matrix.volume * right, 1.0).density
    solution = by_cycles(matrix)(right, 1.0)
    assert p.mesh.volume @ np.abs(solution.density - expected) <= 1e-9
    assert solution.iterations <= 10


@pytest.mark.parametrize("name", ["wells", "whirl"])
def test_three_dimensions(name):
    """Where nothing flows along z, cells merge along x and y first."""
    p = problem(name, (24, 24, 24))
    if name == "whirl":
        p = FokkerPlanck(p.mesh, Drift(velocity=tuple(Expression(each) for each in ("-y", "x", "0*x"))), 1e-3, Upwind())
        assert _Level(p.matrix(0.0, 1e3))._factor == [1, 2, 2]
    matrix, right = p.matrix(0.0, 1e3), spike(p.mesh)
    solution = by_cycles(matrix)(right, 1.0)
    expected = Direct().prepare(matrix)(matrix.volume * right, 1.0).density
    assert p.mesh.volume @ np.abs(solution.density - expected) <= 1e-8
    assert solution.iterations <= 9


@pytest.mark.parametrize("stretch", [1.0, 20.0])
def test_the_gibbs_state_is_stationary(stretch):
    p = problem("wells", (64, 64), stretch)
    x, y = p.mesh.centre.T
    gibbs = np.exp(-((x**2 - 1) ** 2 + 0.5 * y**2 + 0.3 * x * y) / 0.05)
    gibbs /= p.mesh.volume @ gibbs
    for step in (10.0, 1e5):
        solution = by_cycles(p.matrix(0.0, step))(gibbs, 1.0)
        assert np.abs(solution.density - gibbs).max() <= 1e-9 * gibbs.max(), "by cycles, to what the tolerance leaves"
        solution = MatrixFreeSolver(p.matrix(0.0, step), 1e-12, 100)(gibbs, 1.0)
        assert np.abs(solution.density - gibbs).max() <= 1e-13 * gibbs.max()


def test_centred_fluxes_beyond_their_peclet_number():
    """M is not an M-matrix; the cycle is that of one with more diffusion."""
    p = problem("rotation", (64, 64))
    p = FokkerPlanck(p.mesh, p.drift, 0.01, Centred())
    matrix, right = p.matrix(0.0, 10.0), p.mesh.volume / p.mesh.volume.sum()
    assert not matrix.monotone
    right = np.exp(-((p.mesh.centre - 0.3) ** 2).sum(axis=1) / 0.1)
    total = float(p.mesh.volume @ right)
    expected = Direct().prepare(matrix)(p.mesh.volume * right, total).density
    solution = MatrixFreeSolver(matrix, 1e-12, 200)(right, total)
    assert p.mesh.volume @ np.abs(solution.density - expected) <= 1e-8 * total


def test_the_memory_of_the_levels():
    """At most about twice the coefficients of the faces."""
    for counts in ((128, 128), (32, 32, 32)):
        matrix = problem("trap", counts).matrix(0.0, 10.0)
        assert GeometricMultigrid(matrix).nbytes <= 2.0 * (matrix.down.nbytes + matrix.up.nbytes)
