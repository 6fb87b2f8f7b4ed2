"""Hamiltonians given as expressions: closed forms, the minimum by brute force, the comparison principle, refusals."""

from itertools import product

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Expression
from fvflow.mesh import Box, Graded
from fvflow.transport import PowerHamiltonian, QuadraticHamiltonian
from fvflow.transport.convex_minimum import least_along, least_between
from fvflow.transport.expression_hamiltonian import ExpressionHamiltonian
from fvflow.transport.hamilton_jacobi import advance, longest_step, slopes, solve
from tests.contracts import assert_order
from tests.scenes import final
from tests.test_hamilton_jacobi import MESHES, brute, each_mesh, last

SQUARE = {d: "+".join(f"p{a}**2" for a in "xyz"[:d]) for d in (1, 2, 3)}
COUPLED = {
    2: (
        "0.5*px**2 + 0.4*px*py + 0.5*py**2 + 0.3*x*px",
        "sqrt(1 + px**2 + 0.9*px*py + py**2) + 0.2*py",
        "exp(px + py) + exp(-px) + exp(-2*py)",
        "0.25*(px**2 + py**2)**2",
    ),
    3: ("0.5*px**2 + 0.4*px*py + 0.5*py**2 + pz**2 - 0.7*py*pz + 0.2*pz", "sqrt(px**2 + py**2 + pz**2)"),
}


def on(mesh, text, time=0.0, **parameters):
    return ExpressionHamiltonian.on(mesh, Expression(text), parameters, time)


