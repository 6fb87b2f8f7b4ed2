"""Any convex Hamiltonian H(x, p, t), given as an expression: its Godunov scheme, and a check that it is convex."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields import Expression, Parameters
from fvflow.fields.seams import seam_jumps
from fvflow.mesh import Array, Mesh
from fvflow.transport.convex_minimum import least_along, least_between
from fvflow.transport.hamiltonians import BaseHamiltonian
from fvflow.transport.momentum_function import MomentumFunction

_PROBE = 1e-4  # over max(1, |p|): distance of the two points whose difference quotient bounds a slope of H
_ALONG = 33  # points of a line on which H is compared with its chords
_AT_RANDOM = 4  # momenta of each cell at which its curvatures are computed
_SEED = 1991
_ROUND_OFF = 1e-10  # of the sizes of the terms of a second difference, or of the curvatures


@dataclass(frozen=True, eq=False)
class ExpressionHamiltonian(BaseHamiltonian):
    """H(x, p, t) convex in p, Godunov's H = max over quadrants of the least H(r), r_a >= p-_a or r_a <= p+_a.

    This is max_v sum_a (max(v_a, 0) p-_a + min(v_a, 0) p+_a) - L(v) of the Lagrangian L, split by the signs of v:
    monotone, H(p) for p- = p+ = p, and right at walls, where p-_a = -inf or p+_a = inf. If H is a sum over axes, r is
    the slope or, beyond it, the minimiser of H along the axis; else it is found by Newton's method. Kushner, Dupuis,
    Numerical methods for stochastic control problems, 2001, section 5; Bardi, Osher, SIAM J. Math. Anal. 22 (1991).
    """

    cells: MomentumFunction
    """H at the centres of the cells."""
    faces: MomentumFunction
    """H at the centres of the faces."""
    mesh: Mesh

    @staticmethod
    def on(mesh: Mesh, expression: Expression, parameters: Parameters, time: float = 0.0) -> ExpressionHamiltonian:
        """H of a case on a mesh; raises CaseError if a parameter has the name of a momentum, or H no derivative."""
        for name in sorted({"px", "py", "pz"} & set(parameters)):
            raise CaseError(f"the parameter {name} has the name of a momentum; give it another one")
        cells = MomentumFunction(expression, mesh.centre, parameters, time)
        cells.hessian(np.zeros((mesh.dimension, mesh.cells)))
        return ExpressionHamiltonian(cells, MomentumFunction(expression, mesh.face_centre, parameters, time), mesh)

    @property
    def steady(self) -> bool:
        """Whether grad_p H does not depend on t, so that its minimisers stay, and convexity too."""
        return self.cells.steady

    def at(self, time: float) -> ExpressionHamiltonian:
        """H at a time."""
        made = replace(self, cells=self.cells.at(time), faces=self.faces.at(time))
        if self.steady:
            made.__dict__["minimiser"] = self.minimiser
        return made

    @cached_property
    def separable(self) -> bool:
        """Whether H is a sum over axes."""
        return self.cells.separable

    @cached_property
    def minimiser(self) -> Array:
        """c (axis, cell) at which H is least; infinite along an axis of a sum over axes along which H only falls."""
        least = np.stack([least_along(self.cells, axis) for axis in range(self.mesh.dimension)])
        if self.separable:
            return least
        everywhere = np.full(least.shape, np.inf)
        return least_between(self.cells, np.where(np.isfinite(least), least, 0.0), -everywhere, everywhere)

    def godunov(self, minus: Array, plus: Array) -> tuple[Array, Array]:
        """H (cell,), and outward difference quotients (axis, cell), which bound the slopes of a convex H.

        Raises CaseError, or NumericsError after time 0, where H has no minimum along an axis and mass could come from
        beyond a wall only.
        """
        value, speed = np.full(minus.shape[1], -np.inf), np.zeros(minus.shape)
        for signs in product((1.0, -1.0), repeat=len(minus)):
            ahead = np.array(signs)[:, None] > 0
            lower, upper = np.where(ahead, minus, -np.inf), np.where(ahead, np.inf, plus)
            slopes = np.clip(self.minimiser, lower, upper)
            reached: Any = np.flatnonzero(np.isfinite(slopes).all(axis=0))
            slopes = slopes[:, reached]
            if not self.separable:
                slopes = least_between(self._part(reached), slopes, lower[:, reached], upper[:, reached])
            at_slopes = self.cells(slopes, reached)
            value[reached] = np.maximum(value[reached], at_slopes)
            for axis, sign in enumerate(signs):
                probe, beyond = _PROBE * np.maximum(1.0, np.abs(slopes[axis])), slopes.copy()
                beyond[axis] += sign * probe
                quotient = (self.cells(beyond, reached) - at_slopes) / probe
                speed[axis, reached] = np.maximum(speed[axis, reached], quotient)
        if not (value > -np.inf).all():
            bad = int(np.argmin(value))
            raise self.cells.refusal(
                f"{self.cells.expression.text} has no minimum over p at {self._position(bad)}, a cell at a wall which "
                "all paths leave: phi is not defined there; make the axis periodic, or let H grow both ways"
            )
        return value, speed

    def notes(self) -> Iterator[str]:
        """Where H of p = 0 jumps because the axis is periodic."""

        def at_rest(position: Array) -> Array:
            return replace(self.cells, position=position)(np.zeros(position.T.shape))

        yield from seam_jumps(self.mesh, at_rest, f"{self.cells.expression.text} for p = 0")

    def face_speed(self, mesh: Mesh, slope: Array) -> Array:
        """d_n H (face,) for the slope along the normal, and along the other axes the mean slope of both cells."""
        along = slope[:, None] * mesh.normal
        count = self._count(mesh, np.abs(mesh.normal) > 0.5)
        mean = self._count(mesh, along) / np.maximum(count, 1.0)
        between = 0.5 * (mean[mesh.owner] + mean[mesh.neighbour])
        p = np.where(np.abs(mesh.normal) > 0.5, along, between).T
        speed = np.zeros(mesh.faces)
        for axis in range(mesh.dimension):
            faces: Any = np.flatnonzero(np.abs(mesh.normal[:, axis]) > 0.5)
            speed[faces] = mesh.normal[faces, axis] * self.faces.slope(axis, p[:, faces], faces)
        return speed

    def require_convex(self, lower: Array, upper: Array) -> None:
        """Raise CaseError, or NumericsError after time 0, unless H is convex for lower <= p <= upper (axis,).

        The same is required up to the minimisers of H, which the scheme evaluates too. In every cell H is compared with
        its chords on a line along each axis and each diagonal, 33 points each, and its curvatures are computed at 4
        random momenta (seeded): this finds what is not convex in a part of the range, and can miss what is narrower.
        """
        self._check(lower, upper)
        least = np.where(np.isfinite(self.minimiser), self.minimiser, lower[:, None])
        farther = np.minimum(lower, least.min(axis=1)), np.maximum(upper, least.max(axis=1))
        if (farther[0] < lower).any() or (farther[1] > upper).any():
            self._check(*farther)

    def _check(self, lower: Array, upper: Array) -> None:
        random = np.random.default_rng(_SEED)
        middle, half = 0.5 * (lower + upper)[:, None], 0.5 * (upper - lower)[:, None]
        shape = (len(lower), self.mesh.cells)
        for line in _lines(len(lower)):
            alone = np.count_nonzero(line) == 1
            aside = np.where(line == 0, 1.0, 0.0 if alone else 0.5)[:, None]  # so that the line stays in the range
            base = middle + aside * half * random.uniform(-1.0, 1.0, shape)
            reach = np.linspace(-1.0, 1.0, _ALONG) * (1.0 if alone else 0.5)
            self._compare_with_chords(base, half * line[:, None], reach)
        for _ in range(_AT_RANDOM):
            p = middle + half * random.uniform(-1.0, 1.0, shape)
            curvature = self.cells.hessian(p)
            known: Any = np.isfinite(curvature).all(axis=(1, 2))
            found: Any = np.linalg.eigvalsh(np.where(known[:, None, None], curvature, 0.0))
            convex = found[:, 0] >= -_ROUND_OFF * np.abs(found).max(axis=1)
            self._require(convex, p, "curved downwards")

    def _compare_with_chords(self, base: Array, line: Array, reach: Array) -> None:
        """Raise unless H is nowhere above its chords on base + s line, at equidistant s in `reach`."""
        before, value = (self.cells(base + s * line) for s in reach[:2])
        for middle, ahead in pairwise(reach[1:]):
            after = self.cells(base + ahead * line)
            size = np.abs(before) + 2.0 * np.abs(value) + np.abs(after)
            bend = before - 2.0 * value + after
            self._require(bend >= -_ROUND_OFF * size, base + middle * line, "above its chord")
            before, value = value, after

    def _require(self, convex: Any, p: Array, how: str) -> None:
        if not convex.all():
            place = self.cells.place(p, int(np.argmin(convex)))
            raise self.cells.refusal(
                f"{self.cells.expression.text} is not convex in p: it is {how} at {place}; give a convex H, or a phi "
                "with slopes for which it is convex"
            )

    def _part(self, cells: Any) -> MomentumFunction:
        """H at some of the cells."""
        return replace(self.cells, position=self.cells.position[cells])

    def _position(self, cell: int) -> str:
        at = zip(self.cells.axes, self.cells.position[cell], strict=True)
        return ", ".join(f"{axis} = {value:.6g}" for axis, value in at)

    @staticmethod
    def _count(mesh: Mesh, values: Any) -> Array:
        """The sum over the faces of each cell (cell, dim), of values (face, dim)."""
        sides = (mesh.owner, mesh.neighbour)
        return np.stack([sum(np.bincount(s, column, mesh.cells) for s in sides) for column in values.T], axis=1)


def _lines(dimension: int) -> Iterator[Array]:
    """The directions of the axes and of all diagonals of a cube (axis,), one of each pair."""
    for signs in product((0.0, 1.0, -1.0), repeat=dimension):
        line = np.array(signs)
        if line.any() and line[np.flatnonzero(line)[0]] > 0:
            yield line
