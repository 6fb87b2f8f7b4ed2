"""The steady state of a graph of cells, without steps in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fvflow.errors import NumericsError
from fvflow.iterates import Iterate, Progress, require_count, require_iterate, split
from fvflow.linalg.amg import hierarchy
from fvflow.linalg.bicgstab import Operator, bicgstab
from fvflow.linalg.markov.detailed_balance import detailed_balance_root
from fvflow.linalg.markov.gth import null_vector
from fvflow.linalg.matrix import FaceMatrix, divergence
from fvflow.mesh import Array, Index
from fvflow.sums import inner

LARGEST_ELIMINATION = 2**15  # cells in three dimensions beyond which iteration is cheaper than elimination
_ROUNDS, _INNER = 30, 40  # rounds, and iterations of BiCGStab in each
_REDUCTION = 1e-4  # of the residual in each round
_ROUND_OFF = np.finfo(float).eps  # of the outflow of all cells: the residual is not known better
_TOLERANCE = 1e-13  # relative L1 change of a round that ends the iteration
_LEAST_FACTOR = 1e-3  # smallest factor by which a round may lower a value: the first guess is far off in the tails
_AGREEMENT = 1e-10  # relative L1 distance allowed between the results of two starts


@dataclass(frozen=True, eq=False)
class StationarySolution:
    """A density (cell,) whose net outflow is zero in every cell, and how it was found."""

    density: Array
    iterations: int
    residual: float  # |A rho|_1 over the total outflow, sum A_KK rho_K


def rates_underflow() -> str:
    """Why nothing passes between some cells, if there is diffusion between all of them, and what helps."""
    return "the drift is so steep that rates between cells underflow; use a finer mesh or a larger epsilon"


def stationary_density(
    matrix: FaceMatrix,
    parts: Index,
    masses: Array,
    dimension: int,
    progress: Progress | None = None,
    start: Iterate | None = None,
    reason: Callable[[], str] = rates_underflow,
) -> StationarySolution:
    """rho >= 0 with A rho = 0, A rho being the net outflow, with the mass given in each connected part (part,).

    In detailed balance rho is a product along paths (`detailed_balance_root`). Otherwise it comes from subtraction-free
    elimination (`null_vector`) or, in three dimensions beyond 2^15 cells, from iteration (`iterative_null_vector`),
    which goes on from an iterate. Raises NumericsError, with the `reason`, if some rates are 0 so that a connected part
    has several recurrent classes, and OutputError if the iterate is not one of this problem.
    """
    done: Iterate = {"part": 0, "density": np.zeros(len(matrix.volume)), "before": 0}
    inside: Iterate | None = None
    if start is not None:
        done, inside = split(start, done)
        require_count(done["part"], len(masses) - 1)
    density, iterations = done["density"].copy(), done["before"]
    closed = _recurrent_cells(matrix, parts, reason)
    for part in range(done["part"], len(masses)):
        cells = np.flatnonzero(closed & (parts == part))
        block = submatrix(matrix, cells)
        place = {"part": part, "density": density, "before": iterations}
        x, count = _null_vector_of_block(block, dimension, _beside(place, progress), inside)
        density[cells] = x * (masses[part] / inner(block.volume, x))
        iterations, inside = iterations + count, None
    return StationarySolution(density, iterations, residual(matrix, density))


def _beside(place: Iterate, progress: Progress | None) -> Progress:
    """Passes the iterate of a part on, with the place of the part."""

    def pass_on(count: int, error: float, iterate: Iterate) -> None:
        if progress is not None:
            progress(place["before"] + count, error, {**place, **iterate})

    return pass_on


def residual(matrix: FaceMatrix, density: Array) -> float:
    """|A rho|_1 over the total outflow, sum A_KK rho_K."""
    forward, backward = matrix.down * density[matrix.owner], matrix.up * density[matrix.neighbour]
    total = float(forward.sum() + backward.sum())
    return float(np.abs(divergence(matrix, forward - backward)).sum()) / total if total > 0 else 0.0


def component_masses(volume: Array, density: Array, parts: Index) -> Array:
    """The mass in each connected part (part,), summed by blocks: round-off of a plain sum would show."""
    return np.array([inner(volume[cells], density[cells]) for cells in _cells(parts)])


def _cells(parts: Index) -> list[Any]:
    """The cells of each part."""
    return [np.flatnonzero(parts == part) if parts.any() else slice(None) for part in range(int(parts.max()) + 1)]


def _null_vector_of_block(
    matrix: FaceMatrix, dimension: int, progress: Progress, start: Iterate | None
) -> tuple[Array, int]:
    if len(matrix.volume) == 1:
        return np.ones(1), 0
    root = detailed_balance_root(matrix)
    if root is not None:
        return np.asarray(root * root), 0
    if dimension < 3 or len(matrix.volume) <= LARGEST_ELIMINATION:
        return null_vector(matrix), 0
    return iterative_null_vector(matrix, progress, start)


def _recurrent_cells(matrix: FaceMatrix, parts: Index, reason: Callable[[], str]) -> Any:
    """Whether each cell is recurrent (cell,); raises NumericsError unless every part has one recurrent class."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    cells, whole = len(matrix.volume), int(parts.max()) + 1
    if (matrix.down > 0).all() and (matrix.up > 0).all():
        return np.ones(cells, bool)
    start = np.concatenate([matrix.owner[matrix.down > 0], matrix.neighbour[matrix.up > 0]])
    end = np.concatenate([matrix.neighbour[matrix.down > 0], matrix.owner[matrix.up > 0]])
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(cells, cells))
    count, label = connected_components(graph, directed=True, connection="strong")
    final = np.ones(count, bool)
    final[label[start[label[start] != label[end]]]] = False
    if final.sum() > whole:
        raise NumericsError(
            f"the steady state is not unique, as no mass leaves any of {final.sum()} sets of cells: {reason()}"
        )
    return final[label]


