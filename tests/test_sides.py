"""Both sides of the equations: identities on closed forms, and results against the points that they carry."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

import fvflow
from fvflow.case import Case, pusher
from fvflow.cli import main
from fvflow.dataset import read, stored_mesh
from fvflow.errors import CaseError
from fvflow.fields import Gaussian
from fvflow.lagrangian import identities
from fvflow.lagrangian.identities import CosineBank, MomentBank, integrals, push_forward_gap
from fvflow.mesh import Box
from tests import meshes
from tests.contracts import assert_order

MATRIX = np.array([[0.8, -0.5], [0.4, 1.1]])
SQUARE = Box((-4.0, -4.0), (4.0, 4.0), (2, 2)).build()


def test_integrals_of_test_functions_are_those_of_closed_forms():
    """Products of means of cosines over [0, 1/2] and [1/4, 1]; of order 6, so exact to 1e-6 here."""
    mesh = Box((0.0, 0.0), (1.0, 2.0), (8, 8)).build()
    density = ((mesh.centre[:, 0] < 0.5) & (mesh.centre[:, 1] > 0.5)).astype(float)
    bank = CosineBank(mesh, 2)
    x, y = (
        (lambda k: 1.0 if k == 0 else np.sin(k * np.pi / 2) / (k * np.pi / 2)),
        (lambda k: 1.0 if k == 0 else -np.sin(k * np.pi / 4) / (k * np.pi * 0.75)),
    )
    expected = [x(k) * y(j) for k in range(3) for j in range(3) if 1 <= k + j <= 2]
    np.testing.assert_allclose(np.sort(integrals(bank, mesh, density)), np.sort(expected), atol=1e-6)


def test_along_periodic_axes_test_functions_are_periodic():
    mesh = Box((0.0, 0.0), (1.0, 2.0), (4, 4), ("x",)).build()
    points = np.random.default_rng(0).uniform(size=(20, 2))
    bank = CosineBank(mesh)
    np.testing.assert_allclose(bank.at(points), bank.at(points + np.eye(2)[0]), atol=1e-12)
    assert bank.at(points).shape[1] > CosineBank(Box((0.0, 0.0), (1.0, 2.0), (4, 4)).build()).at(points).shape[1]


@pytest.mark.parametrize("shape", ["triangles", "mixed", "solids"])
def test_moments_of_a_density_are_integrated_exactly(shape):
    """On cells of every shape: those of the uniform density on a bounding polytope, by a finer rule."""
    mesh = meshes.SHAPES[shape]()
    density = np.random.default_rng(1).uniform(size=mesh.cells)
    bank = MomentBank(np.full(mesh.dimension, 0.3))
    rule = list(mesh.quadrature(4))
    fine = sum((weight * density[part]) @ bank.at(at) for at, weight, part in rule) / (mesh.volume @ density)
    np.testing.assert_allclose(integrals(bank, mesh, density), fine, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_map_pushes_a_gaussian_to_the_gaussian_that_it_should(seed):
    """Notes, (3), (4), (24): within 4 standard errors; a density displaced by 2 % of its width is found out."""
    points = np.random.default_rng(seed).normal(size=(100_000, 2)) @ MATRIX.T
    mesh = Box((-6.0, -6.0), (6.0, 6.0), (96, 96)).build()
    covariance = tuple(map(tuple, (MATRIX @ MATRIX.T).tolist()))
    for bank in (CosineBank(mesh), MomentBank(np.zeros(2))):
        right = push_forward_gap(bank, points, mesh, Gaussian((0.0, 0.0), covariance).sample(mesh, {}))
        assert right.errors < 4
        wrong = push_forward_gap(bank, points, mesh, Gaussian((0.02, 0.0), covariance).sample(mesh, {}))
        assert wrong.errors > 4
        assert right.largest < wrong.largest


def test_density_and_determinant_of_a_linear_map():
    """Notes, (128)-(133): rho(T) det DT = rho_0, and differences of paths give det DT."""
    x = np.random.default_rng(2).normal(size=(50, 2))
    y, log_det = x @ MATRIX.T, np.full(50, np.log(np.linalg.det(MATRIX)))
    inverse = np.linalg.inv(MATRIX @ MATRIX.T)
    before = -0.5 * (x**2).sum(axis=1)
    after = -0.5 * np.einsum("pa,ab,pb->p", y, inverse, y) - log_det
    assert identities.density_gap(before, after, log_det) < 1e-14
    assert identities.density_gap(before, after, log_det + 0.1) == pytest.approx(0.1)
    plus, minus = (np.array([(x + sign * 1e-3 * e) @ MATRIX.T for e in np.eye(2)]) for sign in (1, -1))
    mesh = Box((-9.0, -9.0), (9.0, 9.0), (3, 3)).build()
    assert identities.determinant_gap(mesh, plus, minus, 1e-3, log_det) < 1e-11
    assert identities.determinant_gap(mesh, plus, minus, 1e-3, 0 * log_det) == pytest.approx(log_det[0])
    assert identities.determinant_gap(mesh, plus, plus, 1e-3, log_det) == math.inf  # neighbours that have met


def test_the_action_of_a_gaussian_geodesic_in_three_forms():
    """Notes, (5), (6): (m1 - m0)^2 + (s1 - s0)^2, of paths exactly, of velocities and fluxes to second order."""
    exact, gaps = 1.0**2 + 0.4**2, []
    z = np.random.default_rng(3).normal(size=(1000, 1))
    z = (z - z.mean()) / z.std()
    times = np.linspace(0.0, 1.0, 4)
    paths = np.array([-0.5 + t + (0.5 + 0.4 * t) * z for t in times])
    assert identities.path_action(Box((-4.0,), (6.0,), (10,)).build(), times, paths) == pytest.approx(exact, rel=1e-12)
    for cells in (80, 160, 320):
        mesh = Box((-4.0,), (6.0,), (cells,)).build()
        times = np.linspace(0.0, 1.0, cells // 4 + 1)
        middle = 0.5 * (times[1:] + times[:-1])

        def density(t, x):
            s = 0.5 + 0.4 * t
            return np.exp(-0.5 * ((x + 0.5 - t) / s) ** 2) / (s * np.sqrt(2 * np.pi))

        def velocity(t, x):
            return 1.0 + 0.4 * (x + 0.5 - t) / (0.5 + 0.4 * t)

        centre, face = mesh.centre[:, 0], mesh.face_centre[:, 0]
        densities = [density(t, centre) for t in times]
        by_velocity = identities.velocity_action(mesh, times, densities, [velocity(t, centre)[:, None] for t in times])
        fluxes = [density(t, face) * velocity(t, face) for t in middle]
        by_flux = identities.flux_action(mesh, times, densities, fluxes)
        gaps.append((abs(by_velocity - exact), abs(by_flux - exact)))
    by_velocity, by_flux = np.transpose(gaps)
    assert by_velocity.max() < 1e-6  # of every order in space, and constant in time
    assert_order(1 / np.array([80, 160, 320]), by_flux, 2.0, 0.15)


RUN = """
mesh: {kind: box, lower: [-4, -4], upper: [4, 4], cells: [N, N]}
flow: {kind: fokker-planck, epsilon: 0.5, potential: 0.5*(x**2 + 2*y**2), velocity: ["-y", "x"]}
initial: {kind: gaussian, mean: [1, 0], covariance: [[0.5, 0.1], [0.1, 0.4]]}
times: {end: 0.5, step: 0.05, save: 0.1}
output: {fluxes: true}
"""


def test_points_that_follow_the_fluxes_keep_the_density_of_the_scheme():
    """At any step: the density to round-off, means and moments within 4 standard errors."""
    ds = Case.parse(RUN.replace("N", "16")).run()
    sides = fvflow.compare_sides(ds, 4000, method="exact")
    assert sides.method == "exact"
    assert sides.positions.shape == (6, 4000, 2)
    assert sides.figures["density"] < 1e-12
    assert sides.figures["push_forward"] < 4
    assert sides.figures["moments"] < 4
    assert sides.figures["action_of_paths"] == pytest.approx(sides.figures["action_of_densities"], rel=0.06)


def test_the_action_of_paths_is_that_of_fluxes():
    """Notes, (5), (6), of exact paths of stratified samples: the gap falls with h^2 or faster until saves limit it."""
    gaps = []
    for cells in (12, 24, 48):
        ds = Case.parse(RUN.replace("N", str(cells)).replace("0.05, save: 0.1", "0.025, save: 0.025")).run()
        times, points = ds["time"].values, [fvflow.sample(ds, 20_000, 0.0)]
        for begin, end in pairwise(times):
            points.append(fvflow.push(ds, points[-1], begin, end, method="exact").points)
        densities, fluxes = ds["rho"].values.reshape(len(times), -1), ds["flux_mean"].values[1:]
        by_flux = identities.flux_action(stored_mesh(ds), times, densities, fluxes)
        gaps.append(identities.path_action(stored_mesh(ds), times, np.array(points)) / by_flux - 1)
    assert gaps[0] > 2.5 * gaps[1] > 8 * gaps[2] > 0
    assert gaps[2] < 0.005


def test_points_on_triangles_keep_the_density_of_the_scheme(tmp_path):
    fvflow.save_mesh(meshes.SHAPES["triangles"](), tmp_path / "m.nc")
    ds = Case.parse(f"""
