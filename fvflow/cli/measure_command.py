"""The command that measures a result as a curve of densities."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fvflow.cli.loading import load_case
from fvflow.cli.printing import print_json, print_table

_PARTS = {"speed": "of each interval", "length": "of the whole curve", "action": "and the bound of W2 it gives"}


def add_measure(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("measure", help="metric speed, length and action of a result, or of your own curve")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="a result, or a .nc or .npz with rho(time, [z, y,] x), time and, for a momentum of your own, flux_mean or "
        "m_x, m_y, m_z on the faces",
    )
    parser.add_argument("--case", type=Path, metavar="CASE.yaml", help="the mesh of such densities")
    for part, what in _PARTS.items():
        parser.add_argument(f"--{part}", action="store_true", help=f"only the {part} {what}; may be combined")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, with everything")
    parser.set_defaults(command=_measure)


def _measure(options: argparse.Namespace) -> int:
    from fvflow.case import measure
    from fvflow.dataset import densities

    case = None if options.case is None else load_case(options.case, {})
    with densities(options.file) as ds:
        found = measure(ds, case=case)
    if options.json:
        print_json({"file": str(options.file), **found.json})
    else:
        parts = [part for part in _PARTS if getattr(options, part)] or list(_PARTS)
        print_table(f"{options.file}: the densities as a curve under W2", found.rows(parts))
    return 0
