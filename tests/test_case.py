import dataclasses
import difflib
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import fvflow
from fvflow import flows
from fvflow.case import Case, Checks, checks, json_schema, models, schema
from fvflow.case.document import parse
from fvflow.case.messages import kind_of
from fvflow.case.python_case import well_formed
from fvflow.dataset.groups import SIDES
from fvflow.errors import CaseError, OutputError
from fvflow.flows import FLOWS, BaseFlow, BridgeFlow, FirstPassageFlow, FokkerPlanckFlow
from fvflow.times import Times
from tests.scenes import ou

GOOD = """
title: a case
mesh: {kind: box, lower: [-6], upper: [6], cells: [24]}
flow: {kind: fokker-planck, epsilon: 1.0, potential: 0.5*k*x**2}
initial: {kind: gaussian, mean: [1.5], covariance: [[0.3]]}
times: {end: 0.2, step: 0.1}
parameters: {k: 1.0}
"""
JKO = "{kind: gradient-flow, energy: [{kind: entropy, epsilon: 1}, {kind: potential, potential: x**2}]}"

BAD = [  # what to set, what is said
    ("mesh.cels", "[3]", r'mesh\.cels.*: unknown key; did you mean "cells"\?'),
    (
        "mesh.kind",
        "bocks",
        r"unknown kind bocks \(one of box, graded, radial, fipy, gmsh, meshio, ugrid, voronoi\)",
    ),
    ("mesh", "{lower: [0]}", "kind is missing; one of box, graded, radial, fipy"),
    ("mesh", "3", "expected a mapping, got 3"),
    ("mesh.cells", "[2.5]", "expected a whole number, got 2.5"),
    ("mesh.cells", "[0]", "expected a number >= 1, got 0"),
    ("mesh.cells", "[]", "expected at least 1 entries, got 0"),
    ("mesh.cells", "[1, 1, 1, 1]", "expected at most 3 entries"),
    ("mesh.cells", "24", r"expected a list like \[1, 2\], got 24"),
    ("mesh.cells", "[true]", "expected a whole number, got true"),
    ("mesh.lower", "[7]", "lower 7 is not below upper 6"),
    ("mesh.lower", "[6]", "lower 6 is not below upper 6"),
    ("mesh", "{kind: box, lower: [-1.7e308], upper: [1.7e308], cells: [4]}", "between 1e-70 and 1e.70 in size"),
    ("flow.epsilon", "1e308", r"expected 0 or a number between 1e-70 and 1e\+70 in size, got 1e\+308"),
    ("flow.epsilon", "1e-71", r"in size, got 1e-71"),
    ("times.step", "1e300", r"in size, got 1e\+300"),
    ("flow.potential", "1e101*x**2", r"at most 1e\+100 in size"),
    ("mesh.cells", "[500000000]", "cells need about"),
    ("mesh.lower", "[a]", 'expected a number, got "a"'),
    ("mesh.lower", "[.nan]", "expected a finite number"),
    ("mesh.lower", "[-.inf]", "expected a finite number"),
    ("mesh.lower", "[-1, -1]", "one per axis"),
    ("flow.epsilon", "-1", "expected a number >= 0, got -1"),
    ("flow.epsilon", "nan", 'expected a number, got "nan"'),
    ("flow.epsilon", "'1 2'", 'expected a number, got "1 2"'),
    ("flow.flux", "{kind: upwnd}", r'unknown kind upwnd; did you mean "upwind"\? \(one of'),
    ("flow.stepper", "{kind: ljko}", "kind ljko is for flow gradient-flow: write flow: .kind: gradient-flow, energy"),
    ("flow.stepper.kind", "rk4", "implicit-euler, crank-nicolson, tr-bdf2"),
    ("flow.potential", "0.5*q*x**2", "unknown name q"),
    ("flow.potential", "y**2", "unknown name y"),
    ("flow.potential", "os.system('x')", "not allowed in an expression"),
    ("output", "{fluxes: maybe}", 'expected true or false, got "maybe"'),
    ("flow.potential", "[1]", "expected a text or an expression|expected a number"),
    ("flow.potential", "true", "expected a text or an expression, got true"),
    ("flow.potential", "x^2", r"write \*\* for powers"),
    ("flow.potential", "1 if x else 2", r"write where\(condition, a, b\)"),
    ("flow.potential", "2 x", r"near 'x'; products need \*"),
    ("flow.flux", "upwind", r'expected a mapping, got "upwind"; write {kind: upwind}'),
    ("flow.potential", "log(x)", r"log\(x\) is nan at x = -5.75"),
    ("flow.velocity", "[x, y]", "unknown name y"),
    ("flow.velocity", "[x, x]", "velocity has 2 components"),
    ("flow.stream", "x", "needs two dimensions"),
    ("times.step", "0", "expected a number > 0, got 0"),
    ("times.step", "-0.1", "expected a number > 0"),
    ("times.step", "5", "step 5 is longer than end 0.2"),
    ("times.save", "5", "save 5 is longer"),
    ("times.end", "null", "expected a number, got nothing"),
    ("initial", "{kind: expression, density: x}", r"the density is -5\.75 at x = -5\.75 \(cell 0\)"),
    ("initial", "{kind: expression, density: 0}", "mass 0 on this mesh"),
    ("initial", "{kind: expression, density: t}", "unknown name t"),
    ("initial", "{kind: gaussian, mean: [99], covariance: [[0.3]]}", "100 % of the density is outside the mesh"),
    ("initial", "{kind: gaussian, mean: [0, 0], covariance: [[1, 0], [0, 1]]}", "one per axis"),
    ("initial", "{kind: exact}", "needs an exact solution"),
    ("initial", "{kind: spike, at: [9]}", "outside the mesh"),
    ("initial.mean", "[9]", "100 % of the density is outside the mesh"),
    ("initial.mass", "-1", "expected a number > 0"),
    ("initial.covariance", "[[-1]]", "not positive definite"),
    ("initial.sampling", "corner", "expected 'average' or 'centre'"),
    ("exact", "{kind: heat-box, modes: [1]}", "needs initial: {kind: exact}"),
    ("exact", "{kind: heat-box, modes: [1], amplitude: 2}", "expected a number <= 1"),
    ("checks.error_l1", "1", "needs an exact solution"),
    ("checks.energy_increase", "1", "gradient-flow"),
    ("checks.mass", "1", "unknown key"),
    ("parameters.x", "1", "x is reserved in expressions; use other"),
    ("parameters.lambda", "1", "lambda is reserved in expressions"),
    ("parameters.k", "[1]", "expected a number"),
    ("flow", "{kind: gradient-flow, energy: []}", "at least 1"),
    ("flow", "{kind: gradient-flow, energy: [{kind: entropy, epsilon: 0}]}", "expected a number > 0"),
    ("flow", "{kind: gradient-flow, energy: [{kind: entropy, epsilon: 1, m: 2}]}", r"flow\.energy\.0\.m|unknown key"),
    ("flow", "{kind: gradient-flow, energy: [{kind: potential, potential: t}]}", "unknown name t"),
    ("flow", "{kind: fokker-planck, epsilon: 0, flux: {kind: centred}}", "needs epsilon > 0"),
    ("output.compression", "11", "expected a number <= 9"),
    ("colour", "red", "unknown key"),
]


