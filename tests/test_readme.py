"""The README and the guide: examples run, links lead somewhere, lists are complete, output is what is printed."""

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import fipy
import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.case.messages import dataclasses_in, kind_of
from fvflow.case.starter import FAMILIES
from fvflow.cli import main
from fvflow.cli.commands import _parser
from fvflow.transport import Hamiltonian
from tests.test_code_quality import UNION_NAMES
from tests.told import PAGE, page

NAMES = ("README.md", "fvflow/GUIDE.md", "fvflow/GUARANTEES.md", "fvflow/ARCHITECTURE.md", "fvflow/TESTING.md")
PAGES = {name: Path(name).read_text() for name in NAMES}
README, GUIDE = PAGES["README.md"], PAGES["fvflow/GUIDE.md"]
NUMBER = r"[-+]?\d[\d.]*(?:e[-+]?\d+)?"


def blocks(heading):
    """The indented blocks of a section, as they are between the lines around them."""
    (section,) = re.findall(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", README + GUIDE, re.M | re.S)
    return [textwrap.dedent(block) for block in re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", section, re.M)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that holds what the examples read."""
    (tmp_path / "cases").symlink_to(Path("cases").resolve())
    (tmp_path / "disc.geo").symlink_to(Path("cases/disc.geo").resolve())
    Case.read("cases/ou-1d.yaml").write(tmp_path / "ou-1d.nc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return tmp_path


def test_the_example_from_python_runs(folder):
    (code,) = blocks("From Python")
    names = {"fipy_mesh": fipy.Grid2D(nx=4, ny=3)}
    exec(code, names)
    assert names["ds"].attrs["checks_missed"] == "none"
    assert names["mesh"].cells > 100
    assert (folder / "mesh.nc").exists()


def test_cases_in_python(capsys):
    (code,) = blocks("Cases in Python")
    names = {}
    exec(code, names)
    assert Case.parse(capsys.readouterr().out).values == names["case"].values
    assert names["ds"].attrs["mass_drift"] <= 1e-14
    assert float(names["thin"].initial.covariance[0][0]) == 0.1


def test_the_example_on_arrays_runs():
    (code,) = blocks("From Python, on arrays")
    assert code.count("assert") >= 3, "it asserts mass, energy and the distance from a closed form"
    names = {}
    exec(code, names)
    assert names["state"].time == 1.0


def test_the_examples_on_samples_run(folder, capsys):
    commands, code = blocks("Samples, maps and scores")
    for line in commands.strip().splitlines():
        arguments = line.partition("#")[0].split()
        with pytest.raises(SystemExit) as ended:
            main(arguments[1:])
        assert ended.value.code == 0, line
    with fvflow.read("flow.nc") as ds:
        names = {"fvflow": fvflow, "ds": ds, "x": np.zeros((3, 2)), "t": 0.35}
        exec(code, names)
        assert names["pushed"].points.shape == (10_000, 2)


def test_the_examples_on_scores_run(folder, capsys):
    (commands,) = blocks("Score")
    for line in commands.strip().splitlines():
        command, _, remark = line.partition("#")
        with pytest.raises(SystemExit) as ended:
            main(command.split()[1:])
        assert ended.value.code == (6 if "exit code 6" in remark else 0), line
        printed = capsys.readouterr().out
        assert ("worse" in printed) is ("wrong" in command and " score " in command), line


def test_the_first_run_prints_what_is_shown(tmp_path):
    shown = next(block for block in blocks("Two commands") if "mass drift" in block).strip().splitlines()[:-1]
    command = [sys.executable, "-m", "fvflow", "run", str(Path("cases/ou-1d.yaml").resolve())]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout

    def without_numbers(line):
        return " ".join(re.sub(NUMBER, "#", line).split())

    assert [without_numbers(line) for line in printed.splitlines()][: len(shown)] == list(map(without_numbers, shown))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert target.startswith("http") or (Path(page).parent / target).exists(), target
    for path in re.findall(r"`((?:fvflow|tests|cases)/[\w./-]+)`", PAGES[page]):
        assert Path(path).exists(), path
    for case in re.findall(r"cases/[a-z0-9-]+\.yaml", PAGES[page]):
        assert Path(case).exists(), case


def test_names_are_where_the_architecture_says():
    found = re.findall(r"`(\w+)`\s+in\s+`((?:fvflow|tests)/[\w./]+\.py)`", "".join(PAGES.values()))
    assert len(found) > 30
    assert [(name, file) for name, file in found if name not in top_level_names(file)] == []


def top_level_names(file):
    names = set()
    for node in ast.parse(Path(file).read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names |= {getattr(target, "name", getattr(target, "id", "")) for target in targets}
    return names


def test_the_architecture_has_every_layer_and_every_family():
    page = PAGES["fvflow/ARCHITECTURE.md"]
    contract = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = "|".join(map(re.escape, sorted(contract["layers"], key=len, reverse=True)))
    assert re.findall(rf"^ {{4}}({layers}) +\S", page, re.M) == contract["layers"]
    for family in UNION_NAMES:
        assert re.search(rf"^\| .* \| `{family}` in ", page, re.M), family
    assert len(page.splitlines()) <= 200


def test_every_command_and_every_kind_is_named():
    commands = re.findall(r"^\| `fvflow ([a-z]+)", GUIDE, re.M)
    known = re.findall(r"^ {4}([a-z]+)  ", _parser().format_help(), re.M)
    assert commands == known
    for union in (*FAMILIES.values(), Hamiltonian):
        for member in dataclasses_in(union):
            assert f"`{kind_of(member)}`" in GUIDE, kind_of(member)


def test_the_list_of_what_is_told_is_that_of_the_code():
    """`python -m tests.told > fvflow/REMARKS.md` writes it."""
    assert PAGE.read_text() == page()
    for told in (
        "`time_error`",
        "error in time is not estimated",
        "first order in space there",
        "outermost cell centres",
    ):
        assert told in PAGE.read_text()
