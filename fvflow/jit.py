"""Compiled loops (`kernel`), and the distribution of their work over threads (`parallel_for`).

Every compiled loop of fvflow is a module-level function under the decorator `kernel`:

    @kernel(fastmath={"contract"})
    def axpy(a: Any, x: Any, y: Any) -> None: ...

numba is imported and the function compiled when a kernel is first called, never at import. Kernels may call each other.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection
from functools import cache, update_wrapper
from itertools import pairwise
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np

from fvflow.parallel import world
from fvflow.system import usable_cores

INTERPRETED_ITERATIONS = 2**19  # the interpreter runs them in a quarter of the time in which numba starts
MIN_PARALLEL_CELLS = 2**17  # cells from which handing work to another thread costs less than it saves

R = TypeVar("R")
_COMPILING = threading.Lock()


class IterationBudget:
    """Loop iterations that kernels may still run in the interpreter before they are compiled."""

    def __init__(self, left: int = INTERPRETED_ITERATIONS) -> None:
        self.left = left

    @property
    def exhausted(self) -> bool:
        """Whether kernels that share this budget are to be compiled."""
        return self.left < 0

    def spend(self, iterations: int) -> None:
        """Count iterations that were run, or are about to be."""
        self.left -= iterations


INTERPRETER_BUDGET = IterationBudget()  # shared by all kernels of the process that start in the interpreter


def expect_iterations(iterations: int) -> None:
    """Announce iterations to come, so that a long run compiles its kernels at once."""
    INTERPRETER_BUDGET.spend(iterations)


class Kernel(Generic[R]):
    """A compiled loop; `py_func` is the plain function, `dispatcher` what numba makes of it.

    With a `budget` the kernel is interpreted until the budget is exhausted, so that a small run does not wait for
    numba; the entries of the first argument count as the iterations of one call. Results must not depend on it: this
    is for loops that do not write to their arguments, whose sums a compiler leaves in their order, and in which a
    division by 0 gives inf or nan. Vectors of floats may come as lists, and results that are lists become arrays.
    """

    def __init__(self, function: Callable[..., R], options: dict[str, Any], budget: IterationBudget | None) -> None:
        update_wrapper(self, function)
        self.py_func, self.budget = function, budget
        self._options = options
        self._dispatcher: Callable[..., R] | None = None

    @property
    def ready(self) -> bool:
        """Whether numba has been loaded for it, so that a call does not wait for that."""
        return self._dispatcher is not None or "numba" in sys.modules

    @property
    def dispatcher(self) -> Callable[..., R]:
        """The function compiled by numba, cached on disk between runs."""
        if self._dispatcher is None:
            with _COMPILING:  # threads may be the first to ask
                if self._dispatcher is None:
                    self._dispatcher = _compiled(self.py_func, self._options)
        return self._dispatcher

    @property
    def _numba_type_(self) -> Any:
        """What numba takes this object for when another kernel calls it: its dispatcher."""
        return self.dispatcher._numba_type_  # type: ignore[attr-defined]

    def __call__(self, *args: Any) -> R:
        """Run the loop."""
        if self.budget is None and self._dispatcher is not None:
            return self._dispatcher(*args)
        if self.budget is not None:
            self.budget.spend(len(args[0]))
            if not self.budget.exhausted:
                return self._interpreted(args)
        return self.dispatcher(*args)

    def _interpreted(self, args: tuple[Any, ...]) -> R:
        """By the interpreter, in which lists take a quarter to a third of the time of arrays."""
        with np.errstate(all="ignore"):  # as compiled
            if not all(_is_vector(arg) for arg in args):
                return self.py_func(*args)
            try:
                result: Any = self.py_func(*(arg.tolist() for arg in args))
            except ZeroDivisionError:  # of numbers of Python; those of numpy give inf or nan
                return self.py_func(*args)
        return cast(R, tuple(map(np.asarray, result)) if isinstance(result, tuple) else np.asarray(result))


def _is_vector(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype == np.float64


def _compiled(function: Callable[..., R], options: dict[str, Any]) -> Callable[..., R]:
    import numba

    dispatcher: Callable[..., R]
    try:
        dispatcher = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to cache it: a read-only installation without a home
        dispatcher = numba.njit(**options)(function)
    return dispatcher


def kernel(
    *,
    fastmath: Collection[str] = (),
    nogil: bool = True,
    error_model: Literal["numpy", "python"] = "numpy",
    budget: IterationBudget | None = None,
) -> Callable[[Callable[..., R]], Kernel[R]]:
    """Decorator of a compiled loop, see `Kernel`; all but `budget` are options of `numba.njit`.

    fastmath: LLVM flags, none by default. "contract" fuses a product and the sum that takes it into one rounding,
        "reassoc" reorders sums so that they vectorise; neither is for differences that have to cancel.
    nogil: release the interpreter while running; `parallel_for` needs it.
    error_model: what division by zero does: inf or nan ("numpy"), or ZeroDivisionError ("python").
    budget: iterations that are interpreted first.
    """
    options = {"nogil": nogil, "error_model": error_model, "fastmath": set(fastmath)}
    return lambda function: Kernel(function, options, budget)


@cache
def thread_limit() -> int:
    """The threads that may be used: NUMBA_NUM_THREADS or else OMP_NUM_THREADS, at most the cores of the process."""
    cores = min(usable_cores(), world().cores or usable_cores())
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


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # of a pool the child has the object without its threads
