"""Two results, or a result and densities from elsewhere, compared at the times that both have."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.studies.foreign_energy import energy_by
from fvflow.studies.operands import Densities, opened_pair
from fvflow.studies.overlay import MomentWeights, Overlay
from fvflow.wasserstein import distance_between
from fvflow.wasserstein.measures import CellwiseDensity

_RESOLVED = 1e-6  # of the size of the domain: a width of the interval of W2 that needs no remark
_SWAPPED = 0.1  # of the L1 distance, below which swapped axes are told
Report = Callable[[int, int], None]
"""Called with the number of times that are done, and of all."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """A and B at each time that both have."""

    first: str
    second: str
    time: Array
    """The times (frame,)."""
    l1: Array
    """int |A - B| (frame,)."""
    l2: Array
    """The square root of int (A - B)^2 (frame,)."""
    linf: Array
    """The largest |A - B| (frame,)."""
    w2_lower: Array
    """Proved lower bounds of W2 (frame,); nan where W2 is not computed."""
    w2_upper: Array
    """Proved upper bounds (frame,)."""
    kl: Array
    """KL(A|B) = int A log(A/B) - A + B (frame,); infinite if A has mass where B is 0, nan if one is negative."""
    kl_back: Array
    """KL(B|A) (frame,)."""
    mass: Array
    """Masses of both (frame, 2)."""
    mean: Array
    """Means of both (frame, 2, dim)."""
    covariance: Array
    """Covariances of both (frame, 2, dim, dim), those within cells included."""
    energy: Array
    """Energies of both (frame, 2): as results have them, else by the equation of the other; nan where there is none."""
    remarks: tuple[str, ...]
    """What has to be said besides, in sentences."""

    @property
    def per_time(self) -> dict[str, Array]:
        """A number a time by name (frame,): distances, divergences, and the differences of moments and energy."""
        difference = {name: each[:, 1] - each[:, 0] for name, each in self._pairs.items()}
        return {
            **{name: getattr(self, name) for name in ("l1", "l2", "linf", "w2_lower", "w2_upper", "kl", "kl_back")},
            "mass": np.abs(difference["mass"]),
            "mean": np.linalg.norm(difference["mean"], axis=1),
            "covariance": np.linalg.norm(difference["covariance"], axis=(1, 2)),
            "energy": np.abs(difference["energy"]),
        }

    @property
    def overall(self) -> dict[str, dict[str, float]]:
        """Of each of `per_time` the largest value, its time, and the mean over time by the trapezoidal rule."""
        found = {}
        for name, values in self.per_time.items():
            if np.isnan(values).all():
                continue
            at = int(np.nanargmax(values))
            span = float(self.time[-1] - self.time[0])
            mean = float(np.trapezoid(values, self.time)) / span if span > 0 else float(values[0])
            found[name] = {"largest": float(values[at]), "at": float(self.time[at]), "mean": mean}
        return found

    @property
    def json(self) -> dict[str, Any]:
        """All of it as plain values; lists over time."""
        series = {name: values.tolist() for name, values in self.per_time.items()}
        sides = {
            side: {name: each[:, number].tolist() for name, each in self._pairs.items()}
            for number, side in enumerate(("a", "b"))
        }
        names = {"first": self.first, "second": self.second}
        return {
            **names,
            "time": self.time.tolist(),
            "differences": series,
            **sides,
            "overall": self.overall,
            "remarks": list(self.remarks),
        }

    @property
    def _pairs(self) -> dict[str, Array]:
        return {"mass": self.mass, "mean": self.mean, "covariance": self.covariance, "energy": self.energy}


def compare(
    first: Any,
    second: Any,
    *,
    at: Sequence[float] | float | None = None,
    w2: bool = True,
    width: float = 1e-2,
    seconds: float = 10.0,
    normalise: bool = False,
    picture: Path | None = None,
    report: Report | None = None,
) -> Comparison:
    """Compare the densities of two results at the times that both have, exactly also on different meshes.

    Each is a result (a dataset or a file), or densities from elsewhere: a .nc or .npz file with rho(time, [z, y,] x),
    time and coordinates, a .npy file or an array, on the mesh of the other if they have no coordinates. Densities are
    constant in cells, and all integrals are those over the intersections of the cells of both meshes. `at` are the
    times to compare at; W2 is bounded to a relative `width`, in about so many `seconds` each; `normalise` divides
    densities by their masses first; `picture` draws both side by side, and their difference. Raises CaseError for
    what cannot be compared, OutputError for files.
    """
    if not 0 < width < 1:
        raise CaseError(f"width {width!r}; give a relative width between 0 and 1")
    if not seconds > 0:
        raise CaseError(f"seconds {seconds!r}; give a positive time")
    wanted = None if at is None else [float(time) for time in np.atleast_1d(np.asarray(at, float))]
    with opened_pair(first, second, wanted) as (a, b):
        overlay = Overlay.of(a.mesh, b.mesh)
        frames, remarks = _common(a, b, wanted)
        if any(rest.any() for rest in overlay.outside):
            remarks.append("the meshes lie in different domains; a density counts as 0 where its mesh is not")
        pair = _Pair(a, b, overlay, normalise, (width, seconds) if w2 else None)
        rows = []
        for done, frame in enumerate(frames):
            rows.append(pair.row(*frame))
            if report is not None:
                report(done + 1, len(frames))
        if picture is not None:
            from fvflow.studies.picture import draw

            draw(a, b, overlay, frames, normalise, picture)
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        time = np.array([a.time[i] for i, _ in frames])
        return Comparison(a.name, b.name, time, **columns, remarks=(*remarks, *pair.remarks()))


def _common(a: Densities, b: Densities, at: Sequence[float] | None) -> tuple[list[tuple[int, int]], list[str]]:
    """The frames of both at the same times, and what was left out; raises CaseError for times that one has not."""
    span = max(np.abs(a.time).max(), np.abs(b.time).max())
    slack = max(a.tolerance, b.tolerance) * span
    if at is not None:
        return [(_frame(a, time, slack), _frame(b, time, slack)) for time in at], []
    nearest = np.abs(a.time[:, None] - b.time).argmin(axis=1)
    frames = [(i, int(j)) for i, j in enumerate(nearest) if abs(a.time[i] - b.time[j]) <= slack]
    if not frames:
        raise CaseError(
            f"A and B have no time in common: {a.name} has {_listed(a.time)}, {b.name} {_listed(b.time)}; run "
            "both with the same times: {save: ...}"
        )
    left = len(a.time) - len(frames), len(b.time) - len(frames)
    sides = zip(left, "AB", "BA", strict=True)
    told = [f"{count} times of {side} are not in {other}" for count, side, other in sides if count]
    return frames, [f"compared at {len(frames)} times that both have; {' and '.join(told)}"] if told else []


def _frame(side: Densities, time: float, slack: float) -> int:
    """The frame at a time; raises CaseError, with the nearest times, if there is none."""
    nearest = int(np.abs(side.time - time).argmin())
    if abs(side.time[nearest] - time) <= slack:
        return nearest
    raise CaseError(
        f"{side.name} has no t = {time:.12g}; the nearest that it has is {side.time[nearest]:.12g} of "
        f"{_listed(side.time)}"
    )


def _listed(times: Array) -> str:
    """Times in words, a few of them."""
    shown = [f"{time:.6g}" for time in times]
    return ", ".join(shown if len(shown) <= 4 else [*shown[:2], "...", shown[-1]])


class _Pair:
    """Two densities over time, and what has been noticed of them."""

    def __init__(
        self, a: Densities, b: Densities, overlay: Overlay, normalise: bool, w2: tuple[float, float] | None
    ) -> None:
        self.a, self.b, self.overlay, self.normalise, self.w2 = a, b, overlay, normalise, w2
        weights = MomentWeights.of(a.mesh)
        self.weights = weights, weights if b.mesh is a.mesh else MomentWeights.of(b.mesh)
        self.noticed: dict[str, tuple[str, float, int]] = {}
        self.energies = self._energy(a, b), self._energy(b, a)
        self.swapped: list[float] = []

    def row(self, i: int, j: int) -> dict[str, Any]:
        """The figures of a time."""
        time, sides = float(self.a.time[i]), (self.a.density(i), self.b.density(j))
        masses = [float(mesh.volume @ rho) for mesh, rho in zip((self.a.mesh, self.b.mesh), sides, strict=True)]
        if self.normalise:
            if min(masses) <= 0:
                raise CaseError(f"a density has the mass {min(masses):.6g} at t = {time:g} and cannot be normalised")
            sides = sides[0] / masses[0], sides[1] / masses[1]
        parts = [weights.moments(rho) for weights, rho in zip(self.weights, sides, strict=True)]
        l1, l2, linf = self.overlay.differences(*sides)
        kl, kl_back = self._divergences(time, sides)
        lower, upper = self._w2(time, sides)
        self._notice_swapped(sides, l1)
        energies = [energy(k) for energy, k in zip(self.energies, (i, j), strict=True)]
        figures: dict[str, Any] = {"l1": l1, "l2": l2, "linf": linf, "w2_lower": lower, "w2_upper": upper}
        figures |= {"kl": kl, "kl_back": kl_back, "mass": np.array(masses), "energy": np.array(energies)}
        return {**figures, **dict(zip(("mean", "covariance"), map(np.array, zip(*parts, strict=True)), strict=True))}

    def _energy(self, side: Densities, rival: Densities) -> Callable[[int], float]:
        """The energy of a frame: as the result has it, or that of densities from elsewhere by the other's equation."""
        if (stored := side.series("energy")) is not None:
            return lambda frame: float(stored[frame])
        if side.ds is not None or rival.series("energy") is None:
            return lambda frame: np.nan
        try:
            energy = energy_by(rival, side)
        except CaseError as error:
            self._note("energy", f"there is no energy of {side.name}: {error}", float(side.time[0]))
            return lambda frame: np.nan
        return lambda frame: np.nan if energy is None else energy(side.density(frame), float(side.time[frame]))

    def _divergences(self, time: float, sides: tuple[Array, Array]) -> tuple[float, float]:
        for letter, rho in zip("AB", sides, strict=True):
            if rho.min() < 0:
                self._note(
                    letter, f"{letter} is negative, at least {rho.min():.3g}, so that there is no KL and no W2", time
                )
        found = self.overlay.divergences(*sides)
        if math.inf in found:
            alone = self.overlay.unsupported(*sides)
            for letter, other, value, mass in zip("AB", "BA", found, alone, strict=True):
                if value == math.inf:
                    sentence = f"KL({letter}|{other}) is infinite: {letter} has a mass of {mass:.3g} where {other} is 0"
                    self._note(f"KL {letter}", sentence, time)
        return found

    def _w2(self, time: float, sides: tuple[Array, Array]) -> tuple[float, float]:
        if self.w2 is None or min(rho.min() for rho in sides) < 0:
            return np.nan, np.nan
        (width, seconds), tolerance = self.w2, max(self.a.tolerance, self.b.tolerance)
        try:
            one, two = CellwiseDensity(self.a.mesh, sides[0]), CellwiseDensity(self.b.mesh, sides[1])
            masses = [float(each.mesh.volume @ each.density) for each in (one, two)]
            gap = abs(masses[0] - masses[1])
            if not gap <= tolerance * max(masses):
                remedy = "normalise divides each density by its mass"
                self._note("mass", f"the masses differ by {gap:.3g}, so that there is no W2; {remedy}", time)
                return np.nan, np.nan
            found = distance_between(one, two, width, None, tolerance, seconds=seconds)
        except CaseError as error:
            self._note("no W2", f"there is no W2: {error}", time)
            return np.nan, np.nan
        size = float(np.linalg.norm(np.subtract(*one.extent))) * math.sqrt(masses[0])
        if not found.proved and found.upper - found.lower > _RESOLVED * size:
            told = (
                f"W2 is known to a width of {found.width:.3g}, asked for {width:g}: {found.reason.partition(': ')[0]}"
            )
            self._note("width", told, time)
        return found.lower, found.upper

    def _notice_swapped(self, sides: tuple[Array, Array], l1: float) -> None:
        """Keep how much nearer both are with x and y swapped, where a grid does not tell."""
        shape = self.b.mesh.shape
        if None not in (self.a.ds, self.b.ds) or len(shape) != 2 or shape[0] != shape[1] or not l1 > 0:
            return
        turned = np.ascontiguousarray(sides[1].reshape(shape).T).ravel()
        self.swapped.append(self.overlay.differences(sides[0], turned)[0] / l1)

    def _note(self, kind: str, sentence: str, time: float) -> None:
        told, first, count = self.noticed.get(kind, (sentence, time, 0))
        self.noticed[kind] = told, first, count + 1

    def remarks(self) -> Iterator[str]:
        """What was noticed, each once, with the first time of it."""
        for told, first, count in self.noticed.values():
            yield f"{told} (at t = {first:g}{f', and at {count - 1} more times' if count > 1 else ''})"
        if self.swapped and max(self.swapped) < _SWAPPED:
            yield (
                f"with x and y swapped the L1 distance is {max(self.swapped):.2g} times this one: are the axes of the "
                "densities from elsewhere (x, y)? give rho(time, y, x)"
            )
