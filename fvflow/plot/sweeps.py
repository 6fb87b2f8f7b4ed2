"""Pictures of sweeps: a figure of the runs against the paths that vary."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fvflow.dataset.sweeps import is_sweep, sweep_figure_values, swept_paths
from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.plot.colours import Colours, scales

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Logarithmic = Literal["x", "y", "xy", "none"]
_MOST_LINES = 12
_WIDE = 50.0  # ratio of the largest and the smallest value beyond which an axis is logarithmic


def sweep_figure(
    ds: Any,
    name: str | None = None,
    against: str | Sequence[str] | None = None,
    *,
    at: Mapping[str, str] | None = None,
    log: Logarithmic | None = None,
    colours: Colours | None = None,
    title: str | None = None,
) -> Figure:
    """A figure of a sweep against one path as lines, or against two as a heat map.

    `name` is by default the first figure, `against` the path that varies first; other paths make a line each, or are
    fixed by `at`, a text by path. Axes are logarithmic where values are positive and span more than 50 to 1, or as
    `log` says; `colours="log"` is for heat maps. Values that are drawn or taken together are points.
    Raises CaseError if the dataset is no sweep, or has no such figure, path or value.
    """
    from matplotlib.figure import Figure

    if not is_sweep(ds):
        raise CaseError("this is not the result of a sweep; leave out --figure and --against")
    values, paths = sweep_figure_values(ds, name), swept_paths(ds)
    wanted = [against] if isinstance(against, str) else list(against or [next(iter(paths))])
    if not 1 <= len(wanted) <= 2:
        raise CaseError(f"against {len(wanted)} paths; give one for lines or two for a map")
    coordinates = [_path(paths, path) for path in wanted]
    fixed = {}
    for path, text in (at or {}).items():
        dim, index = _place(path, _path(paths, path), text)
        fixed[dim] = index
    values = values.isel(fixed)
    if missing := next((path for path, each in zip(wanted, coordinates, strict=True) if each.dims[0] in fixed), ""):
        raise CaseError(f"{missing} is both fixed by --at and drawn against")
    figure = Figure(figsize=(7.0, 4.6), layout="constrained")
    axes = figure.subplots()
    if len(wanted) == 1:
        _draw_lines(axes, values, wanted[0], coordinates[0], paths, log)
    else:
        _draw_map(figure, axes, values, wanted, coordinates, log, colours)
    note = ", ".join(f"{path} = {text}" for path, text in (at or {}).items())
    heading = str(ds.attrs.get("title", "")) if title is None else title
    figure.suptitle("\n".join(filter(None, (heading, note))), fontsize=11)
    return figure


def _path(paths: Mapping[str, Any], path: str) -> Any:
    """The coordinate of a path; raises CaseError."""
    if path not in paths:
        close = difflib.get_close_matches(path, list(paths), n=1)
        guess = f'did you mean "{close[0]}"?' if close else f"it varies {', '.join(paths)}"
        raise CaseError(f"the sweep does not vary {path}; {guess}")
    return paths[path]


def _place(path: str, coordinate: Any, text: str) -> tuple[str, int]:
    """The dimension and the index of a value of a path; raises CaseError."""
    known = [str(value) for value in coordinate.values]
    if text in known:
        return str(coordinate.dims[0]), known.index(text)
    try:
        near = np.isclose(coordinate.values.astype(float), float(text), rtol=1e-9, atol=0.0)
    except ValueError:
        near = np.zeros(len(known), bool)
    if not near.any():
        raise CaseError(f"{path} has no value {text}; it has {', '.join(known[:20])}")
    return str(coordinate.dims[0]), int(np.argmax(near))


def _positions(coordinate: Any) -> tuple[Array, list[str]]:
    """Where the values of a path are on an axis (value,), and what is written there if they are texts."""
    values = coordinate.values
    if values.dtype.kind in "fiu":
        return values.astype(float), []
    labels = list(dict.fromkeys(map(str, values)))
    return np.array([float(labels.index(str(value))) for value in values]), labels


def _draw_lines(
    axes: Any, values: Any, path: str, coordinate: Any, paths: Mapping[str, Any], log: Logarithmic | None
) -> None:
    """A line for each combination of the other dimensions."""
    dim = str(coordinate.dims[0])
    others = [str(name) for name in values.dims if name != dim]
    lines = list(itertools.product(*(range(values.sizes[name]) for name in others)))
    if len(lines) > _MOST_LINES:
        named = [name for name, each in paths.items() if each.dims[0] in others]
        raise CaseError(f"{len(lines)} lines, at most {_MOST_LINES} are drawn; fix {' or '.join(named)} by --at")
    where, labels = _positions(coordinate)
    order = np.argsort(where, kind="stable")
    points = coordinate.name != dim  # drawn, or taken together with other paths
    for line in lines:
        picked = dict(zip(others, line, strict=True))
        heights = values.isel(picked).values[order]
        label = ", ".join(_label(paths, name, index) for name, index in picked.items())
        axes.plot(where[order], heights, "o" if points else "o-", markersize=4, label=label)
    axes.set(xlabel=path, ylabel=str(values.name).replace("_", " "))
    if labels:
        axes.set_xticks(range(len(labels)), labels)
    if log in ("x", "xy") or (log is None and not labels and _wide(where)):
        axes.set_xscale("log")
    if log in ("y", "xy") or (log is None and _wide(values.values)):
        axes.set_yscale("log")
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8)


def _label(paths: Mapping[str, Any], dim: str, index: int) -> str:
    """The values of the paths along a dimension at an index."""
    found = {path: each.values[index] for path, each in paths.items() if each.dims[0] == dim}
    return ", ".join(
        f"{path} = {value:g}" if isinstance(value, float) else f"{path} = {value}" for path, value in found.items()
    )


def _wide(values: Array) -> bool:
    """Whether values are positive and span orders of magnitude."""
    finite = values[np.isfinite(values)]
    return bool(finite.size and finite.min() > 0 and finite.max() > _WIDE * finite.min())


def _draw_map(
    figure: Any,
    axes: Any,
    values: Any,
    wanted: Sequence[str],
    coordinates: Sequence[Any],
    log: Logarithmic | None,
    colours: Colours | None,
) -> None:
    """A heat map of two dimensions, or coloured points where both paths vary along one."""
    dims = [str(each.dims[0]) for each in coordinates]
    if rest := [str(name) for name in values.dims if name not in dims]:
        raise CaseError(f"a map shows two paths, and {', '.join(rest)} varies too; fix it by --at")
    places = [_positions(each) for each in coordinates]
    scale = scales([values.values], False, colours == "log" or (colours is None and _wide(values.values)), False)[0]
    logarithmic = [
        log in (axis, "xy") or (log is None and not labels and _wide(where))
        for axis, (where, labels) in zip("xy", places, strict=True)
    ]
    (across, _), (up, _) = places
    if dims[0] == dims[1]:
        image = axes.scatter(across, up, c=values.values, norm=scale.norm, cmap=scale.colour_map)
    else:
        orders = [np.argsort(where) for where in (across, up)]
        table = values.transpose(dims[1], dims[0]).values[np.ix_(orders[1], orders[0])]
        edges = [
            _edges(where[order], each) for where, order, each in zip((across, up), orders, logarithmic, strict=True)
        ]
        image = axes.pcolormesh(*edges, table, norm=scale.norm, cmap=scale.colour_map)
    scale.colour_bar(figure, image, str(values.name).replace("_", " "), ax=axes)
    axes.set(xlabel=wanted[0], ylabel=wanted[1])
    for axis, each in zip("xy", logarithmic, strict=True):
        if each:
            getattr(axes, f"set_{axis}scale")("log")
    for axis, (_, labels) in zip("xy", places, strict=True):
        if labels:
            getattr(axes, f"set_{axis}ticks")(range(len(labels)), labels)


def _edges(centres: Array, logarithmic: bool) -> Array:
    """Edges half-way between sorted positions (value,) -> (value + 1,), on a logarithmic axis by their logarithms."""
    places = np.log(centres) if logarithmic else centres
    if len(places) == 1:
        found = places + np.array([-0.5, 0.5])
    else:
        middle = 0.5 * (places[1:] + places[:-1])
        found = np.concatenate([[2 * places[0] - middle[0]], middle, [2 * places[-1] - middle[-1]]])
    return np.asarray(np.exp(found) if logarithmic else found)
