"""Convex Hamiltonians H(p): Godunov's numerical Hamiltonian for `fvflow.transport.hamilton_jacobi`, and grad_p H."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.transport.geodesic import cell_vectors

_PROBE = 1e-4  # over max(1, |p|): distance of the two points whose difference quotient bounds the slope of h
_OUTWARDS = np.array([[1.0], [-1.0]])
_ROUND_OFF = 1e-12

_Part = Callable[[Array], Array]


class BaseHamiltonian:
    """A convex H, given to monotone schemes by its one-sided slopes p-, p+ along each axis.

    A new Hamiltonian derives from this class and defines `godunov`, and `face_speed` if it is to transport densities;
    it may depend on the cell. For a case file to name it, it is a frozen dataclass with `kind: Literal[...]`, joined to
    the union `Hamiltonian` in `fvflow.transport`.
    """

    hopf_lax_available: ClassVar[bool] = False
    """Whether `hopf_lax` gives the exact solution."""
    climbs: ClassVar[bool] = False
    """Whether `face_speed` has the sign of the slope, so that mass goes up phi and never round in a circle."""
    known_convex: ClassVar[bool] = False
    """Whether it is convex for all slopes, so that `require_convex` need not be asked."""

    @property
    def steady(self) -> bool:
        """Whether it need not be asked again at another time whether it is convex: grad_p H does not depend on t."""
        return True

    def at(self, time: float) -> Self:
        """H at a time: itself, unless it depends on t."""
        return self

    def require_convex(self, lower: Array, upper: Array) -> None:
        """Raise CaseError or NumericsError unless it is convex in p for lower <= p <= upper (axis,); here it is."""

    def notes(self) -> Iterator[str]:
        """What deserves a word of it on its mesh, as sentences."""
        yield from ()

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """Godunov's H (cell,) and bounds of its derivatives in p-_a and -p+_a (axis, cell), from p-, p+ (axis, cell).

        It is convex, non-decreasing in p- and -p+, and H(p) for p- = p+ = p. Differences across a wall are p- = -inf
        and p+ = +inf. If H depends on the cell, a potential at rest does not limit the step: ask `solve` for times that
        are close together.
        """
        raise NotImplementedError

    def face_speed(self, mesh: Mesh, slope: Array) -> Array:
        """grad_p H(grad phi).n of each face (face,), from the slopes D phi/d along the normals (face,)."""
        raise NotImplementedError(f"{type(self).__name__} has no velocity grad_p H; define face_speed")


def _steepest(minus: Array, plus: Array) -> Array:
    """m_a = max(p-_a, -p+_a, 0): the steeper of the two descents along each axis, 0 at a minimum."""
    return np.maximum(np.maximum(minus, -plus), 0.0)


@dataclass(frozen=True)
class QuadraticHamiltonian(BaseHamiltonian):
    """H = |p|^2/2, Godunov's H = sum_a max(max(p-_a, 0)^2, min(p+_a, 0)^2)/2.

    Osher, Sethian, Fronts propagating with curvature-dependent speed, J. Comput. Phys. 79 (1988); Rouy, Tourin, A
    viscosity solutions approach to shape-from-shading, SIAM J. Numer. Anal. 29 (1992).
    """

    kind: Literal["quadratic"] = "quadratic"
    hopf_lax_available: ClassVar[bool] = True
    climbs: ClassVar[bool] = True
    known_convex: ClassVar[bool] = True

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """|m|^2/2 (cell,) and m (axis, cell), m_a = max(p-_a, -p+_a, 0)."""
        steepest = _steepest(minus, plus)
        return 0.5 * np.square(steepest).sum(axis=0), steepest

    def face_speed(self, mesh: Mesh, slope: Array) -> Array:
        """The slope itself."""
        return np.asarray(slope)


@dataclass(frozen=True)
class PowerHamiltonian(BaseHamiltonian):
    """H = |p|^q/q with the Euclidean norm and q > 1, Godunov's H = |m|^q/q, m_a = max(p-_a, -p+_a, 0).

    Its Lagrangian is L(v) = |v|^r/r with 1/q + 1/r = 1, that of the geodesics of W_r. Raises CaseError for other q.
    """

    exponent: float
    """Exponent q, finite and above 1."""
    kind: Literal["power"] = "power"
    climbs: ClassVar[bool] = True
    known_convex: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1.0 < self.exponent < math.inf:
            raise CaseError(f"exponent {self.exponent:g}; |p|^q/q needs a finite q > 1")

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """|m|^q/q (cell,) and |m|^(q-2) m (axis, cell)."""
        steepest = _steepest(minus, plus)
        slope = (norm := np.linalg.norm(steepest, axis=0)) ** (self.exponent - 1.0)
        return slope * norm / self.exponent, slope * (steepest / np.where(norm > 0, norm, 1.0))

    def face_speed(self, mesh: Mesh, slope: Array) -> Array:
        """|grad phi|^(q-2) D phi/d, |grad phi| the mean of both cells, and at least the slope itself."""
        steep = np.linalg.norm(cell_vectors(mesh, slope), axis=1)
        norm = np.maximum(np.abs(slope), 0.5 * (steep[mesh.owner] + steep[mesh.neighbour]))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(norm > 0, norm ** (self.exponent - 2.0) * slope, 0.0)


@dataclass(frozen=True)
class SeparableHamiltonian(BaseHamiltonian):
    """H = sum_a h_a(p_a) with convex h_a, Godunov's H = sum_a max(h_a(max(p-_a, c_a)), h_a(min(p+_a, c_a))).

    `parts` are the h_a, one for each axis, elementwise on arrays; that they are convex is not checked. `minimisers` are
    the c_a at which they are least; unless given they are computed (Brent's method, to about 1e-8). Bardi, Osher, The
    nonconvex multidimensional Riemann problem for Hamilton-Jacobi equations, SIAM J. Math. Anal. 22 (1991). Raises
    CaseError if an h_a has no minimum or not at its c_a and, when evaluated, unless there is one part for each axis.
    """

    parts: tuple[_Part, ...]
    minimisers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.minimisers:
            object.__setattr__(self, "minimisers", tuple(map(_minimiser, self.parts)))
        for part, least in zip(self.parts, self.minimisers, strict=False):
            below, value, above = part(least + _PROBE * max(1.0, abs(least)) * np.array([-1.0, 0.0, 1.0]))
            if not value <= min(below, above) + _ROUND_OFF * abs(value):
                raise CaseError(f"a part of H has no minimum at p = {least:g}; give its minimiser, or another part")

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """H (cell,), and outward difference quotients (axis, cell), which bound the slopes of a convex h."""
        if (count := (len(self.parts), len(self.minimisers))) != (len(minus), len(minus)):
            raise CaseError(f"{count[0]} parts of H, {count[1]} minimisers, {len(minus)} axes; give one for each axis")
        value, speed = np.zeros(minus.shape[1]), np.empty(minus.shape)
        for axis, (part, least) in enumerate(zip(self.parts, self.minimisers, strict=True)):
            ends = np.stack([np.maximum(minus[axis], least), np.minimum(plus[axis], least)])
            probe, at_ends = _PROBE * np.maximum(1.0, np.abs(ends)), part(ends)
            value += at_ends.max(axis=0)
            speed[axis] = ((part(ends + _OUTWARDS * probe) - at_ends) / probe).max(axis=0)
        return value, speed


def _minimiser(part: _Part) -> float:
    """Its minimiser by Brent's method; nan if no bracket is found."""
    from scipy.optimize import minimize_scalar

    try:
        with np.errstate(all="ignore"):
            return float(minimize_scalar(lambda p: part(np.array([p]))[0]).x)
    except RuntimeError:
        return math.nan
