"""Proximal maps against closed forms, brute force and pyproximal; the iterations against optimality conditions."""

from dataclasses import FrozenInstanceError
from itertools import islice, pairwise

import mpmath
import numpy as np
import pylops
import pyproximal
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.sparse import csr_array, csr_matrix, diags_array, kron

from fvflow.errors import CaseError, NumericsError
from fvflow.transport.proximal import (
    AffineProjection,
    BoxProjection,
    Conjugate,
    KineticAction,
    L1Norm,
    NonNegativeProjection,
    ParaboloidProjection,
    Projection,
    QuadraticFunction,
    SimplexProjection,
)
from fvflow.transport.splitting import chambolle_pock, douglas_rachford, fista, last, observed, proximal_gradient, until

SIZE = 6
RANDOM = np.random.default_rng(0)
WIDE, RIGHT = RANDOM.normal(size=(3, SIZE)), RANDOM.normal(size=3)
ROOT = RANDOM.normal(size=(SIZE, SIZE))
CENTRE = RANDOM.normal(size=SIZE)
FUNCTIONS = {
    "theta": KineticAction(),
    "paraboloid": ParaboloidProjection(),
    "l1": L1Norm(0.7),
    "l1-weights": L1Norm(np.linspace(0.0, 2.0, SIZE)),
    "quadratic": QuadraticFunction(CENTRE, 3.0),
    "quadratic-matrix": QuadraticFunction(CENTRE, ROOT @ ROOT.T),
    "quadratic-singular": QuadraticFunction(CENTRE, WIDE.T @ WIDE),
    "box": BoxProjection(-0.5, np.linspace(0.0, 1.0, SIZE)),
    "nonnegative": NonNegativeProjection(),
    "simplex": SimplexProjection(1.5),
    "affine": AffineProjection(WIDE, RIGHT),
    "affine-sparse": AffineProjection(csr_array(WIDE), RIGHT),
}
SETS = {name: f for name, f in FUNCTIONS.items() if isinstance(f, Projection)}
everywhere = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
vectors = st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=SIZE, max_size=SIZE).map(np.array)
steps = st.floats(1e-3, 1e3)


def problem():
    """A lasso of 30 equations for 60 unknowns, few of which are not 0: A, b, mu, L."""
    random = np.random.default_rng(3)
    matrix = random.normal(size=(30, 60))
    truth = np.where(np.arange(60) % 12 == 5, 3.0, 0.0)
    right = matrix @ truth + 0.01 * random.normal(size=30)
    return matrix, right, 0.5, float(np.linalg.norm(matrix, 2) ** 2)


def gradient_of(matrix, right):
    return lambda x: matrix.T @ (matrix @ x - right)


# Every function -----------------------------------------------------------------------------------------------------


@everywhere
@given(vectors, vectors, steps)
@settings(max_examples=25, deadline=None)
def test_firmly_nonexpansive(function, x, y, step):
    """<x - y, x' - y'> >= |x' - y'|^2, (91)-(92)."""
    moved, image = x - y, function.prox(x, step) - function.prox(y, step)
    assert moved @ image >= image @ image - 1e-11 * (1 + moved @ moved)


@everywhere
def test_the_image_is_the_minimiser(function):
    """(x - x')/step is a subgradient at x', (89) with (81): f(u) >= f(x') + <x - x', u - x'>/step for all u."""
    random = np.random.default_rng(4)
    for _ in range(15):
        x, step = 2.0 * random.normal(size=SIZE), 10.0 ** random.uniform(-2, 2)
        before = x.copy()
        image = function.prox(x, step)
        np.testing.assert_array_equal(x, before, err_msg="the argument was changed")
        least = function.value(image)
        assert np.isfinite(least)
        others = [
            function.prox(image + 10.0 ** random.uniform(-4, 1) * random.normal(size=SIZE), 1e-3) for _ in range(30)
        ]
        for u in [*others, *(image + t * (o - image) for t in (0.5, 1e-3) for o in others)]:
            bound = least + (x - image) @ (u - image) / step
            assert function.value(u) >= bound - 1e-10 * (1 + abs(bound) + np.linalg.norm(x - image) / step)


@everywhere
def test_moreau(function):
    """x = prox_{s f}(x) + s prox_{f*/s}(x/s), and f** = f."""
    random = np.random.default_rng(5)
    for step in (0.3, 1.0, 7.0):
        x = 3.0 * random.normal(size=SIZE)
        image = function.prox(x, step)
        np.testing.assert_allclose(Conjugate(Conjugate(function)).prox(x, step), image, atol=1e-13)
        np.testing.assert_allclose(image + step * Conjugate(function).prox(x / step, 1 / step), x, atol=1e-13)


