"""Many steps and many cases in one process: the mass stays, and memory stays flat."""

import gc
from pathlib import Path

import pytest

from fvflow import Case

STEPS = 20_000  # a million were measured once: see fvflow/GUARANTEES.md
CASES = 400
SLACK = 1.5  # MiB by which the memory may grow in 15 000 steps, or in the later 200 cases


def resident():
    """Resident memory, MiB."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 2**20


@pytest.mark.parametrize("stepper", ["implicit-euler", "tr-bdf2", "crank-nicolson", "split-euler"])
def test_mass_and_memory_over_many_steps(stepper):
    times = {"end": 1e-3 * STEPS, "step": 1e-3, "save": 1e-3 * STEPS}
    changes = {"mesh.cells": [60], "times": times, "flow.stepper": {"kind": stepper}, "exact": None, "checks": {}}
    simulation = Case.read("cases/ou-1d.yaml").replace(changes).prepare()
    used = {}

    def watch(state):
        if state.step in (STEPS // 4, STEPS):
            used[state.step] = resident()

    for _ in simulation.frames(watch):
        pass
    figures = simulation.figures()
    assert figures["steps"] == STEPS
    assert figures["mass_drift"] <= 1e-14
    assert used[STEPS] - used[STEPS // 4] <= SLACK


KINDS = {
    "ou-1d": [24],
    "ou-1d-jko": [24],
    "ou-1d-midpoint": [24],
    "ou-1d-evbdf2": [24],
    "ou-2d-rotating": [8, 8],
    "muscl-rotation": [12, 12],
    "porous-medium-box-vacuum": [8, 8],
    "stationary-rotation": [8, 8],
}


def test_memory_over_many_cases():
    """No run leaves anything behind: a later half of the runs takes no more memory than the first one has."""
    texts = []
    for name, cells in KINDS.items():
        case = Case.read(f"cases/{name}.yaml")
        changes = {"mesh.cells": cells, "checks": {}, "exact": None}
        if case.times is not None:
            changes["times"] = {"end": 3 * case.times.step, "step": case.times.step}
        texts.append(case.replace(changes).text)
    used = []
    for number in range(CASES):
        Case.parse(texts[number % len(texts)]).run()
        if number in (CASES // 2, CASES - 1):
            gc.collect()
            used.append(resident())
    assert used[1] - used[0] <= SLACK
