"""One-step methods: stepper.start(problem) gives a function (state, length) -> state."""

from fvflow.steppers.jko import JKO, LJKO
from fvflow.steppers.linear import CrankNicolson, ImplicitEuler, LinearStepper, Step, TrBdf2
from fvflow.steppers.midpoint import Midpoint

GradientStepper = LJKO | JKO | Midpoint

__all__ = [
    "JKO",
    "LJKO",
    "CrankNicolson",
    "GradientStepper",
    "ImplicitEuler",
    "LinearStepper",
    "Midpoint",
    "Step",
    "TrBdf2",
]
