"""Full tensors of diffusion with open walls, absorbing cells, periodic axes and targets."""

import json

import numpy as np
import pytest

from fvflow import CaseError, duality
from fvflow.case import Case
from fvflow.mesh import Box, openings
from fvflow.problems.lattice import Lattice, _path
from tests.contracts import assert_order
from tests.test_tensor_diffusion import ROTATED, rows

TENSOR = {"value": [[0.5, 0.3], [0.3, 0.4]]}
SIDES = [{"wall": "left"}, {"wall": "right"}]


def case(kind, diffusion, mesh=None, rest=None, **flow):
    mesh = {"kind": "box", "lower": [0, 0], "upper": [1, 1.5], "cells": [20, 24], **(mesh or {})}
    return Case.parse(
        json.dumps({"mesh": mesh, "flow": {"kind": kind, "diffusion": diffusion, **flow}, **(rest or {})})
    )


PAIRS = {
    "numbers": ({"value": ["0.3", "0.7"]}, {"value": [["0.3", "0"], ["0", "0.7"]]}, {}),
    "ito": (
        {"value": ["2 + sin(2*pi*x)", "0.7 + y"], "convention": "ito"},
        {"value": [["2 + sin(2*pi*x)", "0"], ["0", "0.7 + y"]], "convention": "ito"},
        {},
    ),
    "temperature": (
        {"value": ["0.3", "0.7"], "temperature": 0.2},
        {"value": [["0.3", "0"], ["0", "0.7"]], "temperature": 0.2},
        {"potential": "cos(2*pi*x) + y"},
    ),
}


@pytest.mark.parametrize("periodic", [[], ["x"]])
@pytest.mark.parametrize("pair", PAIRS)
def test_a_diagonal_matrix_with_walls_is_the_list_of_its_entries(pair, periodic):
    """The links are then the faces; walls that absorb, in part too, and absorbing cells."""
    *both, drift = PAIRS[pair]
    walls = {"bottom": {"kind": "partial", "rate": 2}, "top": "absorbing"}
    walls = walls if periodic else {**walls, "left": {"kind": "partial", "rate": 0.5}}
    target = {"where": "(x - 0.5)**2 + (y - 0.7)**2 < 0.03"}
    mesh = {"periodic": periodic}
    one, other = (
        case("first-passage", value, mesh, {"walls": walls}, target=target, moments=2, **drift).run() for value in both
    )
    for name in ("mean_passage_time", "variance_passage_time", "splitting_where", "splitting_top", "splitting_bottom"):
        assert float(abs(one[name] - other[name]).max()) <= 1e-13 * float(one[name].max())
    assert "links)" in case("first-passage", both[1], mesh, {"walls": walls}, target=target).check()["walls"]


def test_a_matrix_that_is_negative_on_a_wall_is_refused_as_its_entries_are():
    """Beside the wall, at the centres, it is positive definite."""
    entries = {"value": ["x - 0.01", "1"], "convention": "ito"}
    for value in (entries, {**entries, "value": [["x - 0.01", "0"], ["0", "1"]]}):
        with pytest.raises(CaseError, match=r"diffusion x - 0.01 is -0.01 at x = 0, y = .*; it has to be at least 0"):
            case("first-passage", value, rest={"walls": {"left": "absorbing"}}).run()


def test_committors_of_a_diagonal_matrix_are_those_of_its_entries():
    """In balance, and in a wind; a matrix has no current through faces."""
    ends = {"from": {"where": "x + y < 0.4"}, "to": {"wall": "top"}}
    for pair, drift in (("temperature", {"potential": "x*y"}), ("numbers", {"velocity": ["1", "0.3"]})):
        one, other = (case("committor", value, **ends, **drift).run() for value in PAIRS[pair][:2])
        assert float(abs(one.committor - other.committor).max()) <= 1e-14
        assert other.attrs["rate"] == pytest.approx(one.attrs["rate"], rel=1e-13)
        assert other.attrs["rate_defect"] <= 1e-13