@each_mesh
def test_expressions_are_the_kinds(mesh):
    """|p|^2/2, |p|^q/q and their scheme; only sums over axes are seen to be such."""
    square, phi = SQUARE[mesh.dimension], np.random.default_rng(3).normal(size=mesh.cells)
    for text, kind in (
        (f"0.5*({square})", QuadraticHamiltonian()),
        (f"({square})**1.5/3", PowerHamiltonian(3.0)),
        (f"({square})**0.75/1.5", PowerHamiltonian(1.5)),
    ):
        found = on(mesh, text)
        assert found.separable == (mesh.dimension == 1 or kind == QuadraticHamiltonian())
        step = longest_step(mesh, phi, kind)
        assert 0.8 * step <= longest_step(mesh, phi, found) <= step * (1 + 1e-12)
        expected = advance(mesh, phi, kind, 0.7 * step)
        np.testing.assert_allclose(advance(mesh, phi, found, 0.7 * step), expected, rtol=0, atol=1e-14 * np.ptp(phi))
        slope = (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance
        if kind == QuadraticHamiltonian():
            np.testing.assert_allclose(found.face_speed(mesh, slope), slope, rtol=1e-14)


@pytest.mark.parametrize("dimension", [2, 3])
def test_godunovs_value_is_the_greatest_of_the_least_over_quadrants(dimension):
    """By a search over a lattice of momenta that begins at the slopes, refined about the best; walls included."""
    mesh, random = Box((-1.0,) * dimension, (1.0,) * dimension, (3,) * dimension).build(), np.random.default_rng(4)
    for text in COUPLED[dimension]:
        minus, plus = random.normal(size=(2, dimension, mesh.cells))
        minus[0, 0], plus[1, 1], minus[:, 2] = -np.inf, np.inf, -np.inf
        value, _ = on(mesh, text).godunov(minus, plus)
        for cell, at in enumerate(mesh.centre):
            least = [
                _least(text, at, minus[:, cell], plus[:, cell], signs) for signs in product((1, -1), repeat=dimension)
            ]
            assert value[cell] == pytest.approx(max(least), abs=1e-6), (text, cell)


def _least(text, at, minus, plus, signs):
    """min H(r), r_a >= p-_a or <= p+_a, on lattices that shrink about the best point."""
    lower = np.array([m if s > 0 else -np.inf for m, s in zip(minus, signs, strict=True)])
    upper = np.array([np.inf if s > 0 else p for p, s in zip(plus, signs, strict=True)])
    centre, width, best = np.clip(np.zeros(len(at)), lower, upper), 6.0, np.inf
    names = dict(zip("xyz", at, strict=False))
    while width > 1e-4:
        lines = [
            np.clip(c + width * np.linspace(-1, 1, 13), a, b) for c, a, b in zip(centre, lower, upper, strict=True)
        ]
        grid = np.meshgrid(*lines, indexing="ij")
        values = Expression(text)(**names, **{f"p{a}": part for a, part in zip("xyz", grid, strict=False)})
        best, centre = values.min(), np.array([part.ravel()[np.argmin(values)] for part in grid])
        width *= 0.5
    return best


@each_mesh
def test_the_order_of_data_is_kept(mesh):
    """phi <= psi stays so at the longest step, distances do not grow, and constants pass through."""
    random = np.random.default_rng(mesh.cells)
    plain = "(1.2 + x)*cosh(px - t) + sin(3*x)" + " + abs(py - 0.2)" * (mesh.dimension > 1)
    for text in (plain, *COUPLED.get(mesh.dimension, ())):
        found = on(mesh, text, 0.3)
        low = 0.3 * random.normal(size=mesh.cells)
        high = low + 0.3 * random.random(mesh.cells) * (random.random(mesh.cells) < 0.3)
        step = min(longest_step(mesh, phi, found) for phi in (low, high))
        after_low, after_high = (advance(mesh, phi, found, step) for phi in (low, high))
        assert (after_low <= after_high + 1e-12).all(), text
        assert np.abs(after_high - after_low).max() <= np.abs(high - low).max() + 1e-12
        lifted, lower = (advance(mesh, phi, found, 0.9 * step) for phi in (low + 7.0, low))
        np.testing.assert_allclose(lifted, lower + 7.0, rtol=0, atol=1e-11)


@each_mesh
def test_planes_move_at_the_rate_h(mesh):
    """H(p) for p- = p+ = p: the scheme is consistent for every sign of the slopes."""
    inner = np.ones(mesh.shape, bool)
    for axis in range(mesh.dimension):
        inner.swapaxes(mesh.dimension - 1 - axis, -1)[..., [0, -1]] = False
    for signs in product((1.0, -1.0), repeat=mesh.dimension):
        slope = np.array([0.9, 0.6, -0.8])[: mesh.dimension] * signs
        for text in ("exp(px) + x*px", *COUPLED.get(mesh.dimension, ())):
            found = on(mesh, text)
            minus, plus = slopes(mesh, mesh.centre @ slope)
            inside = inner.ravel()
            minus, plus = minus.copy(), plus.copy()
            minus[:, ~inside] = plus[:, ~inside] = slope[:, None]
            value, speed = found.godunov(minus, plus)
            names = {f"p{a}": part for a, part in zip("xyz", slope, strict=False)}
            expected = Expression(text)(x=mesh.centre[:, 0], **names)
            np.testing.assert_allclose(value, expected, rtol=1e-11)
            exact = np.abs(found.cells.gradient(np.tile(slope[:, None], mesh.cells)))
            assert (speed >= exact - 1e-9).all(), "the bound of the speed is one"


def riccati(cells, **more):
    """phi = a x^2/2 with a' + a^2 = k^2, a(0) = 0: a = k tanh(k t), for H = p^2/2 - k^2 x^2/2."""
    case = Case.parse(f"""
        mesh: {{kind: box, lower: [-1], upper: [1], cells: [{cells}]}}
        flow: {{kind: hamilton-jacobi, potential: "0", hamiltonian: "0.5*px**2 - 0.5*k**2*x**2"}}
        initial: {{kind: gaussian, mean: [0.2], covariance: [[0.01]]}}
        times: {{end: 0.6, step: {2 / cells}}}
        parameters: {{k: 1.5}}
        """)
    return case.replace(more) if more else case


def test_riccati_and_what_it_carries():
    """Order 1 of phi and of the density: v = k tanh(k t) x takes the mean m to m cosh(k t)."""
    k, errors, means, counts = 1.5, [], [], (100, 200, 400)
    for cells in counts:
        prepared, state, figures = final(riccati(cells))
        x = prepared.mesh.centre[:, 0]
        errors.append(np.abs(state.potential - 0.5 * k * np.tanh(0.6 * k) * x**2).max())
        means.append(abs((prepared.mesh.volume * state.density) @ x - 0.2 * np.cosh(0.6 * k)))
        assert figures["mass_drift"] <= 1e-14
        assert figures["minimum"] >= 0
    assert_order(1 / np.array(counts), errors, 1.0, 0.05)
    assert_order(1 / np.array(counts), means, 1.0, 0.1)


def test_riccati_in_two_dimensions_with_a_coupled_hamiltonian():
    """phi = x.A x/2 with A' + A Q A = K, A(0) = 0, for H = p.Q p/2 - x.K x/2: commuting Q = K turn it into tanh."""
    q = np.array([[1.0, 0.5], [0.5, 1.0]])
    values, vectors = np.linalg.eigh(q)
    exact, errors, counts = vectors @ np.diag(np.tanh(values * 0.5)) @ vectors.T, [], (20, 40, 80)
    text = "0.5*px**2 + 0.5*px*py + 0.5*py**2 - (0.5*x**2 + 0.5*x*y + 0.5*y**2)"
    for count in counts:
        mesh = Box((-1.0, -1.0), (1.0, 1.0), (count, count)).build()
        found = last(solve(mesh, np.zeros(mesh.cells), on(mesh, text), np.linspace(0.0, 0.5, count // 2)))
        inside = (np.abs(mesh.centre) < 0.5).all(axis=1)
        off = found - 0.5 * np.einsum("ca,ab,cb->c", mesh.centre, exact, mesh.centre)
        errors.append(np.abs(off)[inside].max())
    assert_order(1 / np.array(counts), errors, 1.0, 0.2)


@pytest.mark.parametrize(("dimension", "counts"), [(1, (100, 200, 400)), (2, (25, 50, 100))])
def test_hopf_lax_of_a_quartic(dimension, counts):
    """H = |p|^4/4, L = 3/4 |v|^(4/3), before kinks form, away from walls; in 2D a plane wave oblique to the grid."""
    way, errors = np.array([2.0, 1.0])[:dimension] / np.linalg.norm([2.0, 1.0][:dimension]), []
    fine = np.linspace(-3.0, 3.0, 6001)[:, None]
    for count in counts:
        mesh = Box((-1.0,) * dimension, (1.0,) * dimension, (count,) * dimension).build()
        found = last(solve(mesh, 0.4 * np.cos(2.0 * mesh.centre @ way), on(mesh, f"({SQUARE[dimension]})**2/4"), [0.3]))
        inside = (np.abs(mesh.centre) < 0.5).all(axis=1)
        at = (mesh.centre[inside] @ way)[:, None]
        exact = brute(fine, 0.4 * np.cos(2.0 * fine[:, 0]), at, 0.3, 4.0 / 3.0)
        errors.append(np.abs(found[inside] - exact).mean())
    assert_order(1 / np.array(counts), errors, 1.0, 0.2)


def test_hopf_lax_of_bounded_speed():
    """H = sqrt(1 + p^2), L = -sqrt(1 - v^2), |v| <= 1: kinked data, so that phi has a kink and a fan."""
    fine, time, errors, counts = np.linspace(-1.0, 1.0, 8001), 0.3, [], (80, 160, 320)

    def start(x):
        return np.abs(np.abs(x) - 0.4)

    for count in counts:
        mesh = Box((-1.0,), (1.0,), (count,)).build()
        x = mesh.centre[:, 0]
        inside = 1.0 - ((x[:, None] - fine) / time) ** 2
        paths = np.where(inside >= 0, start(fine) - time * np.sqrt(np.maximum(inside, 0.0)), np.inf)
        found = last(solve(mesh, start(x), on(mesh, "sqrt(1 + px**2)"), [time]))
        errors.append(mesh.volume @ np.abs(found - paths.min(axis=1)))
    assert errors[-1] < 4e-3
    assert np.log2(errors[0] / errors[-1]) / 2 > 0.8


def test_a_hamiltonian_of_time():
    """phi = a x - int (a^2/2 + b a), a' = -cos t, for H = p^2/2 + b p + cos(t) x: order 1 away from the walls."""
    b, end, errors, counts = 0.3, 1.0, [], (50, 100, 200)
    for count in counts:
        case = Case.parse(f"""
            mesh: {{kind: box, lower: [-4], upper: [4], cells: [{count}]}}
            flow: {{kind: hamilton-jacobi, potential: "0", hamiltonian: "0.5*px**2 + b*px + cos(t)*x"}}
            initial: {{kind: gaussian, mean: [0], covariance: [[0.05]]}}
            times: {{end: {end}, step: {2 / count}}}
            parameters: {{b: {b}}}
            """)
        prepared, state, _ = final(case)
        x, a = prepared.mesh.centre[:, 0], -np.sin(end)
        exact = a * x - (0.25 * end - 0.125 * np.sin(2 * end)) + b * (1.0 - np.cos(end))
        errors.append(np.abs(state.potential - exact)[np.abs(x) < 1.0].max())
        mean = (prepared.mesh.volume * state.density) @ x
        assert mean == pytest.approx(b * end - (1.0 - np.cos(end)), abs=4.0 / count)
    assert_order(1 / np.array(counts), errors, 1.0, 0.1)


def test_mass_turns_in_a_circle():
    """H = |p|^2/2 + x py - y px moves mass by (-y, x) if phi = 0: no order of the cells solves that in one pass."""
    errors, counts = [], (32, 64)
    for count in counts:
        case = Case.parse(f"""
            mesh: {{kind: box, lower: [-2, -2], upper: [2, 2], cells: [{count}, {count}]}}
            flow: {{kind: hamilton-jacobi, potential: "0", hamiltonian: "0.5*(px**2 + py**2) + x*py - y*px"}}
            initial: {{kind: gaussian, mean: [0.5, 0], covariance: [[0.03, 0], [0, 0.03]]}}
            times: {{end: 0.5, step: {0.8 / count}}}
            """)
        prepared, state, figures = final(case)
        mean = (prepared.mesh.volume * state.density) @ prepared.mesh.centre
        errors.append(np.linalg.norm(mean - 0.5 * np.array([np.cos(0.5), np.sin(0.5)])))
        assert figures["mass_drift"] <= 1e-14
        assert figures["minimum"] >= 0
    assert errors[1] < 5e-3
    assert errors[1] < 0.6 * errors[0]


def test_periodic_axes_need_no_minimum():
    """H = c p translates phi and the density along a ring; between walls phi would not be defined."""
    text = """
        mesh: {{kind: box, lower: [0], upper: [1], cells: [{0}]{1}}}
        flow: {{kind: hamilton-jacobi, potential: "sin(2*pi*x)", hamiltonian: "0.5*px"}}
        initial: {{kind: expression, density: 1 + 0.5*cos(2*pi*x), mass: integral}}
        times: {{end: 0.4, step: {2}}}
        """
    errors = []
    for count in (100, 200):
        prepared, state, _ = final(Case.parse(text.format(count, ", periodic: [x]", 1 / count)))
        moved = prepared.mesh.centre[:, 0] - 0.5 * 0.4
        off = state.potential - np.sin(2 * np.pi * moved), state.density - (1 + 0.5 * np.cos(2 * np.pi * moved))
        errors.append([np.abs(part).max() for part in off])
    assert (np.array(errors[1]) < 0.6 * np.array(errors[0])).all()
    with pytest.raises(
        CaseError, match=r"flow\.hamiltonian: 0\.5\*px has no minimum over p at x = 0\.005, a cell at a"
    ):
        Case.parse(text.format(100, "", 0.01)).prepare()


def test_minima_of_convex_functions():
    """Along an axis by bisection, kinks included; between bounds by Newton's method; none where it only falls."""
    mesh = Graded((-1.0, -1.0), (1.0, 1.0), (4, 3), (2.0, 2.0)).build()
    x, y = mesh.centre.T
    for text, exact in (
        ("(px - 3*x)**2", 3 * x),
        ("abs(px - 0.3)", 0.3 + 0 * x),
        ("exp(px) + exp(-2*px)", np.log(2.0) / 3.0 + 0 * x),
        ("px - 2*x", -np.inf + 0 * x),
        ("-2*px", np.inf + 0 * x),
        ("max(abs(px - 100*y) - 5, 0)", None),
    ):
        found = least_along(on(mesh, text).cells, 0)
        if exact is None:
            assert (np.abs(found - 100 * y) <= 5 + 1e-9).all()
        else:
            np.testing.assert_allclose(found, exact, rtol=1e-12, atol=1e-12)
    free = np.full((2, mesh.cells), np.inf)
    found = least_between(
        on(mesh, "0.5*(px - x)**2 + 0.5*(py - y)**2 + 0.45*(px - x)*(py - y)").cells, np.zeros(free.shape), -free, free
    )
    np.testing.assert_allclose(found, mesh.centre.T, atol=1e-6)
    found = least_between(on(mesh, "(px**2 + py**2)**2 + exp(px + py)").cells, np.full(free.shape, 3.0), -free, free)
    gradient = on(mesh, "(px**2 + py**2)**2 + exp(px + py)").cells.gradient(found)
    assert np.abs(gradient).max() < 1e-5


def bad(hamiltonian, cells=(40,), potential="0.3*cos(3*x)", parameters="{k: 1.5}"):
    dimension = len(cells)
    return Case.parse(f"""
        mesh: {{kind: box, lower: {[-1] * dimension}, upper: {[1] * dimension}, cells: {list(cells)}}}
        flow: {{kind: hamilton-jacobi, potential: "{potential}", hamiltonian: {hamiltonian}}}
        initial: {{kind: uniform}}
        times: {{end: 1, step: 0.02}}
        parameters: {parameters}
        """)


@pytest.mark.parametrize(
    ("hamiltonian", "message"),
    [
        ('"0.5*px**2 + 0.3*pz"', r"flow\.hamiltonian: unknown name pz \(known here: k, pi, px, t, x;"),
        ('"0.5*p**2"', r"unknown name p; did you mean px\?"),
        ('"0.5*px**2 + y"', r"unknown name y \(known here: k, pi, px, t, x;"),
        ('"0.5*px**2 + kk*x"', r"unknown name kk; did you mean k\?"),
        ('"0.5*px**2 + inside(core)"', r"inside\(\.\.\.\) has no meaning here"),
        ("true", "expected a text or an expression, got true"),
        ("{kind: cubic}", r"unknown kind cubic \(one of quadratic, power\)"),
    ],
)
def test_what_is_refused_when_the_case_is_read(hamiltonian, message):
    with pytest.raises(CaseError, match=message):
        bad(hamiltonian)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-px**2", r"-px\*\*2 is not convex in p: it is above its chord at x = -0\.975, px = "),
        ("0.5*px**2 - 0.3*px**4", "is not convex in p"),
        ("where(x > 0.95, -1, 1)*px**2", r"is not convex in p: .* at x = 0\.975"),
        ("0.5*px**2 - 0.2*abs(px - 0.1)", "is not convex in p: it is above its chord"),
        ("0.5*px**2 + log(x)", r"0\.5\*px\*\*2 \+ log\(x\) is nan at x = -0\.975, px = .*; it has to be finite"),
        ("sqrt(px)", r"is nan at .*finite everywhere"),
        ("0.5*px**2 + gamma(px)", "the derivative of gamma is no function"),
        ("px", r"px has no minimum over p at x = -0\.975, a cell at a wall"),
    ],
)
def test_what_is_refused_before_the_run(text, message):
    with pytest.raises(CaseError, match=r"case:\d+:\d+: flow\.hamiltonian: .*" + message):
        bad(f'"{text}"').prepare()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("px*py", "is not convex in p: it is above its chord at x = "),
        ("0.5*px**2 + 3.03*px*py + 4.5*py**2", "is not convex in p: it is curved downwards"),
        ("0.5*(px**2 + py**2) - 0.3*abs(px - py)", "is not convex in p: it is above its chord"),
        ("abs(px - py) + 0.5*(px**2 + py**2)", r"the least .* over px, py is not found at .* kinks only where"),
    ],
)
def test_what_is_refused_in_two_dimensions(text, message):
    with pytest.raises(CaseError, match=message):
        bad(f'"{text}"', (12, 10), "0.3*cos(3*x) + 0.2*sin(4*y)").prepare()


