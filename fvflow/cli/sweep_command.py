"""The command that runs a case for many values, and what it prints."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.cli.arguments import add_admission
from fvflow.cli.printing import print_json, say
from fvflow.cli.progress import counting_display
from fvflow.errors import OutputError
from fvflow.system import usable_cores
from fvflow.workers import start_fork_server

if TYPE_CHECKING:
    from fvflow.studies.sweeps.request import Request
    from fvflow.studies.sweeps.sweep import Sweep

_DRAW = re.compile(r"[A-Za-z_][\w.-]*=\s*[A-Za-z_][\w-]*\s*\(.*\)\s*", re.S)


def add_sweep(commands: Any, epilog: str) -> None:
    """Add the command to the subparsers of fvflow."""
    parser = commands.add_parser("sweep", help="run a case for many values; writes NAME-sweep.nc", epilog=epilog)
    parser.add_argument("case", type=Path, metavar="CASE.yaml", help="a case; its section sweep says what is not here")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUES",
        dest="values",
        help="values at a path, as in flow.epsilon=0.01,0.02 mesh.cells=[64],[128], geomspace(0.01,1,9);"
        " a single one is set in all cases; may be repeated, for all combinations",
    )
    parser.add_argument("--zip", action="store_true", help="take the first values together, then the second, ...")
    parser.add_argument("--random", type=int, metavar="N", help="draw so many values, as --draw says")
    parser.add_argument("--seed", type=int, metavar="S", help="seed of the draws (default: 0)")
    parser.add_argument(
        "--draw",
        action="append",
        default=[],
        metavar="PATH=DISTRIBUTION",
        help="what is drawn, as in parameters.k=uniform(0.5,2), also without the word --draw: uniform(low, high), "
        "loguniform(low, high), normal(mean, deviation), lognormal(mean, deviation), integer(low, high), choice(a, b)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.nc", help="the result (default: NAME-sweep.nc)")
    parser.add_argument("--fields", action="store_true", help="keep the frames of all cases, not their numbers only")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core; 1: in this one)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="run on the Dask cluster of this scheduler")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a table of all cases, one a line")
    parser.add_argument("--check", action="store_true", help="build all cases, tell number, time and size; run none")
    parser.add_argument("--discard", action="store_true", help="remove the cases that an earlier sweep has finished")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.add_argument("-q", "--quiet", action="store_true", help="neither progress nor table")
    add_admission(parser)
    parser.set_defaults(command=_sweep)


def with_draws(arguments: Sequence[str]) -> list[str]:
    """The arguments of a sweep, with distributions that stand alone given to --draw: argparse takes them for a case.

    >>> with_draws(["sweep", "c.yaml", "--random", "9", "k=uniform(0,1)", "--set", "a=max(x,1)"])
    ['sweep', 'c.yaml', '--random', '9', '--draw=k=uniform(0,1)', '--set', 'a=max(x,1)']
    """
    if "sweep" not in arguments[:2]:
        return list(arguments)
    before = ["", *arguments]
    return [
        f"--draw={argument}" if _DRAW.fullmatch(argument) and before[number] not in ("--set", "--draw") else argument
        for number, argument in enumerate(arguments)
    ]


def _sweep(options: argparse.Namespace) -> int:
    workers = usable_cores() if options.workers is None else options.workers
    if workers > 1 and not options.check and options.scheduler is None and options.case.exists():
        start_fork_server()  # before the imports below, which take as long as its own
    from fvflow.studies.sweeps.estimate import estimate
    from fvflow.studies.sweeps.run_sweep import document_of, executor_of
    from fvflow.studies.sweeps.sweep import Sweep

    path = _output(options)
    document, plan, fields = _request(options).plan(document_of(options.case))
    executor = executor_of(options.workers, options.scheduler)
    if not options.check:
        executor.prepare()
    sweep = Sweep.of(document, plan, fields)
    if not options.quiet or options.check:
        found = estimate(sweep.cases, fields)
        say(f"{plan.count} cases: {plan.describe()}; {found.describe(plan.count, executor.at_once)}, in {path}")
    return 0 if options.check else _run(options, sweep, path, executor)


def _run(options: argparse.Namespace, sweep: Sweep, path: Path, executor: Any) -> int:
    from fvflow.cli.sweep_summary import SweepSummary
    from fvflow.dataset.sweeps import SweepTable

    started = time.perf_counter()
    with counting_display(len(set(sweep.keys)), "cases", options.quiet) as show:
        sweep.run(path, executor, show, say, discard=options.discard)
    wall = time.perf_counter() - started
    summary = SweepSummary(SweepTable(path), path)
    if options.csv is not None:
        summary.write_csv(options.csv)
    if options.json:
        print_json({**summary.json, "wall_s": round(wall, 3)})
    elif not options.quiet:
        summary.print(wall)
    for sentence in summary.sentences():
        say(f"fvflow: {sentence}")
    return summary.exit_code


def _output(options: argparse.Namespace) -> Path:
    """Where the result goes; raises OutputError if that is the case."""
    name = options.case.stem
    default = Path(name + (".nc" if name.endswith("sweep") else "-sweep.nc"))
    path: Path = default if options.output is None else options.output
    for written in filter(None, (path, options.csv)):
        if written.name and written.resolve() == options.case.resolve():
            raise OutputError(f"{written}: the result would overwrite the case; use another name")
    return path


def _request(options: argparse.Namespace) -> Request:
    """What the options ask for; raises CaseError."""
    from fvflow.studies.sweeps.distributions import is_distribution
    from fvflow.studies.sweeps.request import Request
    from fvflow.studies.sweeps.value_lists import split_values

    lists, fixed, draws = dict[str, list[str]](), dict[str, str](), dict[str, str]()
    for number, text in enumerate([*options.values, *options.draw]):
        path, values = _halves(text, "--set" if number < len(options.values) else "--draw")
        if path in {**lists, **fixed, **draws}:
            raise _twice(path)
        parts = split_values(values)
        if number >= len(options.values) or (options.random is not None and is_distribution(values)):
            draws[path] = values.strip()
        elif len(parts) == 1 and not parts[0].startswith(("linspace(", "geomspace(")):
            fixed[path] = parts[0]
        else:
            lists[path] = parts
    return Request(lists, fixed, draws, options.zip, options.random, options.seed, options.fields)


def _halves(text: str, option: str) -> tuple[str, str]:
    from fvflow.errors import CaseError

    path, equals, values = text.partition("=")
    if not equals or not path.strip():
        raise CaseError(f"{option} {text}: expected PATH=VALUES, as in flow.epsilon=0.01,0.02")
    return path.strip(), values


def _twice(path: str) -> Exception:
    from fvflow.errors import CaseError

    return CaseError(f"--set {path}: is given twice; give its values in one list, as in {path}=1,2")
