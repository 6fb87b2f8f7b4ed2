"""Linear solvers for FaceMatrix; each ends with a step that makes the mass right to round-off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fvflow.errors import CaseError
from fvflow.linalg.direct import Direct, factorise
from fvflow.linalg.downhill import Downhill
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.matrix import FaceMatrix, Remembered, Solution, Solve, aggregated, divergence
from fvflow.linalg.multigrid import Multigrid, StaleMultigrid
from fvflow.linalg.ordering import elimination_order
from fvflow.linalg.perturbed import perturbed
from fvflow.linalg.split import swept
from fvflow.linalg.steady import LARGEST_ELIMINATION
from fvflow.linalg.stochastic import Product, jump_rate, product, stretch
from fvflow.linalg.tridiagonal import Tridiagonal
from fvflow.mesh import Extent

LARGEST_DIRECT = 4096  # cells in three dimensions beyond which a factorisation costs more than it saves


@dataclass(frozen=True)
class Auto:
    """tridiagonal in one dimension; direct in two; in three, direct up to 4096 cells and krylov beyond."""

    kind: Literal["auto"] = "auto"

    def choose(self, extent: Extent) -> Tridiagonal | Direct | Krylov:
        """The solver for a mesh, from its declared dimension and size."""
        if extent.dimension == 1:
            return Tridiagonal()
        if extent.dimension == 2 or extent.cells <= LARGEST_DIRECT:
            return Direct()
        return Krylov()


Solver = Auto | Tridiagonal | Direct | Krylov


def chosen(solver: Solver, extent: Extent) -> Tridiagonal | Direct | Krylov:
    """The solver itself, or what `auto` picks for the mesh; raises CaseError if it does not fit the mesh."""
    if isinstance(solver, Tridiagonal) and extent.dimension != 1:
        raise CaseError("solver tridiagonal works in one space dimension; use direct, krylov or auto")
    return solver.choose(extent) if isinstance(solver, Auto) else solver


def estimated_bytes(solver: Tridiagonal | Direct | Krylov, extent: Extent) -> int:
    """Memory of a run with the solver, roughly: 300 bytes a cell and dimension, and the factors.

    Entries of the factors per cell, measured on grids of n cells: 22 to 64 (3.6 log2 n) from 32^2 to 512^2, 47 to 480
    (0.5 n^(2/3)) from 8^3 to 32^3; 12 bytes an entry.
    """
    dimension, cells = extent
    base = 300 * dimension * cells
    if not isinstance(solver, Direct):
        return base
    fill = {1: 4.0, 2: 3.6 * math.log2(max(cells, 2)), 3: 0.5 * cells ** (2 / 3) + 10}[dimension]
    return base + int(12 * fill * cells)


def product_bytes(extent: Extent) -> int:
    """Memory of a run by products alone, roughly: mesh and flux as `estimated_bytes`, the matrix, three work arrays."""
    dimension, cells = extent
    return 300 * dimension * cells + (12 * (2 * dimension + 1) + 24) * cells


__all__ = [
    "LARGEST_DIRECT",
    "LARGEST_ELIMINATION",
    "Auto",
    "Direct",
    "Downhill",
    "FaceMatrix",
    "Krylov",
    "Multigrid",
    "Product",
    "Remembered",
    "Solution",
    "Solve",
    "Solver",
    "StaleMultigrid",
    "Tridiagonal",
    "aggregated",
    "chosen",
    "divergence",
    "elimination_order",
    "estimated_bytes",
    "factorise",
    "jump_rate",
    "perturbed",
    "product",
    "product_bytes",
    "stretch",
    "swept",
]
