"""A coefficient of diffusion D(x, t) on the faces of a mesh: scalar, or diagonal along the axes.

The flux of d_t rho + div(rho v) = div(D^(1-c) grad(D^c rho)), c = 1 for ito, 1/2 for stratonovich, 0 for isothermal, is

    F = T a (D_K^c rho_K - D_L^c rho_L),   a = |x_K - x_L|/int_K^L D^(c-1)

without a drift; a is the conductivity for D^c rho, which is continuous where D jumps. As a two-point flux with

    eps = a (D_K^c - D_L^c)/log(D_K^c/D_L^c),   w = a (D_K^c - D_L^c),

any B-function that keeps Gibbs states, B(-w) = exp(w/eps) B(w), has the equilibrium D^-c to round-off. The potential
of a temperature adds eps (V_K - V_L)/T, which changes it to D^-c exp(-V/T); any other drift adds its own w. Where D is
0 at a centre, so is eps if c > 0, and the flux is upwind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import BaseDrift, Diffusion, Drift, Parameters
from fvflow.fields.expression import restrict_regions
from fvflow.fields.seams import seam_jumps
from fvflow.fluxes import bernoulli
from fvflow.mesh import Array, Index, Mesh, Openings
from fvflow.parallel import world
from fvflow.problems.base import Graph

_ALIGNED = 1e-6  # part of D n beside n, relative to D, that counts as none


class Diffusivity(Protocol):
    """A coefficient of diffusion that is not one number, on a mesh."""

    @property
    def graph(self) -> Graph:
        """The links that the flux flows through."""

    @property
    def conductance(self) -> Array:
        """T of each link (link,)."""

    @property
    def steady(self) -> bool:
        """Whether it does not depend on t."""

    @property
    def temperature(self) -> float | None:
        """T by which the potential drifts; None if there is none."""

    @property
    def along_axes(self) -> AxisDiffusivity | None:
        """D by functions along the axes, which have values at points; None if it is not known as such."""
        return None

    def opened(self, openings: Openings) -> Openings:
        """The openings of the links, from those of the faces of the mesh."""

    def on_links(self, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each link (link,); raises CaseError or NumericsError if D is not defined or negative."""

    def at_openings(self, openings: Openings, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each opening (opening,), as `on_links`."""

    def gibbs_exponent(self, drift: BaseDrift, time: float) -> Array | None:
        """log pi (cell,) of the equilibrium pi without velocities; None if there is none that is known."""

    def seam_notes(self, time: float) -> Iterator[str]:
        """Sentences on the periodic axes at whose seam it jumps."""


def seam_notes(
    mesh: Mesh, diffusion: Diffusion, parameters: Parameters, time: float, name: str = "diffusion"
) -> Iterator[str]:
    """Sentences on the periodic axes at whose seam a coefficient of a case jumps."""
    for part in diffusion.components:
        yield from seam_jumps(mesh, partial(part.at, parameters=parameters, time=time), f"{name} {part.text}")


@dataclass(frozen=True, eq=False)
class AxisDiffusivity:
    """D(x, t) by one function, or by one per axis on a mesh whose faces are normal to eigenvectors of D."""

    mesh: Mesh
    """The mesh."""
    diffusion: Diffusion
    """What the case says of it."""
    parameters: Parameters
    """The parameters of the case."""
    factor: float
    """A factor of D."""
    name: str = "diffusion"
    """What it is called."""

    @property
    def graph(self) -> Mesh:
        """The mesh."""
        return self.mesh

    @property
    def conductance(self) -> Array:
        """T = |s|/d of each face (face,)."""
        return self.mesh.transmissibility

    @property
    def temperature(self) -> float | None:
        """T by which the potential drifts; None if there is none."""
        return self.diffusion.temperature

    @cached_property
    def steady(self) -> bool:
        """Whether it does not depend on t."""
        return self.diffusion.steady

    @property
    def along_axes(self) -> AxisDiffusivity:
        """Itself."""
        return self

    @cached_property
    def _halves(self) -> tuple[Array, Array, Array]:
        """The part of |x_K - x_L| that lies in K (face,), and the middles of both parts (face, dim)."""
        mesh = self.mesh
        start = mesh.centre[mesh.owner]
        end = start + mesh.nearest_image(mesh.centre[mesh.neighbour] - start)
        to_face = ((mesh.face_centre - start) * mesh.normal).sum(axis=1)
        part = np.clip(to_face / mesh.distance, 0.0, 1.0)[:, None]  # centres outside of their cells have no part
        middles = start + 0.5 * part * (end - start), end - 0.5 * (1.0 - part) * (end - start)
        near, far = map(mesh.inside_period, middles)
        return part[:, 0], near, far

    def opened(self, openings: Openings) -> Openings:
        """The openings of the faces."""
        return openings

    def on_links(self, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each face (face,); raises CaseError or NumericsError if D is not defined or negative."""
        mesh, power = self.mesh, self.diffusion.power
        owner, neighbour, normal = mesh.owner, mesh.neighbour, mesh.normal
        between, here, there = np.ones((3, mesh.faces))
        if power < 1 and mesh.cut_by_regions and mesh.regions:  # sum_e D_e |s n e|/|s|
            every = np.arange(mesh.faces, dtype=np.int32)
            between = self._along(mesh.face_centre, normal, every, time, mesh.face_regions) ** (1.0 - power)
        elif power < 1:
            part, near, far = self._halves
            conductivity = self._along(near, normal, owner, time) ** (1.0 - power)
            between = _harmonic(part, conductivity, self._along(far, normal, neighbour, time) ** (1.0 - power))
        if power > 0:
            here = self._along(mesh.centre[owner], normal, owner, time) ** power
            there = self._along(mesh.centre[neighbour], normal, neighbour, time) ** power
        return self._with_drift(between, here, there, drift, lambda part: part.potential_drop(mesh, time))

    @cached_property
    def on_faces(self) -> Array:
        """D of each face (face,) at time 0 without a drift: for isothermal, the harmonic mean of both sides."""
        return self.on_links(Drift(), 0.0)[1]

    def at_openings(self, openings: Openings, drift: BaseDrift, time: float) -> tuple[Array, Array]:
        """w and eps of each opening (opening,), between the centre of its cell and its face."""
        cell, power, face = openings.cell, self.diffusion.power, openings.position
        centre = self.mesh.centre[cell]
        between, here, there = np.ones((3, len(cell)))
        if power < 1:
            between = self._along(0.5 * (centre + face), openings.normal, cell, time) ** (1.0 - power)
        if power > 0:
            here = self._along(centre, openings.normal, cell, time) ** power
            there = self._along(face, openings.normal, cell, time) ** power
        return self._with_drift(
            between, here, there, drift, lambda part: part.drop_to_openings(self.mesh, openings, time)
        )

    def _with_drift(
        self, between: Array, here: Array, there: Array, drift: BaseDrift, drop: Callable[[BaseDrift], Array]
    ) -> tuple[Array, Array]:
        """w and eps from a, D_K^c and D_L^c, and from the drop of a drift."""
        w, eps = between * (here - there), between * logarithmic_mean(here, there)
        if self.temperature is None:
            return w + drop(drift), eps
        potential, rest = drift.parts
        w += eps * drop(potential) / self.temperature
        return (w if rest.absent else w + drop(rest)), eps

    def _along(
        self, position: Array, normal: Array, parts: Index, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """n.D n at positions in cells, or in parts in other regions (point,); raises an error if D n is not along n."""
        if self.diffusion.scalar:
            return self._values(0, position, parts, time, regions)
        total, largest = np.zeros(len(position)), np.zeros(len(position))
        beside = np.zeros(len(position))
        for axis in range(position.shape[1]):
            met = np.flatnonzero(normal[:, axis])
            value = self._values(axis, position[met], parts[met], time, regions)
            total[met] += normal[met, axis] ** 2 * value
            beside[met] += (normal[met, axis] * value) ** 2
            largest[met] = np.maximum(largest[met], value)
        if (beside - total**2 > (_ALIGNED * largest) ** 2).any() and self.mesh.edges is None:
            raise CaseError(
                f"{self.name} differs between directions, which two-point fluxes need faces along the axes for; use "
                "mesh box or graded, or one value"
            )
        return total

    def _values(
        self, axis: int, position: Array, parts: Index, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """A component of D at positions in cells, as `_along`; raises NumericsError if one is negative."""
        component = self.diffusion.components[axis]
        inside = restrict_regions(self.mesh.regions if regions is None else regions, parts)
        value = self.factor * component.at(position, self.parameters, time, inside)
        require_nonnegative(value, position, f"{self.name} {component.text}", time)
        return value

    def seam_notes(self, time: float) -> Iterator[str]:
        """Sentences on the periodic axes at whose seam it jumps."""
        return seam_notes(self.mesh, self.diffusion, self.parameters, time, self.name)

    def gibbs_exponent(self, drift: BaseDrift, time: float) -> Array | None:
        """-V/T - c log D (cell,); None where the convention has none, or D is 0 in a cell."""
        power, mesh = self.diffusion.power, self.mesh
        exponent = np.zeros(mesh.cells)
        if self.temperature is not None:
            exponent -= drift.cell_potential(mesh, time) / self.temperature
        elif not drift.absent:
            return None
        if power == 0:
            return exponent
        if not self.diffusion.scalar:
            return None
        value = self._values(0, mesh.centre, np.arange(mesh.cells, dtype=np.int32), time)
        return exponent - power * np.log(value) if world().every(bool((value > 0).all())) else None


def require_nonnegative(value: Array, position: Array, name: str, time: float) -> None:
    """Raise NumericsError at the least of the values (point,) of a coefficient at positions if it is negative."""
    if (value < 0).any():
        worst = int(np.argmin(value))
        place = ", ".join(f"{axis} = {at:.6g}" for axis, at in zip("xyz", position[worst], strict=False))
        raise NumericsError(f"{name} is {value[worst]:g} at {place}, t = {time:g}; it has to be at least 0 everywhere")


def _harmonic(part: Array, here: Array, there: Array) -> Array:
    """1/(part/here + (1 - part)/there) (face,); 0 if one of them is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = 1.0 / (part / here + (1.0 - part) / there)
    return np.where(((here == 0) & (part > 0)) | ((there == 0) & (part < 1)), 0.0, mean)


def logarithmic_mean(a: Any, b: Any) -> Array:
    """(b - a)/log(b/a) (face,) of numbers >= 0, a where they are equal; 0 if one of them is.

    >>> logarithmic_mean(np.array([2.0, 1.0, 0.0]), np.array([2.0, np.e, 3.0]))
    array([2.        , 1.71828183, 0.        ])
    """
    larger = np.maximum(a, b)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(larger > 0, larger / bernoulli(np.log(np.minimum(a, b) / larger)), 0.0)
