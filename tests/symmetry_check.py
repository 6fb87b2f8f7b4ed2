"""Pairs of cases that a symmetry relates, run and compared; `python -m tests.symmetry_check --seed 1` counts them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from fvflow.case import Case
from fvflow.case.simulation import Simulation
from fvflow.problems import State
from tests.symmetry_cases import COMBINATIONS, Pair, Symmetry, pairs

BOUND = {True: 1e-10, False: 1e-8}
"""Largest difference of a linear flow, and of a gradient flow."""


def run(case: Case) -> tuple[Simulation, list[State]]:
    """The simulation and all of its states."""
    simulation = case.prepare()
    return simulation, list(simulation.flow.states(simulation.problem, simulation.initial, simulation.times))


def magnitude(simulation: Simulation, state: State) -> tuple[float, float]:
    """The energy, and the sum of the magnitudes of its parts."""
    energy, density = simulation.problem.energy(state.time), state.density
    return energy.value(density), sum(simulation.mesh.volume @ np.abs(term.value(density)) for term in energy.terms)


def differences(case: Case, symmetry: Symmetry) -> tuple[float, float]:
    """Largest L1 distance over the mass, and largest difference of energies over the magnitude of their parts."""
    (simulation, states), (image, images) = run(case), run(symmetry.image(case))
    assert len(states) == len(images)
    distances, energies = [], []
    for state, other in zip(states, images, strict=True):
        expected = symmetry.density(state.density, simulation.mesh.shape)
        distances.append(image.mesh.volume @ np.abs(other.density - expected) / other.mass)
        if min(state.density.min(), other.density.min()) >= 0:  # elsewhere the entropy is infinite
            energy, (value, scale) = magnitude(simulation, state)[0], magnitude(image, other)
            off = abs(value - symmetry.energy(energy, state.mass, case.flow.linear_diffusion()))
            energies.append(off / scale if off > 0 else 0.0)
    return float(max(distances)), float(max(energies, default=0.0))


def for_pairs(stepper: Any, name: str, seed: int, count: int, judge: Callable[[Pair], None]) -> None:
    """Show hypothesis' pairs of a seed to a judge; a pair that it refuses is shown."""

    @seeded(crc32(f"{seed} {stepper.__qualname__} {name}".encode()))
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(pairs(stepper, name))
    def judged(pair: Pair) -> None:
        judge(pair)

    judged()


def main() -> None:
    """Print how many pairs ran and how far apart they were, and every pair beyond its bound."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=3, help="pairs for each stepper and symmetry")
    options = parser.parse_args()
    count: Counter[tuple[bool, str]] = Counter()
    worst = {True: 0.0, False: 0.0}
    for stepper, name in COMBINATIONS:

        def judge(pair: Pair, label: str = f"{stepper.__qualname__} {name}") -> None:
            found = max(differences(pair.case, pair.symmetry))
            count[pair.linear, pair.case.mesh.kind] += 1
            worst[pair.linear] = max(worst[pair.linear], found)
            if not found <= BOUND[pair.linear]:
                print(f"{label}: {found:.2g} in {pair}", flush=True)

        for_pairs(stepper, name, options.seed, options.each, judge)
    for linear, flow in ((True, "linear flows"), (False, "gradient flows")):
        kinds = {kind: number for (of, kind), number in sorted(count.items()) if of == linear}
        print(f"{flow}: {sum(kinds.values())} pairs {kinds}, largest difference {worst[linear]:.2g}")


if __name__ == "__main__":
    main()