@pytest.mark.parametrize("function", SETS.values(), ids=SETS)
def test_projections(function):
    """Idempotent, in the set, the value tells inside from outside, no step."""
    random = np.random.default_rng(6)
    for _ in range(20):
        x = 3.0 * random.normal(size=SIZE)
        image = function.prox(x)
        np.testing.assert_allclose(function.prox(image), image, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(function.prox(x, 1e-3), function.prox(x, 1e3))
        assert function.value(image) == 0.0
        assert function.value(x) == (0.0 if np.allclose(x, image, rtol=0, atol=1e-9) else np.inf)


def test_known_conjugates():
    x, step = 3.0 * np.random.default_rng(7).normal(size=SIZE), 0.6
    q, _ = np.linalg.qr(WIDE.T)
    for function, expected in (
        (L1Norm(0.7), BoxProjection(-0.7, 0.7).prox(x)),
        (NonNegativeProjection(), np.minimum(x, 0.0)),
        (QuadraticFunction(0.0, 4.0), QuadraticFunction(0.0, 0.25).prox(x, step)),
        (QuadraticFunction(CENTRE, 1.0), (x - step * CENTRE) / (1.0 + step)),
        (AffineProjection(WIDE, np.zeros(3)), q @ (q.T @ x)),
        (KineticAction(), ParaboloidProjection().prox(x)),
    ):
        np.testing.assert_allclose(Conjugate(function).prox(x, step), expected, rtol=0, atol=1e-14)


def test_closed_forms():
    x = np.array([3.0, -0.2, 0.5, -2.0])
    np.testing.assert_array_equal(L1Norm(2.0).prox(x, 0.25), [2.5, 0.0, 0.0, -1.5])
    np.testing.assert_allclose(
        QuadraticFunction(1.0, 3.0).prox(x, 2.0), 1.0 + (x - 1.0) / 7.0, rtol=1e-15
    )  # x/(1 + k tau)
    np.testing.assert_array_equal(BoxProjection(-1.0, 1.0).prox(x), [1.0, -0.2, 0.5, -1.0])
    np.testing.assert_array_equal(NonNegativeProjection().prox(1e9 * x), [3e9, 0.0, 0.5e9, 0.0])
    np.testing.assert_allclose(SimplexProjection(3.0).prox(x), [2.75, 0.0, 0.25, 0.0], rtol=1e-15)
    np.testing.assert_allclose(SimplexProjection().prox(np.array([1e17, 1e17])), [0.5, 0.5], rtol=1e-15)
    assert SimplexProjection().prox(np.zeros((4, 5))) == pytest.approx(np.full((4, 5), 0.05), rel=1e-15)
    assert (L1Norm(2.0).value(x), QuadraticFunction(1.0, 3.0).value(np.array([3.0, 0.0]))) == (11.4, 7.5)
    plane = AffineProjection(np.array([[1.0, 1.0]]), np.array([2.0]))
    np.testing.assert_allclose(plane.prox(np.array([3.0, 0.0])), [2.5, -0.5], rtol=1e-15)


# theta --------------------------------------------------------------------------------------------------------------


def columns():
    """(rho, m) of all sizes and signs (3, 4000), and steps (4000,)."""
    random = np.random.default_rng(8)
    x = random.choice([-1.0, 1.0], size=(3, 4000)) * 10.0 ** random.uniform(-6, 6, (3, 4000))
    x[0, ::50], x[1:, ::40], x[1, ::7] = 0.0, 0.0, 0.0
    return x, 10.0 ** random.uniform(-4, 4, 4000)


def test_theta():
    theta, columns_of = KineticAction(), lambda *pairs: np.array(pairs).T
    assert theta.value(columns_of((2.0, 3.0), (0.5, -1.0), (0.0, 0.0))) == 2.25 + 1.0
    for wrong in ((0.0, 1e-200), (-1.0, 0.0), (-1e-300, 0.0)):
        assert theta.value(columns_of((1.0, 1.0), wrong)) == np.inf
    random = np.random.default_rng(9)
    for one, other in random.uniform(0.1, 3.0, (50, 2, 3, 4)):
        assert theta.value(7.0 * one) == pytest.approx(7.0 * theta.value(one), rel=1e-14)
        assert 2.0 * theta.value((one + other) / 2) <= theta.value(one) + theta.value(other)
    p, q = random.uniform(0.1, 3.0, (2, 3, 4))  # theta(p) = <p, y> at y = (-|v|^2/2, v), theta(q) >= <q, y> elsewhere
    y = np.concatenate([[-0.5 * np.sum((p[1:] / p[0]) ** 2, axis=0)], p[1:] / p[0]])
    assert ParaboloidProjection().value(y) == 0.0
    assert theta.value(p) == pytest.approx(np.vdot(p, y), rel=1e-14)
    assert theta.value(q) > np.vdot(q, y)


def test_theta_solves_its_cubic():
    """(y - s) y^2 = c to 1e-12 of its terms, and no mass where step rho + |m|^2/2 <= 0."""
    x, step = columns()
    image = KineticAction().prox(x, step)
    kinetic = 0.5 * (x[1] ** 2 + x[2] ** 2)
    empty = step * x[0] + kinetic <= 0
    assert 500 < empty.sum() < 3500
    assert (image[:, empty] == 0).all()
    assert (image[0, ~empty] > 0).all()
    y, s, c = image[0] + step, x[0] + step, step * kinetic
    terms = (y + np.abs(s)) * y**2 + c
    assert (np.abs((y - s) * y**2 - c) <= 1e-12 * terms)[~empty].all()
    np.testing.assert_allclose(image[1:, ~empty] * y[~empty], (x[1:] * image[0])[:, ~empty], rtol=1e-14)
    for one in (0, 7, 1234):  # one step for all is the same step for each
        np.testing.assert_array_equal(KineticAction().prox(x[:, one, None], float(step[one]))[:, 0], image[:, one])
    block = np.stack([x[:, :12].reshape(3, 3, 4)] * 2, axis=1)  # any trailing axes
    np.testing.assert_array_equal(
        KineticAction().prox(block, 1.0)[:, 1].reshape(3, 12), KineticAction().prox(x[:, :12], 1.0)
    )


def exact_density(rho, kinetic, step):
    """The root r >= max(rho, 0) of (r - rho)(r + step)^2 = step kinetic, all doubles, by bisection in 60 digits."""
    with mpmath.workdps(60):
        rho, kinetic, step = (mpmath.mpf(part) for part in (rho, kinetic, step))
        low = max(rho, mpmath.mpf(0))
        high = low + mpmath.cbrt(step * kinetic)
        for _ in range(260):
            middle = (low + high) / 2
            below = (middle - rho) * (middle + step) ** 2 < step * kinetic
            low, high = (middle, high) if below else (low, middle)
        return float(low)


@pytest.mark.parametrize("exponent", [0, -10, -20, -30, -40, -50])
@pytest.mark.parametrize(("rho", "step"), [(-1.0, 1.0), (-1024.0, 2.0**-10), (-(2.0**-6), 64.0)])
def test_theta_keeps_all_digits_next_to_vacuum(rho, step, exponent):
    """|m|^2/2 = 1 + 2^exponent where step rho = -1, exactly: rho' is about 2^exponent/(step + 2 |rho|)."""
    excess = 2.0**exponent
    m = np.array([1.0, 1.0, 2.0 ** (exponent / 2), 2.0 ** (exponent / 2)])
    found = KineticAction().prox(np.array([rho, *m])[:, None], step)[:, 0]
    density = exact_density(rho, 1.0 + excess, step)
    assert found[0] == pytest.approx(density, rel=2e-15)
    np.testing.assert_allclose(found[1:], m * (density / (density + step)), rtol=4e-15)


def test_theta_keeps_all_digits_elsewhere():
    random = np.random.default_rng(10)
    for _ in range(40):
        rho, m, step = 10.0 ** random.uniform(-8, 3), 10.0 ** random.uniform(-6, 3), 10.0 ** random.uniform(-4, 6)
        found = KineticAction().prox(np.array([[rho], [m]]), step)[:, 0]
        density = exact_density(rho, 0.5 * m * m, step)
        assert found == pytest.approx([density, m * density / (density + step)], rel=2e-15)


def test_theta_by_brute_force():
    """The least of step theta(u) + |u - x|^2/2 on grids that close in on it, and at (0, 0)."""
    random, vacuum = np.random.default_rng(11), 0
    for _ in range(25):
        (rho, m), step = random.uniform(-2, 2, 2), random.uniform(0.1, 2)

        def height(r, q, rho=rho, m=m, step=step):
            return step * q**2 / (2 * r) + 0.5 * (r - rho) ** 2 + 0.5 * (q - m) ** 2

        best, width = np.array([2.0, 0.0]), 4.0
        for _ in range(40):
            r = np.maximum(best[0] + width * np.linspace(-1, 1, 21), 1e-12)[:, None]
            q = best[1] + width * np.linspace(-1, 1, 21)
            i, j = np.unravel_index(np.argmin(height(r, q)), (21, 21))
            best, width = np.array([r[i, 0], q[j]]), 0.6 * width
        if 0.5 * rho**2 + 0.5 * m**2 < height(*best):
            best, vacuum = np.zeros(2), vacuum + 1
        np.testing.assert_allclose(KineticAction().prox(np.array([[rho], [m]]), step)[:, 0], best, rtol=0, atol=1e-6)
    assert 3 < vacuum < 22


def test_paraboloid():
    """On its surface outside; the point itself inside; nearer than points about it."""
    x, _ = columns()
    image = ParaboloidProjection().prox(x)
    inside = x[0] + 0.5 * (x[1] ** 2 + x[2] ** 2) <= 0
    np.testing.assert_array_equal(image[:, inside], x[:, inside])
    np.testing.assert_array_equal(image[0, ~inside], -0.5 * np.sum(image[1:, ~inside] ** 2, axis=0))
    gap = (x - image)[:, ~inside]  # along the normal (1, b)
    np.testing.assert_allclose(gap[1:], gap[0] * image[1:, ~inside], rtol=1e-6, atol=1e-12 * np.abs(x).max())
    assert (gap[0] >= 0).all()
    np.testing.assert_allclose(ParaboloidProjection().prox(np.array([1.0, 0.0])), [0.0, 0.0], atol=0)


# A x = b --------------------------------------------------------------------------------------------------------------


def continuity(cells, intervals):
    """The rows of (rho^{k+1} - rho^k)/dt + div m, of which one follows from the others if rho^0 and rho^N are given."""
    inner = diags_array([1.0, -1.0], offsets=[0, -1], shape=(intervals, intervals - 1)) * intervals
    change = kron(inner, diags_array(np.ones(cells)))
    outflow = diags_array([1.0, -1.0], offsets=[0, -1], shape=(cells, cells - 1)) * cells
    return csr_array(np.hstack([change.toarray(), kron(diags_array(np.ones(intervals)), outflow).toarray()]))


@pytest.mark.parametrize("kind", [np.asarray, csr_array, csr_matrix], ids=["dense", "array", "matrix"])
def test_affine(kind):
    """A u = b, and u - x in the range of A^T: (127) by pinv."""
    random = np.random.default_rng(12)
    matrix = random.normal(size=(8, 20)) * 10.0 ** np.arange(-4.0, 4.0)[:, None]
    right, x = matrix @ random.normal(size=20), random.normal(size=20)
    image = AffineProjection(kind(matrix), right).prox(x)
    np.testing.assert_allclose(matrix @ image, right, rtol=1e-12, atol=1e-12 * np.abs(matrix).max(1).min())
    scaled = matrix / np.linalg.norm(matrix, axis=1)[:, None]
    kernel = np.eye(20) - np.linalg.pinv(scaled) @ scaled
    np.testing.assert_allclose(kernel @ (image - x), 0.0, atol=1e-12)
    stacked = AffineProjection(kind(matrix), right).prox(x.reshape(4, 5))
    np.testing.assert_array_equal(stacked, image.reshape(4, 5))


def test_affine_with_a_large_condition():
    """2000 differences: |A A^T| |(A A^T)^{-1}| = 1.6e6, A u = b to round-off all the same."""
    matrix = csr_array(diags_array([1.0, -1.0], offsets=[0, 1], shape=(2000, 2001)))
    image = AffineProjection(matrix, np.ones(2000)).prox(np.zeros(2001))
    np.testing.assert_allclose(image, 1000.0 - np.arange(2001.0), rtol=0, atol=1e-12)


def test_affine_on_the_continuity_equation():
    """Its last row is the balance of mass of all others: refused; without it, A u = b in every row."""
    matrix, random = continuity(12, 8), np.random.default_rng(13)
    start, end = random.random((2, 12))
    end *= start.sum() / end.sum()
    right = np.concatenate([8 * start, np.zeros(6 * 12), -8 * end])
    with pytest.raises(CaseError, match="96 rows of A, for 172 unknowns, are linearly dependent; drop"):
        AffineProjection(matrix, right)
    with pytest.raises(CaseError, match="no x satisfies A x = b"):
        AffineProjection(matrix, np.concatenate([8 * start, np.zeros(6 * 12), -9 * end]))
    image = AffineProjection(matrix[:-1], right[:-1]).prox(random.normal(size=172))
    np.testing.assert_allclose(matrix @ image, right, atol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
@pytest.mark.parametrize(
    ("rows", "right", "message"),
    [
        (
            [[1.0, 2, 3], [2, 4, 6]],
            [1.0, 2],
            "2 rows of A, for 3 unknowns, are linearly dependent; drop the redundant rows",
        ),
        ([[1.0, 2, 3], [2, 4, 6]], [1.0, 3], "no x satisfies A x = b, so correct"),
        ([[1.0, 0], [0, 1], [1, 1]], [1.0, 1, 2], "3 rows of A, for 2 unknowns, are linearly dependent"),
        ([[1.0, 0], [0, 0]], [1.0, 1], "no x satisfies"),
        ([[1.0, 0], [0, 0]], [1.0, 0], "drop the redundant"),
        ([[1.0, 1], [1, 1 + 1e-8]], [1.0, 1], "dependent"),
        ([[1.0, 1], [1, 1 + 4e-7]], [1.0, 1], "dependent"),
        ([[1.0, 2, 3]], [1.0, 2], r"A \(1, 3\) and b \(2,\) do not fit"),
        ([[1.0, np.nan]], [1.0], "not finite"),
        ([[1.0, 1.0]], [np.inf], "not finite"),
    ],
)
def test_affine_refuses(kind, rows, right, message):
    with pytest.raises(CaseError, match=message):
        AffineProjection(kind(np.array(rows)), np.array(right))
    assert np.isfinite(AffineProjection(kind(np.array([[1.0, 1], [1, 1.001]])), np.ones(2)).prox(np.zeros(2))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1Norm(-0.5), "weight -0.5"),
        (lambda: L1Norm(np.array([1.0, np.nan])), "weight nan"),
        (lambda: BoxProjection(1.0, np.array([2.0, 0.5])), "exchange"),
        (lambda: SimplexProjection(0.0), "total 0 "),
        (lambda: QuadraticFunction(0.0, -1.0), "eigenvalue -1;"),
        (lambda: QuadraticFunction(0.0, np.array([[1.0, 2.0], [2.0, 1.0]])), "eigenvalue -1;"),
        (lambda: QuadraticFunction(0.0, np.array([[1.0, 2.0], [0.0, 1.0]])), "not symmetric"),
    ],
)
def test_what_is_not_convex_is_refused(make, message):
    with pytest.raises(CaseError, match=message):
        make()


