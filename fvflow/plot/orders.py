"""Errors over the size of cells or steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def orders(
    sizes: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    declared: float | None = None,
    *,
    label: str = "cell size",
    title: str = "",
) -> Figure:
    """Errors by name, one for each size, on logarithmic axes, with a line of the slope of the declared order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.0), layout="constrained")
    panel = figure.subplots()
    x, lowest = np.asarray(sizes, float), np.inf
    for number, (name, errors) in enumerate(curves.items()):
        y = np.asarray(errors, float)
        seen = np.isfinite(y) & (y > 0)
        panel.loglog(x[seen], y[seen], "o-", color=f"C{number}", label=name.replace("_", " "))
        if seen.any():
            lowest = min(lowest, float(y[seen][-1]))
    if declared is not None and np.isfinite(lowest):
        panel.loglog(x, 0.7 * lowest * (x / x[-1]) ** declared, "k--", linewidth=1, label=f"order {declared:g}")
    panel.set(xlabel=label, ylabel="error")
    panel.set_title(title.replace("$", r"\$"), fontsize=10)
    panel.grid(True, which="both", alpha=0.2)
    panel.legend(frameon=False, fontsize=8)
    return figure
