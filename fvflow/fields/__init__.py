"""Expressions, tables, drifts, interaction kernels and densities of a case."""

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
from fvflow.fields.diffusion import Diffusion, SteadyDiffusion
from fvflow.fields.drift import BaseDrift, Drift, DriftFunction
from fvflow.fields.expression import (
    LARGEST_VALUE,
    Expression,
    Formula,
    FormulaMark,
    HamiltonianFormula,
    KernelFormula,
    Parameters,
    SteadyFormula,
)
from fvflow.fields.function import FunctionKind, ScalarFunction, SumFunction, as_function, files_of, sum_of
from fvflow.fields.grammar import RESERVED, ExpressionError
from fvflow.fields.kernel import Kernel
from fvflow.fields.point_file import PointSet, read_points
from fvflow.fields.samples import ArraySamples, Samples
from fvflow.fields.sampling import cell_values, gaussian_density, tensor_product
from fvflow.fields.spike import Spike
from fvflow.fields.table import ArrayTable, ArrayTableDensity, Function, SteadyFunction, Table, TableDensity

__all__ = [
    "LARGEST_VALUE",
    "RESERVED",
    "ArrayDensity",
    "ArraySamples",
    "ArrayTable",
    "ArrayTableDensity",
    "BaseDrift",
    "Component",
    "Coverage",
    "Density",
    "DensityKind",
    "Diffusion",
    "Drift",
    "DriftFunction",
    "Expression",
    "ExpressionDensity",
    "ExpressionError",
    "Formula",
    "FormulaMark",
    "FromFile",
    "Function",
    "FunctionKind",
    "Gaussian",
    "HamiltonianFormula",
    "Kernel",
    "KernelFormula",
    "Mixture",
    "Parameters",
    "Point",
    "PointSet",
    "Samples",
    "Sampling",
    "ScalarFunction",
    "Spike",
    "SteadyDiffusion",
    "SteadyFormula",
    "SteadyFunction",
    "SumFunction",
    "Table",
    "TableDensity",
    "Uniform",
    "as_function",
    "cell_values",
    "files_of",
    "gaussian_density",
    "read_points",
    "sum_of",
    "tensor_product",
]
