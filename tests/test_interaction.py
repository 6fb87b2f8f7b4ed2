"""Interaction energies: the convolution, its variations, closed forms, and steps at any length."""

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.diagnostics import moments
from fvflow.energies import Entropy, Interaction, PowerLaw, TotalEnergy
from fvflow.energies.interaction import _dense, _fourier, convolution
from fvflow.errors import CaseError
from fvflow.fields import Expression, Kernel
from fvflow.mesh import Box, Graded
from fvflow.steppers.step_energy import curvature, linearised
from tests.contracts import assert_order
from tests.scenes import every_state, final, ou

BOXES = [Box((0.0,), (2.0,), (17,)), Box((0.0, 1.0), (2.0, 2.0), (7, 12)), Box((0.0,) * 3, (1.0, 2.0, 1.0), (3, 4, 5))]
KERNELS = ["exp(-r**2)", "x**2 + r", "log(r)", "k/sqrt(r)"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("box", BOXES, ids=["1d", "2d", "3d"])
def test_fourier_and_matrix_are_the_same(box, kernel):
    mesh = box.build()
    kernel = Kernel(Expression(kernel), {"k": 2.0})
    masses = np.random.default_rng(0).random(mesh.cells)
    np.testing.assert_allclose(
        _fourier(kernel, mesh.edges, mesh.shape)(masses), _dense(kernel, mesh)(masses), rtol=1e-12, atol=1e-12
    )


def test_convolution_is_a_sum_over_cells():
    mesh = Box((0.0, 0.0), (3.0, 2.0), (3, 2)).build()
    masses = np.array([1.0, 0, 0, 0, 2.0, 0])
    at = [[*point] for point in mesh.centre]
    expected = [np.hypot(x - 0.5, y - 0.5) + 2 * np.hypot(x - 1.5, y - 1.5) for x, y in at]
    np.testing.assert_allclose(convolution(Kernel(Expression("r")), mesh)(masses), expected, rtol=1e-13)


def test_a_pole_counts_with_its_mean():
    mesh = Box((0.0,), (1.0,), (10,)).build()
    one = np.zeros(10)
    one[4] = 1.0
    self_term = convolution(Kernel(Expression("log(r)")), mesh)(one)[4]
    strong = convolution(Kernel(Expression("r**(-0.9)")), mesh)(one)[4]
    assert strong == pytest.approx(0.05**-0.9 / 0.1, rel=1e-6)
    assert self_term == pytest.approx(np.log(0.05) - 1.0, rel=1e-3)  # (1/h) int_{-h/2}^{h/2} log|x| dx


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("x", r"is -1\.5 at x = -1\.5, y = -1\.5 and 1\.5 at the opposite displacement; only the even part"),
        ("x*y + x**3*y**2", "even part"),
        ("1/(x - 0.5)**2 + 1/(x + 0.5)**2", "is not finite at"),
        ("q*r", "unknown name q"),
        ("t*r", "unknown name t"),
    ],
)
def test_kernels_that_are_none(kernel, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(f"""
            mesh: {{kind: box, lower: [0, 0], upper: [2, 2], cells: [4, 4]}}
            flow:
              kind: gradient-flow
              energy: [{{kind: entropy, epsilon: 1}}, {{kind: interaction, kernel: {kernel}}}]
            initial: {{kind: uniform}}
            times: {{end: 1, step: 0.1}}
            """).prepare()


@pytest.mark.parametrize("mesh", [Box((0.0,), (1.0,), (9,)), Graded((0.0,), (1.0,), (9,), (2.0,))])
@pytest.mark.parametrize(
    ("kernel", "integrable"), [("-1/r", False), ("1/r**2", False), ("r**(-0.9)", True), ("log(r)", True)]
)
def test_a_pole_has_to_be_integrable(mesh, kernel, integrable):
    kernel = Kernel(Expression(kernel))
    if integrable:
        assert np.isfinite(convolution(kernel, mesh.build())(np.ones(9))).all()
    else:
        with pytest.raises(CaseError, match=r"not integrable in 1 dimension\(s\)"):
            convolution(kernel, mesh.build())
    assert np.isfinite(
        convolution(Kernel(Expression("-1/r")), Box((0.0,) * 2, (1.0,) * 2, (4, 4)).build())(np.ones(16))
    ).all()


def test_a_matrix_too_large_is_refused():
    mesh = Graded((0.0,), (1.0,), (20_000,), (2.0,)).build()
    with pytest.raises(CaseError, match="matrix of 3 GiB on this mesh; use a mesh of kind box"):
        convolution(Kernel(Expression("r")), mesh)


def test_the_variations_of_a_sum_are_derivatives():
    """Value, first variation, and the product with the Hessian, its diagonal and the rest."""
    mesh = Box((0.0, 0.0), (1.0, 2.0), (6, 5)).build()
    kinds = (Entropy(0.3), Interaction("-exp(-3*r**2)"), PowerLaw(2.5, 0.2))
    total = TotalEnergy(mesh.volume, tuple(kind.on(mesh, {}) for kind in kinds))
    random = np.random.default_rng(4)
    density, direction = 1.0 + random.random(mesh.cells), random.normal(size=mesh.cells)
    steps = np.array([0.1, 0.05, 0.025])
    first, second = [], []
    for step in steps:
        rise = total.value(density + step * direction) - total.value(density)
        hessian = total.second(density) * direction + total.offdiagonal_hessian_product(direction)
        linear = step * mesh.volume @ (total.first(density) * direction)
        first.append(abs(rise - linear))
        second.append(abs(rise - linear - 0.5 * step**2 * mesh.volume @ (hessian * direction)))
    assert_order(steps, first, 2.0, 0.2)
    assert_order(steps, second, 3.0, 0.2)
    after = density + 0.3 * direction
    rise = total.value(after) - total.value(density)
    assert mesh.volume @ (total.secant(density, after) * (after - density)) == pytest.approx(rise, rel=1e-13)


def test_power_law_is_what_it_says():
    term = PowerLaw(3.0, 2.0).on(Box((0.0,), (1.0,), (2,)).build(), {})
    np.testing.assert_allclose(term.value(np.array([2.0, 0.5])), 2.0 * np.array([8.0, 0.125]))


ATTRACTED = [
    {"kind": "entropy", "epsilon": 0.8},
    {"kind": "potential", "potential": "0.3*x**2"},
    {"kind": "interaction", "kernel": "0.2*r**2 + 4"},
]


@pytest.mark.parametrize(("stepper", "order"), [("jko", 1.0), ("midpoint", 2.0)])
def test_variance_law(stepper, order):
    """S' = -2 (k + M q) S + 2 eps: a mass of 2, q = 0.4, while the mean feels k = 0.6 alone."""
    flow = {"kind": "gradient-flow", "energy": ATTRACTED, "stepper": {"kind": stepper}}
    steps, variances, limit = 0.05 / 2.0 ** np.arange(4), [], 0.8 / 1.4
    for step in steps:
        case = ou(1, 400, flow=flow, initial__mass=2, times={"end": 0.2, "step": step})
        prepared, last, figures = final(case)
        start, end = (moments(prepared.mesh, density) for density in (prepared.initial.density, last.density))
        variances.append(end[1][0, 0])
        assert end[0] == pytest.approx(start[0] * np.exp(-0.6 * 0.2), rel=0.02)
        assert figures["energy_defect"] <= 1e-12
        assert figures["fallbacks"] == 0
    assert prepared.reference.moments(0.2)[1][0, 0] == pytest.approx(limit + (0.5 - limit) * np.exp(-0.56))
    assert variances[-1] == pytest.approx(limit + (start[1][0, 0] - limit) * np.exp(-0.56), rel=2e-3)
    assert_order(steps[1:], np.abs(np.diff(variances)), order, 0.15)


def test_the_reference_of_an_anisotropic_attraction_moves_with_the_potential():
    kernel = "0.5*x**2 + 0.1*y**2 + 0.2*x*y"
    energy = [ATTRACTED[0], {"kind": "potential", "potential": "0.25*x**2 + 0.25*y**2"}]
    flow = {"kind": "gradient-flow", "energy": [*energy, {"kind": "interaction", "kernel": kernel}]}
    case = ou(2, 48, flow=flow, times={"end": 0.2, "step": 0.01}).replace(
        {"flow.stepper": {"kind": "midpoint", "mobility": "centred"}}
    )
    errors = [final(case.replace({"mesh.cells": [n, n]}))[2]["error_l1"] for n in (24, 48)]
    assert errors[1] < 0.3 * errors[0] < 0.02


def test_closed_forms_refuse_interactions_they_are_not_for():
    flow = {"kind": "gradient-flow", "energy": [ATTRACTED[0], {"kind": "interaction", "kernel": "r"}]}
    for exact, message in (
        ("gaussian", "is not a quadratic form"),
        ("gibbs", "gibbs needs"),
        ("gaussian-jko", "sum over"),
    ):
        with pytest.raises(CaseError, match=message):
            ou(1, 40, flow=flow, exact={"kind": exact}).prepare()


STRONG = {
    "attraction": "20*r**2",
    "repulsion": "20*exp(-20*r**2)",
    "chemotaxis": "0.3*log(r)",
    "waves": "cos(12*x)*cos(12*y)",
}


@pytest.mark.parametrize("step", [1e-2, 1.0])
@pytest.mark.parametrize("kernel", STRONG)
@pytest.mark.parametrize("diffusion", ["{kind: entropy, epsilon: 0.1}", "{kind: porous-medium, exponent: 2}"])
def test_energy_falls_whatever_the_kernel_and_the_step(diffusion, kernel, step):
    """Also for concave and indefinite ones: the interaction is taken at the mean of the two densities."""
    figures = final(
        Case.parse(f"""
            mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [20, 20]}}
            flow: {{kind: gradient-flow, energy: [{diffusion}, {{kind: interaction, kernel: {STRONG[kernel]}}}]}}
            initial: {{kind: uniform, lower: [0.2, 0.2], upper: [0.6, 0.8]}}
            times: {{end: {4 * step}, step: {step}}}
            """)
    )[2]
    assert figures["minimum"] >= 0
    assert figures["mass_drift"] <= 1e-14
    assert figures["energy_defect"] <= 1e-9
    assert figures["energy_increase"] <= 1e-12


@pytest.mark.parametrize("stepper", [{"kind": "ljko"}, {"kind": "jko", "intervals": 1}, {"kind": "midpoint"}])
def test_newton_sees_the_interaction(stepper):
    """As few iterations as without one: its part of the Hessian is in the linear system, for ljko in its tangent."""
    energy = [{"kind": "entropy", "epsilon": 0.5}, {"kind": "interaction", "kernel": "5*exp(-r**2)"}]
    flow = {"kind": "gradient-flow", "energy": energy, "stepper": {**stepper, "tolerance": 1e-10}}
    figures = final(ou(1, 100, flow=flow, exact=None, times={"end": 2.0, "step": 0.2}))[2]
    assert figures["iterations"] <= 4.5 * figures["steps"]
    assert figures["fallbacks"] == 0


def test_an_odd_kernel_that_overflows_is_refused():
    with pytest.raises(CaseError, match="is not finite at"):
        convolution(Kernel(Expression("exp(400*x)")), Box((-3.0,), (3.0,), (9,)).build())


def test_a_mesh_that_is_not_even_uses_the_matrix():
    flow = {"kind": "gradient-flow", "energy": [ATTRACTED[0], {"kind": "interaction", "kernel": "r**2/2"}]}
    mesh = {"kind": "graded", "lower": [-5], "upper": [5], "cells": [200], "ratio": [3.0]}
    figures = final(ou(1, 40, flow=flow).replace({"mesh": mesh, "flow.stepper": {"kind": "midpoint"}}))[2]
    assert figures["error_l1"] < 2e-3


@pytest.mark.parametrize("mesh", [Box((0.0,), (1.0,), (9,)), Graded((0.0,), (1.0,), (9,), (2.0,))])
def test_an_interaction_of_strength_zero_is_none(mesh):
    """A parameter that scales a kernel may be 0: zero is even and finite."""
    convolved = convolution(Kernel(Expression("k*r**2"), {"k": 0.0}), mesh.build())
    np.testing.assert_array_equal(convolved(np.ones(9)), 0.0)


@pytest.mark.parametrize("kernel", ["r**2/2", "-exp(-r**2)", "exp(-r**2)", "r**4/4 - r**2/2", "-log(r)", "log(r)"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_the_tangent_with_the_curvature_of_a_change_as_proximity_is_the_energy_along_it(kernel, dimension):
    """Attraction is concave on densities of one mass and needs none."""
    mesh = Box((-1.0,) * dimension, (1.5,) * dimension, (23, 17)[:dimension]).build()
    random = np.random.default_rng(11)
    terms = tuple(energy.on(mesh, {}) for energy in (Entropy(0.3), Interaction(kernel)))
    total, density = TotalEnergy(mesh.volume, terms), 0.5 + random.random(mesh.cells)
    shift = total.first(density) - linearised(total, density, 2.0).first(density)
    np.testing.assert_allclose(shift, shift[0], rtol=1e-12, err_msg="the tangent, up to a constant")
    for wave in range(8):
        change = random.normal(size=mesh.cells) + 3.0 * np.cos(wave * mesh.centre[:, 0])
        change -= mesh.volume @ change / mesh.volume.sum()
        after = density + 0.4 * change * (density / np.abs(change)).min()
        needed = curvature(total, change)
        local = linearised(total, density, needed)
        assert not local.interacting
        if kernel in ("r**2/2", "-exp(-r**2)"):
            assert needed < 0
            continue
        rise = total.value(after) - total.value(density)
        proximity = 0.5 * needed * float(mesh.volume @ (after - density) ** 2)
        tangent = linearised(total, density, 0.0)
        assert tangent.value(after) - tangent.value(density) + proximity == pytest.approx(rise, abs=1e-12)
        if needed > 0:
            assert local.value(after) - local.value(density) == pytest.approx(rise, abs=1e-12)


@pytest.mark.parametrize(
    ("mesh", "energy", "least"),
    [
        (Box((-1.0,), (1.0,), (100,)), "{kind: potential, potential: 3*x**2/2}", 3 * 0.02**2),
        (Box((-1.0, -1.0), (1.0, 1.0), (40, 20)), "{kind: interaction, kernel: r**2/2}", 0.005),
        (Box((-1.0,), (1.0,), (100,)), "{kind: interaction, kernel: -r**2/2}", None),
    ],
)
def test_a_flow_without_diffusion_is_refused_with_the_entropy_that_the_mesh_resolves(mesh, energy, least):
    flow = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [4]}\ninitial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
        f"flow: {{kind: gradient-flow, energy: [{energy}]}}"
    ).flow
    told = (
        rf"\({least:.2g} keeps a mass of 1 about a cell of this mesh wide\)" if least else "epsilon: ...} or a porous"
    )
    with pytest.raises(CaseError, match=f"gather in a point.*{told}"):
        flow.problem(mesh.build(), {})


def test_two_masses_that_attract_by_a_cubic_kernel_approach_as_their_particles_do():
    """W = r^3/3: their distance falls by its square, 1, 2/3, 1/2 at t = 0, 0.5, 1; the error falls with the mesh."""
    errors = []
    for cells in (100, 200):
        case = Case.parse(
            f"""
            mesh: {{kind: box, lower: [-1], upper: [1], cells: [{cells}]}}
            flow:
              kind: gradient-flow
              energy: [{{kind: entropy, epsilon: {0.02 / cells}}}, {{kind: interaction, kernel: r**3/3}}]
            initial: {{kind: expression, density: "exp(-(x-0.5)**2/4e-4) + exp(-(x+0.5)**2/4e-4)", mass: 1}}
            times: {{end: 1, step: {2 / cells}, save: 0.5}}
            """
        )
        mesh, states = case.prepare().mesh, every_state(case)
        right = mesh.centre[:, 0] > 0
        saved = [min(states, key=lambda state, t=t: abs(state.time - t)) for t in (0.5, 1.0)]
        found = [4 * mesh.volume[right] @ (state.density * mesh.centre[:, 0])[right] for state in saved]
        errors.append(np.abs(np.array(found) - [2 / 3, 1 / 2]).max())
    assert errors[1] < 0.6 * errors[0]
    assert errors[1] < 0.02


def test_repulsion_settles_in_the_semicircle_law():
    """V = x^2/2, W = -log r: variance 1/2 + epsilon (-log r on cells costs .03 h), maximum sqrt(2)/pi."""
    case = Case.parse(
        """
        mesh: {kind: box, lower: [-2], upper: [2], cells: [200]}
        flow:
          kind: gradient-flow
          energy:
            - {kind: entropy, epsilon: 1e-3}
            - {kind: potential, potential: x**2/2}
            - {kind: interaction, kernel: -log(r)}
        initial: {kind: gaussian, mean: [0.2], covariance: [[0.2]]}
        times: {end: 10, step: 0.05}
        """
    )
    simulation, last, figures = final(case)
    masses, x = simulation.mesh.volume * last.density, simulation.mesh.centre[:, 0]
    assert masses @ x**2 - (masses @ x) ** 2 == pytest.approx(0.501, abs=1e-3)
    assert last.density.max() == pytest.approx(2**0.5 / np.pi, rel=1e-3)
    assert figures["energy_increase"] <= 1e-14
    assert figures["halvings"] == figures["fallbacks"] == 0
