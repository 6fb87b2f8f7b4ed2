"""Stored steps of a gradient flow on a line against JKO steps in Lagrangian form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fvflow.case.build import Parts
from fvflow.fields import Parameters, ScalarFunction
from fvflow.lagrangian.quantile_step import LineEnergy, quantile_step
from fvflow.mesh import Array, Mesh

if TYPE_CHECKING:
    import xarray

_STEP = 1e-3  # of differences of a table, relative to the smallest cell


def line_step_gap(ds: xarray.Dataset, case: Parts, mesh: Mesh, densities: Sequence[Array]) -> float | None:
    """The largest distance, L1 over the mass, of a stored step from the JKO step of quantiles; the notes, (1) = (2).

    It is looked for at intervals between the densities (cell,) that are one step. None if there is none, an interval
    has an empty cell, or the result is not that of a gradient flow of entropy, power laws and a potential on a line
    with walls.
    """
    flow, names = case.flow, dict(case.parameters)
    single = np.flatnonzero(np.diff(ds["steps"].values) == 1)
    edges = mesh.product_edges
    line = mesh.dimension == 1 and edges is not None and not mesh.periodic and not (case.walls or case.absorbing_sets)
    if not (flow.energy_each_step and line and len(single)) or flow.kernels(names) or flow.undescribed():
        return None
    assert edges is not None
    pairs = list(pairwise(densities))
    if not all((pairs[interval][0] > 0).all() for interval in single):
        return None
    energy = LineEnergy(flow.linear_diffusion(), flow.power_laws(), _derivatives(case, names, mesh))
    gaps = []
    for interval in single:
        length = float(np.diff(ds["time"].values)[interval])
        before, after = pairs[interval]
        found = quantile_step(edges[0], mesh.volume * before, length, energy).cell_means(edges[0])
        gaps.append(mesh.volume @ np.abs(found - after) / (mesh.volume @ before))
    return float(max(gaps))


def _derivatives(case: Parts, names: Parameters, mesh: Mesh) -> tuple[_Function, _Function, _Function] | None:
    """V, V' and V'' at positions of any shape; None if there is no potential."""
    value = getattr(case.flow.drift(names), "potential", None)
    if value is None:
        return None
    step = _STEP * float(mesh.volume.min())
    first = value.along(0, step)
    return _Function(value, names), _Function(first, names), _Function(first.along(0, step), names)


class _Function:
    """A function of positions on a line, of any shape."""

    def __init__(self, function: ScalarFunction, parameters: Parameters) -> None:
        self._function, self._parameters = function, parameters

    def __call__(self, x: Array) -> Array:
        return np.asarray(self._function.at(x.reshape(-1, 1), self._parameters, 0.0)).reshape(x.shape)
