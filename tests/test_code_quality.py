"""The habits of the house, as tests: layers, types, style, documentation."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = sorted(Path("fvflow").rglob("*.py"))


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["importlinter.cli", "lint"]],
    ids=["ruff", "format", "mypy", "layers"],
)
def test_tool(command):
    if command[0] == "importlinter.cli":
        command = ["-c", "from importlinter.cli import lint_imports_command as f; f()"]
    else:
        command = ["-m", *command]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def definitions(file):
    """Public modules, classes and functions with their names."""
    tree = ast.parse(file.read_text())
    yield str(file), tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{file}:{node.name}", node
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{file}:{node.name}.{inner.name}", inner


def test_every_public_name_is_documented():
    bare = [name for file in SOURCES for name, node in definitions(file) if ast.get_docstring(node) is None]
    assert not bare


def test_only_the_command_line_prints():
    assert [
        str(file) for file in SOURCES if "cli" not in file.parts and re.search(r"^\s*print\(", file.read_text(), re.M)
    ] == []


def test_modules_are_short():
    assert {str(file): count for file in SOURCES if (count := len(file.read_text().splitlines())) > 300} == {}


def test_the_readme_says_what_is_true():
    """Its links lead somewhere, and each case it names is there."""
    text = Path("README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or Path(target).exists(), target
    for case in re.findall(r"cases/[a-z0-9-]+\.yaml", text):
        assert Path(case).exists(), case
    from fvflow.cli.commands import _parser

    for verb in re.findall(r"^\| `fvflow ([a-z]+)", text, re.M):
        assert verb in _parser().format_help()
