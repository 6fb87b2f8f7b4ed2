"""Linear systems that PETSc solves; the only module that imports petsc4py."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError, NumericsError
from fvflow.parallel.launched import world

Array = NDArray[np.float64]
_HOW = "the guide says how to install it (fvflow/GUIDE.md, PETSc), or use solver: {kind: krylov}"
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
    """One matrix M (cell, cell), in CSC, with a Krylov method and a preconditioner by their names in PETSc.

    Several ranks take the rows of one part of the cells each, parts that METIS makes of the graph of M.
    """

    def __init__(self, matrix: Any, method: str, preconditioner: str) -> None:
        petsc, comm = _petsc(), world()
        if petsc.COMM_WORLD.size != comm.size:
            raise CaseError(
                f"{comm.size} ranks run, and petsc4py sees {petsc.COMM_WORLD.size}: it is of another MPI than mpiexec; "
                "start it by the mpiexec of the MPI that PETSc was built with"
            )
        self._error, self._comm = petsc.Error, comm
        self._order, self._counts = _in_parts(matrix, comm.size)
        first = sum(self._counts[: comm.rank])
        self._own = self._order[first : first + self._counts[comm.rank]]
        rows = matrix.tocsr()[self._own][:, self._order]
        rows.sort_indices()
        sizes = (len(self._own), matrix.shape[0])
        parts = rows.indptr.astype(petsc.IntType), rows.indices.astype(petsc.IntType), rows.data
        self._matrix = petsc.Mat().createAIJ((sizes, sizes), csr=parts, comm=petsc.COMM_WORLD)
        self._right, self._found = self._matrix.createVecs()
        self._solver = petsc.KSP().create(petsc.COMM_WORLD)
        self._solver.setOperators(self._matrix)
        options = petsc.Options(_PREFIX)
        for name, value in _GAMG.items():
            options[name] = value
        self._solver.setOptionsPrefix(_PREFIX)
        self._solver.setType(method)
        self._solver.setMonitor(lambda solver, iteration, norm: None)  # lets signals in between iterations
        try:
            self._solver.getPC().setType(preconditioner)
            self._solver.setFromOptions()
            self._solver.setUp()
        except petsc.Error as error:
            raise CaseError(
                f"PETSc has no preconditioner {preconditioner} here ({_sentence(error)}); use another one"
            ) from None

    def solve(self, right: Array, reduction: float, most: int) -> tuple[Array, int]:
        """x (cell,) with |b - M x|_2 <= reduction |b|_2, or after `most` iterations; and the iterations.

        Raises NumericsError if the iteration breaks down.
        """
        self._right.setArray(right[self._own])
        self._solver.setTolerances(rtol=reduction, atol=0.0, divtol=1e30, max_it=most)
        try:
            self._solver.solve(self._right, self._found)
        except self._error as error:
            raise NumericsError(f"solver petsc failed ({_sentence(error)}); use another preconditioner") from None
        found = np.empty(len(right))
        found[self._order] = self._comm.joined(self._found.getArray(), self._counts)
        if not np.isfinite(found).all():
            raise NumericsError("solver petsc broke down; use another preconditioner, or a smaller step")
        return found, int(self._solver.getIterationNumber())


def _in_parts(matrix: Any, count: int) -> tuple[Any, list[int]]:
    """The cells (cell,) by parts of the graph of a matrix with few links between them, and the cells of each part."""
    cells = matrix.shape[0]
    if count == 1:
        return np.arange(cells), [cells]
    if find_spec("pymetis") is None:
        raise CaseError(f"solver petsc on several ranks needs pymetis, which is not installed; {_HOW}")
    import pymetis

    graph = (matrix != 0).astype(np.int8)
    graph.setdiag(0)
    graph.eliminate_zeros()
    _, part = pymetis.part_graph(count, xadj=graph.indptr.tolist(), adjncy=graph.indices.tolist())
    sizes = np.bincount(part, minlength=count)
    if (sizes == 0).any():
        raise CaseError(f"{cells} cells cannot be divided among {count} ranks; use fewer")
    return np.argsort(part, kind="stable"), sizes.tolist()


def _sentence(error: Exception) -> str:
    """What PETSc says, on one line."""
    return " ".join(str(error).split())[:200]
