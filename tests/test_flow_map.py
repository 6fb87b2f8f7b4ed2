"""Flow maps: linear velocities in closed form, inverses, Liouville's formula, densities along paths, and refusals."""

import numpy as np
import pytest
from scipy.linalg import expm

import fvflow
from fvflow import Case
from fvflow.errors import CaseError, NumericsError
from fvflow.fields.drift_at_points import DriftAtPoints
from fvflow.lagrangian.flow_map import Integrator
from tests.resume_cases import Stopped

PLANE = "{kind: box, lower: [-9, -9], upper: [9, 9], cells: [18, 18]}"
K = np.array([[-0.3, 1.2], [-0.8, 0.4]])
SPIRAL = "velocity: [-0.3*x + 1.2*y, -0.8*x + 0.4*y]"
GRID = "{kind: grid, counts: [7, 6], lower: [-1, -2], upper: [2, 2]}"
GAUSSIAN = "initial: {kind: gaussian, mean: [0.5, 0], covariance: [[1.5, 0], [0, 2]]}"


def case(flow, points=GRID, mesh=PLANE, times="{end: 2, step: 0.5, save: 1}", more=GAUSSIAN):
    return fvflow.Case.parse(
        f"mesh: {mesh}\nflow: {{kind: flow-map, {flow}, points: {points}}}\ntimes: {times}\n{more}"
    )


def stored(path, points):
    """The points in a file, as a case names it."""
    np.save(path, points)
    return f"{{kind: file, file: {path}}}"


def test_a_linear_velocity_has_the_exponential_of_its_matrix_for_a_map():
    ds = case(SPIRAL).run()
    start = ds.position[0].values
    assert np.abs(ds.position[-1].values - start @ expm(2 * K).T).max() < 1e-10
    assert np.abs(ds.log_det.values - np.array([0, 1, 2])[:, None] * np.trace(K)).max() < 1e-10


def test_a_rotation_by_a_full_turn_is_the_identity():
    ds = case("stream: (x**2 + y**2)/2", times="{end: 2*pi, step: 1}").run()
    assert np.abs(ds.position[-1] - ds.position[0]).max() < 1e-9
    assert not ds.log_det.any()


@pytest.mark.parametrize("flow", [SPIRAL, "velocity: [sin(t)*y, cos(x) - x**3], tilt: [0.3, 0]"])
def test_the_backward_map_is_the_inverse(flow, tmp_path):
    ahead = case(flow).run()
    back = case(flow + ", direction: backward", stored(tmp_path / "end.npy", ahead.position[-1].values)).run()
    assert np.abs(back.position[0] - ahead.position[0]).max() < 1e-9
    assert np.abs(back.log_det[0] + ahead.log_det[-1]).max() < 1e-9
    assert np.abs(back.position[1] - ahead.position[1]).max() < 1e-9
    assert list(back.time.values) == [0.0, 1.0, 2.0]


def test_log_det_is_that_of_the_jacobian(tmp_path):
    flow, step, points = "velocity: [sin(t)*y + x*y/9, cos(x) - x**3]", 1e-5, np.array([[0.5, 0.2], [-1.0, 0.7]])
    sets = [points, *(points + sign * shift for shift in step * np.eye(2) for sign in (1, -1))]
    ds = case(flow, stored(tmp_path / "all.npy", np.concatenate(sets))).run()
    _, right, left, above, below = ds.position[-1].values.reshape(5, 2, 2)
    jacobian = np.stack([right - left, above - below], axis=2) / (2 * step)
    assert np.abs(np.log(np.linalg.det(jacobian)) - ds.log_det[-1][:2]).max() < 1e-8


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("points", [GRID, "{kind: initial, count: 250, seed: 1}"])
def test_the_determinant_gap_tells_a_wrong_divergence(direction, points, monkeypatch):
    flow = f"velocity: [sin(t)*y + x*y/9, cos(x) - x/2], direction: {direction}"
    assert case(flow, points, more=f"{GAUSSIAN}\nchecks: {{determinant_gap: 1e-5}}").run().determinant_gap < 1e-5
    monkeypatch.setattr(DriftAtPoints, "divergence", lambda self, points, time: points[:, 1] / 9 + 0.01)
    assert case(flow, points).run().determinant_gap == pytest.approx(0.02, rel=1e-3)  # 0.01 over a time of 2


