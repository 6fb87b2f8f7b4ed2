"""The probability flow of the linear equation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.fields import Diffusion, Drift, Parameters
from fvflow.flows.motion import Motion, PointDrift, PointFunctions, SavedFields, at_times, trace
from fvflow.mesh import Array, Index
from fvflow.problems import FokkerPlanck
from fvflow.reconstruction import Derivatives, FieldInTime, LiveCells, Place, Side, Slopes


@dataclass(frozen=True, eq=False)
class LinearMotion(Motion):
    """v = b - D grad log rho - c div D of d_t rho + div(rho b) = div(D^(1-c) grad(D^c rho)); div D is that of each row.

    For a number D = eps it is b - eps grad log rho. With a temperature T the potential V drifts by -(D/T) grad V. At a
    closed wall of a grid v.n = 0 gives the slope of log rho, at a partly absorbing one v.n = kappa.
    """

    problem: FokkerPlanck
    """The equation in arrays."""
    saved: SavedFields
    """The result."""
    diffusion: Diffusion | None
    """D if it is not a number."""
    parameters: Parameters
    """The parameters of the case."""
    factor: float
    """eps, or a factor of D."""

    @cached_property
    def _functions(self) -> PointFunctions:
        return PointFunctions(self.problem.mesh)

    @cached_property
    def _drifts(self) -> tuple[PointDrift, PointDrift]:
        """The drift that a temperature makes mobile, and the rest."""
        warm = self.diffusion is not None and self.diffusion.temperature is not None
        mobile, rest = self.problem.drift.parts if warm else (Drift(), self.problem.drift)
        return PointDrift(mobile, self._functions), PointDrift(rest, self._functions)

    def rate(self, frame: int) -> Array:
        """-(div F + what leaves)/|K| (cell,), F being the flux of the scheme."""
        return self.problem.rate(self.saved.field("rho", frame), float(self.saved.times[frame]))

    @cached_property
    def _steady_slopes(self) -> Slopes:
        return self._slopes(0)

    def slopes(self, frame: int) -> Slopes:
        """(b - c div D).n/D.n of each closed wall of a grid, with - kappa of one that absorbs partly.

        It is nan where D is 0 and where all is absorbed. There is none for a full tensor.
        """
        return self._steady_slopes if self.problem.steady else self._slopes(frame)

    def _slopes(self, frame: int) -> Slopes:
        mesh, full = self.problem.mesh, self.diffusion is not None and self.diffusion.full
        if mesh.edges is None or full or self.fault or self.factor == 0:
            return {}
        found = {}
        centres, normals = mesh.walls
        for axis in range(mesh.dimension):
            if axis in mesh.periodic:
                continue
            sides = []
            for sign in (-1.0, 1.0):
                rows = np.flatnonzero(normals[:, axis] == sign)
                if not len(rows):  # at the radius 0 there is no wall, and the slope is 0 by symmetry
                    sides.append(np.zeros(mesh.cells // mesh.shape[-1 - axis]))
                    continue
                place = Place(frame, centres[rows], self.saved.times[frame : frame + 1])
                across = np.broadcast_to(np.asarray(self._along_axes(place)), (len(rows), mesh.dimension))[:, axis]
                along = self._explicit(place)[:, axis] - sign * self._permeability(mesh.wall_cell[rows], axis, sign)
                with np.errstate(divide="ignore", invalid="ignore"):
                    sides.append(np.where((across > 0) & np.isfinite(along), along / across, np.nan))
            found[axis] = sides[0], sides[1]
        return found

    @cached_property
    def _live(self) -> LiveCells:
        return LiveCells.of(self.problem.mesh, self.problem.openings)

    @cached_property
    def empty_sides(self) -> tuple[Side, ...]:
        """The sides of a grid that absorb all, or of the box that cells leave which do, if D is not 0."""
        mesh, openings, live = self.problem.mesh, self.problem.openings, self._live
        if openings is None or mesh.edges is None or self.factor == 0 or live.box is None:
            return ()
        normals, found = mesh.walls[1], list(live.cut_sides)
        for axis in range(mesh.dimension):
            for sign in (-1.0, 1.0):
                cells = mesh.wall_cell[normals[:, axis] == sign]
                cells = cells[openings.closed[cells] < 0]
                if len(cells) and np.isinf(self._permeability(cells, axis, sign)).all():
                    found.append((axis, sign))
        return tuple(found)

    @property
    def note(self) -> str:
        """A word on what absorbs all and is no side of a grid."""
        openings = self.problem.openings
        if openings is None:
            return ""
        covered = ~openings.in_wall & bool(self._live.partial and self.empty_sides)
        for axis, sign in self.empty_sides:
            covered |= openings.in_wall & (openings.normal[:, axis] == sign)
        if (covered | np.isfinite(openings.permeability)).all():
            return ""
        return "beside what absorbs, log rho falls without bound and is known to low order"

    def _permeability(self, cells: Index, axis: int, sign: float) -> Array:
        """v.n at the wall of each cell on one side: 0 where it is closed, infinite where it absorbs."""
        found, openings = np.zeros(self.problem.mesh.cells), self.problem.openings
        if openings is not None:
            here = openings.in_wall & (openings.normal[:, axis] == sign)
            found[openings.cell[here]] = openings.permeability[here]
        return found[cells]

    def drift(self, place: Place) -> Array:
        """b, that of a potential times D/T with a temperature."""
        if self.fault:
            return super().drift(place)
        mobile, rest = self._drifts
        found = rest.velocity(place)
        if self.diffusion is None or self.diffusion.temperature is None:
            return found
        return found + self.apply(place, mobile.velocity(place)) / self.diffusion.temperature

    def velocity(self, log_density: FieldInTime, place: Place) -> Array:
        """b - c div D - D grad log rho."""
        explicit = self._explicit(place)
        if self.factor == 0:
            return explicit
        return explicit - self.apply(place, log_density.at(place, 1).gradient)

    def velocity_and_divergence(self, log_density: FieldInTime, place: Place) -> tuple[Array, Array]:
        """The same (point, dim), and div(b - c div D) - div D.grad log rho - D:grad^2 log rho (point,)."""
        v = self._explicit(place)
        if self.diffusion is None or (self.diffusion.temperature is None and not self.diffusion.power):
            expansion = self._drifts[1].divergence(place)
        else:
            expansion = self._functions.divergence(self._explicit, place)
        if self.factor == 0:
            return v, expansion
        log = log_density.at(place, 2)
        return v - self.apply(place, log.gradient), expansion - self.diffused(place, log)

    def _explicit(self, place: Place) -> Array:
        """b - c div D (point, dim): what does not depend on rho."""
        drift = self.drift(place)
        power = 0.0 if self.diffusion is None else self.diffusion.power
        return drift - power * self._rows(place) if power else drift

    def _along_axes(self, place: Place) -> Any:
        """D, a number, or (point, 1) or (point, dim) along the axes; of a full tensor its diagonal."""
        if self.diffusion is None:
            return self.factor
        values, dimension = self._components(place), place.points.shape[1]
        return values[:, :: dimension + 1] if self.diffusion.full else values

    def _components(self, place: Place) -> Array:
        """The functions that D is made of, at points (point, -)."""
        diffusion = self.diffusion
        assert diffusion is not None

        def values(at: Array, time: float) -> Array:
            return np.stack([part.at(at, self.parameters, time) for part in diffusion.components], axis=1)

        points = self._functions.inside(place.points, 0.0)
        return self.factor * at_times(values, points, place.times, diffusion.steady)

    def _tensor(self, place: Place) -> Array:
        """D (point, dim, dim)."""
        assert self.diffusion is not None
        dimension = place.points.shape[1]
        if self.diffusion.full:
            return np.asarray(self._components(place).reshape(-1, dimension, dimension))
        return np.asarray(self._components(place)[:, :, None] * np.eye(dimension))

    def diffused(self, place: Place, function: Derivatives) -> Array:
        """div(D grad f) (point,) of a function with second derivatives."""
        if self.diffusion is None:
            return self.factor * trace(function.second)
        curved = self._tensor(place) * function.second
        return np.asarray((self._rows(place) * function.gradient).sum(axis=1) + curved.sum(axis=(1, 2)))

    def apply(self, place: Place, vectors: Array) -> Array:
        """D times vectors (point, dim)."""
        if self.diffusion is not None and self.diffusion.full:
            return np.asarray(np.einsum("pij,pj->pi", self._tensor(place), vectors))
        return np.asarray(self._along_axes(place) * vectors)

    def _rows(self, place: Place) -> Array:
        """div D of each row (point, dim), by central differences."""
        functions = self._functions
        return np.asarray(np.trace(functions.derivatives(self._tensor, place, functions.step, 0.0), axis1=2, axis2=3))
