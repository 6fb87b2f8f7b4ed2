"""The commands of fvflow. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fvflow
from fvflow.cli.arguments import add_case, add_output, add_reading, with_negative_values
from fvflow.cli.cite_command import add_cite
from fvflow.cli.compare_command import add_compare
from fvflow.cli.data_command import add_data
from fvflow.cli.distance_command import add_distance
from fvflow.cli.export_command import add_export
from fvflow.cli.loading import load_case
from fvflow.cli.measure_command import add_measure
from fvflow.cli.plot_command import add_plot
from fvflow.cli.point_commands import add_point_commands
from fvflow.cli.printing import print_json, print_table, say
from fvflow.cli.progress import progress_display, work_lines
from fvflow.cli.residual_command import add_residual
from fvflow.cli.score_command import add_score
from fvflow.cli.several_ranks import SeveralRanks, require_same_case, someone_else_tells
from fvflow.cli.signals import Signals, Stopped
from fvflow.cli.summaries import Summary, run_rows
from fvflow.cli.sweep_command import add_sweep, with_draws
from fvflow.cli.verify_command import add_verify
from fvflow.errors import FvflowError, NumericsError, OutputError
from fvflow.input_files import Admission, admitting
from fvflow.interruptible import threads_left_working
from fvflow.long_work import showing

if TYPE_CHECKING:
    from fvflow.case import Case
    from fvflow.dataset import Tree

EXIT_BUG, EXIT_CHECK = 1, 6
_EXITS = "exit codes: 0 ok, 1 bug, 2 usage, 3 bad case, 4 numerics, 5 input/output, 6 a check missed, 130/143 stopped"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    several = SeveralRanks()
    given = with_draws(with_negative_values(sys.argv[1:] if arguments is None else arguments))
    options = _parser().parse_args(given)
    options.signals, options.several = Signals(), several
    code = _guarded(options)
    options.signals.leave()
    several.leave(code)
    if threads_left_working():  # in compiled code, which a shutdown in order would wait for
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        os._exit(code)
    sys.exit(code)


def _guarded(options: argparse.Namespace) -> int:
    """The exit code of the command, whatever happens in it."""
    try:
        options.several.require(options)
        shown = nullcontext() if getattr(options, "quiet", False) else showing(work_lines)
        with admitting(Admission(options.largest, options.trust)), shown:
            code: int = options.command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except FvflowError as error:
        _report_error(error, *error.args)
        return error.exit_code
    except Stopped as stop:
        _report_error(stop, "fvflow: " + ("interrupted" if stop.number == signal.SIGINT else "terminated"))
        return 128 + stop.number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; discard the rest
        return 0
    except OSError as error:
        _report_error(error, f"fvflow: output failed ({error.strerror})")
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OutputError.exit_code
    except MemoryError as error:
        _report_error(error, "fvflow: not enough memory; use fewer cells, or solver krylov")
        return NumericsError.exit_code
    except Exception as error:
        if options.debug:
            raise
        bug = f"fvflow: internal error: {type(error).__name__}: {error}"
        _report_error(error, bug, "This is a bug; --debug shows where.")
        return EXIT_BUG


def _report_error(error: BaseException, *lines: str) -> None:
    """Print the lines and the notes of an error."""
    if not someone_else_tells():
        for line in (*lines, *(f"fvflow: {note}" for note in getattr(error, "__notes__", ()))):
            say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fvflow", description=fvflow.__doc__.splitlines()[0], epilog=_EXITS)
    parser.add_argument("--version", action="version", version=f"fvflow {fvflow.__version__}")
    parser.set_defaults(largest=Admission.largest, trust=False, on_ranks=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an internal error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run a case; writes NAME.nc and NAME.xmf2", epilog=_EXITS)
    add_case(run)
    add_output(run)
    run.add_argument("--keep", action="store_true", help="refuse to replace an old result (exit code 5)")
    run.add_argument("--discard", action="store_true", help="remove the frames of an unfinished run that are there")
    run.set_defaults(command=_run, on_ranks=True)

    resume = commands.add_parser("resume", help="go on with a run that was stopped, or beyond its end", epilog=_EXITS)
    resume.add_argument("file", type=Path, metavar="FILE", help="NAME.parts, NAME.nc, or the CASE.yaml of the run")
    resume.add_argument("--until", type=float, metavar="TIME", help="a later end")
    add_reading(resume)
    add_output(resume)
    resume.set_defaults(command=_resume, on_ranks=True)

    add_sweep(commands, _EXITS)

    check = commands.add_parser("check", help="validate a case and report what it would do, without running it")
    add_case(check)
    check.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    check.set_defaults(command=_check, on_ranks=True)

    new = commands.add_parser("new", help="write a commented case to start from")
    new.add_argument("file", type=Path, nargs="?", default=Path("case.yaml"), help="default: case.yaml")
    new.set_defaults(command=_new)

    info = commands.add_parser("info", help="summarise a result")
    info.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    info.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    info.set_defaults(command=_info)

    add_plot(commands)
    add_residual(commands)
    add_distance(commands)
    add_compare(commands)
    add_export(commands)
    add_measure(commands)
    add_data(commands)
    add_point_commands(commands)
    add_verify(commands)
    add_cite(commands)
    add_score(commands)

    xmf = commands.add_parser("xmf", help="write the .xmf2 of a result that was renamed, moved or lost it")
    xmf.add_argument("file", type=Path, metavar="FILE.nc", help="the result; NAME.xmf2 is written beside it")
    xmf.set_defaults(command=_xmf)

    schema = commands.add_parser("schema", help="the JSON schema of case files, for editors")
    schema.set_defaults(command=_schema)
    return parser


# run


def _run(options: argparse.Namespace) -> int:
    from fvflow.parallel import begin

    begin()
    case = load_case(options.case, dict(options.overrides))
    require_same_case(case)
    path = Path(options.case.stem + ".nc") if options.output is None else options.output
    if path.name and options.case.resolve() in (path.resolve(), path.with_suffix(".xmf2").resolve()):
        raise OutputError(f"{path}: the result would overwrite the case; use another name")
    if options.keep:
        from fvflow.dataset import require_nothing_replaced

        require_nothing_replaced(path)
    return _written(options, case, path, discard=options.discard)


def _resume(options: argparse.Namespace) -> int:
    from fvflow.case import shared_continuation
    from fvflow.parallel import begin

    begin()
    how = {"output": options.output, "overrides": dict(options.overrides)}
    with shared_continuation(options.file, options.until, **how) as found:
        if found.note:
            say(f"fvflow: {found.note}")
        return _written(options, found.case, found.path, checkpoint=found.checkpoint, lock=found.lock)


def _written(options: argparse.Namespace, case: Case, path: Path, *, checkpoint: Tree | None = None, **how: Any) -> int:
    """Run a case into a file, from a checkpoint if there is one, and say how it went."""
    from fvflow.march import Watchers

    started = time.perf_counter()
    simulation = case.prepare()
    signals: Signals = options.signals
    with progress_display(simulation.initial.time, simulation.times.stop, options.quiet) as display, signals.deferred():
        figures = case.write(path, Watchers(signals, display), simulation, say, checkpoint=checkpoint, **how)
    for sentence in simulation.remarks():
        say(f"fvflow: {sentence}")
    missed = case.checks.missed(figures)
    before = None if checkpoint is None else int(checkpoint["state"]["step"])
    wall = time.perf_counter() - started
    if options.json:
        result = {"output": str(path), **figures, "wall_s": round(wall, 3)}
        result |= {} if before is None else {"steps_since_resume": figures["steps"] - before}
        print_json({**result, "remarks": simulation.remarks(), "checks_missed": [check.sentence for check in missed]})
    elif not options.quiet:
        rows = run_rows(case, simulation, path, figures, wall, missed, before)
        print_table(case.title or path.stem, list(rows))
    for check in missed:
        say(f"fvflow: {check.sentence}")
    return EXIT_CHECK if missed else 0


# check, new, info, xmf, schema


def _check(options: argparse.Namespace) -> int:
    if options.several.rank > 0:  # nothing is run: one process tells it all
        return 0
    case = load_case(options.case, dict(options.overrides))
    report = case.check(ranks=options.several.size)
    if options.json:
        print_json(report)
    else:
        rows = [(name, str(value)) for name, value in report.items()]
        print_table(f"{options.case}: {case.title or 'a valid case'}", rows)
    return 0


def _new(options: argparse.Namespace) -> int:
    from fvflow.case.starter import starter

    try:
        with open(options.file, "x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError:
        raise OutputError(f"{options.file}: exists already; give another name") from None
    except OSError as error:
        raise OutputError(f"{options.file}: cannot be written ({error.strerror})") from None
    say(f"wrote {options.file}; run it with: fvflow run {options.file}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from fvflow.cli.sweep_summary import SweepSummary
    from fvflow.dataset import opened
    from fvflow.dataset.sweeps import is_sweep

    if (unfinished := SweepSummary.unfinished(options.file)) is not None:
        return unfinished.tell(options.json)
    with opened(options.file, sweeps=True) as ds:
        if is_sweep(ds):
            return SweepSummary(ds, options.file).tell(options.json)
        summary = Summary(ds, options.file)
    if options.json:
        print_json(summary.json)
    else:
        print_table(summary.title, list(summary.rows()))
    return 0


def _xmf(options: argparse.Namespace) -> int:
    from fvflow import paraview

    say(f"wrote {paraview.rewrite(options.file)}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from fvflow.case import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
