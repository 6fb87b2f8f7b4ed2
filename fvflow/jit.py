"""Compiled loops, and their lines shared among the cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from fvflow.system import usable_cores

INTERPRETED_ITERATIONS = 2**17  # turns of a loop that take the interpreter a fifth of the time in which numba starts
MIN_PARALLEL_CELLS = 2**17  # cells from which handing work to another thread costs less than it saves


@cache
def compiled(function: Callable[..., Any], *liberties: str) -> Callable[..., Any]:
    """The function compiled by numba, kept on disk between runs; numba is imported when first needed.

    Liberties: with "contract" a product and the sum that takes it are rounded once, with "reassoc" sums are taken in
    the order that is fastest; neither is for differences that have to cancel.
    """
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(liberties)}
    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation without a home
        kernel = numba.njit(**options)(function)
    return kernel


class LazyJit:
    """A loop that is interpreted until such loops have turned 2^17 times in the process, and compiled from then on.

    So a small run does not wait for numba. The numbers are the same to the last bit: for loops whose sums a compiler
    leaves in their order.
    """

    left = INTERPRETED_ITERATIONS  # for all of them

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arrays: Any) -> Any:
        """The loop, whose turns are the entries of the first array."""
        expect_iterations(len(arrays[0]))
        if LazyJit.left < 0:
            return compiled(self._function)(*arrays)
        with np.errstate(all="ignore"):  # as compiled
            return self._function(*arrays)


def expect_iterations(turns: int) -> None:
    """Count turns of patient loops, so that they are compiled at once where many are to come."""
    LazyJit.left -= turns


@cache
def thread_limit() -> int:
    """The threads that may be used: NUMBA_NUM_THREADS or else OMP_NUM_THREADS, at most the cores of the process."""
    cores = usable_cores()
    for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0]
        if value.isdigit() and int(value) > 0:
            return min(int(value), cores)
    return cores


def parallel_for(task: Callable[[int, int], None], count: int, cells: int, block: int = 1) -> None:
    """task(begin, end) over 0..count, by one thread or, from 2^17 cells on, by all; begin is a multiple of `block`.

    The task is a compiled loop that lets go of the interpreter, and no two of its lines depend on one another: the
    result does not depend on the number of threads.
    """
    parts = min(thread_limit(), -(-count // block)) if cells >= MIN_PARALLEL_CELLS else 1
    if parts == 1:
        task(0, count)
        return
    marks = [block * (-(-count // block) * part // parts) for part in range(parts)] + [count]
    for done in [_pool(thread_limit()).submit(task, *pair) for pair in pairwise(marks)]:
        done.result()


@cache
def _pool(threads: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "fvflow")
