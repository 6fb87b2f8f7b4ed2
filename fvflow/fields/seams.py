"""What a periodic axis requires of the functions of a drift: that they go on where its ends are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array, Mesh
from fvflow.parallel import world

_JUMP = 1e-8  # of the range of a function that counts as none
_ROUND_OFF = 1e-14  # of its largest value

Values = Callable[[Array], Array]
"""Positions (point, dim) to values (point,)."""


def require_joined_potential(
    mesh: Mesh, potential: Values, time: float, cure: str = "; give a constant force as tilt: [...] or velocity"
) -> None:
    """Raise CaseError, or NumericsError after time 0, unless V is the same at both ends of each periodic axis."""
    for axis, lower, upper in _ends(mesh, mesh.centre):
        jump = potential(upper) - potential(lower)
        _refuse_jump(
            f"the potential at the upper end of axis {'xyz'[axis]} less that at the lower end is",
            _worst(jump),
            potential(mesh.centre),
            time,
            f"both have to be the same{cure}",
        )


def require_joined_velocity(mesh: Mesh, component: Callable[[int], Values], time: float) -> None:
    """As `require_joined_potential`, for the component of a velocity along each periodic axis."""
    for axis, lower, upper in _ends(mesh, mesh.centre):
        values = component(axis)
        jump = values(upper) - values(lower)
        _refuse_jump(
            f"the velocity along {'xyz'[axis]} at the upper end of that axis less that at the lower end is",
            _worst(jump),
            np.append(values(mesh.centre), 0.0),
            time,
            "both have to be the same",
        )


def require_joined_stream(mesh: Mesh, stream: Values, time: float) -> None:
    """As `require_joined_potential`, for a stream function: it may differ by a constant, the flow across the axis."""
    for axis, lower, upper in _ends(mesh, mesh.points):
        _refuse_jump(
            f"the stream function at the upper end of axis {'xyz'[axis]} less that at the lower end varies by",
            _range(stream(upper) - stream(lower)),
            stream(mesh.points),
            time,
            "both may differ by a constant only",
        )


def seam_jumps(mesh: Mesh, function: Values, what: str) -> Iterator[str]:
    """Sentences on the periodic axes at whose ends a function differs, which is taken to jump there."""
    for axis, lower, upper in _ends(mesh, mesh.centre):
        here, there = function(lower), function(upper)
        worst = int(np.argmax(np.abs(there - here)))
        if not _joined(float((there - here)[worst]), np.concatenate([function(mesh.centre), here, there])):
            yield (
                f"{what} is {here[worst]:.6g} at the lower end of axis {'xyz'[axis]} and {there[worst]:.6g} at the "
                "upper end: it is taken to jump where these are joined"
            )


def _ends(mesh: Mesh, points: Array) -> Iterator[tuple[int, Array, Array]]:
    """For each periodic axis: the axis, and its lower and its upper end (point, dim), straight ahead of some points."""
    for axis in mesh.periodic:
        lower = points[points[:, axis] == points[0, axis]].copy()
        upper = lower.copy()
        lower[:, axis], upper[:, axis] = mesh.corners[0][axis], mesh.corners[1][axis]
        yield axis, lower, upper


def _refuse_jump(what: str, jump: float, values: Array, time: float, needed: str) -> None:
    """Refuse a jump that is not round-off beside the values (point,) that the function has elsewhere."""
    if not _joined(jump, values):
        refusal = CaseError if time == 0.0 else NumericsError
        raise refusal(f"{what} {jump:.6g} at t = {time:g}: the axis is periodic, so that {needed}")


def _joined(jump: float, values: Array) -> bool:
    """Whether a jump is round-off beside the values (point,) that the function has elsewhere."""
    return abs(jump) <= _JUMP * _range(values) + _ROUND_OFF * world().highest(float(np.abs(values).max()))


def _range(values: Array) -> float:
    """The largest of values (point,) less the smallest, of all processes of a run."""
    return world().highest(float(values.max())) + world().highest(float(-values.min()))


def _worst(jump: Array) -> float:
    """The largest jump (point,) up or down, of all processes of a run."""
    up, down = world().highest(float(jump.max())), world().highest(float(-jump.min()))
    return up if up >= down else -down
