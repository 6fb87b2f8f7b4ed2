import itertools
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy.sparse import diags_array

from fvflow import jit
from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Drift, Expression
from fvflow.fluxes import ScharfetterGummel
from fvflow.jit import INTERPRETED_ITERATIONS, INTERPRETER_BUDGET, expect_iterations
from fvflow.linalg import (
    Auto,
    Direct,
    FaceMatrix,
    Krylov,
    NeighbourSystem,
    ReusedFactors,
    Solver,
    SolverMemory,
    SplitSweeps,
    Tridiagonal,
    UpwindTriangular,
    amg,
    assemble_symmetric,
    describe_solver,
    divergence,
    factorise,
    invert_on_chain,
    rescale_to_mass,
    resolve_solver,
    solve_second_kind,
)
from fvflow.linalg.direct import tridiagonal
from fvflow.linalg.grid.matrix_free import MatrixFreeSolver
from fvflow.linalg.upwind_triangular import limit_outflow, substitute_downstream
from fvflow.mesh import Box, Extent, Graded, Mesh, Voronoi
from fvflow.problems import FokkerPlanck
from tests.contracts import EPS, check_solver


def matrix(dimension: int, cells: int, step: float) -> FaceMatrix:
    mesh = Box((-2.0,) * dimension, (2.0,) * dimension, (cells,) * dimension).build()
    return on_mesh(mesh, step)


def on_mesh(mesh: Mesh, step: float) -> FaceMatrix:
    drift = Drift(potential=Expression("2*x**2" if mesh.dimension == 1 else "2*x**2 + x*y + y**2"))
    return FokkerPlanck(mesh, drift, 0.4, ScharfetterGummel()).matrix(0.0, step)


def of_graph(whole: FaceMatrix) -> FaceMatrix:
    """The same matrix with cells and faces that are no longer in the order of a grid."""
    cells, faces = (np.random.default_rng(4).permutation(len(part)) for part in (whole.volume, whole.down))
    place = np.argsort(cells).astype(np.int32)  # of the old cells among the new
    owner, neighbour = place[whole.owner[faces]], place[whole.neighbour[faces]]
    down, up = whole.down[faces], whole.up[faces]
    turned = owner > neighbour
    return FaceMatrix(
        whole.volume[cells],
        np.where(turned, neighbour, owner),
        np.where(turned, owner, neighbour),
        np.where(turned, up, down),
        np.where(turned, down, up),
    )


MESHES = {  # a matrix for a step, and its extent
    "line": (lambda step: matrix(1, 40, step), Extent.of((40,))),
    "stretched line": (lambda step: on_mesh(Graded((-2.0,), (2.0,), (40,), (9.0,)).build(), step), Extent.of((40,))),
    "grid": (lambda step: matrix(2, 9, step), Extent.of((9, 9))),
    "cube": (lambda step: matrix(3, 6, step), Extent.of((6, 6, 6))),
    "voronoi": (
        lambda step: on_mesh(Voronoi((-2.0, -2.0), (2.0, 2.0), (9, 8), jitter=0.4).build(), step),
        Extent(2, 72),
    ),
    "graph": (lambda step: of_graph(matrix(3, 6, step)), Extent(3, 216)),
}
SOLVERS = [kind() for kind in get_args(Solver) if not kind().missing]
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.kind)
each_mesh = pytest.mark.parametrize("mesh", MESHES)


@each_solver
@each_mesh
@pytest.mark.parametrize("step", [1e-4, 1e-1, 1e3])
def test_every_solver_keeps_its_contract(solver, mesh, step):
    """On every mesh that it fits; the others it refuses, before and after there is a matrix."""
    make, extent = MESHES[mesh]
    if solver.kind == "tridiagonal" and extent.dimension > 1:
        for refused in (lambda: resolve_solver(solver, extent), lambda: solver.prepare(make(step))):
            with pytest.raises(CaseError, match="one space dimension; use direct, krylov or auto"):
                refused()
        return
    solver.fits(extent)
    check_solver(resolve_solver(solver, extent), make(step))


