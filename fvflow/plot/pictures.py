"""One picture of a result: a field at some of its times, and its diagnostics over time."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fvflow.errors import CaseError
from fvflow.plot.colours import Colours
from fvflow.plot.diagnostics import draw_diagnostics
from fvflow.plot.frames import chosen, labels
from fvflow.plot.panels import Maps, Panel, Profiles, names_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTERS = 11.0  # per inch of a title


def figure(
    ds: Any,
    field: str | None = None,
    frames: int | Sequence[int] | None = None,
    *,
    times: Sequence[float] | None = None,
    colours: Colours | None = None,
    title: str | None = None,
) -> Figure:
    """A field of a result at some of its times, and its diagnostics over time if there are several.

    The field is by default what the flow draws: rho, phi, the modes of a spectrum. `frames` is a number of frames,
    evenly spaced as far as they were saved so, or the indices of some; `times` are those to which the nearest are
    taken. Scales are "shared" by all panels, "each" panel's own, or "log"; by default they are shared by the times of a
    field, and different fields have their own. Shows profiles in one dimension, maps in two, with arrows of the
    velocity if there is one, and in three maps of a section, half-way along z if mass is there. Raises CaseError if
    the result lacks the field or a frame.
    """
    from matplotlib.figure import Figure

    fields = fields_of(ds, field)
    choice = chosen(ds["time"].values, frames, times)
    shown = [Panel(name, index) for name in fields for index in choice.indices]
    name_panels(ds, shown)
    several = ds.sizes["time"] > 1
    drawing: Profiles | Maps = (Profiles if is_1d(ds) else Maps)(ds, shown, colours)
    width, height = drawing.width, drawing.height
    figure = Figure(figsize=(max(width, 8.0 if several else 4.0), height + 2.4 * several + 0.5), layout="constrained")
    if several:
        halves: Any = figure.subfigures(2, 1, height_ratios=(height, 2.4))
        drawing.draw(halves[0])
        draw_diagnostics(halves[1].subplots(1, 3), ds)
    else:
        drawing.draw(figure)
    notes = [distance_note(ds), choice.note, *drawing.notes]
    heading = [str(ds.attrs.get("title", "")) if title is None else title, "; ".join(filter(None, notes))]
    letters = int(_LETTERS * figure.get_figwidth())
    figure.suptitle("\n".join(line for text in heading for line in textwrap.wrap(text, letters)), fontsize=11)
    return figure


def fields_of(ds: Any, field: str | None) -> list[str]:
    """The fields to draw: the one that is asked for, or what the flow of the result draws by default.

    Raises CaseError if the dataset is not the result of a run or lacks the field.
    """
    if "rho" not in ds or "mass" not in ds:
        raise CaseError("the file holds a mesh and no run; give the result of a run")
    fields = [str(name) for name in ds if ds[name].dims == ds["rho"].dims]
    wanted = str(ds.attrs.get("drawn", "rho")).split() if field is None else [field]
    for name in wanted:
        if name not in fields:
            raise CaseError(f"the result has no field {name}; it has {', '.join(fields)}")
    if not ds.sizes["time"]:
        raise CaseError("the file has no times to draw; give the result of a run")
    return wanted


def is_1d(ds: Any) -> bool:
    """Whether the result is one on a line."""
    return bool(ds["rho"].dims == ("time", "x"))


def name_panels(ds: Any, panels: Sequence[Panel]) -> None:
    """Title each panel by its time, its field if there are several, and the rate of a mode."""
    times = labels(ds["time"].values[[panel.index for panel in panels]])
    several = ds.sizes["time"] > 1
    for panel, time in zip(panels, times, strict=True):
        parts = [panel.field] if len(names_of(panels)) > 1 or not several else []
        rate = panel.field.replace("mode_", "rate_")
        if rate != panel.field and rate in ds:
            parts.append(f"rate {float(ds[rate]):.4g}")
        panel.title = ", ".join([*parts, *([time] if several else [])])


def distance_note(ds: Any) -> str:
    """W2 of a geodesic and the interval proved for it, rounded outwards; empty for other results."""
    if "w2" not in ds:
        return ""
    w2 = float(ds["w2"])
    if "w2_lower" not in ds:
        return f"W2 = {w2:.5g}"
    low, high = float(ds["w2_lower"]), float(ds["w2_upper"])
    width = max(high - low, 1e-5 * high)
    places = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 0
    unit = 10.0**places
    ends = math.floor(low * unit) / unit, math.ceil(high * unit) / unit
    return f"W2 = {w2:.{places}f}, proved to lie in [{ends[0]:.{places}f}, {ends[1]:.{places}f}]"
