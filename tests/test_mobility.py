"""Gradient flows with a mobility field: the linear equation with D = eps M, equilibria, energies, refusals."""

import json

import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from tests.contracts import assert_order

M = "(1.5 + sin(3*x))"
V = "(x**4/4 - x**2/2)"
STEPPERS = {
    "ljko": ({"kind": "ljko"}, 1),
    "jko": ({"kind": "jko"}, 1),
    "implicit-euler": ({"kind": "implicit-euler"}, 1),
    "midpoint": ({"kind": "midpoint"}, 2),
    "evbdf2": ({"kind": "evbdf2"}, 2),
}
START = {"kind": "gaussian", "mean": [0.3], "covariance": [[0.2]]}


def case(flow, cells=100, step=0.02, end=0.4, mesh=None, **rest):
    mesh = mesh or {"kind": "graded", "lower": [-2.5], "upper": [2.5], "cells": [cells], "ratio": [2]}
    values = {"mesh": mesh, "flow": flow, "initial": START, "times": {"end": end, "step": step, "save": end}, **rest}
    return Case.parse(json.dumps(values))


def gradient(stepper, mobility=M, epsilon=0.3, potential=V):
    energy = [{"kind": "entropy", "epsilon": epsilon}, {"kind": "potential", "potential": potential}]
    return {"kind": "gradient-flow", "energy": energy, "mobility": mobility, "stepper": stepper}


def linear(mobility=M, epsilon=0.3, potential=V):
    """The same equation: D = eps M, and a drift by -(D/eps) grad V."""
    value = mobility if isinstance(mobility, list) else [mobility]
    diffusion = {"value": [f"{epsilon}*({part})" for part in value], "convention": "isothermal", "temperature": epsilon}
    return {"kind": "fokker-planck", "diffusion": diffusion, "potential": potential, "stepper": {"kind": "tr-bdf2"}}


@pytest.mark.parametrize("name", STEPPERS)
def test_it_is_the_linear_equation_with_diffusion_eps_times_mobility(name):
    """In steps of half the length on cells of half the size."""
    stepper, order = STEPPERS[name]
    errors = []
    for cells, step in ((50, 0.04), (100, 0.02), (200, 0.01)):
        found, best = (
            case(flow, cells, length).run() for flow, length in ((gradient(stepper), step), (linear(), step / 20))
        )
        width = np.diff(found.x.values).mean()
        errors.append(width * float(abs(found.rho[-1] - best.rho[-1]).sum()))
        assert found.attrs["energy_increase"] <= 0
        assert found.attrs["energy_defect"] <= (1e-10 if name in ("ljko", "jko", "implicit-euler") else np.inf)
        assert found.attrs["fallbacks"] == 0
    assert errors[-1] < 0.02
    assert_order([4, 2, 1], errors, order, 0.45)


@pytest.mark.parametrize("name", STEPPERS)
def test_the_equilibrium_is_that_without_a_mobility(name):
    """exp(-V/eps) stays, and is where the flow ends."""
    stepper, _ = STEPPERS[name]
    exact = {"kind": "gibbs"}
    kept = case(gradient(stepper), end=1, step=0.1, initial={"kind": "gibbs"}, exact=exact).run()
    assert float(kept.error_l1[-1]) <= 1e-9
    assert kept.attrs["energy_increase"] <= 1e-13
    far = case(gradient(stepper, potential="x**2/2"), end=60, step=2, exact=exact).run()
    assert float(far.error_l1[-1]) <= 1e-5


def test_a_diagonal_mobility_in_the_plane():
    """Porous medium beside entropy; the mean of x relaxes at the rate of its own axis."""
    mesh = {"kind": "box", "lower": [-4, -4], "upper": [4, 4], "cells": [40, 40]}
    start = {"kind": "gaussian", "mean": [0.5, 0.5], "covariance": [[0.4, 0], [0, 0.4]]}
    flow = gradient({"kind": "ljko"}, ["2", "0.5"], 0.5, "(x**2 + y**2)/2")
    flow["energy"].append({"kind": "porous-medium", "exponent": 2})
    ds = case(flow, mesh=mesh, end=0.5, step=0.01, initial={**start, "mass": 1}).run()
    assert float(ds["mean"][-1, 0]) == pytest.approx(0.5 * np.exp(-1.0), rel=0.02)
    assert float(ds["mean"][-1, 1]) == pytest.approx(0.5 * np.exp(-0.25), rel=0.02)
    assert ds.attrs["energy_increase"] < 0
    assert ds.attrs["mass_drift"] <= 1e-14


