"""Sweeps from Python."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvflow.case import Case
from fvflow.case.case_file import read_text
from fvflow.case.document import Document, parse
from fvflow.case.overrides import as_text
from fvflow.dataset import read
from fvflow.errors import CaseError
from fvflow.studies.sweeps.executors import Executor, Serial
from fvflow.studies.sweeps.request import Request
from fvflow.studies.sweeps.sweep import Sweep
from fvflow.system import usable_cores

if TYPE_CHECKING:
    import xarray


def sweep(
    case: Case | str | os.PathLike[str],
    values: Mapping[str, Sequence[Any]] | None = None,
    *,
    zip: bool = False,
    draw: Mapping[str, str] | None = None,
    random: int | None = None,
    seed: int | None = None,
    fields: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    output: str | os.PathLike[str] | None = None,
    discard: bool = False,
    progress: Callable[[int, int], None] = lambda done, failed: None,
) -> xarray.Dataset:
    """Run a case for all combinations of values at dotted paths; the result has the paths as dimensions.

    `sweep("case.yaml", {"flow.epsilon": [0.1, 0.2], "mesh.cells": [[64], [128]]})` has the dimensions flow_epsilon and
    mesh_cells; with `zip` the first values make the first case, and so on, along `case`. `draw` and `random` add so
    many draws of distributions, `{"parameters.k": "uniform(0.5, 2)"}`, along `draw`. What is not given is taken from
    the section `sweep` of the case. Each figure of a run is a variable, and so is each diagnostic, NAME_over_time
    (..., time); a case that fails is told by `status`, `exit_code` and `error` and is nan in the others. With `fields`
    the frames are kept too, rho (..., time, x).

    Cases run in `workers` processes (default: one a core; 1: in this process), or on the Dask cluster of a
    `scheduler`. With `output` the result is written to NAME.nc, and a sweep that is stopped goes on with its finished
    cases, found in NAME.parts by their `case_hash`, when it is called again; otherwise it is in memory only. `discard`
    removes those of another sweep. `progress` is called with the numbers of cases that are finished and have failed.
    Raises CaseError if a case cannot be built, before any runs, and OutputError.
    """
    document, plan, kept = Request(
        lists={path: [as_text(value) for value in given] for path, given in (values or {}).items()},
        draws=dict(draw or {}),
        together=zip,
        random=random,
        seed=seed,
        fields=fields,
    ).plan(document_of(case))
    executor = executor_of(workers, scheduler)
    executor.prepare()
    whole = Sweep.of(document, plan, kept)
    if output is not None:
        whole.run(Path(output), executor, progress, discard=discard)
        return read(output)
    with tempfile.TemporaryDirectory(prefix="fvflow-") as folder:
        path = Path(folder) / "sweep.nc"
        whole.run(path, executor, progress)
        with read(path) as ds:
            return ds.load()


def document_of(case: Case | str | os.PathLike[str]) -> Document:
    """The document of a case, or of the file that holds it; raises CaseError or OutputError."""
    if isinstance(case, Case):
        return parse(case.text, "case" if case.document is None else case.document.name)
    return parse(read_text(case), os.fspath(case))


def executor_of(workers: int | None, scheduler: str | None) -> Executor:
    """What runs the cases; raises CaseError if that cannot be."""
    if scheduler is not None:
        from fvflow.studies.sweeps.dask_cluster import DaskCluster

        return DaskCluster(scheduler)
    count = usable_cores() if workers is None else workers
    if count < 1:
        raise CaseError(f"{count} workers; give a number of at least 1")
    if count == 1:
        return Serial()
    from fvflow.studies.sweeps.processes import Processes

    return Processes(count)
