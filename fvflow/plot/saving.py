"""Pictures and animations in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.errors import OutputError
from fvflow.plot.colours import Colours, scales
from fvflow.plot.frames import Choice, chosen, labels
from fvflow.plot.panels import axis_scale, signed
from fvflow.plot.pictures import fields_of, figure, is_1d
from fvflow.plot.plane import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ENDINGS = {".png", ".pdf", ".svg", ".gif"}
_DOTS = 150  # per inch of a picture
_RATE = 12  # frames per second of an animation


def save(
    ds: Any,
    path: Path,
    field: str | None = None,
    frames: int | Sequence[int] | None = None,
    *,
    times: Sequence[float] | None = None,
    colours: Colours | None = None,
    title: str | None = None,
) -> None:
    """Write the `figure` as .png, .pdf or .svg, or an animation of the field as .gif; raises OutputError.

    An animation shows all frames by default, and its colours are shared by all frames unless each has its own.
    """
    if path.suffix not in _ENDINGS:
        raise OutputError(f"{path}: the name of a picture ends in {', '.join(sorted(_ENDINGS))}")
    try:
        if path.suffix == ".gif":
            drawn, every = fields_of(ds, field)[0], frames is None and times is None
            shown = Choice(list(range(ds.sizes["time"]))) if every else chosen(ds["time"].values, frames, times)
            _animate(ds, path, drawn, shown, colours, title)
        else:
            figure(ds, field, frames, times=times, colours=colours, title=title).savefig(path, dpi=_DOTS)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); is there room?") from error


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as .png, .pdf or .svg; raises OutputError."""
    if path.suffix not in _ENDINGS - {".gif"}:
        raise OutputError(f"{path}: the name of this picture ends in .pdf, .png or .svg")
    try:
        figure.savefig(path, dpi=_DOTS)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); is there room?") from error


def _animate(ds: Any, path: Path, field: str, shown: Choice, colours: Colours | None, title: str | None) -> None:
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    values, whole = ds[field], Figure(figsize=(4.8, 4.2), layout="constrained")
    names = dict(zip(shown.indices, labels(ds["time"].values[shown.indices]), strict=True))
    panel, artist = whole.subplots(), None  # type: Any, Any
    whole.suptitle(str(ds.attrs.get("title", "")) if title is None else title, fontsize=10)
    line, plane = is_1d(ds), Plane(ds)
    layers = {index: values[index].values if line else plane.layer(values[index]) for index in names}
    found = dict(
        zip(names, scales(list(layers.values()), colours == "each", colours == "log", signed(ds, [field])), strict=True)
    )
    first = found[shown.indices[0]]
    if line:
        (artist,) = panel.plot(ds.x, layers[shown.indices[0]], color="C0")
        panel.set(xlabel="x", ylabel=first.label(field))
    else:
        artist = plane.draw(panel, layers[shown.indices[0]], first)
        particles = plane.draw_particles(panel, shown.indices[0]) if plane.has_particles else None
        panel.set(xlabel="x", ylabel="y")
        first.colour_bar(whole, artist, field, ax=panel)

    def draw(index: int) -> list[Any]:
        scale = found[index]
        if line:
            artist.set_ydata(layers[index])
            low, high = float(scale.norm.vmin or 0.0), float(scale.norm.vmax or 0.0)
            panel.set_ylim(low - 0.03 * (high - low), high + 0.05 * (high - low))
            if colours == "log":
                axis_scale(panel, scale)
        else:
            artist.set_norm(scale.norm)
            artist.set_array(layers[index].ravel())
            if particles is not None:
                particles.set_offsets(plane.particles(index))
        panel.set_title(names[index], fontsize=10)
        return [artist]

    FuncAnimation(whole, draw, frames=shown.indices).save(path, writer=PillowWriter(fps=_RATE))