# pyproximal -----------------------------------------------------------------------------------------------------------


def test_pyproximal_has_the_same_maps():
    random = np.random.default_rng(14)
    upper = np.linspace(0.0, 1.0, SIZE)
    lift, psd = pylops.MatrixMult(WIDE), ROOT @ ROOT.T
    pairs = [
        (L1Norm(0.7), pyproximal.L1(sigma=0.7), 1e-15),
        (BoxProjection(-0.5, upper), pyproximal.Box(-0.5, upper), 0),
        (
            SimplexProjection(1.5),
            pyproximal.Simplex(SIZE, 1.5, maxiter=300, xtol=1e-14, engine="numpy"),
            1e-12,
        ),
        (
            AffineProjection(WIDE, RIGHT),
            pyproximal.AffineSet(lift, RIGHT, niter=50),
            1e-4,
        ),  # conjugate gradients, rtol 1e-5
        (QuadraticFunction(CENTRE, psd), pyproximal.Quadratic(pylops.MatrixMult(psd), -psd @ CENTRE), 1e-11),
        (QuadraticFunction(CENTRE, 2.0), pyproximal.L2(sigma=2.0, b=CENTRE), 1e-14),
    ]
    for ours, theirs, tolerance in pairs:
        for step in (0.1, 1.0, 5.0):
            x = 2.0 * random.normal(size=SIZE)
            np.testing.assert_allclose(ours.prox(x, step), theirs.prox(x, step), rtol=0, atol=tolerance)
    x = 2.0 * random.normal(size=SIZE)
    np.testing.assert_allclose(
        Conjugate(L1Norm(0.7)).prox(x, 0.3), pyproximal.L1(sigma=0.7).proxdual(x, 0.3), atol=1e-15
    )


