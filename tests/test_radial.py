"""Meshes whose x is a radius: measures, rates, Gaussians and passage times against closed forms."""

import fipy
import numpy as np
import pytest
from scipy.stats import kstest

import fvflow
from fvflow import Case, CaseError
from fvflow.case.line_steps import line_step_gap
from fvflow.dataset import stored_mesh
from fvflow.mesh import Box, Grid, Radial, Revolution, box_outside, box_share, transferred
from tests.contracts import check_mesh

OU = """
flow: {{kind: {kind}, epsilon: 0.5, potential: {potential}, stepper: {{kind: {stepper}}}}}
initial: {{kind: gaussian, mean: {mean}, covariance: {covariance}}}
times: {{end: 0.4, step: {step}}}
exact: {{kind: gaussian}}
"""
RADIAL = {"potential": "0.5*x**2", "mean": "[0]", "covariance": "[[0.2]]", "kind": "fokker-planck"}
TURNED = {
    "potential": "0.5*x**2 + 0.5*(y - 1)**2",
    "mean": "[0, 0.5]",
    "covariance": "[[0.2, 0], [0, 0.3]]",
    "kind": "fokker-planck",
}
MESHES = {
    "disc": ("{{kind: radial, dimension: 2, outer: 5, cells: {n}}}", RADIAL),
    "ball": ("{{kind: radial, dimension: 3, outer: 5, cells: {n}}}", RADIAL),
    "solid": ("{{kind: box, lower: [0, -5], upper: [5, 6], cells: [{n}, {n}], axisymmetric: true}}", TURNED),
}
STEPPERS = ["implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "split-crank-nicolson", "chebyshev", "muscl"]


def run(name, cells, stepper="tr-bdf2", step=0.01, **changes):
    mesh, keys = MESHES[name]
    return Case.parse("mesh: " + mesh.format(n=cells) + OU.format(stepper=stepper, step=step, **keys, **changes)).run()


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("inner", [0.0, 0.5])
def test_measures_are_those_of_rings_and_shells(dimension, inner):
    mesh = Radial(dimension=dimension, inner=inner, outer=2.0, cells=7).build()
    ball = {2: np.pi, 3: 4 * np.pi / 3}[dimension]
    check_mesh(mesh, measure=ball * (2.0**dimension - inner**dimension), orthogonal=1e-14)
    assert sorted(mesh.named_walls) == (["right"] if inner == 0 else ["left", "right"]), (
        "there is no wall at the centre"
    )
    assert mesh.wall_area[-1] == pytest.approx(dimension * ball * 2.0 ** (dimension - 1), rel=1e-14)
    for count in (1, 2, 4):
        weights = mesh.integral(lambda at, cells: np.ones(len(at)), count)
        np.testing.assert_allclose(weights, mesh.volume, rtol=1e-14)
    moment = mesh.integral(lambda at, cells: at[:, 0] ** 2, 3).sum()
    power = dimension + 2
    assert moment == pytest.approx(ball * dimension / power * (2.0**power - inner**power), rel=1e-13)


def test_the_solid_of_revolution_has_the_volume_of_a_cylinder():
    mesh = Box(lower=(0.5, 0.0), upper=(2.0, 3.0), cells=(4, 6), axisymmetric=True).build()
    check_mesh(mesh, measure=np.pi * (4 - 0.25) * 3, orthogonal=1e-14)
    assert mesh.wall_area.sum() == pytest.approx(2 * np.pi * (2.0 + 0.5) * 3 + 2 * np.pi * (4 - 0.25), rel=1e-14)


@pytest.mark.parametrize(("dimension", "rate"), [(2, 14.681970642), (3, 20.190728557)])
def test_the_slowest_radial_rate_is_that_of_the_closed_ball_at_order_2(dimension, rate):
    errors = []
    for cells in (25, 50, 100):
        mesh = f"mesh: {{kind: radial, dimension: {dimension}, outer: 1, cells: {cells}}}\n"
        gap = Case.parse(mesh + "flow: {kind: spectrum, epsilon: 1, count: 2}").run().attrs["spectral_gap"]
        errors.append(abs(gap - rate))
    assert errors[-1] < 4e-3
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2.0, atol=0.05)


