"""The picture of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.dataset import Frame, Layout, Memory
from fvflow.mesh import Array, Mesh
from fvflow.studies.operands import Densities
from fvflow.studies.overlay import Overlay

_ROWS = 4  # times in a picture, at most


def draw(
    a: Densities, b: Densities, overlay: Overlay, frames: Sequence[tuple[int, int]], normalise: bool, path: Path
) -> None:
    """Draw A, B and B - A, averaged over the larger cells, at up to four of the times; raises OutputError."""
    from fvflow import plot

    count = min(_ROWS, len(frames))
    chosen = [frames[int(index)] for index in np.unique(np.linspace(0, len(frames) - 1, count).round())]
    times = [float(a.time[i]) for i, _ in chosen]
    rows, mesh = [], a.mesh
    for i, j in chosen:
        one, two = a.density(i), b.density(j)
        if normalise:
            one, two = one / (a.mesh.volume @ one), two / (b.mesh.volume @ two)
        mesh, coarse, other = overlay.on_coarser(one, two)
        rows.append((one, two, other - coarse))
    sides = (
        _dataset(a.mesh, times, [one for one, _, _ in rows]),
        _dataset(b.mesh, times, [two for _, two, _ in rows]),
        _dataset(mesh, times, [gap for _, _, gap in rows]),
    )
    plot.save_figure(plot.side_by_side(sides, (a.name, b.name, "B - A")), path)


def _dataset(mesh: Mesh, times: Sequence[float], fields: Sequence[Array]) -> Any:
    """Cell fields over time as a result has its densities."""
    memory = Memory(Layout(mesh, {}), {})
    for time, field in zip(times, fields, strict=True):
        memory.append(Frame(time, field, {}, {}, {}))
    return memory.close({}, {})
