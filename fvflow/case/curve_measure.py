"""Speed, length and action of the densities of a stored result, as a curve in the space of densities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.case.checks import flows_that
from fvflow.case.core import Case
from fvflow.case.weak_residual import StoredDensities
from fvflow.errors import CaseError
from fvflow.geometry import Curve, FaceMean, curve, norm
from fvflow.linalg import divergence
from fvflow.mesh import Array, Mesh

if TYPE_CHECKING:
    import xarray

_MOMENTA = ("m_x", "m_y", "m_z")
_NONE = "not stored"


@dataclass(frozen=True, eq=False)
class CurveMeasure:
    """Densities at saved times as a curve, linear in time between them; the notes, equations (44)-(57), (147)-(150)."""

    by_tangents: Curve
    """With the fluxes of least action: those of the tangents at the mean densities."""
    by_fluxes: Curve | None
    """With the mean fluxes of the run, or momenta of your own; None without these."""
    frame_speed: Array | None
    """|d_t rho| at each saved time (frame,), of the rate that the stored `flux` gives; None without these."""
    hint: str
    """What to set for what is not stored; empty if nothing is missing."""

    @property
    def time(self) -> Array:
        """Saved times (frame,)."""
        return self.by_tangents.times

    @property
    def speed(self) -> Array:
        """The metric speed of each interval (interval,)."""
        return self.by_tangents.speed

    @property
    def length(self) -> float:
        """int |rho'| dt of the discrete metric: no bound of the length, nor of W2."""
        return self.by_tangents.length

    @property
    def length_upper(self) -> float:
        """Sum of upper bounds of W2 between saved times, at least W2 of the ends; inf unless known."""
        return min(each.length_upper for each in self._curves.values())

    @property
    def w2_upper(self) -> float:
        """The least upper bound of W2 between the ends that was found; inf unless known."""
        return min(min(each.w2_upper, each.length_upper) for each in self._curves.values())

    @property
    def _curves(self) -> dict[str, Curve]:
        fluxes = {} if self.by_fluxes is None else {"fluxes": self.by_fluxes}
        return {"tangents": self.by_tangents, **fluxes}

    @property
    def json(self) -> dict[str, Any]:
        """All of it, as plain values; null for bounds that are not known."""
        found: dict[str, Any] = {"time": self.time.tolist()}
        for name, each in self._curves.items():
            found[name] = {
                "residual": each.residual,
                "action": each.action,
                "continuum_action": _known(each.continuum_action),
                "length": each.length,
                "length_upper": _known(each.length_upper),
                "w2_upper": _known(each.w2_upper),
                "speed": each.speed.tolist(),
                "step_upper": [_known(float(upper)) for upper in each.step_upper],
                "fault": each.fault,
            }
        if self.frame_speed is not None:
            found["frame_speed"] = self.frame_speed.tolist()
        return {**found, "length_upper": _known(self.length_upper), "w2_upper": _known(self.w2_upper)}

    def rows(self, parts: Sequence[str] = ("speed", "length", "action")) -> list[tuple[str, str]]:
        """A table of some parts, with a column for the tangents and one for the fluxes."""
        curves = self._curves
        rows = [("", _columns("by tangents", "by fluxes"))]
        rows.append(("residual of continuity", _columns(*(f"{each.residual:.1e}" for each in curves.values()))))
        if "action" in parts:
            rows.append(("action", _columns(*(f"{each.action:.6g}" for each in curves.values()))))
            rows.append(("action, proved", _columns(*(_shown(each.continuum_action) for each in curves.values()))))
            rows.append(("W2 of the ends <=", _columns(*(_shown(each.w2_upper) for each in curves.values()))))
        if "length" in parts:
            rows.append(("length", _columns(*(f"{each.length:.6g}" for each in curves.values()))))
            rows.append(("sum of bounds of W2", _columns(*(_shown(each.length_upper) for each in curves.values()))))
        if "speed" in parts:
            rows += self._speed_rows()
        rows += [("by " + name, each.fault) for name, each in curves.items() if each.fault]
        return [*rows, ("missing", self.hint)] if self.hint else rows

    def _speed_rows(self) -> list[tuple[str, str]]:
        ends = [f"{before:.6g} to {after:.6g}" for before, after in zip(self.time, self.time[1:], strict=False)]
        speeds = np.stack([each.speed for each in self._curves.values()], axis=1)
        rows = [
            (f"speed, t = {end}", _columns(*(f"{value:.6g}" for value in line)))
            for end, line in zip(ends, speeds, strict=True)
        ]
        if self.frame_speed is None:
            return rows
        at_frames = zip(self.time, self.frame_speed, strict=True)
        return [*rows, *((f"speed, t = {time:.6g}", _columns("", f"{speed:.6g}")) for time, speed in at_frames)]