@pytest.mark.parametrize("name", MESHES)
def test_an_ornstein_uhlenbeck_process_is_the_gaussian_of_the_space_at_order_2(name):
    runs = [run(name, cells, step=0.4 / cells) for cells in (20, 40, 80)]
    errors = np.array([float(ds.error_l1[-1]) for ds in runs])
    np.testing.assert_allclose(np.log2(errors[:-1] / errors[1:]), 2.0, atol=0.15)
    assert max(ds.attrs["mass_drift"] for ds in runs) <= 1e-14
    assert min(ds.attrs["minimum"] for ds in runs) >= 0


@pytest.mark.parametrize("stepper", STEPPERS)
def test_every_stepper_runs_on_solids_of_revolution(stepper):
    ds = run("solid", 40, stepper)
    assert ds.attrs["error_l1"] < 0.015
    assert ds.attrs["mass_drift"] <= 1e-14
    assert ds.attrs["minimum"] >= 0


@pytest.mark.parametrize("stepper", ["ljko", "jko", "evbdf2", "midpoint", "implicit-euler"])
def test_gradient_flows_run_on_balls(stepper):
    mesh, keys = MESHES["ball"]
    text = "mesh: " + mesh.format(n=40) + OU.format(stepper=stepper, step=0.02, **keys)
    flow = (
        "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}, {kind: potential, potential: 0.5*x**2}], "
    )
    lines = [
        flow + f"stepper: {{kind: {stepper}}}}}" if line.startswith("flow") else line for line in text.splitlines()
    ]
    ds = Case.parse("\n".join(lines)).run()
    assert ds.attrs["error_l1"] < 0.03
    assert ds.attrs["mass_drift"] <= 1e-13
    assert ds.attrs["minimum"] >= 0
    assert "evi_defect" not in ds.attrs, "the distance of radii on a line is not that of densities in space"


@pytest.mark.parametrize("dimension", [2, 3])
def test_steps_of_jko_are_those_of_the_gaussian_recursion_in_space(dimension):
    text = f"""
mesh: {{kind: radial, dimension: {dimension}, outer: 5, cells: 100}}
flow:
  kind: gradient-flow
  energy: [{{kind: entropy, epsilon: 0.5}}, {{kind: potential, potential: 0.5*x**2}}]
  stepper: {{kind: jko}}
initial: {{kind: gaussian, mean: [0], covariance: [[0.2]]}}
times: {{end: 0.4, step: 0.1}}
exact: {{kind: gaussian-jko}}
"""
    coarse, fine = (Case.parse(text).replace({"mesh.cells": cells}).run().attrs["error_l1"] for cells in (50, 100))
    assert fine < 4e-3
    assert fine < 0.6 * coarse


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_porous_medium_spreads_as_the_barenblatt_solution_of_the_space(dimension):
    text = f"""
mesh: {{kind: radial, dimension: {dimension}, outer: 1.5, cells: 40}}
flow: {{kind: gradient-flow, energy: [{{kind: porous-medium, exponent: 2}}]}}
initial: {{kind: exact}}
times: {{end: 0.02, step: 0.001}}
exact: {{kind: barenblatt, start: 0.02}}
"""
    coarse, fine = (Case.parse(text).replace({"mesh.cells": n, "times.step": 0.08 / n}) for n in (40, 80))
    errors = [case.run().attrs["error_l1"] for case in (coarse, fine)]
    assert errors[1] < 0.01
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("dimension", [2, 3])
def test_equilibrium_is_stationary(dimension):
    text = f"""
mesh: {{kind: radial, dimension: {dimension}, outer: 3, cells: 60}}
flow: {{kind: fokker-planck, epsilon: 0.1, potential: (x - 1)**2*(1 + x)}}
initial: {{kind: gibbs}}
times: {{end: 10, step: 0.1}}
"""
    ds = Case.parse(text.replace("{kind: gibbs}", "{kind: exact}") + "exact: {kind: gibbs}").run()
    assert ds.attrs["error_l1"] <= 1e-13


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_time_to_leave_a_ball(dimension):
    text = f"""
mesh: {{kind: radial, dimension: {dimension}, outer: 1, cells: 80}}
flow: {{kind: first-passage, epsilon: 0.5, target: {{wall: right}}}}
"""
    ds = Case.parse(text).run()
    exact = (1 - ds.x**2) / (2 * dimension * 0.5)
    assert float(abs(ds.mean_passage_time[-1] - exact).max()) < 2e-4


