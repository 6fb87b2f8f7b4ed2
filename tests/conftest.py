"""The fast selection of the suite: `python -m pytest -m fast`, all doctests and all test modules but the slow ones."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

SLOW = {
    "cases": "runs every case in cases/",
    "cli": "starts processes and kills runs",
    "code_quality": "runs ruff, mypy and import-linter",
    "exponential": "sums of many products, against dense exponentials",
    "gaussian_jko": "recursions and their orders",
    "geometric": "multigrid over many drifts and step lengths",
    "interaction": "orders of aggregation-diffusion equations",
    "jko": "stress cases and a published table",
    "muscl": "orders on four families of meshes",
    "orders": "orders in space and time",
    "plot": "draws with matplotlib",
    "runtime_estimate": "times runs",
    "shapes": "meshes of every shape, in VTK",
    "split": "orders of split steppers",
    "start": "starts processes",
    "stationary": "steady states and spectra on large meshes",
    "transport": "geodesics by both solvers",
    "voronoi": "orders on Voronoi meshes",
    "wasserstein": "bounds against linear programming",
}
"""Test modules test_NAME.py that are not in the fast selection, and what takes their time."""

LONGEST_FAST_MODULE = 4.0  # seconds of the tests of a module beyond which a fast run recommends an entry above


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` what no slow module holds."""
    for item in items:
        if item.path.stem.removeprefix("test_") not in SLOW:
            item.add_marker(pytest.mark.fast)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After a fast run, name the modules that have become slow."""
    if config.getoption("markexpr") != "fast":
        return
    seconds: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[Path(report.nodeid.partition("::")[0]).name] += report.duration
    for name, duration in sorted(seconds.items()):
        if duration > LONGEST_FAST_MODULE:
            terminalreporter.write_line(f"{name} took {duration:.1f} s of this fast run; list it in tests/conftest.py")
