"""The command that bounds W2 between results and samples."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fvflow.cli.printing import print_json, print_table, say
from fvflow.errors import NumericsError

_EVERY = 10.0  # seconds between two lines of progress


def add_distance(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("distance", help="bounds of W2 between results and samples, proved")
    operand = "a result (its last frame), one at a time as in NAME.nc@0.5, or samples (.npz, .csv, .npy, .nc)"
    parser.add_argument("first", metavar="A", help=operand)
    parser.add_argument("second", metavar="B", help="likewise; a result on any mesh")
    parser.add_argument("--width", type=float, default=1e-3, help="relative width to aim at (default: 1e-3)")
    parser.add_argument("--cells", type=int, metavar="N", help="most cells of a grid for both (default: 262144)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop at the interval so far after this time")
    parser.add_argument("--accept", action="store_true", help="accept a wider interval (otherwise exit code 4)")
    parser.add_argument("-o", "--output", type=Path, metavar="PICTURE", help="draw the map: .png, .pdf or .svg")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.set_defaults(command=_distance)


def _progress() -> Callable[[tuple[int, ...], float, float], None]:
    """Says every ten seconds how far it is."""
    due = time.monotonic() + _EVERY

    def show(cells: tuple[int, ...], lower: float, upper: float) -> None:
        nonlocal due
        if time.monotonic() >= due:
            say(f"{' x '.join(map(str, cells))} cells: {lower:.6g} <= W2 <= {upper:.6g}")
            due = time.monotonic() + _EVERY

    return show


def _distance(options: argparse.Namespace) -> int:
    from fvflow.dataset.measures import distance

    limits: dict[str, Any] = {"width": options.width, "cells": options.cells, "seconds": options.seconds}
    found = distance(options.first, options.second, **limits, report=_progress())
    interval = {"lower": found.lower, "upper": found.upper, "width": found.width}
    for sentence in found.remarks:
        say(f"fvflow: {sentence}")
    if options.json:
        grid = {"cells": list(reversed(found.grid.shape)), "moved": found.moved}
        picture = {} if options.output is None else {"picture": str(options.output)}
        files = {"first": options.first, "second": options.second}
        print_json(
            {
                **files,
                **interval,
                **grid,
                "reason": found.reason,
                "proved": found.proved,
                "remarks": found.remarks,
                **picture,
            }
        )
    else:
        rows = [(name, f"{value:.9g}" if name != "width" else f"{value:.2g}") for name, value in interval.items()]
        print_table(f"W2 of {options.first} and {options.second}", [*rows, ("stopped as", found.reason)])
    if options.output is not None:
        from fvflow import plot

        plot.save_figure(plot.transport_map(found, title=f"{options.first} to {options.second}"), options.output)
        say(f"wrote {options.output}")
    if found.proved or options.accept:
        return 0
    say(f"fvflow: the width is {found.width:.2g}, asked for {options.width:g}: {found.reason}; --accept takes it")
    return NumericsError.exit_code
