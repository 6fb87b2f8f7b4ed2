"""From values to colours: each panel with its own scale, all with one, or a logarithmic one with a lower cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array

if TYPE_CHECKING:
    from matplotlib.colors import Normalize

Colours = Literal["shared", "each", "log"]
_CUT, _SIGNED_CUT = 1e-6, 1e-4  # of the largest value: where a logarithmic scale ends, below or towards 0
_CONSTANT = 1e-12  # relative range of values that are equal but for round-off


@dataclass(frozen=True)
class Scale:
    """A scale of colours: the norm, the name of the colour map, and what has to be said of it, if anything."""

    norm: Normalize
    colour_map: str
    note: str = ""
    cut: bool = False
    """Whether there are values below its lower end."""
    ticks: tuple[float, ...] | None = None
    """Where a colour bar has ticks; None leaves it to matplotlib."""

    def label(self, field: str) -> str:
        """The label of a colour bar or an axis."""
        return f"{field} ({self.note})".lstrip() if self.note else field

    def colour_bar(self, whole: Any, image: Any, field: str, **look: Any) -> None:
        """Draw the colour bar of an image, in a figure or a part of it."""
        extend = "min" if self.cut else "neither"
        form = None if self.ticks is None else "%.1e"
        whole.colorbar(image, label=self.label(field), extend=extend, ticks=self.ticks, format=form, **look)


def scales(layers: Sequence[Array], apart: bool, logarithmic: bool, signed: bool) -> list[Scale]:
    """The scale of each layer (any shape): its own if they are to be apart, else one for all.

    `signed` are values with 0 in their middle: their colours diverge from it. Raises CaseError if a logarithmic scale
    has nothing to show.
    """
    if apart:
        return [_scale(layer, logarithmic, signed) for layer in layers]
    return [_scale(np.concatenate([np.ravel(layer) for layer in layers]), logarithmic, signed)] * len(layers)


def _scale(values: Array, logarithmic: bool, signed: bool) -> Scale:
    finite = values[np.isfinite(values)]
    low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
    largest = max(abs(low), abs(high)) if finite.size else 0.0
    if signed:
        return _diverging(largest, logarithmic)
    return _logarithmic(finite, high) if logarithmic else _linear(low, high, largest)


def _linear(low: float, high: float, largest: float) -> Scale:
    from matplotlib.colors import Normalize

    if not high - low > _CONSTANT * largest:  # otherwise round-off would get all the colours
        low, high = (min(low, 0.0), max(high, 0.0)) if 0 < largest < np.inf else (0.0, 1.0)
    return Scale(Normalize(low, high), "viridis")


def _diverging(largest: float, logarithmic: bool) -> Scale:
    from matplotlib.colors import Normalize, SymLogNorm

    largest = largest if 0 < largest < np.inf else 1.0
    if not logarithmic:
        return Scale(Normalize(-largest, largest), "RdBu_r")
    cut = _SIGNED_CUT * largest
    norm, ticks = SymLogNorm(cut, vmin=-largest, vmax=largest), (-largest, -cut, 0.0, cut, largest)
    return Scale(norm, "RdBu_r", f"logarithmic beyond {cut:.1e}", ticks=ticks)


def _logarithmic(finite: Array, high: float) -> Scale:
    from matplotlib.colors import LogNorm

    if not high > 0:
        raise CaseError("a logarithmic scale needs positive values, and the field has none; use colours each or shared")
    positive = float(finite[finite > 0].min())
    low = max(positive, _CUT * high)
    cut = bool(finite.min() < low)
    low = low if low < high else 0.1 * high
    return Scale(LogNorm(low, high), "viridis", f"logarithmic, cut at {low:.1e}" if cut else "logarithmic", cut)
