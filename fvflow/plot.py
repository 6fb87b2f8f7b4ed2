"""Pictures of results: profiles on a line, maps in two dimensions, slices in three, and the ledger below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FRAMES = 5  # times that a picture shows, the first and the last among them
_LEDGER = ("energy", "error_l1", "balance")
_ENDINGS = {".png", ".pdf", ".svg", ".gif"}
_RATE = 12  # frames of an animation per second


def figure(ds: Any, field: str = "rho", frames: Sequence[int] | None = None) -> Figure:
    """A field of a result at some of its times, and its ledger over time.

    `frames` are indices, five spread evenly unless given. Profiles in one dimension, maps in two, in three those of the
    middle layer along z. Raises CaseError for a field or a frame that the result has not.
    """
    from matplotlib.figure import Figure

    shown = _chosen(ds, field, frames)
    figure = Figure(figsize=(2.7 * max(len(shown), 3), 5.2), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(3, 2))
    upper, lower = halves
    values = ds[field]
    if values.ndim == 2:
        _profiles(upper.subplots(), ds, field, shown)
    else:
        panels = upper.subplots(1, len(shown), squeeze=False)[0]
        layers = [_layer(values[index]) for index in shown]
        low, high = (float(extreme(layers)) for extreme in (np.min, np.max))
        for panel, layer, index in zip(panels, layers, shown, strict=True):
            image = panel.pcolormesh(*_edges(ds), layer, vmin=low, vmax=high, rasterized=True)
            panel.set(aspect="equal", title=f"t = {float(ds.time[index]):.4g}", xlabel="x")
        panels[0].set(ylabel="y")
        figure.colorbar(image, ax=list(panels), shrink=0.8, label=field)
    _ledger(lower.subplots(1, 3), ds)
    figure.suptitle(str(ds.attrs.get("title", "")))
    return figure


def save(ds: Any, path: Path, field: str = "rho") -> None:
    """Write the picture, as .png, .pdf or .svg, or the field over time as an animated .gif; raises OutputError."""
    if path.suffix not in _ENDINGS:
        raise OutputError(f"{path}: the name of a picture ends in {', '.join(sorted(_ENDINGS))}")
    try:
        if path.suffix == ".gif":
            _animate(ds, path, field)
        else:
            figure(ds, field).savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); is there room?") from error


def _chosen(ds: Any, field: str, frames: Sequence[int] | None) -> list[int]:
    cells = ds["rho"].dims
    known = [str(name) for name in ds if ds[name].dims == cells]
    if field not in known:
        raise CaseError(f"the result has no field {field}; it has {', '.join(known)}")
    count = ds.sizes["time"]
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


def _layer(values: Any) -> Array:
    """The field in the plane, of three dimensions the middle layer along z."""
    return np.asarray(values if values.ndim == 2 else values[values.shape[0] // 2], float)


def _edges(ds: Any) -> tuple[Array, Array]:
    x, y = (np.append(ds[f"{axis}_bnds"].values[:, 0], ds[f"{axis}_bnds"].values[-1, 1]) for axis in "xy")
    return x, y


def _ledger(panels: Any, ds: Any) -> None:
    """Mass, extremes, and energy or error over time."""
    mass, extremes, rest = panels
    mass.semilogy(ds.time, np.abs(ds.mass / ds.mass[0] - 1.0) + 1e-17, color="C3")
    mass.set(title="|mass/mass(0) - 1|", ylim=(5e-18, 1e-10), xlabel="t")
    extremes.plot(ds.time, ds.maximum, color="C0", label="maximum")
    extremes.plot(ds.time, ds.minimum, color="C2", label="minimum")
    extremes.set(title="extremes of rho", xlabel="t")
    extremes.legend(frameon=False, fontsize=8)
    name = next((name for name in _LEDGER if name in ds and np.isfinite(ds[name]).all()), "entropy")
    rest.plot(ds.time, ds[name], color="C1")
    rest.set(title=name.replace("_", " "), xlabel="t")


def _animate(ds: Any, path: Path, field: str) -> None:
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    _chosen(ds, field, None)
    values, whole = ds[field], Figure(figsize=(4.8, 4.0), layout="constrained")
    panel, artist = whole.subplots(), None  # type: Any, Any
    low, high = float(values.min()), float(values.max())
    if values.ndim == 2:
        (artist,) = panel.plot(ds.x, values[0], color="C0")
        panel.set(ylim=(low, high + 0.05 * (high - low) + 1e-300), xlabel="x", ylabel=field)
    else:
        artist = panel.pcolormesh(*_edges(ds), _layer(values[0]), vmin=low, vmax=high)
        panel.set(aspect="equal", xlabel="x", ylabel="y")
        whole.colorbar(artist, ax=panel, label=field)

    def draw(index: int) -> list[Any]:
        artist.set_ydata(values[index]) if values.ndim == 2 else artist.set_array(_layer(values[index]).ravel())
        panel.set_title(f"t = {float(ds.time[index]):.4g}")
        return [artist]

    FuncAnimation(whole, draw, frames=ds.sizes["time"]).save(path, writer=PillowWriter(fps=_RATE))
