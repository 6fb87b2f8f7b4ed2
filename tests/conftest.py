"""The fast selection of the suite, `python -m pytest -m fast`: all doctests, and all test modules but the slow ones."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SLOW = {
    "axisymmetric": "orders on turned meshes",
    "barycentre": "W2 to each density in every round",
    "bridge": "iterations to round-off, orders",
    "cases": "runs every case in cases/",
    "cli": "starts processes and kills runs",
    "code_quality": "runs ruff, mypy and import-linter",
    "compare": "bounds of W2, draws with matplotlib",
    "data": "makes data sets in every layout, and kills a command",
    "dataset": "writes results and reads them with several libraries",
    "distance_between": "bounds of W2 between meshes",
    "distance_engine": "bounds of W2 against linear programming",
    "endurance": "thousands of steps and hundreds of runs",
    "evi_bounds": "bounds of W2 in every step",
    "exponential": "long sums of products, against dense exponentials",
    "export": "reads results with VTK and others",
    "faults": "starts processes, compiles kernels anew",
    "formats": "reads files with h5py, zarr and xarray",
    "family": "dozens of runs, twice each",
    "fuzz": "hundreds of mutated case files",
    "gaussian_jko": "recursions and their orders",
    "general_hamiltonians": "orders of general Hamiltonians",
    "geo_script": "meshes a dozen geometries twice",
    "geometric": "multigrid for many drifts and step lengths",
    "input_files": "starts a process for each damaged result",
    "interaction": "orders of aggregation-diffusion equations",
    "interruptible": "starts processes and stops them",
    "jko": "stress cases and a published table",
    "mesh_files": "meshes of gmsh and meshio, orders on them",
    "muscl": "orders on four families of meshes",
    "one_file": "copies the package for each family of kinds and starts processes",
    "orders": "orders in space and time",
    "plot": "draws with matplotlib",
    "proximal": "splittings against other implementations",
    "quantile_step": "orders of JKO steps",
    "readme": "runs the examples of the README and the guide",
    "resume": "runs every stepper twice, and kills processes",
    "runtime_estimate": "times runs",
    "sample": "moments and counts of many samples",
    "several_ranks": "starts several processes for each run",
    "score": "scores of perfect predictions of fifty seeds",
    "shapes": "cells of every shape, in VTK",
    "small_distance": "bounds of W2 on 256 x 256 cells",
    "split": "orders of split steppers",
    "start": "starts processes",
    "stationary": "steady states and spectra on large meshes",
    "step_maps": "orders of maps, bounds of W2 in every step",
    "steppers": "contracts of every stepper on every kind of mesh",
    "structure": "thousands of steps",
    "sweep": "runs sweeps in processes, and kills them",
    "symmetries": "hundreds of runs in every stepper",
    "trajectories": "draws with matplotlib",
    "transport": "geodesics by both solvers",
    "verify": "runs cases on several levels",
    "voronoi": "diagrams of many point sets, and their faults",
    "wasserstein": "bounds against linear programming",
    "wrong_answers": "long runs of hard gradient flows",
}
"""Test modules test_NAME.py that are not in the fast selection, and what takes their time."""

_RESUMED = "test_resume.py::test_a_resumed_run_is_the_uninterrupted_one_to_the_last_bit"
LONG = (
    "test_barycentre.py::test_gaussians_at_128",
    "test_cli.py::test_plot_draws_what_it_is_asked_for",
    "test_compare.py::test_gaussians_in_the_plane_against_closed_forms",
    "test_endurance.py::test_memory_over_many_cases",
    "test_exponential.py::test_a_well_that_fills_slowly_is_not_taken_for_one_at_rest",
    "test_faults.py::test_two_first_runs_at_once_compile_and_agree",
    "test_gaussian_jko.py::test_centred_steps_carry_a_front_through_vacuum[jko-3]",
    "test_gaussian_jko.py::test_jko_leaves_vacuum_to_ljko_when_it_must[0.0001]",
    "test_input_files.py::test_damaged_results_give_their_answer_or_one_line",
    "test_muscl.py::test_orders_in_space_without_diffusion[triangles-monotonised-central]",
    "test_muscl.py::test_orders_in_space_without_diffusion[voronoi-monotonised-central]",
    "test_placed_density.py::test_a_uniform_density_fills_the_part_of_each_cell_in_its_box[hexahedra]",
    "test_placed_density.py::test_a_uniform_density_fills_the_part_of_each_cell_in_its_box[prisms]",
    "test_placed_density.py::test_a_uniform_density_fills_the_part_of_each_cell_in_its_box[solids]",
    f"{_RESUMED}[gradient-jko-fixed-3D",
    f"{_RESUMED}[gradient-jko-adaptive-2D",
    f"{_RESUMED}[gradient-jko-adaptive-3D",
    f"{_RESUMED}[gradient-evbdf2-adaptive-2D",
    f"{_RESUMED}[gradient-jko2-{{'kind': 'multigrid'}}-fixed-2D",
    f"{_RESUMED}[gradient-jko2-{{'kind': 'multigrid'}}-adaptive-triangles",
    "test_several_ranks.py::test_an_error_of_one_rank_ends_all",
    "test_several_ranks.py::test_a_rank_that_is_killed_ends_all",
    "test_several_ranks.py::test_a_run_goes_on_with_other_numbers_of_ranks",
    "test_several_ranks.py::test_ranks_that_see_different_cases_are_refused",
    "test_several_ranks.py::test_results_of_any_number_of_ranks_have_the_bits_of_one",
    "test_small_distance.py::test_the_goals_at_256",
    "test_steppers.py::test_gradient_steppers_keep_their_contract[JKO(intervals=None, accuracy=0.0001,",
    "test_sweep.py::test_dask_gives_the_same_file_with_a_worker_killed",
    "test_sweep.py::test_the_owner_killed_loses_two_seconds_and_leaves_no_process",
    "test_stationary.py::test_an_iteration_goes_on_from_every_iterate_in_every_part",
    "test_wrong_answers.py::test_the_second_moment_of_keller_segel",
)
"""How the names of the longest tests begin; `python -m pytest -m long` runs them."""

LONGEST = 5.0  # CPU seconds of the tests of a module beyond which a fast run recommends an entry above


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the slow modules for a fast run."""
    return True if _fast_run(config) and _slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` all that is not in a slow module, and the long tests as `long`."""
    for item in items:
        if not _slow(item.path):
            item.add_marker(pytest.mark.fast)
        if item.nodeid.removeprefix("tests/").startswith(LONG):
            item.add_marker(pytest.mark.long)


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
