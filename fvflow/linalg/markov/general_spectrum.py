"""The slowest modes of a graph of cells that is not in detailed balance: complex rates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.markov.spectrum import LARGEST_DENSE
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index

_SHIFT = 1e-12  # of the largest rate: keeps the factorised matrix regular
_ACCEPTED = 1e-8  # residual above which the modes are refused, of the largest rate
_GUARD = 6  # modes beyond the requested ones, of which those with the smallest real parts are taken
_SAME = 1.0 - 1e-8  # product of two unit eigenvectors, or of one and the other's conjugate, that are the same
_REAL = 1e-12  # imaginary part, relative to the whole, that is round-off
_ROUND_OFF = np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class GeneralModes:
    """Eigenvalues and eigenvectors of the scaled generator by growing real part, without those of eigenvalue 0."""

    rates: Array  # (mode,) real parts
    frequencies: Array  # (mode,) imaginary parts: those of a pair are w and -w
    vectors: Array  # (mode, cell) real and imaginary part of the eigenvector of a pair, each as a mode of its own
    iterations: int
    residual: float  # largest |S y - rate y|_2 over the largest entry of S
    gap_error: float  # relative uncertainty of the first rate from round-off and iteration


def slowest_general_modes(matrix: FaceMatrix, root: Array, parts: Index, count: int) -> GeneralModes:
    """The `count` slowest modes of a graph with the steady state root^2 (cell,) > 0, connected in its parts.

    With u = rho sqrt(|K|)/root the equation |K| d_t rho = -A rho becomes d_t u = -S u, and root sqrt(|K|) spans the
    null spaces of S and of S'. Eigenvectors come from shift-invert Arnoldi in its complement, on small graphs from a
    dense eigensolver. The first gives those whose eigenvalues are nearest to 0, and the modes are ordered by real
    parts: one that decays slowly and turns fast may be missing, which a larger count tells. `gap_error` is the residual
    of the first rate times its condition number, 1/|y'x| with the unit left and right eigenvectors y, x. Raises
    NumericsError if the iteration does not converge.
    """
    from scipy.sparse import csr_array, identity

    weight = np.sqrt(matrix.volume) * root
    steady = weight / np.sqrt(np.bincount(parts, weight**2))[parts]

    basis = csr_array((steady, (np.arange(len(root)), parts)))

    def project(x: Any) -> Any:
        """x (..., cell) projected on the complement of the steady states."""
        return x - (x @ basis) @ basis.T

    sparse = _scaled(matrix, root)
    largest, wanted = float(sparse.diagonal().max()), min(count + _GUARD, len(root) - int(parts.max()) - 1)
    if len(root) <= LARGEST_DENSE:
        right, left, solves = *_dense(sparse, steady, parts, wanted, largest), 0
    else:
        shifted = (sparse + _SHIFT * largest * identity(len(root))).tocsc()
        (right, solves), (left, further) = (_arnoldi(part, project, wanted) for part in (shifted, shifted.T.tocsc()))
        solves += further
    vectors = _upper(project(right.T))
    images = (sparse @ vectors.T).T
    values = np.vecdot(vectors, images)
    order = np.argsort(values.real, kind="stable")
    values, vectors = values[order], vectors[order]
    residuals = np.linalg.norm(images[order] - values[:, None] * vectors, axis=1)
    modes = [mode for value, vector in zip(values, vectors, strict=True) for mode in _real_modes(value, vector)][:count]
    worst = float(residuals.max()) / largest
    if not worst <= _ACCEPTED:
        raise NumericsError(
            f"the modes did not converge: residual {worst:.1e} of the largest entry (allowed: {_ACCEPTED:.0e}); "
            "request another count, or use a coarser mesh"
        )
    pairing = max(float(np.abs(left.T @ vectors[0]).max()), float(np.abs(left.T.conj() @ vectors[0]).max()))
    error = (float(residuals[0]) + 4 * _ROUND_OFF * largest) / max(pairing * float(values[0].real), 1e-300)
    return GeneralModes(
        np.array([mode.rate for mode in modes]),
        np.array([mode.frequency for mode in modes]),
        np.stack([mode.vector for mode in modes]),
        solves,
        worst,
        float(error),
    )


@dataclass(frozen=True, eq=False)
class _Mode:
    """A real mode: a real eigenvector, or the real or the imaginary part of a complex one."""

    rate: float
    frequency: float
    vector: Array  # (cell,)


def _scaled(matrix: FaceMatrix, root: Array) -> Any:
    """S as a scipy CSC matrix."""
    from scipy.sparse import diags

    outflow = replace(matrix, volume=np.zeros_like(root)).sparse()
    scale = np.sqrt(matrix.volume)
    return (diags(1.0 / (root * scale)) @ outflow @ diags(root / scale)).tocsc()


def _dense(sparse: Any, steady: Array, parts: Index, count: int, largest: float) -> tuple[Any, Any]:
    """Right and left eigenvectors (cell, mode) of smallest real parts; the steady states are shifted to the top."""
    from scipy.linalg import eig

    shifted = sparse.toarray() + 4 * largest * np.outer(steady, steady) * (parts[:, None] == parts)
    values, left, right = eig(shifted, left=True, right=True)
    chosen = np.argsort(values.real, kind="stable")[:count]
    return right[:, chosen], left[:, chosen]


def _arnoldi(shifted: Any, project: Any, count: int) -> tuple[Any, int]:
    """Eigenvectors (cell, mode) of smallest eigenvalues in the complement of the steady states, and the solves."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigs

    factors, solves = factorise(shifted), 0

    def inverse(x: Any) -> Any:
        nonlocal solves
        solves += 1
        return project(factors.solve(project(np.ravel(x))))

    start = project(np.random.default_rng(0).normal(size=shifted.shape[0]))
    operator: Any = LinearOperator(shifted.shape, matvec=inverse, dtype=np.float64)
    try:
        return eigs(operator, k=count, which="LM", v0=inverse(start))[1], solves
    except ArpackError as error:
        raise NumericsError(f"the modes did not converge ({error}); request another count") from None


def _upper(vectors: Any) -> Any:
    """Unit eigenvectors (mode, cell) of real rates, and one of each complex pair."""
    kept: list[Any] = []
    for vector in vectors:
        unit = vector / np.linalg.norm(vector)
        if all(abs(np.dot(other, unit)) < _SAME and abs(np.vdot(other, unit)) < _SAME for other in kept):
            kept.append(unit)
    return np.stack(kept)


def _real_modes(value: complex, vector: Any) -> list[_Mode]:
    """A real eigenvector as a mode; two for a complex one, whose phase makes its parts orthogonal, the first larger."""
    vector = vector * np.exp(-0.5j * np.angle(np.dot(vector, vector)))
    vector *= np.sign(vector.real[int(np.argmax(np.abs(vector.real)))])
    rate, frequency = float(value.real), float(value.imag)
    if abs(frequency) <= _REAL * abs(value) and np.linalg.norm(vector.imag) <= _REAL:
        return [_Mode(rate, 0.0, vector.real / np.linalg.norm(vector.real))]
    sign = 1.0 if frequency > 0 else -1.0  # of a pair either may be at hand
    return [_Mode(rate, abs(frequency), vector.real), _Mode(rate, -abs(frequency), sign * vector.imag)]
