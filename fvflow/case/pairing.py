"""The duality of the backward and the forward equation, step by step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fvflow.case.core import Case
from fvflow.errors import CaseError
from fvflow.march import given_steps
from fvflow.mesh import Array
from fvflow.times import Times


@dataclass(frozen=True, eq=False)
class Duality:
    """The pairing sum_K |K| phi_K rho_K after every step; the notes, equations (30)-(38)."""

    times: Array
    """Times (step + 1,)."""
    pairing: Array
    """The pairing at these times (step + 1,)."""
    change: float
    """Largest change of the pairing, relative to sum_K |K| |phi_K| rho_K at the start."""
    step_change: float
    """Largest change in one step, relative to the same."""


def duality(case: Case) -> Duality:
    """Run a case of flow `backward` and pair phi with the forward run after every step.

    phi of all steps is in memory at once. Raises CaseError for another flow, and as `Case.run`.
    """
    if "pairing" not in case.flow.scalars():
        raise CaseError(f"duality is for flow backward, with its `final` values; the case has flow {case.flow.kind}")
    run = case.prepare()
    assert isinstance(run.times, Times)  # a flow in steps
    ends = tuple(end for _, end in given_steps(run.times, run.times.save_time(0)))
    every = replace(run.times, save=ends[:-1])
    found: list[tuple[float, float, float]] = []
    for state in run.flow.states(run.problem, run.initial, every):
        phi, weight = state.fields["phi"], run.mesh.volume * state.density
        found.append((state.time, float(state.fields["pairing"]), float(weight @ np.abs(phi))))
    at, pairing, sizes = (np.array(column) for column in zip(*found, strict=True))
    scale = sizes[0] or 1.0
    return Duality(at, pairing, float(np.ptp(pairing)) / scale, float(np.abs(np.diff(pairing)).max()) / scale)
