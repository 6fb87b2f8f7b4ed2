"""The upper half of a picture: profiles on a line, or maps of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.plot.colours import Colours, Scale, scales
from fvflow.plot.plane import Plane

_ROW = 6  # panels in a row, at most
_WIDTHS = {1: 4.6, 2: 4.0, 3: 3.2, 4: 2.6}  # inches of a panel by the number in a row; 2.2 if there are more
_BESIDE = (1.03, 0.0, 0.05, 1.0)  # where a panel has its own colour bar: x, y, width, height, relative to the panel
_FLAT = 0.6  # height over width below which panels stand two in a row


@dataclass
class Panel:
    """A field at one time, and what is written above it."""

    field: str
    index: int
    title: str = ""


def names_of(panels: Sequence[Panel]) -> list[str]:
    """The fields of the panels, each once."""
    return list(dict.fromkeys(panel.field for panel in panels))


def signed(ds: Any, fields: Sequence[str]) -> bool:
    """Whether 0 is the middle of the values of the fields."""
    return all(ds[name].attrs.get("colours") == "diverging" for name in fields)


class Profiles:
    """Profiles on a line: all in one panel, or each in its own."""

    notes: tuple[str, ...] = ()

    def __init__(self, ds: Any, panels: Sequence[Panel], colours: Colours | None) -> None:
        self.ds, self.panels, self.apart, logarithmic = ds, panels, colours == "each", colours == "log"
        values = [ds[panel.field][panel.index].values for panel in panels]
        self.scale = scales(values, False, True, signed(ds, names_of(panels)))[0] if logarithmic else None
        self.columns = columns_for(len(panels)) if self.apart else 1
        self.width = 2.7 * self.columns if self.apart else 9.0
        self.height = 2.4 * -(-len(panels) // self.columns) if self.apart else 3.2

    def draw(self, whole: Any) -> None:
        """Draw them."""
        fields = names_of(self.panels)
        label = fields[0] if len(fields) == 1 else ""
        if self.apart:
            grid = whole.subplots(-(-len(self.panels) // self.columns), self.columns, squeeze=False, sharex=True)
            for place, panel in zip(used(grid, len(self.panels)), self.panels, strict=True):
                place.plot(self.ds.x, self.ds[panel.field][panel.index])
                place.set(title=panel.title)
            bottom_and_left(grid, len(self.panels), label)
            return
        axes = whole.subplots()
        for number, panel in enumerate(self.panels):
            if len(fields) > 1:
                look: dict[str, Any] = {"color": f"C{number}"}
            else:
                look = {"color": "C0", "alpha": 0.3 + 0.7 * (number + 1) / len(self.panels)}
            axes.plot(self.ds.x, self.ds[panel.field][panel.index], label=panel.title, **look)
        if self.scale is not None:
            axis_scale(axes, self.scale)
            label = self.scale.label(label)
        axes.set(xlabel="x", ylabel=label)
        if len(self.panels) > 1:
            axes.legend(frameon=False, fontsize=8)
        elif self.panels[0].title != label:
            axes.set_title(self.panels[0].title, fontsize=10)


def axis_scale(axes: Any, scale: Scale) -> None:
    """Give the y axis the logarithmic scale of the colours."""
    low, high = scale.norm.vmin, scale.norm.vmax
    assert low is not None
    assert high is not None
    if low < 0:
        axes.set_yscale("symlog", linthresh=getattr(scale.norm, "linthresh", high))
    else:
        axes.set(yscale="log", ylim=(low, high * (high / low) ** 0.05))


class Maps:
    """Maps of the plane, with colour bars and arrows."""

    def __init__(self, ds: Any, panels: Sequence[Panel], colours: Colours | None) -> None:
        self.apart = colours == "each" or (colours != "shared" and len(names_of(panels)) > 1)
        self.ds, self.panels, self.plane = ds, panels, Plane(ds)
        self.layers = [self.plane.layer(ds[panel.field][panel.index]) for panel in panels]
        self.scales = scales(self.layers, self.apart, colours == "log", signed(ds, names_of(panels)))
        across, up = self.plane.size
        flat = up < _FLAT * across and len(panels) > 2
        self.columns = 2 if flat else columns_for(len(panels))
        self.rows = -(-len(panels) // self.columns)
        inches = 5.2 if flat else _WIDTHS.get(self.columns, 2.2)
        inches = min(inches, 5.0 * across / up)
        self.width = (inches + 0.9 * self.apart) * self.columns + 1.4
        self.height = (inches * up / across + 0.45) * self.rows + 0.4
        self.arrows = [self.plane.arrows(panel.index) for panel in panels] if self.plane.has_velocity else []
        self.fastest = max((float(np.hypot(*speed.T).max(initial=0.0)) for _, speed in self.arrows), default=0.0)

    @property
    def notes(self) -> list[str]:
        """The section that is shown, and the length of the arrows."""
        return [self.plane.note, f"arrows: velocity, at most {self.fastest:.3g}" if self.fastest > 0 else ""]

    def draw(self, whole: Any) -> None:
        """Draw them."""
        grid = whole.subplots(self.rows, self.columns, squeeze=False, sharex=True, sharey=True)
        places = used(grid, len(self.panels))
        for number, (place, panel) in enumerate(zip(places, self.panels, strict=True)):
            scale = self.scales[number]
            image = self.plane.draw(place, self.layers[number], scale)
            place.set_title(panel.title, fontsize=10)
            if self.plane.has_particles:
                self.plane.draw_particles(place, panel.index)
            if self.fastest > 0:
                self.plane.draw_arrows(place, self.arrows[number], self.fastest)
            if self.apart:
                scale.colour_bar(whole, image, "", cax=place.inset_axes(_BESIDE))
            place.locator_params(nbins=4, steps=[1, 2, 5, 10])
        bottom_and_left(grid, len(self.panels), "y")
        if not self.apart:
            name, look = names_of(self.panels), {"fraction": 0.04, "pad": 0.01, "shrink": 0.85, "aspect": 25}
            self.scales[0].colour_bar(whole, image, name[0] if len(name) == 1 else "", ax=places, **look)


def columns_for(count: int) -> int:
    """The panels of a row, about equally many in all rows."""
    return -(-count // -(-count // _ROW))


def used(grid: Any, count: int) -> list[Any]:
    """The first places of a grid of axes; the others are removed."""
    for place in grid.flat[count:]:
        place.remove()
    return list(grid.flat[:count])


def bottom_and_left(grid: Any, count: int, label: str) -> None:
    """Label x below the lowest panel of each column, and what is upward left of each row."""
    columns = grid.shape[1]
    for number, place in enumerate(grid.flat[:count]):
        if number + columns >= count:
            place.set_xlabel("x")
            place.tick_params(labelbottom=True)
        if number % columns == 0:
            place.set_ylabel(label)
