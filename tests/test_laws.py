"""Known laws of gradient flows, by the default stepper."""

import itertools

import numpy as np
import pytest

from fvflow.case import Case
from tests.scenes import every_state, final


def flow(mesh, energy, initial, end, step):
    return Case.parse(
        f"mesh: {mesh}\nflow: {{kind: gradient-flow, energy: [{energy}]}}\ninitial: {initial}\n"
        f"times: {{end: {end}, step: {step}}}\n"
    )


def plane(cells, half):
    return f"{{kind: box, lower: [{-half}, {-half}], upper: [{half}, {half}], cells: [{cells}, {cells}]}}"


def second_moment(simulation, state):
    mesh = simulation.mesh
    masses = mesh.volume * state.density
    centre = masses @ mesh.centre / state.mass
    return masses @ ((mesh.centre - centre) ** 2).sum(axis=1)


ASIDE = "{kind: gaussian, mean: [0.1, 0], covariance: [[0.1, 0], [0, 0.1]]}"


@pytest.mark.parametrize("mesh", [40, 80])
def test_the_second_moment_of_keller_segel_grows_linearly(mesh):
    """d/dt int |x|^2 rho = 4 M (1 - M/(8 pi)) with W = log(r)/(2 pi) and epsilon = 1 (upwind mobility: 20 % off)."""
    case = Case.read("cases/keller-segel-subcritical.yaml").replace({"mesh.cells": [mesh, mesh], "checks": {}})
    simulation, states = case.prepare(), every_state(case)
    rate = (second_moment(simulation, states[-1]) - second_moment(simulation, states[0])) / states[-1].time
    mass = states[0].mass
    assert rate == pytest.approx(4 * mass * (1 - mass / (8 * np.pi)), rel={40: 0.06, 80: 0.01}[mesh])


@pytest.mark.parametrize(("fraction", "mean"), [(0.8, 0.557037), (1.1, 0.0)])
def test_mckean_vlasov_particles_choose_a_side_below_the_critical_diffusion(fraction, mean):
    """V = x^4/4 - x^2/2, W = r^2/2: the mean solves m = int x exp(-(V + (x - m)^2/2)/eps)/Z; 0 above .456947."""
    changes = {"flow.energy.0.epsilon": 0.456947 * fraction, "checks": {}}
    simulation, last, figures = final(Case.read("cases/mckean-vlasov-transition.yaml").replace(changes))
    found = simulation.mesh.volume * last.density @ simulation.mesh.centre[:, 0]
    assert found == pytest.approx(mean, abs=2e-4 if mean else 0.02)
    assert figures["halvings"] == figures["fallbacks"] == 0


@pytest.mark.parametrize("side", [-1, 1])
def test_the_mean_field_gibbs_state_is_on_the_side_of_the_initial_mean(side):
    changes = {"initial.mean": [0.1 * side], "checks": {}}
    simulation = Case.read("cases/mckean-vlasov-transition.yaml").replace(changes).prepare()
    equilibrium = simulation.reference.average(0.0)
    found = simulation.mesh.volume * equilibrium @ simulation.mesh.centre[:, 0]
    assert found == pytest.approx(0.557037 * side, abs=2e-4)


@pytest.mark.parametrize(
    ("potential", "square"),
    [("(x**2 + y**2)/2", 0.5), ("(x**2 + y**2)/2 - log(x**2 + y**2)/8", 0.75)],
    ids=["disc", "annulus"],
)
def test_repelling_particles_fill_a_disc_or_an_annulus(potential, square):
    """W = -log r: density 1/pi inside; int |x|^2 = 1/2, 3/4, plus 2 epsilon by the virial identity."""
    epsilon = 0.01
    energy = f"{{kind: entropy, epsilon: {epsilon}}}, {{kind: potential, potential: {potential}}}, "
    case = flow(plane(48, 1.5), energy + "{kind: interaction, kernel: -log(r)}", ASIDE, 6, 0.1)
    simulation, last, _ = final(case)
    radius = np.linalg.norm(simulation.mesh.centre, axis=1)
    assert second_moment(simulation, last) == pytest.approx(square + 2 * epsilon, rel=2e-3)
    inside = last.density[(radius > 0.7) & (radius < 0.85)]
    assert inside == pytest.approx(1 / np.pi, rel=0.1)


@pytest.mark.parametrize(
    "stepper", [{"kind": "ljko"}, {"kind": "jko", "intervals": 1}, {"kind": "evbdf2"}], ids=["ljko", "jko", "evbdf2"]
)
def test_particles_that_repel_close_by_and_attract_far_away_form_a_ring(stepper):
    """W = r^4/4 - r^2/2: a ring of radius 1/sqrt(3); int |x|^2 = 1/3 whatever the width that diffusion gives it.

    In the middle and far outside the density falls to exp(-100) and less, which Newton's method must not wait for.
    """
    energy = "{kind: entropy, epsilon: 0.01}, {kind: interaction, kernel: r**4/4 - r**2/2}"
    case = flow(plane(32, 1.2), energy, ASIDE, 10, 0.1)
    simulation, last, figures = final(case.replace({"flow.stepper": stepper}))
    assert second_moment(simulation, last) == pytest.approx(1 / 3, rel=5e-3)
    assert figures["fallbacks"] == figures["halvings"] == 0
    assert figures["energy_increase"] <= 1e-14


@pytest.mark.parametrize("exponent", [0.6, 1.5, 2, 5])
def test_barenblatt_errors_fall(exponent):
    """Steps of order h: at least order 1/2 at corners of a front, more where the density is smooth."""
    half, errors = (3 if exponent > 1 else 30), []
    for level in range(3):
        mesh = f"{{kind: box, lower: [{-half}], upper: [{half}], cells: [{100 * 2**level}]}}"
        case = flow(mesh, f"{{kind: porous-medium, exponent: {exponent}}}", "{kind: exact}", 0.2, 0.02 / 2**level)
        figures = final(case.replace({"exact": {"kind": "barenblatt", "start": 0.2}}))[2]
        assert figures["halvings"] == figures["fallbacks"] == 0
        errors.append(figures["error_l1"])
    assert errors[2] < 2e-3
    assert errors[2] < 0.5 * errors[0]


def test_a_porous_front_waits():
    """m = 2 from cos(x)^2/2: the front stays at pi/2 until t = 1/6, on meshes with a face there.

    It has left once the mass beyond that face exceeds h^2/100: that of a front rho = slope (x_f - x) one cell further
    with a slope of 1/50.
    """
    errors = []
    for cells in (100, 200, 400, 800):
        half = 0.625 * np.pi
        mesh = f"{{kind: box, lower: [{-half}], upper: [{half}], cells: [{cells}]}}"
        start = "{kind: expression, density: 'where(abs(x) < pi/2, cos(x)**2/2, 0)', mass: 0.7853981633974483}"
        case = flow(mesh, "{kind: porous-medium, exponent: 2}", start, 0.2, 0.001)
        simulation, states = case.prepare(), every_state(case)
        beyond = np.abs(simulation.mesh.centre[:, 0]) > np.pi / 2
        mass = [(simulation.mesh.volume * state.density)[beyond].sum() for state in states]
        left = 0.01 * float(simulation.mesh.volume[0]) ** 2
        waited = next(state.time for state, outside in zip(states, mass, strict=True) if outside > left)
        errors.append(6 * waited - 1)
    assert all(0 < fine < coarse < 0.1 for coarse, fine in itertools.pairwise(errors))
