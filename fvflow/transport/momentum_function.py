"""A function H(x, p, t) of position, momentum and time given as an expression, and its derivatives by p."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from fvflow.errors import CaseError, FvflowError, NumericsError
from fvflow.fields import LARGEST_VALUE, Expression, Parameters
from fvflow.mesh import Array, Subset
from fvflow.mesh.arrays import EVERY

_PROBE = 1e-6  # over max(1, |p|): half the distance of a difference quotient where a derivative is not defined


@dataclass(frozen=True, eq=False)
class MomentumFunction:
    """H(x, p, t) at fixed points and a time, as a function of p (axis, point)."""

    expression: Expression
    position: Array
    """Points (point, dim)."""
    parameters: Parameters = field(default_factory=dict)
    time: float = 0.0

    @property
    def axes(self) -> str:
        """The names of the axes."""
        return "xyz"[: self.position.shape[1]]

    @property
    def steady(self) -> bool:
        """Whether grad_p H does not depend on t."""
        return "t" not in self._names(self.axes)

    @property
    def separable(self) -> bool:
        """Whether it is seen to be a sum of functions of one momentum each: no d_a H names another momentum."""
        momenta = {f"p{axis}" for axis in self.axes}
        return all(self._names(axis) & momenta <= {f"p{axis}"} for axis in self.axes)

    def _names(self, axes: str) -> set[str]:
        """What the derivatives along some axes name."""
        return set[str]().union(*(_derivative(self.expression, f"p{axis}").names for axis in axes))

    def at(self, time: float) -> MomentumFunction:
        """The same at another time."""
        return replace(self, time=time)

    def __call__(self, p: Array, points: Subset = EVERY) -> Array:
        """H (point,) for p (axis, point), at some of the points; raises as `refusal` where it is not finite."""
        value = self._values(self.expression, p, points)
        finite = np.abs(value) <= LARGEST_VALUE
        if not finite.all():
            bad = int(np.argmin(finite))
            place = self.place(p, bad, points)
            raise self.refusal(f"{self.expression.text} is {value[bad]:g} at {place}; it has to be finite everywhere")
        return value

    def slope(self, axis: int, p: Array, points: Subset = EVERY) -> Array:
        """d_a H (point,): the derivative in closed form, at kinks where it has none a central difference."""
        found = self._values(_derivative(self.expression, f"p{self.axes[axis]}"), p, points)
        if np.isfinite(found).all():
            return found
        step = _PROBE * np.maximum(1.0, np.abs(p[axis]))
        ahead, behind = p.copy(), p.copy()
        ahead[axis] += step
        behind[axis] -= step
        return np.where(np.isfinite(found), found, (self(ahead, points) - self(behind, points)) / (2.0 * step))

    def gradient(self, p: Array, points: Subset = EVERY) -> Array:
        """grad_p H (axis, point), as `slope`."""
        return np.stack([self.slope(axis, p, points) for axis in range(len(p))])

    def hessian(self, p: Array, points: Subset = EVERY) -> Array:
        """The second derivatives by p (point, axis, axis); not finite at kinks."""
        count = len(p)
        found = np.empty((p.shape[1], count, count))
        for a in range(count):
            first = _derivative(self.expression, f"p{self.axes[a]}")
            for b in range(a + 1):
                second = self._values(_derivative(first, f"p{self.axes[b]}"), p, points)
                found[:, a, b] = found[:, b, a] = second
        return found

    def place(self, p: Array, index: int, points: Subset = EVERY) -> str:
        """Where and for which p an entry is, in words."""
        names = [*self.axes, *(f"p{axis}" for axis in self.axes), "t"]
        values = [*self.position[points][index], *p[:, index], self.time]
        return ", ".join(f"{name} = {value:.6g}" for name, value in zip(names, values, strict=True))

    def refusal(self, sentence: str) -> FvflowError:
        """CaseError at time 0, before the run; NumericsError later."""
        return (CaseError if self.time == 0.0 else NumericsError)(sentence)

    def _values(self, expression: Expression, p: Array, points: Subset) -> Array:
        names: dict[str, Any] = dict(zip(self.axes, self.position[points].T, strict=True))
        names |= {f"p{axis}": values for axis, values in zip(self.axes, p, strict=True)}
        names |= {name: np.float64(number) for name, number in self.parameters.items()}
        value = np.asarray(expression(**names, t=np.float64(self.time)), float)
        return np.broadcast_to(value, p.shape[1:])


@cache
def _derivative(expression: Expression, name: str) -> Expression:
    return expression.derivative(name)