def test_a_number_is_a_change_of_time():
    slow = case(gradient({"kind": "jko"}, 1), end=0.4, step=0.04).run()
    fast = case(gradient({"kind": "jko"}, 4), end=0.1, step=0.01).run()
    np.testing.assert_allclose(fast.rho[-1], slow.rho[-1], rtol=1e-6, atol=1e-9)
    none = case({**gradient({"kind": "jko"}), "mobility": None}, end=0.4, step=0.04).run()
    assert np.array_equal(none.rho[-1], slow.rho[-1])


def test_w2_promises_nothing_with_a_mobility():
    assert "evi_defect" in case({**gradient({"kind": "ljko"}), "mobility": None}).run().attrs
    assert "evi_defect" not in case(gradient({"kind": "ljko"})).run().attrs
    ring = {"kind": "box", "lower": [-2.5], "upper": [2.5], "cells": [50], "periodic": ["x"]}
    told = case(gradient({"kind": "ljko"}, "3 + x", potential="0*x"), mesh=ring).check()
    assert "mobility 3 + x is 0.5 at the lower end" in told["seam"]


TRIANGLES = {
    "kind": "gmsh",
    "geometry": 'SetFactory("OpenCASCADE"); Rectangle(1) = {-2, -2, 0, 4, 4}; Mesh.MeshSizeMax = 0.5;',
}


@pytest.mark.parametrize(
    ("flow", "rest", "told"),
    [
        (gradient({"kind": "ljko"}, "x"), {}, "mobility x is -2.4.* it has to be at least 0 everywhere"),
        (gradient({"kind": "ljko"}, "0*x"), {}, "mobility is 0 on 99 faces; it has to be above 0 everywhere"),
        (gradient({"kind": "ljko"}, ["1", "x"]), {}, "mobility has 2 entries in 1 dimensions; give one per axis"),
        (gradient({"kind": "ljko"}, "1 + t"), {}, "t"),
        (gradient({"kind": "ljko"}, ["1", "2"]), {"mesh": TRIANGLES}, "mobility differs between directions"),
        (gradient({"kind": "ljko"}, potential="x**2"), {"exact": {"kind": "gaussian"}}, "a mobility"),
    ],
)
def test_mobilities_without_a_meaning_are_refused(flow, rest, told):
    with pytest.raises(CaseError, match=told):
        case(flow, **{"initial": {"kind": "uniform"} if "mesh" in rest else START, **rest}).prepare()


def test_at_points_the_velocity_with_a_mobility_is_refused_unless_it_is_stored():
    plain = fvflow.at(case(gradient({"kind": "ljko"})).run())
    assert plain.density([[0.1]], 0.0) > 0
    with pytest.raises(CaseError, match=r"a mobility that is known on faces only; store it with output: \{velocity"):
        plain.velocity([[0.1]], 0.0)
    stored = case(gradient({"kind": "ljko"}), output={"velocity": True}).run()
    assert np.isfinite(fvflow.at(stored).velocity([[0.1]], 0.0)).all()


def test_between_saves_log_rho_with_a_mobility_is_a_cubic_by_the_rates_of_the_scheme():
    flow = gradient({"kind": "midpoint"})
    rare = case(flow, step=0.005, end=0.4, times={"end": 0.4, "step": 0.005, "save": 0.1}).run()
    often = case(flow, step=0.005, end=0.4, times={"end": 0.4, "step": 0.005, "save": 0.05}).run()
    x = np.linspace(-1.5, 1.5, 50)[:, None]
    exact = fvflow.at(often).log_density(x, 0.35)
    errors = [np.abs(fvflow.at(rare, in_time=way).log_density(x, 0.35) - exact).max() for way in ("hermite", "linear")]
    assert errors[0] < 0.1 * errors[1]


def test_points_are_pushed_by_the_fluxes_where_there_is_no_velocity_at_points():
    ds = case(gradient({"kind": "ljko"}), output={"fluxes": True}).run()
    assert fvflow.push(ds, [[0.1]], 0.0, 0.4).method == "exact"
