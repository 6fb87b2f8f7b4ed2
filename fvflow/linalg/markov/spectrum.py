"""The slowest modes of a graph of cells in detailed balance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index

DENSE = 300  # cells up to which all eigenvalues are computed
_SHIFT = 1e-12  # of the largest rate: keeps the factorised matrix definite
_TOLERANCE = 1e-11  # residual of an eigenvector that is aimed at, of the largest rate
_ENOUGH = 1e-8  # and that is borne
_ITERATIONS, _GUARD = 200, 4


@dataclass(frozen=True, eq=False)
class Modes:
    """Eigenvalues and eigenvectors of the symmetrised generator, slowest first, without those of eigenvalue 0."""

    rates: Array  # (mode,)
    vectors: Array  # (mode, cell), orthonormal and orthogonal to the root of the cells' masses
    iterations: int
    residual: float  # largest |S y - rate y|_2 over the largest entry of S
    gap_error: float  # what the first rate may be off by through round-off and iteration, relative


def slowest(matrix: FaceMatrix, root: Array, parts: Index, count: int, direct: bool) -> Modes:
    """The `count` slowest modes of a graph in detailed balance with pi = root^2 (cell,), connected in its parts.

    With u = rho sqrt(|K|/pi) the equation |K| d_t rho = -A rho becomes d_t u = -S u,

        S = G'G,  (G u)_s = sqrt(down_s/|K|) u_K - sqrt(up_s/|L|) u_L,  S_KL = -sqrt(down_s up_s)/sqrt(|K| |L|),

    which needs no pi: it may range over all doubles. Vectors by shift-invert Lanczos with a factorisation (`direct`) or
    by LOBPCG with classical multigrid on root S root, a weighted Laplacian (Knyazev, Toward the optimal preconditioned
    eigensolver, SIAM J. Sci. Comput. 23, 2001), both in the complement of the steady states. Rates are |G y|^2/|y|^2,
    whose error is that of the vector squared, so that rates far below the round-off of S are told too: 1e-22 for two
    wells. `gap_error` says when the first is lost.
    Raises NumericsError if the iteration does not converge.
    """
    weight = np.sqrt(matrix.volume) * root
    still = weight / np.sqrt(np.bincount(parts, weight**2))[parts]  # the roots of the steady masses, each of norm 1

    def projected(x: Any) -> Any:
        """x without the steady states."""
        return x - still * np.bincount(parts, still * x)[parts]

    sparse = _symmetric(matrix)
    largest = float(sparse.diagonal().max())
    random = np.random.default_rng(0).normal(size=(len(weight), count + _GUARD)) * weight[:, None]
    if len(weight) <= DENSE:
        vectors, iterations = _dense(sparse, still, parts, count, largest), 0
    elif direct:
        vectors, iterations = _factorised(sparse, projected, random[:, 0], count, largest)
    else:
        vectors, iterations = _preconditioned(sparse, root * np.sqrt(matrix.volume), still, parts, random, largest)
    vectors = np.stack([projected(vector) for vector in vectors.T[:count]])
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    rates = np.array([_rate(matrix, vector) for vector in vectors])
    order = np.argsort(rates, kind="stable")
    rates, vectors = rates[order], np.stack([_signed(vector) for vector in vectors[order]])
    off = np.linalg.norm(sparse @ vectors.T - rates * vectors.T, axis=0)
    if not off.max() <= _ENOUGH * largest:
        raise NumericsError(
            f"the modes did not converge: residual {off.max() / largest:.1e} of the largest entry (allowed: "
            f"{_ENOUGH:.0e}); ask for another count, or use a coarser mesh"
        )
    return Modes(rates, vectors, iterations, float(off.max()) / largest, _gap_error(rates, float(off[0]), largest))


def _symmetric(matrix: FaceMatrix) -> Any:
    """S as a scipy CSR matrix."""
    from scipy.sparse import coo_matrix

    root, every = np.sqrt(matrix.volume), np.arange(len(matrix.volume), dtype=np.int32)
    leaving = np.bincount(matrix.owner, matrix.down, len(root)) + np.bincount(matrix.neighbour, matrix.up, len(root))
    beside = -np.sqrt(matrix.down) * np.sqrt(matrix.up) / (root[matrix.owner] * root[matrix.neighbour])
    rows = np.concatenate([every, matrix.owner, matrix.neighbour])
    columns = np.concatenate([every, matrix.neighbour, matrix.owner])
    values = np.concatenate([leaving / matrix.volume, beside, beside])
    return coo_matrix((values, (rows, columns)), shape=(len(root), len(root))).tocsr()


def _rate(matrix: FaceMatrix, vector: Array) -> float:
    """|G y|^2/|y|^2."""
    value = vector / np.sqrt(matrix.volume)
    across = np.sqrt(matrix.down) * value[matrix.owner] - np.sqrt(matrix.up) * value[matrix.neighbour]
    return float(across @ across) / float(vector @ vector)


def _gap_error(rates: Array, off: float, largest: float) -> float:
    """|S y - rate y|^2 over the distance to the next rate, or its root if that is near; and the round-off of |G y|^2.

    Kato, On the upper and lower bounds of eigenvalues, J. Phys. Soc. Japan 4 (1949).
    """
    apart = len(rates) > 1 and rates[1] > 2 * rates[0]
    error = off**2 / float(rates[1] - rates[0]) if apart else off
    return float((error + 4 * np.finfo(float).eps ** 2 * largest) / max(rates[0], 1e-300))


def _signed(vector: Array) -> Array:
    """The vector with the first of its largest entries positive."""
    size = np.abs(vector)
    return np.asarray(vector * np.sign(vector[np.argmax(size >= 0.999999 * size.max())]))


def _dense(sparse: Any, still: Array, parts: Index, count: int, largest: float) -> Array:
    """All vectors of a small matrix (cell, mode), the steady states lifted out of the way."""
    from scipy.linalg import eigh

    lifted = sparse.toarray() + 4 * largest * np.outer(still, still) * (parts[:, None] == parts)
    return np.asarray(eigh(lifted, subset_by_index=(0, count - 1))[1])


def _factorised(sparse: Any, projected: Any, start: Array, count: int, largest: float) -> tuple[Array, int]:
    """Lanczos with (S + shift)^-1, and how often that was applied."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    shift, solves = _SHIFT * largest, 0
    factors = factorise((sparse + shift * identity(len(start))).tocsc())

    def inverse(x: Array) -> Array:
        nonlocal solves
        solves += 1
        return np.asarray(projected(factors.solve(projected(x))))

    operator: Any = LinearOperator(sparse.shape, matvec=inverse, dtype=np.float64)
    try:
        values, vectors = eigsh(sparse, k=count, sigma=-shift, OPinv=operator, v0=inverse(start))
    except ArpackError as error:
        raise NumericsError(f"the modes did not converge ({error}); ask for another count") from None
    return vectors[:, np.argsort(values)], solves


