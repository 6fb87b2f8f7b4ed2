"""Cell values that are not finite, found in the step where they appear and traced to a term of the equation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from fvflow.energies import TotalEnergy
from fvflow.errors import NumericsError
from fvflow.mesh import Array, Mesh
from fvflow.parallel import world
from fvflow.problems import State
from fvflow.sums import total

FiniteCheck = Callable[[State, State], None]


class Terms(Protocol):
    """What a problem tells about the terms of its equation."""

    @property
    def mesh(self) -> Mesh:
        """The mesh."""

    def energy(self, time: float) -> TotalEnergy | None:
        """The energy at this time."""

    def flux(self, density: Array, time: float) -> Array:
        """Mass through each face per unit time (face,)."""


def finite_check(problem: Terms | None = None) -> FiniteCheck:
    """A function of the states before and after a step that raises NumericsError if the density is not finite.

    With a problem it says where in space, and at which term.
    """

    def check(before: State, after: State) -> None:
        def why() -> str:
            term = "" if problem is None else f": {_culprit(problem, before, after.time)}"
            return f"{term}; use a shorter step or an implicit method"

        require_finite("the density", after.density, after, None if problem is None else problem.mesh, why)

    return check


def require_finite(name: str, values: Array, after: State, mesh: Mesh | None, why: Callable[[], str]) -> None:
    """Raise NumericsError if the values (cell,) after a step are not finite, or their sum is not.

    The error tells the cell, its centre if there is a mesh, time and step, and ends in what `why` returns.
    """
    with np.errstate(all="ignore"):
        if np.isfinite(total(values)):
            return
    finite, comm = np.isfinite(values), world()
    if comm.every(bool(finite.all())):  # each value is finite and their sum is not
        worst = int(np.argmax(np.abs(values)))
        cell, became = comm.at_extreme(worst, -abs(values[worst]), values)[0], "too large for a sum over the cells"
    else:
        worst = int(np.argmin(finite))
        cell, value = comm.at_extreme(worst, float(finite[worst]), values)
        became = f"{value}"
    place = ""
    if mesh is not None:
        at = zip("xyz", mesh.whole.centre[cell], strict=False)
        place = f" ({', '.join(f'{axis} = {part:.6g}' for axis, part in at)})"
    raise NumericsError(f"{name} became {became} in cell {cell}{place} at t = {after.time:g}, step {after.step}{why()}")


def _culprit(problem: Terms, before: State, time: float) -> str:
    """The first term that is not finite at the density before the step."""
    with np.errstate(all="ignore"):
        for name, evaluate in _terms(problem, before.density, time):
            bad = ~np.isfinite(evaluate())
            if bad.any():
                return f"{name} is not finite before the step"
    return f"all terms are finite before the step, the largest density of which is {before.density.max():.3g}"


def _terms(problem: Terms, density: Array, time: float) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Name and values of each term: the potentials, the variations of the energies in occupied cells, the fluxes."""
    energy = problem.energy(time)
    occupied = density > 0
    for term in () if energy is None else energy.terms:
        yield term.label, lambda term=term: term.first(density)[occupied]  # type: ignore[misc]
    yield "the flux", lambda: problem.flux(density, time)
