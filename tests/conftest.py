"""The fast selection of the suite, `python -m pytest -m fast`: all doctests, and all test modules but the slow ones."""

from __future__ import annotations

import gc
import os
import sys
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
    "torus": "bounds of W2 on tori against linear programming",
    "trajectories": "draws with matplotlib",
    "transport": "geodesics by both solvers",
    "verify": "runs cases on several levels",
    "voronoi": "diagrams of many point sets, and their faults",
    "wasserstein": "bounds against linear programming",
    "wrong_answers": "long runs of hard gradient flows",
}
"""Test modules test_NAME.py that are not in the fast selection, and what takes their time."""

LONG = {
    "absorption": (
        "a_run_goes_on_until_nothing_is_left[uniformisation",
        "every_solver_finds_the_same_density_and_keeps_the_balance[box-1.0",
    ),
    "backward": ("the_pairing_is_the_same_after_every_step[{kind: box, lower: [-1, -1, -1]",),
    "barycentre": ("gaussians_at_128",),
    "bridge": ("the_distance_of_the_ends_is_at_least_w2[3",),
    "cases": (
        "case_runs_and_keeps_its_checks[aggregation-gaussian-2d]",
        "case_runs_and_keeps_its_checks[annulus]",
        "case_runs_and_keeps_its_checks[barycentre-shapes",
        "case_runs_and_keeps_its_checks[bridge-ring",
        "case_runs_and_keeps_its_checks[distance-images",
        "case_runs_and_keeps_its_checks[fokker-planck-jko-2d",
        "case_runs_and_keeps_its_checks[gaussian-recursion-1d",
        "case_runs_and_keeps_its_checks[jko-maps",
        "case_runs_and_keeps_its_checks[keller-segel-subcritical",
        "case_runs_and_keeps_its_checks[mckean-vlasov-transition]",
        "case_runs_and_keeps_its_checks[moving-trap-1d",
        "case_runs_and_keeps_its_checks[muscl-rotation",
        "case_runs_and_keeps_its_checks[porous-medium-barenblatt-2d",
        "case_runs_and_keeps_its_checks[sde-disc-reflecting",
        "case_runs_and_keeps_its_checks[sde-double-well",
        "case_runs_and_keeps_its_checks[semicircle-law",
        "case_runs_and_keeps_its_checks[transport-3d]",
        "case_runs_and_keeps_its_checks[transport-gaussians-2d]",
        "case_runs_and_keeps_its_checks[transport-mixture-1d",
        "case_runs_and_keeps_its_checks[transport-split-2d",
        "case_runs_and_keeps_its_checks[transport-translation-2d",
        "case_runs_and_keeps_its_checks[two-wells-2d-jko",
        "case_runs_and_keeps_its_checks[voronoi-two-wells",
    ),
    "cli": ("plot_draws_what_it_is_asked_for",),
    "compare": ("gaussians_in_the_plane_against_closed_forms",),
    "endurance": (
        "mass_and_memory_over_many_steps[crank-nicolson",
        "mass_and_memory_over_many_steps[split-euler",
        "mass_and_memory_over_many_steps[tr-bdf2",
        "memory_over_many_cases",
    ),
    "evi_bounds": ("signs_are_proved_wherever_the_defect_exceeds",),
    "exponential": (
        "a_well_that_fills_slowly_is_not_taken_for_one_at_rest",
        "chebyshev_sums_themselves_keep_the_gibbs_state[10000.0-2",
    ),
    "faults": ("two_first_runs_at_once_compile_and_agree",),
    "gaussian_jko": (
        "centred_steps_carry_a_front_through_vacuum[evbdf2-50",
        "centred_steps_carry_a_front_through_vacuum[jko-3]",
        "jko_leaves_vacuum_to_ljko_when_it_must[0.0001]",
        "multigrid_takes_the_same_steps[3-8-jko",
        "order_two_in_space[options2",
        "steps_of_a_front_that_keep_less_than_they_promise_are_counted[evbdf2-20",
    ),
    "geometric": ("any_shape_is_solved[counts6",),
    "input_files": ("damaged_results_give_their_answer_or_one_line",),
    "interruptible": ("a_long_step_is_stopped[2-130",),
    "laws": (
        "mckean_vlasov_particles_choose_a_side_below_the_critical_diffusion[1.1",
        "particles_that_repel_close_by_and_attract_far_away_form_a_ring[evbdf2",
        "particles_that_repel_close_by_and_attract_far_away_form_a_ring[jko",
        "repelling_particles_fill_a_disc_or_an_annulus[annulus",
        "the_second_moment_of_keller_segel_grows_linearly[80",
    ),
    "muscl": (
        "adaptive_steps_keep_the_bound_and_the_promises[0.0-1e-08",
        "adaptive_steps_keep_the_bound_and_the_promises[0.05-1e-08",
        "mass_over_ten_thousand_substeps",
        "orders_in_space_without_diffusion[graded",
        "orders_in_space_without_diffusion[triangles-monotonised-central]",
        "orders_in_space_without_diffusion[voronoi-monotonised-central]",
        "the_error_of_adaptive_steps_falls_with_the_tolerance[moving",
    ),
    "orders": (
        "adaptive_steps_of_every_linear_stepper[moving-crank-nicolson",
        "adaptive_steps_of_every_linear_stepper[moving-split-euler",
        "adaptive_steps_of_every_linear_stepper[moving-tr-bdf2",
    ),
    "periodic": (
        "both_solvers_of_transport_agree_on_tori[periodic1",
        "both_solvers_of_transport_agree_on_tori[periodic2",
    ),
    "placed_density": (
        "a_uniform_density_fills_the_part_of_each_cell_in_its_box[hexahedra]",
        "a_uniform_density_fills_the_part_of_each_cell_in_its_box[prisms]",
        "a_uniform_density_fills_the_part_of_each_cell_in_its_box[solids]",
        "a_uniform_density_fills_the_part_of_each_cell_in_its_box[tetrahedra",
    ),
    "restricted_voronoi": (
        "a_result_on_them_is_stored_drawn_and_restored[shaken hexahedra",
        "a_result_on_them_is_stored_drawn_and_restored[shaken prisms",
        "overlaps_with_the_elements_fill_both[shaken hexahedra",
        "overlaps_with_the_elements_fill_both[shaken prisms",
        "overlaps_with_the_elements_fill_both[shaken tetrahedra",
    ),
    "resume": (
        "a_resumed_run_is_the_uninterrupted_one_to_the_last_bit[gradient-jko-adaptive-2D",
        "cases_resume_to_the_last_bit[moving-trap-1d",
        "solvers_that_iterate_without_steps_go_on_from_every_iterate[{kind: stationary",
    ),
    "runtime_estimate": ("long_steps_of_explicit_methods_are_timed_in_short[muscl",),
    "score": ("perfect_samples_are_not_told_apart_and_a_shift_is",),
    "several_ranks": (
        "a_rank_that_is_killed_ends_all",
        "a_run_goes_on_with_other_numbers_of_ranks",
        "an_error_of_one_rank_ends_all",
        "ranks_that_see_different_cases_are_refused",
        "results_of_any_number_of_ranks_have_the_bits_of_one",
    ),
    "small_distance": ("the_goals_at_256",),
    "stationary": ("an_iteration_goes_on_from_every_iterate_in_every_part",),
    "steppers": (
        "gradient_steppers_keep_their_contract[JKO(intervals=None, accuracy=0.0001,",
        "gradient_steppers_keep_their_contract[JKO(intervals=None, accuracy=0.001,",
    ),
    "sweep": (
        "dask_gives_the_same_file_with_a_worker_killed",
        "the_owner_killed_loses_two_seconds_and_leaves_no_process",
    ),
    "symmetries": ("the_pairs_are_many_and_of_every_kind",),
    "transport": ("interior_point_weighs_unequal_cells",),
    "walls": (
        "what_remains_and_what_is_absorbed_add_up_to_the_mass[crank-nicolson",
        "what_remains_and_what_is_absorbed_add_up_to_the_mass[split-crank-nicolson",
        "what_remains_and_what_is_absorbed_add_up_to_the_mass[split-euler",
        "what_remains_and_what_is_absorbed_add_up_to_the_mass[tr-bdf2",
        "what_remains_and_what_is_absorbed_add_up_to_the_mass[uniformisation",
    ),
    "wrong_answers": ("the_second_moment_of_keller_segel",),
}
"""How the names of the longest tests of each module test_NAME.py begin; `python -m pytest -m long` runs them.

Each has a shorter one beside it, of the same claim for another method, mesh or length, that always runs."""

