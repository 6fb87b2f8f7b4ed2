"""Points pushed along results: Ornstein-Uhlenbeck in closed form, orders, inverses, exact densities, a ring."""

import functools

import numpy as np
import pytest

import fvflow
from fvflow.cli.commands import main
from fvflow.errors import CaseError, NumericsError
from fvflow.fields.point_file import read_points

END = 1.0


@functools.cache
def run(cells=100, step=0.01, stepper="tr-bdf2", save="{kind: geometric, first: 0.01, ratio: 1.3}", more=""):
    return fvflow.Case.parse(
        f"mesh: {{kind: box, lower: [-5], upper: [5], cells: [{cells}]}}\n"
        f"flow: {{kind: fokker-planck, epsilon: 1, potential: x**2/2, stepper: {{kind: {stepper}}}}}\n"
        "initial: {kind: gaussian, mean: [-1], covariance: [[0.2]]}\n"
        f"times: {{end: {END}, step: {step}, save: {save}}}\n{more}"
    ).run()


@functools.cache
def with_fluxes():
    """A run of implicit Euler of which every step is saved."""
    return run(stepper="implicit-euler", save=0.01, more="output: {fluxes: true}")


def exact(x, t=END):
    """The optimal map of N(-1, 0.2) to the density at t, log det of it, and the log density there."""
    mean, variance = -np.exp(-t), 0.2 * np.exp(-2 * t) + 1 - np.exp(-2 * t)
    end = mean + (x + 1) * np.sqrt(variance / 0.2)
    log_density = -((end - mean) ** 2) / (2 * variance) - 0.5 * np.log(2 * np.pi * variance)
    return end, 0.5 * np.log(variance / 0.2), log_density


X = np.linspace(-2.2, 0.2, 500)[:, None]


def errors(cells):
    found = fvflow.push(run(cells, 1.0 / cells), X, 0, END)
    end, log_det, log_density = exact(X[:, 0])
    assert found.method == "smooth"
    got = found.points[:, 0], found.log_det, found.log_density
    return np.array([np.abs(part - true).max() for part, true in zip(got, (end, log_det, log_density), strict=True)])


def test_the_smooth_flow_converges_with_the_order_of_the_scheme():
    coarse, fine = errors(100), errors(200)
    assert (fine < [0.008, 0.009, 0.015]).all()
    assert (np.log2(coarse / fine) > 1.8).all()


def test_the_reverse_is_the_inverse():
    ds = run()
    ahead = fvflow.push(ds, X, 0, END, tolerance=1e-10)
    back = fvflow.push(ds, ahead.points, END, 0, tolerance=1e-10, log_density=ahead.log_density)
    assert np.abs(back.points - X).max() < 1e-7
    assert np.abs(back.log_det + ahead.log_det).max() < 1e-7
    assert np.abs(back.log_density - fvflow.at(ds).log_density(X, 0)).max() < 1e-7


def test_stored_fluxes_give_the_monotone_rearrangement():
    ds = with_fluxes()
    found = fvflow.push(ds, X, 0, END, method="exact")
    edges = np.linspace(-5, 5, 101)

    def cumulative(x, frame):
        return np.interp(x, edges, np.append(0, np.cumsum(ds.rho[frame].values * 0.1)))

    assert np.abs(cumulative(found.points[:, 0], -1) - cumulative(X[:, 0], 0)).max() < 1e-10
    back = fvflow.push(ds, found.points, END, 0, method="exact")
    assert np.abs(back.points - X).max() < 1e-10


def test_parts_of_intervals_and_of_the_run_compose():
    ds, middle = with_fluxes(), 0.3456
    whole = fvflow.push(ds, X, 0, END, method="exact")
    half = fvflow.push(ds, X, 0, middle, method="exact")
    rest = fvflow.push(ds, half.points, middle, END, method="exact", log_density=half.log_density)
    assert np.abs(rest.points - whole.points).max() < 1e-10
    assert np.quantile(np.abs(rest.log_density - whole.log_density), 0.9) < 1e-10  # others were on a face


def test_auto_takes_what_the_result_allows():
    empty = "mesh: {kind: box, lower: [0], upper: [1], cells: [20]}\nflow: {kind: transport, target: {kind: uniform, "
    ds = fvflow.Case.parse(empty + "lower: [0.5]}, intervals: 8}\ninitial: {kind: uniform, upper: [0.5]}").run()
    found = fvflow.push(ds, np.array([[0.125], [0.25]]), 0, 1)
    assert found.method == "exact"
    assert np.abs(found.points[:, 0] - [0.625, 0.75]).max() < 1e-6
    assert fvflow.push(with_fluxes(), X, 0, END).method == "smooth"


