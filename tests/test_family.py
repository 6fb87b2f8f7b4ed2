"""Families: members are the single cases, to the last bit, whatever is shared between them."""

import json

import numpy as np
import pytest

import fvflow
from fvflow.case.members import FIGURES
from fvflow.errors import CaseError
from fvflow.parallel.alone import added
from fvflow.sums import _products, _with_numpy, compiled_inner, inner
from tests.family_cases import SHAPES, base, random_changes


def alone(case):
    """The densities (time, cell) of a case that is run with a watcher, which sees every step, and its figures."""
    ds = case.run(watch=lambda state: None)
    return ds.rho.values.reshape(ds.sizes["time"], -1), [ds.attrs.get(name, np.nan) for name in FIGURES]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_random_members_are_their_single_runs_to_the_last_bit(shape, threads):
    cells, count = SHAPES[shape], 32 if shape == "2D" else 18
    family = base(cells).vary(random_changes(len(cells), count, seed=0))
    members = family.run(threads=threads)
    for number in range(count)[:: 1 if shape == "2D" else 6]:
        density, figures = alone(family.case(number))
        np.testing.assert_array_equal(members.density[number], density)
        assert [members.figures[name][number] for name in FIGURES] == figures


STEPPERS = [
    {"kind": "implicit-euler"},
    {"kind": "crank-nicolson"},
    {"kind": "tr-bdf2"},
    {"kind": "split-euler"},
    {"kind": "split-crank-nicolson"},
    {"kind": "chebyshev"},
    {"kind": "uniformisation"},
    {"kind": "muscl"},
]


@pytest.mark.parametrize("stepper", STEPPERS, ids=lambda stepper: stepper["kind"])
def test_members_of_every_linear_stepper_are_their_single_runs(stepper):
    family = base([12, 9], stepper).vary(random_changes(2, 2, seed=0))
    members = family.run(threads=2)
    for number in range(2):
        np.testing.assert_array_equal(members.density[number], alone(family.case(number))[0])


@pytest.mark.parametrize(
    "flow",
    [
        {"velocity": ["-y", "x"]},
        {"velocity": ["-y*cos(t)", "x"]},
        {"diffusion": {"value": "1 + 0.1*x**2", "convention": "ito"}},
        {"flux": {"kind": "upwind"}},
        {"flux": {"kind": "centred"}},
    ],
    ids=["rotation", "moving", "diffusion", "upwind", "centred"],
)
def test_members_that_cannot_leap_are_their_single_runs(flow):
    family = base([12, 9], **flow).vary({"parameters.k": [0.7, 1.4]})
    members = family.run()
    for number in range(2):
        density, figures = alone(family.case(number))
        np.testing.assert_array_equal(members.density[number], density)
        np.testing.assert_array_equal([members.figures[name][number] for name in FIGURES], figures)


@pytest.mark.parametrize("changes", [{"periodic": ["x"]}, {"walls": {"left": "absorbing"}}], ids=["periodic", "walls"])
def test_a_run_that_nobody_watches_is_the_watched_one(changes):
    document = dict(base([24, 16]).document.values)
    if "periodic" in changes:
        document["mesh"] = document["mesh"] | changes
        document["flow"] = document["flow"] | {"potential": "cos(pi*x/3) + k*y**2"}
    else:
        document |= changes
    case = fvflow.Case.parse(json.dumps(document))
    np.testing.assert_array_equal(case.run().rho.values.reshape(4, -1), alone(case)[0])


def test_leaps_tell_the_statistics_of_every_step():
    case = base([33, 17]).replace({"flow.epsilon": 0.02, "times.save": 0.3})  # Peclet numbers above 2
    leapt, stepped = case.run(), case.run(watch=lambda state: None)
    assert leapt.attrs["peclet_share"] > 0
    for name, value in stepped.attrs.items():
        assert name == "history" or np.array_equal(leapt.attrs[name], value), name
    for name in stepped.variables:
        np.testing.assert_array_equal(leapt[name].values, stepped[name].values)