def test_no_fault_is_told_twice_and_many_are_cut_short(monkeypatch):
    with pytest.raises(CaseError) as caught:
        Case.parse(GOOD, "f.yaml", {"flow.potential": "[1]"})
    assert len(str(caught.value).splitlines()) == 1
    many = GOOD + "".join(f"k{index}: 1\n" for index in range(900))
    guesses = []
    monkeypatch.setattr(difflib, "get_close_matches", lambda *arguments, **options: guesses.append(1) or [])
    with pytest.raises(CaseError, match="and 870 more errors"):
        Case.parse(many, "f.yaml")
    assert len(guesses) <= 100


def test_an_expression_may_be_null():
    case = Case.parse(GOOD, overrides={"flow.stream": "null"})
    assert "unused" not in case.check()
    assert case.flow.stream is None


def test_an_override_heals_what_it_replaces():
    assert Case.parse(GOOD.replace("epsilon: 1.0", "epsilon: .nan"), "f", {"flow.epsilon": "2"}).flow.epsilon == 2.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"flow.epsilon": "-1"}, "--set flow.epsilon=-1: expected"),
        (
            {"times.step": "{initial: 0.01, tolerancee: 1}"},
            "tolerancee: 1}: times.step.tolerancee: unknown key; did you",
        ),
        ({"times.step": "{initial: 0.01, tolerancee: 1}"}, "tolerancee: 1}: times.step.tolerance: is missing"),
        ({"mesh.cells": "[a]"}, "--set mesh.cells=[a]: mesh.cells.0: expected a whole number"),
        ({"steps.kind": "adaptive"}, "--set steps.kind=adaptive: steps: unknown key"),
        ({"flow": "{kind: fokker-planck}", "flow.epsilon": "-1"}, "--set flow.epsilon=-1: expected"),
        ({"flow.epsilon": "-1", "flow": "{epsilon: 1}"}, "--set flow={epsilon: 1}: kind is missing"),
    ],
)
def test_an_override_at_fault_is_told_with_the_key(overrides, message):
    with pytest.raises(CaseError) as caught:
        Case.parse(GOOD, "f.yaml", overrides)
    assert message in str(caught.value)
    assert "f.yaml" not in str(caught.value)