def test_pyproximal_has_the_same_iterates():
    matrix, right, mu, lipschitz = problem()
    term, norm = pyproximal.L2(Op=pylops.MatrixMult(matrix), b=right), pyproximal.L1(sigma=mu)
    step, zero = float(np.float32(1.0 / lipschitz)), np.zeros(60)  # to which pyproximal rounds it
    theirs = pyproximal.optimization.primal.ProximalGradient(term, norm, x0=zero, tau=step, niter=40)
    ours = last(islice(proximal_gradient(gradient_of(matrix, right), L1Norm(mu), zero, step), 41))
    np.testing.assert_allclose(ours.point, theirs, rtol=0, atol=1e-12)
    box = pyproximal.Box(-0.2, 0.4)
    theirs = pyproximal.optimization.primal.DouglasRachfordSplitting(
        pyproximal.L2(sigma=2.0, b=CENTRE), box, x0=CENTRE, tau=0.75, eta=1.25, niter=7, gfirst=False
    )[1]
    ours = last(
        islice(douglas_rachford(QuadraticFunction(CENTRE, 2.0), BoxProjection(-0.2, 0.4), CENTRE, 0.75, 1.25), 8)
    )
    np.testing.assert_allclose(ours.governing[0], theirs, rtol=0, atol=1e-14)
    assert BoxProjection(-0.2, 0.4).value(ours.point) == 0.0
    theirs = pyproximal.optimization.primaldual.PrimalDual(
        norm, pyproximal.L2(b=right), pylops.MatrixMult(matrix), x0=zero, tau=2.0**-6, mu=0.25, niter=30, gfirst=False
    )
    pair = (lambda x: matrix @ x), (lambda y: matrix.T @ y)
    ours = last(
        islice(
            chambolle_pock(
                pair, L1Norm(mu), Conjugate(QuadraticFunction(right)), (zero, np.zeros(30)), (2.0**-6, 0.25)
            ),
            31,
        )
    )
    np.testing.assert_allclose(ours.point, theirs, rtol=0, atol=1e-12)


