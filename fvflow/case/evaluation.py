"""A result as functions of position and time: density, score, velocity at any point between its saved times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fvflow.case.build import Parts, openings_of, problem_of
from fvflow.case.frames_on_mesh import FramesOnMesh, mesh_of, place_of
from fvflow.case.point_arguments import checked_points, checked_times
from fvflow.errors import CaseError, NumericsError
from fvflow.flows.motion import Motion, StoredMotion, divergence_in_space
from fvflow.lagrangian.extended import FOLLOWED
from fvflow.mesh import Array, cells_of
from fvflow.mesh.revolution import BALL
from fvflow.reconstruction import FieldInTime, InTime, LiveCells, Place, SavedValues, WallTrend

if TYPE_CHECKING:
    import xarray

Outside = Literal["refuse", "nan"]
_BLOCK = 2**17  # points at a time, as many as threads share
_TOLD, _REFUSED = 0.1, 0.5  # difference of cubic and linear log rho between saves, as an rms weighted by rho
_UNLIMITED = (-np.inf, np.inf)


class Evaluation:
    """A result as functions of position and time.

    rho = exp(l): between saved times, l = log rho is Hermite's cubic with d_t l from the scheme (order 4), or linear
    (order 2), and in space a cubic spline on grids (order 4; score of order 3), elsewhere linear on triangles or
    tetrahedra (order 2, as the score); these are added to the errors of the scheme, which are mostly of order 2. So rho
    is positive, and its mass is that of the result to this order only. Points are (n, dim) and times a number or (n,).
    On periodic axes points may lie anywhere; a steady result has every time. CaseError is raised for points of another
    dimension, not finite or outside of the mesh, and for times outside of the run; NumericsError where rho is 0, which
    has no logarithm, where it is negative, and where saves are too far apart.
    """

    def __init__(
        self,
        ds: xarray.Dataset,
        case: Parts,
        *,
        in_time: InTime = "hermite",
        outside: Outside = "refuse",
        accept: bool = False,
    ) -> None:
        for name, value, allowed in (
            ("in_time", in_time, ("hermite", "linear")),
            ("outside", outside, ("refuse", "nan")),
        ):
            if value not in allowed:
                raise CaseError(f"{name} is {value!r}; it is one of {', '.join(allowed)}")
        self._case, self._outside, self._accept = case, outside, accept
        self.mesh = mesh_of(ds, case.mesh)
        """The mesh."""
        self._saved = FramesOnMesh(ds, self.mesh, in_time)
        self.times = self._saved.times
        """The saved times (frame,)."""
        self._steady = case.schedule.steps == 0
        self.start, self.end = _UNLIMITED if self._steady else (float(self.times[0]), float(self.times[-1]))
        """Between which times it is known."""
        self._openings = openings_of(case, self.mesh)
        self._live = LiveCells.of(self.mesh, self._openings)
        self._space = self._live.smooth()
        self.remarks = [] if self._live.box is not None else [f"on this mesh log rho is of {self._space.order}"]
        """What a user should know: the order on a mesh that is no grid, and of what was evaluated, coarse saves."""

    def density(self, points: ArrayLike, t: ArrayLike) -> Array:
        """rho (n,), positive; between saved times at one of which it is 0 in a cell, interpolated linearly."""
        return self._evaluated(points, t, (), self._density, absorbed=0.0)

    def log_density(self, points: ArrayLike, t: ArrayLike) -> Array:
        """log rho (n,)."""
        return self._evaluated(points, t, (), lambda place: self._log_density.at(place).value, absorbed=-np.inf)

    def score(self, points: ArrayLike, t: ArrayLike) -> Array:
        """grad log rho (n, dim); raises CaseError if rho is counted, so that this is noise."""
        if fault := self._case.flow.score_fault:
            raise CaseError(fault)
        return self._evaluated(points, t, self._vector, lambda place: self._log_density.at(place, 1).gradient)

    def velocity(self, points: ArrayLike, t: ArrayLike) -> Array:
        """v (n, dim) of d_t rho + div(rho v) = 0 as the flow says: drift - eps grad log rho, or -grad E', or grad phi.

        Raises CaseError if the flow has no velocity.
        """
        return self._evaluated(points, t, self._vector, lambda place: self._velocity.velocity(self._log_density, place))

    def divergence(self, points: ArrayLike, t: ArrayLike) -> Array:
        """div v (n,); where x is a radius that in space, d_r v_r + (d - 1) v_r/r along x in d dimensions."""
        motion, mesh = self._velocity, self.mesh
        self._tell_middle()
        return self._evaluated(points, t, (), lambda place: divergence_in_space(motion, mesh, self._log_density, place))

    def velocity_and_divergence(self, points: ArrayLike, t: ArrayLike) -> tuple[Array, Array]:
        """v (n, dim) and div v (n,), in less time than one after the other."""

        def both(place: Place) -> Array:
            motion, log_density = self._velocity, self._log_density
            if self.mesh.revolution is None:
                return np.column_stack(motion.velocity_and_divergence(log_density, place))
            divergence = divergence_in_space(motion, self.mesh, log_density, place)
            return np.column_stack([motion.velocity(log_density, place), divergence])

        self._tell_middle()
        found = self._evaluated(points, t, (self.mesh.dimension + 1,), both)
        return found[:, :-1], found[:, -1]

    def drift(self, points: ArrayLike, t: ArrayLike) -> Array:
        """The drift (n, dim) of the equation, without diffusion and interaction."""
        return self._evaluated(points, t, self._vector, self._motion.drift, everywhere=True)

    @property
    def _vector(self) -> tuple[int, ...]:
        return (self.mesh.dimension,)

    @property
    def outlets(self) -> tuple[str, ...]:
        """Names of the walls and cells through which mass leaves for good; empty if it does not."""
        return () if self._openings is None else self._openings.names

    @property
    def reflects(self) -> bool:
        """Whether the velocity may be continued by reflection: on grids of which no wall lets mass through."""
        through_walls = self._openings is not None and bool(self._openings.in_wall.any())
        return self.mesh.edges is not None and not through_walls

    @cached_property
    def _motion(self) -> Motion:
        """What moves the mass, as the flow says."""
        case, names, mesh = self._case, dict(self._case.parameters), self.mesh
        problem = problem_of(case, mesh, self._openings, float(self.times[0]))
        motion = case.flow.motion(problem, names, self._saved)
        self.remarks += [motion.note] if motion.note else []
        return motion

    @cached_property
    def _velocity(self) -> Motion:
        """The same, or a stored velocity if the flow has none at points."""
        stored = {f"v_{axis}" for axis in "xyz"[: self.mesh.dimension]} <= self._saved.names
        return StoredMotion(saved=self._saved, prefix="v") if self._motion.fault and stored else self._motion

    @property
    def velocity_fault(self) -> str:
        """Why there is no velocity at points, as a sentence; empty if there is one."""
        return self._velocity.fault

    @cached_property
    def _log_density(self) -> FieldInTime:
        sides = self._motion.empty_sides
        trend = WallTrend(self._live.grid, sides) if sides else None
        return FieldInTime(self._space, self.times, self._saved_logarithm, self._saved.in_time, self._look, trend)

    @cached_property
    def _linear_density(self) -> FieldInTime:
        def values(frame: int) -> SavedValues:
            return SavedValues(self._live_field("rho", frame))

        return FieldInTime(self._live.positive(), self.times, values, "linear")

    def _live_field(self, name: str, frame: int) -> Array:
        """A field (cell,) of a frame, of the cells that do not absorb."""
        return self._live.field(self._saved.field(name, frame))

    def _saved_logarithm(self, frame: int) -> SavedValues:
        """log rho, its rate of change and its slopes at walls; raises NumericsError if rho is 0 in a cell."""
        density, live = self._live_field("rho", frame), self._live
        if (empty := density == 0).any():
            first = place_of(live.field(self.mesh.centre)[int(np.argmax(empty))])
            cells, cure = "cells", f"for times after the next save, or use a smaller domain{self._saved.more_digits}"
            if self._openings is not None and not live.partial and (self._openings.closed[empty] >= 0).any():
                cells = f"cells, as {', '.join(self.outlets)} absorb,"
                cure = f"or let walls absorb, as absorbing cells hold no mass at any time; to move points, {FOLLOWED}"
            raise NumericsError(
                f"rho is 0 in {int(empty.sum())} {cells} at t = {self.times[frame]:g}, the first at {first}, where log "
                f"rho, score and velocity are not defined; ask for the density alone, {cure}"
            )
        logarithm = np.log(density)
        if self._averaged(frame):
            logarithm = self._space.point_values(logarithm)
        stored = "rate" in self._saved.names
        whole = self._saved.field("rate", frame) if stored else self._motion.rate(frame)
        rate = None if whole is None else live.field(whole)
        with np.errstate(over="ignore"):  # where rho is next to 0: the interpolation in time bounds what it takes of it
            relative = None if rate is None else rate / density
        return SavedValues(logarithm, relative, live.slopes(self._motion.slopes(frame)))

    def _averaged(self, frame: int) -> bool:
        """Whether a frame holds averages, as given densities may; others are nearer to values at the centres."""
        schedule, target = self._case.schedule, self._case.flow.end_density
        if target is not None and self.times[frame] == schedule.stop:
            return target.averaged
        at_start = not self._steady and self.times[frame] == schedule.save_time(0)
        return at_start and self._case.start_density.averaged

    def _density(self, place: Place) -> Array:
        frames = range(place.interval, min(place.interval + 2, len(self.times)))
        if not any((self._live_field("rho", frame) == 0).any() for frame in frames):
            return np.exp(self._log_density.at(place).value)
        self._tell(f"rho is 0 in some cells{self._between(place.interval)}, so that all of it is interpolated linearly")
        return self._linear_density.at(place).value

    def _between(self, interval: int) -> str:
        ends = self.times[interval : interval + 2]
        return f" between t = {ends[0]:.6g} and t = {ends[1]:.6g}" if len(ends) > 1 else ""

    def _tell(self, sentence: str) -> None:
        if sentence not in self.remarks:
            self.remarks.append(sentence)

    def _tell_middle(self) -> None:
        """Tell where the differences of averages from values at centres vary: in a ball, and in rings of any shape."""
        around, edges = self.mesh.revolution, self.mesh.edges
        ball = around is not None and around.dimension == BALL and edges is not None and edges[0][0] == 0
        if (ball or self.mesh.flat is not None) and not self._steady and self._averaged(0):
            where = "in the middle of the ball " if ball else ""
            self._tell(
                f"{where}div v is of order 0 at times after the start, until its averages have diffused over a cell; "
                "initial with sampling: centre has no such error"
            )

    def _look(self, interval: int, difference: Array) -> None:
        """Tell or refuse saves that are so far apart that cubic and linear log rho differ between them (cell,)."""
        mean = self._live_field("rho", interval) + self._live_field("rho", interval + 1)
        weight = self._live.field(self.mesh.volume) * mean
        rms = float(np.sqrt((weight * difference**2).sum() / weight.sum()))
        if rms <= _TOLD:
            return
        sentence = f"log rho is known to about {rms:.2g} only{self._between(interval)}: save more often there"
        if not (rms <= _REFUSED or self._accept):
            raise NumericsError(f"{sentence}, or say accept=True to fvflow.at or fvflow.push (--accept)")
        self._tell(sentence)

    def _evaluated(
        self,
        points: ArrayLike,
        t: ArrayLike,
        trailing: tuple[int, ...],
        compute: Callable[[Place], Array],
        *,
        absorbed: float = np.nan,
        everywhere: bool = False,
    ) -> Array:
        """What `compute` finds at points (n, dim) and times, (n, *trailing); nan outside of the mesh if so chosen.

        In absorbing cells it is `absorbed`, or if that is nan they count as outside, unless it is known `everywhere`.
        """
        at = checked_points(points, self.mesh.dimension, finite=self._outside == "refuse")
        times = checked_times(t, self.start, self.end)
        if len(times) not in (1, len(at)):
            raise CaseError(f"{len(times)} times for {len(at)} points; give one time, or one for each point")
        beyond, empty = self._space.outside(at), np.zeros(len(at), bool)
        if self._live.partial:
            empty = beyond & (cells_of(self.mesh, at) >= 0)
        beyond |= ~np.isfinite(at).all(axis=1)
        if everywhere or not np.isnan(absorbed):
            beyond &= ~empty
        if beyond.any() and self._outside == "refuse":
            row = int(np.argmax(beyond))
            where = "in absorbing cells, where there is no density," if empty[row] else "outside of the mesh,"
            raise CaseError(
                f"{int(beyond.sum())} of {len(at)} points are {where} the first at {place_of(at[row])}; give points "
                'inside, or outside="nan"'
            )
        found = np.full((len(at), *trailing), np.nan)
        if not everywhere:
            found[empty] = absorbed
            beyond |= empty
        for interval, rows in self._blocks(times, beyond):
            found[rows] = compute(Place(interval, at[rows], times if len(times) == 1 else times[rows]))
        return found

    def _blocks(self, times: Array, beyond: Any) -> Iterator[tuple[int, Any]]:
        """Intervals between saves and the points in them that are not beyond the mesh, some at a time."""
        last = max(len(self.times) - 2, 0)
        intervals = np.clip(np.searchsorted(self.times, times, side="right") - 1, 0, last)
        if len(times) == 1 and not beyond.any():
            yield from ((int(intervals[0]), slice(b, b + _BLOCK)) for b in range(0, len(beyond), _BLOCK))
            return
        rows = np.flatnonzero(~beyond)
        intervals = np.broadcast_to(intervals, beyond.shape)[rows]
        rows = rows[np.argsort(intervals, kind="stable")]
        counts = np.bincount(intervals, minlength=last + 1)
        for interval, (end, count) in enumerate(zip(np.cumsum(counts), counts, strict=True)):
            for begin in range(end - count, end, _BLOCK):
                yield interval, rows[begin : min(begin + _BLOCK, end)]
