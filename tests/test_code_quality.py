"""The conventions of the code, as tests: tools, layers, documentation, imports, kinds."""

import ast
import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

import fvflow
import fvflow.case
from fvflow.case.messages import dataclasses_in
from fvflow.case.starter import FAMILIES
from fvflow.jit import Kernel
from fvflow.transport import Hamiltonian
from tests.conftest import SLOW

SOURCES = sorted(Path("fvflow").rglob("*.py"))
HOOKS = {
    hook["id"]: shlex.split(hook["entry"])
    for repository in yaml.safe_load(Path(".pre-commit-config.yaml").read_text())["repos"]
    for hook in repository["hooks"]
}


@cache
def tree(file):
    return ast.parse(Path(file).read_text())


def module_name(file):
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("command", HOOKS.values(), ids=HOOKS)
def test_hook(command):
    """Each hook of .pre-commit-config.yaml passes: ruff (complexity at most 15 included), mypy, layers."""
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    program = shutil.which(command[0], path=os.pathsep.join(folders))
    assert program, f"{command[0]} is missing; install the test extra"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_complete():
    assert {command[0] for command in HOOKS.values()} == {"ruff", "mypy", "lint-imports"}


def test_only_compiled_kernels_may_be_complex():
    """The modules that are exempt from the limit of complexity hold kernels and nothing else."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert settings["mccabe"]["max-complexity"] == 15
    exempt = [file for file, rules in settings["per-file-ignores"].items() if "C901" in rules]
    assert exempt
    for file in exempt:
        module = importlib.import_module(module_name(Path(file)))
        functions = [node.name for node in tree(Path(file)).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assert [name for name in functions if not isinstance(getattr(module, name), Kernel)] == []


# documentation


def definitions(file):
    """Public modules, classes, functions, methods and properties with their names."""
    yield str(file), tree(file)
    for node in tree(file).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{file}:{node.name}", node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{file}:{node.name}.{inner.name}", inner


def test_every_public_name_is_documented():
    bare = [name for file in SOURCES for name, node in definitions(file) if ast.get_docstring(node) is None]
    assert not bare
    assert "fvflow/mesh/grid.py:Grid.quadrature" in [name for file in SOURCES for name, _ in definitions(file)]


_SIZE = r"(?:\.\.\.|\w+(?:(?: [+-])? \w+)?)"
_NAMED = "cell|face|node|axis|dim|dimension|interval|point|row|corner|piece|entry"
SHAPE = re.compile(  # as `another`, (cell,), (..., dim), (interval, face), or in words
    rf"[Aa]s `|\({_SIZE},\)|\((?={_SIZE}(?:, {_SIZE})+\))[^)]*(?:\b(?:{_NAMED})\b|\.\.\.|z, y, x)[^)]*\)"
    r"|same shape|shape of|elementwise"
)


SHAPES_TO_STATE = {
    "Cells.leaving", "FokkerPlanck.coefficients", "GridReconstruction.outflow_bound",
    "LeastSquaresReconstruction.outflow_bound", "Lines.leaving", "ReusedAMG.solve", "Transport.flux", "average",
    "bernoulli", "bessel", "chebyshev_sum", "gaussian_density", "picked", "poisson", "poisson_sum", "poured",
    "restrict_regions",
}  # fmt: skip
"""Exceptions to the rule below; remove them one by one and add none."""


def stated_shape(function, owner):
    """Whether a shape is in the docstring, in that of what it overrides, or in those of their classes."""
    name = function.name
    texts = [ast.get_docstring(function) or ""]
    for base in owner.__mro__ if owner else ():
        if name in vars(base):
            member = vars(base)[name]
            member = getattr(member, "func", getattr(member, "fget", getattr(member, "__func__", member)))
            texts += [inspect.getdoc(member) or "", vars(base).get("__doc__") or ""]
    return any(SHAPE.search(text) for text in texts)


def test_shapes_of_arrays_are_documented():
    """What a public function returns as `Array` has a shape such as (cell,) or (face, dim) in a docstring."""
    silent = []
    for file in SOURCES:
        module = importlib.import_module(module_name(file)) if file.name != "__main__.py" else None
        for name, node in definitions(file):
            returned = getattr(node, "returns", None)
            if (
                returned is None
                or ast.unparse(returned).startswith("Callable")
                or "Array" not in {part.id for part in ast.walk(returned) if isinstance(part, ast.Name)}
            ):
                continue
            owner, _, _ = name.partition(":")[2].rpartition(".")
            if not stated_shape(node, getattr(module, owner) if owner else None):
                silent.append(name)
    assert [name for name in silent if name.partition(":")[2] not in SHAPES_TO_STATE] == []


# habits


def test_only_the_command_line_prints():
    assert [
        str(file) for file in SOURCES if "cli" not in file.parts and re.search(r"^\s*print\(", file.read_text(), re.M)
    ] == []


def test_modules_are_short():
    assert {str(file): count for file in SOURCES if (count := len(file.read_text().splitlines())) > 300} == {}


# imports


def imports() -> dict[str, set[str]]:
    """The modules of fvflow that each module imports, wherever in it: under TYPE_CHECKING and in functions too."""
    files = {module_name(file): file for file in SOURCES}
    graph = {}
    for name, file in files.items():
        named = set()
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: a relative import"
                paths = (f"{node.module}.{alias.name}" for alias in node.names)
                named |= {path if path in files else str(node.module) for path in paths}
        graph[name] = (named & files.keys()) - {name}
    return graph


def cycles(graph: dict[str, set[str]]) -> Iterator[str]:
    """A cycle for each edge that closes one, by depth-first search."""
    path: list[str] = []
    done: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        path.append(name)
        for target in sorted(graph[name] - done):
            if target in path:
                yield " -> ".join([*path[path.index(target) :], target])
            else:
                yield from visit(target)
        done.add(path.pop())

    for name in graph:
        if name not in done:
            yield from visit(name)


def test_the_cycle_finder_finds_cycles():
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})) == ["b -> c -> b"]
    assert list(cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()})) == []


def test_no_import_cycle():
    graph = imports()
    assert "fvflow.dataset" in graph["fvflow"], "imports under TYPE_CHECKING count"
    assert "fvflow.case.starter" in graph["fvflow.cli.commands"], "imports in functions count"
    assert list(cycles(graph)) == []


# kinds

MOST_KIND_TESTS = 5
UNION_NAMES = [
    "Flux", "Energy", "Density", "Exact", "LinearStepper", "GradientStepper", "MeshKind", "Solver", "TransportSolver",
    "Hamiltonian",
]  # fmt: skip


def kind_names():
    """Names of all members of the unions of kinds, of their base classes and of the unions themselves."""
    members = {cls for union in (*FAMILIES.values(), Hamiltonian) for cls in dataclasses_in(union)}
    assert len(members) > 40
    bases = {base for cls in members for base in cls.__mro__ if base.__module__.startswith("fvflow")}
    return {cls.__name__ for cls in bases} | set(UNION_NAMES)


def kind_tests(tree, names):
    """Lines that ask for the class of a kind: isinstance, issubclass, a class pattern, `type(x) is Kind`."""
    for node in ast.walk(tree):
        asked = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            asked = node.args[1:]
        elif isinstance(node, ast.MatchClass):
            asked = [node.cls]
        elif isinstance(node, ast.Compare) and any(
            isinstance(part, ast.Call) and getattr(part.func, "id", "") == "type" for part in ast.walk(node)
        ):
            asked = node.comparators
        found = {getattr(part, "id", getattr(part, "attr", "")) for part in asked for part in ast.walk(part)}
        if found & names:
            yield node.lineno if hasattr(node, "lineno") else node.cls.lineno


def test_the_counter_of_kind_tests_counts():
    text = "isinstance(a, Box)\nisinstance(a, int)\nisinstance(a, (Box, int))\nisinstance(a, Box | mesh.Graded)\n"
    text += "type(a) is Box\nmatch a:\n    case Box():\n        pass\n"
    assert sorted(kind_tests(ast.parse(text), kind_names())) == [1, 3, 4, 5, 7]


def test_kinds_answer_for_themselves():
    """Flows and cases ask for the class of a kind at most five times in all, each time with a comment that says why."""
    names, found = kind_names(), []
    for file in SOURCES:
        if file.parts[1] in ("flows", "case"):
            lines = file.read_text().splitlines()
            for line in kind_tests(tree(file), names):
                assert "#" in lines[line - 1] or lines[line - 2].lstrip().startswith("#"), f"{file}:{line} says not why"
                found.append(f"{file}:{line}")
    assert len(found) <= MOST_KIND_TESTS, found


def test_slow_modules_exist():
    assert [name for name in SLOW if not Path(f"tests/test_{name}.py").exists()] == []


@pytest.mark.parametrize(
    ("package", "modules"),
    [(fvflow, {"geometry", "plot", "wasserstein"}), (fvflow.case, set())],
    ids=["fvflow", "case"],
)
def test_no_name_of_a_package_is_hidden_by_a_module(package, modules):
    """A module that is imported becomes a name of its package, in place of one that is imported when it is used."""
    files = {path.stem for path in Path(package.__file__).parent.iterdir()}
    assert {name for name in package.__all__ if name in files} == modules
    assert all(callable(getattr(package, name)) for name in set(package.__all__) - modules)
