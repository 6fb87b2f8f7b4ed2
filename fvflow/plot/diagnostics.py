"""Diagnostics of a result over time."""

from __future__ import annotations

from typing import Any

import numpy as np

_THIRD_PANEL = ("energy", "error_l1", "balance")  # the first of these that is finite, else the entropy
_SMALLEST, _LARGEST = 1e-17, 1e-10  # drifts between which the axis always reaches; 0 is drawn as the smallest


def draw_diagnostics(panels: Any, ds: Any) -> None:
    """Mass drift, extremes, and the energy or an error over time."""
    mass, extremes, third = panels
    drift = np.abs(ds.mass / ds.mass[0] - 1.0).values
    mass.semilogy(ds.time, np.maximum(drift, _SMALLEST), ".", color="C3", markersize=4)
    mass.set(title="|mass/mass(0) - 1|", ylim=(0.5 * _SMALLEST, max(_LARGEST, 10 * drift.max())), xlabel="t")
    extremes.plot(ds.time, ds.maximum, color="C0", label="maximum")
    extremes.plot(ds.time, ds.minimum, color="C2", label="minimum")
    extremes.set(title="extremes of rho", xlabel="t")
    extremes.legend(frameon=False, fontsize=8)
    name = next((name for name in _THIRD_PANEL if name in ds and np.isfinite(ds[name]).all()), "entropy")
    third.plot(ds.time, ds[name], color="C1")
    third.set(title=name.replace("_", " "), xlabel="t")
    for panel in panels:
        panel.title.set_fontsize(10)