def test_bounds_of_w2_are_refused_where_x_is_a_radius():
    with pytest.raises(CaseError, match="this result is on another mesh"):
        fvflow.wasserstein.distance(run("ball", 10, step=0.1), 0, -1)


def test_a_ring_of_the_ball_is_a_shell():
    mesh = Radial(dimension=3, outer=1.0, cells=4).build()
    share = box_share(mesh, np.array([0.125]), np.array([0.5]))
    np.testing.assert_allclose(share, [1 - 0.5**3, 1, 0, 0], rtol=1e-14)
    assert box_outside(mesh, np.array([0.5]), np.array([1.5])) == pytest.approx(1 - (1 - 0.125) / (1.5**3 - 0.125))


def test_transfer_conserves_the_mass_of_shells():
    fine, coarse = (Radial(dimension=3, outer=1.0, cells=count).build() for count in (12, 5))
    density = 1 + np.cos(3 * fine.centre[:, 0])
    moved = transferred(fine, coarse, density)
    assert coarse.volume @ moved == pytest.approx(fine.volume @ density, rel=1e-14)
    assert transferred(fine, coarse, np.ones(12)) == pytest.approx(np.ones(5), rel=1e-13)
    with pytest.raises(CaseError, match="a radius as x"):
        transferred(fine, Grid((np.linspace(0, 1, 6),)), density)


def test_a_result_goes_on_from_its_file(tmp_path):
    mesh, keys = MESHES["ball"]
    text = "mesh: " + mesh.format(n=30) + OU.format(stepper="implicit-euler", step=0.1, **keys)
    case = Case.parse(text)
    case.write(tmp_path / "a.nc")
    again = case.replace({"initial": {"kind": "file", "file": str(tmp_path / "a.nc")}, "exact": None})
    np.testing.assert_array_equal(again.run().rho[0], case.run().rho[-1])
    other = again.replace({"mesh.dimension": 2})
    with pytest.raises(CaseError, match="a radius as x"):
        other.run()


@pytest.mark.parametrize(
    ("make", "volume"),
    [
        (lambda: fipy.SphericalGrid1D(nr=20, Lr=1.0), 1 / 3),
        (lambda: fipy.CylindricalGrid1D(nr=20, Lr=1.0), 1 / 2),
        (lambda: fipy.CylindricalGrid2D(nr=8, nz=4, Lr=1.0, Lz=3.0), 3 / 2),
    ],
)
def test_curvilinear_grids_of_fipy_keep_their_measure_per_unit_angle(make, volume, tmp_path):
    mesh = fvflow.from_fipy(make())
    assert mesh.volume.sum() == pytest.approx(volume, rel=1e-13)
    fvflow.save_mesh(mesh, tmp_path / "mesh.nc")
    text = "mesh: {kind: ugrid, file: mesh.nc}\nflow: {kind: stationary, epsilon: 1}"
    ds = Case.parse(text, str(tmp_path / "case.yaml")).run()
    assert float(ds[{1: "cell_length", 2: "cell_area"}[mesh.dimension]].sum()) == pytest.approx(volume, rel=1e-13)