IN_TURN = {
    "absorption": {"every_solver_finds_the_same_density_and_keeps_the_balance": 11},
    "axisymmetric": {
        "every_stepper_runs_on_meshes_that_are_turned": 3,
        "gradient_flows_run_on_meshes_that_are_turned": 2,
    },
    "backward": {"absorbing_walls_and_cells_keep_the_pairing": 5, "the_pairing_is_the_same_after_every_step": 11},
    "bridge": {
        "ends_and_balance_are_exact": 5,
        "every_entry_of_an_exponential_is_accurate": 2,
        "the_distance_of_the_ends_is_at_least_w2": 3,
    },
    "cases": {"case_runs_and_keeps_its_checks": 4},
    "cli": {"signals_stop_the_run_and_its_result_goes_on": 3, "streams_that_are_closed_do_not_stop_a_run": 2},
    "closed_forms": {"closed_form_keeps_the_contract": 4},
    "dataset": {
        "file_and_memory_hold_the_same_data_of_every_group": 2,
        "the_cf_conventions_are_kept_where_they_can_be": 2,
    },
    "diffusion": {"moments_of_the_kinetic_oscillator": 2},
    "distance_engine": {"no_bound_is_violated_by_linear_programs": 3},
    "evaluation": {"the_order_in_the_spacing_of_saves_of_gradient_flows": 2},
    "evi_bounds": {"every_sign_of_ornstein_uhlenbeck_is_proved": 2},
    "exponential": {"gibbs_is_stationary": 5, "only_the_error_in_space_is_left": 2},
    "gaussian_jko": {
        "adaptive_steps_of_a_gradient_flow": 2,
        "centred_steps_hardly_need_a_fallback_in_vacuum": 3,
        "multigrid_takes_the_same_steps": 3,
        "order_two_in_space": 2,
        "the_limited_midpoint_step_hardly_needs_a_fallback_in_vacuum": 3,
    },
    "geo_script": {
        "geometries_in_the_style_of_the_tutorials_mesh": 3,
        "meshing_is_left_at_a_signal_and_ends_with_its_parent": 3,
    },
    "geometric": {"any_step_is_solved": 3},
    "interaction": {"fourier_and_matrix_are_the_same": 2, "variance_law": 2},
    "mesh_files": {
        "incomplete_topologies_are_refused": 2,
        "scharfetter_gummel_is_second_order_on_triangles_boxes_and_voronoi_cells": 3,
    },
    "mobility": {"it_is_the_linear_equation_with_diffusion_eps_times_mobility": 2},
    "muscl": {"a_box_stays_between_its_bounds": 5},
    "nothing_silent": {
        "midpoint_keeps_no_roughness_that_should_vanish": 2,
        "the_error_in_time_is_estimated_by_a_companion": 5,
    },
    "orders": {"adaptive_steps_of_every_linear_stepper": 5, "order_in_space": 3},
    "paraview": {"the_file_is_written_again_from_the_result_alone": 4},
    "particles": {
        "a_run_depends_on_its_seed_and_not_on_threads_nor_on_being_stopped": 3,
        "a_uniform_density_stays_uniform_and_inside": 2,
        "jumps_have_the_law_of_implicit_euler": 2,
        "the_wall_of_a_disc_absorbs_as_its_bessel_functions_say": 3,
    },
    "passage": {"large_meshes_in_space_have_quasi_stationary_states_and_committors": 2},
    "periodic": {
        "geodesics_by_transforms_go_the_short_way_around_the_ring": 2,
        "krylov_solves_steps_of_any_length_on_a_torus": 3,
    },
    "placed_density": {
        "a_spike_keeps_its_place": 5,
        "a_uniform_density_fills_the_part_of_each_cell_in_its_box": 5,
        "the_bound_of_what_is_outside_is_one": 2,
        "the_shape_of_a_cell_counts_on_every_mesh": 2,
    },
    "plot": {"pictures_are_written": 3},
    "resume": {"a_resumed_run_is_the_uninterrupted_one_to_the_last_bit": 4, "cases_resume_to_the_last_bit": 2},
    "robust": {"steps_of_random_problems": 11},
    "samples": {"memory_of_a_kernel_estimate_does_not_grow_with_samples_times_cells": 2},
    "shapes": {
        "a_result_starts_a_run_on_its_mesh_and_on_another": 5,
        "gradient_flows_lose_energy_on_every_shape": 9,
        "the_equation_keeps_its_structure_on_every_shape": 3,
        "results_open_with_vtk_and_xugrid_and_hold_their_mesh": 5,
    },
    "split": {"sweeps_are_products_of_dense_solves": 2},
    "steppers": {"gradient_steppers_keep_their_contract": 5, "linear_steppers_keep_their_contract": 3},
    "symmetries": {"related_cases_agree": 3, "round_off_decides_nothing": 2},
    "transport": {"a_geodesic_between_gaussians": 2, "solvers_keep_their_contract": 2},
    "verify": {"estimated_errors_are_within_a_factor_of_two": 2},
    "walls": {"adaptive_steps_keep_the_tail": 2},
    "wrong_answers": {"hard_steps_converge": 2},
}
"""Tests test_NAME of modules test_MODULE.py with so many kinds and meshes that one in so many runs by default, the rest
by `-m long`; a number that does not divide theirs lets kinds and meshes take turns."""

