"""The command that scores predictions against a result."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.arguments import gibibytes
from fvflow.cli.printing import print_json, print_table, say
from fvflow.input_files import GIB, Admission

_EXIT_CHECK = 6


def add_score(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("score", help="score samples, densities or a map of a model against a result")
    parser.add_argument(
        "prediction",
        metavar="PREDICTION",
        help="samples (.npy, .npz, .csv, .h5, with labels of times), densities (b, t, x[, y]), a map (points, images, "
        "log_det), another result, or module:function with --trust",
    )
    parser.add_argument("--against", type=Path, required=True, metavar="REFERENCE.nc", help="the result that is true")
    parser.add_argument("--metrics", type=_names, metavar="A,B", help="names, or all (default: the usual ones)")
    parser.add_argument(
        "--bound",
        action="append",
        default=[],
        type=_bound,
        metavar="METRIC=VALUE",
        help="exit with code 6 if a score is worse; may be repeated",
    )
    parser.add_argument("--times", type=_times, metavar="T0,T1", help="times of a prediction that does not tell them")
    parser.add_argument("--labels", metavar="FILE.npy", help="for each sample its time, or with --times a number")
    parser.add_argument("--role", default="density", help="what a function is: density, step or map (default: density)")
    parser.add_argument("-n", "--samples", type=int, default=1000, help="most samples of a time (default: 1000)")
    parser.add_argument("--draws", type=int, default=10, help="perfect predictions that tell the noise (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples of the reference (default: 0)")
    parser.add_argument(
        "--largest",
        type=gibibytes,
        metavar="GIB",
        default=Admission.largest,
        help=f"most GiB of a file that is read (default: {Admission.largest / GIB:g})",
    )
    parser.add_argument("--trust", action="store_true", help="run the code of module:function")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.set_defaults(command=_score)


def _names(text: str) -> list[str] | str:
    return "all" if text == "all" else [name.strip() for name in text.split(",")]


def _times(text: str) -> list[float]:
    try:
        return [float(time) for time in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected times as in 0,0.5,1; got {text!r}") from None


def _bound(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if not (equals and name):
            raise ValueError
        return name.strip(), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected METRIC=VALUE, as in w2=0.05; got {text!r}") from None


def _score(options: argparse.Namespace) -> int:
    from fvflow.studies.score import score

    found = score(
        options.prediction,
        options.against,
        metrics=options.metrics,
        times=options.times,
        labels=options.labels,
        role=options.role,
        samples=options.samples,
        draws=options.draws,
        seed=options.seed,
        bounds=dict(options.bound),
    )
    if options.json:
        print_json({"against": str(options.against), **found.json})
    else:
        print_table(f"{options.prediction} against {options.against}: {found.size}", found.rows())
        for name, reason in found.left_out.items():
            say(f"fvflow: {name} is left out: it {reason}")
    for missed in found.missed:
        say(f"fvflow: {missed.sentence}")
    return _EXIT_CHECK if found.missed else 0
