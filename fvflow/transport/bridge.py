"""The Schroedinger bridge by iterative proportional fitting (Sinkhorn's iteration), and what it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fvflow.errors import NumericsError
from fvflow.iterates import Iterate, Progress, require_iterate
from fvflow.mesh import Array, Mesh
from fvflow.transport.reference_process import ReferenceProcess

_BENEATH = 1e-290  # of the largest value, beneath which doubles lose digits
_CYCLE, _PLAIN = 32, 4  # rounds of a cycle of overrelaxation, and how many of them are plain
_LARGEST = 1.99  # factor of overrelaxation
_LEAST = 1e-3  # of the factor beyond 1, beneath which it is none
_ENOUGH = 0.01  # share of the gain of a plain half of a round that is required of an overrelaxed one
_LEFT_OUT = 1e-14  # share of the mass in cells that the reference does not reach, up to which they are left out


@dataclass(frozen=True, eq=False)
class BridgeFactors:
    """f and g of the coupling pi = f_0 K g_T of two laws, K being the kernel of the reference; f has their mass."""

    forward: Array
    """f_0 (cell,), masses: pi has the first law exactly."""
    backward: Array
    """g_T (cell,)."""
    start: Array
    """g_0 = K* g_T (cell,)."""
    end: Array
    """f_T = K f_0 (cell,)."""
    rounds: int
    """Rounds of the iteration."""
    error: float
    """sum |f_T g_T - target|, relative to the mass."""
    unreached: float
    """Share of the mass of the target in cells that the reference does not reach in doubles; they are left out."""

    def relative_entropy(self) -> float:
        """KL(pi | the reference that starts from the first law), for mass 1: <pi_T, log g_T> - <pi_0, log g_0>."""
        first, last = self.forward * self.start, self.end * self.backward
        return _mean_log(last, self.backward) - _mean_log(first, self.start)


def fit(
    reference: ReferenceProcess,
    initial: Array,
    target: Array,
    tolerance: float,
    rounds: int,
    place: Callable[[int], str],
    progress: Progress | None = None,
    start: Iterate | None = None,
) -> BridgeFactors:
    """The factors of the bridge between two laws (cell,) of the same mass.

    A round makes the first law exact, f_0 = initial/K* g_T, and then the last one, g_T = target/K f_0: both maximise
    the concave function <initial, log f_0> + <target, log g_T> - <f_0, K* g_T>, one after the other. It contracts in
    Hilbert's metric (Fortet 1940; Ruschendorf, Convergence of the iterative proportional fitting procedure, Ann.
    Statist. 23, 1995). In most rounds each half goes beyond its maximum by the factor of successive overrelaxation,
    as far as the function still grows by a hundredth of what it would: so the sum of the squared errors is bounded, and
    they tend to 0 (Thibault, Chizat, Dossal, Papadakis, Overrelaxed Sinkhorn-Knopp algorithm, Algorithms 14, 2021).
    It ends when the first law is exact and the last one met to the tolerance, L1, of the mass. `place` says where a
    cell is.

    Raises NumericsError if the reference does not lead from one law to the other in doubles, or after so many rounds.
    """
    mass, begin = float(initial.sum()), {"forward": np.zeros_like(initial), "backward": np.ones_like(initial)}
    own: Iterate = {"count": 0, **begin, **_Relaxation().to_tree()}
    state = own if start is None else start
    require_iterate(state, own)
    count, f, g = int(state["count"]), np.asarray(state["forward"]), np.asarray(state["backward"])
    relaxation, unreached = _Relaxation(state["factor"], state["before"]), 0.0
    while True:
        g_start = reference.to_start(g)
        best, lost = _quotient(initial, g_start, mass, lambda cell: f"the end cannot be reached from {place(cell)}")
        missed = float(np.abs(f * g_start - initial).sum()) / mass
        relaxation = relaxation.at(count, missed)
        exact = missed <= tolerance or relaxation.factor == 1.0
        f = best if exact else relaxation.beyond(initial, f, best)
        f_end = reference.to_end(f)
        error = float(np.abs(f_end * g - target).sum()) / mass
        if not np.isfinite(error):
            raise NumericsError(f"the factors of the bridge overflow: {_FAR}")
        if exact and error <= tolerance + unreached:
            scale = mass / float(f.sum())
            return BridgeFactors(f * scale, g / scale, g_start / scale, f_end * scale, count, error, unreached + lost)
        if count >= rounds:
            raise NumericsError(
                f"the bridge missed its end by {error:.1e} of the mass after {count} rounds (tolerance {tolerance:g}); "
                "allow more rounds, a larger tolerance, a larger epsilon or a later end"
            )
        best, unreached = _quotient(target, f_end, mass, lambda cell: f"no path of the reference reaches {place(cell)}")
        g = relaxation.beyond(target, g, best)
        count += 1
        if progress is not None:
            progress(count, error, {"count": count, "forward": f, "backward": g, **relaxation.to_tree()})


@dataclass(frozen=True)
class _Relaxation:
    """The factor of overrelaxation, 1 for none, and the error before the round for which it was chosen."""

    factor: float = 1.0
    before: float = math.inf

    def to_tree(self) -> dict[str, float]:
        """What an iterate keeps."""
        return {"factor": self.factor, "before": self.before}

    def at(self, count: int, error: float) -> _Relaxation:
        """That of a round, given the error before it.

        In each cycle some plain rounds tell their rate eta of convergence, and so the best factor for the rest, 2/(1 +
        (1 - eta)^1/2), at which two errors of a mode become one (Young 1954).
        """
        place = count % _CYCLE
        if place < _PLAIN:
            return _Relaxation(1.0, error)
        if place > _PLAIN:
            return self
        rate = min(error / self.before, 1.0) if self.before > 0.0 else 0.0
        return _Relaxation(min(2.0 / (1.0 + math.sqrt(1.0 - rate)), _LARGEST), error)

    def beyond(self, law: Array, old: Array, best: Array) -> Array:
        """old (best/old)^w (cell,), w the largest factor up to this one that gains enough; `best` where old is 0."""
        seen = (law > 0) & (old > 0) & (best > 0)
        if self.factor == 1.0 or not (seen == (best > 0)).all():
            return best
        part = law[seen]
        step = np.log(best[seen]) - np.log(old[seen])
        least, more = _ENOUGH * float(part @ (step + np.expm1(-step))), self.factor - 1.0
        with np.errstate(over="ignore"):
            while more > _LEAST:
                if float(part @ (step - np.exp(more * step) + np.exp(-step) + more * step)) >= least:
                    found = best.copy()
                    found[seen] *= np.exp(more * step)
                    return found
                more *= 0.5
        return best


_FAR = (
    "the kernel of the reference between the ends is beneath what doubles can hold; use a larger epsilon, a later end, "
    "or ends that are nearer to each other"
)


def _quotient(law: Array, value: Array, mass: float, sentence: Callable[[int], str]) -> tuple[Array, float]:
    """law/value (cell,), 0 where the law is 0, and the share of the mass where the value has no digits.

    Raises NumericsError if that is more than round-off.
    """
    hole = ~(value > _BENEATH * float(value.max())) & (law > 0)
    share = float(law[hole].sum()) / mass
    if share > _LEFT_OUT:
        cell = int(np.argmax(np.where(hole, law, 0.0)))
        raise NumericsError(
            f"{sentence(cell)} in the time of the bridge, in doubles, where {100 * share:.3g} % of the mass are: {_FAR}"
        )
    return np.divide(law, value, out=np.zeros_like(law), where=(law > 0) & ~hole), share


def _mean_log(law: Array, values: Array) -> float:
    """The mean (law, log values) of positive values where there is mass."""
    seen = law > 0
    return float(law[seen] @ np.log(values[seen]) / law.sum())


def mean_square_distance(reference: ReferenceProcess, factors: BridgeFactors, mesh: Mesh) -> float:
    """E|X_T - X_0|^2 of the ends of paths, an upper bound of W2^2 of laws of mass 1 that are constant in each cell.

    Positions are centres of cells; on a grid they are uniform in each cell, coupled by the increasing map from the
    first cell to the last, which adds (h - h')^2/12 along each axis.
    """
    coordinates = [mesh.centre[:, axis] for axis in range(mesh.dimension)]
    if mesh.edges is not None:
        widths = mesh.points[mesh.cell_points].max(axis=1) - mesh.points[mesh.cell_points].min(axis=1)
        coordinates += [width / np.sqrt(12.0) for width in widths.T if np.ptp(width) > 1e-9 * width.max()]
    first, last = factors.forward * factors.start, factors.end * factors.backward
    total = 0.0
    for values in coordinates:
        at = values - values.min()
        carried = reference.to_end(factors.forward * at)
        total += float(first @ at**2 + last @ at**2 - 2.0 * ((factors.backward * at) @ carried))
    return total / float(first.sum())


def steepness(reference: ReferenceProcess, factors: BridgeFactors) -> float:
    """How much the rates of the bridge differ from those of the reference: rms of |log g_L - log g_K|.

    Of each cell the largest, weighted by mass, at the start; the same with f at the end; the larger of both.
    """
    ends = (factors.start, factors.forward), (factors.end / reference.problem.graph.volume, factors.backward)
    return max(_rise(reference, values, values * other) for values, other in ends)


def _rise(reference: ReferenceProcess, values: Array, weight: Array) -> float:
    graph = reference.problem.graph
    here, there = values[graph.owner], values[graph.neighbour]
    seen = (here > 0) & (there > 0)
    rise = np.abs(np.log(np.where(seen, here, 1.0)) - np.log(np.where(seen, there, 1.0))) * seen
    largest = np.zeros(len(values))
    np.maximum.at(largest, graph.owner, rise)
    np.maximum.at(largest, graph.neighbour, rise)
    return float(np.sqrt(weight @ largest**2 / weight.sum()))