@pytest.mark.parametrize("way", [1, -1])
def test_convexity_is_required_up_to_the_minimum(way):
    """At walls the scheme takes H at its minimum, here 0, beyond a bump between it and the slopes of phi."""
    text = '"0.5*px**2 + 0.5*exp(-20*(abs(px) - 1)**2)"'
    with pytest.raises(CaseError, match=r"is not convex in p: .* px = -?(0\.\d|1\.\d)"):
        bad(text, potential=f"{2 * way}*x + 0.02*sin(3*x)").prepare()


def test_names_of_momenta_are_taken():
    with pytest.raises(CaseError, match="the parameter px has the name of a momentum"):
        bad('"0.5*px**2"', parameters="{px: 1}").prepare()
    assert bad("{kind: quadratic}", parameters="{px: 1}").prepare() is not None


def test_slopes_that_grow_out_of_the_convex_range_end_the_run():
    """H is convex for |p| < sqrt(5): slopes grow like 3 tanh(3 t) |x|; what is in range is no reason to refuse."""
    hamiltonian = '"0.5*px**2 - px**4/60 - 4.5*x**2"'
    with pytest.raises(
        NumericsError, match=r"is not convex in p: .* at x = .*px = -?2\..*, t = 0\.3.* \(step 1\d, from"
    ):
        bad(hamiltonian, potential="0").run()
    bad('"-sqrt(1 - px**2)"', potential="0.8*x").prepare()