@each_solver
@each_mesh
@pytest.mark.parametrize("steady", [True, False])
def test_only_auto_gives_a_reason(solver, mesh, steady):
    """What a case names itself is what does the work; `auto` is never the solver, and says why not."""
    extent = MESHES[mesh][1]
    resolved, reason = solver.resolve(extent, steady), solver.reason(extent, steady)
    if solver.kind == "auto":
        assert resolved.kind != "auto"
        assert describe_solver(solver, extent, steady) == f"{resolved.kind} (auto: {reason})"
        with pytest.raises(TypeError, match="resolve `auto`"):
            solver.prepare(MESHES[mesh][0](0.1))
    else:
        assert resolved is solver
        assert reason == ""


@each_solver
def test_memory_is_what_the_solver_keeps(solver):
    """It grows with the mesh, and covers the matrix, the factors or the workspace and not much more."""
    for extents in (Extent.of((900,)), Extent.of((30, 30)), Extent.of((10, 10, 10)), Extent(2, 900), Extent(3, 1000)):
        larger = extents._replace(cells=8 * extents.cells)
        assert 8 <= solver.memory(larger) / solver.memory(extents) <= 8 * 8 or solver.kind == "auto"
        assert solver.memory(extents) == solver.resolve(extents).memory(extents)
        assert solver.memory(extents) >= 8 * extents.cells * (3 + 4 * extents.dimension)
    for dimension, cells in ((2, 64), (3, 16)):
        whole, extent = matrix(dimension, cells, 0.1), Extent.of((cells,) * dimension)
        if solver.kind == "direct":
            factors = factorise(whole.sparse())
            beside = solver.memory(extent) - 300 * dimension * extent.cells
            assert 0.5 * beside <= 12 * (factors.L.nnz + factors.U.nnz) <= 1.1 * beside
        if solver.kind == "krylov":
            solve, faces = MatrixFreeSolver(whole, 1e-12, 9), 2 * whole.down.nbytes + 2 * whole.owner.nbytes
            kept = solve._work.nbytes + solve._sweep.nbytes + faces + whole.volume.nbytes
            assert 0.2 * solver.memory(extent) <= kept <= solver.memory(extent)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_a_split_step_is_the_product_of_its_axes(dimension):
    mesh = Graded((0.0,) * dimension, (1.0,) * dimension, (5, 4, 3)[:dimension], (3.0,) * dimension).build()
    random = np.random.default_rng(6)
    down, up = random.random((2, mesh.faces))
    right = random.random(mesh.cells)
    expected = right / mesh.volume
    for axis in range(dimension):
        along = mesh.normal[:, axis] == 1.0
        part = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down * along, up * along)
        expected = np.linalg.solve(part.sparse().toarray(), mesh.volume * expected)
    whole = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, down, up)
    whole = replace(whole, shape=mesh.shape)
    found = SplitSweeps(whole)(right / mesh.volume)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert mesh.volume @ found == pytest.approx(right.sum(), rel=4e-16 * mesh.cells)
    if dimension == 1:
        np.testing.assert_allclose(Tridiagonal().prepare(whole)(right, right.sum()).density, found, rtol=1e-14)


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_upwind_transport_down_a_potential_is_solved_in_one_pass(dimension):
    mesh = Box((0.0,) * dimension, (1.0,) * dimension, (6, 5, 4)[:dimension]).build()
    random = np.random.default_rng(7)
    phi = random.normal(size=mesh.cells)
    drop = 10 * (phi[mesh.owner] - phi[mesh.neighbour])
    matrix = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, np.maximum(drop, 0), np.maximum(-drop, 0))
    right = random.random(mesh.cells)
    found = UpwindTriangular(mesh).solve(matrix, phi, right)
    np.testing.assert_allclose(found, np.linalg.solve(matrix.sparse().toarray(), right), rtol=1e-12)
    assert mesh.volume @ found == pytest.approx(right.sum(), rel=1e-14)


