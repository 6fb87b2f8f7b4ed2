"""What the cases of a family are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, MaxLen, MinLen

from fvflow.errors import CaseError
from fvflow.fields import SteadyFormula
from fvflow.mesh import Array, Mesh

AXES = "xyz"
_LARGEST_MODE = 64


class Room(NamedTuple):
    """The box that a mesh lies in."""

    lower: Array
    """Lower corner (axis,)."""
    upper: Array
    """Upper corner (axis,)."""
    periodic: tuple[int, ...] = ()
    """The axes that are periodic."""

    @staticmethod
    def of(mesh: Mesh) -> Room:
        """That of a mesh."""
        return Room(mesh.points.min(axis=0), mesh.points.max(axis=0), tuple(mesh.periodic))


class DrawKind:
    """What a value of a case is drawn from, by a generator of random numbers; a text stands for a distribution."""

    kind: str

    def drawn(self, random: np.random.Generator, room: Room) -> Any:
        """The value, as plain values of a case file; raises CaseError if none can be drawn in this room."""
        raise NotImplementedError

    def always_fits(self, room: Room) -> bool:
        """Whether all values that can be drawn in this room are allowed; otherwise each has to be looked at."""
        return True


@dataclass(frozen=True)
class RandomMixture(DrawKind):
    """For `initial`: a mixture of Gaussians, as many as drawn, with means, deviations along the axes and weights.

    All are uniform within their bounds, means between the walls.
    """

    deviation: Annotated[tuple[float, ...], MinLen(2), MaxLen(2)]
    """Smallest and largest standard deviation along each axis."""
    components: Annotated[tuple[int, ...], MinLen(2), MaxLen(2)] = (1, 4)
    """Smallest and largest number of Gaussians."""
    weight: Annotated[tuple[float, ...], MinLen(2), MaxLen(2)] = (0.5, 1.5)
    """Smallest and largest weight."""
    inside: Annotated[float, Ge(0)] = 4.0
    """How many deviations a mean is away from walls at least."""
    kind: Literal["random-mixture"] = "random-mixture"

    def __post_init__(self) -> None:
        for name, least in (("deviation", 0.0), ("components", 0), ("weight", 0.0)):
            low, high = getattr(self, name)
            if not least < low <= high:
                raise CaseError(f"{name}: [{low:g}, {high:g}] are no bounds; give two numbers, 0 < low <= high")

    def drawn(self, random: np.random.Generator, room: Room) -> Any:
        """A density of kind mixture."""
        count = int(random.integers(self.components[0], self.components[1] + 1))
        return {"kind": "mixture", "components": [self._component(random, room) for _ in range(count)]}

    def always_fits(self, room: Room) -> bool:
        """Whether the widest Gaussian fits between the walls."""
        sides = np.delete(room.upper - room.lower, list(room.periodic))
        return bool((2.0 * self.inside * self.deviation[1] <= sides).all())

    def _component(self, random: np.random.Generator, room: Room) -> dict[str, Any]:
        deviation = random.uniform(self.deviation[0], self.deviation[1], len(room.lower))
        margin = self.inside * deviation
        margin[list(room.periodic)] = 0.0
        lower, upper = room.lower + margin, room.upper - margin
        if not (lower <= upper).all():
            raise CaseError(
                f"a Gaussian of deviation {deviation.max():.3g} has no room {self.inside:g} deviations away from the "
                "walls; draw smaller ones, or set inside lower"
            )
        mean = random.uniform(lower, upper)
        weight = float(random.uniform(self.weight[0], self.weight[1]))
        return {"mean": mean.tolist(), "covariance": np.diag(deviation**2).tolist(), "weight": weight}


@dataclass(frozen=True)
class _Waves(DrawKind):
    """A smooth random function with period L along each axis, L being the length of the box.

        f = sum_j a_j cos(2 pi n_j.(x - lower)/L + phi_j),   a_j ~ N(0, 1) |n_j|^-smoothness,   sum_j a_j^2/2 = 1

    times `amplitude`, the standard deviation of f over the box.
    """

    amplitude: Annotated[float, Gt(0)] = 1.0
    """Standard deviation of the function over the box."""
    waves: Annotated[int, Ge(1)] = 8
    """Number of waves."""
    modes: Annotated[int, Ge(1)] = 3
    """Largest number of periods of a wave along an axis."""
    smoothness: float = 1.5
    """How fast amplitudes fall with the number of periods."""

    def __post_init__(self) -> None:
        if self.modes > _LARGEST_MODE or self.waves > _LARGEST_MODE:
            raise CaseError(f"at most {_LARGEST_MODE} waves and modes are drawn; give fewer")

    def sum_of_waves(self, random: np.random.Generator, room: Room) -> str:
        """The function as an expression in x, y, z."""
        dimension = len(room.lower)
        periods = np.zeros((0, dimension), int)
        while len(periods) < self.waves:
            found = random.integers(-self.modes, self.modes + 1, size=(2 * self.waves, dimension))
            periods = np.concatenate([periods, found[found.any(axis=1)]])[: self.waves]
        amplitudes = random.standard_normal(self.waves) * np.linalg.norm(periods, axis=1) ** -self.smoothness
        amplitudes *= self.amplitude / math.sqrt(0.5 * float((amplitudes**2).sum()))
        vectors = 2.0 * math.pi * periods / (room.upper - room.lower)
        phases = random.uniform(0.0, 2.0 * math.pi, self.waves) - vectors @ room.lower
        terms = []
        for amplitude, vector, phase in zip(amplitudes.tolist(), vectors.tolist(), phases.tolist(), strict=True):
            along = "".join(f"{part:+.17g}*{axis}" for part, axis in zip(vector, AXES, strict=False) if part)
            terms.append(f"{amplitude:+.17g}*cos({along.removeprefix('+')}{phase:+.17g})")
        return "".join(terms).removeprefix("+")


@dataclass(frozen=True)
class RandomField(_Waves):
    """For `initial`: the density exp(f), f a sum of random waves; values at the centres of the cells, mass 1."""

    kind: Literal["random-field"] = "random-field"

    def drawn(self, random: np.random.Generator, room: Room) -> Any:
        """A density of kind expression."""
        density = f"exp({self.sum_of_waves(random, room)})"
        return {"kind": "expression", "density": density, "sampling": "centre", "mass": 1.0}


@dataclass(frozen=True)
class RandomPotential(_Waves):
    """For `flow.potential`: a sum of random waves, beside a potential that holds the mass together."""

    beside: SteadyFormula | None = None
    """An expression that is added, such as 0.5*k*(x**2 + y**2)."""
    kind: Literal["random-potential"] = "random-potential"

    def drawn(self, random: np.random.Generator, room: Room) -> Any:
        """An expression."""
        waves = self.sum_of_waves(random, room)
        if self.beside is None:
            return waves
        return f"{self.beside} {waves}" if waves.startswith("-") else f"{self.beside} + {waves}"


Draw = RandomMixture | RandomField | RandomPotential
