"""Linear systems that PETSc solves; the only module that imports petsc4py."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError, NumericsError

Array = NDArray[np.float64]
_HOW = "the README says how to install it (PETSc), or use solver: {kind: krylov}"
_OPTIONS = ["fvflow", "-no_signal_handler"]  # signals are those of fvflow
_PREFIX = "fvflow_"
_GAMG = {  # for matrices that are not symmetric: plain aggregation, and no smoother that needs bounds of the spectrum
    "pc_gamg_agg_nsmooths": 0,
    "mg_levels_ksp_type": "richardson",
    "mg_levels_pc_type": "sor",
}


def missing_petsc() -> str:
    """A sentence if petsc4py is not installed, otherwise empty."""
    return "" if find_spec("petsc4py") else f"solver petsc needs petsc4py, which is not installed; {_HOW}"


def _petsc() -> Any:
    """The module of PETSc, initialised; raises CaseError if it is of another PETSc than petsc4py was built for."""
    if sentence := missing_petsc():
        raise CaseError(sentence)
    try:
        import petsc4py

        petsc4py.init(_OPTIONS)
        from petsc4py import PETSc
    except (ImportError, RuntimeError) as error:
        raise CaseError(f"petsc4py cannot be used ({' '.join(str(error).split())}); {_HOW}") from None
    return PETSc


class PetscSystem:
    """One matrix M (cell, cell), in CSR, with a Krylov method and a preconditioner by their names in PETSc."""

    def __init__(self, matrix: Any, method: str, preconditioner: str) -> None:
        petsc = _petsc()
        index, cells = petsc.IntType, matrix.shape[0]
        parts = matrix.indptr.astype(index), matrix.indices.astype(index), matrix.data
        self._matrix = petsc.Mat().createAIJ((cells, cells), csr=parts, comm=petsc.COMM_SELF)
        self._solver = petsc.KSP().create(petsc.COMM_SELF)
        self._solver.setOperators(self._matrix)
        options = petsc.Options(_PREFIX)
        for name, value in _GAMG.items():
            options[name] = value
        self._solver.setOptionsPrefix(_PREFIX)
        self._solver.setType(method)
        self._solver.getPC().setType(preconditioner)
        self._solver.setFromOptions()
        self._solver.setMonitor(lambda solver, iteration, norm: None)  # lets signals in between iterations
        self._right, self._found = self._matrix.createVecs()
        try:
            self._solver.setUp()
        except petsc.Error as error:
            raise CaseError(
                f"PETSc has no preconditioner {preconditioner} here ({_sentence(error)}); use another one"
            ) from None
        self._error = petsc.Error

    def solve(self, right: Array, reduction: float, most: int) -> tuple[Array, int]:
        """x (cell,) with |b - M x|_2 <= reduction |b|_2, or after `most` iterations; and the iterations.

        Raises NumericsError if the iteration breaks down.
        """
        self._right.setArray(right)
        self._solver.setTolerances(rtol=reduction, atol=0.0, divtol=1e30, max_it=most)
        try:
            self._solver.solve(self._right, self._found)
        except self._error as error:
            raise NumericsError(f"solver petsc failed ({_sentence(error)}); use another preconditioner") from None
        found = np.array(self._found.getArray())
        if not np.isfinite(found).all():
            raise NumericsError("solver petsc broke down; use another preconditioner, or a smaller step")
        return found, int(self._solver.getIterationNumber())


def _sentence(error: Exception) -> str:
    """What PETSc says, on one line."""
    return " ".join(str(error).split())[:200]
