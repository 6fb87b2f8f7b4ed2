"""Numbers of a case that are expressions of its parameters."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from scipy import special

from fvflow.case import Case, json_schema
from fvflow.case.numbers import number
from fvflow.errors import CaseError
from fvflow.fields import Expression

CASE = """
mesh: {kind: box, lower: [-L], upper: [2*L], cells: [10*N]}
flow: {kind: fokker-planck, potential: k*x**2/2, epsilon: kT/zeta}
parameters: {zeta: 8*gamma, kT: 4.0, k: kT/gamma, gamma: 0.5, L: 2*sqrt(s), s: 0.25, N: 6, tau: 1/k, x0: s}
initial: {kind: gaussian, mean: [x0], covariance: [[s**2]]}
times: {end: 5*tau, step: tau/10, save: tau}
checks: {mass_drift: 1/10**12}
"""


def test_numbers_may_be_expressions_of_parameters_in_any_order():
    case = Case.parse(CASE)
    assert case.flow.epsilon == 4.0 / (8 * 0.5)
    assert (case.mesh.lower, case.mesh.upper, case.mesh.cells) == ((-1.0,), (2.0,), (60,))
    assert case.initial.covariance == ((0.0625,),)
    assert (case.times.end, case.times.step) == (5 / 8, 1 / 80)
    assert case.checks.mass_drift == 1e-12
    assert case.unused_parameters() == []
    assert "kT/zeta" in case.text, "the result keeps what was written"
    assert json.loads(json.dumps(case.values))["flow"]["epsilon"] == 1.0


def test_numbers_follow_a_parameter_that_is_set():
    changed = Case.parse(CASE, overrides={"parameters.s": "1"})
    assert changed.mesh.upper == (4.0,)
    assert changed.initial.mean == (1.0,)
    assert Case.parse(CASE).replace({"parameters.s": 1.0}).mesh.upper == (4.0,)


def test_a_case_with_numbers_as_expressions_runs_as_one_with_their_values():
    written = Case.parse(CASE)
    numbers = Case.parse(json.dumps(written.values))
    np.testing.assert_array_equal(written.run().rho, numbers.run().rho)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial.mean": "[y0]"}, 'initial.mean.0: expected a number, got "y0": unknown name y0'),
        ({"parameters.gamma": "zeta"}, "a circle of parameters: .*(gamma -> zeta -> gamma|zeta -> gamma -> zeta)"),
        ({"parameters.s": "s"}, "a circle of parameters: s -> s"),
        ({"parameters.k": "kT/0"}, 'parameters.k=kT/0: expected a number, got "kT/0": it is inf with kT = 4'),
        ({"parameters.k": "q"}, "unknown name q"),
        ({"parameters.k": "1 +"}, "not an expression"),
        ({"mesh.cells": "[N/4]"}, "expected a whole number, got .N/4.: it is 1.5 with N = 6, which is not a whole"),
        ({"flow.epsilon": "-kT"}, 'expected a number >= 0, got "-kT"'),
        ({"flow.epsilon": "inside(core)"}, "inside"),
        ({"flow.epsilon": "x"}, "unknown name x"),
        ({"flow.epsilon": "true"}, "expected a number, got true"),
        ({"parameters.gamma": "log(-1)"}, "it is nan"),
    ],
)
def test_an_expression_without_a_value_is_refused_where_it_stands(changes, message):
    with pytest.raises(CaseError, match=message) as caught:
        Case.parse(CASE, "f.yaml", changes)
    assert sum(not line.startswith(" ") for line in str(caught.value).splitlines()) == 1, "and nothing else is"


def test_a_fault_in_the_file_has_its_place():
    with pytest.raises(CaseError, match=r"f.yaml:3:55: flow.epsilon: expected a number, got .kT/z."):
        Case.parse(CASE.replace("kT/zeta}", "kT/z}").replace("k*x**2/2", "x**2"), "f.yaml")


def test_a_parameter_may_have_the_name_of_a_function():
    expression = Expression("gamma*gamma(x) + sign")
    assert expression.names == {"gamma", "x", "sign"}
    assert expression(x=4.0, gamma=2.0, sign=1.0) == 13.0
    with pytest.raises(CaseError, match=r"gamma is a function, write gamma\(...\), or declare a parameter"):
        Expression("gamma*x").require(frozenset("x"))


@pytest.mark.parametrize(
    ("name", "oracle"),
    {
        **dict.fromkeys(("sinh", "cosh", "log10", "log1p", "expm1", "sign", "floor"), np),
        "asin": np.arcsin,
        "acos": np.arccos,
        "atan": np.arctan,
        "lgamma": special.gammaln,
        **dict.fromkeys(("gamma", "erfc", "j0", "j1", "i0", "i1"), special),
    }.items(),
)
def test_functions(name, oracle):
    x = np.linspace(0.1, 0.9, 7)
    expected = oracle(x) if callable(oracle) else getattr(oracle, name)(x)
    np.testing.assert_array_equal(Expression(f"{name}(x)")(x=x), expected)


def test_atan2_knows_the_quadrant():
    assert Expression("atan2(y, x)")(x=-1.0, y=1.0) == pytest.approx(3 * np.pi / 4)


def test_the_schema_for_editors_allows_expressions():
    schema = json_schema()
    jsonschema.validate({**Case.parse(CASE).document.values}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**Case.parse(CASE).values, "flow": {"kind": "fokker-planck", "epsilon": -1}}, schema)


def test_a_case_made_in_python_holds_numbers():
    import dataclasses

    case = Case.parse(CASE)
    made = dataclasses.replace(case, initial=dataclasses.replace(case.initial, mass="k"))
    with pytest.raises(CaseError, match=r'initial.mass: expected a number, got "k"'):
        made.prepare()


@pytest.mark.parametrize(
    "text", ["a**b", "b**a", "a/b", "b/a", "-a**2", "sqrt(a)", "a*b*a*b", "a - b", "exp(b)", "floor(a/3)"]
)
@pytest.mark.parametrize(("a", "b"), [(2, -1), (10, 100), (2, 70), (10**20, 3), (-3, 2), (0, 5)])
def test_whole_numbers_are_computed_as_numbers(text, a, b):
    """As doubles: no overflow of integers, no integer powers."""

    def value(**given):
        try:
            return number(text, given)
        except CaseError:
            return "refused"

    assert value(a=a, b=b) == value(a=float(a), b=float(b))


@pytest.mark.parametrize("given", ["", "[1, 2]", "{a: 1}", "true", "~"])
def test_a_parameter_that_is_no_number_is_refused_at_its_place(given):
    with pytest.raises(CaseError, match=r"parameters\.D: expected a number"):
        Case.parse(CASE.replace("parameters: {", f"parameters: {{D: {given}, ").replace("kT/zeta", "D"))


def test_a_long_chain_of_parameters_is_refused():
    chain = ", ".join(f"a{i}: a{i + 1}" for i in range(990))
    with pytest.raises(CaseError, match="need each other in a row"):
        Case.parse(CASE.replace("parameters: {", f"parameters: {{{chain}, a990: 1, "))