def test_a_step_that_cannot_be_taken_is_told_as_without_leaps(monkeypatch):
    from fvflow.linalg.grid import leap_kernels

    case, asked = base([12, 9]), []
    monkeypatch.setattr(leap_kernels, "leap", lambda *arguments: asked.append(1))  # None: it needs a closer look
    np.testing.assert_array_equal(case.run().rho.values.reshape(4, -1), alone(case)[0])
    assert len(asked) == 3


def test_members_travel_at_once_or_by_steps_to_the_same_bits(monkeypatch):
    from fvflow.linalg.grid import leap_kernels

    family, asked, compiled = base([12, 9]).vary({"parameters.k": [0.7]}), [], leap_kernels.travel
    monkeypatch.setattr(leap_kernels, "travel", lambda *given: asked.append(compiled(*given)) or asked[-1])
    at_once = family.run()
    monkeypatch.setattr(leap_kernels, "travel", lambda *given: False)  # a step needs a closer look
    by_steps = family.run()
    assert asked == [True]
    assert at_once.figures["time_error"] > 0
    np.testing.assert_array_equal(at_once.density, by_steps.density)
    for name in FIGURES:
        np.testing.assert_array_equal(at_once.figures[name], by_steps.figures[name])


@pytest.mark.parametrize("size", [1, 31, 32, 33, 240, 4095, 4096, 4097, 9000])
def test_sums_have_the_same_bits_compiled_or_not(size):
    random = np.random.default_rng(size)
    a, b = random.random(size), random.standard_normal(size) * 10.0 ** random.integers(-20, 20, size)
    assert compiled_inner(a, b) == added(_with_numpy(a * b)) == added(_products(a, b)) == inner(a, b)
    assert abs(inner(a, b) - np.float64(np.sum(a.astype(np.longdouble) * b))) <= 1e-14 * float(np.abs(a) @ np.abs(b))


def test_values_of_members_are_those_of_their_cases():
    family = base([12, 9]).vary(random_changes(2, 3, seed=0))
    for number in range(3):
        assert family.values(number) == family.case(number).values


def test_a_parameter_that_numbers_are_made_of_changes_them_too():
    case = fvflow.Case.parse(json.dumps(dict(base([12, 9]).document.values) | {"parameters": {"k": 1.0, "T": 0.4}}))
    case = case.replace({"flow.epsilon": "T/2"})
    family = case.vary({"parameters.T": [0.4, 0.8]})
    members = family.run()
    for number, temperature in enumerate((0.4, 0.8)):
        assert family.case(number).flow.epsilon == temperature / 2
        np.testing.assert_array_equal(members.density[number], alone(family.case(number))[0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mesh.cells": [[3], [4]]}, "use fvflow sweep"),
        ({"flow.epsilom": [1, 2]}, "use fvflow sweep"),
        ({}, "a family needs members"),
        ({"parameters.k": [1, 2], "flow.epsilon": [1]}, "flow.epsilon has 1 values, another path 2"),
        ({"flow.epsilon": [1, -1]}, "expected a number >= 0, got -1"),
        ({"flow.epsilon": [1, "a"]}, 'expected a number, got "a"'),
        ({"flow.potential": ["x**2", "q**2"]}, "unknown name q"),
        ({"parameters.k": [1, float("nan")]}, "nan|NaN"),
        ({"initial": [{"kind": "gaussian", "mean": [0, 0], "covariance": [[1, 0], [0, -1]]}] * 2}, "positive definite"),
        ({"initial.mean.0": [0, 90]}, "outside the mesh"),
    ],
)
def test_members_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(CaseError, match=sentence):
        base([12, 9]).vary(changes).run()


def test_flows_without_steps_make_no_family():
    case = fvflow.Case.parse(
        "mesh: {kind: box, lower: [-3], upper: [3], cells: [20]}\n"
        "flow: {kind: stationary, potential: k*x**2, epsilon: 1}\nparameters: {k: 1}"
    )
    with pytest.raises(CaseError, match="flow stationary makes no trajectory"):
        case.vary({"parameters.k": [1, 2]})