BALL = "mesh: {kind: radial, dimension: 3, outer: 5, cells: 20}\n"
HEAT = "flow: {kind: fokker-planck, epsilon: 1}\ninitial: {kind: uniform}\ntimes: {end: 1, step: 0.1}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BALL.replace("dimension: 3", "dimension: 4") + HEAT, "dimension"),
        (BALL.replace("outer: 5", "outer: 5, inner: 6") + HEAT, "lower 6 is not below upper 5"),
        (BALL + HEAT.replace("{kind: uniform}", "{kind: gaussian, mean: [1], covariance: [[1]]}"), "x is a radius"),
        (
            BALL + HEAT.replace("{kind: uniform}", "{kind: exact}") + "exact: {kind: heat-box, modes: [1]}",
            "a radius as x",
        ),
        (
            "mesh: {kind: box, lower: [-1], upper: [1], cells: [9], axisymmetric: true}\n" + HEAT,
            "x is a radius and begins at -1",
        ),
        (
            "mesh: {kind: box, lower: [0, 0, 0], upper: [1, 1, 1], cells: [9, 9, 9], axisymmetric: true}\n" + HEAT,
            "give two axes",
        ),
        (
            "mesh: {kind: box, lower: [0], upper: [1], cells: [9], axisymmetric: true, periodic: [x]}\n" + HEAT,
            "cannot be periodic",
        ),
        (
            "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [9, 9], axisymmetric: true}\n"
            + HEAT.replace("epsilon: 1", "epsilon: 1, stream: x*y"),
            "give the velocity instead",
        ),
        (
            BALL
            + HEAT.replace(
                "{kind: fokker-planck, epsilon: 1}",
                "{kind: gradient-flow, energy: [{kind: interaction, kernel: x**2}]}",
            ),
            "which a radius does not tell",
        ),
        (BALL + HEAT + "walls: {left: absorbing}", "left"),
    ],
)
def test_what_a_radius_cannot_be_is_refused(text, message):
    with pytest.raises(CaseError, match=message):
        Case.parse(text).run()


def test_a_measure_per_unit_angle_is_a_part_of_the_whole():
    assert Revolution(3, 1.0).turns == pytest.approx(1 / (4 * np.pi))


def resting(name, cells=100, output="{}"):
    """The Ornstein-Uhlenbeck process about the centre with saves; its variance at t is 0.5 - 0.3 exp(-2t)."""
    save = f"{{end: 0.4, step: 0.01, save: 0.1}}\noutput: {output}"
    return Case.parse("mesh: " + MESHES[name][0].format(n=cells) + OU_SAVED.format(times=save)).run()


OU_SAVED = """
flow: {{kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2, stepper: {{kind: tr-bdf2}}}}
initial: {{kind: gaussian, mean: [0], covariance: [[0.2]]}}
times: {times}
"""


def errors_at_points(name, cells):
    """Of velocity, its divergence in space and log rho beside the centre and away from it."""
    ds, space = resting(name, cells), {"disc": 2, "ball": 3}[name]
    flow, x = fvflow.at(ds), np.linspace(0.0, 1.5, 40)[:, None]
    variance, start = 0.5 - 0.3 * np.exp(-0.8), 0.2
    slope = -1.0 + 0.5 / variance
    log_start = -(x[:, 0] ** 2) / (2 * start) - 0.5 * space * np.log(2 * np.pi * start)
    return [
        np.abs(flow.velocity(x, 0.4) - slope * x).max(),
        np.abs(flow.divergence(x, 0.4) - space * slope).max(),
        np.abs(flow.log_density(x, 0.0) - log_start).max(),
    ]


@pytest.mark.parametrize("name", ["disc", "ball"])
def test_a_result_at_points_is_that_in_space(name):
    """The divergence has the part of the circles; the start, of averages, is of order 4."""
    coarse, fine = errors_at_points(name, 60), errors_at_points(name, 120)
    assert max(fine[:2]) < 0.01
    assert np.log2(np.divide(coarse, fine)) == pytest.approx([2, 2, 4], abs=0.6)


