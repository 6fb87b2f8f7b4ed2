"""Hamilton-Jacobi equations: closed forms, the Hopf-Lax formula by brute force, and what monotone schemes keep."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import gaussian_density
from fvflow.mesh import Box, Graded
from fvflow.transport.hamilton_jacobi import (
    advance,
    hopf_lax,
    longest_step,
    lower_envelope,
    solve,
)
from fvflow.transport.hamiltonians import BaseHamiltonian, PowerHamiltonian, QuadraticHamiltonian
from fvflow.transport.hamiltonians import SeparableHamiltonian as Separable
from tests.contracts import assert_order
from tests.scenes import final

COUNTS = {1: (40,), 2: (9, 7), 3: (5, 4, 6)}
LINE = Box((-1.0,), (1.0,), (40,))


def boxes(dimension):
    """An even and a graded box, not centred, of different counts."""
    lower, upper = (-1.0, -0.5, -0.7)[:dimension], (1.0, 1.5, 0.8)[:dimension]
    even = Box(lower, upper, COUNTS[dimension])
    return [even.build(), Graded(lower, upper, COUNTS[dimension], (3.0, 0.5, 2.0)[:dimension]).build()]


MESHES = [mesh for dimension in (1, 2, 3) for mesh in boxes(dimension)]
each_mesh = pytest.mark.parametrize(
    "mesh", MESHES, ids=[f"{d}d-{kind}" for d in (1, 2, 3) for kind in ("even", "graded")]
)


def skew(p):
    """Convex, least at log(2)/3, not even."""
    return np.exp(p) + np.exp(-2.0 * p)


def kinked(p):
    """Convex, least at 0.3, with a kink there."""
    return np.abs(p - 0.3) + 0.25 * (p - 0.3) ** 2


def hamiltonians(dimension):
    """One of each kind, and several powers."""
    parts = (skew, kinked, np.cosh)[:dimension]
    return [
        QuadraticHamiltonian(),
        PowerHamiltonian(1.5),
        PowerHamiltonian(2.0),
        PowerHamiltonian(3.5),
        Separable(parts),
    ]


def value(hamiltonian, slope):
    """H(p), written once more."""
    if isinstance(hamiltonian, Separable):
        return sum(float(h(p)) for h, p in zip(hamiltonian.parts, slope, strict=True))
    q = 2.0 if isinstance(hamiltonian, QuadraticHamiltonian) else hamiltonian.exponent
    return float(np.linalg.norm(slope)) ** q / q


def brute(points, phi, at, time, r=2.0):
    """min_y phi(y) + time L((x - y)/time), L = |v|^r/r, at the points `at`."""
    far = np.linalg.norm(at[:, None, :] - points[None, :, :], axis=2)
    return (phi + time * (far / time) ** r / r).min(axis=1)


def last(frames):
    """The potential of the last frame."""
    return list(frames)[-1][1]


@each_mesh
def test_the_order_of_data_is_kept_and_distances_do_not_grow(mesh):
    """The comparison principle and the contraction at the longest step; constants pass through."""
    random = np.random.default_rng(mesh.cells)
    for hamiltonian in hamiltonians(mesh.dimension):
        for roughness in (0.03, 1.0):
            low = roughness * random.normal(size=mesh.cells)
            high = low + roughness * random.random(mesh.cells) * (random.random(mesh.cells) < 0.3)
            other = low + roughness * random.normal(size=mesh.cells)
            step = min(longest_step(mesh, phi, hamiltonian) for phi in (low, high, other))
            assert 0 < step < np.inf
            after = {
                name: advance(mesh, phi, hamiltonian, step) for name, phi in (("l", low), ("h", high), ("o", other))
            }
            size = np.abs(after["l"]).max() + step
            assert (after["l"] <= after["h"] + 1e-13 * size).all()
            for one, two in ((low, other), (high, other), (low, high)):
                moved = [advance(mesh, phi, hamiltonian, step) for phi in (one, two)]
                assert np.abs(moved[0] - moved[1]).max() <= np.abs(one - two).max() + 1e-13 * size
            lifted = advance(mesh, low + 7.0, hamiltonian, 0.9 * step)
            np.testing.assert_allclose(
                lifted, advance(mesh, low, hamiltonian, 0.9 * step) + 7.0, rtol=0, atol=1e-9 * size
            )


@each_mesh
def test_the_longest_step_is_sharp(mesh):
    """A cell's own weight in the step falls to 0 at the longest step, on even grids exactly there, and never below."""
    random, bump = np.random.default_rng(5), 1e-7
    even = all(np.ptp(np.diff(edge)) < 1e-12 for edge in mesh.edges)
    for hamiltonian in hamiltonians(mesh.dimension)[:4]:
        phi = random.normal(size=mesh.cells)
        step = 0.99 * longest_step(mesh, phi, hamiltonian)
        base = advance(mesh, phi, hamiltonian, step)
        raised = [advance(mesh, phi + bump * unit, hamiltonian, step) @ unit for unit in np.eye(mesh.cells)]
        least = (np.array(raised) - base).min() / bump
        assert -1e-4 <= least <= (0.011 if even else 0.5)


