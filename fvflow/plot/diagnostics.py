"""Diagnostics of a result over time."""

from __future__ import annotations

from typing import Any

import numpy as np

_THIRD_PANEL = ("energy", "error_l1", "balance")  # the first of these that is finite, else the entropy
_SMALLEST, _LARGEST = 1e-17, 1e-10  # drifts between which the axis always reaches; 0 is drawn as the smallest
_ABSORBED, _OUTFLOW = "absorbed_", "outflow_"


def draw_diagnostics(panels: Any, ds: Any) -> None:
    """Mass drift, extremes, and the energy or an error over time; of a mass that leaves, where and when it does."""
    first, extremes, third = panels
    extremes.plot(ds.time, ds.maximum, color="C0", label="maximum")
    extremes.plot(ds.time, ds.minimum, color="C2", label="minimum")
    extremes.set(title="extremes of rho", xlabel="t")
    extremes.legend(frameon=False, fontsize=8)
    if "survival" in ds:
        _draw_absorption(first, third, ds)
    else:
        _draw_mass(first, ds)
        name = next((name for name in _THIRD_PANEL if name in ds and np.isfinite(ds[name]).all()), "entropy")
        third.plot(ds.time, ds[name], color="C1")
        third.set(title=name.replace("_", " "), xlabel="t")
    for panel in panels:
        panel.title.set_fontsize(10)


def _draw_mass(panel: Any, ds: Any) -> None:
    drift = np.abs(ds.mass / ds.mass[0] - 1.0).values
    panel.semilogy(ds.time, np.maximum(drift, _SMALLEST), ".", color="C3", markersize=4)
    panel.set(title="|mass/mass(0) - 1|", ylim=(0.5 * _SMALLEST, max(_LARGEST, 10 * drift.max())), xlabel="t")


def _draw_absorption(shares: Any, rates: Any, ds: Any) -> None:
    """What remains and what has been absorbed where, and the outflow: the density of the time of passage."""
    names = [str(name).removeprefix(_ABSORBED) for name in ds if str(name).startswith(_ABSORBED)]
    shares.plot(ds.time, ds.mass, color="C3", label="remains")
    for number, name in enumerate(names):
        colour = f"C{number + 4}"
        shares.plot(ds.time, ds[_ABSORBED + name], "--", color=colour, label=f"absorbed: {name}")
        rates.plot(ds.time, ds[_OUTFLOW + name], color=colour, label=name)
    shares.set(title="mass", xlabel="t")
    rates.set(title="outflow", xlabel="t")
    for panel in (shares, rates):
        panel.legend(frameon=False, fontsize=8)
