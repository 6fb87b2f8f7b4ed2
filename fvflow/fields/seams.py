"""What a periodic axis requires of the functions of a drift: that they go on where its ends are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array, Mesh

_JUMP = 1e-8  # of the range of a function that counts as none

Values = Callable[[Array], Array]
"""Positions (point, dim) to values (point,)."""


def require_joined_potential(mesh: Mesh, potential: Values, time: float) -> None:
    """Raise CaseError, or NumericsError after time 0, unless V is the same at both ends of each periodic axis."""
    for axis, lower, upper in _ends(mesh, nodes=False):
        jump, extent = potential(upper) - potential(lower), float(np.ptp(potential(mesh.centre)))
        _refuse_jump(
            f"the potential at the upper end of axis {'xyz'[axis]} less that at the lower end",
            float(jump[np.argmax(np.abs(jump))]),
            extent,
            time,
            "the axis is periodic, so that both have to be the same; give a constant force as tilt: [...] or velocity",
        )


def require_joined_velocity(mesh: Mesh, component: Callable[[int], Values], time: float) -> None:
    """As `require_joined_potential`, for the component of a velocity along each periodic axis."""
    for axis, lower, upper in _ends(mesh, nodes=False):
        values = component(axis)
        jump, largest = values(upper) - values(lower), float(np.abs(values(mesh.centre)).max())
        _refuse_jump(
            f"the velocity along {'xyz'[axis]} at the upper end of that axis less that at the lower end",
            float(jump[np.argmax(np.abs(jump))]),
            largest,
            time,
            "the axis is periodic, so that both have to be the same",
        )


def require_joined_stream(mesh: Mesh, stream: Values, time: float) -> None:
    """As `require_joined_potential`, for a stream function: it may differ by a constant, the flow across the axis."""
    for axis, lower, upper in _ends(mesh, nodes=True):
        jump, extent = stream(upper) - stream(lower), float(np.ptp(stream(mesh.points)))
        _refuse_jump(
            f"the change along y or x of what the stream function has more at the upper end of axis {'xyz'[axis]}",
            float(np.ptp(jump)),
            extent,
            time,
            "the axis is periodic, so that both may differ by a constant only",
        )


def _ends(mesh: Mesh, nodes: bool) -> Iterator[tuple[int, Array, Array]]:
    """For each periodic axis: the axis, and the points (point, dim) of its lower and of its upper end.

    They are straight ahead of the cell centres, or they are the nodes.
    """
    for axis in mesh.periodic:
        assert mesh.edges is not None
        points = mesh.points if nodes else mesh.centre
        edge = mesh.edges[axis]
        first = edge[0] if nodes else 0.5 * (edge[0] + edge[1])
        lower = points[points[:, axis] == first].copy()
        upper = lower.copy()
        lower[:, axis], upper[:, axis] = edge[0], edge[-1]
        yield axis, lower, upper


def _refuse_jump(what: str, jump: float, size: float, time: float, why: str) -> None:
    if abs(jump) > _JUMP * size:
        refusal = CaseError if time == 0.0 else NumericsError
        raise refusal(f"{what} is {jump:.6g} at t = {time:g}: {why}")