@each_mesh
def test_planes_move_at_the_rate_h_where_no_wall_is_felt(mesh):
    """phi = p.x - H(p) t away from the inflow walls, for every sign of the slopes."""
    for signs in np.ndindex(*(2,) * mesh.dimension):
        slope = np.array([0.9, 0.6, -0.8])[: mesh.dimension] * (1 - 2 * np.array(signs))
        phi = mesh.centre @ slope
        inner = np.ones(mesh.shape, bool)
        for axis in range(mesh.dimension):
            inner.swapaxes(mesh.dimension - 1 - axis, -1)[..., [0, -1]] = False
        for hamiltonian in hamiltonians(mesh.dimension):
            step = 0.5 * longest_step(mesh, phi, hamiltonian)
            moved = advance(mesh, phi, hamiltonian, step)[inner.ravel()]
            expected = phi[inner.ravel()] - step * value(hamiltonian, slope)
            np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_walls_let_out_and_nothing_in(way):
    """For phi = x the plane leaves through x = 1; from x = -1 spreads x^2/(2t), the best start is the wall itself."""
    mesh = Box((-1.0,), (1.0,), (800,)).build()
    x = way * mesh.centre[:, 0]
    found = last(solve(mesh, x, QuadraticHamiltonian(), [0.5]))
    from_wall = x + 1.0
    expected = np.where(from_wall < 0.5, from_wall**2 / (2 * 0.5) - 1.0, x - 0.25)
    assert np.abs(found - expected).max() < 4e-3
    np.testing.assert_allclose(hopf_lax(mesh, x, 0.5), expected, rtol=0, atol=2e-3)
    still = advance(mesh, x, QuadraticHamiltonian(), longest_step(mesh, x, QuadraticHamiltonian()))
    assert still[0 if way > 0 else -1] == x[0 if way > 0 else -1], "the wall let something in"


def test_one_cell_along_an_axis_is_one_dimension_less():
    thin, line = Box((-1.0, 0.0), (1.0, 0.1), (40, 1)).build(), LINE.build()
    phi = np.sin(3 * line.centre[:, 0])
    for hamiltonian in (QuadraticHamiltonian(), PowerHamiltonian(3.0)):
        found = last(solve(thin, phi, hamiltonian, [0.3]))
        np.testing.assert_array_equal(found, last(solve(line, phi, hamiltonian, [0.3])))
    np.testing.assert_array_equal(hopf_lax(thin, phi, 0.3), hopf_lax(line, phi, 0.3))