# The iterations -------------------------------------------------------------------------------------------------------


def lasso(name):
    """An iteration on the lasso, by its name."""
    matrix, right, mu, lipschitz = problem()
    gradient, zero = gradient_of(matrix, right), np.zeros(60)
    pair, norm = ((lambda x: matrix @ x), (lambda y: matrix.T @ y)), lipschitz**0.5
    least = QuadraticFunction(np.linalg.lstsq(matrix, right)[0], matrix.T @ matrix)

    def objective(x):
        return 0.5 * np.sum((matrix @ x - right) ** 2) + mu * np.abs(x).sum()

    dual, both = Conjugate(QuadraticFunction(right)), (zero, np.zeros(30))
    return {
        "ista": lambda start=zero: proximal_gradient(gradient, L1Norm(mu), start, 1.9 / lipschitz, lipschitz),
        "fista": lambda start=zero: fista(gradient, L1Norm(mu), start, 1 / lipschitz, lipschitz),
        "fista-value": lambda start=zero: fista(gradient, L1Norm(mu), start, 1 / lipschitz, lipschitz, objective),
        "douglas-rachford": lambda start=zero: douglas_rachford(least, L1Norm(mu), start, 0.1, 1.5),
        "chambolle-pock": lambda start=both: chambolle_pock(
            pair, L1Norm(mu), dual, start, (0.3 / norm, 1 / 0.3 / norm), norm
        ),
        "over-relaxed": lambda start=both: chambolle_pock(
            pair, L1Norm(mu), dual, start, (0.3 / norm, 1 / 0.3 / norm), norm, 1.9
        ),
    }[name]