def test_an_override_that_may_be_innocent_is_not_blamed():
    """The mean is at fault, but the density is where that is found."""
    text = re.sub(r"initial: .*", "initial: {kind: gaussian, mean: [50], covariance: [[0.3]]}", GOOD)
    with pytest.raises(CaseError) as caught:
        Case.parse(text, "f.yaml", {"initial.mass": "2", "times.end": "2"}).prepare()
    assert re.match(r"f\.yaml:\d+:\d+: initial: 100 % .* \(with --set initial\.mass=2\)\n", str(caught.value))


PLACES = {
    "potential: log(x)": "log(x) is nan",
    "velocity: [1 + log(x)]": "1 + log(x) is nan",
    "velocity: [1, 2]": "velocity has 2 components",
    "stream: x": "a stream function needs two dimensions",
    "potential: {kind: table, file: none.csv}": "none.csv: ",
}


@pytest.mark.parametrize("line", PLACES)
def test_what_is_found_on_the_mesh_is_placed_at_its_key(line, tmp_path):
    """Not at the flow, whose other keys are innocent."""
    text = re.sub(r"potential: .*\}", line + "}", GOOD)
    assert line in text
    with pytest.raises(CaseError) as caught:
        Case.parse(text, str(tmp_path / "f.yaml"), {"flow.epsilon": "0.5"}).prepare()
    key, value = line.split(": ", 1)
    key, value = (key + ".0", value[1:]) if PLACES[line].startswith("1 +") else (key, value)
    row = next(number for number, each in enumerate(text.splitlines(), 1) if line in each)
    column = text.splitlines()[row - 1].index(value) + 1
    assert f"f.yaml:{row}:{column}: flow.{key}: " in str(caught.value)
    assert PLACES[line] in str(caught.value)
    assert "--set" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "line"),
    [("potential", "potential: log(x)"), ("interaction", "kernel: x"), ("porous-medium", "exponent: 0.1")],
)
def test_what_is_found_of_an_energy_is_placed_at_its_key(kind, line):
    mesh = "mesh: {kind: box, lower: [-1, -1], upper: [1, 1], cells: [8, 8]}\n"
    flow = f"flow: {{kind: gradient-flow, energy: [{{kind: entropy, epsilon: 1}}, {{kind: {kind}, {line}}}]}}\n"
    rest = "initial: {kind: uniform}\ntimes: {end: 1, step: 1}\n"
    with pytest.raises(CaseError) as caught:
        Case.parse(mesh + flow + rest, "f.yaml").prepare()
    key = line.partition(": ")[0]
    assert str(caught.value).startswith(f"f.yaml:2:{flow.index(line) + len(key) + 3}: flow.energy.1.{key}: ")


@pytest.mark.parametrize(
    "title", [*["1e-3", "08", "on", "true", "null", "~", "#x", "'", "-", "1", "!x"], "", "a: b", '"', "ε\n", "- x"]
)
def test_awkward_texts_survive_a_rewrite(title):
    case = Case.parse(GOOD).replace({"title": title})
    assert case.title == title
    assert Case.parse(case.text) == case
    assert Case.parse(dataclasses.replace(case).text) == case


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_bad_cases_are_refused_with_what_is_wrong(path, value, message):
    with pytest.raises(CaseError, match=message) as caught:
        Case.parse(GOOD, "f.yaml", {path: value}).prepare()
    assert f"--set {path}" in str(caught.value) or "f.yaml:" in str(caught.value)