LONGEST = 5.0  # CPU seconds of the tests of a module beyond which a fast run recommends an entry above


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import the slow modules for a fast run."""
    return True if _fast_run(config) and _slow(collection_path) else None


def pytest_collection_finish() -> None:
    """Leave what the modules hold out of later collections of garbage."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as `fast` all that is not in a slow module, and the long tests as `long`."""
    number: defaultdict[tuple[str, str], int] = defaultdict(int)
    for item in items:
        if not _slow(item.path):
            item.add_marker(pytest.mark.fast)
        module, name = item.path.stem.removeprefix("test_"), item.name.removeprefix("test_")
        test = name.partition("[")[0]
        every = IN_TURN.get(module, {}).get(test, 1)
        if name.startswith(LONG.get(module, ())) or number[module, test] % every:
            item.add_marker(pytest.mark.long)
        number[module, test] += 1


@pytest.fixture
def no_products(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Bounds of W2 by levels also where densities are products along the axes, whose distance is known."""
    import fvflow.wasserstein  # noqa: F401  (its function `bounds` hides the module of that name)

    monkeypatch.setattr(sys.modules["fvflow.wasserstein.bounds"], "factors", lambda masses: None)
    return monkeypatch


@pytest.fixture(autouse=True, scope="session")
def _written_in_any_order() -> Iterator[None]:
    """Do not wait for the disk, which matters when the power fails only; processes that tests start do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # refuses what is not open, too
        yield


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
