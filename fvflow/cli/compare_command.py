"""The command that compares two results, or a result with densities from elsewhere."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.cli.arguments import time_list
from fvflow.cli.printing import escaped, print_json, say

if TYPE_CHECKING:
    from fvflow.studies import Comparison

_EVERY = 10.0  # seconds between two lines of progress
_WIDTH = 150  # of the table, where there is no terminal
_COLUMNS = {
    "l1": "L1",
    "l2": "L2",
    "linf": "Linf",
    "w2_lower": "W2 >=",
    "w2_upper": "W2 <=",
    "kl": "KL(A|B)",
    "kl_back": "KL(B|A)",
    "mass": "mass",
    "mean": "mean",
    "covariance": "covariance",
    "energy": "energy",
}


def add_compare(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("compare", help="compare two results, or a result with densities from elsewhere")
    operand = "a result, or densities from elsewhere: .nc or .npz with rho(time, [z, y,] x) and time, or .npy"
    parser.add_argument("first", type=Path, metavar="A", help=operand)
    parser.add_argument("second", type=Path, metavar="B", help="likewise, on any mesh of the same space")
    parser.add_argument("--at", type=time_list, metavar="TIMES", help="times, as in 0,0.5 (default: all in common)")
    parser.add_argument("--no-w2", action="store_true", help="leave out the bounds of W2")
    parser.add_argument("--width", type=float, default=1e-2, help="relative width of these to aim at (default: 1e-2)")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="after which these stop, at each time (default: 10)"
    )
    parser.add_argument("--normalise", action="store_true", help="divide each density by its mass first")
    parser.add_argument("-o", "--output", type=Path, metavar="PICTURE", help="draw both: .png, .pdf or .svg")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.set_defaults(command=_compare)


def _progress() -> Callable[[int, int], None]:
    """Says every ten seconds how far it is."""
    due = time.monotonic() + _EVERY

    def show(done: int, times: int) -> None:
        nonlocal due
        if time.monotonic() >= due and done < times:
            say(f"{done} of {times} times")
            due = time.monotonic() + _EVERY

    return show


def _compare(options: argparse.Namespace) -> int:
    from fvflow.studies import compare

    limits: dict[str, Any] = {"width": options.width, "seconds": options.seconds, "w2": not options.no_w2}
    chosen = {"at": options.at, "normalise": options.normalise, "picture": options.output}
    found = compare(options.first, options.second, **limits, **chosen, report=_progress())
    for sentence in found.remarks:
        say(f"fvflow: {sentence}")
    if options.json:
        print_json(found.json if options.output is None else {**found.json, "picture": str(options.output)})
    else:
        _print(found)
    if options.output is not None:
        say(f"wrote {options.output}")
    return 0


def _print(found: Comparison) -> None:
    """A row for each time, and the largest values and the means over time below."""
    columns = [name for name in _COLUMNS if name in found.overall]
    series = found.per_time
    rows = [[f"{at:.6g}", *(f"{series[name][row]:.4g}" for name in columns)] for row, at in enumerate(found.time)]
    if len(rows) > 1:
        for kind in ("largest", "at", "mean"):
            rows.append([kind, *(f"{found.overall[name][kind]:.4g}" for name in columns)])
    _print_columns(f"A {found.first}, B {found.second}", ["t", *(_COLUMNS[name] for name in columns)], rows)


def _print_columns(title: str, heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a heading."""
    if sys.stdout is None:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=escaped(title), title_justify="left", box=None)
    for name in heading:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)