def test_all_errors_are_told_at_once_with_their_places():
    text = GOOD.replace("epsilon: 1.0", "epsilon: -1").replace("cells", "cels").replace("step: 0.1", "step: .nan")
    with pytest.raises(CaseError) as caught:
        Case.parse(text, "f.yaml")
    heads = [line for line in str(caught.value).splitlines() if line.startswith("f.yaml")]
    assert [head.split(": ")[0:2] for head in heads] == [
        ["f.yaml:3:1", "mesh.cells"],
        ["f.yaml:3:44", "mesh.cels"],
        ["f.yaml:4:38", "flow.epsilon"],
        ["f.yaml:6:25", "times.step"],
    ]


def test_values_and_text_make_the_same_case_again():
    case = Case.parse(GOOD)
    assert Case.parse(case.text) == case
    rebuilt = dataclasses.replace(case)
    assert rebuilt.document is None
    assert Case.parse(rebuilt.text) == case
    assert Case.parse(json.dumps(case.values)) == case


def test_python_is_checked_as_yaml_is():
    case = Case.parse(GOOD)
    wrong = [
        (dataclasses.replace(case, times=Times(1.0, -0.1)), "times.step: expected a number > 0"),
        (dataclasses.replace(case, flow=FokkerPlanckFlow(-1.0)), "flow.epsilon: expected a number >= 0"),
        (dataclasses.replace(case, flow=FokkerPlanckFlow(1.0, "q*x")), "unknown name q"),
        (dataclasses.replace(case, output=fvflow.Output("half")), "output.precision: expected 'double' or 'single'"),
        (dataclasses.replace(case, flow=FokkerPlanckFlow(1.0, stepper="implicit-euler")), "flow.stepper: expected"),
    ]
    for made, message in wrong:
        with pytest.raises(CaseError, match=message):
            made.prepare()


def test_parameters_that_nothing_uses_are_known():
    case = Case.parse(GOOD, overrides={"parameters.omega": "2"})
    assert case.unused_parameters() == ["omega"]
    assert "omega" in case.check()["unused"]
    assert Case.parse(GOOD).unused_parameters() == []
    jko = Case.parse(GOOD, overrides={"flow": JKO.replace("x**2", "k*x**2")})
    assert jko.unused_parameters() == []


def test_replace_takes_numpy_values():
    case = Case.parse(GOOD).replace({"flow.epsilon": np.float32(0.5), "mesh.cells": np.array([30])})
    assert (case.flow.epsilon, case.mesh.cells) == (0.5, (30,))


def test_a_run_says_which_checks_it_missed():
    case = Case.parse(GOOD).replace({"checks": {"minimum": 1.0, "mass_correction": 1e-14}})
    assert case.run().attrs["checks_missed"].startswith("check minimum missed")
    assert Case.parse(GOOD).run().attrs["checks_missed"] == "none"


def test_replace_gives_another_case():
    case = Case.parse(GOOD)
    other = case.replace({"flow.epsilon": 0.25}).replace({"mesh.cells.0": 50})
    assert (other.flow.epsilon, other.mesh.cells, case.flow.epsilon) == (0.25, (50,), 1.0)
    assert Case.parse(other.text) == other


def test_a_changed_case_does_not_remember_the_old_text():
    case = dataclasses.replace(Case.parse(GOOD), title="another")
    assert Case.parse(case.text).title == "another"
    assert case.replace({"flow.epsilon": 2.0}).title == "another"


def test_cases_from_python_are_the_same_thing():
    from fvflow.fields import Gaussian

    case = Case(
        mesh=fvflow.Box((-6.0,), (6.0,), (24,)),
        flow=FokkerPlanckFlow(1.0, "0.5*k*x**2"),
        initial=Gaussian((1.5,), ((0.3,),)),
        times=Times(0.2, 0.1),
        title="a case",
        parameters={"k": 1.0},
    )
    assert Case.parse(GOOD) == case
    np.testing.assert_array_equal(case.run().rho, Case.parse(GOOD).run().rho)


