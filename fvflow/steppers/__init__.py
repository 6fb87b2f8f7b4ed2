"""One-step methods: stepper.start(problem) gives a function (state, length) -> state."""

from fvflow.steppers.jko import LJKO, GradientStepper
from fvflow.steppers.linear import CrankNicolson, ImplicitEuler, LinearStepper, Step, TrBdf2

__all__ = ["LJKO", "CrankNicolson", "GradientStepper", "ImplicitEuler", "LinearStepper", "Step", "TrBdf2"]
