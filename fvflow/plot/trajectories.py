"""Paths of points over the density of a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fvflow.errors import CaseError
from fvflow.mesh import CIRCULAR, Array
from fvflow.plot.colours import Scale, scales
from fvflow.plot.pictures import fields_of, is_1d
from fvflow.plot.plane import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 400  # paths that are drawn
_WIDTH = 5.5  # inches of the panel
_START, _END = "white", "#e4572e"


def trajectories(
    ds: Any, positions: ArrayLike, times: Sequence[float] | None = None, *, frame: int = -1, title: str | None = None
) -> Figure:
    """Paths of points (time, point, dim) over the density of a result: in 2D over that of one frame.

    On a line the density is drawn over x and t, with the times (time,) of the positions, by default the saved ones.
    Paths are white dots where they begin and red ones where they end; of many, some are drawn, evenly in their numbers.
    Raises CaseError in 3D, and for positions that do not fit the result.
    """
    from matplotlib.figure import Figure

    paths = np.asarray(positions, float)
    fields_of(ds, "rho")
    dimension = sum(name in ds for name in ("x", "y", "z")) or 2 + ("mesh_node_z" in ds)
    if dimension > 2:
        raise CaseError("paths are drawn in one and two dimensions; this result has three")
    if paths.ndim != 3 or paths.shape[2] != dimension or not paths.size:
        raise CaseError(f"the positions have the shape {paths.shape}; give (time, point, {dimension})")
    if not -ds.sizes["time"] <= frame < ds.sizes["time"]:
        raise CaseError(f"the result has no frame {frame}; it has {ds.sizes['time']}")
    count = paths.shape[1]
    paths = paths[:, np.unique(np.linspace(0, count - 1, min(count, _MOST)).round().astype(int))]
    figure = Figure(figsize=(_WIDTH + 1.0, 5.0), layout="constrained")
    panel = figure.subplots()
    if is_1d(ds):
        lines = _over_time(figure, panel, ds, paths, ds["time"].values if times is None else times)
    else:
        lines = _over_plane(figure, panel, ds, paths, frame)
    _draw(panel, lines, _broken(ds, lines))
    panel.set_title(str(ds.attrs.get("title", "")) if title is None else title, fontsize=11)
    return figure


def _over_plane(figure: Figure, panel: Any, ds: Any, paths: Array, frame: int) -> Array:
    """Draw the density of a frame; the paths in the plane (time, point, 2)."""
    plane = Plane(ds)
    width, height = plane.size
    figure.set_figheight(min(max(_WIDTH * height / width, 2.5), 8.0))
    layer = plane.layer(ds["rho"][frame])
    scale = scales([layer], False, False, False)[0]
    _bar(figure, panel, plane.draw(panel, layer, scale), scale)
    panel.set(xlabel="x", ylabel="y")
    return paths


def _over_time(figure: Figure, panel: Any, ds: Any, paths: Array, times: Sequence[float]) -> Array:
    """Draw the density over x and t; the paths in this plane (time, point, 2)."""
    if len(times) != len(paths):
        raise CaseError(f"there are {len(times)} times and positions at {len(paths)}; give the times of the positions")
    density = ds["rho"].values
    scale = scales([density], False, False, False)[0]
    look: dict[str, Any] = {"shading": "gouraud", "norm": scale.norm, "cmap": scale.colour_map, "rasterized": True}
    _bar(figure, panel, panel.pcolormesh(ds["x"].values, ds["time"].values, density, **look), scale)
    panel.set(xlabel="x", ylabel="t")
    column = np.broadcast_to(np.asarray(times, float)[:, None, None], paths.shape)
    return np.concatenate([paths, column], axis=2)


def _bar(figure: Figure, panel: Any, image: Any, scale: Scale) -> None:
    scale.colour_bar(figure, image, "rho", ax=panel)


def _broken(ds: Any, lines: Array) -> list[Array]:
    """Each line as pieces (vertex, 2), broken where it passes the joined ends of a periodic axis."""
    jumps = np.zeros((len(lines) - 1, lines.shape[1]), bool)
    for axis, name in enumerate("xy"):
        if name in ds and ds[name].attrs.get("topology") == CIRCULAR:
            period = float(np.ptp(ds[f"{name}_bnds"].values))
            jumps |= np.abs(np.diff(lines[:, :, axis], axis=0)) > 0.5 * period
    return [
        piece
        for number in range(lines.shape[1])
        for piece in np.split(lines[:, number], np.flatnonzero(jumps[:, number]) + 1)
    ]


def _draw(panel: Any, lines: Array, pieces: list[Array]) -> None:
    from matplotlib.collections import LineCollection

    panel.add_collection(LineCollection(pieces, colors="white", linewidths=0.6, alpha=0.7), autolim=False)
    for end, colour in ((0, _START), (-1, _END)):
        panel.scatter(*lines[end].T, s=7, c=colour, edgecolors="black", linewidths=0.3, zorder=3)
