"""The fast selection of the suite, `python -m pytest -m fast`: all doctests, and all test modules but the slow ones."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SLOW = {
    "cases": "runs every case in cases/",
    "cli": "starts processes and kills runs",
    "code_quality": "runs ruff, mypy and import-linter",
    "dataset": "writes results and reads them with several libraries",
    "endurance": "thousands of steps and hundreds of runs",
    "exponential": "long sums of products, against dense exponentials",
    "faults": "starts processes, compiles kernels anew",
    "fuzz": "hundreds of mutated case files",
    "gaussian_jko": "recursions and their orders",
    "geo_script": "meshes a dozen geometries twice",
    "geometric": "multigrid for many drifts and step lengths",
    "input_files": "starts a process for each damaged result",
    "interruptible": "starts processes and stops them",
    "interaction": "orders of aggregation-diffusion equations",
    "jko": "stress cases and a published table",
    "mesh_files": "meshes of gmsh and meshio, orders on them",
    "muscl": "orders on four families of meshes",
    "one_file": "copies the package for each family of kinds and starts processes",
    "orders": "orders in space and time",
    "plot": "draws with matplotlib",
    "proximal": "splittings against other implementations",
    "quantile_step": "orders of JKO steps",
    "readme": "runs the examples of the README",
    "resume": "runs every stepper twice, and kills processes",
    "runtime_estimate": "times runs",
    "sample": "moments and counts of many samples",
    "shapes": "cells of every shape, in VTK",
    "split": "orders of split steppers",
    "start": "starts processes",
    "stationary": "steady states and spectra on large meshes",
    "steppers": "contracts of every stepper on every kind of mesh",
    "structure": "thousands of steps",
    "symmetries": "hundreds of runs in every stepper",
    "trajectories": "draws with matplotlib",
    "transport": "geodesics by both solvers",
    "voronoi": "diagrams of many point sets, and their faults",
    "wasserstein": "bounds against linear programming",
}
"""Test modules test_NAME.py that are not in the fast selection, and what takes their time."""

LONGEST = 5.0  # CPU seconds of the tests of a module beyond which a fast run recommends an entry above


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the slow modules for a fast run."""
    return True if _fast_run(config) and _slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` all that is not in a slow module."""
    for item in items:
        if not _slow(item.path):
            item.add_marker(pytest.mark.fast)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the CPU time of a test, that of its processes included; unlike its duration it depends on no other load."""
    start = sum(os.times()[:4])
    yield
    item.user_properties.append(("cpu", sum(os.times()[:4]) - start))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After a fast run, name the modules that have become slow."""
    if not _fast_run(config):
        return
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                seconds[report.nodeid.partition("::")[0]] += dict(report.user_properties).get("cpu", 0.0)
    for name, spent in sorted(seconds.items()):
        if spent > LONGEST:
            terminalreporter.write_line(f"{name} took {spent:.1f} s of CPU; list it as slow in tests/conftest.py")


def _fast_run(config: pytest.Config) -> bool:
    return bool(config.getoption("markexpr") == "fast")


def _slow(path: Path) -> bool:
    return path.name.startswith("test_") and path.stem.removeprefix("test_") in SLOW
