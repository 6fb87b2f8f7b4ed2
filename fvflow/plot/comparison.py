"""Two densities side by side, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.plot.colours import scales
from fvflow.plot.frames import labels
from fvflow.plot.pictures import is_1d
from fvflow.plot.plane import Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LETTERS = 42  # of a title
_BAR: dict[str, Any] = {"fraction": 0.04, "pad": 0.01, "shrink": 0.85, "aspect": 25}


def side_by_side(sides: Sequence[Any], names: Sequence[str]) -> Figure:
    """rho of two datasets, and of a third with their difference, at the times of all: a row for each time.

    On a line both are in one panel and the difference is beside it; in the plane both have one scale of colours, and
    the difference has one that diverges from 0. In 3D it is a section of each, as in `figure`.
    """
    from matplotlib.figure import Figure

    titles = [_short(name) for name in names]
    times, line = labels(sides[0]["time"].values), is_1d(sides[0])
    columns, height = (2, 2.2) if line else (3, 3.0)
    figure = Figure(figsize=(9.0 if line else 11.0, height * len(times) + 0.6), layout="constrained")
    panels: Any = figure.subplots(len(times), columns, squeeze=False)
    if line:
        _lines(panels, sides, titles, times)
    else:
        _maps(figure, panels, sides, titles, times)
    return figure


def _lines(panels: Any, sides: Sequence[Any], titles: Sequence[str], times: Sequence[str]) -> None:
    for row, (left, right) in enumerate(panels):
        for side, title, look in zip(sides[:2], titles, ("-", "--"), strict=False):
            left.plot(side.x, side["rho"][row], look, label=title)
        right.plot(sides[2].x, sides[2]["rho"][row], color="black", linewidth=1.0)
        left.set(ylabel="rho", title=times[row])
        right.set(title=titles[2])
    panels[0, 0].legend(frameon=False, fontsize=8)
    for panel in panels[-1]:
        panel.set(xlabel="x")


def _maps(figure: Any, panels: Any, sides: Sequence[Any], titles: Sequence[str], times: Sequence[str]) -> None:
    planes = [Plane(side) for side in sides]
    layers = [
        [plane.layer(side["rho"][row]) for row in range(len(times))] for plane, side in zip(planes, sides, strict=True)
    ]
    common = scales([np.concatenate([layer.ravel() for layer in (*layers[0], *layers[1])])], True, False, False)[0]
    apart = scales([np.concatenate([layer.ravel() for layer in layers[2]])], True, False, True)[0]
    for column, (plane, title) in enumerate(zip(planes, titles, strict=True)):
        scale = apart if column == 2 else common
        for row, time in enumerate(times):
            panel = panels[row, column]
            image = plane.draw(panel, layers[column][row], scale)
            panel.set(title=f"{title}\n{plane.note}".strip() if row == 0 else "", ylabel=time if column == 0 else "")
            panel.title.set_fontsize(9)
        if column > 0:
            places = list(panels[:, :2].flat if column == 1 else panels[:, 2])
            scale.colour_bar(figure, image, "", ax=places, **_BAR)


def _short(name: str) -> str:
    """A name of a file, as a title that matplotlib draws as it is."""
    text = name if len(name) <= _LETTERS else f"...{name[3 - _LETTERS :]}"
    return text.encode("ascii", "backslashreplace").decode().replace("$", r"\$")