def gaussian(centre, time, means, deviations):
    """The potential of the geodesic between two products of Gaussians: notes, (71), with m, s linear in time."""
    total = np.zeros(len(centre))
    for x, (m0, m1), (s0, s1) in zip(centre.T, means, deviations, strict=False):
        m, s, dm, ds = m0 + time * (m1 - m0), s0 + time * (s1 - s0), m1 - m0, s1 - s0
        total += 0.5 * ds / s * (x - m) ** 2 + dm * (x - m) + 0.5 * dm**2 * time
    return total


@pytest.mark.parametrize(("dimension", "sizes"), [(1, (100, 200, 400)), (2, (30, 60, 120)), (3, (12, 24))])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
@pytest.mark.parametrize("deviations", [((0.5, 0.9),) * 3, ((1.0, 0.6),) * 3], ids=["spreading", "focusing"])
def test_first_order_for_gaussians(dimension, sizes, ratio, deviations):
    """Inside the domain of dependence: the cells whose characteristics start in the box."""
    means, time, errors = ((0.0, 0.2), (0.1, -0.1), (0.0, 0.15)), 0.5, []
    for count in sizes:
        mesh = Graded((-1.0,) * dimension, (1.0,) * dimension, (count,) * dimension, (ratio,) * dimension).build()
        exact = partial(gaussian, mesh.centre, means=means, deviations=deviations)
        found = last(solve(mesh, exact(0.0), QuadraticHamiltonian(), [0.2, time]))
        inside = np.ones(mesh.cells, bool)
        for x, (m0, m1), (s0, s1) in zip(mesh.centre.T, means, deviations, strict=False):
            start = m0 + s0 * (x - m0 - time * (m1 - m0)) / (s0 + time * (s1 - s0))
            inside &= (np.abs(start) < 0.9) & (np.abs(x) < 0.9)
        errors.append(np.abs(found - exact(time))[inside].max())
    assert_order(1 / np.array(sizes), errors, 1.0, (0.1, 0.2, 0.25)[dimension - 1])
    assert errors[-1] * sizes[-1] < 0.7 * dimension


@dataclass(frozen=True)
class WithPotential(BaseHamiltonian):
    """|p|^2/2 + V(x): a Hamiltonian of one's own that depends on the cell."""

    potential: np.ndarray

    def godunov(self, minus, plus):
        value, speed = QuadraticHamiltonian().godunov(minus, plus)
        return value + self.potential, speed