RING = [(2 * np.cos(k * np.pi / 4), 2 * np.sin(k * np.pi / 4)) for k in range(8)]


def modes_at(cells, step):
    """Eight modes on their way to noise, of standard deviation 0.3 each, so that few cells do."""
    parts = ", ".join(f"{{mean: [{x}, {y}], covariance: [[0.09, 0], [0, 0.09]]}}" for x, y in RING)
    return fvflow.Case.parse(
        f"mesh: {{kind: box, lower: [-5, -5], upper: [5, 5], cells: [{cells}, {cells}]}}\n"
        "flow: {kind: fokker-planck, epsilon: 1, potential: (x**2 + y**2)/2, stepper: {kind: split-crank-nicolson}}\n"
        f"initial: {{kind: mixture, components: [{parts}]}}\n"
        f"times: {{end: 3, step: {step}, save: {{kind: geometric, first: 0.01, ratio: 1.5}}}}"
    ).run()


def test_noise_becomes_eight_modes_by_the_reverse_flow():
    noise = np.random.default_rng(0).normal(size=(1000, 2))
    log_density = -0.5 * (noise**2).sum(axis=1) - np.log(2 * np.pi)
    found = fvflow.push(modes_at(64, 0.02), noise, 3, 0, log_density=log_density, tolerance=1e-4)
    offset = found.points[:, None] - np.array(RING)
    square = (offset**2).sum(axis=2)
    assert (square.min(axis=1) < (4 * 0.3) ** 2).mean() > 0.995
    counts = np.bincount(square.argmin(axis=1), minlength=8)
    assert ((counts - 125) ** 2 / 125).sum() < 24.3  # chi-square of 7 degrees, p = 1e-3
    truth = np.log(np.exp(-square / 0.18).mean(axis=1) / (2 * np.pi * 0.09))
    assert abs(found.log_density.mean() - truth.mean()) < 0.02
    assert abs(np.hypot(*found.points.T).std() - 0.3) < 0.015


def test_a_flow_map_along_a_result_is_its_push(tmp_path):
    fvflow.Case.parse(
        "mesh: {kind: box, lower: [-5], upper: [5], cells: [100]}\n"
        "flow: {kind: fokker-planck, epsilon: 1, potential: x**2/2, stepper: {kind: tr-bdf2}}\n"
        "initial: {kind: gaussian, mean: [-1], covariance: [[0.2]]}\n"
        "times: {end: 1, step: 0.01, save: {kind: geometric, first: 0.01, ratio: 1.3}}"
    ).write(tmp_path / "run.nc")
    text = (
        "mesh: {{kind: box, lower: [-5], upper: [5], cells: [200]}}\n"
        "flow: {{kind: flow-map, velocity: {{of: {0}}}, points: {{kind: initial, count: 1000}}, "
        "integrator: {{method: rk45, tolerance: 1e-8}}}}\n"
        "initial: {{kind: gaussian, mean: [-1], covariance: [[0.2]]}}\ntimes: {{end: {1}, step: 0.5}}"
    )
    ds = fvflow.Case.parse(text.format(tmp_path / "run.nc", 1)).run()
    with fvflow.read(tmp_path / "run.nc") as result:
        found = fvflow.push(result, ds.position[0].values, 0, 1, tolerance=1e-8)
    assert np.abs(found.points - ds.position[-1].values).max() < 1e-5
    assert np.abs(found.log_det - ds.log_det[-1].values).max() < 1e-4
    assert abs(float(ds.position[-1].std()) - np.sqrt(0.2 * np.exp(-2) + 1 - np.exp(-2))) < 0.02
    with pytest.raises(CaseError, match="goes from t = 0 to 1, the run from 0 to 2; give times within"):
        fvflow.Case.parse(text.format(tmp_path / "run.nc", 2)).prepare()


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "ou.yaml").write_text(run().attrs["case"], "utf-8")
    np.savetxt(tmp_path / "in.csv", X, header="x", comments="", fmt="%.17g")

    def fvflow_command(*arguments):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    fvflow_command("run", "ou.yaml", "-q")
    told = fvflow_command("push", "ou.nc", "in.csv", "--from", "0", "--to", "1", "-o", "out.npz")
    assert "500 points from t = 0 to 1 by method smooth, mean log density" in told
    fvflow_command("push", "ou.nc", "out.npz", "--from", "1", "--to", "0", "-o", "back.csv")
    out, back = read_points(str(tmp_path / "out.npz")), read_points(str(tmp_path / "back.csv"))
    expected = fvflow.push(run(), X, 0, 1)
    assert (out.points == expected.points).all()
    assert (out.log_density == expected.log_density).all()
    assert np.abs(back.points - X).max() < 1e-3
    assert np.abs(back.log_det).max() < 1e-3  # those there and back add up