def test_mass_is_what_the_case_says():
    case = ou(1, 60, initial__mass=3.0)
    ds = case.run()
    np.testing.assert_allclose(ds.mass, 3.0, rtol=1e-14)
    assert ds.error_l1[0] == pytest.approx(0.0, abs=1e-6)


def test_checks_tell_what_was_missed():
    figures = {
        "mass_drift": 2e-14,
        "minimum": -1e-3,
        "error_l1": 1.0,
        "error_l2": 0.0,
        "error_linf": 0.0,
        "energy_increase": 0.0,
    }
    checks = fvflow.Checks(mass_drift=1e-14, minimum=0.0, error_l1=2.0, energy_increase=0.0)
    missed = checks.missed(figures)
    assert [(check.name, check.got, check.bound, check.relation) for check in missed] == [
        ("mass_drift", 2e-14, 1e-14, "<="),
        ("minimum", -1e-3, 0.0, ">="),
    ]
    assert missed[0].sentence == "check mass_drift missed: got 2e-14, allowed <= 1e-14"
    assert missed[1].sentence == "check minimum missed: got -0.001, allowed >= 0"
    unknown = fvflow.Checks(gap=1.0).missed(figures)[0]
    assert unknown.got is None
    assert unknown.sentence == "check gap missed: this run does not compute it; remove the check"
    assert fvflow.Checks(error_l1=1.0).missed({"error_l1": float("nan")}), "what is no number keeps no bound"


def test_unreadable_files_are_told():
    with pytest.raises(OutputError, match="cannot be read"):
        Case.read("no/such/case.yaml")
    with pytest.raises(OutputError, match="is a directory and no regular file; give the path of a case file"):
        Case.read(Path())


def test_the_schema_describes_every_kind_and_accepts_the_cases():
    schema = json_schema()
    text = json.dumps(schema)
    for word in ("scharfetter-gummel", "ljko", "heat-box", "tr-bdf2", "graded", "spike", "expression"):
        assert f'"{word}"' in text
    from fvflow.case import document

    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    accepts = validator(schema)
    for path in Path("cases").glob("*.yaml"):
        accepts.validate(document.parse(path.read_bytes(), str(path)).values)


def without_a_kind(value):
    """The value, and copies of it without one of the kinds in it or with one that there is not."""
    yield value
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "kind":
            yield {name: each for name, each in value.items() if name != key}
            yield {**value, key: "no"}
        elif isinstance(part, dict | list):
            for other in list(without_a_kind(part))[1:]:
                yield {**value, key: other} if isinstance(value, dict) else [*value[:key], other, *value[key + 1 :]]


@pytest.mark.parametrize("path", sorted(Path("cases").glob("*.yaml"))[::15], ids=lambda path: path.stem)
def test_models_of_the_kinds_in_a_case_find_what_the_models_of_all_kinds_do(path, monkeypatch):
    values = parse(path.read_text(), path.name).values
    made = {}
    monkeypatch.setattr(schema, "model", lambda cls, kinds=None: made.setdefault(kinds, models._Models(kinds)).of(cls))
    found = [schema.build(Case, each, "cases") for each in without_a_kind(values)]
    assert len(made) > 2
    monkeypatch.setattr(schema, "model", lambda cls, kinds=None: models.model(cls))
    assert found == [schema.build(Case, each, "cases") for each in without_a_kind(values)]
    assert found[0][0] is not None
    assert found[1][1], "a fault"


def test_jko_flow_reads_its_energies():
    flow = Case.parse(GOOD, overrides={"flow": JKO}).flow
    assert [energy.kind for energy in flow.energy] == ["entropy", "potential"]
    assert flow.linear_diffusion() == 1.0


def test_a_diffusion_below_round_off_of_the_potential_is_refused():
    ou = Case.read("cases/ou-1d-jko.yaml").replace({"flow.energy.0.epsilon": 1e-20, "exact": None, "checks": {}})
    with pytest.raises(CaseError, match=r"differs by 17.9 between cells, beside which epsilon = 1e-20 is lost"):
        ou.prepare()


def test_a_gap_is_asked_of_steps_that_prove_one():
    jko = Case.read("cases/ou-1d-jko.yaml")
    jko.replace({"flow.stepper": {"kind": "ljko"}, "checks": {"step_gap": 1e-9}})
    with pytest.raises(CaseError, match="step_gap: is for flow gradient-flow with stepper ljko; remove the check"):
        jko.replace({"flow.stepper": {"kind": "implicit-euler"}, "checks": {"step_gap": 1e-9}})


