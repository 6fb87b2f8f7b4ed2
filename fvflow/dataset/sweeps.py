"""What is in the result of a sweep, for those who read it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fvflow.errors import CaseError

STUDY = "sweep"
"""The attribute `study` of the result of a sweep."""
OVER_TIME = "_over_time"
"""What the name of a diagnostic ends in where it is stored at each saved time: figures keep their names."""
_COMMON = (  # figures of most runs, which come last
    "energy", "error_l1", "error_l2", "error_linf", "minimum", "mass_drift", "mass_correction", "time_error",
    "relative_entropy_rate", "relative_entropy_dissipation", "variation_growth", "damped", "rejections",
    "relative_entropy", "survival", "entropy", "mass", "maximum", "residual", "converged", "steps", "iterations",
    "peclet", "peclet_share", "numerical_diffusion", "dissipation", "length", "cost", "gap_error", "rate_defect",
)  # fmt: skip


class Column(NamedTuple):
    """A variable of a sweep, as in xarray."""

    values: Any
    dims: tuple[str, ...]
    attrs: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its lengths."""
        return tuple(self.values.shape)


class SweepTable:
    """What is known of each case of a sweep but its diagnostics and fields, without xarray, which takes time to load.

    It has what `fvflow.cli` asks of a dataset: `attrs`, `data_vars` and its variables by name.
    """

    def __init__(self, path: Path) -> None:
        import netCDF4

        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            self.attrs = {name: file.getncattr(name) for name in file.ncattrs()}
            dims = set(file.variables["status"].dimensions)
            self._columns = {
                name: Column(np.asarray(variable[...]), variable.dimensions, variable.__dict__)
                for name, variable in file.variables.items()
                if set(variable.dimensions) <= dims and not name.endswith(OVER_TIME)
            }

    @property
    def data_vars(self) -> list[str]:
        """The names of the variables."""
        return list(self._columns)

    def __getitem__(self, name: str) -> Column:
        """The variable of that name."""
        return self._columns[name]


def is_sweep(ds: Any) -> bool:
    """Whether a dataset is the result of a sweep."""
    return str(ds.attrs.get("study", "")) == STUDY


def swept_paths(ds: Any) -> dict[str, Any]:
    """The coordinate of each path that was swept, one after another (value,)."""
    return {path: ds[path.replace(".", "_")] for path in json.loads(ds.attrs["swept"])}


def sweep_figures(ds: Any) -> list[str]:
    """The names of the figures of a sweep: first those of its flow, then those that most runs have."""
    names = [str(name) for name in ds.data_vars if ds[name].attrs.get("role") == "figure"]
    finite = [name for name in names if np.isfinite(ds[name].values).any()]
    first = [name for name in finite if name not in _COMMON]
    return [*first, *(name for name in _COMMON if name in finite)]


def sweep_figure_values(ds: Any, name: str | None) -> Any:
    """A figure of a sweep, by default its first; a diagnostic over time at the last saved time of each case.

    Raises CaseError if there is none of that name.
    """
    figures = sweep_figures(ds)
    if name is None:
        if not figures:
            raise CaseError("the sweep has no figures: all of its cases failed, as fvflow info tells")
        return ds[figures[0]]
    if name in figures:
        return ds[name]
    dims = ds["status"].dims
    series = [
        str(each) for each in ds.data_vars if str(each).endswith(OVER_TIME) and len(ds[each].dims) == len(dims) + 1
    ]
    if name in series:
        return _last(ds[name])
    close = difflib.get_close_matches(name, [*figures, *series], n=1)
    raise CaseError(
        f"the sweep has no figure {name}; "
        + (f'did you mean "{close[0]}"?' if close else f"it has {', '.join([*figures, *series])}")
    )


def _last(series: Any) -> Any:
    """The last value over time that is not missing, (..., time) -> (...,)."""
    values = series.values
    there = np.isfinite(values)
    place = values.shape[-1] - 1 - np.argmax(there[..., ::-1], axis=-1)
    return series.isel({series.dims[-1]: 0}).copy(data=np.take_along_axis(values, place[..., None], -1)[..., 0])
