"""One-step methods: `stepper.start(problem)` returns the step, a function (state, length) -> state."""

from fvflow.steppers.base import GROWTH, EmbeddedStep, GradientStepperBase, Leap, LinearStepperBase, Step
from fvflow.steppers.evbdf2 import EVBDF2
from fvflow.steppers.exponential import Chebyshev, Uniformisation
from fvflow.steppers.finite import FiniteCheck, finite_check, require_finite
from fvflow.steppers.gradient_euler import GradientImplicitEuler
from fvflow.steppers.jko import JKO, LJKO
from fvflow.steppers.linear import CrankNicolson, ImplicitEuler, TrBdf2
from fvflow.steppers.midpoint import Midpoint
from fvflow.steppers.muscl import Muscl, Reconstructed
from fvflow.steppers.split import SplitCrankNicolson, SplitEuler

LinearStepper = (
    ImplicitEuler | CrankNicolson | TrBdf2 | SplitEuler | SplitCrankNicolson | Chebyshev | Uniformisation | Muscl
)
GradientStepper = LJKO | JKO | GradientImplicitEuler | Midpoint | EVBDF2

__all__ = [
    "EVBDF2",
    "GROWTH",
    "JKO",
    "LJKO",
    "Chebyshev",
    "CrankNicolson",
    "EmbeddedStep",
    "FiniteCheck",
    "GradientImplicitEuler",
    "GradientStepper",
    "GradientStepperBase",
    "ImplicitEuler",
    "Leap",
    "LinearStepper",
    "LinearStepperBase",
    "Midpoint",
    "Muscl",
    "Reconstructed",
    "SplitCrankNicolson",
    "SplitEuler",
    "Step",
    "TrBdf2",
    "Uniformisation",
    "finite_check",
    "require_finite",
]
