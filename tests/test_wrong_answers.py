"""Inputs in tests/wrong_answers that once gave a wrong answer, or none: each gives its value or its refusal."""

from __future__ import annotations

import re
from pathlib import Path

import fipy
import numpy as np
import pytest

import fvflow
from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.linalg import total_variation
from tests.scenes import every_state

FOLDER = Path(__file__).parent / "wrong_answers"


def read(name):
    """The case, from the folder of its files."""
    return Case.read(FOLDER / f"{name}.yaml")


@pytest.mark.parametrize(
    ("name", "place", "told"),
    [
        ("silent-rescale", "4:10: initial", "write `mass: integral` to keep the values .* or `mass: M` to scale them"),
        ("half-cut", "3:10: initial", "50 % of the density is outside the mesh, .* or `truncate: 0.6` to cut it off"),
        ("under-resolved", "3:10: initial", r"deviation of the density is 0.05 cells, .* \{kind: spike"),
        ("off-mesh-target", "7:11: flow.target", "100 % of the density is outside the mesh"),
        ("parameters-in-numbers", "4:34: initial.mean.0", "unknown name x0"),
        ("adaptive-none", "4:8: times", "shortest 2 is longer than end 1"),
    ],
)
def test_it_is_refused_at_its_place(name, place, told):
    with pytest.raises(CaseError, match=rf"{name}.yaml:{re.escape(place)}: .*{told}"):
        read(name).prepare()


def test_a_target_off_the_mesh_is_refused_for_every_sampling():
    with pytest.raises(CaseError, match="100 % of the density is outside the mesh"):
        read("off-mesh-target").replace({"flow.target.sampling": "average"}).prepare()


def test_the_values_of_an_expression_are_kept_or_scaled_as_the_case_says():
    """u(0, .1) of d_t u = (u^2)_xx from 1 on |x| < 1/4, by a stiff integrator on 200 cells, and from mass 1."""
    for mass, value, total in (("integral", 0.47765, 0.5), (1.0, 0.7675, 1.0)):
        ds = read("silent-rescale").replace({"initial.mass": mass}).run()
        assert ds.rho[-1].sel(x=0.0, method="nearest") == pytest.approx(value, abs=1e-3)
        assert ds.mass.values == pytest.approx(total, abs=1e-12)


def test_half_a_gaussian_is_cut_off_where_that_is_allowed():
    remarks = read("half-cut").replace({"initial.truncate": 0.6}).prepare().remarks()
    assert any(remark.startswith("50 % of the initial density is outside the mesh and cut off") for remark in remarks)


def test_a_spike_keeps_its_mean():
    np.testing.assert_allclose(read("delta-moved").run()["mean"].values, 5.0, atol=1e-13)


def test_a_drift_that_cells_do_not_resolve_is_told_with_the_cure():
    """By `check` on the mesh of the file, and by the run on one of a sixteenth of the cells and to t = 2."""
    case = read("peclet-silent")
    coarse = case.replace(
        {"mesh.cells": [60, 60], "times": {"end": 2, "step": 0.1}, "initial.covariance": np.eye(2) * 0.3}
    )
    simulation = coarse.prepare()
    every_state(coarse, simulation)
    for told in (case.check()["Peclet number"], *simulation.remarks()):
        assert re.search(
            r"first order in space there, with numerical diffusion up to \|v\| d/2, [\d.]+ times eps", told
        )
        assert re.search(r"use stepper muscl, or cells \d+ times as small", told)


def test_midpoint_does_not_ring():
    states = every_state(read("midpoint-rings"))
    mesh = read("midpoint-rings").prepare().mesh
    assert max(total_variation(mesh, state.density) for state in states) <= 4.05
    scaled = read("midpoint-rings").replace({"flow.energy.0.coefficient": 1 / 7, "initial.mass": 7.0})
    for one, other in zip(states, every_state(scaled), strict=True):
        assert np.abs(other.density / 7 - one.density).sum() <= 1e-8 * one.density.sum()


def test_numbers_are_expressions_of_parameters_in_any_units():
    case = Case.read(FOLDER / "parameters-in-numbers.yaml", overrides={"parameters.x0": "0.5"})
    assert case.flow.epsilon == pytest.approx(5.125e-11, rel=1e-15)
    assert case.mesh.upper == (6.0,)
    assert case.run().mass[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("start", [1.0, None])
def test_a_run_goes_on_by_the_clock(start, tmp_path, monkeypatch):
    """At the time of the frame, also where the start is not given, as the drift uses t."""
    read("clock-first").write(tmp_path / "clock-first.nc")
    text = (FOLDER / "clock-second.yaml").read_text()
    (tmp_path / "second.yaml").write_text(text if start else text.replace("start: 1, ", ""))
    second = Case.read(tmp_path / "second.yaml").run()
    single = read("clock-first").replace({"times.end": 5}).run()
    np.testing.assert_array_equal(second.time, single.time[2:])
    np.testing.assert_allclose(second.rho, single.rho[2:], rtol=0, atol=1e-12)


HARD = [
    *("porous-m11-narrow", "porous-m7-vacuum", "porous-m8-square"),
    *("attraction-m3-hat", "attraction-m3-plane", "attraction-m5-line", "attraction-m5-full"),
]


@pytest.mark.parametrize("name", HARD)
def test_hard_steps_converge(name):
    """The energy falls, the mass stays, and there are at most 20 Newton iterations a step."""
    simulation = read(name).prepare()
    states = every_state(read(name), simulation)
    figures = simulation.figures()
    assert figures["iterations"] <= 20 * figures["steps"]
    assert figures["mass_drift"] <= 1e-14
    assert figures["energy_increase"] <= 1e-14
    assert figures["minimum"] >= 0
    assert figures["halvings"] == figures["fallbacks"] == 0
    if name == "attraction-m5-line":
        density = states[-1].density
        variation = simulation.problem.energy(0.0).first(density)[density > 1e-6]
        assert np.ptp(variation) <= 1e-6, "E' is constant on the support"


def test_the_second_moment_of_keller_segel_grows_as_the_virial_law_says():
    case = read("keller-segel-coarse")
    simulation = case.prepare()
    states, mesh = every_state(case, simulation), simulation.mesh
    first, last = (mesh.volume * state.density @ (mesh.centre**2).sum(axis=1) for state in (states[0], states[-1]))
    mass = 15.079644737231007
    assert (last - first) / 0.3 == pytest.approx(4 * mass * (1 - mass / (8 * np.pi)), rel=0.03)


def test_a_spherical_grid_of_another_program_keeps_its_measure():
    """Its volume in the unit ball is 1/3, per unit angle; the slowest rate is tested with the radial meshes."""
    assert fvflow.from_fipy(fipy.SphericalGrid1D(nr=200, Lr=1.0)).volume.sum() == pytest.approx(1 / 3)