mesh: {{kind: ugrid, file: {tmp_path / "m.nc"}}}
flow: {{kind: fokker-planck, epsilon: 0.1, velocity: [0.5 - y, x - 0.5]}}
initial: {{kind: expression, density: 1 + x}}
times: {{end: 0.5, step: 0.1}}
output: {{fluxes: true}}
""").run()
    sides = fvflow.compare_sides(ds, 4000)
    assert sides.method == "exact"
    assert sides.figures["density"] < 1e-12
    assert sides.figures["push_forward"] < 4


def test_points_that_follow_the_velocity_keep_the_density_to_the_order_of_the_scheme():
    """Crank-Nicolson on a line: rho det DT = rho_0, det DT by differences, action of both forms."""
    figures = []
    for cells in (40, 80):
        text = f"""
mesh: {{kind: box, lower: [-5], upper: [5], cells: [{cells}]}}
flow: {{kind: fokker-planck, epsilon: 0.5, potential: 0.5*x**2, stepper: {{kind: crank-nicolson}}}}
initial: {{kind: gaussian, mean: [1], covariance: [[0.4]], sampling: centre}}
times: {{end: 0.5, step: {1 / cells}, save: {4 / cells}}}
"""
        sides = fvflow.compare_sides(Case.parse(text).run(), 2000, method="smooth")
        figures.append(sides.figures)
        assert sides.method == "smooth"
        assert sides.figures["push_forward"] < 4
        assert sides.figures["moments"] < 4
        assert sides.figures["determinant"] < 1e-4  # of differences, not of the tolerance of the other paths
    assert figures[1]["density"] < 0.35 * figures[0]["density"] < 0.02
    gaps = [abs(found["action_of_paths"] / found["action_of_densities"] - 1) for found in figures]
    assert max(gaps) < 4 * np.sqrt(2 / 2000)  # of samples


def test_the_functions_of_a_result_are_fitted_once(monkeypatch):
    """However many intervals there are between its saves, and however many points are moved beside others."""
    fitted, evaluate = [], pusher.evaluate
    monkeypatch.setattr(pusher, "evaluate", lambda *given, **options: fitted.append(1) or evaluate(*given, **options))
    fvflow.compare_sides(Case.parse(RUN.replace("N", "12")).run(), 50, method="smooth")
    assert len(fitted) == 1


def test_paths_across_a_seam_are_not_long():
    """Uniform on a circle, carried at speed 1 once around: the action is 1, det DT = 1."""
    case = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [20], periodic: [x]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.1, tilt: [1]}\ninitial: {kind: uniform}\n"
        "times: {end: 1, step: 0.1, save: 0.1}\noutput: {fluxes: true}"
    )
    for method in ("smooth", "exact"):
        found = fvflow.compare_sides(case.run(), 200, method=method).figures
        assert found["action_of_paths"] == pytest.approx(1.0, abs=1e-3)
        assert found["action_of_densities"] == pytest.approx(1.0, abs=1e-3)
        assert found.get("determinant", 0.0) < 1e-3


def test_results_that_lose_mass_are_refused():
    case = Case.parse(RUN.replace("N", "8") + "walls: {left: absorbing}")
    with pytest.raises(CaseError, match="mass leaves the domain of the result, and paths with it"):
        fvflow.compare_sides(case.run(), 10)


def test_a_run_is_compared_if_it_asks_or_a_check_does(tmp_path, capsys):
    """With the figures of `fvflow sides`, in memory, in a file and after a resume; the file holds them as figures."""
    text = RUN.replace("N", "40").replace("fluxes", "sides")
    case = Case.parse(text + "checks: {sides_moments: 8, sides_density: 1e-9}")
    ds = case.run()
    expected = {f"sides_{name}": value for name, value in fvflow.compare_sides(ds).figures.items()}
    assert {name: ds.attrs[name] for name in expected} == expected
    assert "sides_action" in expected
    assert ds.attrs["checks_missed"].startswith("check sides_density missed: got ")
    (tmp_path / "c.yaml").write_text(case.replace({"output.sides": False}).text)
    with pytest.raises(SystemExit, match="6"):
        main(["run", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "c.nc"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in expected} == expected
    assert not [name for name in case.replace({"output.sides": False, "checks": {}}).run().attrs if "sides" in name]

    def stop(state):
        if state.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case.write(tmp_path / "r.nc", stop)
    fvflow.resume(tmp_path / "r.nc")
    with read(tmp_path / "r.nc") as resumed:
        assert {name: resumed.attrs[name] for name in expected} == expected, "in the same steps with the same samples"
        assert {name: float(resumed[name]) for name in expected} == pytest.approx(expected, rel=1e-12)


def test_what_cannot_be_compared_is_told():
    with pytest.raises(CaseError, match=r"checks\.sides_moments: needs closed walls"):
        Case.parse(RUN.replace("N", "8") + "walls: {left: absorbing}\nchecks: {sides_moments: 4}")
    with pytest.raises(CaseError, match=r"output\.sides: rho of flow particles is counted, .* flow fokker-planck"):
        Case.parse(RUN.replace("fokker-planck", "particles, count: 9").replace("fluxes", "sides").replace("N", "8"))
    spike = RUN.replace("N", "8").replace(
        "kind: gaussian, mean: [1, 0], covariance: [[0.5, 0.1], [0.1, 0.4]]", "kind: spike, at: [1, 0]"
    )
    found = Case.parse(spike.replace("output: {fluxes: true}", "checks: {sides_moments: 4}")).run()
    assert "its sides were not compared: rho is 0 in " in found.attrs["remarks"]
    assert found.attrs["checks_missed"] == "check sides_moments missed: this run does not compute it; remove the check"


def test_a_result_that_does_not_move_is_refused():
    ds = Case.parse(RUN.replace("N", "8")).run().isel(time=[0])
    with pytest.raises(CaseError, match="one saved time only, and nothing moves; save more of them"):
        fvflow.compare_sides(ds, 10)


def test_the_step_of_a_gradient_flow_in_the_plane_is_the_lagrangian_one():
    """Notes, (1) = (2): particles on its fluxes have its energy, by log det, and its cost, with h^2."""
    gaps = []
    for cells in (12, 24, 48):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [-3, -3], upper: [3, 3], cells: [{cells}, {cells}]}}
flow:
  kind: gradient-flow
  energy: [{{kind: entropy, epsilon: 0.5}}, {{kind: potential, potential: 0.5*(x**2 + 2*y**2)}}]
  stepper: {{kind: jko, intervals: 1}}
initial: {{kind: gaussian, mean: [0.5, 0], covariance: [[0.5, 0.1], [0.1, 0.4]], truncate: 0.01}}
times: {{end: 0.05, step: 0.05}}
output: {{fluxes: true}}
""").run()
        start = fvflow.sample(ds, 40_000, 0.0)
        found = fvflow.push(ds, start, 0.0, 0.05, method="exact")
        potential = 0.5 * found.points[:, 0] ** 2 + found.points[:, 1] ** 2
        energy = np.mean(0.5 * found.log_density + potential)
        cost = np.mean(((found.points - start) ** 2).sum(axis=1)) / 0.1
        gaps.append((abs(energy - float(ds["energy"][1])), abs(cost - float(ds["cost"][1]))))
    for gap, least in zip(np.transpose(gaps), (1.8, 1.6), strict=True):
        orders = -np.diff(np.log2(gap))
        assert (orders > least).all(), (orders, gap)
    assert gaps[-1][1] < 0.01 * float(ds["cost"][1])