ITERATIONS = ["ista", "fista", "fista-value", "douglas-rachford", "chambolle-pock", "over-relaxed"]


@pytest.mark.parametrize("name", ITERATIONS)
def test_lasso(name):
    """-A^T (A x - b) = mu sign(x) where x != 0, of size <= mu elsewhere: all minimise (103)."""
    matrix, right, mu, _ = problem()
    state = last(until(lasso(name)(), 1e-14, absolute=1e-15, most=20_000))
    slope, x = matrix.T @ (right - matrix @ state.point), state.point
    active = np.abs(x) > 1e-9
    assert 5 <= active.sum() <= 20
    np.testing.assert_allclose(slope[active], mu * np.sign(x[active]), rtol=0, atol=1e-10)
    assert (np.abs(slope[~active]) <= mu + 1e-10).all()
    assert state.residual <= 1e-14 * state.size + 1e-15


def test_acceleration():
    """Restarted FISTA is below half of ISTA's iterations, its objective falls faster than 2 L |x0 - x*|^2/(k + 1)^2."""
    matrix, right, mu, lipschitz = problem()
    counts = {name: last(until(lasso(name)(), 1e-10)).iteration for name in ITERATIONS[:3]}
    assert max(counts["fista"], counts["fista-value"]) < counts["ista"] / 2
    least = last(until(lasso("fista")(), 1e-14, absolute=1e-15)).point

    def objective(x):
        return 0.5 * np.sum((matrix @ x - right) ** 2) + mu * np.abs(x).sum()

    def bound(k, lead):
        return lead * lipschitz * (least @ least) / k

    for state in islice(lasso("fista")(), 1, 60):
        k = state.iteration
        assert objective(state.point) - objective(least) <= bound((k + 1) ** 2, 2.0)
    plain = proximal_gradient(gradient_of(matrix, right), L1Norm(mu), np.zeros(60), 1 / lipschitz, lipschitz)
    heights = [objective(state.point) for state in islice(plain, 60)]
    assert (np.diff(heights) <= 0).all()
    assert all(heights[k] - objective(least) <= bound(k, 0.5) for k in range(1, 60))


