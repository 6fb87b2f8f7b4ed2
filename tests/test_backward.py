"""The backward equation: the exact adjoint of each forward step, closed forms, maximum principle; observables."""

import json

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.mesh import Extent

STEPPERS = {
    "implicit-euler": "{kind: implicit-euler}",
    "crank-nicolson": "{kind: crank-nicolson}",
    "tr-bdf2": "{kind: tr-bdf2}",
    "split-euler": "{kind: split-euler}",
    "split-crank-nicolson": "{kind: split-crank-nicolson}",
    "richardson": "{kind: split-crank-nicolson, richardson: true}",
    "uniformisation": "{kind: uniformisation}",
    "chebyshev": "{kind: chebyshev}",
}
LINE = "{kind: graded, lower: [-2], upper: [2], cells: [50], ratio: [3]}"
PLANE = "{kind: graded, lower: [-2, -1], upper: [1, 2], cells: [14, 17], ratio: [0.4, 2]}"
SPACE = "{kind: box, lower: [-1, -1, -1], upper: [1, 1, 1], cells: [6, 7, 5]}"
TRIANGLES = (
    "{kind: gmsh, geometry: 'SetFactory(\"OpenCASCADE\"); Rectangle(1) = {-2, -2, 0, 4, 4}; Mesh.MeshSizeMax = 0.5;'}"
)
RING = "{kind: graded, lower: [-2], upper: [2], cells: [30], ratio: [3], periodic: [x]}"
TORUS = "{kind: graded, lower: [-2, -1], upper: [1, 2], cells: [9, 12], ratio: [2, 0.4], periodic: [x, y]}"
CYLINDER = "{kind: box, lower: [-2, -1], upper: [1, 2], cells: [9, 12], periodic: [y]}"
JOINED = (RING, TORUS, CYLINDER)
AXES = {RING: 1, TORUS: 2, CYLINDER: 2, LINE: 1, PLANE: 2, SPACE: 3, TRIANGLES: 2}
TEXT = """
mesh: {mesh}
flow:
  kind: backward
  final: {final}
  potential: {potential}
  velocity: {velocity}
  epsilon: 0.3
  stepper: {stepper}
initial: {{kind: expression, density: 1 + 0.5*sin(3*x)}}
times: {{start: 0.2, end: 1.2, step: 0.03, save: 0.31}}
{more}
"""


def case(mesh, stepper, more="", final="sin(3*x) - 0.2"):
    axes = AXES[mesh]
    potential = ["x**4/4 - x", "x*y + x**2 + y**2", "x*y + z**2"][axes - 1]
    velocity = [["sin(t)"], ["-y*cos(t)", "x + t"], ["-y", "x", "cos(t)"]][axes - 1]
    if mesh in JOINED:  # what is the same at both ends
        potential = ["sin(pi*x/2)", "sin(2*pi*x/3) + cos(2*pi*(x + y)/3)"][axes - 1]
        velocity = [["sin(t)"], ["-cos(t)", "1 + t"]][axes - 1]
    if stepper in (STEPPERS["uniformisation"], STEPPERS["chebyshev"]):  # for steady drifts
        velocity = [part.replace("t", "0.7") for part in velocity]
        velocity = [part.replace("sin(0.7)", "0.6").replace("cos(0.7)", "0.8") for part in velocity]
    return Case.parse(
        TEXT.format(mesh=mesh, final=final, potential=potential, velocity=velocity, stepper=stepper, more=more)
    )


@pytest.mark.parametrize(
    ("mesh", "stepper"),
    [(mesh, stepper) for mesh in AXES for stepper in STEPPERS if mesh != TRIANGLES or "split" not in STEPPERS[stepper]],
)
def test_the_pairing_is_the_same_after_every_step(mesh, stepper):
    """<phi, rho> for a drift that moves and circulates; no single step changes it by more than round-off."""
    found = fvflow.duality(case(mesh, STEPPERS[stepper]))
    assert len(found.times) == 1 + 11 + 11 + 11 + 3
    assert found.step_change <= 1e-14
    assert found.change <= 5e-14
    assert abs(found.pairing[0]) > 1e-3