@pytest.mark.parametrize("energies", ["", ", {kind: porous-medium, exponent: 2, coefficient: 0.2}"])
def test_a_step_on_a_line_is_that_of_quantiles(energies):
    """Notes, (1) = (2): every saved step of `jko`, L1 over the mass, with h^2."""
    gaps = []
    for cells in (20, 40):
        ds = Case.parse(f"""
mesh: {{kind: box, lower: [0], upper: [1], cells: [{cells}]}}
flow:
  kind: gradient-flow
  energy: [{{kind: entropy, epsilon: 0.1}}, {{kind: potential, potential: h*cos(pi*x)}}{energies}]
  stepper: {{kind: jko, intervals: {cells // 5}}}
parameters: {{h: 0.3}}
initial: {{kind: expression, density: 1 + 0.5*cos(2*pi*x), mass: integral}}
times: {{end: 0.1, step: 0.05, save: 0.05}}
output: {{fluxes: true}}
""").run()
        gaps.append(fvflow.compare_sides(ds, 50, method="exact").figures["lagrangian_step"])
    assert gaps[1] < 0.3 * gaps[0] < 0.003


def test_steps_that_were_not_saved_are_not_compared_with_those_of_quantiles():
    case = Case.read("cases/ou-1d-jko.yaml")
    assert case.times.save != case.times.step
    case = case.replace({"times.end": 2 * case.times.save, "checks": {}, "exact": None, "output.fluxes": True})
    assert "lagrangian_step" not in fvflow.compare_sides(case.run(), 10, method="exact").figures


