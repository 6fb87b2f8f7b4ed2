"""The command that draws results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.arguments import frames_or_times
from fvflow.cli.printing import escaped, say
from fvflow.errors import CaseError

_OF_SWEEPS = {"figure": "--figure", "against": "--against", "at": "--at", "log": "--log"}
_OF_RUNS = {"field": "--field", "frames": "--frames"}


def add_plot(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    plot = commands.add_parser("plot", help="draw a result: a field at some times, and its diagnostics over time")
    plot.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    plot.add_argument("-o", "--output", type=Path, metavar="PICTURE", help=".png (beside the result), .pdf, .svg, .gif")
    plot.add_argument("--field", help="the field to draw (default: rho, phi of hamilton-jacobi, modes of a spectrum)")
    plot.add_argument(
        "--frames",
        type=frames_or_times,
        default={},
        metavar="N|TIMES",
        help="a number of frames, or times as in 0,0.5,1 (default: about 5; .gif: all)",
    )
    plot.add_argument(
        "--colours",
        choices=("shared", "each", "log"),
        help="one scale for all panels, one each, or a logarithmic one with a lower cut (default: shared; modes: each)",
    )
    of_sweeps = plot.add_argument_group("of sweeps")
    of_sweeps.add_argument("--figure", metavar="NAME", help="the figure of the runs (default: the first of its flow)")
    of_sweeps.add_argument(
        "--against", metavar="PATH[,PATH]", help="one swept path for lines, or two for a map (default: the first)"
    )
    of_sweeps.add_argument(
        "--at", action="append", default=[], metavar="PATH=VALUE", help="fix another path; may be repeated"
    )
    of_sweeps.add_argument(
        "--log", choices=("x", "y", "xy", "none"), help="logarithmic axes (default: where values span 50 to 1)"
    )
    plot.set_defaults(command=_plot)


def _plot(options: argparse.Namespace) -> int:
    from fvflow import plot
    from fvflow.dataset import opened, title_of
    from fvflow.dataset.sweeps import is_sweep

    path = options.file.with_suffix(".png") if options.output is None else options.output
    with opened(options.file, sweeps=True) as ds:
        title = escaped(title_of(ds, options.file)).replace("$", r"\$")
        if is_sweep(ds):
            _require_none(options, _OF_RUNS, "draws a run, and this is a sweep; use --figure and --against")
            plot.save_figure(_of_sweep(options, ds, title), path)
        else:
            _require_none(options, _OF_SWEEPS, "draws a sweep, and this is a run; leave it out")
            plot.save(ds, path, options.field, **options.frames, colours=options.colours, title=title)
    say(f"wrote {path}")
    return 0


def _of_sweep(options: argparse.Namespace, ds: Any, title: str) -> Any:
    from fvflow import plot

    against = None if options.against is None else [path.strip() for path in options.against.split(",")]
    at = {}
    for text in options.at:
        name, equals, value = text.partition("=")
        if not equals:
            raise CaseError(f"--at {text}: expected PATH=VALUE, as in flow.epsilon=0.1")
        at[name.strip()] = value.strip()
    return plot.sweep_figure(ds, options.figure, against, at=at, log=options.log, colours=options.colours, title=title)


def _require_none(options: argparse.Namespace, names: dict[str, str], sentence: str) -> None:
    """Refuse options that are for other results: CaseError."""
    for name, option in names.items():
        if getattr(options, name):
            raise CaseError(f"{option} {sentence}")
