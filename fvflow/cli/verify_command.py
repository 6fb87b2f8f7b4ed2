"""The command that refines a case and observes its order."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.cli.arguments import add_reading
from fvflow.cli.loading import load_case
from fvflow.cli.printing import print_columns, print_json, print_table, say
from fvflow.errors import FvflowError, OutputError

if TYPE_CHECKING:
    from fvflow.studies import Verification

_EXIT_MISSED = 6


def add_verify(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("verify", help="refine a case: errors, observed orders, and what remains")
    parser.add_argument("case", type=Path, nargs="?", metavar="CASE.yaml")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every case in a folder, one line each")
    parser.add_argument("--levels", type=int, default=4, help="number of levels (default: 4)")
    parser.add_argument(
        "--in",
        choices=("space", "time", "both"),
        default="both",
        dest="refine",
        help="what each level halves: the cells, the steps, or both (default)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="CPU time that a finer level may be expected to take; beyond it coarser ones are run (default: 60)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.csv", help="the table (default: CASE-verify.csv)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="neither progress nor table")
    add_reading(parser)
    parser.set_defaults(command=_verify, refuse=parser.error)


def _verify(options: argparse.Namespace) -> int:
    if (options.case is None) == (options.all is None):
        options.refuse("give either a case or --all FOLDER")
    return _one(options) if options.all is None else _every(options)


def _studied(options: argparse.Namespace, path: Path) -> Verification:
    from fvflow.studies import verify

    case = load_case(path, dict(options.overrides))

    def report(sentence: str) -> None:
        if not options.quiet:
            say(f"{path.name}: {sentence}")

    return verify(case, options.levels, options.refine, seconds=options.seconds, report=report)


def _one(options: argparse.Namespace) -> int:
    from fvflow import plot

    table = _table(options, options.case.stem)
    study = _studied(options, options.case)
    study.save_csv(table)
    plot.save_figure(study.figure(), table.with_suffix(".png"))
    if options.json:
        print_json({"case": str(options.case), "csv": str(table), **study.json})
    elif not options.quiet:
        _print_rows(study.title or options.case.stem, study.rows())
        left, rows = study.remaining, [("verdict", study.verdict)]
        rows.append(("remaining error", f"{left.estimate:.3g} ({left.sentence})"))
        for name, number in study.numbers.items():
            rows.append((name, f"{number.values[-1]:.8g}, remaining error {number.remaining.estimate:.2g}"))
        print_table("", [*rows, ("written", f"{table}, {table.with_suffix('.png').name}")])
    for remark in study.remarks:
        say(f"fvflow: {remark}")
    return _EXIT_MISSED if study.missed else 0


def _print_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the same columns."""
    names = [name.replace("_", " ") for name in rows[0]]
    print_columns(title, names, [list(row.values()) for row in rows])


def _table(options: argparse.Namespace, name: str) -> Path:
    """Where the table goes; raises OutputError for a name that is none of a table."""
    path: Path = Path(f"{name}-verify.csv") if options.output is None else options.output
    if path.suffix != ".csv":
        raise OutputError(f"{path}: the name of a table ends in .csv")
    return path


def _every(options: argparse.Namespace) -> int:
    """Verify every case in a folder; what cannot be verified is told and does not end it."""
    from fvflow.studies import write_csv

    files = sorted(options.all.glob("*.yaml"))
    if not files:
        raise OutputError(f"{options.all}: holds no case; give a folder of .yaml files")
    table, rows, missed, remarks = _table(options, "all"), [], False, {}
    for file in files:
        try:
            study = _studied(options, file)
        except FvflowError as error:
            rows.append({**_row(file), "verdict": str(error).partition("\n")[0]})
            continue
        missed = missed or study.missed
        rows.append({**_row(file, study), "verdict": study.verdict})
        remarks[file.name] = study.remarks if study.missed else []
    write_csv(table, rows)
    if options.json:
        print_json({"folder": str(options.all), "csv": str(table), "cases": rows, "missed": missed})
    elif not options.quiet:
        _print_rows(f"{options.all}: observed orders, refined in {options.refine}", rows)
    for name, sentences in remarks.items():
        for sentence in sentences:
            say(f"fvflow: {name}: {sentence}")
    return _EXIT_MISSED if missed else 0


def _row(file: Path, study: Verification | None = None) -> dict[str, Any]:
    """A row of the table of all cases."""
    if study is None:
        return dict.fromkeys(("case", "levels", "error", "order", "declared", "remaining")) | {"case": file.stem}
    errors = study.errors if study.by_error else study.differences
    return {
        "case": file.stem,
        "levels": len(study.levels),
        "error": errors[-1],
        "order": study.order,
        "declared": math.nan if study.declared is None else study.declared,
        "remaining": study.remaining.estimate,
    }