def test_momentum_and_restart_step_by_step():
    """The recursion by hand on f = k x^2/2, where t = 1, 1.618... and the point overshoots."""
    k, step, x = 1.0, 0.3, np.array([1.0, -2.0])
    states = list(islice(fista(lambda x: k * x, BoxProjection(-9.0, 9.0), x, step, k), 40))
    points, ahead, t, restarts = [x], x, 1.0, 0
    for _ in range(39):
        new = (1 - step * k) * ahead
        turned = (ahead - new) @ (new - points[-1]) > 0
        later = 1.0 if turned else (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = new if turned else new + (t - 1) / later * (new - points[-1])
        points.append(new)
        t, restarts = later, restarts + turned
    assert restarts >= 1
    np.testing.assert_allclose([state.point for state in states], points, rtol=1e-12, atol=1e-300)
    assert states[2].inertia == pytest.approx((1 + (1 + 4 * states[1].inertia ** 2) ** 0.5) / 2, rel=1e-15)
    assert states[1].inertia == pytest.approx((1 + 5**0.5) / 2, rel=1e-15)
    flat = list(islice(fista(lambda x: k * x, BoxProjection(-9.0, 9.0), x, step, k, lambda x: float(x @ x)), 40))
    heights = [state.point @ state.point for state in flat]
    grew = [i for i in range(1, 40) if heights[i] > heights[i - 1]]
    assert grew == [i for i in range(1, 40) if flat[i].inertia == 1.0]
    assert grew
    for i in grew:  # it knows the height of the state it starts from
        again = fista(lambda x: k * x, BoxProjection(-9.0, 9.0), flat[i - 1], step, k, lambda x: float(x @ x))
        assert last(islice(again, 2)).inertia == 1.0


def test_projected_gradient_is_nnls():
    """(108)-(114), with the step."""
    random = np.random.default_rng(15)
    matrix = random.normal(size=(30, 12))
    right = matrix @ random.normal(size=12)
    lipschitz = float(np.linalg.norm(matrix, 2) ** 2)
    expected, _ = nnls(matrix, right)
    assert 2 < np.count_nonzero(expected) < 11
    states = proximal_gradient(
        gradient_of(matrix, right), NonNegativeProjection(), np.zeros(12), 1 / lipschitz, lipschitz
    )
    point = last(until(states, 1e-14)).point
    np.testing.assert_allclose(point, expected, rtol=0, atol=1e-10)
    assert (point >= 0).all()


@pytest.mark.parametrize("part", [0.3, 1.0, 1.6])
def test_linear_rate(part):
    """|x^{k+1} - c| = |1 - tau k| |x^k - c|; with a matrix, no mode falls slower than max |1 - tau lambda|: (102)."""
    stiffness, centre, start = 2.5, CENTRE, np.ones(SIZE)
    quadratic = QuadraticFunction(centre, stiffness)
    states = proximal_gradient(quadratic.gradient, BoxProjection(-99.0, 99.0), start, part / stiffness, stiffness)
    for state in islice(states, 12):
        expected = centre + (1.0 - part) ** state.iteration * (start - centre)
        np.testing.assert_allclose(state.point, expected, rtol=0, atol=1e-14)
    general = QuadraticFunction(centre, ROOT @ ROOT.T)
    values = np.linalg.eigvalsh(ROOT @ ROOT.T)
    step = part / values[-1]
    errors = [
        np.linalg.norm(state.point - centre)
        for state in islice(
            proximal_gradient(general.gradient, BoxProjection(-99.0, 99.0), start, step, values[-1]), 3001
        )
    ]
    rate = np.abs(1 - step * values).max()
    assert (errors[1:] <= rate * np.array(errors[:-1]) * (1 + 1e-12) + 1e-15).all()
    measured = (errors[3000] / errors[2000]) ** 1e-3
    assert measured == pytest.approx(rate, rel=1e-6)


def test_all_splittings_reach_the_projection_on_an_intersection():
    """The point of the simplex within A x = b nearest to c, by three ways."""
    random = np.random.default_rng(16)
    matrix, inside = random.normal(size=(2, 8)), SimplexProjection().prox(random.normal(size=8))
    affine, centre = AffineProjection(matrix, matrix @ inside), random.normal(size=8)

    class Near:
        """The simplex and |x - c|^2/2 together: the projection of a mean."""

        def prox(self, x, step):
            return SimplexProjection().prox((x + step * centre) / (1 + step))

    identity = ((lambda x: x), (lambda y: y))
    zero = np.zeros(8)
    found = [
        last(until(states, 1e-13)).point
        for states in (
            douglas_rachford(Near(), affine, zero, 1.0),
            douglas_rachford(affine, Near(), zero, 0.5, 1.8),
            chambolle_pock(identity, Near(), Conjugate(affine), (zero, zero), (1.0, 1.0), 1.0),
            chambolle_pock(identity, affine, Conjugate(Near()), (zero, zero), (0.5, 2.0), 1.0, 1.9),
        )
    ]
    for point in found:
        np.testing.assert_allclose(point, found[0], rtol=0, atol=1e-10)
        assert abs(point.sum() - 1) < 1e-10
        assert point.min() > -1e-10
    for other in (
        affine.prox(x) for x in SimplexProjection().prox(random.normal(size=8)) + 0.3 * random.normal(size=(50, 8))
    ):
        if other.min() >= 0:  # in both sets
            assert (centre - found[0]) @ (other - found[0]) <= 1e-9


def test_transport_of_least_action():
    """min sum theta(rho_i, m_i) with sums R and M is |M|^2/(2 R), every velocity M/R: (116) without space."""
    cells, mass, momentum = 7, 2.0, np.array([3.0, -1.0])
    affine = AffineProjection(np.kron(np.eye(3), np.ones(cells)), np.array([mass, *momentum]))
    start = np.random.default_rng(17).normal(size=(3, cells))
    states = douglas_rachford(affine, KineticAction(), start, 0.4)
    image = last(until(states, 1e-13)).point
    assert KineticAction().value(image) == pytest.approx(momentum @ momentum / (2 * mass), rel=1e-10)
    np.testing.assert_allclose(image[1:], momentum[:, None] / mass * image[0], atol=1e-9)
    pair = ((lambda x: x), (lambda y: y))
    other = chambolle_pock(pair, affine, ParaboloidProjection(), (start, 0 * start), (1.0, 1.0), 1.0, 1.9)
    state = last(until(other, 1e-12))
    assert KineticAction().value(np.maximum(state.point, [[0.0], [-9], [-9]])) == pytest.approx(2.5, rel=1e-8)
    velocity = momentum / mass
    dual = np.array([-0.5 * velocity @ velocity, *velocity])  # (phi_t, grad phi) solves Hamilton-Jacobi
    np.testing.assert_allclose(state.image[1], np.tile(dual[:, None], cells), atol=1e-9)


@pytest.mark.parametrize("name", ITERATIONS)
def test_iterates_hold_the_whole_state(name):
    """Going on from a state gives the same bits; states are frozen and counted; starts are not changed."""
    start = lasso(name)
    states = list(islice(start(), 40))
    assert [state.iteration for state in states] == list(range(40))
    assert states[0].residual == np.inf
    again = list(islice(start(states[17]), 23))
    for one, other in zip(again, states[17:], strict=True):
        np.testing.assert_array_equal(one.point, other.point)
        assert (one.iteration, one.residual, one.inertia) == (other.iteration, other.residual, other.inertia)
    with pytest.raises(FrozenInstanceError):
        states[3].point = states[2].point
    assert not states[0].point.any()
    for before, after in pairwise(states):
        parts = [(new - old).ravel() for new, old in zip(after.image, before.governing, strict=True)]
        assert after.residual == pytest.approx(np.linalg.norm(np.concatenate(parts)), rel=1e-12)
        assert after.size == pytest.approx(np.linalg.norm(np.concatenate(before.governing)), rel=1e-12)


def test_until_observed_and_last():
    quadratic, seen = QuadraticFunction(1.0, 1.0), []

    def states(step=0.5):
        return proximal_gradient(quadratic.gradient, BoxProjection(-9.0, 9.0), np.zeros(1), step)

    halted = list(observed(until(states(), 1e-3), lambda state: seen.append(state.iteration)))
    assert seen == list(range(len(halted)))
    assert [state.residual <= 1e-3 * state.size for state in halted] == [False] * (len(halted) - 1) + [True]
    assert last(iter(halted)) is halted[-1]
    assert 0.05 < last(until(states(), 0.0, absolute=0.1)).residual <= 0.1
    assert last(until(states(1.0), 0.0)).iteration == 2  # at the fixed point itself
    seen.clear()
    with pytest.raises(NumericsError, match=r"after 5 iterations.*more iterations or a tolerance above 1e-12"):
        last(observed(until(states(), 1e-12, most=5), lambda state: seen.append(state.iteration)))
    assert seen == [0, 1, 2, 3, 4, 5]
    wild = proximal_gradient(lambda x: x**3, QuadraticFunction(0.0, 0.0), np.full(2, 9.0), 1.0)
    with pytest.raises(NumericsError, match=r"residual is (inf|nan) in iteration .*shorter steps"):
        last(until(wild, 1e-9))
    with pytest.raises(NumericsError, match="has no iterates"):
        last(iter(()))
    with pytest.raises(ZeroDivisionError):
        list(observed(states(), lambda state: 1 / 0))


def refused():
    """Calls outside the convergent range, the message, and the same just inside."""
    zero, box, pair = np.zeros(2), BoxProjection(-1.0, 1.0), ((lambda x: x), (lambda y: y))
    gradient = QuadraticFunction().gradient

    def ista(step, lipschitz=5.0):
        return lambda: proximal_gradient(gradient, box, zero, step, lipschitz)

    def fast(step, lipschitz=5.0):
        return lambda: fista(gradient, box, zero, step, lipschitz)

    def split(step, relaxation=1.0):
        return lambda: douglas_rachford(box, box, zero, step, relaxation)

    def dual(tau, sigma, norm=2.0, relaxation=1.0):
        return lambda: chambolle_pock(pair, box, box, (zero, zero), (tau, sigma), norm, relaxation)

    return [
        (ista(0.4), r"step 0.4; .*positive and below 2/L = 0.4; use 0.2 = 1/L", ista(0.3999)),
        (ista(-0.1), "step -0.1;", ista(1e-9)),
        (ista(0.0, None), "step 0; .*positive and finite; use", ista(1e9, None)),
        (ista(np.nan), "step nan", ista(0.2)),
        (ista(np.inf, None), "step inf", ista(7.0, 0.0)),
        (fast(0.2001), r"step 0.2001; .*positive and at most 1/L = 0.2; use 0.2 = 1/L", fast(0.2)),
        (fast(0.0), "step 0;", fast(0.1)),
        (fast(np.inf, None), "step inf;", fast(9.0, None)),
        (split(0.0), "step 0;", split(1e3)),
        (split(1.0, 2.0), "relaxation 2; .*above 0 and below 2", split(1.0, 1.99)),
        (split(1.0, 0.0), "relaxation 0;", split(1.0, 0.01)),
        (
            dual(1.0, 0.26),
            r"tau = 1 and sigma = 0.26 with \|K\| = 2 have .* = 1.04; the .*up to 1; multiply",
            dual(1.0, 0.25),
        ),
        (dual(-1.0, -0.1), "steps -1 and -0.1;", dual(5.0, 5.0, None)),
        (dual(1.0, 0.0), "steps 1 and 0;", dual(1.0, 1e-9)),
        (dual(0.5, 0.5, 2.0, -0.1), "relaxation -0.1;", dual(0.5, 0.5, 2.0, 1.9)),
    ]


@pytest.mark.parametrize(("outside", "message", "inside"), refused())
def test_steps_outside_the_convergent_range_are_refused(outside, message, inside):
    with pytest.raises(CaseError, match=message):
        outside()  # at the call, before the first state
    assert np.isfinite(last(islice(inside(), 3)).point).all()


def test_the_range_of_steps_is_sharp():
    """At 2/L proximal gradient does not converge, at 1.99/L it does; at 1.5 of its bound Chambolle-Pock does not."""
    quadratic = QuadraticFunction(0.0, 1.0)
    ends = [
        abs(
            last(
                islice(proximal_gradient(quadratic.gradient, BoxProjection(-9.0, 9.0), np.ones(1), step), 3_001)
            ).point[0]
        )
        for step in (1.99, 2.0)
    ]
    assert ends[0] < 1e-8
    assert ends[1] == 1.0
    pair = ((lambda x: x), (lambda y: y))
    zero, nothing = AffineProjection(np.eye(1), np.zeros(1)), QuadraticFunction(0.0, 0.0)
    grown = [
        last(islice(chambolle_pock(pair, nothing, Conjugate(zero), (np.ones(1), np.ones(1)), (s, 1.0)), 401)).residual
        for s in (1.0, 1.5)
    ]
    assert grown[0] < 1e-8
    assert grown[1] > 1.0