def test_limited_outflow_is_the_flux_update_if_no_cell_runs_empty():
    mesh = Box((0.0, 0.0), (1.0, 1.0), (6, 5)).build()
    random = np.random.default_rng(8)
    phi, content = random.normal(size=mesh.cells), 1.0 + random.random(mesh.cells)
    flux = 0.05 * (phi[mesh.owner] - phi[mesh.neighbour])
    after, limited, kept = UpwindTriangular(mesh).limit_outflow(flux, phi, content)
    np.testing.assert_allclose(after, content - divergence(mesh, flux), rtol=1e-14)
    assert kept == 0.0
    np.testing.assert_array_equal(limited, flux)
    content[:], content[4:6] = 1e-3, 0.0
    after, limited, kept = UpwindTriangular(mesh).limit_outflow(flux, phi, content)
    np.testing.assert_allclose(after, content - divergence(mesh, limited), atol=1e-15)
    assert after.min() >= 0
    assert kept > 0.1
    assert after.sum() == pytest.approx(content.sum(), rel=1e-14)


def test_multigrid_reuses_its_hierarchy(monkeypatch):
    built = []

    def counted(matrix, make=amg.hierarchy, **how):
        built.append(matrix)
        return make(matrix, **how)

    monkeypatch.setattr(amg, "hierarchy", counted)
    mesh = Box((0.0, 0.0), (1.0, 1.0), (40, 40)).build()
    flow = 0.1 + np.random.default_rng(12).random(mesh.faces)
    symmetric = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, flow, flow).sparse().tocsr()
    solver, right = amg.ReusedAMG(), np.random.default_rng(9).random(1600)
    for factor in (1.0, 1.5, 2.0):
        x = solver.solve(factor * symmetric, right, 1e-10, 40)
        assert np.linalg.norm(factor * symmetric @ x - right) <= 1e-10 * np.linalg.norm(right)
    assert len(built) == 1
    other = (symmetric + diags_array(np.logspace(0, 6, 1600))).tocsr()
    solver.solve(other, right, 1e-10, 40)
    np.testing.assert_array_equal(solver.solve(other, np.zeros(1600), 1e-10, 40), 0.0)
    with pytest.raises(NumericsError, match="conjugate gradients stopped after"):
        solver.solve(-symmetric, right, 1e-10, 40)


def test_a_hierarchy_of_a_neumann_matrix_solves_for_what_has_no_mass():
    """As in the extrapolation of `evbdf2`: singular but for a shift of 1e-14."""
    mesh = Box((0.0,) * 3, (1.0,) * 3, (12, 11, 10)).build()
    flow = 0.1 + np.random.default_rng(1).random(mesh.faces)
    neumann = (FaceMatrix(0.0 * mesh.volume, mesh.owner, mesh.neighbour, flow, flow)).sparse()
    neumann = (neumann + 1e-14 * diags_array(neumann.diagonal())).tocsr()
    right = np.random.default_rng(2).normal(size=mesh.cells)
    right -= right.mean()
    x = amg.ReusedAMG().solve(neumann, right, 1e-10, 40)
    assert np.linalg.norm(neumann @ x - right) <= 1e-9 * np.linalg.norm(right)