def submatrix(matrix: FaceMatrix, cells: Any) -> FaceMatrix:
    """The matrix of a subset of the cells, given by their indices, and of the faces between them."""
    if len(cells) == len(matrix.volume):
        return matrix
    place = np.full(len(matrix.volume), -1, np.int32)
    place[cells] = np.arange(len(cells), dtype=np.int32)
    inside = (place[matrix.owner] >= 0) & (place[matrix.neighbour] >= 0)
    ends = place[matrix.owner[inside]], place[matrix.neighbour[inside]]
    leak = None if matrix.leak is None else matrix.leak[cells]
    return FaceMatrix(matrix.volume[cells], *ends, matrix.down[inside], matrix.up[inside], leak=leak)


def iterative_null_vector(
    matrix: FaceMatrix, progress: Progress | None = None, start: Iterate | None = None
) -> tuple[Array, int]:
    """x > 0 (cell,) with A x = 0, and the iterations, by multiplicative corrections from two starts that have to agree.

    Each round solves A diag(x) y = -A x and sets x <- x (1 + y). At the solution the rows of A diag(x) as well as its
    columns add up to zero, so that BiCGStab with classical multigrid takes few iterations, whatever the range of x. If
    the exchange between wells takes longer than 1/round-off, no iteration can tell how they share the mass, and the two
    starts differ. Raises NumericsError then, or if an iteration does not converge. `progress` gets the iterate before
    each round; from that it goes on to the same bits.

    De Sterck et al., Multilevel adaptive aggregation for Markov chains, SIAM J. Sci. Comput. 30 (2008).
    """
    guess = _decaying_guess(matrix)
    place: dict[str, Any] = {"second": 0, "round": 0, "count": 0, "x": guess, "first": np.zeros_like(guess)}
    if start is not None:
        require_iterate(start, place)
        require_count(start["second"], 1)
        require_count(start["round"], _ROUNDS - 1)
        place = dict(start)
    while True:
        x = _iterated(matrix, place, progress)
        if place["second"]:
            break
        place |= {"second": 1, "round": 0, "x": 1e-3 / guess, "first": x}
    z, x, count = x, place["first"], place["count"]
    distance = inner(matrix.volume, np.abs(x / inner(matrix.volume, x) - z / inner(matrix.volume, z)))
    if not distance <= _AGREEMENT:
        raise NumericsError(
            f"two starts of the iteration lead to steady states that differ by {distance:.1e} of the mass (allowed: "
            f"{_AGREEMENT:.0e}): wells exchange mass too rarely; use at most {LARGEST_ELIMINATION} cells, a larger "
            "epsilon, or a drift from a potential alone"
        )
    return x, count


def _decaying_guess(matrix: FaceMatrix) -> Array:
    """From 1 down to 1e-3 with the distance from a cell that no symmetry of the mesh singles out (cell,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    cells = len(matrix.volume)
    graph = coo_array((np.ones(len(matrix.owner)), (matrix.owner, matrix.neighbour)), shape=(cells, cells)).tocsr()
    distance = dijkstra(graph, directed=False, unweighted=True, indices=np.array([int(0.382 * cells)]))[0]
    return np.asarray(1e-3 ** (distance / distance.max()))


def _iterated(matrix: FaceMatrix, place: dict[str, Any], progress: Progress | None) -> Array:
    """The iteration from one start, or from the round of a place on, which is kept up to date."""
    from scipy.sparse import csr_matrix, diags

    x: Array = place["x"]
    change = np.inf
    sparse, ones = csr_matrix(replace(matrix, volume=np.zeros_like(x)).sparse()), np.ones_like(x)
    diagonal = sparse.diagonal()
    for number in range(place["round"], _ROUNDS):
        y, residual, outflow = np.zeros_like(x), -(sparse @ x), inner(diagonal, x)
        norm, noise = float(np.abs(residual).sum()), _ROUND_OFF * outflow
        place |= {"round": number, "x": x}
        if progress is not None:
            progress(place["count"], norm / outflow, place)
        if norm <= 2 * noise:  # a further round would only stir round-off along the slowest mode
            return x
        scaled = csr_matrix(sparse @ diags(x))
        place["count"] += bicgstab(
            _into(scaled.dot),
            y,
            residual,
            goal=max(_REDUCTION * norm, noise),
            most=_INNER,
            weight=ones,
            precondition=_into(hierarchy(scaled)),
        )[0]
        after = x * np.maximum(1.0 + y, _LEAST_FACTOR)
        after /= after.max()
        change = inner(matrix.volume, np.abs(after - x)) / inner(matrix.volume, after)
        x = after
        if change <= _TOLERANCE:
            return x
        if not np.isfinite(change):  # a breakdown of BiCGStab
            break
    raise NumericsError(
        f"the steady state did not converge in {place['count']} iterations (change {change:.1e}); use at most "
        f"{LARGEST_ELIMINATION} cells, or a larger epsilon"
    )


def _into(image: Callable[[Array], Array]) -> Operator:
    """The map as `bicgstab` calls it."""

    def operator(vector: Array, /, *, out: Array) -> Array:
        out[:] = image(vector)
        return out

    return operator