@pytest.mark.parametrize(
    ("mesh", "stepper"),
    [
        (mesh, stepper)
        for mesh in (LINE, PLANE, CYLINDER, TRIANGLES)
        for stepper in STEPPERS
        if stepper != "chebyshev" and (mesh != TRIANGLES or "split" not in STEPPERS[stepper])
    ],
)
def test_absorbing_walls_and_cells_keep_the_pairing(mesh, stepper):
    more = "walls: {left: absorbing, right: {kind: partial, rate: 2}}\nabsorbing: {where: x**2 < 0.09}"
    found = fvflow.duality(case(mesh, STEPPERS[stepper], more))
    assert found.step_change <= 1e-14
    assert found.change <= 2e-14


def test_a_density_of_mass_zero_where_phi_is_constant_gives_nothing():
    """phi = 1 stays 1 to round-off: the pairing is the mass."""
    for mesh in (LINE, PLANE, TRIANGLES):
        ds = case(mesh, STEPPERS["tr-bdf2"], final="1").run()
        assert float(abs(ds.phi - 1).max()) <= 1e-13
        assert float(abs(ds.pairing - ds.mass).max()) <= 1e-13


@pytest.mark.parametrize("stepper", ["implicit-euler", "split-euler"])
def test_the_maximum_principle_holds(stepper):
    """phi stays between the least and the largest final value, and its range shrinks backward in time."""
    ds = case(PLANE, STEPPERS[stepper]).run()
    low, high = ds.phi.min(("x", "y")).values, ds.phi.max(("x", "y")).values
    assert (np.diff(low) <= 1e-15).all()
    assert (np.diff(high) >= -1e-15).all()


def test_phi_of_an_ornstein_uhlenbeck_process_is_the_conditional_mean():
    """phi(x, t) = E[X_end^2 | X_t = x] = x^2 e^{-2 s} + eps (1 - e^{-2 s}), s = end - t; second order in h and dt."""
    errors = []
    for cells in (80, 160, 320):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [-8], upper: [8], cells: [{cells}]}}
flow: {{kind: backward, final: x**2, potential: 0.5*x**2, epsilon: 0.5, stepper: {{kind: tr-bdf2}}}}
times: {{end: 0.5, step: {2 / cells}}}
""").run()
        x, s = ds.x.values, 0.5
        exact = x**2 * np.exp(-2 * s) + 0.5 * (1 - np.exp(-2 * s))
        near = abs(x) < 2
        errors.append(float(abs(ds.phi.values[0] - exact)[near].max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.15).all(), (errors, orders)


def test_transport_without_diffusion_is_constant_along_paths():
    """d_t phi + v phi_x = 0: phi(x, 0) = final(x + v end), with first-order upwind error that shrinks with h."""
    errors = []
    for cells in (200, 400, 800):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [0], upper: [4], cells: [{cells}]}}
flow: {{kind: backward, final: exp(-8*(x - 3)**2), velocity: [1], epsilon: 0}}
times: {{end: 1, step: {1 / cells}}}
""").run()
        inside = ds.x.values < 2.5
        errors.append(float(abs(ds.phi.values[0] - np.exp(-8 * (ds.x.values - 2) ** 2))[inside].max()))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 0.8).all(), (errors, orders)


def test_a_backward_run_goes_on_after_a_kill(tmp_path):
    from fvflow.dataset import read

    whole, part = tmp_path / "whole.nc", tmp_path / "part.nc"
    case(PLANE, STEPPERS["tr-bdf2"]).write(whole)

    def stop(state):
        if state.step == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case(PLANE, STEPPERS["tr-bdf2"], "output: {checkpoint: {steps: 4}}").write(part, stop)
    fvflow.resume(part)
    a, b = read(whole), read(part)
    assert all((a[name].values == b[name].values).all() for name in ("rho", "phi", "pairing"))
    assert a.attrs["duality"] == b.attrs["duality"] > 0


def test_a_backward_run_does_not_go_on_to_another_end(tmp_path):
    """phi of the frames that are there is that of the old end."""
    path = tmp_path / "part.nc"
    case(PLANE, STEPPERS["tr-bdf2"]).write(path)
    with pytest.raises(CaseError, match=r"times\.end"):
        fvflow.resume(path, until=2.0)


