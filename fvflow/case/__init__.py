"""Cases: YAML files as frozen values; the only part of the house that knows pydantic and YAML."""

from fvflow.case.checks import Checks, Output
from fvflow.case.core import Case, json_schema
from fvflow.case.simulation import Simulation

__all__ = ["Case", "Checks", "Output", "Simulation", "json_schema"]
