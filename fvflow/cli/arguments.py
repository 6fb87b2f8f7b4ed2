"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvflow.input_files import GIB, Admission

_NEGATIVE, _OPTION = re.compile(r"-\.?\d"), re.compile(r"--[a-z][a-z-]*")


def add_case(parser: argparse.ArgumentParser) -> None:
    """Add the case that a command is given, and how it is read."""
    parser.add_argument("case", type=Path, metavar="CASE.yaml")
    add_reading(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add where a result goes and what is printed."""
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.nc", help="the result (default: the case's name, here)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="neither progress nor table")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add what changes a case, and what may be read."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="PATH=VALUE",
        dest="overrides",
        help="set a value of the case, as in flow.epsilon=0.02; may be repeated",
    )
    add_admission(parser)


def add_admission(parser: argparse.ArgumentParser) -> None:
    """Add what may be read."""
    parser.add_argument(
        "--largest",
        type=_gibibytes,
        metavar="GIB",
        default=Admission.largest,
        help=f"most GiB of a mesh, table or sample file that is read (default: {Admission.largest / GIB:g})",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="run a .geo as gmsh does, which lets it run programs, read and write files",
    )


def _setting(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"expected PATH=VALUE, got {text!r}")
    return path.strip(), value


def _gibibytes(text: str) -> int:
    """A size in bytes from one in GiB."""
    try:
        size = float(text) * GIB
        if not 0 < size < 2**63:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of GiB > 0, got {text!r}") from None
    return round(size)


def with_negative_values(arguments: Sequence[str]) -> list[str]:
    """The arguments, with values that begin with a minus sign joined to their options: argparse takes them for options.

    >>> with_negative_values(["plot", "r.nc", "--frames", "-1,0", "--", "-1"])
    ['plot', 'r.nc', '--frames=-1,0', '--', '-1']
    """
    joined: list[str] = []
    for argument in arguments:
        if _NEGATIVE.match(argument) and joined and _OPTION.fullmatch(joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def frames_or_times(text: str) -> dict[str, Any]:
    """The number of frames or the times that a picture is to show, as arguments of `plot.save`."""
    try:
        return {"frames": int(text)} if text.isdecimal() else {"times": [float(time) for time in text.split(",")]}
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number of frames, or times as in 0,0.5,1; got {text!r}") from None


def time_list(text: str) -> list[float]:
    """Times that are separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected times as in 0,0.5,1; got {text!r}") from None
