"""The command that tests a result against its equation in weak form."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.loading import load_case
from fvflow.cli.printing import print_json, print_table


def add_residual(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("residual", help="test a result, or densities of a model, against the equation")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a result, or a .nc or .npz with rho(time, [z, y,] x) and time"
    )
    parser.add_argument("--case", type=Path, metavar="CASE.yaml", help="the equation and the mesh of such densities")
    parser.add_argument(
        "--function",
        action="append",
        default=[],
        metavar="EXPRESSION",
        help="a test function of x, y, z in place of the usual ones; may be repeated",
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="a set of cells; may be repeated"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.set_defaults(command=_residual)


def _residual(options: argparse.Namespace) -> int:
    from fvflow.case import residual
    from fvflow.dataset import densities

    case = None if options.case is None else load_case(options.case, {})
    functions = {text: text for text in options.function} or None
    with densities(options.file) as ds:
        found = residual(ds, case=case, functions=functions, where=options.where)
    if options.json:
        print_json({"file": str(options.file), **found.json})
    else:
        print_table(f"{options.file}: largest residual of int phi rho, over mass and max |phi|", found.rows())
    return 0