def _preconditioned(
    sparse: Any, weight: Array, still: Array, parts: Index, start: Array, largest: float
) -> tuple[Array, int]:
    """LOBPCG, and its iterations; more vectors than asked for, so that the last of these converges too."""
    from scipy.sparse import coo_matrix, csr_matrix, diags
    from scipy.sparse.linalg import LinearOperator, lobpcg

    scale = np.maximum(weight / weight.max(), 1e-150)
    cycle = hierarchy(csr_matrix(diags(scale) @ sparse @ diags(scale)))
    precondition: Any = LinearOperator(
        sparse.shape, matvec=lambda x: scale * cycle(scale * x.ravel()), dtype=np.float64
    )
    cells = np.arange(len(weight))
    steady = coo_matrix((still, (cells, parts)), shape=(len(weight), int(parts.max()) + 1)).toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it could not reach shows in the residual
        try:
            values, vectors, history = lobpcg(
                sparse,
                start,
                M=precondition,
                Y=steady,
                largest=False,
                tol=_TOLERANCE * largest,
                maxiter=_ITERATIONS,
                retResidualNormsHistory=True,
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            raise NumericsError(f"the modes did not converge ({error}); ask for another count") from None
    return np.asarray(vectors[:, np.argsort(values)], np.float64), len(history)