def test_what_jumps_at_a_seam_is_told():
    case = Case.parse("""
        mesh: {kind: box, lower: [-1], upper: [1], cells: [20], periodic: [x]}
        flow: {kind: hamilton-jacobi, potential: sin(pi*x), hamiltonian: 0.5*px**2 + x}
        initial: {kind: uniform}
        times: {end: 0.1, step: 0.1}
        """)
    assert "for p = 0 is -1 at the lower end of axis x and 1 at the upper end" in case.check()["seam"]
    assert "Godunov's scheme for H = 0.5*px**2 + x, convex where it was checked" in case.check()["method"]
    assert not case.flow.has_figure("hopf_lax")


def test_the_mean_over_both_cells_gives_other_slopes_their_place():
    """d_n H of a coupled H on a plane is exact at every face, walls and seams included."""
    for mesh in MESHES[2:4]:
        plane = np.array([0.7, -0.4])
        speed = on(mesh, COUPLED[2][0]).face_speed(mesh, mesh.normal @ plane)
        p = np.array([0.7 + 0.4 * -0.4, -0.4 + 0.4 * 0.7])
        exact = mesh.normal @ p + 0.3 * mesh.face_centre[:, 0] * mesh.normal[:, 0]
        np.testing.assert_allclose(speed, exact, rtol=1e-12)
