"""The same case in other cells and steps."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

from fvflow.case.checks import Checks, Output
from fvflow.case.error_estimate import ErrorEstimate
from fvflow.case.simulation import Simulation
from fvflow.errors import CaseError, placed
from fvflow.times import Times

C = TypeVar("C")


def at_resolution(case: C, space: int = 0, longer: float = 1.0, *, saves: bool = False, order: float = 1.0) -> C:
    """The case with cells 2^-space as large along each axis and steps `longer` times as long.

    Unless `saves` is true, only the frames at start and end are saved, and that in the middle if the end is given;
    nothing is checked or stored beside the density, and `observe` stays. `order` is the order in time, for steps under
    error control. Raises CaseError if the mesh cannot be refined or coarsened.
    """
    parts: Any = case
    changes: dict[str, Any] = {"checks": Checks(), "output": Output(), "times": parts.times}
    if space:
        changes["mesh"] = parts.mesh.refined(2**space) if space > 0 else parts.mesh.coarsened(2**-space)
    if parts.times is not None and not saves:
        ends_given = parts.flow.end_density is not None
        changes["times"] = dataclasses.replace(parts.times, save=0.5 * parts.times.span if ends_given else None)
    if longer != 1.0:
        changes["flow"] = parts.flow.in_intervals(longer)
        if isinstance(changes["times"], Times):
            changes["times"] = changes["times"].in_steps(longer, order if math.isfinite(order) else 1.0)
    try:
        made: C = dataclasses.replace(parts, **changes)
    except CaseError as error:
        raise CaseError(f"at {2.0**space:g} times the resolution: {error}") from None
    return made


def with_error_estimate(simulation: Simulation, case: Any) -> Simulation:
    """The simulation of a case, with what estimates its error if the case asks for it.

    Raises CaseError, placed at the key, if the case cannot be run at half its resolution.
    """
    if case.output.error_estimate:
        flow = simulation.flow
        assert flow.order_in_space is not None
        longer = 2.0 ** (flow.order_in_space / flow.order_in_time) if simulation.times.steps else 1.0
        with placed("output", "error-estimate"):
            try:
                coarser = at_resolution(case, -1, longer, saves=True, order=flow.order_in_time).prepare()
            except CaseError as error:
                raise CaseError(f"needs a run at half the resolution: {' '.join(map(str, error.args))}") from None
        simulation.estimate = ErrorEstimate.of(simulation, coarser)
    return simulation