def measure(ds: xarray.Dataset, *, case: Case | None = None, mean: FaceMean = "logarithmic") -> CurveMeasure:
    """Speed, length and action of the densities of a result, as `Case.run` or `fvflow.read` return it, or of others.

    With a `case`, whose mesh is taken, the dataset may come from elsewhere: rho(time, [z, y,] x) and, for the action of
    a curve of your own, flux_mean(interval, face), the mass through each face per unit time, or m_x, m_y, m_z on a
    grid: the momenta (interval, [z, y,] x) on the faces between cells, one fewer along their own axis if that is not
    periodic. A row for each saved time is taken too, the first of which is not used. A bound of W2 is claimed only if
    continuity holds to round-off. Raises CaseError for a dataset without densities in time, without case, with another
    mesh, with fluxes of other shapes, or with masses that change.

    >>> run = Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}\\n"
    ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}\\n"
    ...     "initial: {kind: gaussian, mean: [1], covariance: [[1]]}\\n"
    ...     "times: {end: 1, step: 0.05}\\noutput: {fluxes: true}").run()
    >>> found = measure(run)
    >>> round(found.length, 2), round(found.length_upper, 2)
    (0.62, 0.63)
    """
    stored = StoredDensities.of(ds, case)
    mesh, frames = stored.mesh, range(len(stored.time))
    density = np.stack([stored.density(frame) for frame in frames])
    if ds["rho"].dtype == np.float32:  # masses that differ by round-off in single precision
        density *= ((mesh.volume @ density[0]) / (density @ mesh.volume))[:, None]
    momentum = _momentum(stored, ds)
    by_tangents = curve(mesh, stored.time, density, mean=mean)
    by_fluxes = None if momentum is None else curve(mesh, stored.time, density, momentum, mean)
    frame_speed = None
    if "flux" in ds:
        fluxes = (np.asarray(ds["flux"].isel(time=frame).values, float) for frame in frames)
        rates = (-divergence(mesh, flux) / mesh.volume for flux in fluxes)
        frame_speed = np.array([norm(mesh, rho, rate, mean) for rho, rate in zip(density, rates, strict=True)])
    return CurveMeasure(by_tangents, by_fluxes, frame_speed, _hint(stored, momentum is None))


def _momentum(stored: StoredDensities, ds: Any) -> Array | None:
    """Mass through each face per unit time (interval, face); None if the dataset has none."""
    mesh, intervals = stored.mesh, len(stored.time) - 1
    if "flux_mean" in ds:
        return _by_interval("flux_mean", ds["flux_mean"].values, (mesh.faces,), intervals)
    if "momentum" in ds:  # per area, of a geodesic
        return mesh.area * _by_interval("momentum", ds["momentum"].values, (mesh.faces,), intervals)
    return _of_axes(mesh, ds, intervals) if any(name in ds for name in _MOMENTA) else None


def _of_axes(mesh: Mesh, ds: Any, intervals: int) -> Array:
    """The momenta m_x, m_y, m_z times the areas of the faces (interval, face), which are ordered by axis, then cell."""
    if mesh.edges is None:
        raise CaseError("m_x, m_y, m_z are for grids; give flux_mean(interval, face) on this mesh")
    parts = []
    for axis, name in enumerate(_MOMENTA[: mesh.dimension]):
        place = mesh.dimension - 1 - axis
        ends = int(axis not in mesh.periodic)
        shape = tuple(count - ends * (at == place) for at, count in enumerate(mesh.shape))
        if name not in ds:
            raise CaseError(f"{name} is missing; give {', '.join(_MOMENTA[: mesh.dimension])}, 0 where nothing moves")
        parts.append(_by_interval(name, ds[name].values, shape, intervals).reshape(intervals, -1))
    return mesh.area * np.concatenate(parts, axis=1)


def _by_interval(name: str, values: Any, shape: tuple[int, ...], intervals: int) -> Array:
    found = np.asarray(values, float)
    if found.shape not in ((intervals, *shape), (intervals + 1, *shape)):
        wanted = ", ".join(map(str, (intervals, *shape)))
        raise CaseError(f"{name} has the shape {found.shape}; give ({wanted}), one row for each interval")
    found = found[-intervals:]
    if not np.isfinite(found).all():
        raise CaseError(f"{name} is not finite; give a number for each face and interval")
    return found


def _hint(stored: StoredDensities, without_fluxes: bool) -> str:
    """What to set so that fluxes are stored; empty if they are."""
    if not without_fluxes:
        return ""
    flow = stored.case.flow
    if not flow.stores_fluxes:
        by = flows_that(lambda kind: kind.stores_fluxes)
        return f"mean fluxes, which are stored by {by} with output: {{fluxes: true}}"
    return flow.flux_fault or "mean fluxes; set output: {fluxes: true}"


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _shown(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "not known"


def _columns(*texts: str) -> str:
    return "".join(f"{text:>14}" for text in (texts if len(texts) > 1 else (*texts, _NONE)))