def test_factors_are_reused_while_they_are_near():
    """To the tolerance; after the n-th failure in a row 2^(n-1) - 1 matrices are factorised without an attempt."""
    mesh = Box((0.0, 0.0), (1.0, 1.0), (12, 12)).build()
    random = np.random.default_rng(13)
    flow = 0.1 + random.random(mesh.faces)
    near = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, flow, flow).sparse().tocsr()
    far = [(near + diags_array(10.0 ** random.uniform(-6, 6, 144))).tocsr() for _ in range(6)]
    solver, right, made = ReusedFactors(), random.random(144), []

    def solve(matrix):
        before = solver.matrix
        x = solver.solve(matrix, right, 1e-6)
        assert np.linalg.norm(matrix @ x - right) <= 1.01e-6 * np.linalg.norm(right)
        made.append(solver.matrix is not before)
        return x

    for factor in (1.0, 1.5, 2.0):
        solve(factor * near)
    assert made == [True, False, False]
    memory, x = solver.memory(), solve(near + diags_array(np.full(144, 1e-3)))
    for matrix in far:
        solve(matrix)
    assert (made[4:], solver.failures, solver.resting) == ([True] * 6, 3, 1), "attempts at numbers 1, 2 and 4"
    solver.recall(SolverMemory(*(np.copy(part) for part in memory)))
    np.testing.assert_array_equal(solve(near + diags_array(np.full(144, 1e-3))), x)
    assert (solver.failures, solver.resting) == (0, 0)
    solver.recall(None)
    assert solver.memory() is None
    with pytest.raises(NumericsError, match="factorisation failed"):
        solver.solve(0.0 * near, right, 1e-6)


@pytest.mark.parametrize(
    "mesh",
    [
        Box((0.0,), (1.0,), (7,)),
        Box((0.0,), (1.0,), (2,)),
        Box((0.0,), (1.0,), (5,), periodic=("x",)),
        Box((0.0, 0.0), (1.0, 2.0), (5, 4)),
        Voronoi((0.0, 0.0), (1.0, 1.0), (4, 4), seed=1),
    ],
    ids=["line", "pair", "ring", "box", "voronoi"],
)
def test_systems_of_neighbours_are_those_of_the_faces(mesh):
    """Not symmetric, in the order of the cells, whatever the order of elimination."""
    built, random = mesh.build(), np.random.default_rng(3)
    upper, lower = -random.random((2, built.faces))
    dense = np.diag(diagonal := 10.0 + random.random(built.cells))
    np.add.at(dense, (built.owner, built.neighbour), upper)
    np.add.at(dense, (built.neighbour, built.owner), lower)
    right = random.random(built.cells)
    system = NeighbourSystem(built)
    np.testing.assert_allclose(system.inverse(diagonal, upper, lower)(right), np.linalg.solve(dense, right), rtol=1e-12)
    with pytest.raises(NumericsError, match="singular"):
        system.inverse(0.0 * diagonal, 0.0 * upper, 0.0 * lower)


def test_gmres_solves_equations_of_the_second_kind():
    u = np.random.default_rng(10).normal(size=(3, 50))
    x = solve_second_kind(lambda y: u.T @ (u @ y), np.ones(50))
    np.testing.assert_allclose(x + u.T @ (u @ x), 1.0, atol=1e-7)
    with pytest.raises(NumericsError, match="overflowed"):
        solve_second_kind(lambda y: y, np.full(3, np.inf))
    with pytest.raises(NumericsError, match="did not converge in"):
        solve_second_kind(lambda y: -y, np.ones(50))


def test_auto_picks_by_dimension_and_size():
    def picked(*cells):
        return type(resolve_solver(Auto(), Extent.of(cells)))

    assert picked(10) is Tridiagonal
    assert picked(10, 10) is Direct
    assert picked(8, 8, 8) is Direct
    assert picked(40, 40, 40) is Krylov
    assert picked(128, 128) is Direct
    assert picked(129, 128) is Krylov
    assert type(resolve_solver(Auto(), Extent(2, 129 * 128))) is Direct, "no grid"
    assert type(resolve_solver(Auto(), Extent(3, 65 * 64))) is Krylov
    assert resolve_solver(Krylov(), Extent(1, 3)) == Krylov()
    assert type(resolve_solver(Auto(), Extent.of((30, 30)), steady=False)) is Krylov, (
        "factors would serve one step only"
    )
    assert type(resolve_solver(Auto(), Extent.of((20, 20)), steady=False)) is Direct
    assert type(resolve_solver(Auto(), Extent(2, 900), steady=False)) is Direct, "no grid"
    with pytest.raises(CaseError, match="one space dimension"):
        resolve_solver(Tridiagonal(), Extent(2, 9))


