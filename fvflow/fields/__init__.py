"""What a case writes as text or names: expressions, drifts and densities."""

from fvflow.fields.base import DensityKind, Sampling
from fvflow.fields.density import (
    Component,
    Density,
    ExpressionDensity,
    FromFile,
    Gaussian,
    Mixture,
    Point,
    Spike,
    Uniform,
    cell_values,
    gaussian_density,
    tensor_product,
)
from fvflow.fields.drift import Drift
from fvflow.fields.expression import (
    RESERVED,
    Expression,
    ExpressionError,
    Formula,
    FormulaMark,
    KernelFormula,
    Parameters,
    SteadyFormula,
)
from fvflow.fields.kernel import Kernel

__all__ = [
    "RESERVED",
    "Component",
    "Density",
    "DensityKind",
    "Drift",
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
