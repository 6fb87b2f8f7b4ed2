"""Cases: YAML files as frozen values. Only this package imports pydantic and yaml."""

from fvflow.case.checks import Checks, MissedCheck, Output
from fvflow.case.continuation import continuation, resume
from fvflow.case.core import Case, json_schema
from fvflow.case.simulation import Simulation

__all__ = ["Case", "Checks", "MissedCheck", "Output", "Simulation", "continuation", "json_schema", "resume"]
