"""The equations in arrays, and the state of a run."""

from fvflow.problems.base import Problem
from fvflow.problems.bridge import Bridge
from fvflow.problems.case_diffusivity import diffusivity, mobility
from fvflow.problems.diffusivity import logarithmic_mean
from fvflow.problems.flux_drift import FluxDrift
from fvflow.problems.fokker_planck import FokkerPlanck
from fvflow.problems.gradient_flow import GradientFlow
from fvflow.problems.state import Movement, OutputVariable, State, Stride
from fvflow.problems.transport import Transport

__all__ = [
    "Bridge",
    "FluxDrift",
    "FokkerPlanck",
    "GradientFlow",
    "Movement",
    "OutputVariable",
    "Problem",
    "State",
    "Stride",
    "Transport",
    "diffusivity",
    "logarithmic_mean",
    "mobility",
]