@pytest.mark.parametrize("tensor", [TENSOR["value"], rows(ROTATED + 1e-3 * np.eye(2))])
@pytest.mark.parametrize("rate", [None, 3.0])
def test_the_time_to_leave_a_strip(tensor, rate):
    """x(1 - x)/(2 D_xx) + 1/(2 kappa) in a strip that is periodic along y, however long the links are."""
    walls = {} if rate is None else {"walls": {side: {"kind": "partial", "rate": rate} for side in ("left", "right")}}
    errors = []
    for n in (32, 64, 128):
        mesh = {"periodic": ["y"], "cells": [n, n], "upper": [1, 1]}
        ds = case("first-passage", {"value": tensor}, mesh, walls, target=SIDES).run()
        exact = ds.x.values * (1 - ds.x.values) / (2 * tensor[0][0]) + (0 if rate is None else 0.5 / rate)
        time = ds.mean_passage_time.values
        assert np.ptp(time, axis=0).max() <= 1e-11 * time.max()
        errors.append(abs(time[0] - exact).max())
    assert_order([4, 2, 1], errors, 2, 0.3)


def test_the_time_to_leave_an_ellipse():
    """(1 - x.A x)/(2 tr(D A)) in x.A x < 1, whose rim is met in steps of the cells."""
    errors = []
    for n in (40, 80, 160):
        mesh = {"lower": [-1, -1], "upper": [1, 1], "cells": [n, n]}
        shape = "2*x**2 - x*y + 1.5*y**2"
        ds = case("first-passage", TENSOR, mesh, target={"where": f"{shape} > 1"}).run()
        x, y = np.meshgrid(ds.x, ds.y)
        time = (1 - (2 * x**2 - x * y + 1.5 * y**2)) / (2 * (0.5 * 2 - 0.3 * 0.5 * 2 + 0.4 * 1.5))
        errors.append(abs(ds.mean_passage_time.values - np.maximum(time, 0)).max())
    assert errors[-1] < 0.02 * time.max()
    assert errors[2] < 0.4 * errors[0]


@pytest.mark.parametrize("stepper", ["implicit-euler", "crank-nicolson", "tr-bdf2", "uniformisation"])
def test_what_is_absorbed_and_what_is_left_add_up(stepper):
    rest = {
        "walls": {"left": "absorbing", "top": {"kind": "partial", "rate": 2}},
        "absorbing": {"where": "(x - 0.7)**2 + (y - 0.4)**2 < 0.02"},
        "initial": {"kind": "uniform"},
        "times": {"end": 0.5, "step": 0.005, "save": 0.1},
    }
    diffusion = {"value": [["1 + x", "0.3"], ["0.3", "0.4"]], "convention": "ito"}
    ds = case("fokker-planck", diffusion, rest=rest, velocity=["y", "-x"], stepper={"kind": stepper}).run()
    absorbed = ds.absorbed_left + ds.absorbed_top + ds.absorbed_where
    assert float(abs(ds.survival + absorbed - 1).max()) <= 1e-14
    assert float(ds.rho.min()) >= 0
    assert 0 < float(ds.survival[-1]) < 0.3
    backward = case("backward", diffusion, rest=rest, velocity=["y", "-x"], stepper={"kind": stepper}, final="1 + x*y")
    assert duality(backward).step_change <= 1e-14


def test_the_quasi_stationary_state_of_a_strip():
    """cos(pi x) decays at pi^2 D_xx/L^2."""
    rates = []
    for n in (16, 32, 64):
        mesh = {"periodic": ["y"], "cells": [n, n], "upper": [1, 1]}
        rates.append(case("quasi-stationary", TENSOR, mesh, target=SIDES).run().attrs["quasi_stationary_rate"])
    assert_order([4, 2, 1], [abs(rate / (np.pi**2 * 0.5) - 1) for rate in rates], 2, 0.1)


