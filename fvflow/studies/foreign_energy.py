"""The energy of densities from elsewhere, by the case of the result that they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fvflow.case import Case
from fvflow.case.build import openings_of, problem_of
from fvflow.mesh import Array
from fvflow.studies.operands import Densities


def energy_by(rival: Densities, side: Densities) -> Callable[[Array, float], float] | None:
    """The energy of a density (cell,) on the mesh of one side at a time, by the equation of the other side's case.

    None if that has no case, or its equation no energy. Raises CaseError if the equation cannot be had on the mesh.
    """
    text = None if rival.ds is None else rival.ds.attrs.get("case")
    if rival.ds is None or not isinstance(text, str):
        return None
    case = Case.parse(text, str(rival.ds.encoding.get("source", "case")))
    problem: Any = problem_of(case, side.mesh, openings_of(case, side.mesh), float(side.time[0]))
    if problem.energy(float(side.time[0])) is None:
        return None
    return lambda density, time: float(problem.energy(time).value(density))