def test_riccati_with_a_potential():
    """phi = a x^2/2 with a' + a^2 = k^2, a(0) = 0: a = k tanh(k t), for H = p^2/2 - k^2 x^2/2."""
    k, sizes, errors = 1.5, (100, 200, 400), []
    for count in sizes:
        mesh = Box((-1.0,), (1.0,), (count,)).build()
        x = mesh.centre[:, 0]
        times = np.linspace(0.0, 0.6, count // 2)  # phi = 0 sets no step of its own
        found = last(solve(mesh, 0.0 * x, WithPotential(-0.5 * k**2 * x**2), times))
        errors.append(np.abs(found - 0.5 * k * np.tanh(k * 0.6) * x**2).max())
    assert_order(1 / np.array(sizes), errors, 1.0, 0.1)


KINKS = {
    "valley": lambda x: np.abs(x[:, 0] - 0.1),
    "ridge": lambda x: -np.abs(x[:, 0] - 0.1),
    "zigzag": lambda x: np.abs(np.abs(x[:, 0]) - 0.4),
}


def to_hopf_lax(kind, hamiltonian, r, counts, time=0.3):
    """Errors in L1 and the maximum against the formula over a fine sample of the data, box walls included."""
    fine = np.linspace(-1.0, 1.0, 16001)[:, None]
    errors = []
    for count in counts:
        mesh = Box((-1.0,), (1.0,), (count,)).build()
        found = last(solve(mesh, KINKS[kind](mesh.centre), hamiltonian, [time]))
        off = np.abs(found - brute(fine, KINKS[kind](fine), mesh.centre, time, r))
        errors.append((mesh.volume @ off, off.max()))
    return np.array(errors).T


@pytest.mark.parametrize("kind", KINKS)
@pytest.mark.parametrize("q", [2.0, 1.5, 3.0])
def test_kinked_data_converge_to_hopf_lax(kind, q):
    counts = np.array([40, 80, 160])  # the kinks stay on edges
    hamiltonian = QuadraticHamiltonian() if q == 2.0 else PowerHamiltonian(q)
    l1, most = to_hopf_lax(kind, hamiltonian, q / (q - 1.0), counts)
    orders = [np.log(error[0] / error[-1]) / np.log(counts[-1] / counts[0]) for error in (l1, most)]
    assert orders[0] >= 0.75, (orders, l1)
    assert orders[1] >= 0.5, (orders, most)
    assert l1[-1] < 0.02


def test_powers_in_two_dimensions_against_hopf_lax():
    """The norm in |p|^q/q is Euclidean: a cone spreads round, from a point off the centre; r = q/(q - 1)."""
    for q in (1.5, 3.0):
        errors = []
        for count in (16, 32):
            mesh = Box((-1.0, -1.0), (1.0, 1.0), (count, count)).build()
            fine = Box((-1.0, -1.0), (1.0, 1.0), (64, 64)).build().centre

            def cone(x):
                return np.hypot(x[:, 0] - 0.25, x[:, 1] + 0.125) + 0.5 * x[:, 1]

            found = last(solve(mesh, cone(mesh.centre), PowerHamiltonian(q), [0.4]))
            exact = brute(fine, cone(fine), mesh.centre, 0.4, q / (q - 1.0))
            errors.append(mesh.volume @ np.abs(found - exact))
        assert errors[1] < 0.1
        assert errors[1] < 0.66 * errors[0], errors


def test_kinds_agree_where_they_should():
    random = np.random.default_rng(8)
    for mesh in MESHES:
        phi = random.normal(size=mesh.cells)
        halves = Separable((lambda p: 0.5 * p**2,) * mesh.dimension, (0.0,) * mesh.dimension)
        step = longest_step(mesh, phi, QuadraticHamiltonian())
        assert longest_step(mesh, phi, PowerHamiltonian(2.0)) == pytest.approx(step, rel=1e-12)
        assert 0.99 * step <= longest_step(mesh, phi, halves) <= step
        expected = advance(mesh, phi, QuadraticHamiltonian(), 0.9 * step)
        for other in (PowerHamiltonian(2.0), halves, Separable(halves.parts)):
            np.testing.assert_allclose(advance(mesh, phi, other, 0.9 * step), expected, rtol=1e-12, atol=1e-12)


def test_a_separable_hamiltonian_has_godunovs_flux():
    """min of h between the slopes if p- <= p+, else max: by brute force; the bound of the speed is one."""
    random = np.random.default_rng(9)
    for h, least in (
        (skew, np.log(2.0) / 3.0),
        (kinked, 0.3),
        (lambda p: np.maximum(np.abs(p + 1.0) - 0.5, 0.0), -1.0),
    ):
        found = Separable((h,))
        assert found.minimisers[0] == pytest.approx(least, abs=0.5 if h(least) == 0 else 1e-6)
        for minus, plus in random.normal(0, 2, (60, 2)):
            between = np.append(np.linspace(minus, plus, 2001), np.clip(least, *sorted((minus, plus))))
            expected = h(between).min() if minus <= plus else h(between).max()
            ends = np.array([[minus]]), np.array([[plus]])
            (value,), ((speed,),) = found.godunov(*ends)
            assert value == pytest.approx(expected, abs=1e-6)
            for change in ((1e-5, 0.0), (0.0, -1e-5)):
                raised = found.godunov(*(end + part for end, part in zip(ends, change, strict=True)))[0][0]
                assert -1e-12 <= raised - value <= 1.001e-5 * speed + 1e-9


@each_mesh
@pytest.mark.parametrize("time", [1e-7, 3e-3, 0.2, 50.0])
def test_hopf_lax_is_the_minimum(mesh, time):
    random = np.random.default_rng(10)
    for phi in (random.normal(size=mesh.cells), np.sin(4 * mesh.centre.sum(axis=1)), np.zeros(mesh.cells)):
        expected = brute(mesh.centre, phi, mesh.centre, time)
        np.testing.assert_allclose(hopf_lax(mesh, phi, time), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(hopf_lax(mesh, phi, 0.0), phi)


def test_the_compiled_envelope_is_the_plain_one():
    random = np.random.default_rng(11)
    at, values = np.sort(random.random(50)), random.normal(size=(6, 50))
    for time in (1e-5, 1e-2, 1.0):
        np.testing.assert_allclose(
            lower_envelope(values, at, time), lower_envelope.py_func(values, at, time), rtol=1e-14
        )


def test_hopf_lax_in_two_steps_is_never_below_one_and_converges_to_it():
    """The semigroup: through the centres the way is longer, by O(h^2/t) for smooth data."""
    gaps, sizes = [], (24, 48, 96, 192)
    for count in sizes:
        mesh = Box((-1.0, 0.0), (1.0, 1.0), (count, count // 2)).build()
        phi = np.cos(3 * mesh.centre[:, 0]) + mesh.centre[:, 1] ** 2
        gap = hopf_lax(mesh, hopf_lax(mesh, phi, 0.2), 0.3) - hopf_lax(mesh, phi, 0.5)
        assert gap.min() >= -1e-14
        gaps.append(gap.max())
    assert 0 < gaps[-1] < 3e-4
    assert np.log(gaps[0] / gaps[-1]) / np.log(8) > 1.5


def test_the_scheme_meets_the_times_and_is_a_semigroup():
    mesh = LINE.build()
    phi = np.cos(4 * mesh.centre[:, 0])
    frames = list(solve(mesh, phi, QuadraticHamiltonian(), [0.0, 0.1, 0.37]))
    assert [time for time, _ in frames] == [0.0, 0.1, 0.37]
    np.testing.assert_array_equal(frames[0][1], phi)
    again = last(solve(mesh, frames[1][1], QuadraticHamiltonian(), [0.37 - 0.1]))
    np.testing.assert_allclose(again, frames[2][1], rtol=0, atol=1e-13)
    frames[0][1][:] = np.nan
    assert np.isfinite(phi).all()


def test_a_skew_hamiltonian_against_hopf_lax():
    """L by maximising over slopes; phi = 0 falls at the rate H(0), but not where its start would be beyond the wall."""
    p, v, fine, time = np.linspace(-4.0, 4.0, 2001), np.linspace(-9.0, 9.0, 1801), np.linspace(-1.0, 1.0, 1001), 0.25
    lagrangian = np.max(v[:, None] * p - skew(p), axis=1)
    for start in (np.zeros_like, lambda x: 0.4 * np.cos(5.0 * x)):
        errors, counts = [], (50, 100, 200)
        for count in counts:
            mesh = Box((-1.0,), (1.0,), (count,)).build()
            x = mesh.centre[:, 0]
            paths = start(fine) + time * np.interp((x[:, None] - fine) / time, v, lagrangian)
            found = last(solve(mesh, start(x), Separable((skew,)), [time]))
            errors.append(np.abs(found - paths.min(axis=1)) @ mesh.volume)
            if start is np.zeros_like:
                np.testing.assert_allclose(found[x < 0.0], -time * skew(0.0), rtol=0, atol=1e-5)
                assert found[-1] == pytest.approx(-time * skew(np.log(2.0) / 3.0), rel=1e-9), "the wall rests: v = 0"
        assert errors[-1] < 0.01
        assert errors[-1] < 0.4 * errors[0], errors


def test_a_step_beyond_the_limit_is_refused():
    mesh = LINE.build()
    phi = 2.0 * np.abs(mesh.centre[:, 0])
    assert longest_step(mesh, phi, QuadraticHamiltonian()) == pytest.approx(0.05 / 2.0, rel=1e-12)
    advance(mesh, phi, QuadraticHamiltonian(), longest_step(mesh, phi, QuadraticHamiltonian()))
    with pytest.raises(NumericsError, match=r"a step of 0.0251 is not monotone; use one from 0 to 0.025, or solve"):
        advance(mesh, phi, QuadraticHamiltonian(), 0.0251)
    assert longest_step(mesh, np.ones(40), QuadraticHamiltonian()) == np.inf
    with pytest.raises(NumericsError, match=r"a step of -0\.1 is not monotone"):
        advance(mesh, phi, QuadraticHamiltonian(), -0.1)
    with pytest.raises(NumericsError, match="1 is left in steps of at most 0"):
        list(solve(mesh, 1e200 * phi, QuadraticHamiltonian(), [1.0]))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda m: PowerHamiltonian(1.0), "finite q > 1"),
        (lambda m: PowerHamiltonian(float("nan")), "finite q > 1"),
        (lambda m: Separable((lambda p: p,)), "no minimum"),
        (lambda m: Separable((np.cosh,), (0.5,)), "no minimum at p = 0.5"),
        (
            lambda m: advance(m, np.zeros(40), Separable((np.cosh,), (0.0, 0.0)), 0.1),
            "1 parts of H, 2 minimisers",
        ),
        (
            lambda m: advance(m, np.zeros(40), Separable((np.cosh, np.cosh)), 0.1),
            "2 parts of H, 2 minimisers, 1 axes",
        ),
        (lambda m: last(solve(m, np.zeros(39), QuadraticHamiltonian(), [1.0])), r"phi \(39,\) is not one finite"),
        (
            lambda m: last(solve(m, np.full(40, np.nan), QuadraticHamiltonian(), [1.0])),
            r"phi \(40,\) is not one finite",
        ),
        (lambda m: last(solve(m, np.zeros(40), QuadraticHamiltonian(), [0.2, 0.1])), "ascending"),
        (lambda m: last(solve(m, np.zeros(40), QuadraticHamiltonian(), [-0.1])), "ascending"),
        (lambda m: last(solve(m, np.zeros(40), QuadraticHamiltonian(), [np.inf])), "finite"),
        (lambda m: last(solve(m, np.zeros(40), QuadraticHamiltonian(), [1.0], cfl=1.5)), "cfl 1.5"),
        (lambda m: hopf_lax(SimpleNamespace(edges=None), np.zeros(40), 1.0), "not a grid"),
        (lambda m: hopf_lax(m, np.zeros(40), -1.0), "time -1"),
        (lambda m: hopf_lax(m, np.zeros(40), np.nan), "time nan"),
    ],
)
def test_what_is_refused(attempt, message):
    with pytest.raises(CaseError, match=message):
        attempt(LINE.build())


def flow(cells, step, **changes):
    """phi = a x^2/2 + b x carries N(m, s^2) to N(m + t (a m + b), s^2 (1 + a t)^2)."""
    case = Case.parse(f"""
        mesh: {{kind: box, lower: [-3], upper: [3], cells: [{cells}]}}
        flow: {{kind: hamilton-jacobi, potential: "-0.4*x**2/2 + 0.6*x"}}
        initial: {{kind: gaussian, mean: [-0.5], covariance: [[0.16]]}}
        times: {{end: 0.8, step: {step}}}
        """)
    return case.replace({path.replace("__", "."): value for path, value in changes.items()}) if changes else case


def test_a_flow_carries_a_gaussian_to_a_gaussian():
    errors = []
    for cells in (100, 200, 400):
        prepared, state, figures = final(flow(cells, 2.0 / cells))
        a, b, t = -0.4, 0.6, 0.8
        mean, deviation = -0.5 + t * (a * -0.5 + b), 0.4 * (1 + a * t)
        exact = gaussian_density(prepared.mesh, np.array([mean]), np.array([[deviation**2]]), "average")
        errors.append(prepared.mesh.volume @ np.abs(state.density - exact))
        assert figures["mass_drift"] <= 1e-14
        assert figures["minimum"] >= 0
        assert figures["hopf_lax"] <= 0.02
    assert_order([4, 2, 1], errors, 1.0, 0.25)


def test_a_power_is_a_hamiltonian_of_a_case():
    """q = 2 is the quadratic one; Hopf-Lax is checked for that alone."""
    kept = final(flow(100, 0.05))[1]
    power = final(flow(100, 0.05, flow__hamiltonian={"kind": "power", "exponent": 2.0}))[1]
    np.testing.assert_allclose(power.density, kept.density, rtol=1e-10, atol=1e-14)
    assert final(flow(100, 0.05, flow__hamiltonian={"kind": "power", "exponent": 3.0}))[2]["mass_drift"] <= 1e-14
    with pytest.raises(CaseError, match="with the hamiltonian quadratic"):
        flow(100, 0.05, checks={"hopf_lax": 1.0}, flow__hamiltonian={"kind": "power", "exponent": 3.0})
    with pytest.raises(CaseError, match="has no closed form; leave out exact"):
        flow(100, 0.05, exact={"kind": "gaussian"})
    with pytest.raises(CaseError, match=r"needs a finite q > 1"):
        flow(100, 0.05, flow__hamiltonian={"kind": "power", "exponent": 1.0})


def test_face_speeds_are_the_gradients_of_h_on_planes():
    """p.n for |p|^2/2, |p|^(q-2) p.n for |p|^q/q; a Hamiltonian that defines no velocity says so."""
    mesh, plane = MESHES[2], np.array([3.0, -4.0])
    slope, inner = mesh.normal @ plane, np.ones(mesh.cells, bool)
    inner[np.bincount(mesh.owner, minlength=mesh.cells) + np.bincount(mesh.neighbour, minlength=mesh.cells) < 4] = False
    np.testing.assert_array_equal(QuadraticHamiltonian().face_speed(mesh, slope), slope)
    between = inner[mesh.owner] & inner[mesh.neighbour]
    assert between.any()
    for q in (1.5, 2.0, 3.0):
        speed = PowerHamiltonian(q).face_speed(mesh, slope)
        np.testing.assert_allclose(speed[between], 5.0 ** (q - 2.0) * slope[between], rtol=1e-12)
        assert (PowerHamiltonian(q).face_speed(mesh, 0.0 * slope) == 0.0).all()
    assert QuadraticHamiltonian().hopf_lax_available
    for other in (PowerHamiltonian(3.0), Separable((np.cosh,)), WithPotential(np.zeros(1))):
        assert not other.hopf_lax_available
    with pytest.raises(NotImplementedError, match="WithPotential has no velocity grad_p H; define face_speed"):
        WithPotential(np.zeros(1)).face_speed(mesh, slope)


def test_the_speed_of_a_power_sees_the_whole_gradient():
    """grad_p |p|^3/3 = |p| p: along a diagonal plane each component is |p| p_a, not p_a^2."""
    diagonal = Case.parse("""
        mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [12, 12]}
        flow: {kind: hamilton-jacobi, potential: 3*x + 4*y, hamiltonian: {kind: power, exponent: 3}}
        initial: {kind: uniform}
        times: {end: 0.001, step: 0.001}
        """)
    first = next(diagonal.prepare().frames())
    middle = np.reshape(first.fields["v_x"], (12, 12))[5, 5], np.reshape(first.fields["v_y"], (12, 12))[5, 5]
    np.testing.assert_allclose(middle, (15.0, 20.0), rtol=1e-12)


@pytest.mark.parametrize("exponent", [float("inf"), -2.0])
def test_the_exponent_of_a_power_is_finite_and_above_one(exponent):
    with pytest.raises(CaseError, match="finite q > 1"):
        PowerHamiltonian(exponent)
