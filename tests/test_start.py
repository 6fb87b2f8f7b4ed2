"""What is imported when: a small run, a check and a refusal are quick because they import what they use."""

import subprocess
import sys
from pathlib import Path

import pytest

OU = str(Path("cases/ou-1d.yaml").resolve())
HEAVY = {"scipy", "numba", "xarray", "pandas", "fipy", "matplotlib", "pyamg", "meshio", "gmsh", "sympy", "jsonschema"}


def imported(*arguments, folder):
    """What a fresh interpreter has imported at the end of a command."""
    code = f"""
import sys
from fvflow.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    print(end.code, *sys.modules, file=sys.stderr)
"""
    options = {"cwd": folder, "capture_output": True, "text": True, "timeout": 60}
    code, *modules = subprocess.run([sys.executable, "-c", code], **options).stderr.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["run", OU, "--set", "flow.epsilon=-1"], 3),
        (["check", OU, "--set", "mesh.cels=1"], 3),
        (["check", OU], 0),
    ],
)
def test_commands_that_store_nothing_import_nothing_heavy(arguments, code, tmp_path):
    ended, modules = imported(*arguments, folder=tmp_path)
    assert ended == code
    assert modules & (HEAVY | {"netCDF4"}) == set()


def test_help_imports_neither_numpy_nor_the_schema(tmp_path):
    assert (
        imported("--help", folder=tmp_path)[1] & {"numpy", "pydantic", "yaml", "rich", "importlib.resources"} == set()
    )


def test_a_small_run_imports_nothing_heavy_but_what_writes_its_result(tmp_path):
    """It does not wait for a compiler, nor for functions that the standard library has."""
    ended, modules = imported("run", OU, folder=tmp_path)
    assert ended == 0
    assert (tmp_path / "ou-1d.nc").exists()
    assert modules & (HEAVY | {"numpy.f2py", "numpy.testing", "urllib.request", "concurrent.futures"}) == set()