def test_the_determinant_gap_of_a_run_that_goes_on_is_that_of_the_whole(tmp_path):
    ring = "{kind: box, lower: [0], upper: [1], cells: [10], periodic: [x]}"
    points, more = "{kind: initial, count: 50, seed: 3}", "initial: {kind: expression, density: 1 + x*(1 - x)}"
    whole = case("velocity: [2 + sin(2*pi*x)]", points, ring, "{end: 2, step: 0.25, save: 1}", more)

    def stop(state):
        if state.step == 5:
            raise Stopped

    with pytest.raises(Stopped):
        whole.write(tmp_path / "run.nc", stop)
    fvflow.resume(tmp_path / "run.parts")
    with fvflow.read(tmp_path / "run.nc") as ds:
        assert ds.determinant_gap == whole.run().determinant_gap < 1e-5


def test_the_determinant_gap_is_for_velocities_of_the_case():
    assert case(SPIRAL).flow.has_figure("determinant_gap")
    assert not case("velocity: {of: run.nc}").flow.has_figure("determinant_gap")


def test_the_density_along_paths_is_that_of_the_probability_flow():
    """Ornstein-Uhlenbeck: v = -x + (x - m)/s2 of rho = N(m, s2), m = m0 exp(-t), s2 = 1 + (s0 - 1) exp(-2t)."""
    flow = "velocity: [-x + (x - exp(-t))/(1 - exp(-2*t)/2)]"
    line = "{kind: box, lower: [-9], upper: [9], cells: [4500]}"
    more = "initial: {kind: gaussian, mean: [1], covariance: [[0.5]], sampling: centre}"
    ds = case(flow, "{kind: grid, counts: [1500], lower: [-2], upper: [4]}", line, "{end: 1, step: 1}", more).run()
    mean, variance, x = np.exp(-1), 1 - np.exp(-2) / 2, ds.position[-1, :, 0].values
    exact = -((x - mean) ** 2) / (2 * variance) - 0.5 * np.log(2 * np.pi * variance)
    near = np.abs(x - mean) < 3
    assert np.abs(ds.log_density[-1] - exact)[near].max() < 1e-9


def test_rho_is_the_histogram_of_the_points():
    ds = case(SPIRAL).run()
    x, y = ds.position[-1].values.T
    expected = np.histogram2d(y, x, bins=18, range=[[-9, 9], [-9, 9]])[0] / 42
    assert np.abs(ds.rho[-1].values - expected).max() < 1e-15
    assert np.abs(ds.mass - 1).max() < 1e-14


def test_points_go_around_a_periodic_axis():
    ring = "{kind: box, lower: [0], upper: [1], cells: [10], periodic: [x]}"
    ds = case("velocity: [2 + sin(2*pi*x)]", "{kind: grid, counts: [20]}", ring, "{end: 5, step: 1}", more="").run()
    turn = 2 * np.pi / (np.sqrt(3) * 2 * np.pi)  # int dx/(2 + sin(2 pi x))
    again = case("velocity: [2 + sin(2*pi*x)]", "{kind: grid, counts: [20]}", ring, f"{{end: {7 * turn}, step: 1}}", "")
    assert ds.position.min() >= 0
    assert ds.position.max() <= 1
    assert np.abs(again.run().position[-1] - ds.position[0]).max() < 1e-9


def test_a_run_that_goes_on_is_the_uninterrupted_one(tmp_path):
    whole = case("velocity: [y, -sin(x)]", times="{end: 2, step: 0.25, save: 1}")
    path = tmp_path / "run.nc"

    def stop(state):
        if state.step == 5:
            raise Stopped

    with pytest.raises(Stopped):
        whole.write(path, stop)
    fvflow.resume(tmp_path / "run.parts")
    with fvflow.read(path) as ds:
        assert (ds.position.values == whole.run().position.values).all()


