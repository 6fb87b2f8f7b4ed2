"""Expressions, drifts, interaction kernels and densities of a case."""

from fvflow.fields.base import Coverage, DensityKind, Sampling
from fvflow.fields.density import (
    ArrayDensity,
    Component,
    Density,
    ExpressionDensity,
    FromFile,
    Gaussian,
    Mixture,
    Uniform,
)
from fvflow.fields.density_types import Point
from fvflow.fields.drift import BaseDrift, Drift, DriftFunction
from fvflow.fields.expression import Expression, Formula, FormulaMark, KernelFormula, Parameters, SteadyFormula
from fvflow.fields.grammar import RESERVED, ExpressionError
from fvflow.fields.kernel import Kernel
from fvflow.fields.sampling import cell_values, gaussian_density, tensor_product
from fvflow.fields.spike import Spike

__all__ = [
    "RESERVED",
    "ArrayDensity",
    "BaseDrift",
    "Component",
    "Coverage",
    "Density",
    "DensityKind",
    "Drift",
    "DriftFunction",
    "Expression",
    "ExpressionDensity",
    "ExpressionError",
    "Formula",
    "FormulaMark",
    "FromFile",
    "Gaussian",
    "Kernel",
    "KernelFormula",
    "Mixture",
    "Parameters",
    "Point",
    "Sampling",
    "Spike",
    "SteadyFormula",
    "Uniform",
    "cell_values",
    "gaussian_density",
    "tensor_product",
]
