"""Whether both sides of the equations agree in a result: `fvflow.compare_sides`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvflow.case.core import Case
from fvflow.case.pusher import PushMethod
from fvflow.case.side_figures import Sides, sides_of

if TYPE_CHECKING:
    import xarray

__all__ = ["Sides", "compare_sides"]


def compare_sides(ds: xarray.Dataset, n: int = 10_000, seed: int = 0, *, method: PushMethod = "auto") -> Sides:
    """Carry n independent samples of the first frame along a result and compare them with its densities.

    The figures are in `fvflow.case.side_figures.MEANINGS`: push-forward (the notes, equations (3), (4), (24)), moments
    (25)-(29), density along the paths (128)-(133), the action of both forms (5), (6), and for gradient flows on a line
    the step in Lagrangian form, (1) = (2). With the method exact the densities agree to round-off. Raises CaseError and
    NumericsError as `fvflow.sample` and `fvflow.push`, and where mass leaves for good.
    """
    return sides_of(ds, Case.parse, n, seed, method)
