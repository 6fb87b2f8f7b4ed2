"""Particles: orders, walls, the law of jumps, and results that depend on nothing but the case and its seed."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray

import fvflow
from fvflow import jit
from fvflow.case import Case
from fvflow.cli import main
from fvflow.errors import CaseError, NumericsError
from fvflow.fields import DriftFunction
from fvflow.lagrangian import EulerMaruyama, jump_process
from fvflow.lagrangian.bands import chi_square_p
from fvflow.lagrangian.mesh_walk import MeshWalk
from fvflow.lagrangian.philox import NOISE, random_numbers
from fvflow.lagrangian.start import of_cells
from fvflow.lagrangian.stepping import StochasticHeun
from fvflow.lagrangian.walkers import Draw, Walkers
from fvflow.mesh import cells_of, openings
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.problems import State
from tests.meshes import SHAPES, acute

CASES = Path(__file__).parents[1] / "cases"
L_SHAPE = f"{{kind: gmsh, file: {CASES}/l-shape.msh}}"
LINE = "{kind: box, lower: [-20], upper: [20], cells: [400]}"
SQUARE = "{kind: box, lower: [0, 0], upper: [1, 1], cells: [12, 9]}"


def particles(flow, initial, times, mesh=LINE, more="", kind="particles"):
    lines = f"mesh: {mesh}", f"flow: {{kind: {kind}, {flow}}}", f"initial: {initial}", f"times: {{{times}}}", more
    return Case.parse("\n".join(lines))


def band(ds):
    return [float(ds.attrs[name]) for name in ("mean_deviation", "covariance_deviation")], float(ds.chi_square_p)


def assert_within_bands(ds):
    deviations, p = band(ds)
    assert max(deviations) < 4
    assert 1e-3 < p < 1 - 1e-6
    assert ds.attrs["mass_drift"] < 1e-14


OU = "epsilon: 0.5, potential: x**2/2"
START = "{kind: gaussian, mean: [2], covariance: [[0.3]]}"


@pytest.mark.parametrize("stepper", [EulerMaruyama(), StochasticHeun()])
def test_a_drift_of_ones_own_moves_particles_as_its_formula_does(stepper):
    """A drift answers for its values at points itself, whatever its class."""
    case = particles(f"{OU}, count: 100, stepper: {{kind: {stepper.kind}}}", START, "end: 1, step: 0.1")
    given = case.prepare().problem
    own = replace(given, drift=DriftFunction(lambda position, time: -position))
    stepper.check(own)
    moved = []
    for problem in (given, own):
        state = problem.with_walkers(State(0.0, problem.initial, 1.0), problem.started())
        moved.append(stepper.start(problem)(state, 0.1).particles["position"])
    assert moved[1] == pytest.approx(moved[0], abs=1e-12)


@pytest.mark.parametrize(("stepper", "order"), [("euler-maruyama", 1), ("stochastic-heun", 2)])
def test_weak_order_of_mean_variance_and_fourth_moment(stepper, order):
    """Ornstein-Uhlenbeck against its exact steps with the same noise, which takes out most of that of the sample."""
    count, errors, start = 20_000, [], "{kind: gaussian, mean: [3], covariance: [[1]]}"
    for length in (0.1, 0.05):
        flow = f"{OU}, count: {count}, seed: 11, stepper: {{kind: {stepper}}}"
        found = particles(flow, start, f"end: 1, step: {length}").run().position.values
        x, factor = found[0, :, 0], math.exp(-length)
        for step in range(round(1 / length)):
            noise = random_numbers(np.arange(count), 1, step, NOISE, 11, normal=True)[:, 0]
            x = factor * x + math.sqrt(0.5 * (1 - factor**2)) * noise
        differences = [found[-1, :, 0] ** power - x**power for power in (1, 2, 4)]
        errors.append([(each.mean(), each.std() / math.sqrt(count)) for each in differences])
    errors = np.array(errors)
    assert (errors[:, :, 1] < 0.1 * np.abs(errors[:, :, 0])).all(), "the sample is large enough to tell"
    observed = np.log2(errors[:-1, :, 0] / errors[1:, :, 0])
    np.testing.assert_allclose(observed[-1], order, atol=0.2)


def test_against_a_closed_form_the_bands_hold_and_tell_a_bias():
    flow = f"{OU}, count: 40000, stepper: {{kind: stochastic-heun}}"
    exact = "exact: {kind: gaussian}"
    assert_within_bands(particles(flow, START, "end: 1, step: 0.05", more=exact).run())
    (mean, covariance), p = band(
        particles(flow.replace("stochastic-heun", "euler-maruyama"), START, "end: 1, step: 0.2", more=exact).run()
    )
    assert mean > 4
    assert covariance > 4
    assert p < 1e-6


def test_a_reference_may_be_on_another_mesh(tmp_path):
    fine = LINE.replace("400", "600"), "kind: fokker-planck, stepper: {kind: tr-bdf2}"
    text = f"mesh: {fine[0]}\nflow: {{{fine[1]}, {OU}}}\ninitial: {START}\ntimes: {{end: 0.5, step: 0.01}}"
    Case.parse(text).write(tmp_path / "law.nc")
    flow = f"{OU}, count: 20000, stepper: {{kind: stochastic-heun}}, reference: {tmp_path}/law.nc"
    assert_within_bands(particles(flow, START, "end: 0.5, step: 0.05").run())
    with pytest.raises(CaseError, match=r"flow.reference: .*law.nc: has no time 0.7; the nearest is 0.5"):
        particles(flow, START, "end: 0.7, step: 0.05").prepare()


@pytest.mark.parametrize("convention", ["ito", "stratonovich", "isothermal"])
@pytest.mark.parametrize("stepper", ["euler-maruyama", "stochastic-heun"])
def test_conventions_of_diffusion_and_temperature(stepper, convention, tmp_path):
    """The equilibrium D^-c exp(-V/T), computed on the mesh without particles."""
    mesh = "{kind: box, lower: [0], upper: [6.283185307179586], cells: [24], periodic: [x]}"
    law = f"diffusion: {{value: 1 + 0.6*sin(x), convention: {convention}, temperature: 0.5}}, potential: 0.3*cos(x)"
    Case.parse(f"mesh: {mesh}\nflow: {{kind: stationary, {law}}}").write(tmp_path / "law.nc")
    flow = f"{law}, count: 8000, seed: 4, stepper: {{kind: {stepper}}}"
    ds = particles(flow, "{kind: uniform}", "end: 4, step: 0.08", mesh).run()
    with fvflow.read(tmp_path / "law.nc") as steady:
        expected = (steady.rho[-1] * steady.cell_length).values
    counts = np.rint(ds.rho[-1] * ds.cell_length * 8000).values
    assert chi_square_p(counts, 8000, expected / expected.sum()) > 1e-3


def test_a_table_moves_particles_as_the_expression_does_up_to_its_ends(tmp_path):
    """The table ends at the walls, and so do the differences that are its slope."""
    x = np.linspace(0, 1, 11)
    np.savetxt(tmp_path / "v.csv", np.stack([x, 2 * x - x**2], axis=1), delimiter=",", header="x,value", comments="")
    potentials = "2*x - x**2", f"{{kind: table, file: {tmp_path}/v.csv, method: cubic}}"
    mesh = "{kind: box, lower: [0], upper: [1], cells: [10]}"
    flows = (f"potential: {potential}, epsilon: 1, count: 20000" for potential in potentials)
    formula, table = (
        particles(flow, "{kind: uniform}", "end: 0.5, step: 0.05", mesh).run().position[-1] for flow in flows
    )
    assert np.abs(formula - table).max() < 1e-6


def test_a_velocity_needs_no_derivative():
    """gamma has none in the language; v = gamma(3) - x = 2 - x."""
    found = particles("epsilon: 0.5, velocity: [gamma(3 + 0*x) - x], count: 2000", START, "end: 1, step: 0.1").run()
    same = particles("epsilon: 0.5, velocity: [2 - x], count: 2000", START, "end: 1, step: 0.1").run()
    assert np.abs(found.position[-1] - same.position[-1]).max() < 1e-13


def test_one_diffusion_per_axis_is_that_of_the_axis():
    flow = "diffusion: {value: [0.2, 0.05]}, count: 20000"
    ds = particles(
        flow,
        "{kind: spike, at: [0, 0]}",
        "end: 1, step: 0.5",
        "{kind: box, lower: [-5, -5], upper: [5, 5], cells: [99, 99]}",
    ).run()
    variance = ds.position[-1].values.var(axis=0) - (10 / 99) ** 2 / 12
    np.testing.assert_allclose(variance, [0.4, 0.1], rtol=4 * math.sqrt(2 / 20000))


@pytest.mark.parametrize(
    "mesh", [SQUARE, L_SHAPE, f"{{kind: gmsh, file: {CASES}/ball.msh, centres: centroids}}"], ids=["box", "L", "ball"]
)
def test_a_uniform_density_stays_uniform_and_inside(mesh):
    """Steps of a third of the domain; in the L they go around the corner and not through it."""
    flow = "epsilon: 0.25, count: 20000, seed: 5"
    case = particles(flow, "{kind: uniform}", "end: 1, step: 0.25", mesh, "exact: {kind: gibbs}")
    ds = case.run()
    assert_within_bands(ds)
    assert (cells_of(case.mesh.build(), ds.position[-1].values) >= 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_places_and_walks_are_even_in_cells_of_every_shape(shape):
    """Steps as long as the domain, in cells that are convex; a particle is in its cell, and known to be."""
    mesh, count = SHAPES[shape](), 2000
    even = mesh.volume / mesh.volume.sum()
    place, cell = of_cells(mesh, np.ones(mesh.cells), count, 3)
    np.testing.assert_array_equal(cells_of(mesh, place), cell)
    deviation = np.sqrt((even @ (mesh.centre - even @ mesh.centre) ** 2) / count)
    assert (np.abs(place.mean(axis=0) - _integral(mesh) / mesh.volume.sum()) < 4.5 * deviation).all()
    if mesh.point_data:
        with pytest.raises(CaseError, match="it takes no control_volumes: nodes"):
            MeshWalk.of(mesh, None)
        return
    walk, walkers = MeshWalk.of(mesh, None), Walkers.at(place, cell, None)
    for step in range(2):
        noise = random_numbers(walkers.number, mesh.dimension, step, NOISE, 3, normal=True)
        displacement = 0.5 * np.ptp(mesh.points, axis=0).max() * noise
        assert walk.take(walkers, displacement, noise, 1.0, Draw(step, np.uint64(3))) == -1
        np.testing.assert_array_equal(cells_of(mesh, walkers.position), walkers.cell)
        assert chi_square_p(np.bincount(walkers.cell, minlength=mesh.cells), count, even) > 1e-3


def _integral(mesh):
    return np.array([mesh.integral(lambda at, part, a=axis: at[:, a], 2).sum() for axis in range(mesh.dimension)])


def test_no_particle_goes_through_the_corner_of_an_l():
    """Straight lines from one arm to the other one cross the corner that is missing; with reflections none does."""
    flow = "epsilon: 0, velocity: [-8, 8], count: 4000"
    initial = '{kind: expression, density: "where(x > 0.5, 1, 0)"}'
    case = particles(flow, initial, "end: 0.4, step: 0.2, save: 0.2", L_SHAPE)
    place = case.run().position
    mesh = case.mesh.build()
    straight = place[0].values + np.array([-1.6, 1.6])
    assert (cells_of(mesh, straight) < 0).mean() > 0.5
    assert (cells_of(mesh, place[1].values) >= 0).all()
    assert (cells_of(mesh, place[2].values) >= 0).all()


def test_absorbing_sides_of_a_box():
    """Brownian motion from x = 1/4 between sides that absorb, the survival of which is a series."""
    time, flow = 0.1, "epsilon: 1, count: 20000, seed: 2"
    mesh = "{kind: box, lower: [0, 0], upper: [1, 1], cells: [4, 4]}"
    initial = "{kind: uniform, lower: [0.25, 0], upper: [0.5, 1]}"
    walls = "walls: {left: absorbing, right: absorbing}"
    ds = particles(flow, initial, f"end: {time}, step: 0.01", mesh, walls).run()
    n = np.arange(1, 40)
    averages = 4 * (np.cos(0.25 * n * math.pi) - np.cos(0.5 * n * math.pi)) / (n * math.pi)
    decay = np.exp(-((n * math.pi) ** 2) * time) * 2 * (1 - np.cos(n * math.pi)) / (n * math.pi)
    expected = float(averages @ decay)
    found = float(ds.survival[-1])
    assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / 20000)
    last = ds.isel(time=-1)
    gone = last.absorbed_by.values >= 0
    assert found == pytest.approx(1 - gone.mean(), abs=1e-12)
    names = dict(enumerate(["left", "right"]))
    for number, name in names.items():
        there = last.position.values[last.absorbed_by.values == number, 0]
        assert (there == float(number)).all(), "they stay where they were absorbed"
        assert float(last[f"absorbed_{name}"]) == pytest.approx(len(there) / 20000, abs=1e-12)


DISC = f"{{kind: gmsh, file: {CASES}/disc.msh}}"


def robin_disc(rate, time):
    """What is left at a time of a uniform density in a disc of radius 5 with epsilon 1, and kappa 5/epsilon = rate."""
    from scipy.optimize import brentq
    from scipy.special import j0, j1, jn_zeros

    zeros = np.append(0.0, jn_zeros(1, 40))
    lower, upper = zeros[:-1] + 1e-9, zeros[1:]
    z = np.array([brentq(lambda x: x * j1(x) - rate * j0(x), a, b) for a, b in zip(lower, upper, strict=True)])
    return float((4 * rate**2 / (z**2 * (z**2 + rate**2)) * np.exp(-(z**2) * time / 25)).sum())


def robin_line(rate, time):
    """What is left of a uniform density on (0, 1) at epsilon t = time, with kappa/epsilon = rate at one end."""
    from scipy.optimize import brentq

    turns = np.arange(40) * math.pi
    z = np.array([brentq(lambda x: x * math.sin(x) - rate * math.cos(x), a, a + math.pi / 2) for a in turns])
    return float((2 * rate**2 / (z**2 * (z**2 + rate**2 + rate)) * np.exp(-(z**2) * time)).sum())


def assert_survival(ds, expected):
    found, count = float(ds.survival[-1]), ds.sizes["particle"]
    assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


@pytest.mark.parametrize("stepper", ["euler-maruyama", "stochastic-heun"])
@pytest.mark.parametrize(("rate", "wall"), [(1e9, "absorbing"), (2.5, "{kind: partial, rate: 0.5}")])
def test_the_wall_of_a_disc_absorbs_as_its_bessel_functions_say(rate, wall, stepper):
    """In two steps: what happens between their ends is drawn too. Those absorbed lie on the wall."""
    flow = f"epsilon: 1, count: 30000, seed: 3, stepper: {{kind: {stepper}}}"
    ds = particles(flow, "{kind: uniform}", "end: 2, step: 1", DISC, f"walls: {{wall: {wall}}}").run()
    assert_survival(ds, robin_disc(rate, 2.0))
    last = ds.isel(time=-1)
    radius = np.hypot(*last.position.values[last.absorbed_by.values >= 0].T)
    assert 4.99 < radius.min() <= radius.max() < 5 + 1e-12


@pytest.mark.parametrize("mesh", [SQUARE, "square.msh"])
def test_a_side_that_absorbs_in_part_does_so_in_steps_of_any_length(mesh, tmp_path):
    """A quarter of them would be absorbed in a step; elastic Brownian motion on a half line is exact."""
    if mesh != SQUARE:
        import meshio

        meshio.write_points_cells(tmp_path / mesh, *[acute(2)[0], [("triangle", acute(2)[1])]])
        mesh = f"{{kind: meshio, file: {tmp_path}/{mesh}}}"
    initial, more = "{kind: uniform}", "walls: {left: {kind: partial, rate: 2}, top: {kind: partial, rate: 0.2}}"
    ds = particles("epsilon: 0.05, count: 40000", initial, "end: 0.2, step: 0.1", mesh, more).run()
    assert_survival(ds, robin_line(40.0, 0.01) * robin_line(4.0, 0.01))


ABSORBED = {
    "L, a wall": (L_SHAPE, "epsilon: 0.3, velocity: [1, -0.5]", "walls: {left: absorbing}"),
    "L, a partial wall": (L_SHAPE, "epsilon: 0.3, velocity: [1, -0.5]", "walls: {wall: {kind: partial, rate: 1}}"),
    "cells": (SQUARE, "epsilon: 0.1, velocity: [1, 0]", "absorbing: {where: 'x > 0.5'}\nwalls: {bottom: absorbing}"),
}


@pytest.mark.parametrize("name", ABSORBED)
def test_what_absorbs_particles_absorbs_the_density(name):
    """Finite volumes on the same mesh."""
    mesh, law, more = ABSORBED[name]
    times = "end: 0.2, step: 0.01"
    whole = particles(f"{law}, stepper: {{kind: tr-bdf2}}", "{kind: uniform}", times, mesh, more, "fokker-planck").run()
    ds = particles(f"{law}, count: 10000, seed: 8", "{kind: uniform}", times, mesh, more).run()
    assert_survival(ds, float(whole.survival[-1]))
    for name in (each for each in ds if each.startswith("absorbed_") and each != "absorbed_by"):
        expected = float(whole[name][-1])
        assert abs(float(ds[name][-1]) - expected) < 4 * math.sqrt(expected * (1 - expected) / 10000)


def test_the_wall_of_a_ball_absorbs_as_its_series_says():
    """With the radius of a ball of the volume of the mesh."""
    case = particles(
        "epsilon: 0.5, count: 20000",
        "{kind: uniform}",
        "end: 0.1, step: 0.05",
        f"{{kind: gmsh, file: {CASES}/ball.msh, centres: centroids}}",
        "walls: {sphere: absorbing}",
    )
    radius = (case.mesh.build().volume.sum() * 0.75 / math.pi) ** (1 / 3)
    n = np.arange(1, 50) * math.pi
    assert_survival(case.run(), float((6 / n**2 * np.exp(-(n**2) * 0.05 / radius**2)).sum()))


def test_cells_that_absorb_since_they_touch_a_wall_are_refused():
    """Triangles with a right angle have their centres on the side opposite to it."""
    points = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]])
    mesh = mesh_from_cells(points, np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]))
    with pytest.raises(CaseError, match=f"centres of 2 cells lie on an absorbing wall.*; {JUMP}, or other centres"):
        MeshWalk.of(mesh, openings(mesh, {"left": math.inf, "top": math.inf}, {}))


def test_no_particle_is_absorbed_through_a_wall():
    """A U with a slit narrower than a step: its right side absorbs, which those on the left do not see."""
    x, y = np.array([0.0, 0.24, 0.49, 0.51, 0.75, 1.0]), np.linspace(0.0, 1.0, 6)
    points = np.stack([part.ravel() for part in np.meshgrid(x, y)], axis=1)
    corners = [
        [row * 6 + column + at for at in (0, 1, 7, 6)]
        for row in range(5)
        for column in range(5)
        if column != 2 or row == 0
    ]
    used, numbers = np.unique(corners, return_inverse=True)
    mesh = mesh_from_cells(points[used], numbers.reshape(-1, 4))
    centre, outward = mesh.walls
    right = np.flatnonzero((np.abs(centre[:, 0] - 0.51) < 1e-9) & (outward[:, 0] < 0))
    mesh = replace(mesh, boundaries={"plate": right})
    opened = openings(mesh, {"plate": math.inf}, {})
    walk = MeshWalk.of(mesh, opened)
    left = np.stack([np.full(4000, 0.47), np.linspace(0.25, 0.9, 4000)], axis=1)
    for place, expected in ((left, 0.0), (np.array([1.0, 0.0]) - left * [1, -1], 1.0)):
        walkers = Walkers.at(place.copy(), cells_of(mesh, place), opened)
        deviation = np.full_like(place, 0.1)
        assert walk.take(walkers, np.zeros_like(place), deviation, 1.0, Draw(0, np.uint64(1))) == -1
        share = math.exp(-2 * 0.02**2 / 0.1**2) if expected else 0.0
        assert (walkers.group >= 0).mean() == pytest.approx(share, abs=0.02 * expected)


JUMPS = {
    "L, a wind": (L_SHAPE, "epsilon: 0.3, velocity: [1, -0.5], potential: x**2", ""),
    "L, a wall": (L_SHAPE, "epsilon: 0.3, velocity: [1, -0.5]", "walls: {wall: absorbing}"),
    "ring": (
        "{kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 6], periodic: [y]}",
        "epsilon: 0.2, tilt: [0, 1]",
        'walls: {left: {kind: partial, rate: 3}}\nabsorbing: {where: "x > 0.8"}',
    ),
    "moving": (
        "{kind: box, lower: [-2, -2], upper: [2, 2], cells: [9, 8]}",
        "epsilon: 0.3, potential: (x - 4*t)**2",
        "",
    ),
    "tensor": (
        "{kind: box, lower: [0, 0], upper: [1, 1], cells: [8, 8]}",
        'diffusion: {value: [["0.3", "0.1"], ["0.1", "0.2 + 0.1*x"]], convention: ito}',
        "",
    ),
}


@pytest.mark.parametrize("name", JUMPS)
def test_jumps_have_the_law_of_implicit_euler(name, tmp_path):
    """To the noise of the sample, in steps as long as you like; mass and what was absorbed add up."""
    mesh, law, more = JUMPS[name]
    initial = '{kind: expression, density: "where(x < 0.3, 1, 0.2)", mass: 1}'
    case = particles(law, initial, "end: 0.6, step: 0.2", mesh, more, kind="fokker-planck")
    case.write(tmp_path / "law.nc")
    flow = f"{law}, count: 30000, seed: 3, stepper: {{kind: jump}}, reference: {tmp_path}/law.nc"
    ds = particles(flow, initial, "end: 0.6, step: 0.2", mesh, more).run()
    assert_within_bands(ds)
    if more:
        with fvflow.read(tmp_path / "law.nc") as whole:
            expected = float(whole.survival[-1])
        assert abs(float(ds.survival[-1]) - expected) < 4 * math.sqrt(expected * (1 - expected) / 30000)


def test_a_step_of_many_jumps_is_left_and_its_time_foreseen(monkeypatch):
    """A trillion jumps of each particle: they come back to the interpreter, and `check` tells the years."""
    law = "epsilon: 0.1, count: 200, stepper: {kind: jump}"
    case = particles(law, "{kind: uniform, lower: [0, 0], upper: [1, 1]}", "end: 1e9, step: 1e9", SQUARE)
    assert re.match(r"about \S+ days, from one step of 1/\d+ the length", case.check()["time"])
    calls = []

    def counted(*arguments):
        calls.append(found := kernel(*arguments))
        if len(calls) == 3:
            raise KeyboardInterrupt  # as a signal would
        return found

    kernel = jump_process._jump
    monkeypatch.setattr(jump_process, "_jump", counted)
    with pytest.raises(KeyboardInterrupt):
        case.run()
    assert calls == [False] * 3


def test_jumps_do_not_depend_on_where_they_are_interrupted(monkeypatch):
    law = "epsilon: 0.1, count: 300, stepper: {kind: jump}"
    case = particles(law, "{kind: uniform, lower: [0, 0], upper: [1, 1]}", "end: 0.4, step: 0.2", SQUARE)
    whole = case.run()
    monkeypatch.setattr(jump_process, "_AT_ONCE", 7)
    np.testing.assert_array_equal(case.run().rho, whole.rho)


FLOWS = {
    "box": (SQUARE, "epsilon: 0.1, potential: x**2 + sin(3*y)", "walls: {left: absorbing}"),
    "L": (L_SHAPE, "epsilon: 0.1, velocity: [1, y]", ""),
    "absorbed": (L_SHAPE, "epsilon: 0.1, velocity: [1, y]", "walls: {left: absorbing, top: {kind: partial, rate: 1}}"),
    "heun": (SQUARE, "epsilon: 0.1, potential: x*y*cos(t), stepper: {kind: stochastic-heun}", ""),
    "jump": (L_SHAPE, "epsilon: 0.1, velocity: [1, t], stepper: {kind: jump}", "walls: {wall: absorbing}"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_depends_on_its_seed_and_not_on_threads_nor_on_being_stopped(name, tmp_path, monkeypatch):
    mesh, law, more = FLOWS[name]
    flow, times = f"{law}, count: 10000, seed: 7", "end: 0.2, step: 0.05, save: 0.1"
    case = particles(flow, "{kind: uniform}", times, mesh, more).replace({"output.checkpoint": {"steps": 1}})
    alone = case.run()
    monkeypatch.setattr(jit, "MIN_PARALLEL_CELLS", 1)
    monkeypatch.setattr(jit, "thread_limit", lambda: 2)
    xarray.testing.assert_identical(case.run().drop_attrs(), alone.drop_attrs())
    other = case.replace({"flow.seed": 8}).run()
    assert (other.position.values[-1] != alone.position.values[-1]).mean() > 0.9

    def stop(state):
        if state.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        case.write(tmp_path / "r.nc", stop)
    fvflow.resume(tmp_path / "r.nc")
    with fvflow.read(tmp_path / "r.nc") as resumed:
        xarray.testing.assert_identical(resumed.load().drop_attrs(), alone.drop_attrs())


def test_gaussians_are_sampled_themselves_and_other_densities_from_cells():
    mixture = (
        "{kind: mixture, components: [{mean: [-4], covariance: [[0.04]]}, {mean: [4], covariance: [[1]], weight: 3}]}"
    )
    mesh = "{kind: box, lower: [-20], upper: [20], cells: [200]}"
    x = particles("epsilon: 1, count: 40000", mixture, "end: 1, step: 1", mesh).run().position[0].values[:, 0]
    low, high = x[x < 0], x[x > 0]
    assert abs(len(high) / 40000 - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 40000)
    assert abs(low.var() / 0.04 - 1) < 4 * math.sqrt(2 / len(low)), "not that of cells, which is 0.043"
    assert abs(high.mean() - 4) < 4 / math.sqrt(len(high))
    ramp = "{kind: expression, density: x, mass: 1}"
    ds = particles(
        "epsilon: 1, count: 40000", ramp, "end: 1, step: 1", "{kind: box, lower: [0], upper: [1], cells: [10]}"
    ).run()
    assert abs(ds.position[0].values.mean() - (0.675 - 0.675 + 0.665)) < 4 * 0.25 / 200


JUMP = "use stepper: {kind: jump}"
NODES = L_SHAPE.replace("}", ", control_volumes: nodes}")
TENSOR = "diffusion: {value: [[2, 1], [1, 2]]}, count: 9"
CENTRED = "epsilon: 0.001, velocity: [1, 0], flux: {kind: centred}, stepper: {kind: jump}, count: 9"
NOWHERE = "epsilon: 1, reference: nowhere.nc, count: 9"
RADIAL = "{kind: radial, dimension: 2, outer: 1, cells: 8}"
RING = "{kind: box, lower: [0, 0], upper: [1, 1], cells: [4, 4], periodic: [y]}"
REFUSED = {
    "count": ("epsilon: 1, count: 0", SQUARE, "", "flow.count"),
    "seed": ("epsilon: 1, count: 9, seed: -1", SQUARE, "", "flow.seed"),
    "memory": ("epsilon: 1, count: 100000000", SQUARE, "", "100000000 particles need about .* are free; use fewer"),
    "radius": ("epsilon: 1, count: 9", RADIAL, "", f"it walks along straight lines, and x is a radius; {JUMP}"),
    "seam": ("epsilon: 1, count: 9", RING, 'absorbing: {where: "x > 0.5"}', f"beside a periodic axis .*; {JUMP}"),
    "nodes": ("epsilon: 1, count: 9", NODES, "", f"through convex cells with plane faces, and cell 2 is none; {JUMP}"),
    "regions": ("potential: inside(room), epsilon: 1, count: 9", L_SHAPE, "", f"regions .* no place at points; {JUMP}"),
    "tensor": (TENSOR, SQUARE, "", f"takes no full tensor of diffusion; {JUMP}"),
    "flux": ("epsilon: 1, flux: {kind: upwind}, count: 9", SQUARE, "", "uses no flux between cells; leave out flux"),
    "rates": (CENTRED, SQUARE, "", "which is no rate of jumps"),
    "reference": (NOWHERE, SQUARE, "", "nowhere.nc: .* give the .nc file of a run"),
    "both": (NOWHERE, SQUARE, "exact: {kind: gibbs}", "one of them is enough; leave out one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told(name, monkeypatch):
    monkeypatch.setattr("fvflow.flows.particles.available_memory", lambda: 2.0**30)
    flow, mesh, more, message = REFUSED[name]
    with pytest.raises(CaseError, match=message):
        particles(flow, "{kind: uniform}", "end: 1, step: 0.5", mesh, more).prepare()


def test_steps_chosen_by_error_are_refused():
    with pytest.raises(CaseError, match=r"times: particles move in steps that are given: write step: 0.01, say"):
        particles("epsilon: 1, count: 9", START, "end: 1, step: {initial: 0.1, tolerance: 1e-3}")


@pytest.mark.parametrize(
    ("velocity", "message"),
    [
        ("x**3*100", r"particle \d+ at x = [\d.-]+, t = 0.5: the velocity is .* leads across the whole mesh"),
        ("log(18 - x*t)", r"particle \d+ at x = [\d.-]+, t = [\d.]+: log\(18 - x\*t\) is nan at x = "),
    ],
)
def test_velocities_that_blow_up_end_the_run_with_particle_time_and_place(velocity, message, tmp_path, capsys):
    initial = "{kind: uniform, lower: [0.5], upper: [0.55]}" if "**" in velocity else "{kind: uniform}"
    mesh = LINE.replace("400", "4000")
    case = particles(f"epsilon: 0, velocity: ['{velocity}'], count: 100", initial, "end: 4, step: 0.5", mesh)
    with pytest.raises(NumericsError, match=message):
        case.run()
    (tmp_path / "c.yaml").write_text(case.text)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "c.nc")])
    assert ended.value.code == 4


@pytest.mark.parametrize(("count", "told"), [(6, True), (100, False)])
def test_a_chi_square_of_too_few_particles_is_told(count, told):
    ds = particles(f"{OU}, count: {count}", START, "end: 0.2, step: 0.1", more="exact: {kind: gaussian}").run()
    assert math.isnan(ds.attrs["chi_square_p"]) == told
    assert ("chi_square_p is not a number: too few particles" in ds.attrs["remarks"]) == told


@pytest.mark.parametrize("method", ["particles", "flow-map"])
def test_the_gradient_of_what_is_counted_is_no_score(method):
    flow = f"{OU}, count: 50" if method == "particles" else "tilt: [1], points: {kind: initial, count: 50}"
    message = f"rho of flow {method} is counted, and "
    case = particles(flow, START, "end: 0.2, step: 0.1", kind=method)
    with pytest.raises(CaseError, match=f"^{message}"):
        fvflow.at(case.run()).score([[0.5]], 0.1)
    with pytest.raises(CaseError, match=rf"output\.score: {message}"):
        particles(flow, START, "end: 0.2, step: 0.1", more="output: {score: true}", kind=method)


def test_check_tells_the_cost(tmp_path):
    found = particles("epsilon: 1, count: 5000000", START, "end: 1, step: 0.5").check()
    assert found["method"].startswith("5000000 particles, seed 0: Euler-Maruyama")
    assert found["result"] == "about 76.4 MiB"
    assert "MiB" in found["memory"]
    assert "time" not in found, "a step of so many is no trial"


def test_the_chi_square_test_merges_what_is_rare():
    expected = np.array([0.5, 0.4, 0.04, 0.03, 0.02, 0.009, 0.001])
    few = chi_square_p(np.array([52, 38, 4, 3, 2, 1, 0]), 100, expected)
    from scipy.stats import chisquare

    assert few == pytest.approx(chisquare([52, 38, 10], [50, 40, 10]).pvalue)
    assert math.isnan(chi_square_p(np.array([3.0]), 3, np.ones(1)))


def test_jumps_with_a_full_tensor_are_those_of_the_equation_beside_what_absorbs():
    """Links along diagonals end at walls and absorbing cells elsewhere than faces do."""
    text = (
        "mesh: {{kind: box, lower: [0, 0], upper: [1, 1], cells: [12, 12]}}\n"
        "flow: {{kind: {kind}, diffusion: {{value: [[1, 0.8], [0.8, 1]], convention: ito}}, {more}}}\n"
        "initial: {{kind: uniform}}\ntimes: {{end: 0.01, step: 0.01}}\n"
        "walls: {{left: absorbing}}\nabsorbing: {{where: 'x > 0.7'}}"
    )
    particles = Case.parse(text.format(kind="particles", more="count: 10, stepper: {kind: jump}")).prepare().problem
    equation = Case.parse(text.format(kind="fokker-planck", more="stepper: {kind: implicit-euler}")).prepare().problem
    np.testing.assert_array_equal(particles.coefficients(0.0), equation.coefficients(0.0))
    np.testing.assert_array_equal(particles.openings.cell, equation.openings.cell)
    np.testing.assert_array_equal(particles.leaks(0.0), equation.leaks(0.0))
