"""Loops over independent lines, shared among the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

PAYS = 2**17  # cells from which handing work to another thread costs less than it saves


@cache
def limit() -> int:
    """The threads that may be used: NUMBA_NUM_THREADS or else OMP_NUM_THREADS, at most the cores of the process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0]
        if value.isdigit() and int(value) > 0:
            return min(int(value), cores)
    return cores


def shared(task: Callable[[int, int], None], count: int, cells: int, block: int = 1) -> None:
    """task(begin, end) over 0..count, by one thread or, from 2^17 cells on, by all; begin is a multiple of `block`.

    The task is a compiled loop that lets go of the interpreter, and no two of its lines depend on one another: the
    result does not depend on the number of threads.
    """
    parts = min(limit(), -(-count // block)) if cells >= PAYS else 1
    if parts == 1:
        task(0, count)
        return
    marks = [block * (-(-count // block) * part // parts) for part in range(parts)] + [count]
    for done in [_pool(limit()).submit(task, *pair) for pair in pairwise(marks)]:
        done.result()


@cache
def _pool(threads: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "fvflow")