@pytest.mark.parametrize("cells", [1, 2, 3, 50])
@pytest.mark.parametrize("special", [None, 0.0, -0.0, np.inf, np.nan, 5e-324, 1e308])
def test_interpreted_eliminations_equal_the_compiled_ones_to_the_last_bit(cells, special):
    """On lists, as small runs have them, and where these divide by zero on arrays."""
    random, ring = np.random.default_rng(cells), cells > 1
    sums, right, down, up = random.random((4, cells))
    if special is not None:
        sums[-1] = down[0] = right[0] = special

    def both(kernel, *args):
        interpreted = jit.Kernel(kernel.py_func, kernel._options, jit.IterationBudget(10**6))
        parts = [
            found if isinstance(found, tuple) else (found,) for found in (interpreted(*args), kernel.dispatcher(*args))
        ]
        for part, other in zip(*parts, strict=True):
            assert part.tobytes() == np.where(np.isnan(part) & np.isnan(other), part, other).tobytes()
        assert interpreted._dispatcher is None
        return parts[0]

    (pivot,) = both(tridiagonal.eliminate, sums, down[:-1], up[:-1])
    for kernel in (tridiagonal.substitute, tridiagonal.substitute_transposed):
        both(kernel, pivot, down[:-1], up[:-1], right)
    if ring:
        factors = both(tridiagonal.eliminate_ring, sums, down, up)
        for kernel in (tridiagonal.substitute_ring, tridiagonal.substitute_ring_transposed):
            both(kernel, *factors, down, up, right)


def test_sweeps_are_compiled_after_many_iterations_or_if_many_are_expected(monkeypatch):
    compilations: list[object] = []

    def dispatcher(kernel):
        compilations.extend([kernel] if kernel.budget is not None else [])
        return kernel.py_func

    monkeypatch.setattr(jit.Kernel, "dispatcher", property(dispatcher))
    m = matrix(1, 50, 0.3)
    for left, turns, waits in (
        (200, 0, True),
        (149, 0, False),
        (INTERPRETED_ITERATIONS, 1000, True),
        (INTERPRETED_ITERATIONS, INTERPRETED_ITERATIONS, False),
    ):
        monkeypatch.setattr(INTERPRETER_BUDGET, "left", left)
        compilations.clear()
        expect_iterations(turns)
        solve = Tridiagonal().prepare(m)
        for _ in range(3):
            solve(m.volume, float(m.volume.sum()))
        assert (compilations == []) == waits


def test_an_interpreted_kernel_does_not_warn_where_the_compiled_one_does_not():
    divided = jit.kernel(budget=jit.IterationBudget(3))(lambda x: [part / 0.0 for part in x])
    assert np.isinf(divided(np.ones(3))).all()
    assert divided.budget.left == 0


@pytest.mark.parametrize("kernel", [substitute_downstream, limit_outflow])
def test_compiled_kernels_equal_their_python(kernel, monkeypatch):
    mesh = Box((0.0, 0.0), (1.0, 1.0), (5, 4)).build()
    phi, right, flow = np.random.default_rng(11).random((3, mesh.cells))
    flux = np.where(phi[mesh.owner] > phi[mesh.neighbour], 1.0, -1.0) * flow[mesh.owner]
    whole = FaceMatrix(mesh.volume, mesh.owner, mesh.neighbour, np.maximum(flux, 0), np.maximum(-flux, 0))

    def found():
        if kernel is substitute_downstream:
            return UpwindTriangular(mesh).solve(whole, phi, right)
        return UpwindTriangular(mesh).limit_outflow(flux, phi, right)[0]

    fast = found()
    monkeypatch.setattr(jit.Kernel, "dispatcher", property(lambda kernel: kernel.py_func))
    np.testing.assert_allclose(found(), fast, rtol=1e-14)