def test_points_that_leave_are_refused_or_told():
    away = "potential: -(x**2 + y**2)/2"
    with pytest.raises(NumericsError, match=r"\d+ of 42 points have left the mesh at t = 2; use a mesh that holds"):
        case(away).run()
    ds = case(f"{away}, outside: tell", more="checks: {outside: 0.1}").run()
    assert 0 < ds.attrs["outside"] < 1
    assert abs(ds.mass[-1] - 1 + ds.attrs["outside"]) < 1e-14
    assert "of the points are outside the mesh at the end" in ds.attrs["remarks"]
    assert "outside" in ds.attrs["checks_missed"]


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ("velocity: [x**2, 0]", "no step is short enough|it has to be finite"),
        ("velocity: [-1/x, 0]", "it has to be finite everywhere|no step is short enough"),
    ],
)
def test_velocities_that_blow_up_are_told_in_one_sentence(flow, message):
    with pytest.raises(NumericsError, match=message) as caught:
        case(f"{flow}, outside: tell", "{kind: grid, counts: [3, 1], lower: [-1, -1], upper: [2, 1]}").run()
    assert caught.value.exit_code == 4
    assert len(caught.value.args) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow": "tolerance: 1"}, "there is no velocity; give velocity, potential, stream or tilt|tolerance"),
        ({"flow": "velocity: [x]"}, "velocity has 1 components in 2 dimensions"),
        ({"flow": "velocity: {of: run.nc}, tilt: [1, 0]"}, "is that of a result; leave out tilt"),
        ({"flow": "velocity: [lgamma(x), 0]"}, "the derivative of lgamma is no function of the language"),
        ({"points": "{kind: grid, counts: [3]}"}, "a grid of 1 axes on a mesh of 2 dimensions"),
        ({"points": f"{{kind: grid, counts: [20, {10**30}]}}"}, r"a grid of 2e\+31 points; give at most 1e\+08"),
        (
            {"points": "{kind: grid, counts: [3, 3], lower: [20, 20], upper: [30, 30]}"},
            "none of the points of the grid",
        ),
        ({"points": "{kind: grid, counts: [3, 3], lower: [1, 1], upper: [0, 2]}"}, "is empty; give lower < upper"),
        ({"times": "{end: 1, step: {initial: 0.1, tolerance: 0.01}}"}, "the integrator chooses its steps within"),
        ({"more": f"{GAUSSIAN}\nexact: {{kind: gaussian}}"}, "flow flow-map"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(CaseError, match=message):
        case(**{"flow": SPIRAL, **changes}).prepare()


def test_points_outside_in_a_file_are_refused(tmp_path):
    with pytest.raises(CaseError, match="1 of 2 points are outside the mesh"):
        case(SPIRAL, stored(tmp_path / "points.npy", np.array([[0.0, 0.0], [10.0, 0.0]]))).prepare()


def test_a_result_that_cannot_be_read_is_refused_at_its_place(tmp_path):
    file = tmp_path / "case.yaml"
    file.write_text(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [10]}\nflow:\n  kind: flow-map\n"
        "  velocity: {of: nope.nc}\n  points: {kind: grid, counts: [10]}\ntimes: {end: 1, step: 0.1}\n"
    )
    with pytest.raises(CaseError, match=r"case\.yaml:4:\d+: flow\.velocity: .*nope\.nc: cannot be read \(No such file"):
        fvflow.Case.read(file).prepare()


@pytest.mark.parametrize("method", ["rk45", "dop853"])
def test_errors_fall_with_the_tolerance(method):
    class Pendulum:
        def velocity_and_divergence(self, points, time):
            return np.stack([points[:, 1], -np.sin(points[:, 0])], axis=1), np.zeros(len(points))

    points = np.random.default_rng(0).normal(size=(100, 2))
    ends = [Integrator(method, 10.0**-k).carried(Pendulum(), points, np.zeros(100), 0, 3)[0] for k in (4, 7, 10, 13)]
    errors = [np.abs(end - ends[-1]).max() for end in ends[:-1]]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-5
    assert errors[2] < 1e-8


def test_beyond_its_end_a_run_has_the_figures_of_the_new_end(tmp_path):
    text = (
        "mesh: {{kind: box, lower: [0], upper: [1], cells: [10]}}\n"
        "flow: {{kind: flow-map, velocity: ['0.1'], points: {{kind: grid, counts: [10]}}, outside: tell}}\n"
        "times: {{end: {end}, step: 0.1, save: 0.1}}"
    )
    fvflow.Case.parse(text.format(end=0.1)).write(tmp_path / "r.nc")
    fvflow.resume(tmp_path / "r.nc", until=5)
    with fvflow.read(tmp_path / "r.nc") as ds:
        assert ds.attrs["outside"] == fvflow.Case.parse(text.format(end=5)).run().attrs["outside"] == 0.5


def test_what_a_file_says_of_its_points_goes_on(tmp_path):
    """v = -x: log det falls by t, and log density rises by as much, from the values in the file."""
    given = {
        "points": np.array([[0.5], [-0.25]]),
        "log_density": np.array([-1.0, -2.0]),
        "log_det": np.array([3.0, 0.5]),
    }
    np.savez(tmp_path / "p.npz", **given)
    ds = Case.parse(
        "mesh: {kind: box, lower: [-1], upper: [1], cells: [20]}\n"
        "flow: {kind: flow-map, velocity: [-x], points: {kind: file, file: p.npz}}\n"
        "initial: {kind: uniform}\ntimes: {end: 0.5, step: 0.5}",
        str(tmp_path / "case.yaml"),
    ).run()
    np.testing.assert_allclose(ds.log_det[-1], given["log_det"] - 0.5, atol=1e-9)
    np.testing.assert_allclose(ds.log_density[-1], given["log_density"] + 0.5, atol=1e-9)
