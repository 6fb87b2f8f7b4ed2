"""Results and curves of one's own as curves of densities: speed, length, action, and the bounds of W2 they give."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import xarray
from scipy.integrate import quad

import fvflow
from fvflow import geometry, wasserstein
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError
from fvflow.fields import gaussian_density
from fvflow.mesh import Box, Graded
from fvflow.wasserstein import distance_1d, distance_on_circle

LINE = """
mesh: {kind: box, lower: [-6], upper: [6], cells: [80]}
flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}
initial: {kind: gaussian, mean: [1], covariance: [[0.5]]}
times: {end: 1, step: 0.05, save: 0.25}
output: {fluxes: true}
"""
RATES, MEAN, VARIANCE = np.array([1.0, 2.0]), np.array([1.5, -1.0]), np.array([0.5, 0.7])


def square_of_speed(time):
    """|m'|^2 + sum (s_a')^2 of the Gaussians of cases/geometry-ou-curve.yaml."""
    variance = 1 / RATES + (VARIANCE - 1 / RATES) * np.exp(-2 * RATES * time)
    change = -2 * RATES * (VARIANCE - 1 / RATES) * np.exp(-2 * RATES * time)
    return ((RATES * MEAN * np.exp(-RATES * time)) ** 2 + change**2 / (4 * variance)).sum()


def ou(cells, step):
    changes = {"mesh.cells": [cells] * 2, "times.step": step, "times.save": step, "initial.sampling": "centre"}
    return Case.read("cases/geometry-ou-curve.yaml").replace({**changes, "checks": {}})


def command(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["measure", *map(str, arguments)])
    return stop.value.code


def test_the_ornstein_uhlenbeck_curve_of_gaussians():
    """Speeds, length and action at order 2; what is proved is above the distance of the ends."""
    length, action = quad(lambda t: square_of_speed(t) ** 0.5, 0, 1)[0], quad(square_of_speed, 0, 1)[0]
    ends = (MEAN * (1 - np.exp(-RATES))) ** 2
    deviations = [np.sqrt(1 / RATES + (VARIANCE - 1 / RATES) * np.exp(-2 * RATES * time)) for time in (0, 1)]
    w2 = np.sqrt((ends + (deviations[1] - deviations[0]) ** 2).sum())
    errors = []
    for cells, step in ((32, 0.1), (64, 0.05)):
        found = fvflow.measure(ou(cells, step).run())
        middle = 0.5 * (found.time[1:] + found.time[:-1])
        speeds = [np.sqrt([square_of_speed(time) for time in times]) for times in (middle, found.time)]
        errors.append(
            [
                np.abs(found.speed - speeds[0]).max(),
                np.abs(found.frame_speed - speeds[1]).max(),
                np.abs(found.by_fluxes.speed - speeds[0]).max(),
                abs(found.length - length),
                abs(found.by_tangents.action - action),
            ]
        )
        assert found.by_fluxes.residual <= 1e-15
        assert found.by_tangents.residual <= 1e-14
        assert found.by_fluxes.action >= found.by_tangents.action * (1 - 1e-12), "the tangents have the least"
        assert w2 < found.length_upper <= found.by_fluxes.w2_upper
        assert found.length_upper == pytest.approx(length, abs=3e-3)
        assert found.w2_upper == found.length_upper
        assert not found.hint
        assert not found.by_fluxes.fault
    assert (np.log2(np.array(errors[0]) / errors[1]) > 1.6).all(), errors
    assert max(errors[1][:4]) < 0.02


def test_empty_tails_do_not_turn_round_off_into_speed():
    """At 1e-60 in the corners a rate that is off balance by 1e-17 was a velocity."""
    mesh = Box((-12.0, -8.0), (12.0, 8.0), (96, 64)).build()
    rho = gaussian_density(mesh, np.zeros(2), np.eye(2), "average")
    moved = (gaussian_density(mesh, np.array([1e-3, 0]), np.eye(2), "average") - rho) / 1e-3
    assert geometry.norm(mesh, rho, moved) == pytest.approx(1.0, abs=5e-3)


def test_no_length_is_below_the_distance():
    """50 random curves: 38 on lines, against quantiles, 12 in the plane, against the lower bounds of W2."""
    random, shorter = np.random.default_rng(20), 0
    for number in range(50):
        steps = int(random.integers(1, 5))
        if number < 38:
            mesh = Graded((0.0,), (1.0,), (int(random.integers(3, 40)),), (float(random.uniform(0.3, 3)),)).build()
            path = random.exponential(size=(steps + 1, mesh.cells)) ** random.uniform(0.5, 3)
        else:
            mesh = Box((-1.0, 0.0), (1.0, 1.0), (12, 12)).build()
            waves = random.normal(size=(steps + 1, 5, 2)) * 4.0
            phases = random.uniform(0, 6, size=(steps + 1, 5))
            path = np.exp(2.0 * np.sin(waves @ mesh.centre.T + phases[..., None]).mean(axis=1))
        path /= (path @ mesh.volume)[:, None]
        found = geometry.curve(mesh, np.cumsum(random.uniform(0.1, 1, steps + 1)), path)
        if number < 38:
            least = distance_1d(mesh.edges[0], path[0], path[-1])
            each = [distance_1d(mesh.edges[0], a, b) for a, b in pairwise(path)]
            assert (found.step_upper >= np.array(each) * (1 - 1e-12)).all()
        else:
            least = wasserstein.bounds(mesh, path[0], path[-1], width=0.1).lower
        assert found.length_upper >= least * (1 - 1e-12), number
        assert found.w2_upper >= found.length_upper * (1 - 1e-12)
        shorter += found.length < least
    assert shorter < 50, "the plain discrete length is no bound, and is none in places"


def own(cells=(24, 20), steps=4, extra=0.0):
    """A translation on a grid with the fluxes of least action, and a rotation of no divergence added to them."""
    mesh = Box((-4.0, -3.0), (4.0, 3.0), cells).build()
    times = np.linspace(0, 1, steps + 1)
    path = np.stack([gaussian_density(mesh, np.array([time - 0.5, 0]), 0.5 * np.eye(2), "average") for time in times])
    path /= (path @ mesh.volume)[:, None]
    flux = np.stack([geometry.tangent(mesh, 0.5 * (a + b), (b - a) * steps).flux for a, b in pairwise(path)])
    nx, ny = cells
    stream = np.zeros((ny + 1, nx + 1))
    stream[1:-1, 1:-1] = extra * np.exp(-np.add.outer(np.linspace(-3, 3, ny - 1) ** 2, np.linspace(-4, 4, nx - 1) ** 2))
    m_x = flux[:, : ny * (nx - 1)].reshape(steps, ny, nx - 1) / (6.0 / ny) + np.diff(stream, axis=0)[:, 1:-1] / (6 / ny)
    m_y = flux[:, ny * (nx - 1) :].reshape(steps, ny - 1, nx) / (8.0 / nx) - np.diff(stream, axis=1)[1:-1] / (8 / nx)
    return {"rho": path.reshape(steps + 1, ny, nx), "time": times, "m_x": m_x, "m_y": m_y}


BOX = """
mesh: {kind: box, lower: [-4, -3], upper: [4, 3], cells: [24, 20]}
flow: {kind: fokker-planck, epsilon: 1}
initial: {kind: uniform}
times: {end: 1, step: 0.1}
"""


def test_a_curve_of_ones_own(tmp_path, capsys):
    """Its action, residual and bound; a part of no divergence adds action and no residual; arrays, .npz and .nc."""
    (tmp_path / "box.yaml").write_text(BOX)
    for extra in (0.0, 0.05):
        arrays = own(extra=extra)
        np.savez(tmp_path / "own.npz", **arrays)
        assert command(tmp_path / "own.npz", "--case", tmp_path / "box.yaml", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        tangents, fluxes = found["tangents"], found["fluxes"]
        assert fluxes["residual"] <= 1e-14
        assert fluxes["fault"] == ""
        assert 1.0 < fluxes["length_upper"] <= fluxes["w2_upper"]
        if extra:
            assert fluxes["action"] > 1.02 * tangents["action"]
            assert fluxes["continuum_action"] > 1.02 * tangents["continuum_action"]
            assert found["w2_upper"] == tangents["length_upper"]
        else:
            assert fluxes["action"] == pytest.approx(tangents["action"], rel=1e-10)
    ds = xarray.Dataset(
        {
            "rho": (("time", "y", "x"), arrays["rho"]),
            "m_x": (("interval", "y", "a"), arrays["m_x"]),
            "m_y": (("interval", "b", "x"), arrays["m_y"]),
        },
        {"time": arrays["time"]},
    )
    again = fvflow.measure(ds, case=Case.parse(BOX))
    assert again.json["fluxes"] == fluxes
    ds.to_netcdf(tmp_path / "own.nc")
    assert command(tmp_path / "own.nc", "--case", tmp_path / "box.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fluxes"] == fluxes
    mesh = Case.parse(BOX).mesh.build()
    total = np.concatenate([arrays["m_x"].reshape(4, -1), arrays["m_y"].reshape(4, -1)], axis=1) * mesh.area
    by_face = xarray.Dataset({"rho": ds.rho, "flux_mean": (("time", "face"), np.vstack([total[:1] * np.nan, total]))})
    assert fvflow.measure(by_face, case=Case.parse(BOX)).json["fluxes"] == fluxes


def test_fluxes_that_are_not_those_of_the_densities_prove_nothing(tmp_path, capsys):
    arrays = own()
    arrays["m_x"] = 1.001 * arrays["m_x"]
    np.savez(tmp_path / "own.npz", **arrays)
    (tmp_path / "box.yaml").write_text(BOX)
    assert command(tmp_path / "own.npz", "--case", tmp_path / "box.yaml", "--action") == 0
    text = capsys.readouterr().out
    assert "continuity is violated by" in text
    assert "no bound of W2 follows" in " ".join(text.split())
    assert "not known" in text
    assert "speed" not in text
    assert command(tmp_path / "own.npz", "--case", tmp_path / "box.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fluxes"]["w2_upper"] is None
    assert found["fluxes"]["residual"] > 1e-6
    assert found["w2_upper"] == found["tangents"]["length_upper"] > 1.0


def test_parts_of_the_table_and_what_is_missing(tmp_path, capsys):
    Case.parse(LINE).write(tmp_path / "r.nc")
    assert command(tmp_path / "r.nc", "--length") == 0
    text = capsys.readouterr().out
    assert "sum of bounds of W2" in text
    assert "action" not in text
    assert command(tmp_path / "r.nc") == 0
    text = capsys.readouterr().out
    assert "speed, t = 0.25 to 0.5" in text
    assert "speed, t = 1 " in text
    assert "missing" not in text
    found = fvflow.measure(Case.parse(LINE).replace({"output": {}}).run())
    assert found.by_fluxes is None
    assert found.hint == "mean fluxes; set output: {fluxes: true}"
    assert ("missing", found.hint) in found.rows()
    assert dict(found.rows(("length",)))["length"].endswith("not stored")
    waves = Case.read("cases/hamilton-jacobi-1d.yaml").replace({"mesh.cells": [40], "checks": {}}).run()
    assert "which are stored by flows fokker-planck" in fvflow.measure(waves).hint


def test_a_geodesic_has_its_distance_as_length():
    ds = Case.parse("""
        mesh: {kind: box, lower: [0, 0], upper: [1, 1], cells: [10, 8]}
        flow: {kind: transport, target: {kind: expression, density: 1 + 0.5*cos(pi*y)}, intervals: 8}
        initial: {kind: expression, density: 1 + 0.8*cos(pi*x)}
        """).run()
    found = fvflow.measure(ds)
    assert found.by_fluxes.residual <= 1e-9
    assert found.by_fluxes.length == pytest.approx(ds.attrs["w2"], rel=0.02)
    assert found.length_upper >= ds.attrs["w2_lower"]


def test_single_precision_periodic_axes_and_other_meshes(tmp_path):
    single = fvflow.measure(Case.parse(LINE).replace({"output.precision": "single"}).run())
    double = fvflow.measure(Case.parse(LINE).run())
    assert single.length == pytest.approx(double.length, rel=1e-5)
    assert "continuity is violated" in single.by_fluxes.fault
    assert not single.by_tangents.fault
    ring = Case.parse(LINE.replace("cells: [80]", "cells: [80], periodic: [x]").replace("0.5*x**2", "cos(pi*x/6)"))
    run = ring.run()
    found, edges = fvflow.measure(run), np.linspace(-6, 6, 81)
    least = distance_on_circle(edges, run.rho.values[0], run.rho.values[-1])
    assert least <= found.length_upper <= found.by_fluxes.w2_upper < 1.2 * least
    disc = Case.read("cases/disc-ou.yaml").replace({"checks": {}, "times.end": 0.1, "times.save": 0.05})
    disc.write(tmp_path / "disc.nc")
    found = fvflow.measure(fvflow.read(tmp_path / "disc.nc"))
    assert found.by_tangents.residual < 1e-13
    assert "no bound of W2 follows on this mesh" in found.by_tangents.fault
    assert found.w2_upper == np.inf


def test_no_length_on_a_torus_is_below_the_distance():
    """A mass that goes across the seam, by momenta on the faces of which the last joins both ends."""
    random, mesh = np.random.default_rng(21), Box((0.0,), (1.0,), (24,), periodic=("x",)).build()
    case = Case.parse("""
        mesh: {kind: box, lower: [0], upper: [1], cells: [24], periodic: [x]}
        flow: {kind: fokker-planck, epsilon: 1}
        initial: {kind: uniform}
        times: {end: 1, step: 0.1}
        """)
    for _ in range(20):
        path = random.exponential(size=(3, 24)) + 0.1
        path /= (path @ mesh.volume)[:, None]
        through = random.normal(size=(2, 1)) - np.cumsum(np.diff(path, axis=0) * mesh.volume, axis=1)
        ds = xarray.Dataset({"rho": (("time", "x"), path), "m_x": (("interval", "face"), through)}, {"time": [0, 1, 2]})
        found = fvflow.measure(ds, case=case)
        assert found.by_fluxes.residual <= 1e-14
        least = distance_on_circle(mesh.edges[0], path[0], path[-1])
        for each in (found.by_fluxes, found.by_tangents):
            assert each.w2_upper * (1 + 1e-12) >= each.length_upper >= least * (1 - 1e-12)


def test_fronts_have_bounds_and_leaps_over_vacuum_have_none():
    """Densities that begin or end at 0 are joined by sin^2 in time; in a cell that stays empty nothing may move."""
    mesh, random = Box((0.0,), (1.0,), (12,)).build(), np.random.default_rng(22)
    for _ in range(40):
        path = random.exponential(size=(3, 12))
        path[0, 7:], path[1, 9:], path[2, :3] = 0.0, 0.0, 0.0
        path /= (path @ mesh.volume)[:, None]
        found = geometry.curve(mesh, [0, 1, 3], path)
        for k in range(2):
            assert found.step_upper[k] >= distance_1d(mesh.edges[0], path[k], path[k + 1]) * (1 - 1e-12)
        assert found.length_upper < np.inf
    assert geometry.curve(mesh, [0, 1], path[:1].repeat(2, axis=0)).w2_upper == 0
    path = np.zeros((2, 12))
    path[0, [0, 11]], path[1, [0, 11]] = (8.0, 4.0), (4.0, 8.0)
    through = geometry.curve(mesh, [0, 1], path, np.full((1, 11), 4.0 / 12))
    assert through.residual < 1e-15
    assert through.w2_upper == np.inf
    assert through.fault == "mass moves where there is none, so that the action is infinite: no bound of W2 follows"


def integral(begin, end, share, rate):
    """int s'^2/((1 - s) a + s b) dt by quadrature."""
    return quad(lambda t: rate(t) ** 2 / ((1 - share(t)) * begin + share(t) * end), 0, 1)[0]


