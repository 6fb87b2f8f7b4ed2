"""Measures in files and datasets, and the distance between two of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset.reader import opened
from fvflow.dataset.samples import stored_density
from fvflow.dataset.stored_mesh import stored_mesh
from fvflow.errors import CaseError
from fvflow.fields.point_file import checked_points, holds_points, read_points

if TYPE_CHECKING:
    import xarray

    from fvflow.wasserstein import Distance
    from fvflow.wasserstein.between import Report
    from fvflow.wasserstein.measures import Measure

_SINGLE = 1e-6  # relative difference of masses that may be due to single precision
_AT = "@"


def distance(
    first: Any,
    second: Any,
    *,
    width: float = 1e-3,
    cells: int | None = None,
    seconds: float = math.inf,
    report: Report | None = None,
) -> Distance:
    """Bounds of W2 of two measures: results at a time each, on meshes of any kind, and samples.

    Each is a result (its last frame), a result and a time, a file NAME.nc, NAME.nc@TIME or a file of samples, or an
    array of samples (n, dim). `width` is the relative width to aim at, `cells` the most cells of the grid on which
    measures that have none in common are compared; after so many `seconds` the interval so far is returned, and
    `report` is called after each level of cells. Raises CaseError for measures that cannot be compared, OutputError
    for files that cannot be read. See `distance_between`.
    """
    from fvflow.wasserstein import distance_between

    if not 0 < width < 1:
        raise CaseError(f"width {width!r}; give a relative width between 0 and 1")
    if cells is not None and cells < 1:
        raise CaseError(f"cells {cells!r}; give a number of cells from 1 on")
    if not seconds > 0:
        raise CaseError(f"seconds {seconds!r}; give a positive time")
    with ExitStack() as files:
        (a, digits_a), (b, digits_b) = (files.enter_context(_measure(operand)) for operand in (first, second))
        return distance_between(a, b, width, cells, max(digits_a, digits_b), seconds=seconds, report=report)


@contextmanager
def _measure(operand: Any) -> Iterator[tuple[Measure, float]]:
    """The measure, and how exactly its mass is known."""
    from fvflow.wasserstein.line import EQUAL_MASSES
    from fvflow.wasserstein.measures import EmpiricalMeasure

    if isinstance(operand, str | os.PathLike):
        name, time = _split(os.fspath(operand))
        if holds_points(name):
            if time is not None:
                raise CaseError(f"{name}: samples have no times; leave {_AT}{time:g} out")
            found = read_points(name)
            yield EmpiricalMeasure(found.points, found.weight), EQUAL_MASSES
        else:
            with opened(name) as ds:
                yield _of_result(ds, time)
    elif isinstance(operand, tuple):
        yield _of_result(*operand)
    elif hasattr(operand, "data_vars"):
        yield _of_result(operand, None)
    else:
        yield EmpiricalMeasure(checked_points("samples", operand, "sample")), EQUAL_MASSES


def _of_result(ds: xarray.Dataset, time: float | None) -> tuple[Measure, float]:
    from fvflow.wasserstein.line import EQUAL_MASSES
    from fvflow.wasserstein.measures import CellwiseDensity

    if "rho" not in ds or not ds.sizes.get("time"):
        raise CaseError("the result has no density at any time; give the result of a run")
    single = ds["rho"].dtype == np.float32
    return CellwiseDensity(stored_mesh(ds), stored_density(ds, time)), _SINGLE if single else EQUAL_MASSES


def _split(operand: str) -> tuple[str, float | None]:
    """The file and the time of NAME@TIME; a file whose own name has an @ is one without a time."""
    name, at, text = operand.rpartition(_AT)
    if not at or Path(operand).exists():
        return operand, None
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise CaseError(f"{operand}: {text!r} is no time; write FILE.nc{_AT}0.5, or FILE.nc for the last frame")
    return name, time