def test_equilibria_and_moments_go_on_through_the_seam():
    """exp(-V/T) on a torus, and a tilt around it: the mean of x moves by D F/T, whatever the seam."""
    diffusion = {**TENSOR, "temperature": 0.7}
    rest = {"initial": {"kind": "gibbs"}, "times": {"end": 1, "step": 0.1}, "exact": {"kind": "gibbs"}}
    torus = {"periodic": ["x", "y"], "upper": [1, 1], "cells": [24, 30]}
    potential = "cos(2*pi*x)*sin(2*pi*y)"
    ds = case("fokker-planck", diffusion, torus, rest, potential=potential).run()
    assert float(ds.error_l1[-1]) <= 1e-13
    steady = case("stationary", diffusion, torus, potential=potential).run()
    assert float(abs(steady.rho[-1] - ds.rho[-1]).max()) <= 1e-12
    rolled = []
    for shift in (0, 7):
        start = {"kind": "expression", "density": f"exp(cos(2*pi*(x - {shift}/24)) + sin(2*pi*y))"}
        rest = {"initial": start, "times": {"end": 0.1, "step": 0.01}}
        rolled.append(case("fokker-planck", TENSOR, torus, rest, tilt=[1.0, 0.5]).run().rho.values[-1])
    assert abs(np.roll(rolled[0], 7, axis=1) - rolled[1]).max() <= 1e-13


def test_modes_of_a_torus():
    """exp(i k.x) decays at k.D k: the slowest is along (1, -1) for D_xy > 0."""
    errors = []
    for n in (16, 32, 64):
        torus = {"periodic": ["x", "y"], "upper": [1, 1], "cells": [n, n]}
        rate = case("spectrum", TENSOR, torus, count=1).run().attrs["rate_1"]
        errors.append(abs(rate / ((2 * np.pi) ** 2 * (0.5 + 0.4 - 0.6)) - 1))
    assert_order([4, 2, 1], errors, 2, 0.1)


def test_links_do_not_jump_over_thin_walls_of_cells():
    """A diagonal of absorbing cells, each touching the next by a corner only, parts the box."""
    mesh = {"cells": [20, 20], "upper": [1, 1]}
    diagonal = {"where": "abs(x - y) < 0.02"}
    for turn in (0.3, -0.3):
        diffusion = {"value": [[0.5, turn], [turn, 0.4]]}
        rest = {"walls": {"right": "absorbing"}}
        ds = case("first-passage", diffusion, mesh, rest, target=diagonal).run()
        x, y = np.meshgrid(ds.x, ds.y)
        assert float(ds.splitting_right.values[0][y > x].max()) == 0.0
        assert float(ds.splitting_right.values[0][y < x].max()) > 0.5


def test_paths_of_directions():
    assert [reached for _, reached, _ in _path((3, -2))] == [(1, 0), (1, -1), (2, -1), (2, -2), (3, -2)]
    assert [part for part, _, _ in _path((2, 0))] == [0.25, 0.75]
    mesh = Box(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(4, 5)).build()
    assert [int(part) for part in Lattice(mesh).beyond(np.array([0, 6]), (1, 1))[0]] == [5, 11]


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_parts_of_the_links_through_a_wall_make_up_its_area(dimension):
    root = np.random.default_rng(1).normal(size=(dimension, dimension))
    diffusion = {"value": rows(root @ root.T + 0.5 * np.eye(dimension))}
    size = {"lower": [0] * dimension, "upper": [1, 2, 1.5][:dimension], "cells": [16, 18, 20][:dimension]}
    given = case("stationary", diffusion, {**size, "periodic": ["y", "z"][: dimension - 1]})
    mesh = given.mesh.build()
    found = given.flow.problem(mesh, {}).diffusivity.opened(openings(mesh, {"left": np.inf, "right": 1.0}, {}))
    for group in range(2):
        assert found.area[found.group == group].sum() == pytest.approx(2 * 1.5 ** (dimension - 2), rel=1e-12)
    assert len(found.area) > 2 * mesh.cells / 16
