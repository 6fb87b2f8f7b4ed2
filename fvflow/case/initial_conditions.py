"""The densities that a run starts from and goes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact import Facts, Reference
from fvflow.fields import Coverage, DensityKind, Parameters
from fvflow.linalg import inner
from fvflow.mesh import Array, Mesh
from fvflow.parallel import by_one, world
from fvflow.problems import Problem

T = TypeVar("T")
_ROUND_OFF = 1e-9  # relative difference of two masses that counts as none
_ELSEWHERE = 0.01  # L1 distance of a closed form from the target, of the mass, beyond which it is another
_LEAST_TOTAL = 1e-280  # smaller masses have lost digits, and their inverse overflows
_OCCUPIED = 1e-100  # of the largest density, below which E'' may overflow as in vacuum
_OUTSIDE = 1e-6  # share of the mass outside the mesh that is told
_MOST_CUT = 0.9  # share outside the mesh beyond which cutting it off is no advice
_COARSE, _COARSEST = 2.0, 0.25  # standard deviations, in cells, below which a density is told and refused


@dataclass(frozen=True, eq=False)
class PlacedDensity:
    """A density on the mesh of a case, and what became of it there."""

    role: str
    """What it is in the case: "initial" or "target", or "given_0", "given_1", ..."""
    values: Array
    """Cell values (cell,)."""
    mass: float
    """Its mass on the mesh."""
    integral: float
    """Its integral before it was scaled to the mass."""
    coverage: Coverage | None = None
    """How it lies on the mesh; None if its true total is not known."""
    mass_unspecified: bool = False
    """Whether it had values of its own and the case does not say whether they are kept."""
    partner: str = ""
    """The role of the density that has to have the same mass; empty if none has."""

    @property
    def scaled(self) -> bool:
        """Whether it has values of its own that were scaled without a word in the case."""
        return self.mass_unspecified and abs(self.integral / self.mass - 1.0) > _ROUND_OFF

    @property
    def _keeping(self) -> str:
        """How its integral is kept."""
        if not self.partner:
            return "`mass: integral` keeps it"
        return f"`mass: integral`, with `mass: {self.integral:.6g}` in the {self.partner} density, keeps it"

    def remarks(self) -> Iterator[str]:
        """Sentences on what the mesh or a scaling made of it."""
        coverage = self.coverage or Coverage()
        if self.scaled:
            yield (
                f"the {self.role} density has the integral {self.integral:.6g} and is scaled to the mass "
                f"{self.mass:g}; {self._keeping}, `mass: {self.mass:g}` says that this is meant"
            )
        if coverage.off_mesh > _OUTSIDE:
            yield f"{_percent(coverage.off_mesh)} of the {self.role} density is outside the mesh and {coverage.fate}"
        if coverage.deviation < _COARSE * (1.0 - _ROUND_OFF):
            yield (
                f"the smallest {coverage.measure} of the {self.role} density is {coverage.deviation:.3g} cells: the "
                "mesh hardly resolves it"
            )
        if coverage.note:
            yield f"the {self.role} density: {coverage.note}"

    def describe(self) -> str:
        """A sentence for `check`."""
        clauses = [f"mass {self.mass:.6g}" + (f", integral {self.integral:.6g} scaled to it" if self.scaled else "")]
        if self.coverage is not None:
            clauses.append(f"{_percent(self.coverage.off_mesh)} outside the mesh" if self.coverage.off_mesh else "")
            if np.isfinite(self.coverage.deviation):
                clauses.append(f"smallest {self.coverage.measure} {self.coverage.deviation:.3g} cells")
            clauses.append(self.coverage.note)
        return "; ".join(filter(None, clauses))

    def attributes(self) -> dict[str, Any]:
        """For the result: the integral, the share outside the mesh and the smallest deviation in cells, if known."""
        found: dict[str, Any] = {f"{self.role}_integral": self.integral}
        if self.coverage is not None:
            found[f"{self.role}_off_mesh"] = self.coverage.off_mesh
            if np.isfinite(self.coverage.deviation):
                found[f"{self.role}_deviation_in_cells"] = self.coverage.deviation
        return found


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rounded_up(share: float) -> float:
    """A number of one digit above it."""
    unit = 10.0 ** math.floor(math.log10(share))
    return math.ceil(share / unit * (1.0 + _ROUND_OFF)) * unit


def target_density(facts: Facts, reference: Reference | None, initial: Array) -> PlacedDensity:
    """The target density, scaled to the mass of the initial one; raises CaseError if the masses differ."""
    assert facts.target is not None
    target = _placed("target", facts.target, facts, reference, facts.end)
    mass = inner(facts.mesh.volume, initial)
    _require_equal_masses(mass, target.mass, _OUTSIDE if facts.target.is_exact else _ROUND_OFF)
    return replace(target, values=target.values * (mass / target.mass), mass=mass)


def _require_equal_masses(initial: float, target: float, tolerance: float) -> None:
    if not abs(initial - target) <= tolerance * max(initial, target):
        raise CaseError(
            f"the target has the mass {target:.9g}, the initial density {initial:.9g}; mass is conserved: set the same "
            "mass in both"
        )


def require_end(facts: Facts, reference: Reference, target: Array) -> None:
    """Refuse a closed form that does not end at the target: CaseError."""
    volume = facts.mesh.volume
    off = float(volume @ np.abs(reference.finite_average(facts.end) - target)) / float(volume @ target)
    if off > _ELSEWHERE:
        raise CaseError(
            f"the closed form at t = {facts.end:g} is off the target by {off:.2g} of the mass: give the target as "
            "{kind: exact}, or a box that holds both"
        )


def initial_density(facts: Facts, reference: Reference | None) -> PlacedDensity:
    """The initial density at the start of the run, scaled to its mass.

    Raises CaseError if it is negative, empty, not finite, too much of it is outside the mesh, or its width is lost
    between cells.
    """
    return _placed("initial", facts.initial, facts, reference, facts.start)


def given_density(
    number: int, kind: DensityKind, facts: Facts, reference: Reference | None, first: Sequence[PlacedDensity]
) -> PlacedDensity:
    """One of several densities, scaled to the mass of the first; raises CaseError if it has another mass."""
    density = _placed(f"given_{number}", kind, facts, reference, facts.start)
    for other in first:
        if not abs(density.mass - other.mass) <= _ROUND_OFF * max(density.mass, other.mass):
            raise CaseError(
                f"the density has the mass {density.mass:.9g}, the first one {other.mass:.9g}; equal ones are needed: "
                "set the same mass in all"
            )
        return replace(density, values=density.values * (other.mass / density.mass), mass=other.mass)
    return density


def _placed(role: str, kind: DensityKind, facts: Facts, reference: Reference | None, time: float) -> PlacedDensity:
    density = _values(kind, facts, reference, time)
    if not world().every(bool(np.isfinite(density).all())):
        raise CaseError("the density is not finite everywhere on this mesh; is it narrower than doubles can tell?")
    if world().smallest(density) < 0:
        worst = int(np.argmin(density))
        cell, least = world().at_extreme(worst, float(density[worst]), density)
        at = zip("xyz", facts.mesh.whole.centre[cell], strict=False)
        place = ", ".join(f"{axis} = {value:.6g}" for axis, value in at)
        raise CaseError(f"the density is {least:g} at {place} (cell {cell}); it has to be >= 0 everywhere")
    total = inner(facts.mesh.volume, density)
    if not total < np.inf:
        raise CaseError("the mass of the density is too large for doubles; scale it down")
    coverage = _as_a_whole(kind, facts, lambda all_facts: kind.coverage(all_facts, reference, total))
    if coverage is not None:
        _require_covered(coverage, kind.truncate)
    if not total > 0:
        raise CaseError(f"the density has the mass {total:g} on this mesh; it has to be > 0: is it inside the box?")
    if total < _LEAST_TOTAL:
        raise CaseError(f"the mass of the density, {total:.3g}, is too small for doubles; scale it up")
    mass = total if kind.scaled_mass is None else kind.scaled_mass
    values = density if kind.scaled_mass is None else density * (mass / total)
    partner = "" if facts.target is None else {"initial": "target", "target": "initial"}.get(role, "")
    return PlacedDensity(role, values, mass, total, coverage, kind.mass_unspecified, partner)


def total_mass(kind: DensityKind, mesh: Mesh, parameters: Parameters) -> float:
    """The total mass of a density on a mesh, of which this process may hold a part."""
    if kind.cellwise or world().holds_all:
        return kind.total_mass(mesh, parameters)
    return by_one(lambda: kind.total_mass(mesh.whole, parameters))


def _values(kind: DensityKind, facts: Facts, reference: Reference | None, time: float) -> Array:
    """Cell values (cell,), on several ranks those of the cells that this one holds."""
    values = np.asarray(_as_a_whole(kind, facts, lambda all_facts: kind.on(all_facts, reference, time)))
    return values if kind.cellwise else np.asarray(world().part(values))


def _as_a_whole(kind: DensityKind, facts: Facts, ask: Callable[[Facts], T]) -> T:
    """An answer of a density: by the first rank for the whole mesh, if it does not give each cell a value by itself."""
    if kind.cellwise or world().holds_all:
        return ask(facts)
    return by_one(lambda: ask(replace(facts, mesh=facts.mesh.whole)))


def _require_covered(coverage: Coverage, truncate: float) -> None:
    """Refuse a density of which more than a share is outside the mesh, or whose width is lost: CaseError."""
    if coverage.deviation < _COARSEST * (1.0 - _ROUND_OFF):
        raise CaseError(
            f"the smallest {coverage.measure} of the density is {coverage.deviation:.3g} cells, and at least "
            f"{_COARSEST:g} are needed, or the mesh does not hold its variance; use smaller cells, or "
            f"{coverage.instead}"
        )
    if coverage.off_mesh > truncate:
        share = _rounded_up(coverage.off_mesh)
        cut = f", or `truncate: {share:g}` to cut it off" if share < _MOST_CUT else ""
        note = f" ({coverage.note})" if coverage.note else ""
        raise CaseError(
            f"{_percent(coverage.off_mesh)} of the density is outside the mesh{note}, at most {_percent(truncate)} is "
            f"allowed; use a mesh that holds it{cut}"
        )


def require_finite_energy(problem: Problem, density: Array, time: float) -> None:
    """Raise CaseError unless the energy of a density (cell,) and its variations in occupied cells are finite."""
    energy = problem.energy(time)
    if energy is None:
        return
    with np.errstate(all="ignore"):
        variations = np.abs(energy.first(density)) + np.abs(density * energy.second(density))
        bad = (density > _OCCUPIED * world().largest(density)) & ~np.isfinite(variations)
        finite = math.isfinite(energy.value(density))
    if finite and not world().some(bad):
        return
    cell = int(np.argmax(bad)) if bad.any() else int(np.argmax(density))
    place = ", ".join(f"{axis} = {part:.4g}" for axis, part in zip("xyz", problem.mesh.centre[cell], strict=False))
    raise CaseError(
        f"the energy or its variation is not finite at the initial density {density[cell]:.3g} at {place}; use a "
        "smaller exponent or coefficient, or a density nearer to 1"
    )
