from typing import get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.exact import AffineGeodesic, FromExact
from fvflow.fields import (
    ArrayDensity,
    BaseDrift,
    Component,
    Density,
    Drift,
    DriftFunction,
    Expression,
    ExpressionDensity,
    ExpressionError,
    FromFile,
    Gaussian,
    Mixture,
    Samples,
    Spike,
    TableDensity,
    Uniform,
)
from fvflow.flows import FokkerPlanckFlow, TransportFlow
from fvflow.fluxes import ScharfetterGummel
from fvflow.linalg import divergence
from fvflow.mesh import Box, FiPyMesh
from fvflow.problems import FokkerPlanck, State
from fvflow.steppers import LinearStepper
from fvflow.times import Times
from tests.contracts import check_density

X = np.linspace(-2, 2, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2*x - x/4", 1 + 2 * X - X / 4),
        ("x**3", X**3),
        ("(x + 3)**-1.5", (X + 3) ** -1.5),
        ("-x**2", -(X**2)),
        ("2**x", 2**X),
        ("where(x > 0, 1, -1)", np.where(X > 0, 1, -1)),
        ("(x >= 1)*x", np.where(X >= 1, X, 0)),
        ("-(x < 0)", -1.0 * (X < 0)),
        ("heaviside(x)", np.heaviside(X, 0.5)),
        ("min(x, 1) + max(x, 0)", np.minimum(X, 1) + np.maximum(X, 0)),
        ("exp(-abs(x))*cos(pi*x)", np.exp(-np.abs(X)) * np.cos(np.pi * X)),
        ("k*x", 3 * X),
        ("x**64", X**64),
    ],
)
def test_expressions_evaluate_as_numpy_does(text, expected):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(Expression(text)(x=X, k=3.0), expected, rtol=1e-13)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "x.real",
        "x[0]",
        "[x for x in (1,2)]",
        "lambda: 1",
        "exp(x, out=x)",
        "exp",
        "'a'",
        "x if x else 1",
        "x and 1",
        "1 < x < 2",
        "x @ x",
        "x // 2",
        "x % 2",
        "~x",
        "f(x)",
        "exp(x, x)",
        "1j",
        "True",
        "1e999",
        "9" * 400,
        "",
        "x x",
        "x\x00",
        "(" * 300 + "x" + ")" * 300,
        "-" * 300 + "x",
        "+".join(["x"] * 900),
        "x" * 3000,
        "(x := 2)",
        "*x",
        "x; x",
        "eval('1')",
        "print",
    ],
)
def test_whatever_is_not_in_the_language_is_refused(text):
    with pytest.raises(ExpressionError):
        Expression(text).require(frozenset("x"))


def test_values_that_are_not_finite_are_refused_with_their_place():
    with pytest.raises(CaseError, match=r"log\(x\) is nan at x = -2.* finite"):
        Expression("log(x)").at(X[:, None], {}, 0.0)
    with pytest.raises(CaseError, match="is inf at x = 0"):
        Expression("1/x").at(X[:, None], {}, 0.0)
    with pytest.raises(CaseError, match="inf"):
        Expression("9**9**9**9").at(X[:, None], {}, 0.0)


def test_unknown_names_are_told_with_a_guess():
    with pytest.raises(ExpressionError, match=r"unknown name omga; did you mean omega\?"):
        Expression("omga*x").require(frozenset({"x", "omega"}))


@pytest.mark.parametrize("kind", [Box, FiPyMesh])
@pytest.mark.parametrize(
    "drift",
    [
        Drift(velocity=(Expression("-y"), Expression("x"))),
        Drift(velocity=(Expression("2*x + y"), Expression("x - 2*y"))),
        Drift(stream=Expression("exp(-x**2 - 2*y**2)*sin(3*x*y)")),
    ],
    ids=["rotation", "saddle", "stream"],
)
def test_divergence_free_drifts_stay_discretely_divergence_free(kind, drift):
    mesh = kind((-1.0, -1.0), (1.0, 1.0), (13, 11)).build()
    flow = drift.potential_drop(mesh, 0.0) * mesh.transmissibility
    inner = (np.abs(mesh.centre) < [0.9, 0.85]).all(axis=1)
    assert np.abs(divergence(mesh, flow)[inner]).max() < 2e-16
    assert np.abs(flow).max() > 0.05


