"""The case that `fvflow new` writes: it runs, and names all that a case can choose."""

import re

import pytest
import yaml

from fvflow.case import Case
from fvflow.case.messages import dataclasses_in, kind_of
from fvflow.case.starter import FAMILIES, starter


def lists():
    """The kinds that the text lists, in its order."""
    text = re.sub(r"\n *#[# ]*  (?=[a-z-]+[,\n])", " ", starter())  # as on one line
    return [line.split(": ")[1].split(", ") for line in text.splitlines() if "# Kinds of" in line]


def test_the_starter_runs(tmp_path):
    case = Case.parse(starter())
    assert case.checks.missed(case.write(tmp_path / "r.nc")) == []


def test_other_readers_of_yaml_see_numbers():
    """PyYAML takes 1e-14 for a text; neither the starter nor a case that is written out has such numbers."""
    number = re.compile(r"[-+]?[\d.]+(?:e[-+]?\d+)?")
    plain = re.findall(r"(?<=[\s:\[,{])[-+]?[.\d][^\s,\]}]*(?=[,\]}\s])", starter())
    written = [text for text in plain if number.fullmatch(text)]
    assert {"1.0e-14", "2.0e-3", "0.01"} <= set(written)
    assert [text for text in written if not isinstance(yaml.safe_load(text), int | float)] == []
    case = Case.parse(starter()).replace({"checks": {"mass_drift": 1e-14, "minimum": -1e30, "error_l1": 1e17}})
    assert yaml.safe_load(case.text)["checks"] == {"mass_drift": 1e-14, "minimum": -1e30, "error_l1": 1e17}


def test_the_starter_names_every_kind_of_every_union():
    named = lists()
    assert len(named) == len(FAMILIES) == 10
    for kinds, union in zip(named, FAMILIES.values(), strict=True):
        assert kinds == [kind_of(member) for member in dataclasses_in(union)]
        assert len(kinds) >= 2
    assert max(map(len, starter().splitlines())) <= 120


@pytest.mark.parametrize("kind", ["gradient-flow", "transport"])
def test_the_flows_in_its_comments_are_valid(kind):
    blocks = re.findall(r"^# flow:\n(?:#  .*\n)+", starter(), re.M)
    (block,) = (block for block in blocks if f"kind: {kind}" in block)
    flow = re.sub(r"^# ?", "", block, flags=re.M)
    text = re.sub(r"^flow:\n(?:  .*\n)+", lambda match: flow, starter(), flags=re.M)
    if kind == "transport":
        text = re.sub(r"^(times|exact|checks):.*\n", "", text, flags=re.M)
    case = Case.parse(text)
    assert case.flow.kind == kind
    case.prepare()
