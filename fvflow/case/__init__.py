"""Cases: YAML files as frozen values. Only this package imports pydantic and yaml.

Names are imported when they are first used: a run needs a part of them only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvflow.deferred import deferred

if TYPE_CHECKING:
    from fvflow.case.case_schema import json_schema
    from fvflow.case.checks import Checks, MissedCheck, Output
    from fvflow.case.continuation import resume, shared_continuation
    from fvflow.case.core import Case
    from fvflow.case.curve_measure import CurveMeasure, measure
    from fvflow.case.evaluation import Evaluation
    from fvflow.case.pairing import Duality, duality
    from fvflow.case.pointwise import at
    from fvflow.case.pushing import PushedPoints, push
    from fvflow.case.sides import Sides, compare_sides
    from fvflow.case.simulation import Simulation
    from fvflow.case.weak_residual import Balance, WeakResidual, balance, residual

_MODULES = {
    "json_schema": "case_schema",
    "Checks": "checks",
    "MissedCheck": "checks",
    "Output": "checks",
    "resume": "continuation",
    "shared_continuation": "continuation",
    "Case": "core",
    "CurveMeasure": "curve_measure",
    "measure": "curve_measure",
    "Evaluation": "evaluation",
    "Duality": "pairing",
    "duality": "pairing",
    "at": "pointwise",
    "PushedPoints": "pushing",
    "push": "pushing",
    "Sides": "sides",
    "compare_sides": "sides",
    "Simulation": "simulation",
    "Balance": "weak_residual",
    "WeakResidual": "weak_residual",
    "balance": "weak_residual",
    "residual": "weak_residual",
}
__all__ = [
    "Balance",
    "Case",
    "Checks",
    "CurveMeasure",
    "Duality",
    "Evaluation",
    "MissedCheck",
    "Output",
    "PushedPoints",
    "Sides",
    "Simulation",
    "WeakResidual",
    "at",
    "balance",
    "compare_sides",
    "duality",
    "json_schema",
    "measure",
    "push",
    "residual",
    "resume",
    "shared_continuation",
]

__getattr__ = deferred(__name__, _MODULES)