def test_nothing_is_left_of_a_covariance_where_all_is_absorbed():
    ds = Case.parse("""
mesh: {kind: box, lower: [0], upper: [1], cells: [20]}
flow: {kind: backward, final: x, epsilon: 1}
walls: {rest: absorbing}
times: {end: 2000, step: 10, save: 1000}
observe: {x: x}
""").run()
    assert float(ds.survival[-1]) == 0.0
    assert np.isnan(ds.covariance_x.values).tolist() == [False, False, True]


BAD = [
    ("flow.stepper={kind: muscl}", "stepper muscl has no exact adjoint"),
    ("flow.stepper={kind: tr-bdf2, solver: {kind: krylov}}", "solver krylov iterates and has no exact transpose"),
    ("times.step={initial: 0.1, tolerance: 1e-3}", "goes back over steps that are given"),
    ("flow.final=1/(x - x)", "has to be finite"),
    ("exact={kind: gaussian}", "flow backward has no closed form"),
    ("flow.final=null", "final"),
    ("flow.final=x*t", "unknown name t"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_backward_cases_are_refused(change, message):
    path, _, value = change.partition("=")
    text = case(PLANE, "{kind: tr-bdf2}").text.replace("['-y*cos(t)', 'x + t']", "['-y', 'x']")
    with pytest.raises(CaseError) as caught:
        Case.parse(text, overrides={path: value}).prepare()
    assert message in str(caught.value)


def test_chebyshev_goes_back_with_monotone_fluxes_only():
    """Beyond the Peclet number of a centred flux the Poisson sum of its adjoint reached 1e270."""
    text = """
mesh: {kind: box, lower: [0], upper: [1], cells: [100], periodic: [x]}
flow: {kind: backward, final: x > 0.3, epsilon: EPS, velocity: [5], flux: {kind: centred}, stepper: {kind: chebyshev}}
times: {end: 0.01, step: 0.01}
"""
    with pytest.raises(CaseError, match="monotone flux only"):
        Case.parse(text.replace("EPS", "1.0e-4")).prepare()
    assert Case.parse(text.replace("EPS", "0.1")).run().attrs["duality"] <= 1e-14


def test_duality_starts_at_the_clock_of_a_file(tmp_path):
    """As the run does, if the drift depends on t."""
    mesh = "mesh: {kind: box, lower: [-3], upper: [3], cells: [20]}\n"
    first = "flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2}\ninitial: {kind: uniform}\n"
    Case.parse(mesh + first + "times: {end: 1, step: 0.1}").write(tmp_path / "first.nc")
    flow = "flow: {kind: backward, epsilon: 0.5, velocity: [-t*x], final: x}\n"
    initial = f"initial: {{kind: file, file: {tmp_path / 'first.nc'}}}\n"
    found = fvflow.duality(Case.parse(mesh + flow + initial + "times: {end: 2, step: 0.1}"))
    assert (found.times[0], found.times[-1], len(found.times)) == (1.0, 2.0, 11)


def test_duality_is_for_backward_flows():
    with pytest.raises(CaseError, match="duality is for flow backward"):
        fvflow.duality(Case.read("cases/ou-1d.yaml"))


def test_observables_are_means_and_variances():
    """Of an Ornstein-Uhlenbeck process from a Gaussian: mean of x, and the share on the right, an error function."""
    from math import erf, exp, sqrt

    ds = Case.parse("""
mesh: {kind: box, lower: [-8], upper: [8], cells: [1600]}
flow: {kind: fokker-planck, potential: 0.5*x**2, epsilon: 0.5, stepper: {kind: tr-bdf2}}
initial: {kind: gaussian, mean: [1], covariance: [[0.2]]}
times: {end: 0.5, step: 0.005}
observe: {x: x, right-side: x > 0, clock: t}
""").run()
    mean, variance = exp(-0.5), 0.5 + (0.2 - 0.5) * exp(-1)
    share = 0.5 * (1 + erf(mean / sqrt(2 * variance)))
    assert float(ds["mean_x"][-1]) == pytest.approx(mean, rel=3e-5)
    assert float(ds["variance_x"][-1]) == pytest.approx(variance, rel=1e-4)
    assert float(ds["mean_right-side"][-1]) == pytest.approx(share, rel=1e-4)
    assert float(ds["variance_right-side"][-1]) == pytest.approx(share * (1 - share), rel=1e-4)
    assert ds["mean_clock"].values.tolist() == [0.0, 0.5]
    assert ds["variance_x"].values == pytest.approx(ds.covariance.values[:, 0, 0], rel=1e-12)


def assert_second_order(errors):
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(orders - 2) < 0.15).all(), (errors, orders)


def test_autocorrelation_times_of_an_ornstein_uhlenbeck_process():
    """C(t) of x decays like exp(-k t), that of x^2 - <x^2> like exp(-2 k t)."""
    errors = {"x": [], "square": []}
    for cells in (50, 100, 200):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [-8], upper: [8], cells: [{cells}]}}
