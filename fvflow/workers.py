"""The server process from which worker processes are forked; it imports what runs need while its owner goes on."""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PRELOADED = ["fvflow.studies.sweeps.processes", "fvflow.studies.sweeps.preloaded"]


def start_fork_server() -> Any:
    """Start it unless it runs; the context of `multiprocessing` that forks from it."""
    from multiprocessing import forkserver, get_context

    context = get_context("forkserver")
    with starting_workers():
        context.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()
    return context


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes that start in this block use one thread each, and do not import the script of their owner."""
    with _one_thread_each(), _without_main():
        yield


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The processes that start in this block use one thread, unless the user has set another number."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ.setdefault(name, "1")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start in this block do not import the caller's script, which would start the sweep again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
