"""Pictures of results: profiles in 1D, maps in 2D, maps of a section in 3D, with diagnostics over time below."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Array, polygons, section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FRAMES = 5  # times in a picture, including the first and the last
_THIRD_PANEL = ("energy", "error_l1", "balance")  # the first of these that is finite, else the entropy
_ENDINGS = {".png", ".pdf", ".svg", ".gif"}
_RATE = 12  # frames per second of an animation


def figure(ds: Any, field: str = "rho", frames: Sequence[int] | None = None) -> Figure:
    """A field of a result at some of its times, and its diagnostics over time.

    `frames` are indices of times, by default five evenly spread. Shows profiles in one dimension, maps in two, and in
    three maps of the section half-way along z. Raises CaseError if the result lacks the field or a frame.
    """
    from matplotlib.figure import Figure

    _require_field(ds, field)
    shown = _frame_indices(ds.sizes["time"], frames)
    figure = Figure(figsize=(2.7 * max(len(shown), 3), 5.2), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    upper, lower = halves
    if _is_1d(ds):
        _profiles(upper.subplots(), ds, field, shown)
    else:
        _maps(upper.subplots(1, len(shown), squeeze=False)[0], ds, field, shown)
    _diagnostics(lower.subplots(1, 3), ds)
    figure.suptitle(str(ds.attrs.get("title", "")))
    return figure


def save(ds: Any, path: Path, field: str = "rho") -> None:
    """Write a picture as .png, .pdf or .svg, or an animation of the field as .gif; raises OutputError."""
    if path.suffix not in _ENDINGS:
        raise OutputError(f"{path}: the name of a picture ends in {', '.join(sorted(_ENDINGS))}")
    try:
        if path.suffix == ".gif":
            _animate(ds, path, field)
        else:
            figure(ds, field).savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); is there room?") from error


def _require_field(ds: Any, field: str) -> None:
    """Raise CaseError if the dataset is not the result of a run or lacks the field."""
    if "rho" not in ds or "mass" not in ds:
        raise CaseError("the file holds a mesh and no run; give the result of a run")
    fields = [str(name) for name in ds if ds[name].dims == ds["rho"].dims]
    if field not in fields:
        raise CaseError(f"the result has no field {field}; it has {', '.join(fields)}")
    if not ds.sizes["time"]:
        raise CaseError("the file has no times to draw; give the result of a run")


def _frame_indices(count: int, frames: Sequence[int] | None) -> list[int]:
    """The indices of the frames to show, of so many; raises CaseError for one that is not there."""
    if frames is None:
        return sorted({int(index) for index in np.linspace(0, count - 1, min(count, _FRAMES)).round()})
    for index in frames:
        if not -count <= index < count:
            raise CaseError(f"frame {index}: the result has {count}; give them from 0 to {count - 1}")
    return list(frames)


def _profiles(panel: Any, ds: Any, field: str, shown: Sequence[int]) -> None:
    for place, index in enumerate(shown):
        label = f"t = {float(ds.time[index]):.4g}"
        panel.plot(ds.x, ds[field][index], color="C0", alpha=0.3 + 0.7 * (place + 1) / len(shown), label=label)
    panel.set(xlabel="x", ylabel=field)
    panel.legend(frameon=False, fontsize=8)


def _is_1d(ds: Any) -> bool:
    return bool(ds["rho"].dims == ("time", "x"))


def _maps(panels: Any, ds: Any, field: str, shown: Sequence[int]) -> None:
    plane = _Plane(ds)
    layers = [plane.layer(ds[field][index]) for index in shown]
    low, high = (float(extreme(layers)) for extreme in (np.min, np.max))
    for panel, layer, index in zip(panels, layers, shown, strict=True):
        image = plane.draw(panel, layer, low, high)
        panel.set(title=f"t = {float(ds.time[index]):.4g}", xlabel="x")
    panels[0].set(ylabel="y")
    panels[0].figure.colorbar(image, ax=list(panels), shrink=0.8, label=field)


class _Plane:
    """The cells of a result as shapes in the plane, in 3D those of the section half-way along z."""

    def __init__(self, ds: Any) -> None:
        self.ds = ds

    @property
    def _grid(self) -> bool:
        return "mesh" not in self.ds

    @cached_property
    def _pieces(self) -> tuple[Array, Any, Any]:
        """The polygons to fill (piece, corner, 2), the cell of each, and the nodes of each cell."""
        axes = [axis for axis in "xyz" if f"mesh_node_{axis}" in self.ds]
        points = np.stack([self.ds[f"mesh_node_{axis}"].values for axis in axes], axis=1)
        nodes = self.ds["mesh_face_nodes" if len(axes) == 2 else "mesh_volume_nodes"].values
        if len(axes) == 2:
            return polygons(points, nodes), np.arange(len(nodes)), nodes
        low, high = points[:, 2].min(), points[:, 2].max()
        return *section(points, nodes, 2, 0.5 * (low + high)), nodes

    def layer(self, values: Any) -> Array:
        """The values to draw: (y, x) on a grid, else one per polygon, averaged over its nodes if the field is nodal."""
        if self._grid:
            return np.asarray(values if values.ndim == 2 else values[values.shape[0] // 2], float)
        _, cell, nodes = self._pieces
        field = np.asarray(values, float)
        return np.asarray(field[nodes[cell]].mean(axis=1) if values.dims == ("mesh_node",) else field[cell])

    def draw(self, panel: Any, layer: Array, low: float, high: float) -> Any:
        """Draw a layer; the `set_array` of what is returned takes another layer, flattened."""
        from matplotlib.collections import PolyCollection

        panel.set(aspect="equal")
        if self._grid:
            bounds = [self.ds[f"{axis}_bnds"].values for axis in "xy"]
            edges = [np.append(bound[:, 0], bound[-1, 1]) for bound in bounds]
            return panel.pcolormesh(*edges, layer, vmin=low, vmax=high, rasterized=True)
        patches = PolyCollection(list(self._pieces[0]), array=layer, edgecolors="face", linewidths=0.1, rasterized=True)
        patches.set_clim(low, high)
        panel.add_collection(patches)
        panel.autoscale_view()
        return patches


def _diagnostics(panels: Any, ds: Any) -> None:
    """Mass drift, extremes, and the energy or an error over time."""
    mass, extremes, third = panels
    mass.semilogy(ds.time, np.abs(ds.mass / ds.mass[0] - 1.0) + 1e-17, color="C3")
    mass.set(title="|mass/mass(0) - 1|", ylim=(5e-18, 1e-10), xlabel="t")
    extremes.plot(ds.time, ds.maximum, color="C0", label="maximum")
    extremes.plot(ds.time, ds.minimum, color="C2", label="minimum")
    extremes.set(title="extremes of rho", xlabel="t")
    extremes.legend(frameon=False, fontsize=8)
    name = next((name for name in _THIRD_PANEL if name in ds and np.isfinite(ds[name]).all()), "entropy")
    third.plot(ds.time, ds[name], color="C1")
    third.set(title=name.replace("_", " "), xlabel="t")


def _animate(ds: Any, path: Path, field: str) -> None:
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    _require_field(ds, field)
    values, whole = ds[field], Figure(figsize=(4.8, 4.0), layout="constrained")
    panel, artist = whole.subplots(), None  # type: Any, Any
    low, high = float(values.min()), float(values.max())
    if _is_1d(ds):
        (artist,) = panel.plot(ds.x, values[0], color="C0")
        panel.set(ylim=(low, high + 0.05 * (high - low) + 1e-300), xlabel="x", ylabel=field)
    else:
        plane = _Plane(ds)
        artist = plane.draw(panel, plane.layer(values[0]), low, high)
        panel.set(xlabel="x", ylabel="y")
        whole.colorbar(artist, ax=panel, label=field)

    def draw(index: int) -> list[Any]:
        artist.set_ydata(values[index]) if _is_1d(ds) else artist.set_array(plane.layer(values[index]).ravel())
        panel.set_title(f"t = {float(ds.time[index]):.4g}")
        return [artist]

    FuncAnimation(whole, draw, frames=ds.sizes["time"]).save(path, writer=PillowWriter(fps=_RATE))