def test_potential_velocity_and_stream_agree_on_what_they_share():
    mesh = Box((-1.0, -1.0), (1.0, 1.0), (8, 8)).build()
    rotation = Drift(velocity=(Expression("-y"), Expression("x")))
    stream = Drift(stream=Expression("-0.5*(x**2 + y**2)"))
    np.testing.assert_allclose(rotation.potential_drop(mesh, 0.0), stream.potential_drop(mesh, 0.0), atol=1e-15)
    well = Drift(potential=Expression("0.5*x**2 + y**2"))
    inward = Drift(velocity=(Expression("-x"), Expression("-2*y")))
    np.testing.assert_allclose(well.potential_drop(mesh, 0.0), inward.potential_drop(mesh, 0.0), atol=1e-15)
    both = Drift(potential=well.potential, stream=stream.stream)
    expected = well.potential_drop(mesh, 0.0) + stream.potential_drop(mesh, 0.0)
    np.testing.assert_allclose(both.potential_drop(mesh, 0.0), expected, atol=1e-15)
    position = mesh.centre
    v = both.velocity_at(position, 0.0, 1e-2)
    np.testing.assert_allclose(
        v, np.stack([-position[:, 0] - position[:, 1], position[:, 0] - 2 * position[:, 1]], 1), atol=1e-12
    )


def test_gaussian_averages_integrate_the_density():
    mesh = Box((-4.0, -4.0), (4.0, 4.0), (20, 24)).build()
    for covariance in (((0.4, 0.0), (0.0, 0.7)), ((0.4, 0.2), (0.2, 0.7))):
        density = Gaussian((0.3, -0.2), covariance).sample(mesh, {})
        assert mesh.volume @ density == pytest.approx(1.0, abs=2e-5)
        mass = mesh.volume * density
        offset = mesh.centre - mass @ mesh.centre
        found = (offset * mass[:, None]).T @ offset
        sheppard = np.diag([(8 / 20) ** 2 / 12, (8 / 24) ** 2 / 12])
        np.testing.assert_allclose(found - sheppard, covariance, atol=3e-4)


def test_gaussian_tails_keep_their_digits():
    mesh = Box((0.0,), (40.0,), (40,)).build()
    density = Gaussian((0.0,), ((1.0,),)).sample(mesh, {})
    from mpmath import mp, ncdf

    mp.dps = 400
    np.testing.assert_allclose(density[30], float(ncdf(-30) - ncdf(-31)), rtol=1e-13)


def test_densities():
    mesh = Box((0.0,), (2.0,), (4,)).build()
    np.testing.assert_allclose(Uniform(lower=(0.5,), upper=(1.5,)).sample(mesh, {}), [0, 1, 1, 0])
    np.testing.assert_allclose(Spike((1.1,)).sample(mesh, {}), [0, 0.6, 1.4, 0])
    np.testing.assert_allclose(ExpressionDensity("x**2*k").sample(mesh, {"k": 3.0}), [0.25, 1.75, 4.75, 9.25])
    np.testing.assert_allclose(ExpressionDensity("x", sampling="centre").sample(mesh, {}), [0.25, 0.75, 1.25, 1.75])
    two = Mixture((Component((0.5,), ((0.1,),), 1.0), Component((1.5,), ((0.1,),), 3.0)))
    one, other = Gaussian((0.5,), ((0.1,),)).sample(mesh, {}), Gaussian((1.5,), ((0.1,),)).sample(mesh, {})
    np.testing.assert_allclose(two.sample(mesh, {}), 0.25 * one + 0.75 * other)


@pytest.mark.parametrize("covariance", [((-1.0,),), ((1.0, 0.0), (0.0, 1.0)), ((0.0,),)])
def test_covariances_that_are_none_are_refused(covariance):
    with pytest.raises(CaseError):
        Gaussian((0.0,), covariance)


def test_a_density_of_another_dimension_is_refused():
    with pytest.raises(CaseError, match="one per axis"):
        Gaussian((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))).sample(Box((0.0,), (1.0,), (3,)).build(), {})


