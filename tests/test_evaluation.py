"""A result at points: closed forms and their orders, the continuity equation of every flow, walls, refusals."""

import shutil

import numpy as np
import pytest

import fvflow
from fvflow.case import Case, evaluation
from fvflow.case.result_evaluation import evaluate_result
from fvflow.errors import CaseError, NumericsError

OU = """
mesh: {{kind: box, lower: [-5], upper: [5], cells: [{cells}]}}
flow: {{kind: fokker-planck, epsilon: 1, potential: 0.5*x**2, stepper: {{kind: tr-bdf2}}}}
initial: {{kind: gaussian, mean: [0.8], covariance: [[0.5]]}}
times: {{end: {end}, step: {step}, save: {save}}}
"""
TIMES = "times: {end: 0.3, step: 0.01, save: 0.1}"
STEPPER = "stepper: {kind: tr-bdf2}"
NARROW = "initial: {kind: gaussian, mean: [0.2], covariance: [[0.3]], truncate: 0.5}"
WIDE = "initial: {kind: gaussian, mean: [0.2, 0], covariance: [[0.4, 0], [0, 0.3]], truncate: 0.5}"
LINE = "mesh: {kind: box, lower: [-2], upper: [2], cells: [100]}"
PLANE = "mesh: {kind: graded, lower: [-2, -2], upper: [2, 2], cells: [50, 40], ratio: [1.5, 1]}"
TWO = "{kind: interaction, kernel: 0.5*x**2}, {kind: potential, potential: 0.1*x}"
SUM = f"energy: [{{kind: entropy, epsilon: 0.5}}, {TWO}]"
TRIANGLES = "mesh: {kind: gmsh, file: disc.msh}"


def ou(cells=100, end=0.4, step=0.01, save=0.1):
    return Case.parse(OU.format(cells=cells, end=end, step=step, save=save)).run()


def ou_exact(x, t):
    """rho, score, velocity and its divergence."""
    mean, variance = 0.8 * np.exp(-t), 1.0 - 0.5 * np.exp(-2.0 * t)
    density = np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    score = (mean - x) / variance
    return density[:, 0], score, -x - score, np.full(len(x), -1.0 + 1.0 / variance)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def errors_of_ou(flow, t):
    x = ou_exact(np.zeros((1, 1)), t)[0][:0].reshape(0, 1)
    x = np.linspace(-2.5, 2.5, 301)[:, None]
    got = flow.density(x, t), flow.score(x, t), flow.velocity(x, t), flow.divergence(x, t)
    return [rms(a - b) for a, b in zip(got, ou_exact(x, t), strict=True)]


def test_orders_of_density_score_and_velocity_in_space():
    """Second order, that of the scheme, at a time between saves."""
    errors = [errors_of_ou(fvflow.at(ou(cells, step=0.004, save=0.05)), 0.275) for cells in (40, 80)]
    assert np.log2(np.divide(*errors)) == pytest.approx([2, 2, 2, 2], abs=0.25)
    assert max(errors[1]) < 0.01