def test_the_elimination_is_accurate_where_subtraction_is_not():
    """A step of 1e12 leaves pivots that subtraction would lose; the mass before any correction is still exact."""
    m = matrix(1, 1000, 1e12)
    pivot = tridiagonal.eliminate(m.volume, m.down, m.up)
    x = tridiagonal.substitute(pivot, m.down, m.up, m.volume)
    assert abs(m.volume @ x / m.volume.sum() - 1) < 1e-12


def test_tridiagonal_refuses_a_matrix_that_is_not_a_chain():
    with pytest.raises(CaseError, match="one space dimension"):
        Tridiagonal().prepare(matrix(2, 4, 0.1))


def test_a_lost_mass_is_an_error():
    m = matrix(1, 10, 0.1)
    with pytest.raises(NumericsError, match="returned the mass"):
        rescale_to_mass(m, np.ones(10), 1.001 * m.volume.sum())
    with pytest.raises(NumericsError):
        rescale_to_mass(m, np.full(10, np.nan), 1.0)


def test_the_bound_on_the_mass_correction():
    """1e-12, or 4 machine epsilons times max M_KK/|K| if that is more, or what the solver is allowed."""
    mild, stiff = matrix(1, 10, 1e-4), matrix(1, 10, 1e6)
    assert mild.max_relative_diagonal < 1e3
    bound = 4 * EPS * stiff.max_relative_diagonal
    assert bound > 1e-10
    for m, most, allowed in ((mild, 1e-12, 0.0), (stiff, bound, 0.0), (mild, 1e-6, 1e-6)):
        mass = float(m.volume.sum())
        assert rescale_to_mass(m, np.full(10, 1 + 0.9 * most), mass, 3, allowed).iterations == 3
        for sign in (1, -1):
            with pytest.raises(NumericsError, match="returned the mass"):
                rescale_to_mass(m, np.full(10, 1 + sign * 1.2 * most), mass, 3, allowed)


COLUMNS = """
mesh: {kind: box, lower: [0, -1], upper: [1, 1], cells: [5, 4], periodic: [y]}
flow: {kind: fokker-planck, stream: SPEED*x*t, epsilon: 5e-2, stepper: {kind: implicit-euler, solver: {kind: SOLVER}}}
initial: {kind: spike, at: [0.45, 0.5]}
times: {end: 0.08, step: 0.02}
"""


def test_steps_whose_mass_round_off_shares_out_are_refused():
    """A wind around the ring spreads each column evenly, and diffusion alone moves mass between columns.

    At 1e50 the factors lose the sign of their pivots, and a density of -2e-3 was returned.
    """
    line = """
mesh: {kind: box, lower: [0], upper: [1], cells: [5]}
flow: {kind: fokker-planck, epsilon: 5e-2}
initial: {kind: spike, at: [0.45]}
times: {end: 0.08, step: 0.02}
"""
    alone = Case.parse(line).run().rho.values[-1]
    for speed, error in (("1e5", 1e-3), ("1e12", 1e-10), ("1e30", 1e-12)):
        found = Case.parse(COLUMNS.replace("SPEED", speed).replace("SOLVER", "krylov")).run().rho.values[-1]
        np.testing.assert_allclose(found, np.tile(alone / 2, (4, 1)), rtol=error)
    found = Case.parse(COLUMNS.replace("SPEED", "1e5").replace("SOLVER", "direct")).run().rho.values[-1]
    np.testing.assert_allclose(found, np.tile(alone / 2, (4, 1)), rtol=1e-3)
    for speed, fault in (("1e14", "a refined solution"), ("1e18", "pivots of a factorisation"), ("1e50", "")):
        with pytest.raises(NumericsError, match=f"{fault}.* smaller step"):
            Case.parse(COLUMNS.replace("SPEED", speed).replace("SOLVER", "direct")).run()


