"""What the values of the cells beside each face give there, compiled where numba is loaded, with the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvflow.jit import kernel
from fvflow.mesh import Array, Index


@kernel()
def _flux(down: Any, up: Any, owner: Any, neighbour: Any, density: Any, flux: Any) -> None:
    for face in range(len(owner)):
        flux[face] = down[face] * density[owner[face]] - up[face] * density[neighbour[face]]


@kernel()
def _drop(owner: Any, neighbour: Any, values: Any, drop: Any) -> None:
    for face in range(len(owner)):
        drop[face] = values[owner[face]] - values[neighbour[face]]


@kernel()
def _dissipated(owner: Any, neighbour: Any, flux: Any, values: Any, found: Any) -> None:
    for face in range(len(owner)):
        found[owner[face]] += flux[face] * (values[owner[face]] - values[neighbour[face]])


def flux_between(down: Array, up: Array, owner: Index, neighbour: Index, density: Array) -> Array:
    """down rho_K - up rho_L of each face (face,)."""
    if _flux.ready:
        _flux(down, up, owner, neighbour, density, flux := np.empty(len(owner)))
        return flux
    return np.asarray(down * density[owner] - up * density[neighbour])


def drop_between(owner: Index, neighbour: Index, values: Array) -> Array:
    """f_K - f_L of each face (face,)."""
    if _drop.ready:
        _drop(owner, neighbour, values, drop := np.empty(len(owner)))
        return drop
    return np.asarray(values[owner] - values[neighbour])


def dissipated_by_owners(owner: Index, neighbour: Index, flux: Array, values: Array) -> Array:
    """The sum of F (f_K - f_L) over the faces that each cell owns (cell,), for the flux F (face,) and f (cell,)."""
    if _dissipated.ready:
        _dissipated(owner, neighbour, flux, values, found := np.zeros(len(values)))
        return found
    return np.asarray(np.bincount(owner, flux * (values[owner] - values[neighbour]), len(values)), np.float64)