def test_the_command_refuses_points_that_are_not_there_without_a_word_of_cases(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["push", "ou.nc", str(tmp_path / "no.npz"), "--from", "0", "--to", "1", "-o", str(tmp_path / "o.npz")])
    assert "no.npz: cannot be read (No such file or directory); give the path of a file with" in (
        told := capsys.readouterr().err
    )
    assert "case" not in told.replace(str(tmp_path), "")


@pytest.mark.parametrize("method", ["smooth", "exact"])
def test_from_a_time_to_itself_nothing_moves(method):
    found = fvflow.push(with_fluxes(), X, 0.5, 0.5, method=method)
    assert np.abs(found.points - X).max() < 1e-14
    assert (found.log_det == 0).all()
    assert np.isfinite(found.log_density).all()


def test_the_command_keeps_weights(tmp_path):
    file = str(tmp_path / "run.nc")
    fvflow.Case.parse(run().attrs["case"]).write(file)
    np.savez(tmp_path / "in.npz", points=X, weight=np.arange(500.0))
    with pytest.raises(SystemExit):
        main(["push", file, str(tmp_path / "in.npz"), "--from", "0", "--to", "0", "-o", str(tmp_path / "out.csv")])
    assert (read_points(str(tmp_path / "out.csv")).weight == np.arange(500.0)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.zeros((3, 2))}, r"have 2 coordinate\(s\), the mesh 1 dimension\(s\)"),
        ({"points": np.array([[np.nan]])}, "give finite numbers"),
        ({"points": np.array([[7.0], [0.0]])}, "1 of 2 points are outside the mesh"),
        ({"end": 2}, "t = 2 is outside the run, which goes from 0 to 1"),
        ({"points": [["a"]]}, r"^the points: \[\['a'\]\] is of type str\d+; give real numbers$"),
        ({"points": [[1j]]}, r"^the points: \[\[1j\]\] is of type complex128; give real numbers$"),
        ({"start": "a"}, r"^the start: 'a' is of type str\d+; give real numbers$"),
        ({"end": 1j}, r"^the end: 1j is of type complex128; give real numbers$"),
        ({"end": [1, 2]}, r"^the end: is an array \(2,\); give one number$"),
        ({"log_density": ["a"] * 500}, r"^log_density: .* is of type str\d+; give real numbers$"),
        ({"tolerance": "a"}, r"^the tolerance: 'a' is of type str\d+; give real numbers$"),
        ({"log_density": np.zeros(3)}, r"log_density has the shape \(3,\) for 500 points"),
        ({"method": "best"}, "method 'best' is none of auto, smooth, exact"),
        ({"tolerance": 0.0}, "the tolerance is 0; give one from 1e-13 to 0.1"),
        ({"tolerance": np.nan}, "the tolerance is nan; give one"),
        ({"method": "exact"}, r"has no flux_mean, .* with output: \{fluxes: true\} if its flow stores"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(CaseError, match=message):
        fvflow.push(run(), **{"points": X, "start": 0, "end": 1, **changes})


def test_on_meshes_that_are_no_grids_smooth_paths_must_not_meet_walls():
    """The paths of stored fluxes never do, see tests/test_tracer.py: an L-shape."""
    ds = fvflow.Case.parse(
        "mesh: {kind: gmsh, file: cases/l-shape.msh}\nflow: {kind: fokker-planck, epsilon: 1}\n"
        "initial: {kind: expression, density: 1.2 - sign(y + 0.2), mass: 1}\ntimes: {end: 0.1, step: 0.02, save: 0.02}"
    ).run()
    everywhere = fvflow.sample(ds, 500, 0.0)
    with pytest.raises(NumericsError, match=r"paths meet a wall at t = .* use method exact"):
        fvflow.push(ds, everywhere, 0, 0.1, method="smooth")


def test_saves_that_are_far_apart_are_refused_or_told():
    ds = run(save=1.0)
    with pytest.raises(NumericsError, match=r"log rho is known to about .* say accept=True"):
        fvflow.push(ds, X, 0, END)
    found = fvflow.push(ds, X, 0, END, accept=True)
    assert any("save more often there" in sentence for sentence in found.remarks)
    assert fvflow.push(run(), X, 0.1, END).remarks == ()


def test_results_that_lost_their_balance_are_refused():
    ds = with_fluxes()
    with pytest.raises(NumericsError, match=r"the stored fluxes miss .* of the mass"):
        fvflow.push(ds.assign(flux_mean=ds.flux_mean * 1.01), X, 0, END, method="exact")


def test_smooth_paths_must_not_meet_walls_that_let_mass_through():
    """Those that stay inside are followed; no point is sent back from where it would leave."""
    ds = fvflow.Case.parse(
        "mesh: {kind: box, lower: [0], upper: [2], cells: [60]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.3, velocity: ['-1'], stepper: {kind: tr-bdf2}}\n"
        "initial: {kind: gaussian, mean: [1], covariance: [[0.05]]}\nwalls: {left: {kind: partial, rate: 2}}\n"
        "times: {end: 1, step: 0.01, save: {kind: geometric, first: 0.01, ratio: 1.3}}"
    ).run()
    assert fvflow.push(ds, [[1.5]], 0.1, 0.5, method="smooth").points[0, 0] > 0.5
    with pytest.raises(NumericsError, match=r"1 paths meet a wall .* leave these points out"):
        fvflow.push(ds, [[0.3], [1.5]], 0.1, 0.8, method="smooth")


OPEN = (
    "mesh: {kind: box, lower: [-2], upper: [2], cells: [60]}\n"
    "flow: {kind: fokker-planck, epsilon: 0.5, stepper: {kind: tr-bdf2}}\n"
    "initial: {kind: gaussian, mean: [0.2], covariance: [[0.3]], truncate: 0.5}\n"
    "times: {end: 0.5, step: 0.02, save: 0.1}\noutput: {fluxes: true}\n"
)


@pytest.mark.parametrize(
    ("absorbing", "method", "tolerance", "told"),
    [
        ("walls: {right: absorbing}", "smooth", 1e-5, "paths meet a wall at .* mass leaves through right; leave these"),
        ("walls: {right: absorbing}", "smooth", 1e-10, "no step is short enough .* mass leaves through right: leave"),
        ("walls: {right: absorbing}", "exact", 1e-5, "fluxes miss .* mass leaves through right, where paths end;"),
        (
            "absorbing: {where: x > 1.9}",
            "smooth",
            1e-5,
            "paths meet a wall at .* mass leaves through where; leave",
        ),
        ("absorbing: {where: x > 1.9}", "exact", 1e-5, "fluxes miss .* mass leaves through where, where paths end;"),
    ],
)
def test_where_mass_leaves_the_advice_leads_somewhere(absorbing, method, tolerance, told):
    """Neither method sends to the other; the advice is followed."""
    ds = fvflow.Case.parse(OPEN + absorbing).run()
    with pytest.raises(NumericsError, match=rf"{told}.* run the same case with flow: {{kind: particles}}$") as refused:
        fvflow.push(ds, [[-1.0], [1.85]], 0, 0.5, method=method, tolerance=tolerance)
    assert "use method" not in str(refused.value)
    if method == "smooth" and tolerance > 1e-9:
        assert fvflow.push(ds, [[-1.0]], 0, 0.5, method=method).points[0, 0] < 1
    particles = OPEN.replace("fokker-planck", "particles, count: 100").replace("tr-bdf2", "jump")
    moved = fvflow.Case.parse(particles.replace("output: {fluxes: true}", absorbing)).run()
    assert (moved.absorbed_by[-1] >= 0).any()


def test_smooth_paths_end_on_the_mesh_along_periodic_axes_beside_open_walls():
    ds = fvflow.Case.parse(
        "mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 16], periodic: [x]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.01, tilt: [1, 0]}\ninitial: {kind: uniform}\n"
        "walls: {bottom: {kind: partial, rate: 0.1}}\ntimes: {end: 0.4, step: 0.02, save: 0.02}"
    ).run()
    moved = fvflow.push(ds, [[0.9, 0.8]], 0.0, 0.4, method="smooth").points
    assert moved[0] == pytest.approx([0.3, 0.8], abs=0.01)
