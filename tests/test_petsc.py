"""PETSc is no requirement: the tests of every solver (test_linalg.py) take it in where it is installed."""

import pytest

from fvflow.errors import CaseError
from fvflow.linalg import resolve_solver
from fvflow.linalg.petsc import Petsc
from fvflow.mesh import Extent


def test_without_petsc4py_a_case_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr("fvflow.parallel.petsc.find_spec", lambda name: None)
    with pytest.raises(CaseError, match="needs petsc4py, which is not installed; the guide says how"):
        resolve_solver(Petsc(), Extent.of((8, 8)))