flow: {{kind: stationary, epsilon: 0.5, potential: x**2}}
observe: {{x: x, square: x**2, constant: 3}}
""").run()
        assert np.isnan(ds.autocorrelation_time_constant[0])
        errors["x"].append(float(ds.autocorrelation_time_x[0]) - 0.5)
        errors["square"].append(float(ds.autocorrelation_time_square[0]) - 0.25)
    assert_second_order(errors["x"])
    assert_second_order(errors["square"])


def test_a_rotation_shortens_the_autocorrelation_time():
    """C(t) of x is exp(-t) cos(w t): the time is 1/(1 + w^2)."""
    errors = []
    for cells in (16, 32, 64):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [-4, -4], upper: [4, 4], cells: [{cells}, {cells}]}}
flow: {{kind: stationary, epsilon: 0.5, potential: 0.5*(x**2 + y**2), velocity: [-3*y, 3*x]}}
observe: {{x: x}}
""").run()
        errors.append(float(ds.autocorrelation_time_x[0]) - 0.1)
    assert abs(errors[-1]) < 1e-3
    assert np.log2(errors[1] / errors[2]) > 1.8


def test_the_autocorrelation_time_of_two_wells_is_that_of_the_slowest_mode():
    """For f = sign(x) nearly all of the variance decays with the slowest mode, across a barrier of 30 epsilon."""
    mesh = "mesh: {kind: box, lower: [-2], upper: [2], cells: [200]}\n"
    drift = "epsilon: 0.00833, potential: (x**2 - 1)**2/4"
    side = Case.parse(mesh + f"flow: {{kind: stationary, {drift}}}\nobserve: {{side: sign(x)}}").run()
    gap = Case.parse(mesh + f"flow: {{kind: spectrum, count: 1, {drift}}}").run().attrs["spectral_gap"]
    assert gap < 1e-13
    assert float(side.autocorrelation_time_side[0]) * gap == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("velocity", [["0", "0", "0"], ["-3*y", "3*x", "0"]])
def test_autocorrelation_times_of_large_meshes_in_space_are_those_by_elimination(velocity, monkeypatch):
    """By an iteration, the error of which is proved."""
    case = Case.parse(f"""
mesh: {{kind: box, lower: [-2, -2, -2], upper: [2, 2, 2], cells: [9, 8, 7]}}
flow: {{kind: stationary, epsilon: 0.5, potential: 0.5*(x**2 + y**2 + z**2), velocity: {json.dumps(velocity)}}}
observe: {{x: x, shape: x*y + z**2}}
""")
    exact = case.run()
    monkeypatch.setattr("fvflow.flows.stationary.LARGEST_ELIMINATION", 0)
    found = case.run()
    for name in ("autocorrelation_time_x", "autocorrelation_time_shape"):
        assert float(found[name][0]) == pytest.approx(float(exact[name][0]), rel=1e-8)


def test_covariances_along_the_paths_are_those_of_the_stationary_process():
    """Cov(X_t, X_end) = eps/k exp(-k (end - t)) from the Gibbs state; the discrete process gives second order."""
    errors = []
    for cells in (50, 100, 200):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [-8], upper: [8], cells: [{cells}]}}
flow: {{kind: backward, epsilon: 0.5, potential: 0.5*x**2, final: x, stepper: {{kind: tr-bdf2}}}}
initial: {{kind: gibbs}}
times: {{end: 1, step: {2 / cells}, save: 0.5}}
observe: {{x: x}}
""").run()
        errors.append(float(abs(ds.covariance_x - 0.5 * np.exp(ds.time - 1)).max()))
    assert_second_order(errors)


def test_autocorrelation_times_need_one_part():
    from fvflow.errors import NumericsError

    text = """
