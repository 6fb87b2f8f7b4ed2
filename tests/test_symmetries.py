"""Two cases that an exact symmetry of the equations relates give equal results, in every stepper.

On these small meshes every default linear solver is direct, and `krylov` stops at a residual of 1e-12.
"""

from collections import Counter
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from fvflow.case import Case
from fvflow.energies import Entropy, Interaction, PorousMedium, Potential, PowerLaw
from fvflow.fields import BaseDrift, Spike, Uniform
from fvflow.flows import WassersteinFlow
from fvflow.mesh import Array, Box, Graded
from fvflow.steppers import EVBDF2, JKO, GradientStepper, LinearStepper, Midpoint
from fvflow.times import Times
from tests.symmetry_cases import COMBINATIONS, ORDERED, STEPPERS, SYMMETRIES, Pair, identity
from tests.symmetry_check import BOUND, differences, for_pairs, run

SEED, EACH = 0, 1  # pairs for each stepper and symmetry


@pytest.mark.parametrize(("stepper", "name"), COMBINATIONS)
def test_related_cases_agree(stepper, name):
    """Hypothesis draws the pairs, of a fixed seed; `python -m tests.symmetry_check` counts them, and has others."""

    def agree(pair: Pair) -> None:
        distance, energy = differences(pair.case, pair.symmetry)
        assert distance <= BOUND[pair.linear]
        assert energy <= BOUND[pair.linear]

    for_pairs(stepper, name, SEED, EACH, agree)


ROUGH = {
    "an interaction beside vacuum": (
        Graded((-2.0,), (2.0,), (50,), (2.0,)),
        WassersteinFlow((Entropy(0.18), Interaction("r**2/2")), JKO(intervals=2)),
        Uniform((-0.5,), (0.5,)),
        Times(0.06, 0.015),
    ),
    "two fronts that vacuum connects": (
        Graded((-2.0, -2.0), (2.0, 2.0), (10, 11), (2.0, 0.5)),
        WassersteinFlow((PowerLaw(3.6, 1.2), Potential("cos(3*x) + y**2/2 + 0.3*x*y")), EVBDF2()),
        Uniform((-0.8, -0.8), (0.8, 0.8)),
        Times(0.44, 0.088),
    ),
    "a cycle of Newton's method": (
        Graded((-2.5, -2.25, -2.0), (2.0, 2.5, 2.75), (5, 6, 6), (2.0, 0.5, 1.5)),
        WassersteinFlow((Entropy(0.032), Potential("x**2/2 + cos(3*y) + (z**2 - 1)**2/4 + 0.3*x*y")), Midpoint()),
        Spike((-0.2, 0.9, 0.6)),
        Times(0.036, 0.009),
    ),
}


@pytest.mark.parametrize("name", ROUGH)
def test_round_off_decides_nothing(name: str):
    """Rough data whose results once depended on round-off, by more than 1e-3."""
    mesh, flow, initial, times = ROUGH[name]
    same, case = identity(len(mesh.cells)), Case(mesh, flow, initial, times)
    mirror = replace(same, sign=(-1, *same.sign[1:]))
    for symmetry in (replace(same, mass=1e-4), replace(same, length=1e6, time=1.5e5), mirror):
        assert max(differences(case, symmetry)) <= 1e-8


def test_the_interior_point_is_as_fast_in_other_units():
    """Round-off may change the iterations of each step by one."""
    mesh = Graded((-2.0, -2.0, -2.0), (2.0, 2.25, 2.5), (5, 6, 5), (2.0, 0.5, 1.5))
    flow = WassersteinFlow((PorousMedium(3.8), Potential("cos(3*x) + 2*abs(y) + z**2")), JKO(intervals=1))
    case = Case(mesh, flow, Spike((0.3, -0.4, 0.5)), Times(6.0, 3.0))
    states, images = (run(each)[1] for each in (case, replace(identity(3), length=1e-6, time=10.0).image(case)))
    assert all(state.switches == image.switches == 1 for state, image in zip(states[1:], images[1:], strict=True))
    off = [abs(state.iterations - image.iterations) for state, image in zip(states, images, strict=True)]
    assert max(off) <= 1


def drawn(stepper, name: str, count: int) -> list[Pair]:
    """The pairs of a stepper and a symmetry."""
    found: list[Pair] = []
    for_pairs(stepper, name, SEED, count, found.append)
    return found


def test_the_pairs_are_many_and_of_every_kind():
    found = {pair: drawn(*pair, 3) for pair in COMBINATIONS}  # as `symmetry_check` has them
    steppers = {*get_args(LinearStepper), *get_args(GradientStepper)}
    assert steppers == set(STEPPERS)
    missing = {(stepper, name) for stepper in steppers for name in SYMMETRIES} - set(found)
    assert {(stepper.kind, name) for stepper, name in missing} == {(kind, "permutation") for kind in ORDERED}
    cases = [pair.case for group in found.values() for pair in group]
    assert len(cases) >= 200
    assert {case.mesh.extent.dimension for case in cases} == {1, 2, 3}
    for name in SYMMETRIES:
        kinds = Counter(pair.case.mesh.kind for (_, of), group in found.items() for pair in group if of == name)
        assert {"box", "graded", "cells"} <= set(kinds)
        assert kinds["cells"] >= 3
    shapes = {case.mesh.centre is None for case in cases if case.mesh.kind == "cells"}
    assert shapes == {True, False}, "triangles and Voronoi cells"
    assert {case.initial.kind for case in cases} == {"gaussian", "mixture", "uniform", "spike", "array"}
    assert sum(case.times.adaptive is not None for case in cases) >= 10
    parts = {type(part) for case in cases for part in getattr(case.flow, "energy", ())}
    assert parts == {Entropy, PorousMedium, PowerLaw, Potential, Interaction}
    for drift in ("potential", "velocity", "stream"):
        assert any(getattr(case.flow, drift, None) is not None for case in cases)


@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_wrong_image_shows(name: str):
    """The comparison above can fail: a mass that is off by 1e-6 changes a nonlinear flow."""
    (pair,) = drawn(Midpoint, name, 1)
    energies = PorousMedium(2.0), Potential("x**2/2")
    case = Case(pair.case.mesh, WassersteinFlow(energies), pair.case.initial, Times(0.2, 0.1))
    assert max(differences(case, pair.symmetry)) <= 1e-8
    simulation, states = run(case)
    image = pair.symmetry.image(case)
    object.__setattr__(image.initial, "mass", image.initial.mass * (1 + 1e-6))
    last = run(image)[1][-1]
    expected = pair.symmetry.density(states[-1].density, simulation.mesh.shape)
    shape = last.density / last.density.sum() - expected / expected.sum()
    assert np.abs(shape).sum() > 1e-8


class Differenced(BaseDrift):
    """-grad of a potential by central differences."""

    steady = True

    def __init__(self, length: float) -> None:
        self.length = length

    def velocity_at(self, position: Array, time: float, step: float) -> Array:
        ahead, behind = (np.sin((position + side * step) / self.length) for side in (1, -1))
        return -(self.length**2) * (ahead - behind) / (2 * step)


@pytest.mark.parametrize("length", [1e-6, 1e6])
def test_the_step_of_differences_follows_the_mesh(length):
    drops = [
        Differenced(unit).potential_drop(Box((-2 * unit,), (2 * unit,), (40,)).build(), 0.0) / unit**2
        for unit in (1.0, length)
    ]
    np.testing.assert_allclose(drops[1], drops[0], rtol=1e-10)