def test_a_refused_flow_is_told_whatever_else_the_case_asks():
    """Checks and times that look at the flow have none to look at."""
    jko = Case.read("cases/ou-1d-jko.yaml")
    with pytest.raises(CaseError, match="exponent 1 is linear diffusion"):
        jko.replace({"flow.energy": [{"kind": "porous-medium", "exponent": 1}]})


def test_every_property_of_the_schema_is_described():
    schema = json_schema()
    parts = {"Case": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, at in part["properties"].items()
        if not at["description"]
    ]
    assert bare == []
    assert schema["$defs"]["FokkerPlanckFlow"]["properties"]["epsilon"]["description"].startswith(
        "Diffusion coefficient"
    )


def test_flows_are_imported_when_a_case_names_them():
    """By their kinds, each of which the table gives the class that has it; a run needs its own only."""
    assert [kind_of(flow) for flow in FLOWS.members()] == list(FLOWS._places)
    assert FLOWS.members({"bridge", "box", ""}) == [BridgeFlow]
    for module in pkgutil.iter_modules(flows.__path__):
        importlib.import_module(f"fvflow.flows.{module.name}")
    assert set(FLOWS.modules) < set(flows.__all__)
    named = {cls for cls in subclasses(BaseFlow) if cls.__module__.startswith("fvflow.flows") and kind_of(cls)}
    assert named == set(FLOWS.members())
    script = "import sys; from fvflow import Case; Case.read('cases/ou-1d.yaml').prepare()\n"
    script += "print(*sorted(name for name in sys.modules if name.startswith('fvflow.flows.')))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "fvflow.flows.fokker_planck" in found
    assert not {"fvflow.flows.transport", "fvflow.flows.particles", "fvflow.flows.gradient_flow"} & set(found)


def subclasses(cls):
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"mesh": {"kind": "box"}}, r"^mesh: expected a kind derived from .*, got dict; call the class, or give"),
        ({"flow": {"kind": "bridge"}}, r"^flow: expected a kind derived from BaseFlow, got dict"),
        ({"flow": FirstPassageFlow(epsilon=1, target=({"wall": "left"},))}, r"^flow\.target\.0: expected Target, got"),
        ({"times": {"end": 1}}, r"^times: expected a kind derived from TimeGrid, got dict"),
        ({"checks": {"minimum": 0}}, r"^checks: expected Checks, got dict"),
        ({"output": {"evi": True}}, r"^output: expected Output, got dict"),
        ({"walls": {"left": {"kind": "partial"}}}, r"^walls\.left: expected a kind derived from WallKind, got dict"),
        ({"absorbing": {"where": "x > 1"}}, r"^absorbing: expected CellSet, got dict"),
    ],
)
def test_a_mapping_in_place_of_an_object_is_told(keys, told):
    with pytest.raises(CaseError, match=told):
        dataclasses.replace(Case.parse(GOOD), **keys).run()


def test_what_the_schema_takes_is_well_formed():
    """Or what its parts require of each other would not be looked at."""
    tensor = {"flow": {"kind": "fokker-planck", "diffusion": {"value": [[1, "x"], ["x", 2]], "convention": "ito"}}}
    plane = {"mesh": {"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [4, 4]}, "initial": {"kind": "uniform"}}
    cases = [Case.read(path) for path in sorted(Path("cases").glob("*.yaml"))]
    assert all(map(well_formed, [*cases, Case.parse(GOOD).replace({**plane, **tensor})]))


def test_a_bound_of_another_flow_asks_for_no_closed_form():
    with pytest.raises(CaseError) as refused:
        Case.parse(GOOD).replace({"checks": {"w2_error": 1e-3}})
    assert "w2_error: is for flow transport" in str(refused.value)
    assert "exact" not in str(refused.value).split("\n")[0]


def test_bounds_of_any_flow_are_those_that_no_flow_owns():
    owned = {name for flow in FLOWS.members() for name in flow.figures}
    others = {item.name for item in dataclasses.fields(Checks)} - owned
    assert {name for name in others if not name.startswith(SIDES)} == checks._OF_ANY_FLOW
