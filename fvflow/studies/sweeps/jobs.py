"""One case of a sweep: what is to be done, who recognises it, and doing it in whatever process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.case import Case
from fvflow.case.checkpoints import by_content
from fvflow.case.checks import asking_for_sides
from fvflow.case.recording import compare
from fvflow.dataset import Layout, Memory
from fvflow.errors import FvflowError, NumericsError, OutputError
from fvflow.input_files import Admission, admitting
from fvflow.studies.sweeps.folder import Folder
from fvflow.studies.sweeps.outcome import Entry, Outcome, Role, encoded
from fvflow.studies.sweeps.part_files import write_part
from fvflow.version import __version__

if TYPE_CHECKING:
    from fvflow.mesh import Array

LARGE = 64 * 2**20
"""Bytes of an outcome from which its worker writes the file itself, if it sees the directory."""
_NOT_COMPUTED_FROM = ("title", "sweep", "draw")  # keys of a case that its numbers do not depend on
_CHECK = 6


@dataclass(frozen=True)
class Job:
    """A case that is to be run."""

    key: str
    case: Case
    fields: bool = False
    """Whether its frames are wanted."""
    admission: Admission = field(default_factory=Admission)
    source: Folder | None = None
    """The folder of the case."""
    folder: Path | None = None
    """Where a worker that sees it puts an outcome that is large."""
    mark: str = ""
    """What a file in that directory says, if it is the right one."""


def case_hash(case: Case, fields: bool) -> str:
    """What a case is recognised by: the hash of all that its outcome depends on, as hexadecimal digits.

    These are the version, the values of the case without its title, the contents of the files that it reads, and
    whether its frames are kept. Raises OutputError if a file cannot be read.
    """
    return hash_of_values(case.values, case.files, fields)


def hash_of_values(values: Mapping[str, Any], files: Sequence[str], fields: bool) -> str:
    """`case_hash` of the plain values of a case, and the files that it reads."""
    own = {name: value for name, value in values.items() if name not in _NOT_COMPUTED_FROM}
    content = [__version__, by_content(own, files), fields]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_job(job: Job) -> bytes:
    """The outcome of a case, encoded; what a run raises is in it, but for what stops a process.

    Libraries of linear algebra use one thread, as their sums depend on the number.
    """
    try:
        with admitting(job.admission), _one_thread():
            outcome = _outcome(job)
    except FvflowError as error:
        text = str(error) if job.source is None else job.source.told(str(error))
        outcome = Outcome(job.key, error.exit_code, text, final=not isinstance(error, OutputError))
    except MemoryError:
        text = "not enough memory; use fewer cells, fewer workers, or solver krylov"
        outcome = Outcome(job.key, NumericsError.exit_code, text, final=False)
    except Exception as error:
        text = f"internal error: {type(error).__name__}: {error}; this is a bug: fvflow --debug run shows where"
        outcome = Outcome(job.key, 1, text)
    blob = encoded(outcome)
    if len(blob) >= LARGE and job.folder is not None and write_part(job.folder, job.mark, job.key, blob):
        return encoded(Outcome(job.key, elsewhere=True))
    return blob


@cache
def _libraries() -> Any:
    import scipy.linalg  # noqa: F401 (its own BLAS is then among those that are found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def _one_thread() -> Iterator[None]:
    with _libraries().limit(limits=1, user_api="blas"):
        yield


def _outcome(job: Job) -> Outcome:
    """Run a case and keep what is asked for."""
    case = job.case
    simulation = case.prepare()
    layout = simulation.layout()
    compares = bool(asking_for_sides(case.checks, case.output))
    memory, frames = Memory(layout, {}), []
    for frame in simulation.frames():
        frames.append(_kept(layout.values(frame), job.fields))
        if compares:
            memory.append(frame)
    if compares:
        compare(simulation, memory.close({}, {}), lambda text, name: case)
    figures, entries = simulation.figures(), _entries(layout, frames, job.fields)
    missed = case.checks.missed(figures)
    figures = {name: value for name, value in figures.items() if name != "time"} | _at_the_end(entries, figures)
    return Outcome(
        job.key,
        _CHECK if missed else 0,
        "; ".join(check.sentence for check in missed),
        "\n".join(simulation.remarks()),
        figures=figures,
        entries=entries,
    )


def _kept(values: dict[str, Array], fields: bool) -> dict[str, Array]:
    return values if fields else {path: value for path, value in values.items() if _is_series(path)}


def _is_series(path: str) -> bool:
    return path == "time" or path.startswith("diagnostics/")


def _entries(layout: Layout, frames: list[dict[str, Array]], fields: bool) -> dict[str, Entry]:
    """The arrays of a run by name, those of the mesh only with its fields."""
    found = {}
    for group, content in layout.groups.items():
        for name, variable in content.variables.items():
            path = f"{group}/{name}".removeprefix("/")
            if variable.values is not None:
                if fields and group != "diagnostics":
                    attributes = {**variable.attributes, **({} if variable.fill is None else {"fill": variable.fill})}
                    found[name] = Entry("mesh", variable.dims, attributes, np.asarray(variable.values, variable.dtype))
            elif fields or _is_series(path):
                values = np.array([frame[path] for frame in frames], variable.dtype)
                role: Role = "series" if _is_series(path) else "frame"
                found[name] = Entry(role, variable.dims, variable.attributes, values)
    return found


def _at_the_end(entries: dict[str, Entry], figures: dict[str, Any]) -> dict[str, float]:
    """The last value of each number over time that is no figure of the run."""
    return {
        name: float(entry.values[-1])
        for name, entry in entries.items()
        if entry.role == "series" and entry.dims == ("time",) and name != "time" and name not in figures
    }