def test_the_divergence_in_the_middle_of_a_ball_is_of_order_2_at_the_start_and_told_after_it():
    """Averages differ from values at the centres by amounts of their own in the first cells."""
    x, slope, errors = np.linspace(0.0, 0.3, 31)[:, None], -1.0 + 0.5 / 0.2, []
    for cells in (100, 200):
        flow = fvflow.at(resting("ball", cells))
        errors.append(np.abs(flow.divergence(x, 0.0) - 3 * slope).max())
        assert [sentence for sentence in flow.remarks if "in the middle of the ball div v is of order 0" in sentence]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.3)
    assert errors[1] < 0.005
    disc = fvflow.at(resting("disc"))
    disc.divergence(x, 0.0)
    assert not disc.remarks


@pytest.mark.parametrize("name", ["disc", "ball"])
def test_points_are_pushed_with_the_density_in_space(name):
    start = np.array([[0.3], [0.6], [1.2]])
    moved = fvflow.push(resting(name, 150), start, 0.0, 0.4, method="smooth")
    factor = np.sqrt((0.5 - 0.3 * np.exp(-0.8)) / 0.2)
    np.testing.assert_allclose(moved.points, factor * start, rtol=2e-3)
    np.testing.assert_allclose(moved.log_det, {"disc": 2, "ball": 3}[name] * np.log(factor), atol=5e-3)


