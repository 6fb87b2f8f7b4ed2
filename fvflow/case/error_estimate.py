"""The error of a run at its saved times, estimated by a second run at half its resolution."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np

from fvflow.dataset import Frame
from fvflow.errors import NumericsError
from fvflow.mesh import Array, Mesh, averaged
from fvflow.problems import OutputVariable

PREFIX = "estimated_error_"
_NORMS = {
    "l1": "sum |K| |rho_K - exact|",
    "l2": "square root of sum |K| |rho_K - exact|^2",
    "linf": "largest |rho_K - exact|",
}
_NOTE = "estimated by a run at half the resolution, nan at times that this does not meet"


class Run(Protocol):
    """What is needed of the run at half the resolution: a simulation."""

    mesh: Mesh

    def frames(self) -> Iterator[Frame]:
        """Its frames, from the start."""

    def figures(self) -> dict[str, Any]:
        """Its figures, up to the last frame."""

    @property
    def memory(self) -> int:
        """Its bytes."""


@dataclass
class ErrorEstimate:
    """Compares each frame of a run with that of a coarser one, whose error is `growth` = r times as large.

    If u = U + E and u' = U + r E + ..., U being exact, then E = (u' - u)/(r - 1): Richardson's extrapolation to the
    limit (Phil. Trans. R. Soc. A 226, 1927; Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993,
    section II.4). Of densities the norms of E are told, with u averaged over the cells of the coarser mesh; of energy,
    observables and figures E itself, with its sign, so that u - E is the extrapolated value; it is infinite where an
    energy is.
    The cells are twice as large and the steps 2^(p/q) times as long, p and q being the orders in space and in time, so
    that both errors grow by 2^p.
    """

    mesh: Mesh
    """The mesh of the run."""
    coarser: Run
    """The run at half the resolution."""
    growth: float
    """r > 1."""
    names: tuple[str, ...]
    """The diagnostics that are compared beside the density: energy and observables."""
    converging: tuple[str, ...]
    """The figures of the whole run that are compared, where it has them."""
    fault: str = field(default="", init=False)
    """Why there is no estimate from some time on, as a sentence; empty if there is."""
    _frames: Iterator[Frame] = field(default=cast("Iterator[Frame]", iter(())), init=False, repr=False)
    _current: Frame | None = field(default=None, init=False, repr=False)

    @staticmethod
    def of(simulation: Any, coarser: Any) -> ErrorEstimate:
        """For a run, with the one at half its resolution."""
        flow, times = simulation.flow, simulation.times
        dimension, orders = simulation.mesh.dimension, []
        assert flow.order_in_space is not None
        ratio = (simulation.mesh.cells / coarser.mesh.cells) ** (1.0 / dimension)
        orders.append(ratio**flow.order_in_space)
        if times.steps and math.isfinite(flow.order_in_time):
            longer = times.steps / coarser.times.steps if times.adaptive is None else ratio
            exponent = flow.order_in_time if times.adaptive is None else flow.order_in_space
            orders.append(longer**exponent)
        # where rounding makes the errors in space and time grow by different factors, the mean of their r - 1
        growth = 1.0 + math.prod(max(order - 1.0, 1e-3) for order in orders) ** (1.0 / len(orders))
        layout = simulation.layout().diagnostics
        observed = [] if simulation.observables is None else simulation.observables.variables()
        names = tuple(name for name in ("energy", *observed) if name in layout)
        return ErrorEstimate(simulation.mesh, coarser, growth, names, flow.converging_figures)

    def start(self) -> None:
        """Begin anew, for another run."""
        self._frames, self._current, self.fault = self.coarser.frames(), None, ""

    def at(self, time: float, density: Array, diagnostics: Mapping[str, Any]) -> dict[str, float]:
        """The estimates by name at a saved time, from the density (cell,) and the diagnostics of the run."""
        try:
            while not self.fault and (self._current is None or self._current.time < time):
                if (following := next(self._frames, None)) is None:
                    break
                self._current = following
        except NumericsError as error:
            self.fault = f"its error is not estimated up to the end: at half the resolution {error}"
        other = self._current
        if self.fault or other is None or other.time != time:
            return dict.fromkeys(self.variables(), math.nan)
        volume, scale = self.coarser.mesh.volume, self.growth - 1.0
        off = np.abs(averaged(self.mesh, self.coarser.mesh, density) - other.density) / scale
        norms = float(volume @ off), float(np.sqrt(volume @ off**2)), float(off.max())
        found = dict(zip((PREFIX + name for name in _NORMS), norms, strict=True))
        pairs = {name: (float(other.diagnostics[name]), float(diagnostics[name])) for name in self.names}
        return found | {PREFIX + name: _difference(*pair) / scale for name, pair in pairs.items()}

    def figures(self, time: float, figures: Mapping[str, Any]) -> dict[str, float]:
        """The estimated errors of figures at the end of a run, with their signs; none where its end is not met."""
        if self._current is None or self._current.time != time:
            return {}
        others = self.coarser.figures()
        known = [name for name in self.converging if name in figures and name in others]
        return {PREFIX + name: _difference(others[name], figures[name]) / (self.growth - 1.0) for name in known}

    def variables(self) -> dict[str, OutputVariable]:
        """What is stored at each saved time."""
        norms = {PREFIX + name: OutputVariable((), f"{text}, {_NOTE}") for name, text in _NORMS.items()}
        others = {PREFIX + name: OutputVariable((), f"error of {name}, with its sign, {_NOTE}") for name in self.names}
        return norms | others


def _difference(one: float, other: float) -> float:
    """The difference of two values; infinite where both are, as energies of densities below 0."""
    return math.inf if one == other == math.inf else one - other
