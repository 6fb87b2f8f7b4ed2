"""What depends on the operating system is asked for in one place, and may be missing."""

import math
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fvflow import system
from fvflow.errors import OutputError

OU = str(Path("cases/ou-1d.yaml").resolve())
WINDOWS = """
import os, signal, sys
sys.modules["fcntl"] = sys.modules["resource"] = None
del signal.SIGHUP, os.sched_getaffinity, os.O_DIRECTORY
from fvflow.cli import main
main(sys.argv[1:])
"""


def without_posix(*arguments, folder):
    command = [sys.executable, "-c", WINDOWS, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_cases_are_checked_without_posix_and_results_refused(tmp_path):
    done = without_posix("check", OU, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    done = without_posix("run", OU, folder=tmp_path)
    assert done.returncode == 5
    assert done.stderr.startswith("results are written on POSIX systems only")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_else_names_what_windows_lacks():
    lacking = re.compile(r"\b(fcntl|resource|pwd|grp|termios)\b *(\.|$)|import (fcntl|resource)|SIGHUP|/proc|sched_")
    found = {str(file) for file in Path("fvflow").rglob("*.py") if lacking.search(file.read_text())}
    without = {"fvflow/mesh/netcdf_probe.py", "fvflow/mesh/gmsh_program.py"}  # these do without `resource`
    assert found == {"fvflow/system.py", *without}


def test_available_memory_is_bounded_by_the_limit_of_the_process(monkeypatch):
    assert 2**20 < system.available_memory() < 2**50
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**21, 2**30))
    assert system.available_memory() == 2**21
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert system.available_memory() > 2**21

    def missing(*arguments, **options):
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert system.available_memory() == math.inf
    monkeypatch.setattr(system, "resource", None)
    assert system.available_memory() == math.inf


def test_a_lock_is_exclusive_and_ends_with_its_file(tmp_path):
    with open(tmp_path / "lock", "w") as first:
        system.lock_file(first)
        with open(tmp_path / "lock", "w") as second, pytest.raises(BlockingIOError):
            system.lock_file(second)
    with open(tmp_path / "lock", "w") as third:
        system.lock_file(third)


def test_without_locks_a_lock_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "fcntl", None)
    with open(tmp_path / "lock", "w") as file, pytest.raises(OutputError, match="no file locks"):
        system.lock_file(file)
