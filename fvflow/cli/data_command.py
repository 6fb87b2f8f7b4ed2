"""The command that makes data sets of many runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from fvflow.cli.arguments import add_reading
from fvflow.cli.loading import load_case
from fvflow.cli.printing import print_json, print_table, say
from fvflow.errors import OutputError

_LAYOUTS = ("netcdf", "well", "pdebench", "npz", "zarr")
_LINE = 10.0  # seconds between lines of progress


def add_data(commands: Any) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("data", help="make a data set of many runs, drawn by the section draw of a case")
    parser.add_argument("case", type=Path, metavar="FAMILY.yaml", help="a case with a section draw")
    parser.add_argument("-n", "--samples", type=int, default=100, metavar="N", help="how many runs (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    parser.add_argument("--format", choices=_LAYOUTS, default="netcdf", dest="layout", help="default: netcdf")
    parser.add_argument(
        "--split", metavar="8:1:1", help="files for training, validation and test, or 9:1 without the second"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the data set (default: the case's name, here)"
    )
    parser.add_argument("--threads", type=int, metavar="K", help="how many (default: as many as cores)")
    parser.add_argument("--discard", action="store_true", help="remove the samples of another family that are there")
    parser.add_argument("--sample", type=int, metavar="I", help="print the case of a sample, for fvflow run, and end")
    add_reading(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="neither progress nor table")
    parser.set_defaults(command=_data)


def _data(options: argparse.Namespace) -> int:
    from fvflow.studies.data import DataSet, sample_case
    from fvflow.studies.formats import WRITERS

    case = load_case(options.case, dict(options.overrides))
    for name in ("seed", "threads"):
        if (value := getattr(options, name)) is not None and value < (name == "threads"):
            raise OutputError(
                f"--{name} {value}: expected a whole number, {'at least 1' if name == 'threads' else '>= 0'}"
            )
    if options.sample is not None:
        print(sample_case(case, options.sample, options.seed).text, end="")
        return 0
    started = time.perf_counter()
    path = options.output or Path(options.case.stem + WRITERS[options.layout].endings[0])
    wanted = {"seed": options.seed, "layout": options.layout, "split": options.split}
    data = DataSet(case, path, options.samples, **wanted)
    for file, _ in data.files:
        if file.exists():
            say(f"fvflow: {file}: takes the place of an older one")
    try:
        figures = data.write(options.threads, _Progress(options.quiet), discard=options.discard)
    except BaseException as error:
        if data.folder.is_dir():
            error.add_note(f"the samples so far are in {data.folder}; the same command goes on from there")
        raise
    wall = time.perf_counter() - started
    files = [str(file) for file, _ in data.files]
    if options.json:
        print_json({"files": files, "samples": data.count, "seed": data.seed, **figures, "wall_s": round(wall, 3)})
    elif not options.quiet:
        rows = [("samples", f"{data.count}, seed {data.seed}, in {wall:.2f} s")]
        rows += [(name.replace("_", " "), f"{value:g}") for name, value in figures.items()]
        rows += [("file", f"{file}, samples {part.start} to {part.stop - 1}") for file, part in data.files]
        print_table(case.title or options.case.stem, rows)
    return 0


class _Progress:
    """Says every ten seconds how many samples there are."""

    def __init__(self, quiet: bool) -> None:
        self._quiet, self._due, self._first = quiet, time.monotonic() + _LINE, -1

    def __call__(self, done: int, count: int) -> None:
        """Take note of the samples that are there."""
        if self._first < 0:
            self._first = done
            if done and not self._quiet:
                say(f"fvflow: {done} of {count} samples are there from before")
        now = time.monotonic()
        if now >= self._due and not self._quiet:
            self._due = now + _LINE
            say(f"{done} of {count} samples ({done / count:.0%})")
