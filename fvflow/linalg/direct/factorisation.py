"""Sparse LU factorisation, reused over many steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fvflow.errors import NumericsError
from fvflow.interruptible import interruptible
from fvflow.linalg.base import LinearSolver, factor_memory, symmetric_factor_memory
from fvflow.linalg.matrix import FaceMatrix, Solution, Solve, TransposedSolve, rescale_to_mass
from fvflow.mesh import Array, Extent, Index
from fvflow.sums import inner

_DOUBTFUL = 1e-8  # relative correction of the mass beyond which a solution is examined
_LOST, _SAME = 1e-13, 1e-6  # pivot to diagonal below which it is round-off; L1 distance of the refined solution
_LONG = 10**5  # entries of a matrix from which its factorisation may take a second


def factorise(matrix: Any, ordered: bool = False, indefinite: bool = False) -> Any:
    """SuperLU without pivoting, ordered for a symmetric pattern: half the fill of the default, a quarter of the time.

    For an M-matrix all entries of L and U keep their signs, so that substitution only adds numbers of one sign and a
    right-hand side >= 0 gives a solution >= 0 in floating point too. `ordered`: rows are already in their order of
    elimination. `indefinite`: pivot after all, and by default in the ordering of SuperLU.
    Raises NumericsError if the matrix is singular.
    """
    from scipy.sparse.linalg import splu

    options: dict[str, Any] = {
        "permc_spec": "NATURAL" if ordered else "MMD_AT_PLUS_A",
        "diag_pivot_thresh": 0.0,
        "panel_size": 1,  # the factors have few dense blocks: a third faster than the default panels
        "relax": 1,
        "options": {"SymmetricMode": True, "Equil": False},
    }
    if indefinite:
        options = {"permc_spec": "NATURAL" if ordered else "COLAMD"}
    try:
        if matrix.nnz < _LONG:
            return splu(matrix, **options)
        return interruptible(lambda: splu(matrix, **options))
    except RuntimeError as error:
        raise NumericsError(f"the factorisation failed ({error}); use a smaller step") from None


def least_degree_order(matrix: Any) -> Index:
    """The order of elimination (cell,) that `factorise` finds for a symmetric pattern, to serve many matrices with it.

    The matrix has to be one that can be factorised. Liu, Modification of the minimum-degree algorithm by multiple
    elimination, ACM Trans. Math. Softw. 11 (1985).
    """
    return np.argsort(factorise(matrix).perm_c).astype(np.int32)


@dataclass(frozen=True)
class Direct(LinearSolver):
    """Sparse LU factorisation, on any mesh; memory grows like n log n in two dimensions, n^(5/3) in three."""

    kind: Literal["direct"] = "direct"

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: mesh, matrix and factors."""
        return super().memory(extent) + factor_memory(extent)

    def resolve_symmetric(self, extent: Extent) -> Direct:
        """The solver itself: it factorises symmetric systems as well."""
        return self

    def cg_iterations(self) -> None:
        """None: it factorises."""

    def symmetric_memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: mesh, and matrices and factors of Newton systems."""
        return symmetric_factor_memory(extent)

    def resolve_transpose(self, extent: Extent) -> Direct:
        """The solver itself."""
        return self

    def prepare_transpose(self, matrix: FaceMatrix) -> TransposedSolve:
        """Factorise M and solve with the transposed factors."""
        factors = factorise(matrix.sparse())
        return lambda right: factors.solve(right, trans="T")

    def prepare(self, matrix: FaceMatrix) -> Solve:
        """Factorise M; solutions of which more than 1e-8 of the mass is wrong have to pass `_require_agreement`."""
        factors = factorise(matrix.sparse())

        def solve(right: Array, total: float) -> Solution:
            solution = rescale_to_mass(matrix, factors.solve(right), total)
            if solution.correction > _DOUBTFUL:
                _require_agreement(matrix, factors, right, total, solution.density)
            return solution

        return solve


def _require_agreement(matrix: FaceMatrix, factors: Any, right: Array, total: float, density: Array) -> None:
    """Raise NumericsError if round-off in the factors of M has decided how the mass is shared out.

    If one pivot is mostly round-off, the error of a solution is along the density itself, and the correction of its
    mass removes it. Where mass hardly moves between several parts of the mesh in a step, each has such a pivot, and
    such an error, of its own. Smaller errors are found by one refinement. The pivots are read from a copy of the
    factors, which doubles their memory.
    """
    pivots = factors.U.diagonal()[factors.perm_c]
    lost = int(np.count_nonzero(pivots <= _LOST * matrix.diagonal())) if matrix.monotone else 0
    refined = rescale_to_mass(matrix, density + factors.solve(right - matrix.apply(density)), total).density
    apart = inner(matrix.volume, np.abs(refined - density)) / abs(total)
    if lost <= 1 and apart <= _SAME:
        return
    found = f"{lost} pivots of a factorisation are round-off" if lost > 1 else f"a refined solution is {apart:.1e} away"
    raise NumericsError(
        f"{found}: the step is so long that round-off decides how the mass is shared out; use solver krylov, or a "
        "smaller step"
    )