def test_the_command_prints_the_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Case.parse(RUN.replace("N", "12")).write("r.nc")
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["sides", "r.nc", "-n", "500", "--method", "exact", *options])
        assert ended.value.code == 0
    table, last = capsys.readouterr().out.rsplit("\n", 2)[:2]
    told = json.loads(last)
    with read("r.nc") as ds:
        expected = fvflow.compare_sides(ds, 500, method="exact").figures
    assert told == {"file": "r.nc", "method": "exact", "samples": 500, **expected}
    for name, value in expected.items():
        assert f"{name.replace('_', ' ')} " in table
        assert f"{value:.4g}" in table


def test_paths_around_a_ring_pass_its_seam_without_a_jump():
    """A uniform density that drifts at the speed 1: |v|^2 is 1, and nothing is stretched."""
    ds = Case.parse(
        "mesh: {kind: box, lower: [0], upper: [1], cells: [40], periodic: [x]}\n"
        "flow: {kind: fokker-planck, epsilon: 0.1, tilt: [1]}\ninitial: {kind: uniform}\n"
        "times: {end: 0.5, step: 0.05, save: 0.1}"
    ).run()
    figures = fvflow.compare_sides(ds, 200, method="smooth").figures
    assert figures["action_of_paths"] == pytest.approx(figures["action_of_densities"], rel=1e-6)
    assert figures["determinant"] < 1e-6