mesh: {kind: box, lower: [0, 0], upper: [2, 1], cells: [2, 1]}
flow: {kind: stationary, epsilon: 1}
observe: {x: x}
"""
    run = Case.parse(text).prepare()
    parts = np.arange(2, dtype=np.int32)
    object.__setattr__(run.problem.mesh, "components", parts)
    with pytest.raises(NumericsError, match="the mesh has several parts"):
        list(run.frames())


@pytest.mark.parametrize(
    ("observe", "message"),
    [
        ("{a b: x}", "a b is no name"),
        ("{q: y}", "unknown name y"),
        ("{q: 1/(x - x)}", "has to be finite everywhere"),
        ("{q: inside(A)}", "the mesh has no region A"),
        ("{q: w}", "unknown name w"),
    ],
)
def test_bad_observables_are_refused(observe, message):
    with pytest.raises(CaseError) as caught:
        Case.parse(Case.read("cases/ou-1d.yaml").text, overrides={"observe": observe}).prepare()
    assert message in str(caught.value)


def test_the_steps_back_are_no_iterations_of_the_first_frame_after_a_kill(tmp_path):
    class Stop:
        def step(self, state):
            pass

        def iteration(self, count, residual, iterate):
            if count == 5:
                raise KeyboardInterrupt

    path = tmp_path / "part.nc"
    with pytest.raises(KeyboardInterrupt):
        case(PLANE, STEPPERS["tr-bdf2"], "output: {checkpoint: {steps: 2}}").write(path, Stop())
    fvflow.resume(tmp_path / "part.parts")
    assert (fvflow.read(path).iterations.values == 0).all()


@pytest.mark.parametrize(("stepper", "within"), [("implicit-euler", 0.1), ("tr-bdf2", 0.1), ("split-euler", 0.1)])
def test_the_error_in_time_is_that_of_phi(stepper, within):
    """Against a run in steps forty times as short."""
    text = """
mesh: {kind: box, lower: [-8], upper: [8], cells: [160]}
flow: {kind: backward, epsilon: 1, potential: 0.5*x**2, final: "x**2"}
initial: {kind: gaussian, mean: [1], covariance: [[0.3]]}
times: {end: 1, step: 0.02, save: 0.5}
"""
    case = Case.parse(text, overrides={"flow.stepper": f"{{kind: {stepper}}}"})
    run, fine = case.run(), case.replace({"times.step": 0.0005}).run()
    off = [
        np.abs(phi - best).sum() / np.abs(best).sum()
        for phi, best in zip(run.phi.values, fine.phi.values, strict=False)
    ]
    assert run.attrs["time_error"] == pytest.approx(max(off), rel=within)
    assert case.check()["error in time"] == "that of phi is estimated during the run"
    if stepper == "implicit-euler":
        assert "% of phi in L1" in case.replace({"times.step": 0.1}).run().attrs["remarks"]


def test_phi_of_all_saved_times_is_in_the_estimate_of_memory():
    """1e6 cells and 1000 frames are 8 GB of phi."""
    flow = Case.parse(
        "{mesh: {kind: box, lower: [0], upper: [1], cells: [10]}, flow: {kind: backward, epsilon: 1, final: x},"
        " times: {end: 1, step: 0.1}}"
    ).flow
    assert flow.frame_memory(Extent(1, 10**6, True)) == 8 * 10**6
    huge = "{mesh: {kind: box, lower: [0], upper: [1], cells: [100000]}, flow: {kind: backward, epsilon: 1, final: x},"
    with pytest.raises(CaseError, match=r"cells need about .* GiB"):
        Case.parse(huge + " times: {end: 1, step: 1e-7, save: 1e-7}}").prepare()


def test_a_constant_has_no_autocorrelation_time_and_this_is_told():
    case = Case.parse(
        "{mesh: {kind: box, lower: [-3], upper: [3], cells: [60]}, observe: {one: 1 + 0*x, x: x},"
        " flow: {kind: stationary, epsilon: 1, potential: 0.5*x**2}}"
    )
    ds = case.run()
    assert np.isnan(ds.autocorrelation_time_one).all()
    assert np.isfinite(ds.autocorrelation_time_x).all()
    assert "autocorrelation_time_one is not a number: the observable is the same" in ds.attrs["remarks"]