@pytest.mark.parametrize("size", [1e10, 1e20, 1e60])
def test_a_step_of_any_length_reaches_equilibrium_by_factors(size):
    """The mass that they lose is lost along the density itself."""
    x, y = np.meshgrid((np.arange(12) + 0.5) / 12, (np.arange(10) + 0.5) / 10)
    found = Case.parse(f"""
mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [12, 10]}}
flow:
  kind: fokker-planck
  potential: {size:g}*(x - y**2)
  epsilon: {size / 5:g}
  stepper: {{kind: implicit-euler, solver: {{kind: direct}}}}
initial: {{kind: spike, at: [0.45, 0.5]}}
times: {{end: 1, step: 1}}
""")
    gibbs = np.exp(-5 * (x - y**2))
    np.testing.assert_allclose(found.run().rho.values[-1], gibbs / gibbs.mean(), rtol=1e-8 if size == 1e10 else 1e-12)


def test_krylov_reports_where_it_stopped():
    with pytest.raises(NumericsError, match=r"residual .* or solver direct"):
        Krylov(iterations=1, tolerance=1e-14).prepare(matrix(2, 40, 1e4))(np.eye(1600)[7], 1.0)


def test_krylov_leaves_no_negative_density():
    """BiCGStab alone leaves cells of -1e-25 in the tails of a spike."""
    m = matrix(3, 20, 0.05)
    right = np.zeros(8000)
    right[4210] = 1.0
    solution = Krylov().prepare(m)(right, 1.0)
    assert solution.density.min() >= 0
    assert solution.iterations > 0


def test_off_grids_negative_values_are_repaired_by_a_jacobi_sweep():
    """D^-1(b + (D - M) x) from the non-negative part: clipping alone would leave the cells of the tail empty."""
    m = on_mesh(Voronoi((-2.0, -2.0), (2.0, 2.0), (60, 60), jitter=0.4).build(), 0.02)
    right = np.zeros(3600)
    right[1200] = 1.0
    bare = replace(m)
    bare.__dict__["monotone"] = False  # what is not an M-matrix is promised no sign
    solver = Krylov(tolerance=1e-6)
    x, density = (solver.prepare(each)(right, 1.0).density for each in (bare, m))
    assert (x < 0).sum() > 100
    positive = np.maximum(x, 0.0)
    entering = np.bincount(m.neighbour, m.down * positive[m.owner], 3600)
    entering += np.bincount(m.owner, m.up * positive[m.neighbour], 3600)
    np.testing.assert_allclose(density, (right + entering) / m.diagonal(), rtol=1e-6)
    assert ((x < 0) & (density > 0)).any()
    assert density.min() >= 0


def test_the_correction_of_the_mass_is_reported():
    m = matrix(1, 10, 1e-4)
    solution = rescale_to_mass(m, np.full(10, 1.0 + 4e-13), float(m.volume.sum()))
    assert solution.correction == pytest.approx(4e-13, rel=1e-2, abs=0)
    assert abs(m.volume @ solution.density / m.volume.sum() - 1) <= 4e-16


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9])
@pytest.mark.parametrize("kind", ["box", "voronoi"])
def test_a_loose_tolerance_is_kept_and_its_mass_error_reported(kind, tolerance):
    case = Case.parse(
        f"mesh: {{kind: {kind}, lower: [0, 0], upper: [1, 1], cells: [30, 30]}}\n"
        "flow: {kind: fokker-planck, epsilon: 1, potential: x**2, stepper: {kind: tr-bdf2, "
        f"solver: {{kind: krylov, tolerance: {tolerance}}}}}}}\n"
        "initial: {kind: expression, density: 1 + x}\ntimes: {end: 1, step: 0.1}\n"
    )
    ds = case.run()
    assert ds.attrs["mass_drift"] <= 1e-14
    assert ds.attrs["mass_correction"] <= 4 * tolerance


