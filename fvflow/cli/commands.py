"""The verbs of the command line. Results go to stdout, progress and messages to stderr."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import fvflow
from fvflow.cli.progress import progress, say
from fvflow.cli.reading import read
from fvflow.cli.signals import Signals, Stopped
from fvflow.errors import FvflowError, NumericsError, OutputError

if TYPE_CHECKING:
    from fvflow.case import Case, Simulation
    from fvflow.problems import State

EXIT_BUG, EXIT_CHECK = 1, 6
_EXITS = "exit codes: 0 ok, 1 bug, 2 usage, 3 bad case, 4 numerics, 5 input/output, 6 a check missed, 130/143 stopped"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    options.signals = Signals()
    sys.exit(_guarded(options))


def _guarded(options: argparse.Namespace) -> int:
    """The verb's exit code, whatever happens in it."""
    try:
        code: int = options.verb(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except FvflowError as error:
        _tell(str(error), error)
        return error.exit_code
    except Stopped as stop:
        _tell("fvflow: " + ("interrupted" if stop.number == signal.SIGINT else "terminated"), stop)
        return 128 + stop.number
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; say no more
        return 0
    except OSError as error:
        _tell(f"fvflow: output failed ({error.strerror})", error)
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OutputError.exit_code
    except MemoryError as error:
        _tell("fvflow: not enough memory; use fewer cells, or solver krylov", error)
        return NumericsError.exit_code
    except Exception as error:
        if options.debug:
            raise
        _tell(f"fvflow: internal error: {type(error).__name__}: {error}\nThis is a bug; --debug shows where.", error)
        return EXIT_BUG


def _tell(text: str, error: BaseException) -> None:
    """The error and what was noted on its way up."""
    for line in (text, *(f"fvflow: {note}" for note in getattr(error, "__notes__", ()))):
        say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fvflow", description=fvflow.__doc__.splitlines()[0], epilog=_EXITS)
    parser.add_argument("--version", action="version", version=f"fvflow {fvflow.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an internal error")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    run = verbs.add_parser("run", help="run a case; writes NAME.nc and NAME.xmf2", epilog=_EXITS)
    _add_case(run)
    run.add_argument("-o", "--output", type=Path, metavar="FILE.nc", help="the result (default: the case's name, here)")
    run.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    run.add_argument("-q", "--quiet", action="store_true", help="neither progress nor table")
    run.set_defaults(verb=_run)

    check = verbs.add_parser("check", help="validate a case and say what it would do, without running it")
    _add_case(check)
    check.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    check.set_defaults(verb=_check)

    new = verbs.add_parser("new", help="write a commented case to start from")
    new.add_argument("file", type=Path, nargs="?", default=Path("case.yaml"), help="default: case.yaml")
    new.set_defaults(verb=_new)

    info = verbs.add_parser("info", help="summarise a result")
    info.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    info.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    info.set_defaults(verb=_info)

    plot = verbs.add_parser("plot", help="draw a result: a field at some times, and its ledger")
    plot.add_argument("file", type=Path, metavar="FILE.nc", help="a result, or the .parts of a run cut short")
    plot.add_argument("-o", "--output", type=Path, metavar="PICTURE", help=".png (beside the result), .pdf, .svg, .gif")
    plot.add_argument("--field", default="rho", help="the field to draw (default: rho)")
    plot.set_defaults(verb=_plot)

    schema = verbs.add_parser("schema", help="the JSON schema of case files, for editors")
    schema.set_defaults(verb=_schema)
    return parser


def _add_case(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("case", type=Path, metavar="CASE.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="PATH=VALUE",
        dest="overrides",
        help="set a value of the case, as in flow.epsilon=0.02; may be repeated",
    )


def _setting(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"expected PATH=VALUE, got {text!r}")
    return path.strip(), value


# run


def _run(options: argparse.Namespace) -> int:
    case = read(options.case, dict(options.overrides))
    path = Path(options.case.stem + ".nc") if options.output is None else options.output
    if path.name and options.case.resolve() in (path.resolve(), path.with_suffix(".xmf2").resolve()):
        raise OutputError(f"{path}: the result would overwrite the case; use another name")
    started = time.perf_counter()
    prepared = case.prepare()
    signals: Signals = options.signals
    with progress(prepared.times.stop, options.quiet) as show, signals.deferred():

        def after_step(state: State) -> None:
            signals.check(state)
            show(state)

        figures = case.write(path, after_step, prepared)
    for sentence in _remarks(figures):
        say(f"fvflow: {sentence}")
    missed = case.checks.missed(figures)
    wall = time.perf_counter() - started
    if options.json:
        shown = {"output": str(path), **figures, "wall_s": round(wall, 3), "checks_missed": missed}
        print(json.dumps(_finite(shown)))
    elif not options.quiet:
        _print_run(case, prepared, path, figures, wall, missed)
    for sentence in missed:
        say(f"fvflow: {sentence}")
    return EXIT_CHECK if missed else 0


def _remarks(figures: Mapping[str, Any]) -> list[str]:
    """What a user has to know of a run that ended well."""
    remarks = []
    if figures.get("fallbacks"):
        remarks.append(f"{figures['fallbacks']} of {figures['steps']} steps were left to ljko, of first order")
    if figures.get("converged") == 0:
        remarks.append(f"the solver stopped at the residual {figures['residual']:.1e}; accepted, as the case says")
    if figures.get("gap_error", 0) > 0.01:
        remarks.append(f"the spectral gap is beneath round-off: it may be off by {figures['gap_error']:.1e}, relative")
    return remarks


def _print_run(
    case: Case, prepared: Simulation, path: Path, figures: Mapping[str, Any], wall: float, missed: Sequence[str]
) -> None:
    bounds = {name: bound for name, bound in vars(case.checks).items() if bound is not None}
    count = prepared.times.saves + 1
    frames = f"{count} frames" if count > 1 else "1 frame"
    rows = [("result", f"{path} (+ {path.with_suffix('.xmf2').name} for ParaView), {frames}")]
    steps = f"{figures['steps']} to t = {figures['time']:g}" if count > 1 else "none"
    rows += [("steps", f"{steps} in {wall:.2f} s")]
    rows += [("positivity", prepared.positivity())]
    for name, value in figures.items():
        if name in ("steps", "time") or (name in ("iterations", "halvings", "fallbacks") and value == 0):
            continue
        verdict = "" if name not in bounds else "  missed" if any(f" {name} " in m for m in missed) else "  ok"
        bound = f"  (allowed {bounds[name]:g}){verdict}" if name in bounds else ""
        rows.append((name.replace("_", " "), f"{value:.6g}{bound}"))
    _table(case.title or path.stem, rows)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    if sys.stdout is None:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    width = None if sys.stdout.isatty() else 120
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


# check, new, info, schema


def _check(options: argparse.Namespace) -> int:
    case = read(options.case, dict(options.overrides))
    report = case.check()
    if options.json:
        print(json.dumps(_finite(report)))
    else:
        _table(
            f"{options.case}: {case.title or 'a valid case'}", [(name, str(value)) for name, value in report.items()]
        )
    return 0


def _new(options: argparse.Namespace) -> int:
    text = (Path(fvflow.__file__).parent / "case" / "starter.yaml").read_text(encoding="utf-8")
    try:
        with open(options.file, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise OutputError(f"{options.file}: exists already; give another name") from None
    except OSError as error:
        raise OutputError(f"{options.file}: cannot be written ({error.strerror})") from None
    say(f"wrote {options.file}; run it with: fvflow run {options.file}")
    return 0


def _info(options: argparse.Namespace) -> int:
    ds = fvflow.read(options.file)
    attributes = {name: _plain(value) for name, value in ds.attrs.items() if name not in ("case", "resolved_case")}
    sizes = {str(name): size for name, size in ds.sizes.items() if name in ("time", *ds["rho"].dims)}
    ledger = {str(name): _plain(ds[name].values[-1]) for name in ds if ds[name].dims == ("time",) and ds.sizes["time"]}
    times = ds["time"].values
    span = [float(times[0]), float(times[-1])] if len(times) else []
    if options.json:
        print(
            json.dumps(_finite({"file": str(options.file), "sizes": sizes, "times": span, **attributes, "end": ledger}))
        )
        return 0
    rows = [("file", str(options.file)), ("size", ", ".join(f"{size} {name}" for name, size in sizes.items()))]
    rows += [("times", f"{span[0]:g} to {span[1]:g}")] if span else []
    rows += [(name.replace("_", " "), _shown(value)) for name, value in attributes.items() if name != "title"]
    rows += [(f"{name.replace('_', ' ')} at the end", _shown(value)) for name, value in ledger.items()]
    _table(str(attributes.get("title", "")), rows)
    return 0


def _plot(options: argparse.Namespace) -> int:
    from fvflow import plot

    path = options.file.with_suffix(".png") if options.output is None else options.output
    plot.save(fvflow.read(options.file), path, options.field)
    say(f"wrote {path}")
    return 0


def _schema(options: argparse.Namespace) -> int:
    from fvflow.case import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


def _plain(value: Any) -> Any:
    """numpy scalars as Python numbers."""
    return value.item() if hasattr(value, "item") else value


def _shown(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """The value for JSON, which has no infinities: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value
