"""The commands that draw points from results and carry points along them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.printing import print_json, print_table, say


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

    push = commands.add_parser("push", help="carry points along a result, forward or backward, with log-likelihoods")
    push.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    push.add_argument("points", type=Path, metavar="POINTS", help="a .npz, .csv, .npy or .nc file of points")
    push.add_argument("--from", dest="start", type=float, required=True, metavar="TIME", help="when they are there")
    push.add_argument("--to", dest="end", type=float, required=True, metavar="TIME", help="when they are wanted")
    push.add_argument(
        "--method",
        choices=("auto", "smooth", "exact"),
        default="auto",
        help="smooth: the velocity at points; exact: the stored fluxes, whose density is exactly that of the run",
    )
    push.add_argument("--tolerance", type=float, default=1e-5, help="of the method smooth (default: 1e-5)")
    push.add_argument(
        "--accept", action="store_true", help="accept saves between which log rho is known to worse than 0.5"
    )
    push.add_argument(
        "-o", "--output", type=Path, required=True, metavar="POINTS", help="a .npz, .csv or .nc file for the points"
    )
    push.set_defaults(command=_push)

    sides = commands.add_parser("sides", help="carry samples along a result and compare them with its densities")
    sides.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    sides.add_argument("-n", type=int, default=10_000, metavar="COUNT", help="how many samples (default: 10000)")
    sides.add_argument("--seed", type=int, default=0, help="another one gives other samples (default: 0)")
    sides.add_argument(
        "--method",
        choices=("auto", "smooth", "exact"),
        default="auto",
        help="follow the velocity at points, or the fluxes that output: {fluxes: true} stores (default: auto)",
    )
    sides.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    sides.set_defaults(command=_sides)


def _push(options: argparse.Namespace) -> int:
    from fvflow.case import push
    from fvflow.dataset import opened, write_points
    from fvflow.fields.point_file import read_points

    given = read_points(str(options.points))
    with opened(options.file) as ds:
        found = push(
            ds,
            given.points,
            options.start,
            options.end,
            method=options.method,
            log_density=given.log_density,
            tolerance=options.tolerance,
            accept=options.accept,
        )
    for sentence in found.remarks:
        say(f"fvflow: {sentence}")
    log_det = found.log_det if given.log_det is None else given.log_det + found.log_det
    write_points(options.output, found.points, weight=given.weight, log_density=found.log_density, log_det=log_det)
    say(
        f"wrote {options.output}; {len(found.points)} points from t = {options.start:g} to {options.end:g} by method "
        f"{found.method}, mean log density {found.log_density.mean():.6g}"
    )
    return 0


def _sample(options: argparse.Namespace) -> int:
    from fvflow.dataset import opened, write_points
    from fvflow.dataset.samples import sample

    with opened(options.file) as ds:
        times, time = ds["time"].values.tolist(), options.time
        points = sample(ds, options.n, time, options.seed, stratified=not options.independent)
    write_points(options.output, points)
    time = times[-1] if time is None else time
    between = "" if time in times else ", a mixture of the frames before and after"
    say(f"wrote {options.output}; {options.n} samples at t = {time:g}{between}")
    return 0


def _sides(options: argparse.Namespace) -> int:
    from fvflow.case import compare_sides
    from fvflow.case.side_figures import MEANINGS
    from fvflow.dataset import opened, title_of

    with opened(options.file) as ds:
        found, title = compare_sides(ds, options.n, options.seed, method=options.method), title_of(ds, options.file)
    if options.json:
        print_json({"file": str(options.file), "method": found.method, "samples": options.n, **found.figures})
    else:
        rows = [(name.replace("_", " "), f"{value:<10.4g} {MEANINGS[name]}") for name, value in found.figures.items()]
        print_table(title, [("samples", f"{options.n}, method {found.method}"), *rows])
    return 0
