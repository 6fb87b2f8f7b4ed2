"""The slowest modes of a graph of cells in detailed balance."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.iterates import Iterate, Progress, require_count, require_iterate
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.direct.factorisation import factorise
from fvflow.linalg.matrix import FaceMatrix
from fvflow.mesh import Array, Index

LARGEST_DENSE = 300  # cells up to which the eigensolver is dense
_SHIFT = 1e-12  # of the largest rate: keeps the factorised matrix definite
_TOLERANCE = 1e-11  # residual of an eigenvector at which LOBPCG stops, of the largest rate
_ACCEPTED = 1e-8  # residual above which the modes are refused
_ROUND, _ROUNDS = 20, 10  # iterations of LOBPCG before it starts anew, and such rounds
_GUARD = 4


@dataclass(frozen=True, eq=False)
class Eigenmodes:
    """Eigenvalues and eigenvectors of the symmetrised generator, slowest first, without those of eigenvalue 0."""

    rates: Array  # (mode,)
    vectors: Array  # (mode, cell), orthonormal and orthogonal to the root of the cells' masses
    iterations: int
    residual: float  # largest |S y - rate y|_2 over the largest entry of S
    gap_error: float  # relative uncertainty of the first rate from round-off and iteration; near 1 it is meaningless


def slowest_modes(
    matrix: FaceMatrix,
    root: Array,
    parts: Index,
    count: int,
    direct: bool,
    progress: Progress | None = None,
    start: Iterate | None = None,
) -> Eigenmodes:
    """The `count` slowest modes of a graph in detailed balance with pi = root^2 (cell,), connected in its parts.

    With u = rho sqrt(|K|/pi) the equation |K| d_t rho = -A rho becomes d_t u = -S u,

        S = G'G,  (G u)_s = sqrt(down_s/|K|) u_K - sqrt(up_s/|L|) u_L,  S_KL = -sqrt(down_s up_s)/sqrt(|K| |L|),

    which does not contain pi: its range may exceed that of doubles. Vectors come from shift-invert Lanczos with a
    factorisation (`direct`), or from LOBPCG with classical multigrid on root S root, a weighted Laplacian (Knyazev,
    Toward the optimal preconditioned eigensolver, SIAM J. Sci. Comput. 23, 2001), both in the complement of the steady
    states. Rates are |G y|^2/|y|^2, with the error of the vector squared, so that rates far below the round-off of S
    are resolved too: 1e-22 for two wells. `gap_error` shows when the first is lost. Raises NumericsError if the
    iteration does not converge. LOBPCG starts anew after each 20 iterations; `progress` gets the iterate before that,
    and from that it goes on to the same bits.
    """
    weight = np.sqrt(matrix.volume) * root
    stationary = weight / np.sqrt(np.bincount(parts, weight**2))[parts]  # normalised per part

    def project(x: Any) -> Any:
        """x projected on the complement of the steady states."""
        return x - stationary * np.bincount(parts, stationary * x)[parts]

    sparse = _symmetric(matrix)
    largest = float(sparse.diagonal().max())
    random = np.random.default_rng(0).normal(size=(len(weight), count + _GUARD)) * weight[:, None]
    if len(weight) <= LARGEST_DENSE:
        vectors, iterations = _dense(sparse, stationary, parts, count, largest), 0
    elif direct:
        vectors, iterations = _shift_invert_lanczos(sparse, project, random[:, 0], count, largest)
    else:
        place = {"iterations": 0, "round": 0, "vectors": random}
        if start is not None:
            require_iterate(start, place)
            require_count(start["round"], _ROUNDS - 1)
            place = dict(start)
        vectors, iterations = _lobpcg(sparse, weight, stationary, parts, place, largest, progress)
    vectors = np.stack([project(vector) for vector in vectors.T[:count]])
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    rates = np.array([_rate(matrix, vector) for vector in vectors])
    order = np.argsort(rates, kind="stable")
    rates, vectors = rates[order], np.stack([_with_fixed_sign(vector) for vector in vectors[order]])
    residuals = np.linalg.norm(sparse @ vectors.T - rates * vectors.T, axis=0)
    if not residuals.max() <= _ACCEPTED * largest:
        raise NumericsError(
            f"the modes did not converge: residual {residuals.max() / largest:.1e} of the largest entry (allowed: "
            f"{_ACCEPTED:.0e}); request another count, or use a coarser mesh"
        )
    return Eigenmodes(
        rates, vectors, iterations, float(residuals.max()) / largest, _gap_error(rates, float(residuals[0]), largest)
    )


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


def _gap_error(rates: Array, residual: float, largest: float) -> float:
    """Relative error bound of the first rate from the residual |S y - rate y|, and from the round-off of |G y|^2.

    The residual squared over the distance to the next rate, or the residual itself if the next rate is close.

    Kato, On the upper and lower bounds of eigenvalues, J. Phys. Soc. Japan 4 (1949).
    """
    apart = len(rates) > 1 and rates[1] > 2 * rates[0]
    error = residual**2 / float(rates[1] - rates[0]) if apart else residual
    round_off = float(np.finfo(float).eps)  # of the rate as a number
    return max(float((error + 4 * round_off**2 * largest) / max(rates[0], 1e-300)), round_off)


def _with_fixed_sign(vector: Array) -> Array:
    """The vector with the sign that makes the first of its largest entries positive."""
    size = np.abs(vector)
    return np.asarray(vector * np.sign(vector[np.argmax(size >= 0.999999 * size.max())]))


def _dense(sparse: Any, stationary: Array, parts: Index, count: int, largest: float) -> Array:
    """Eigenvectors of a small matrix (cell, mode), with the eigenvalue 0 shifted to the top of the spectrum."""
    from scipy.linalg import eigh

    shifted = sparse.toarray() + 4 * largest * np.outer(stationary, stationary) * (parts[:, None] == parts)
    return np.asarray(eigh(shifted, subset_by_index=(0, count - 1))[1])


def _shift_invert_lanczos(sparse: Any, project: Any, start: Array, count: int, largest: float) -> tuple[Array, int]:
    """Lanczos with (S + shift)^-1, and the number of its applications."""
    from scipy.sparse import identity
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    shift, solves = _SHIFT * largest, 0
    factors = factorise((sparse + shift * identity(len(start))).tocsc())

    def inverse(x: Array) -> Array:
        nonlocal solves
        solves += 1
        return np.asarray(project(factors.solve(project(x))))

    operator: Any = LinearOperator(sparse.shape, matvec=inverse, dtype=np.float64)
    try:
        values, vectors = eigsh(sparse, k=count, sigma=-shift, OPinv=operator, v0=inverse(start))
    except ArpackError as error:
        raise NumericsError(f"the modes did not converge ({error}); request another count") from None
    return vectors[:, np.argsort(values)], solves


def _lobpcg(
    sparse: Any,
    weight: Array,
    stationary: Array,
    parts: Index,
    place: Iterate,
    largest: float,
    progress: Progress | None,
) -> tuple[Array, int]:
    """LOBPCG from a place, and its iterations; guard vectors make the last of the requested modes converge too."""
    from scipy.sparse import coo_matrix, csr_matrix, diags
    from scipy.sparse.linalg import LinearOperator, lobpcg

    scale = np.maximum(weight / weight.max(), 1e-150)
    cycle = hierarchy(csr_matrix(diags(scale) @ sparse @ diags(scale)))
    precondition: Any = LinearOperator(
        sparse.shape, matvec=lambda x: scale * cycle(scale * x.ravel()), dtype=np.float64
    )
    cells = np.arange(len(weight))
    steady = coo_matrix((stationary, (cells, parts)), shape=(len(weight), int(parts.max()) + 1)).toarray()
    vectors, count, error = place["vectors"], place["iterations"], np.inf
    for number in range(place["round"], _ROUNDS):
        if progress is not None:
            progress(count, error, {"iterations": count, "round": number, "vectors": vectors})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # whether it converged is judged by the residual
                values, found, history = lobpcg(
                    sparse,
                    vectors,
                    M=precondition,
                    Y=steady,
                    largest=False,
                    tol=_TOLERANCE * largest,
                    maxiter=_ROUND,
                    retResidualNormsHistory=True,
                )
        except (ValueError, np.linalg.LinAlgError) as fault:
            raise NumericsError(f"the modes did not converge ({fault}); request another count") from None
        vectors = np.ascontiguousarray(found[:, np.argsort(values)], np.float64)
        count, error = count + len(history), float(np.max(history[-1])) / largest
        if error <= _TOLERANCE:
            break
    return vectors, count