DENSITIES = {
    Gaussian: [Gaussian((0.3, -0.2), ((0.4, 0.2), (0.2, 0.7))), Gaussian((0.3, 0.0), ((0.4, 0), (0, 0.7)), "centre")],
    Mixture: [
        Mixture((Component((0.3, 0.0), ((0.4, 0), (0, 0.4))), Component((-1.0, 0.5), ((0.3, 0), (0, 0.3)), 2.0)))
    ],
    ExpressionDensity: [ExpressionDensity("k*x**2 + exp(-y**2)", mass=3.0), ExpressionDensity("1 + (x > 0)", "centre")],
    Uniform: [Uniform(), Uniform((-1.0, -1.0), (1.0, 2.0), 2.0)],
    Spike: [Spike((0.3, 0.4))],
    FromFile: [FromFile("result.nc"), FromFile("result.nc", time=0.0, mass=2.0)],
    TableDensity: [
        TableDensity("table.npy", (-4.0, -4.0), (4.0, 4.0)),
        TableDensity("table.npy", (-3.0, -5.0), (4.0, 4.0), None, "cubic", "nearest", "centre", 2.0, truncate=0.9),
    ],
    Samples: [Samples("samples.npy"), Samples("samples.npy", 0.5, 0.1, 2.0)],
}
PLANE, FINER = (Box((-4.0, -4.0), (4.0, 4.0), (n, n)).build() for n in (24, 48))


@pytest.fixture
def in_folder_with_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flow = FokkerPlanckFlow(0.5)
    box = Box((-4.0, -4.0), (4.0, 4.0), (20, 20))
    Case(box, flow, Gaussian((0.3, -0.2), ((0.4, 0.0), (0.0, 0.7)), mass=1.5), Times(0.1, 0.05)).write("result.nc")
    axis = np.linspace(-4.0, 4.0, 9)
    np.save("table.npy", 1.0 + np.outer(axis**2, np.exp(-(axis**2))))
    np.save("samples.npy", np.random.default_rng(0).normal((0.3, -0.2), (0.6, 0.8), (500, 2)))


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.kind) for kind in get_args(Density)])
@pytest.mark.usefixtures("in_folder_with_result")
def test_density_keeps_the_contract(kind):
    for density in DENSITIES[kind]:
        check_density(density, PLANE, FINER, {"k": 0.1})


def test_an_array_density_keeps_the_contract():
    values = np.exp(-(PLANE.centre**2).sum(axis=1))
    check_density(ArrayDensity(values), PLANE, FINER)
    check_density(ArrayDensity(values.tolist(), mass=2.0), PLANE, FINER)


def test_an_array_density_runs_through_a_case():
    mesh = Box((0.0,), (1.0,), (20,))
    values = 1.0 + mesh.build().centre[:, 0]
    initial = ArrayDensity(values)
    case = Case(mesh, FokkerPlanckFlow(0.1), initial, Times(0.2, 0.1))
    values[:] = 0.0  # it keeps a copy
    result = case.run()
    np.testing.assert_array_equal(result.rho[0], 1.0 + mesh.build().centre[:, 0])
    np.testing.assert_allclose(result.mass, 1.5, rtol=1e-14)
    scaled = Case(mesh, FokkerPlanckFlow(0.1), ArrayDensity(initial.values, mass=2.0), Times(0.2, 0.1)).run()
    np.testing.assert_allclose(scaled.rho, result.rho * (2.0 / 1.5), rtol=1e-13)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones(19), r"initial: a density array of shape \(19,\) on a mesh of 20 cells; give one value per cell"),
        (np.ones((20, 1)), r"shape \(20, 1\)"),
        (np.linspace(-1, 1, 20), "it has to be >= 0 everywhere"),
        (np.full(20, np.nan), "not finite"),
    ],
)
def test_array_densities_that_do_not_fit_are_refused(values, message):
    case = Case(Box((0.0,), (1.0,), (20,)), FokkerPlanckFlow(0.1), ArrayDensity(values), Times(0.2, 0.1))
    with pytest.raises(CaseError, match=message):
        case.prepare()


def test_an_array_is_not_carried_to_another_mesh():
    """An affine geodesic samples the initial density on the preimage of the mesh, where an array is not known."""
    flow = TransportFlow(FromExact(), 4)
    case = Case(Box((-4.0,), (4.0,), (20,)), flow, ArrayDensity(np.ones(20)), exact=AffineGeodesic((0.5,)))
    with pytest.raises(CaseError, match="an initial density that is defined on every mesh, got array"):
        case.prepare()


ROTATION = Drift(velocity=(Expression("-y - x**3*(1 + t)"), Expression("x*(1 + t)")))


def rotation(position, time):
    x, y = position.T
    return np.stack([-y - x**3 * (1 + time), x * (1 + time)], axis=1)