@pytest.mark.parametrize(("in_time", "order"), [("hermite", 4), ("linear", 2)])
def test_orders_in_the_spacing_of_saves(in_time, order):
    """Against all saves, with the same run: fourth order by the rates of the scheme, second without them."""
    ds, x = ou(80, end=0.8, step=0.005, save=0.0125), np.linspace(-2, 2, 201)[:, None]
    fine = fvflow.at(ds, in_time=in_time)
    errors = []
    for every in (16, 8):
        flow = fvflow.at(ds.isel(time=slice(None, None, every)), in_time=in_time, accept=True)
        pairs = [(flow.velocity(x, t), fine.velocity(x, t)) for t in np.linspace(0.4, 0.8, 33)]
        errors.append(rms([got - exact for got, exact in pairs]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("stepper", ["midpoint", "midpoint, mobility: centred"])
def test_the_order_in_the_spacing_of_saves_of_gradient_flows(stepper):
    """Fourth, as rates are by the fluxes of the stepper: by others that are of second order in space it would be 1."""
    ds = Case.parse(text(
        "mesh: {kind: box, lower: [-4], upper: [4], cells: [80]}", f"kind: gradient-flow, {SUM}",
        "initial: {kind: gaussian, mean: [0.2], covariance: [[0.3]]}", "times: {end: 0.8, step: 0.005, save: 0.0125}",
        stepper=stepper,
    )).run()  # fmt: skip
    fine, x, errors = fvflow.at(ds), np.linspace(-1.5, 1.5, 101)[:, None], []
    for every in (8, 4):
        flow = fvflow.at(ds.isel(time=slice(None, None, every)))
        pairs = [(flow.log_density(x, t), fine.log_density(x, t)) for t in np.linspace(0.2, 0.8, 49)]
        errors.append(rms([got - exact for got, exact in pairs]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("energy", [SUM, "energy: [{kind: porous-medium, exponent: 2}, {kind: entropy, epsilon: 0.1}]"])
def test_the_potential_of_a_gradient_flow_moves_with_its_density(energy):
    """d_t E'(rho) is the derivative of E' along d_t rho: of what each cell holds, and of the others that act on it."""
    case = Case.parse(text(LINE, f"kind: gradient-flow, {energy}", NARROW, TIMES, stepper="ljko"))
    flow, mesh = fvflow.at(case.run()), case.mesh.build()
    total, step = case.flow.problem(mesh, {}).total, 1e-5
    for frame in (0, 2):
        density, rate = flow._saved.field("rho", frame), flow._motion.rate(frame)
        expected = (total.first(density + step * rate) - total.first(density - step * rate)) / (2 * step)
        assert flow._motion.values(frame).rate == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_velocity_of_a_double_well_at_equilibrium_is_zero_and_score_that_of_gibbs():
    errors = []
    for cells in (40, 80):
        mesh = f"mesh: {{kind: box, lower: [-2], upper: [2], cells: [{cells}]}}"
        case = Case.parse(text(mesh, "kind: stationary, epsilon: 0.5, potential: (x**2 - 1)**2"))
        flow = fvflow.at(case.run())
        x = np.linspace(-2, 2, 301)[:, None]
        errors.append([rms(flow.velocity(x, 7.0)), rms(flow.score(x, -3.0) + 8.0 * x * (x**2 - 1))])
        log = flow.log_density(x, 0.0) + 2.0 * (x[:, 0] ** 2 - 1) ** 2
        errors[-1].append(np.ptp(log))
    assert (np.log2(np.divide(*errors)) >= [2.7, 2.7, 3.7]).all()


PERIODIC = "mesh: {kind: box, lower: [0], upper: [1], cells: [64], periodic: [x]}"
WAVE = "initial: {kind: expression, density: 1 + 0.5*sin(2*pi*x), mass: 1}\ntimes: {end: 0.3, step: 0.005, save: 0.02}"
SQUARE = "mesh: {kind: box, lower: [-2, -2], upper: [2, 2], cells: [50, 50]}"
ITO = "diffusion: {value: 0.5 + 0.2*sin(x), convention: ito}"
BOTH = "diffusion: {value: [0.5 + 0.2*sin(x), 0.4 + 0.1*cos(x + y)], convention: stratonovich}"
WARM = "diffusion: {value: 0.5 + 0.2*sin(x), convention: isothermal, temperature: 0.7}"
FULL = "diffusion: {value: [[0.5 + 0.1*x, 0.1], [0.1, 0.4 - 0.05*y]], convention: ito}"
TARGETS = 'from: {where: "x <= -1"}, to: {where: "x >= 1"}'


def text(mesh, flow, *rest, stepper="tr-bdf2"):
    """A case; flows without initial density have no stepper."""
    method = f", stepper: {{kind: {stepper}}}" if rest else ""
    return "\n".join([mesh, f"flow: {{{flow}{method}}}", *rest])


FLOWS = {  # and the largest residual of d_t log rho + v.score + div v, relative to its parts
    "graded plane": (
        text(PLANE, "kind: fokker-planck, epsilon: 1, potential: x**2/2 + y**2/3, velocity: [-y, x]", WIDE, TIMES),
        0.05,
    ),
    "unsteady ring": (
        text(PERIODIC, "kind: fokker-planck, epsilon: 0.1, potential: 0.1*cos(2*pi*x), velocity: [1 + t]", WAVE),
        0.05,
    ),
    "ito": (text(LINE, f"kind: fokker-planck, {ITO}, velocity: [-x]", NARROW, TIMES), 0.02),
    "stratonovich": (text(PLANE, f"kind: fokker-planck, {BOTH}, potential: x**2/2 + y**2/2", WIDE, TIMES), 0.05),
    "temperature": (
        text(LINE, f"kind: fokker-planck, {WARM}, potential: x**2/2, velocity: [cos(x)]", NARROW, TIMES),
        0.02,
    ),
    "tensor": (text(SQUARE, f"kind: fokker-planck, {FULL}, velocity: [-x, -y]", WIDE, TIMES), 0.05),
    "backward": (text(LINE, "kind: backward, epsilon: 0.5, potential: x**2/2, final: x", NARROW, TIMES), 0.02),
    "interaction": (text(LINE, f"kind: gradient-flow, {SUM}", NARROW, TIMES, stepper="midpoint"), 0.05),
    "stationary": (text(PLANE, "kind: stationary, epsilon: 1, potential: x**2 + y**2/3, velocity: [-y, x]"), 0.05),
    "triangles": (
        text(TRIANGLES, "kind: fokker-planck, epsilon: 1, potential: x**2/2 + y**2, velocity: [-y, x]", WIDE, TIMES),
        0.15,
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_density_and_velocity_fulfil_the_continuity_equation(name):
    """d_t log rho + v.grad log rho + div v = 0, log rho from the frames and v from the equation."""
    case, bound = Case.parse(FLOWS[name][0], "cases/name.yaml"), FLOWS[name][1]
    flow = fvflow.at(case.run(), case=case)
    lower, upper = flow.mesh.points.min(axis=0), flow.mesh.points.max(axis=0)
    x = np.random.default_rng(0).uniform(0.6 * lower + 0.4 * upper, 0.4 * lower + 0.6 * upper, (400, len(lower)))
    t = 0.5 * (flow.times[-2] + flow.times[-1]) if len(flow.times) > 1 else 0.0
    change = (flow.log_density(x, t + 1e-4) - flow.log_density(x, t - 1e-4)) / 2e-4
    parts = change, flow.divergence(x, t), (flow.velocity(x, t) * flow.score(x, t)).sum(axis=1)
    assert rms(sum(parts)) <= bound * max(map(rms, parts))
    assert flow.velocity(x, t) != pytest.approx(flow.drift(x, t), abs=1e-3)


@pytest.mark.parametrize("name", ["graded plane", "ito", "stratonovich", "temperature", "interaction", "backward"])
def test_no_velocity_through_closed_walls(name):
    flow = fvflow.at(Case.parse(FLOWS[name][0]).run())
    at, normal = flow.mesh.walls
    through = (flow.velocity(at, 0.17) * normal).sum(axis=1)
    assert np.abs(through).max() <= 1e-10 * np.abs(flow.drift(at, 0.17)).max()


@pytest.mark.parametrize("flow", ["stationary", f"committor, {TARGETS}", "spectrum"])
def test_nothing_moves_in_equilibrium(flow):
    """A spline keeps the quadratic log rho and its slopes at the walls."""
    result = fvflow.at(Case.parse(text(LINE, f"kind: {flow}, epsilon: 0.5, potential: x**2/2 - 0.3*x")).run())
    x = np.linspace(-2, 2, 101)[:, None]
    assert np.abs(result.velocity(x, 4.0)).max() <= 1e-9
    assert result.score(x, 4.0) == pytest.approx(0.6 - 2.0 * x, abs=1e-9)


def test_density_and_velocity_of_stationary_rotation():
    """N(0, 1) turns as a whole: the velocity is the rotation."""
    flow = fvflow.at(Case.parse(
        "mesh: {kind: box, lower: [-5, -5], upper: [5, 5], cells: [60, 60]}\n"
        "flow: {kind: stationary, epsilon: 1, potential: 0.5*(x**2 + y**2), stream: -(x**2 + y**2)/2}"
    ).run())  # fmt: skip
    x = np.random.default_rng(1).normal(size=(300, 2))
    assert (flow.start, flow.end) == (-np.inf, np.inf)
    turned = np.stack([-x[:, 1], x[:, 0]], axis=1)
    assert flow.velocity(x, 5.0) == pytest.approx(turned, abs=0.05)
    assert flow.drift(x, np.full(300, 2.0)) == pytest.approx(turned - x, abs=1e-6)


def test_a_partly_absorbing_wall_lets_through_its_permeability():
    flow = fvflow.at(Case.parse(
        f"{LINE}\nflow: {{kind: fokker-planck, epsilon: 0.5, velocity: [0.3], {STEPPER}}}\n"
        f"walls: {{right: {{kind: partial, rate: 2}}}}\n{NARROW}\n{TIMES}"
    ).run())  # fmt: skip
    assert flow.velocity([[-2.0], [2.0]], 0.25)[:, 0] == pytest.approx([0.0, 2.0], abs=1e-10)
    assert not flow.remarks


@pytest.mark.parametrize("left", ["absorbing", "no-flux"])
def test_density_falls_to_zero_at_walls_that_absorb(left):
    """rho = sin(pi x) exp(-pi^2 t), or cos(pi x/2) exp(-pi^2 t/4): v = -d_x log rho grows like 1/distance."""
    wave, shape = (np.pi, "sin(pi*x)") if left == "absorbing" else (0.5 * np.pi, "cos(pi*x/2)")
    x, errors = np.linspace(0.001, 0.999, 201)[:, None], []
    exact = -wave / np.tan(wave * x) if left == "absorbing" else wave * np.tan(wave * x)
    for cells in (20, 40):
        mesh = f"mesh: {{kind: box, lower: [0], upper: [1], cells: [{cells}]}}"
        start = f'initial: {{kind: expression, density: "{shape}", mass: 1}}'
        walls, times = f"walls: {{left: {left}, right: absorbing}}", "times: {end: 0.1, step: 0.002, save: 0.05}"
        case = text(mesh, "kind: fokker-planck, epsilon: 1", start, walls, times)
        flow = fvflow.at(Case.parse(case).run())
        errors.append(np.abs(flow.velocity(x, 0.08) - exact).max())
        assert flow.density([[1.0]], 0.08) == 0.0
    assert np.log2(errors[0] / errors[1]) > 1.5
    assert errors[1] < 0.02
    assert flow.divergence(x, 0.08) == pytest.approx(wave**2 + exact[:, 0] ** 2, rel=0.05)
    assert not flow.remarks


def test_barenblatt_has_a_velocity_but_no_score():
    """v = x/(d (m - 1) + 2)/t inside of the support, whose density is told to be linear."""
    flow = fvflow.at(Case.parse(
        "mesh: {kind: box, lower: [-2], upper: [2], cells: [160]}\n"
        "flow: {kind: gradient-flow, energy: [{kind: porous-medium, exponent: 2}], stepper: {kind: ljko}}\n"
        "initial: {kind: exact}\ntimes: {end: 0.05, step: 0.001, save: 0.05}\n"
        "exact: {kind: barenblatt, start: 0.1}"
    ).run())  # fmt: skip
    x = np.linspace(-0.5, 0.5, 41)[:, None]
    assert flow.velocity(x, 0.05) == pytest.approx(x / 3.0 / 0.15, abs=0.03)
    density = flow.density(np.linspace(-2, 2, 4001)[:, None], 0.03)
    assert density.min() == 0.0
    assert density.mean() * 4 == pytest.approx(1.0, abs=1e-3)
    assert "interpolated linearly" in flow.remarks[-1]
    with pytest.raises(NumericsError, match=r"^rho is 0 in \d+ cells at t = 0, the first at x = -1.9875, where log"):
        flow.score(x, 0.03)


def test_densities_next_to_zero_do_not_spoil_the_rest():
    """Tails below the normal doubles, whose rates overflow."""
    ds = ou(100)
    ds.rho[1:3, :5], ds.rho[1:3, -1] = 1e-320, 5e-324
    flow, x = fvflow.at(ds), np.linspace(-3, 3, 31)[:, None]
    assert np.isfinite(flow.log_density(np.linspace(-5, 5, 101)[:, None], 0.15)).all()
    assert flow.velocity(x, 0.15) == pytest.approx(fvflow.at(ou(100)).velocity(x, 0.15), abs=1e-3)


def test_single_precision_is_named_where_it_makes_zeros():
    narrow = OU.format(cells=200, end=0.02, step=0.01, save=0.01).replace("0.5]]", "0.05]]")
    with pytest.raises(NumericsError, match=r"use a smaller domain or output: \{precision: double\}$"):
        fvflow.at(Case.parse(narrow + "output: {precision: single}").run()).score([[0.0]], 0.005)
    assert np.isfinite(fvflow.at(Case.parse(narrow).run()).score([[0.0]], 0.005)).all()


def test_entropy_in_a_vacuum_has_no_velocity():
    flow = fvflow.at(Case.parse(
        f"{LINE}\nflow: {{kind: gradient-flow, energy: [{{kind: entropy, epsilon: 1}}], stepper: {{kind: ljko}}}}\n"
        'initial: {kind: expression, density: "x < 0", mass: 1}\ntimes: {end: 0.02, step: 0.01, save: 0.01}'
    ).run())  # fmt: skip
    with pytest.raises(NumericsError, match="where E'\\(rho\\) and the velocity -grad E' are not finite"):
        flow.velocity([[0.5]], 0.005)
    assert np.isfinite(flow.velocity([[0.5]], 0.015)).all()


def test_a_translation_moves_at_constant_speed():
    flow = fvflow.at(Case.parse(
        "mesh: {kind: box, lower: [-3], upper: [3], cells: [64]}\n"
        "flow: {kind: transport, target: {kind: gaussian, mean: [0.5], covariance: [[0.3]]}, intervals: 8}\n"
        "initial: {kind: gaussian, mean: [-0.5], covariance: [[0.3]]}"
    ).run())  # fmt: skip
    x = np.linspace(-0.7, 0.7, 29)[:, None]
    assert flow.velocity(x, 0.55) == pytest.approx(np.ones((29, 1)), abs=0.03)
    assert flow.score(x, 0.5) == pytest.approx(-x / 0.3, abs=0.1)
    with pytest.raises(CaseError, match=r"^flow transport has no drift but its velocity$"):
        flow.drift(x, 0.5)
    assert flow.score(x, 1.0) == pytest.approx((0.5 - x) / 0.3, abs=2e-3)  # that of the target, which are averages


def test_the_velocity_of_hamilton_jacobi_is_the_gradient_of_phi():
    flow = fvflow.at(Case.parse(
        f"{LINE}\nflow: {{kind: hamilton-jacobi, potential: 0.5*x**2}}\n{NARROW}\n{TIMES}"
    ).run())  # fmt: skip
    x = np.linspace(-1, 1, 41)[:, None]
    assert flow.velocity(x, 0.25) == pytest.approx(x / 1.25, abs=0.02)  # phi = x^2/(2 (1 + t))
    assert flow.divergence(x, 0.25) == pytest.approx(np.full(41, 0.8), abs=0.1)
    with pytest.raises(CaseError, match=r"^flow hamilton-jacobi has no drift but its velocity$"):
        flow.drift(x, 0.25)


def test_the_positive_density_keeps_its_mass_but_for_its_order():
    x = np.linspace(-5, 5, 20001)[:, None]
    assert np.trapezoid(fvflow.at(ou(40)).density(x, 0.35), x[:, 0]) == pytest.approx(1.0, abs=1e-4)


def test_one_time_for_each_point_is_as_point_by_point(monkeypatch):
    flow = fvflow.at(ou())
    rng = np.random.default_rng(0)
    x, t = rng.uniform(-5, 5, (50, 1)), rng.uniform(0, 0.4, 50)
    t[:2] = 0.0, 0.4
    for name in ("density", "log_density", "score", "velocity", "divergence", "drift"):
        each = np.concatenate([getattr(flow, name)(x[k : k + 1], t[k]) for k in range(50)])
        assert getattr(flow, name)(x, t) == pytest.approx(each, abs=1e-12)
    whole = flow.velocity(x, t), flow.velocity(x, 0.3)
    monkeypatch.setattr(evaluation, "_BLOCK", 7)
    assert np.array_equal(flow.velocity(x, t), whole[0])
    assert np.array_equal(flow.velocity(x, 0.3), whole[1])


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_velocity_and_divergence_together_are_as_each(name, tmp_path):
    case = Case.parse(FLOWS[name][0], "cases/name.yaml")
    flow = fvflow.at(case.run(), case=case)
    x = np.random.default_rng(3).uniform(0.1, 0.4, (20, flow.mesh.dimension))
    t = 0.25 if np.isfinite(flow.end) else 4.0
    v, divergence = flow.velocity_and_divergence(x, t)
    assert v == pytest.approx(flow.velocity(x, t), rel=1e-9, abs=1e-12)
    assert divergence == pytest.approx(flow.divergence(x, t), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("potential", "exact"), [("x**4/4", -3.0), ("x**4/4 + 0*lgamma(x + 9)", -3.0)])
def test_the_divergence_of_a_drift_is_exact_where_functions_have_derivatives(potential, exact):
    """Without diffusion div v = -3 x^2; a function without a derivative in the language takes differences."""
    flow = fvflow.at(Case.parse(text(
        LINE, f"kind: fokker-planck, epsilon: 0, flux: {{kind: upwind}}, potential: {potential}", NARROW,
        "times: {end: 0.01, step: 0.001}", stepper="implicit-euler",
    )).run())  # fmt: skip
    x = np.array([[-1.9999], [0.3], [1.5]])
    tolerance = 1e-2 if "lgamma" in potential else 1e-12
    assert flow.divergence(x, 0.005)[1:] == pytest.approx(exact * x[1:, 0] ** 2, rel=tolerance)
    assert flow.divergence(x, 0.005)[:1] == pytest.approx(exact * x[:1, 0] ** 2, rel=1e-2)
    assert flow.velocity(x, 0.005)[:, 0] == pytest.approx(-(x[:, 0] ** 3), rel=1e-5)


def test_an_unsteady_drift_is_that_of_each_time():
    flow = fvflow.at(Case.parse(FLOWS["unsteady ring"][0]).run())
    x, t = np.full((30, 1), 0.25), np.repeat([0.0, 0.1, 0.3], 10)
    assert flow.drift(x, t)[:, 0] == pytest.approx(1 + t + 0.2 * np.pi, abs=1e-4)
    assert flow.velocity(x - 7.0, t) == pytest.approx(flow.velocity(x, t), abs=1e-11)  # around the ring


def test_a_result_in_a_file_needs_no_mesh_file(tmp_path):
    shutil.copy("cases/disc.msh", tmp_path)
    case = Case.parse(FLOWS["triangles"][0], str(tmp_path / "case.yaml"))
    memory = fvflow.at(case.run(), case=case)
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2))
    expected = memory.velocity(x, 0.13)
    case.write(tmp_path / "run.nc")
    (tmp_path / "disc.msh").unlink()
    with fvflow.read(tmp_path / "run.nc") as ds:
        flow = fvflow.at(ds)
        assert flow.velocity(x, 0.13) == pytest.approx(expected, abs=1e-12)
        assert flow.remarks == ["on this mesh log rho is of order 2, its gradient of order 2"]
    assert evaluate_result(tmp_path / "run.nc", Case.parse).velocity(x, 0.13) == pytest.approx(expected, abs=1e-12)


def test_the_first_frame_alone_is_taken_for_averages():
    """Averages of a narrow density become values at points; those of a later first frame are some already."""
    ds = ou(40, step=0.1)
    x = ds.x.values[:, None]
    first = fvflow.at(ds).log_density(x, 0.0)
    assert (
        np.abs(first - np.log(ou_exact(x, 0.0)[0])).max() < 0.2 * np.abs(np.log(ds.rho[0] / ou_exact(x, 0.0)[0])).max()
    )
    later = fvflow.at(ds.isel(time=slice(1, None))).log_density(x, ds.time.values[1])
    assert later == pytest.approx(np.log(ds.rho[1].values), abs=1e-12)
    centre = Case.parse(OU.format(cells=40, end=0.4, step=0.1, save=0.1).replace("]]}", "]], sampling: centre}")).run()
    assert fvflow.at(centre).log_density(x, 0.0) == pytest.approx(np.log(ou_exact(x, 0.0)[0]), abs=1e-4)


def test_saves_that_are_too_far_apart_are_told_then_refused():
    close, far, apart = (
        fvflow.at(Case.parse(OU.format(cells=200, end=end, step=0.005, save=end).replace("0.5]]", "0.05]]")).run())
        for end in (0.02, 0.06, 2.0)
    )
    x = [[0.5]]
    close.velocity(x, 0.01)
    assert not close.remarks
    far.velocity(x, 0.03)
    far.velocity(x, 0.04)
    assert len(far.remarks) == 1
    assert far.remarks[0].startswith("log rho is known to about 0.")
    with pytest.raises(
        NumericsError, match=r"only between t = 0 and t = 2: save more often there, or say accept=True to fvflow\.at "
    ):
        apart.velocity(x, 1.0)
    accepted = fvflow.at(apart._saved._ds, accept=True)
    assert np.isfinite(accepted.velocity(x, 1.0)).all()
    assert accepted.remarks


def test_a_stored_velocity_is_used_where_the_flow_has_none_at_points():
    flow = "kind: fokker-planck, epsilon: 1, potential: 0.1*inside(disc)*x"
    case = Case.parse(text(TRIANGLES, flow, WIDE, TIMES), "cases/name.yaml")
    ds = case.run()
    x = np.array([[0.1, 0.2], [-0.3, 0.1]])
    flow = fvflow.at(ds, case=case)
    assert np.isfinite(flow.score(x, 0.1)).all()
    with pytest.raises(CaseError, match="depends on regions of the mesh, so that it is known in cells only; store it"):
        flow.velocity(x, 0.1)
    centre = flow.mesh.centre
    stored = {f"v_{a}": (ds.rho.dims, np.tile(2.0 * centre[:, i], (4, 1))) for i, a in enumerate("xy")}
    flow = fvflow.at(ds.assign(stored), case=case)
    assert flow.velocity(x, 0.1) == pytest.approx(2.0 * x, abs=1e-9)
    assert flow.divergence(x, 0.1) == pytest.approx([4.0, 4.0], abs=1e-8)


def test_a_stored_rate_is_used_in_time():
    ds = ou()
    x, t = np.array([[0.3]]), 0.05
    scheme = fvflow.at(ds).log_density(x, t)
    flat = fvflow.at(ds.assign(rate=(ds.rho.dims, np.zeros(ds.rho.shape)))).log_density(x, t)
    log = fvflow.at(ds, in_time="linear")
    ends = log.log_density(x, 0.0), log.log_density(x, 0.1)
    assert flat == pytest.approx(0.5 * (ends[0] + ends[1]), abs=1e-9)
    assert abs(flat - scheme) > 1e-4


@pytest.mark.parametrize(
    ("points", "t", "sentence"),
    [
        ([0.5], 0.1, r"^the points are an array \(1,\), the mesh has 1 axes; give \(n, 1\)$"),
        ([[0.5, 1.0]], 0.1, r"^the points are an array \(1, 2\)"),
        ([[0.5], [np.nan]], 0.1, "^point 1, counted from 0, is at x = nan; give finite numbers$"),
        (
            [[0.5], [6.0], [7.0]],
            0.1,
            "^2 of 3 points are outside of the mesh, the first at x = 6; give points inside, or",
        ),
        ([[0.5]], 0.5, "^t = 0.5 is no time of the result: the run goes from 0 to 0.4; give finite times within$"),
        ([[0.5]], np.nan, "^t = nan is no time of the result"),
        ([[0.5]], -0.1, "^t = -0.1 is no time of the result"),
        ([["a"]], 0.1, r"^points: \[\['a'\]\] is of type str\d+; give real numbers$"),
        ([[1j]], 0.1, r"^points: \[\[1j\]\] is of type complex128; give real numbers$"),
        ([[0.5], [0.5, 1.0]], 0.1, "^points: .* is no array of numbers; give real numbers$"),
        ([[0.5]], "a", r"^t: 'a' is of type str\d+; give real numbers$"),
        ([[0.5]], 1j, "^t: 1j is of type complex128; give real numbers$"),
        ([[0.5]], [0.1, 0.2], "^2 times for 1 points; give one time, or one for each point$"),
        ([[0.5]], [[0.1]], r"^the times are an array \(1, 1\); give a number, or one for each point \(n,\)$"),
    ],
)
def test_points_and_times_that_are_refused(points, t, sentence):
    flow = fvflow.at(ou())
    for function in (flow.density, flow.velocity, flow.drift):
        with pytest.raises(CaseError, match=sentence):
            function(points, t)


def test_points_outside_may_be_nan():
    flow = fvflow.at(ou(), outside="nan")
    found = flow.velocity([[0.5], [6.0], [np.nan], [-5.0]], [0.1, 0.2, 0.3, 0.4])
    assert np.isnan(found[:, 0]).tolist() == [False, True, True, False]
    assert np.isnan(flow.density([[6.0]], 0.1)).all()


def test_results_that_are_refused():
    ds = ou()
    with pytest.raises(CaseError, match=r"^in_time is 'cubic'; it is one of hermite, linear$"):
        fvflow.at(ds, in_time="cubic")
    with pytest.raises(CaseError, match=r"^outside is 'clip'; it is one of refuse, nan$"):
        fvflow.at(ds, outside="clip")
    with pytest.raises(CaseError, match=r"^the dataset has no case or no density in time"):
        fvflow.at(ds.drop_vars("rho"))
    with pytest.raises(CaseError, match=r"^the dataset has no saved times"):
        fvflow.at(ds.isel(time=slice(0)))
    with pytest.raises(CaseError, match=r"^rho has 99 values and the mesh 100 cells: the mesh of the case is not"):
        fvflow.at(ds.isel(x=slice(99))).density([[0.0]], 0.1)
    wrong = ds.copy(deep=True)
    wrong.rho[2, 7] = -1e-3
    with pytest.raises(NumericsError, match=r"^rho is -0.001 in the cell at x = -4.25, t = 0.2: a density has no log"):
        fvflow.at(wrong).density([[0.0]], 0.25)
    wrong.rho[2, 7] = np.inf
    with pytest.raises(NumericsError, match=r"^rho is inf in the cell at x = -4.25, t = 0.2: it has to be finite$"):
        fvflow.at(wrong).score([[0.0]], 0.25)


def test_flow_first_passage_has_a_density_but_no_velocity():
    flow = fvflow.at(Case.parse(
        f"{LINE}\nflow: {{kind: first-passage, epsilon: 0.3, potential: 0.5*x**2, target: {{wall: right}}}}"
    ).run())  # fmt: skip
    assert flow.density([[0.5]], 3.0) == pytest.approx([0.25], abs=1e-12)
    with pytest.raises(CaseError, match=r"^flow first-passage moves no density: its rho is where passages start"):
        flow.velocity([[0.5]], 0.0)


def test_a_case_of_python_is_given_beside_its_result():
    from fvflow.fields import Gaussian
    from fvflow.flows import FokkerPlanckFlow
    from fvflow.times import Times

    case = Case(
        fvflow.Box((-5.0,), (5.0,), (100,)), FokkerPlanckFlow(1.0, "0.5*x**2"), Gaussian((0.8,), ((0.5,),)),
        Times(0.2, 0.01, 0.1),
    )  # fmt: skip
    x = np.array([[0.3]])
    assert fvflow.at(case.run(), case=case).velocity(x, 0.1) == pytest.approx(fvflow.at(case.run()).velocity(x, 0.1))


@pytest.mark.parametrize("left", ["absorbing", "no-flux"])
def test_density_falls_to_zero_at_cells_that_absorb(left):
    """As at walls, on the box that they leave; in the absorbing cells rho is 0 and has no velocity."""
    wave, shape = (np.pi, "sin(pi*x)") if left == "absorbing" else (0.5 * np.pi, "cos(pi*x/2)")
    x, errors = np.linspace(0.001, 0.999, 201), []
    exact = -wave / np.tan(wave * x) if left == "absorbing" else wave * np.tan(wave * x)
    for cells in (10, 20):
        mesh = f"mesh: {{kind: box, lower: [0, 0], upper: [1.5, 1], cells: [{3 * cells}, 8], periodic: [y]}}"
        start = f'initial: {{kind: expression, density: "where(x < 1, {shape}, 0)", mass: 1}}'
        walls = f"walls: {{left: {left}}}\nabsorbing: {{where: 'x > 1'}}"
        times = "times: {end: 0.1, step: 0.002, save: 0.05}"
        flow = fvflow.at(Case.parse(text(mesh, "kind: fokker-planck, epsilon: 1", start, walls, times)).run())
        errors.append(np.abs(flow.velocity(np.column_stack([x, x]), 0.08) - [1, 0] * exact[:, None]).max())
    assert np.log2(errors[0] / errors[1]) > 2.5
    assert errors[1] < 1e-3
    assert not flow.remarks
    assert flow.density([[1.0, 0.5], [1.2, 0.5]], 0.08).tolist() == [0, 0]
    assert flow.log_density([[1.2, 0.5]], 0.08)[0] == -np.inf
    assert flow.drift([[1.2, 0.5]], 0.08).tolist() == [[0, 0]]
    with pytest.raises(CaseError, match="1 of 2 points are in absorbing cells, where there is no density, the first"):
        flow.score([[0.5, 0.5], [1.2, 0.5]], 0.08)


def test_around_absorbing_cells_of_any_shape_the_score_is_of_low_order_and_told():
    """The first mode of a disc, absorbed outside of it."""
    from scipy.special import j0, j1, jn_zeros

    z, errors = jn_zeros(0, 1)[0], []
    r, angle = np.linspace(0.05, 0.6, 50), np.linspace(0, 6, 50)
    x = np.column_stack([r * np.cos(angle), r * np.sin(angle)])
    for cells in (40, 80):
        mesh = f"mesh: {{kind: box, lower: [-1.2, -1.2], upper: [1.2, 1.2], cells: [{cells}, {cells}]}}"
        start = f"initial: {{kind: expression, density: 'where(x*x + y*y < 1, j0({z}*sqrt(x*x + y*y)), 0)', mass: 1}}"
        rest = "absorbing: {where: 'x*x + y*y > 1'}\ntimes: {end: 0.1, step: 0.01, save: 0.05}"
        flow = fvflow.at(Case.parse(text(mesh, "kind: fokker-planck, epsilon: 1", start, rest)).run())
        outward = (flow.velocity(x, 0.08) * x).sum(axis=1) / r
        errors.append(np.abs(outward - z * j1(z * r) / j0(z * r)).max())
    assert errors[1] < 0.05
    assert errors[1] < 0.5 * errors[0]
    assert flow.remarks[-1] == "beside what absorbs, log rho falls without bound and is known to low order"


def test_between_absorbing_cells_of_a_line_the_advice_can_be_followed():
    """Their two sides are not joined; they hold no mass at any time, so that no later save helps."""
    ds = Case.parse(
        f"{LINE}\nflow: {{kind: fokker-planck, epsilon: 0.5, {STEPPER}}}\nabsorbing: {{where: 'abs(x - 1) < 0.3'}}\n"
        f"{NARROW}\n{TIMES}"
    ).run()
    flow = fvflow.at(ds)
    assert flow.density([[0.0]], 0.3) > 0
    assert "all of it is interpolated linearly" in flow.remarks[0]
    with pytest.raises(NumericsError, match="let walls absorb, as absorbing cells hold no mass at any time"):
        flow.score([[0.0]], 0.3)


@pytest.mark.parametrize("given", ["run.nc", 3])
def test_what_is_no_result_is_told(given):
    with pytest.raises(CaseError, match=r"is no result; give what Case\.run returns"):
        fvflow.at(given)
