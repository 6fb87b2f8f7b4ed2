"""Linear solvers for FaceMatrix; each ends with a step that makes the mass right to round-off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fvflow.linalg.direct import Direct, factorise
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, aggregated, divergence
from fvflow.linalg.tridiagonal import Tridiagonal
from fvflow.mesh import Mesh

LARGEST_DIRECT = 4096  # cells in three dimensions beyond which a factorisation costs more than it saves


@dataclass(frozen=True)
class Auto:
    """tridiagonal in one dimension; direct in two; in three, direct up to 4096 cells and krylov beyond."""

    kind: Literal["auto"] = "auto"

    def choose(self, mesh: Mesh) -> Tridiagonal | Direct | Krylov:
        """The solver for a mesh, from its declared dimension and size."""
        if mesh.dimension == 1:
            return Tridiagonal()
        if mesh.dimension == 2 or mesh.cells <= LARGEST_DIRECT:
            return Direct()
        return Krylov()


Solver = Auto | Tridiagonal | Direct | Krylov


def chosen(solver: Solver, mesh: Mesh) -> Tridiagonal | Direct | Krylov:
    """The solver itself, or what `auto` picks for the mesh."""
    return solver.choose(mesh) if isinstance(solver, Auto) else solver


def estimated_bytes(solver: Tridiagonal | Direct | Krylov, mesh: Mesh) -> int:
    """Memory of a run with the solver, roughly: 30 numbers a cell and dimension, and the fill of a factorisation.

    The fill per cell was measured as 3.2 log2(n) in two dimensions and n^(1/3) in three (n cells), 12 bytes an entry.
    """
    cells, dimension = mesh.cells, mesh.dimension
    base = 240 * dimension * cells
    if not isinstance(solver, Direct):
        return base
    fill = {1: 4.0, 2: 3.2 * math.log2(max(cells, 2)), 3: 2.0 * cells ** (1 / 3) + 10}[dimension]
    return base + int(12 * fill * cells)


__all__ = [
    "Auto",
    "Direct",
    "FaceMatrix",
    "Krylov",
    "Solution",
    "Solve",
    "Solver",
    "Tridiagonal",
    "aggregated",
    "chosen",
    "divergence",
    "estimated_bytes",
    "factorise",
]
