"""Observed orders of accuracy against closed forms; orders in time are in the contract of steppers."""

from typing import get_args

import numpy as np
import pytest
import yaml

from fvflow.fluxes import Flux
from fvflow.steppers import Chebyshev, LinearStepper, Muscl, Uniformisation
from tests.contracts import assert_order
from tests.scenes import final, ou

FLUXES = {kind.kind: kind for kind in get_args(Flux)}
OTHERS = (Muscl, Chebyshev, Uniformisation)  # tested on their own
STEPPERS = {kind.kind: kind for kind in get_args(LinearStepper) if kind not in OTHERS}
JKO = {
    "kind": "gradient-flow",
    "energy": [{"kind": "entropy", "epsilon": 0.8}, {"kind": "potential", "potential": "0.5*x**2"}],
}


SECOND = {1: ([100, 200, 400, 800], 0.002), 2: ([32, 64, 128], 0.01), 3: ([20, 30, 45], 0.02)}
FIRST = {1: ([400, 800, 1600], 0.002), 2: ([128, 256, 384], 0.02), 3: ([40, 60, 90], 0.05)}  # its range starts later


@pytest.mark.parametrize("flux", FLUXES)
@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_order_in_space(dimension, flux):
    order = FLUXES[flux].order
    cells, step = (SECOND if order == 2 else FIRST)[dimension]
    errors = []
    for count in cells:
        changes = {"flow__flux": {"kind": flux}, "flow__stepper": {"kind": "tr-bdf2"}}
        errors.append(final(ou(dimension, count, times={"end": 0.2, "step": step}, **changes))[2]["error_l1"])
    assert_order(1 / np.array(cells), errors, order, 0.15)


def test_ljko_converges_to_the_equation():
    """Refining h and tau together: first order towards the closed form, from the Fokker-Planck side no less."""
    errors = []
    for level in range(4):
        case = ou(1, 100 * 2**level, flow=JKO, times={"end": 0.4, "step": 0.04 / 2**level})
        errors.append(final(case)[2]["error_l1"])
    assert_order(1 / 2.0 ** np.arange(4), errors, 1.0, 0.15)


@pytest.mark.parametrize(
    ("stepper", "order"),
    [*((kind, STEPPERS[kind]().order) for kind in STEPPERS), ("split-crank-nicolson, richardson: true", 4)],
)
@pytest.mark.parametrize("moving", [False, True], ids=["steady", "moving"])
def test_adaptive_steps_of_every_linear_stepper(stepper, order, moving):
    """n steps of error tolerance each, ~ tolerance^(1/(p+1)) long: the end is off by tolerance^(p/(p+1)) about."""
    case = ou(1, 100, flow__potential="0.5*(x - sin(3*t))**2" if moving else "0.5*x**2")
    case = case.replace({"flow.stepper": yaml.safe_load(f"{{kind: {stepper}}}"), "exact": None, "times.save": 0.1})
    least = 1e-6 if order == 1 else 1e-10
    found = {}
    for tolerance in (least * 1e4, least * 1e2, least):
        rule = {"initial": 1e-3, "tolerance": tolerance}
        prepared, last, figures = final(case.replace({"times.step": rule}))
        assert last.time == 0.4
        assert figures["mass_drift"] <= 1e-14
        if prepared.positivity() == "unconditional":
            assert figures["minimum"] >= 0
        found[tolerance] = last.density, figures["steps"]
    fine = final(case.replace({"times.step": {"initial": 1e-3, "tolerance": least / 10}}))[1].density
    volume = prepared.mesh.volume
    errors = [float(volume @ np.abs(density - fine)) for density, _ in found.values()]
    counts = [count for _, count in found.values()]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    for tolerance, error, count in zip(found, errors, counts, strict=True):
        assert error <= tolerance * count
    assert counts[0] < counts[1] < counts[2]
