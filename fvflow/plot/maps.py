"""The map of optimal transport between two densities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.plot.colours import scales

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from fvflow.wasserstein import Distance

_ARROWS = 22  # along the longer axis
_LEAST = 0.02  # share of the largest density below which there is no arrow
_LEVELS = 5
_CONTOURS = "#e4572e"


def transport_map(distance: Distance, *, title: str = "") -> Figure:
    """The map T of an interval of W2: in 2D arrows x -> T(x) over the first density, with contours of the second.

    On a line both densities, and T below. Raises CaseError in 3D.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 5.0), layout="constrained")
    draw_transport_map(figure, distance, title)
    return figure


def draw_transport_map(figure: Figure | SubFigure, distance: Distance, title: str = "") -> None:
    """Draw a `transport_map` on a figure, or on a part of one."""
    if distance.grid.dimension > 2:
        raise CaseError("maps are drawn in one and two dimensions; these measures have three")
    if distance.grid.dimension == 1:
        _on_a_line(figure, distance)
    else:
        _in_the_plane(figure, distance)
    bounds = f"{distance.lower:.6g} <= W2 <= {distance.upper:.6g}"
    figure.suptitle("\n".join(filter(None, (title.replace("$", r"\$"), bounds))), fontsize=10)


def _on_a_line(figure: Figure | SubFigure, distance: Distance) -> None:
    above, below = figure.subplots(2, 1, sharex=True)
    x, masses = distance.grid.centre[:, 0], distance.densities
    for density, name in zip(masses, ("first", "second"), strict=True):
        above.plot(x, density, label=name)
    above.set(ylabel="rho")
    above.legend()
    there = masses[0] > 0
    below.plot(x[there], distance.bounds.map[there, 0], color="black")
    below.set(xlabel="x", ylabel="T(x)")


def _in_the_plane(figure: Figure | SubFigure, distance: Distance) -> None:
    grid, panel = distance.grid, figure.subplots()
    assert grid.edges is not None
    first, second = (density.reshape(grid.shape) for density in distance.densities)
    scale = scales([first], False, False, False)[0]
    image = panel.pcolormesh(*grid.edges, first, norm=scale.norm, cmap=scale.colour_map, rasterized=True)
    scale.colour_bar(figure, image, "rho", ax=panel)
    centres = [0.5 * (edge[1:] + edge[:-1]) for edge in grid.edges]
    levels = float(second.max()) * np.arange(1, _LEVELS + 1) / (_LEVELS + 1)
    panel.contour(*centres, second, levels=levels, colors=_CONTOURS, linewidths=0.8)
    chosen = _spread(distance, centres)
    start = grid.centre[chosen]
    step = distance.bounds.map[chosen] - start
    arrows: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1.0, "width": 0.0025, "color": "white"}
    panel.quiver(*start.T, *step.T, **arrows)
    panel.set(xlabel="x", ylabel="y", aspect="equal")


def _spread(distance: Distance, centres: list[Array]) -> Array:
    """Cells (arrow,) with mass, about evenly spread."""
    longest = max(float(np.ptp(centre)) for centre in centres)
    counts = [max(round(_ARROWS * float(np.ptp(centre)) / longest), 1) for centre in centres]
    near = [
        np.unique(np.searchsorted(centre, np.linspace(centre[0], centre[-1], count + 2)[1:-1]))
        for centre, count in zip(centres, counts, strict=True)
    ]
    cells = (near[1][:, None] * len(centres[0]) + near[0]).ravel()
    density = distance.densities[0]
    return np.asarray(cells[density[cells] > _LEAST * density.max()])