@pytest.mark.parametrize("dimension", [2, 3])
def test_samples_are_those_of_the_space(dimension):
    """Of a uniform density in one cell and in many: r^d is uniform."""
    for cells in (1, 7):
        ds = Case.parse(
            f"mesh: {{kind: radial, dimension: {dimension}, inner: 0.5, outer: 2, cells: {cells}}}\n"
            "flow: {kind: fokker-planck, epsilon: 1}\ninitial: {kind: uniform}\ntimes: {end: 0.01, step: 0.01}"
        ).run()
        drawn = fvflow.sample(ds, 4000, seed=1)[:, 0] ** dimension
        least, most = 0.5**dimension, 2.0**dimension
        assert kstest((drawn - least) / (most - least), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", ["disc", "ball"])
def test_stored_velocities_are_of_order_2_up_to_the_centre(name):
    errors = []
    for cells in (40, 80):
        ds = resting(name, cells, "{velocity: true}")
        near = ds["x"].values < 1.5
        exact = (-1.0 + 0.5 / (0.5 - 0.3 * np.exp(-0.8))) * ds["x"].values
        errors.append(np.abs(ds["v_x"].values[-1] - exact)[near].max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.4)


def test_what_knows_no_radius_refuses_it():
    mesh = "mesh: {kind: radial, dimension: 2, outer: 4, cells: 20}\ninitial: {kind: uniform}\n"
    times = "times: {end: 0.1, step: 0.05}\n"
    walks = "flow: {kind: particles, epsilon: 1, count: 10, stepper: {kind: euler-maruyama}}\n"
    with pytest.raises(CaseError, match=r"x is a radius; use stepper: \{kind: jump\}"):
        Case.parse(mesh + walks + times).run()
    with pytest.raises(CaseError, match="log_det of a velocity by formulas"):
        Case.parse(mesh + "flow: {kind: flow-map, velocity: [-x], points: {kind: grid, counts: [3]}}\n" + times).run()
    ds = resting("disc", 30, "{fluxes: true}")
    with pytest.raises(CaseError, match="exact tracer takes no mesh whose x is a radius"):
        fvflow.push(ds, [[0.5]], 0.0, 0.4, method="exact")


def test_steps_of_quantiles_are_those_of_lines():
    """The radius is no line on which quantiles move at the cost of W2."""
    text = "flow: {kind: gradient-flow, energy: [{kind: entropy, epsilon: 0.5}], stepper: {kind: jko}}\n"
    case = Case.parse(
        "mesh: {kind: radial, dimension: 2, outer: 3, cells: 20}\n" + text + "initial: {kind: gaussian, mean: [0], "
        "covariance: [[0.4]]}\ntimes: {end: 0.02, step: 0.01, save: 0.01}"
    )
    ds = case.run()
    densities = [np.ravel(values) for values in ds["rho"].values]
    assert line_step_gap(ds, case, stored_mesh(ds), densities) is None


def relaxed(dimension, cells):
    """Ornstein-Uhlenbeck in the space of a radius; with the variance along each of its axes at t."""
    run = Case.parse(
        f"mesh: {{kind: radial, outer: 6, cells: {cells}, dimension: {dimension}}}\n"
        "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2, stepper: {kind: tr-bdf2}}\n"
        "initial: {kind: gaussian, mean: [0], covariance: [[0.5]]}\n"
        "times: {end: 0.5, step: 0.01, save: 0.05}\noutput: {fluxes: true}"
    ).run()
    return run, lambda t: 1 - 0.5 * np.exp(-2 * t)


@pytest.mark.parametrize("dimension", [2, 3])
def test_at_points_of_a_radius(dimension):
    errors = []
    for cells in (40, 80):
        run, variance = relaxed(dimension, cells)
        flow, r, t = fvflow.at(run), np.array([[0.0], [1e-8], [0.3], [1.0], [2.0]]), 0.33
        s2, x = variance(t), r[:, 0]
        log = -(x**2) / (2 * s2) - 0.5 * dimension * np.log(2 * np.pi * s2)
        scale = np.sqrt(variance(0.5) / 0.5)
        pushed = fvflow.push(run, r, 0, 0.5)
        errors.append(
            [
                np.abs(flow.log_density(r, t) - log).max(),
                np.abs(flow.score(r, t)[:, 0] + x / s2).max(),
                np.abs(flow.velocity(r, t)[:, 0] - x * (1 / s2 - 1)).max(),
                np.abs(flow.divergence(r, t) - dimension * (1 / s2 - 1)).max(),
                np.abs(pushed.points[:, 0] - scale * x).max(),
                np.abs(pushed.log_det - dimension * np.log(scale))[2:].max(),
            ]
        )
    assert (np.log2(np.divide(*errors)) > 1.7).all()
    assert max(errors[1]) < 5e-3
    assert fvflow.compare_sides(run, 400).figures["determinant"] < 1e-4


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("dimension", [2, 3])
def test_samples_of_a_radius_have_the_law_of_the_space(dimension, stratified):
    run, variance = relaxed(dimension, 60)
    points = fvflow.sample(run, 40_000, 0.5, 1, stratified=stratified)
    spread = variance(0.5) * np.sqrt(2 * dimension / 40_000)
    assert abs((points**2).mean() - dimension * variance(0.5)) < 4 * spread
    shell, unit = Radial(dimension=dimension, inner=1.0, outer=2.0, cells=1).build(), np.linspace(0, 1, 9)[:, None]
    inside = shell.pieces.positions(np.zeros(9, int), unit)
    np.testing.assert_allclose(inside**dimension, 1 + unit * (2**dimension - 1), rtol=1e-14)


def test_jumps_between_rings_have_the_law_of_the_scheme():
    run = Case.parse(
        "mesh: {kind: radial, outer: 3, cells: 30, dimension: 2}\ninitial: {kind: uniform}\n"
        "flow: {kind: particles, count: 20000, epsilon: 1, potential: 0.5*x**2, stepper: {kind: jump}}\n"
        "times: {end: 8, step: 1}\nexact: {kind: gibbs}"
    ).run()
    assert run.attrs["chi_square_p"] > 1e-3
    assert run.attrs["mean_deviation"] < 4
    assert abs((run.position[-1] ** 2).mean() - 2 * (1 - 4.5 / np.expm1(4.5))) < 0.05