@pytest.mark.parametrize("mesh", [Box((-1.0, -1.0), (1.0, 1.5), (9, 8)), FiPyMesh((-1.0, -1.0), (1.0, 1.5), (9, 8))])
def test_a_velocity_function_is_the_drift_of_its_expressions(mesh):
    mesh = mesh.build()
    drift = DriftFunction(rotation, steady=False)
    for time in (0.0, 0.7):
        expected = ROTATION.potential_drop(mesh, time)
        np.testing.assert_allclose(drift.potential_drop(mesh, time), expected, rtol=1e-13, atol=1e-15)
        position = mesh.centre
        np.testing.assert_allclose(drift.velocity_at(position, time, 0.1), ROTATION.velocity_at(position, time, 0.1))
    assert (drift.steady, drift.gradient, drift.absent, drift.regional) == (False, False, False, False)
    assert DriftFunction(rotation).steady
    np.testing.assert_array_equal(drift.cell_potential(mesh, 0.0), np.zeros(mesh.cells))


@pytest.mark.parametrize(
    "drift",
    [
        DriftFunction(lambda position, time: position[:, ::-1] ** 5),
        Drift(velocity=(Expression("y**5"), Expression("x**5"))),
    ],
    ids=["function", "expressions"],
)
def test_velocities_are_integrated_over_faces_exactly_to_degree_five(drift):
    mesh = Box((0.0, 0.0), (1.0, 1.0), (2, 1)).build()
    flow = drift.potential_drop(mesh, 0.0) * mesh.transmissibility
    np.testing.assert_allclose(flow, [1 / 6], rtol=1e-14)


@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.kind) for kind in get_args(LinearStepper)])
def test_a_velocity_function_runs_with_every_linear_stepper(kind):
    """As the same velocity in expressions does, through the array API."""
    mesh = Box((-2.0, -2.0), (2.0, 2.0), (12, 12)).build()
    steady = DriftFunction(lambda position, time: rotation(position, 0.0))
    expressions = Drift(velocity=(Expression("-y - x**3"), Expression("x")))
    density = Gaussian((0.5, 0.0), ((0.2, 0.0), (0.0, 0.3))).sample(mesh, {})
    ends = []
    for drift in (steady, expressions):
        stepper = kind()
        problem = stepper.discretise(mesh, drift, 0.2, ScharfetterGummel())
        stepper.check(problem)
        step, state = stepper.start(problem), State.initial(mesh, density)
        for _ in range(2):
            state = step(state, 0.05)
        ends.append(state.density)
        assert mesh.volume @ state.density == pytest.approx(state.mass, rel=1e-14)
    np.testing.assert_allclose(*ends, rtol=1e-9, atol=1e-12)
    assert np.abs(ends[0] - density).max() > 1e-2


def test_a_velocity_function_that_depends_on_time_is_evaluated_at_every_time():
    mesh = Box((-1.0, -1.0), (1.0, 1.0), (6, 6)).build()
    moving = FokkerPlanck(mesh, DriftFunction(rotation, steady=False), 0.2, ScharfetterGummel())
    frozen = FokkerPlanck(mesh, DriftFunction(rotation), 0.2, ScharfetterGummel())
    assert np.abs(moving.coefficients(1.0)[0] - moving.coefficients(0.0)[0]).max() > 0.05
    np.testing.assert_array_equal(frozen.coefficients(1.0)[0], frozen.coefficients(0.0)[0])


def test_velocity_functions_are_checked():
    mesh = Box((-1.0, -1.0), (1.0, 1.0), (6, 6)).build()
    with pytest.raises(CaseError, match=r"shape \(\d+,\) for positions of shape \(\d+, 2\); return one velocity per"):
        DriftFunction(lambda position, time: position[:, 0]).potential_drop(mesh, 0.0)
    pole = DriftFunction(lambda position, time: np.where(position > 0.9, np.inf, 1.0), steady=False)
    with pytest.raises(CaseError, match=r"component 0 of the velocity function is inf at x = .*, t = 0; it has to be"):
        pole.velocity_at(mesh.centre + 0.1, 0.0, 0.1)
    with pytest.raises(NumericsError, match=r"t = 0\.5"):
        pole.velocity_at(mesh.centre + 0.1, 0.5, 0.1)


def test_a_drift_of_ones_own_needs_its_velocity_only():
    class Wind(BaseDrift):
        def velocity_at(self, position, time, step):
            return np.ones_like(position)

    mesh = Box((0.0, 0.0), (1.0, 1.0), (4, 4)).build()
    expected = Drift(velocity=(Expression("1"), Expression("1"))).potential_drop(mesh, 0.0)
    np.testing.assert_allclose(Wind().potential_drop(mesh, 0.0), expected, rtol=1e-14)
    assert not Wind().steady
