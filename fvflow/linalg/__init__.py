"""Linear solvers for FaceMatrix; each ends with a step that makes the mass right to round-off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fvflow.errors import CaseError
from fvflow.linalg.direct import Direct, factorise
from fvflow.linalg.downhill import Downhill
from fvflow.linalg.kernels import foresee
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.matrix import FaceMatrix, Remembered, Solution, Solve, aggregated, divergence, inner
from fvflow.linalg.multigrid import Multigrid, StaleMultigrid
from fvflow.linalg.ordering import elimination_order
from fvflow.linalg.perturbed import perturbed
from fvflow.linalg.split import Split, Sweeps
from fvflow.linalg.steady import LARGEST_ELIMINATION
from fvflow.linalg.stochastic import Product, jump_rate, product, stretch
from fvflow.linalg.tridiagonal import Tridiagonal
from fvflow.mesh import Extent

LARGEST_DIRECT = 4096  # cells in three dimensions beyond which a factorisation costs more than it saves
_LARGEST_PLANE = 16_384  # the same of a grid in two
_LARGEST_ONCE = 400  # the same of a grid whose matrix serves one step only


@dataclass(frozen=True)
class Auto:
    """tridiagonal in one dimension; in two, direct up to 16384 cells and where the mesh is no grid; in three, direct
    up to 4096 cells; krylov beyond, and on grids of more than 400 cells under a drift that moves: with factors that
    serve one step only such a run takes three times as long on 128^2.
    """

    kind: Literal["auto"] = "auto"

    def choose(self, extent: Extent, steady: bool = True) -> Tridiagonal | Direct | Krylov:
        """The solver for a mesh, from its declared dimension and size, and whether a matrix serves many steps."""
        if extent.dimension == 1:
            return Tridiagonal()
        few = extent.cells <= _largest(extent, steady)
        return Direct() if few or (extent.dimension == 2 and not extent.grid) else Krylov()

    def reason(self, extent: Extent, steady: bool = True) -> str:
        """Why, in a clause."""
        if extent.dimension == 1:
            return "a chain of cells is eliminated in linear time"
        if extent.cells <= _largest(extent, steady):
            return f"up to {_largest(extent, steady)} cells the factors are small and right in every tail"
        if extent.cells <= _largest(extent):
            return "the drift moves, so that factors would serve one step only"
        if extent.dimension == 2 and not extent.grid:
            return "the factors of a plane mesh serve every step"
        return "on a grid, by sweeps along its axes" if extent.grid else "factors would not fit"


def _largest(extent: Extent, steady: bool = True) -> int:
    if extent.grid and not steady:
        return _LARGEST_ONCE
    return _LARGEST_PLANE if extent.dimension == 2 else LARGEST_DIRECT


Solver = Auto | Tridiagonal | Direct | Krylov


def chosen(solver: Solver, extent: Extent, steady: bool = True) -> Tridiagonal | Direct | Krylov:
    """The solver itself, or what `auto` picks for the mesh; raises CaseError if it does not fit the mesh."""
    if isinstance(solver, Tridiagonal) and extent.dimension != 1:
        raise CaseError("solver tridiagonal works in one space dimension; use direct, krylov or auto")
    return solver.choose(extent, steady) if isinstance(solver, Auto) else solver


def fitted(solver: Solver | Split, extent: Extent, steady: bool = True) -> Tridiagonal | Direct | Krylov | Split:
    """As `chosen`, or the sweeps of a split stepper; raises CaseError if they do not fit the mesh."""
    if not isinstance(solver, Split):
        return chosen(solver, extent, steady)
    solver.require(extent)
    return solver


def described(solver: Solver | Split, extent: Extent, steady: bool = True) -> str:
    """The solver by name, and why `auto` picks it."""
    kind = fitted(solver, extent, steady).kind
    return f"{kind} (auto: {solver.reason(extent, steady)})" if isinstance(solver, Auto) else kind


def estimated_bytes(solver: Tridiagonal | Direct | Krylov | Split, extent: Extent) -> int:
    """Memory of a run with the solver, roughly: 300 bytes a cell and dimension, and the factors.

    Measured without a matrix, 1024^2 and 128^3: 170 bytes a cell and dimension with split steppers, 220 with krylov.
    Entries of the factors per cell, measured on grids of n cells: 22 to 64 (3.6 log2 n) from 32^2 to 512^2, 47 to 480
    (0.5 n^(2/3)) from 8^3 to 32^3; 12 bytes an entry.
    """
    dimension, cells = extent.dimension, extent.cells
    if isinstance(solver, Split) or (isinstance(solver, Krylov) and extent.grid):
        return (170 if isinstance(solver, Split) else 220) * dimension * cells
    base = 300 * dimension * cells
    if not isinstance(solver, Direct):
        return base
    fill = {1: 4.0, 2: 3.6 * math.log2(max(cells, 2)), 3: 0.5 * cells ** (2 / 3) + 10}[dimension]
    return base + int(12 * fill * cells)


def product_bytes(extent: Extent) -> int:
    """Memory of a run by products alone, roughly: mesh and flux as `estimated_bytes`, the matrix, three work arrays."""
    dimension, cells = extent.dimension, extent.cells
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
    "Split",
    "StaleMultigrid",
    "Sweeps",
    "Tridiagonal",
    "aggregated",
    "chosen",
    "described",
    "divergence",
    "elimination_order",
    "estimated_bytes",
    "factorise",
    "fitted",
    "foresee",
    "inner",
    "jump_rate",
    "perturbed",
    "product",
    "product_bytes",
    "stretch",
]
