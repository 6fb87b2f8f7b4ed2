"""Expressions, drifts, interaction kernels and densities of a case."""

from fvflow.fields.base import DensityKind, Sampling
from fvflow.fields.density import (
    ArrayDensity,
    Component,
    Density,
    ExpressionDensity,
    FromFile,
    Gaussian,
    Mixture,
    Point,
    Spike,
    Uniform,
)
from fvflow.fields.drift import BaseDrift, Drift, DriftFunction
from fvflow.fields.expression import Expression, Formula, FormulaMark, KernelFormula, Parameters, SteadyFormula
from fvflow.fields.grammar import RESERVED, ExpressionError
from fvflow.fields.kernel import Kernel
from fvflow.fields.sampling import cell_values, gaussian_density, tensor_product

__all__ = [
    "RESERVED",
    "ArrayDensity",
    "BaseDrift",
    "Component",
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
