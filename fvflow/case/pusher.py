"""What carries points along a result, from one time to another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from fvflow.case.evaluation import Evaluation
from fvflow.case.result_evaluation import ParseCase, evaluate
from fvflow.dataset.stored_mesh import stored_mesh
from fvflow.errors import CaseError
from fvflow.fields.point_file import checked_points
from fvflow.lagrangian.extended import FOLLOWED, InnerVelocity, ReflectedVelocity, folded
from fvflow.lagrangian.flow_map import LARGEST_TOLERANCE, LEAST_TOLERANCE, Integrator, Velocity
from fvflow.lagrangian.recorded import density_at, traced
from fvflow.lagrangian.tracer import Tracer
from fvflow.mesh import Array, Mesh, cells_of
from fvflow.mesh.arrays import real_number, real_numbers

if TYPE_CHECKING:
    import xarray

PushMethod = Literal["auto", "smooth", "exact"]
_METHODS = ("auto", "smooth", "exact")
_NO_FLUX = (
    "the result has no flux_mean, which the exact tracer follows; run it again with output: {fluxes: true} if its flow "
    "stores fluxes, or use method smooth"
)


@dataclass(frozen=True, eq=False)
class PushedPoints:
    """Points at the end of their paths."""

    points: Array
    """Positions (point, dim)."""
    log_density: Array
    """Log of the density at the end of each path, (point,): that at its start less log det."""
    log_det: Array
    """Log of the Jacobian determinant of the map from the start to the end, (point,)."""
    method: str
    """The method that was used: smooth or exact."""
    remarks: tuple[str, ...] = ()
    """Sentences on what lowered the accuracy, such as saves that are far apart."""


class Pusher:
    """What carries points along one result: its functions are fitted once, however often points are carried.

    `parse` makes the case of a result of its text. Raises CaseError as `fvflow.push`.
    """

    def __init__(
        self,
        ds: xarray.Dataset,
        parse: ParseCase,
        *,
        method: PushMethod = "auto",
        tolerance: float = 1e-5,
        accept: bool = False,
    ) -> None:
        if method not in _METHODS:
            raise CaseError(f"method {method!r} is none of {', '.join(_METHODS)}")
        if "rho" not in ds or not ds.sizes.get("time"):
            raise CaseError("the dataset has no density in time; give a result of fvflow")
        self._parse = parse
        self._ds, self._wanted, self._accept, self._tolerance = ds, method, accept, _checked_tolerance(tolerance)
        self.mesh = stored_mesh(ds)
        """The mesh."""

    @cached_property
    def flow(self) -> Evaluation:
        """The result as functions; outside of the mesh they are nan."""
        return evaluate(self._ds, self._parse, outside="nan", accept=self._accept)

    @cached_property
    def method(self) -> Literal["smooth", "exact"]:
        """How points are carried."""
        if self._wanted != "auto":
            return self._wanted
        smooth = self.mesh.edges is not None and bool((self._ds["rho"] > 0).all())
        if not self._has_fluxes:
            return "smooth"
        if not (smooth or self.mesh.revolution is not None):
            return "exact"
        return "exact" if self.flow.velocity_fault else "smooth"

    def pushed(
        self,
        points: ArrayLike,
        start: float,
        end: float,
        log_density: ArrayLike | None = None,
        *,
        tolerance: float | None = None,
    ) -> PushedPoints:
        """The points at the time `end`, as `fvflow.push`; with a tolerance of their own, if one is given."""
        mesh, times = self.mesh, np.asarray(self._ds["time"].values, float)
        given = checked_points("the points", points, "point")
        if given.shape[1] != mesh.dimension:
            raise CaseError(f"the points have {given.shape[1]} coordinate(s), the mesh {mesh.dimension} dimension(s)")
        start, end = real_number("the start", start), real_number("the end", end)
        for time in (start, end):
            if not times[0] <= time <= times[-1]:
                raise CaseError(f"t = {time:g} is outside the run, which goes from {times[0]:g} to {times[-1]:g}")
        if outside := int((cells_of(mesh, given) < 0).sum()):
            raise CaseError(f"{outside} of {len(given)} points are outside the mesh; leave them out")
        before = None if log_density is None else real_numbers("log_density", log_density)
        if before is not None and before.shape != (len(given),):
            raise CaseError(
                f"log_density has the shape {before.shape} for {len(given)} points; give one number for each"
            )
        if self.method == "exact":
            return self._exact(given, start, end, before)
        chosen = self._tolerance if tolerance is None else _checked_tolerance(tolerance)
        return self._smooth(given, start, end, before, Integrator("rk45", chosen))

    @property
    def _has_fluxes(self) -> bool:
        return "flux_mean" in self._ds or "momentum" in self._ds

    def _smooth(
        self, points: Array, start: float, end: float, before: Array | None, integrator: Integrator
    ) -> PushedPoints:
        """By the velocity at points."""
        flow, mesh = self.flow, self.flow.mesh
        velocity: Velocity = ReflectedVelocity(mesh, flow) if flow.reflects else flow
        if flow.outlets or not flow.reflects:
            velocity = InnerVelocity(velocity, flow.outlets)
        left = f"mass leaves through {', '.join(flow.outlets)}: leave points near there out, or {FOLLOWED}"
        size, cure = float(np.ptp(mesh.points, axis=0).max()), left if flow.outlets else ""
        log_start = flow.log_density(points, start) if before is None else before
        moved, log_det = integrator.carried(velocity, points, np.zeros(len(points)), start, end, size=size, cure=cure)
        moved = folded(mesh, moved)[0] if flow.reflects else mesh.inside_period(moved)
        return PushedPoints(moved, log_start - log_det, log_det, "smooth", tuple(flow.remarks))

    def _exact(self, points: Array, start: float, end: float, before: Array | None) -> PushedPoints:
        """By the stored fluxes."""
        if not self._has_fluxes:
            raise CaseError(_NO_FLUX)
        tracer, record = self._tracer, _Frames(self._ds, self.mesh)
        placed = tracer.place(points)
        if before is None:
            frame = int(np.searchsorted(record.times, start))
            with np.errstate(divide="ignore"):
                before = np.log(density_at(record, frame, start)[placed.cell])
        found = traced(tracer, record, placed, start, end)
        return PushedPoints(tracer.positions(found), before - found.log_det, found.log_det, "exact")

    @cached_property
    def _tracer(self) -> Tracer:
        return Tracer.on(self.mesh, _outlets(self._ds))


def _checked_tolerance(tolerance: float) -> float:
    tolerance = real_number("the tolerance", tolerance)
    if not LEAST_TOLERANCE <= tolerance <= LARGEST_TOLERANCE:
        raise CaseError(f"the tolerance is {tolerance:g}; give one from {LEAST_TOLERANCE:g} to {LARGEST_TOLERANCE:g}")
    return tolerance


def _outlets(ds: xarray.Dataset) -> tuple[str, ...]:
    """Names of the walls and cells that absorb, as a result with fluxes stores them."""
    return tuple(str(ds["opening_group"].attrs["flag_meanings"]).split()) if "opening_group" in ds else ()


class _Frames:
    """The saved densities and fluxes of a result."""

    def __init__(self, ds: xarray.Dataset, mesh: Mesh) -> None:
        self._ds, self._mesh = ds, mesh
        self.times = np.asarray(ds["time"].values, float)
        """The saved times (frame,)."""
        if not all(np.array_equal(ds[name].values, getattr(mesh, name)) for name in ("owner", "neighbour")):
            raise CaseError("the faces of the result are not those of its mesh; use method smooth")

    def density(self, frame: int) -> Array:
        """rho (cell,) at a saved time."""
        return np.asarray(self._ds["rho"].isel(time=frame).values, float).ravel()

    def flux_mean(self, frame: int) -> Array:
        """The mean flux (face,) over the interval that ends at a saved time; of a geodesic its momentum."""
        if "flux_mean" in self._ds:
            return np.array(self._ds["flux_mean"].isel(time=frame).values, float)
        return np.asarray(self._mesh.area * self._ds["momentum"].isel(time=frame).values, float)
