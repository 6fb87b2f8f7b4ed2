"""Whether both sides of the equations agree in a result: its densities, and samples that its velocity carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fvflow.case.line_steps import line_step_gap
from fvflow.case.pusher import Pusher, PushMethod
from fvflow.case.result_evaluation import ParseCase
from fvflow.dataset.groups import FIGURES, SIDES
from fvflow.dataset.samples import sample, stored_density
from fvflow.errors import CaseError
from fvflow.lagrangian.identities import (
    CosineBank,
    MomentBank,
    density_gap,
    determinant_gap,
    flux_action,
    path_action,
    push_forward_gap,
    velocity_action,
)
from fvflow.mesh import Array, Mesh, cells_of

if TYPE_CHECKING:
    import xarray

_ORDER = 3  # of the test functions
_SHIFTED = 200  # points of which the Jacobian is taken by differences
_TOLERANCE = 1e-9  # of their paths
_DISTANCE = _TOLERANCE ** (1 / 3)  # between them, relative to the mesh: errors of differences and of paths are alike


@dataclass(frozen=True, eq=False)
class Sides:
    """Samples of the first frame, carried to the later ones, and their differences from the densities there."""

    times: Array
    """The saved times (frame,)."""
    positions: Array
    """The points at these times (frame, point, dim)."""
    log_det: Array
    """log det of the Jacobian of the map from the first time (frame, point)."""
    method: str
    """How they were carried: smooth or exact, as in `fvflow.push`."""
    figures: dict[str, float]
    """The differences by name, the largest over the times."""


MEANINGS = {name.removeprefix(SIDES): text for name, text in FIGURES.items() if name.startswith(SIDES)}
"""What the figures of `compare_sides` are."""


def sides_of(ds: xarray.Dataset, parse: ParseCase, n: int, seed: int, method: PushMethod) -> Sides:
    """As `fvflow.compare_sides`; `parse` makes the case of the result of its text."""
    carried = _carried(ds, parse, n, seed, method)
    mesh, times, positions = carried.mesh, carried.times, carried.positions
    banks = CosineBank(mesh, _ORDER), MomentBank(positions[0].mean(axis=0))
    gaps = [
        [push_forward_gap(bank, at, mesh, density) for bank in banks]
        for density, at in zip(carried.densities, positions, strict=True)
    ]
    figures = {
        "push_forward": max(of_bank.errors for of_bank, _ in gaps),
        "push_forward_gap": max(of_bank.largest for of_bank, _ in gaps),
        "moments": max(of_moments.errors for _, of_moments in gaps),
        "action_of_paths": path_action(mesh, times, np.array(positions)),
    }
    method_used = carried.pusher.method
    along = _along_exact_paths if method_used == "exact" else _along_smooth_paths
    figures |= dict(along(ds, carried))
    if whole := figures.get("action_of_densities", 0.0):
        figures["action"] = abs(figures["action_of_paths"] - whole) / whole
    case = parse(str(ds.attrs["case"]), str(ds.encoding.get("source", "case")))
    gap = line_step_gap(ds, case, mesh, carried.densities)
    figures |= {} if gap is None else {"lagrangian_step": gap}
    return Sides(times, np.array(positions), np.array(carried.log_det), method_used, figures)


@dataclass(frozen=True, eq=False)
class _Carried:
    """The points and the densities at the saved times."""

    pusher: Pusher
    times: Array
    densities: list[Array]
    positions: list[Array]
    log_det: list[Array]

    @property
    def mesh(self) -> Mesh:
        """The mesh."""
        return self.pusher.mesh


def _carried(ds: xarray.Dataset, parse: ParseCase, n: int, seed: int, method: PushMethod) -> _Carried:
    """Samples of the first frame at all saved times."""
    times = np.asarray(ds["time"].values, float)
    if len(times) < 2:
        raise CaseError("the result has one saved time only, and nothing moves; save more of them")
    if "survival" in ds:
        raise CaseError(
            "mass leaves the domain of the result, and paths with it: the sides are compared where walls are closed"
        )
    points = sample(ds, n, float(times[0]), seed, stratified=False)
    positions, log_det, pusher = [points], [np.zeros(n)], Pusher(ds, parse, method=method)
    for begin, end in pairwise(times.tolist()):
        moved = pusher.pushed(positions[-1], begin, end)
        positions.append(moved.points)
        log_det.append(log_det[-1] + moved.log_det)
    densities = [stored_density(ds, time) for time in times.tolist()]
    return _Carried(pusher, times, densities, positions, log_det)


def _along_exact_paths(ds: xarray.Dataset, carried: _Carried) -> Iterator[tuple[str, float]]:
    """The figures of densities constant in cells and of stored fluxes."""
    mesh, ends = carried.mesh, (0, -1)
    with np.errstate(divide="ignore"):
        logs = [np.log(carried.densities[end][cells_of(mesh, carried.positions[end])]) for end in ends]
    yield "density", density_gap(logs[0], logs[1], carried.log_det[-1])
    if "flux_mean" in ds:
        fluxes = iter(ds["flux_mean"].values[1:])
        yield "action_of_densities", flux_action(mesh, carried.times, carried.densities, fluxes)


def _along_smooth_paths(ds: xarray.Dataset, carried: _Carried) -> Iterator[tuple[str, float]]:
    """The figures of densities and velocities at points."""
    flow, mesh, times, first = carried.pusher.flow, carried.mesh, carried.times.tolist(), carried.positions[0]
    logs = flow.log_density(first, times[0]), flow.log_density(carried.positions[-1], times[-1])
    yield "density", density_gap(*logs, carried.log_det[-1])
    yield from _determinant(carried)
    velocities = [flow.velocity(mesh.centre, time) for time in times]
    yield "action_of_densities", velocity_action(mesh, carried.times, carried.densities, velocities)


def _determinant(carried: _Carried) -> Iterator[tuple[str, float]]:
    """The figure of the determinant, by paths of a tolerance of their own; none if all points are beside walls."""
    mesh, some, unit = carried.mesh, carried.positions[0][:_SHIFTED], np.eye(carried.mesh.dimension)
    distance = _DISTANCE * float(np.ptp(mesh.points, axis=0).max())
    shifts = distance * np.concatenate([0 * unit[:1], unit, -unit])
    some = some[np.all([cells_of(mesh, some + shift) >= 0 for shift in shifts], axis=0)]
    if not len(some):
        return
    beside = some + shifts[:, None]
    start, end = (float(carried.times[at]) for at in (0, -1))
    ends = carried.pusher.pushed(beside.reshape(-1, mesh.dimension), start, end, tolerance=_TOLERANCE)
    images, log_det = ends.points.reshape(beside.shape), ends.log_det[: len(some)]
    if mesh.revolution is not None:  # less the part of the circles or spheres
        log_det = log_det - (mesh.revolution.dimension - 1) * np.log(images[0, :, 0] / some[:, 0])
    plus, minus = np.split(images[1:], 2)
    yield "determinant", determinant_gap(mesh, plus, minus, distance, log_det)