def test_long_iterations_off_grids_get_a_multigrid_preconditioner(monkeypatch):
    """And the next solve begins without it, so that no solve depends on those before."""
    case = Case.parse(
        "mesh: {kind: voronoi, lower: [0, 0], upper: [1, 1], cells: [50, 50]}\n"
        "flow: {kind: fokker-planck, epsilon: 1, velocity: [3*y, -2*x]}\n"
        "initial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
    )
    matrix = case.prepare().problem.matrix(0.0, 1.0)
    right = np.random.default_rng(6).random(len(matrix.volume))
    without = Krylov().prepare(matrix)(right, right.sum())
    monkeypatch.setattr("fvflow.linalg.krylov._UNPRECONDITIONED", 20)
    solve = Krylov().prepare(matrix)
    first, second = solve(right, right.sum()), solve(right, right.sum())
    assert 20 < first.iterations < 0.6 * without.iterations
    np.testing.assert_array_equal(first.density, second.density)
    exact = Direct().prepare(matrix)(right, right.sum())
    np.testing.assert_allclose(second.density, exact.density, rtol=1e-8)
    assert second.density.min() > 0


def test_a_symmetric_matrix_is_the_sum_of_its_entries_in_the_new_order() -> None:
    random = np.random.default_rng(0)
    cells, count = 7, 40
    rows = random.integers(0, cells, count).astype(np.int32)
    columns = ((rows + random.integers(1, cells, count)) % cells).astype(np.int32)  # repeated, in either order
    values, scale, place = random.normal(size=count), random.uniform(1, 2, cells), random.permutation(cells)
    scaled = scale[rows] * scale[columns] * values
    least = float(np.sort(np.abs(scaled))[count // 4])
    expected = 3.0 * np.eye(cells)
    for row, column, value in zip(place[rows], place[columns], scaled, strict=True):
        if abs(value) > least:
            expected[row, column] += value
            expected[column, row] += value
    matrix = assemble_symmetric(rows, columns, values, scale, place.astype(np.int32), 3.0, least)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-14, atol=1e-15)
    assert all(np.all(np.diff(matrix.indices[a:b]) > 0) for a, b in itertools.pairwise(matrix.indptr))
    values[3] = np.nan
    assert np.isnan(assemble_symmetric(rows, columns, values, scale, place.astype(np.int32), 3.0, least).data.sum())


@pytest.mark.parametrize("cells", [1, 2, 3, 9])
def test_a_symmetric_system_on_a_chain_is_solved_as_any_other(cells: int) -> None:
    """Indefinite too, as round-off may make it; entries repeated, in either order, some of them too small to count."""
    random = np.random.default_rng(cells)
    pairs = [(i, i + gap) for gap in (1, 2) for i in range(cells - gap)]
    chosen = np.array(pairs, np.int32).reshape(-1, 2)[random.integers(0, max(len(pairs), 1), 4 * len(pairs))]
    rows, columns = random.permuted(chosen, axis=1).T
    values, scale = random.normal(size=len(rows)), random.uniform(1, 2, cells)
    least = 0.2 if len(rows) else 0.0
    system = rows, columns, values, scale
    whole = assemble_symmetric(*system, np.arange(cells, dtype=np.int32), 3.0, least).toarray()
    right = random.normal(size=cells)
    np.testing.assert_allclose(whole @ invert_on_chain(*system, 3.0, least)(right), right, atol=1e-12)
    with pytest.raises(NumericsError, match="singular or not finite"):
        invert_on_chain(rows, columns, 0.0 * values, scale, 0.0, least)
    if len(rows):
        values[0] = np.nan
        with pytest.raises(NumericsError, match="singular or not finite"):
            invert_on_chain(*system, 3.0, least)
