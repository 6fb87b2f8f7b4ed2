"""The command that exports a result to the formats of other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.arguments import time_list
from fvflow.cli.printing import say

_FORMATS = ("vtu", "xdmf", "csv", "npz", "zarr", "well", "pdebench")


def add_export(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("export", help="export a result to the formats of other programs")
    parser.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    parser.add_argument("--to", choices=_FORMATS, required=True, help="the format")
    parser.add_argument("--at", type=time_list, metavar="TIMES", help="times, as in 0,0.5 (default: all)")
    parser.add_argument("--fields", metavar="NAMES", help="cell fields, as in rho,v_x (default: all)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="(default: the result's name)")
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from fvflow.studies import export

    fields = None if options.fields is None else options.fields.split(",")
    files = export(options.file, options.to, options.output, at=options.at, fields=fields)
    others = f" and {len(files) - 1} more" if len(files) > 2 else "".join(f" and {file}" for file in files[1:])
    say(f"wrote {files[0]}{others}")
    return 0
