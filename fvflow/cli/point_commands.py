"""The commands that draw points from results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.printing import say


def add_point_commands(commands: Any) -> None:
    """Add the commands to the subparsers of fvflow."""
    sample = commands.add_parser("sample", help="draw samples of the density of a result")
    sample.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    sample.add_argument("-n", type=int, default=10_000, metavar="COUNT", help="how many (default: 10000)")
    sample.add_argument("--time", type=float, help="when (default: the last saved time)")
    sample.add_argument("--seed", type=int, default=0, help="another one gives other samples (default: 0)")
    sample.add_argument(
        "--independent",
        action="store_true",
        help="draw them independently of each other (default: stratified, spread evenly over the cells)",
    )
    sample.add_argument(
        "-o", "--output", type=Path, required=True, metavar="SAMPLES", help="a .npz, .csv, .npy or .nc file"
    )
    sample.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> int:
    from fvflow.dataset import opened, sample, write_points

    with opened(options.file) as ds:
        times, time = ds["time"].values.tolist(), options.time
        points = sample(ds, options.n, time, options.seed, stratified=not options.independent)
    write_points(options.output, points)
    time = times[-1] if time is None else time
    between = "" if time in times else ", a mixture of the frames before and after"
    say(f"wrote {options.output}; {options.n} samples at t = {time:g}{between}")
    return 0