@pytest.mark.parametrize(
    ("begin", "end"), [((1.0, 1.0), (1.2, 0.8)), ((2.0, 0.0), (1.0, 1.0)), ((1.9, 0.1), (0.1, 1.9))]
)
def test_the_two_ways_through_an_interval_in_closed_form(begin, end):
    """int |m|^2/rho of a step, rho = (1 - s) a + s b and m = s' M: the lesser of both is taken."""
    ways = [(lambda t: np.sin(0.5 * np.pi * t) ** 2, lambda t: 0.5 * np.pi * np.sin(np.pi * t))]
    if min(begin) > 0:
        ways.append((lambda t: t, lambda t: 1.0))
    squares = [sum(integral(a, b, *way) for a, b in zip(begin, end, strict=True)) for way in ways]
    found = geometry.curve(Box((0.0,), (1.0,), (2,)).build(), [0, 1], np.array([begin, end]))
    through = 0.5 * (end[1] - begin[1])
    assert found.continuum_action == pytest.approx(min(squares) * 0.5 * through**2 / 3, rel=1e-9)


def dataset(**changes):
    arrays = own() | changes
    given = {name: values for name, values in arrays.items() if values is not None}
    dims = {"rho": ("time", "y", "x"), "m_x": ("interval", "y", "a"), "m_y": ("interval", "b", "x"), "time": ("time",)}
    return xarray.Dataset({name: (dims[name][: np.ndim(values)], values) for name, values in given.items()})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m_y": None}, r"m_y is missing; give m_x, m_y, 0 where nothing moves"),
        ({"m_x": np.zeros((4, 20, 24))}, r"m_x has the shape \(4, 20, 24\); give \(4, 20, 23\), one row for each"),
        ({"m_x": np.zeros((3, 20, 23)), "m_y": None}, r"m_x has the shape \(3, 20, 23\); give \(4, 20, 23\)"),
        ({"m_y": np.full((4, 19, 24), np.nan)}, "m_y is not finite"),
        ({"rho": np.ones((5, 20, 24)) * np.arange(1, 6)[:, None, None]}, "a curve keeps its mass"),
        ({"rho": -own()["rho"]}, "the density is -"),
    ],
)
def test_what_is_no_curve_is_refused(changes, message):
    with pytest.raises(CaseError, match=message):
        fvflow.measure(dataset(**changes), case=Case.parse(BOX))


def test_results_that_have_no_curve_are_refused():
    with pytest.raises(CaseError, match="no case, so that its equation is not known; give the case"):
        fvflow.measure(dataset())
    with pytest.raises(CaseError, match="the 1 times of the dataset have to be two at least"):
        fvflow.measure(Case.parse(LINE).run().isel(time=[0]))
    open_ = Case.parse(LINE).replace({"walls": {"left": "absorbing", "right": "absorbing"}, "times.end": 3.0})
    with pytest.raises(CaseError, match="the masses go from"):
        fvflow.measure(open_.replace({"flow.potential": "x"}).run())
