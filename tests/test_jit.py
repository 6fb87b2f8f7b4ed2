"""Kernels: compiled when first called, callable from each other, interpreted while a budget lasts."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fvflow import jit
from fvflow.jit import IterationBudget, kernel


@kernel()
def halved(x: Any) -> Any:
    """x/2, entry by entry."""
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = _half(x[i])
    return out


@kernel()
def _half(x: Any) -> Any:
    return 0.5 * x


@kernel(error_model="python", nogil=False)
def inverse(x: Any) -> Any:
    """1/x."""
    return 1.0 / x


@kernel()
def inverse_or_infinite(x: Any) -> Any:
    """1/x."""
    return 1.0 / x


def test_a_kernel_calls_another():
    """Also one that is defined after it."""
    np.testing.assert_array_equal(halved(np.arange(5.0)), np.arange(5.0) / 2)
    assert halved.dispatcher.nopython_signatures


def test_a_kernel_shows_its_function():
    assert halved.__doc__ == "x/2, entry by entry."
    assert halved.__name__ == "halved"
    assert halved.py_func.__module__ == halved.__module__ == __name__


def test_options_reach_numba():
    with pytest.raises(ZeroDivisionError):
        inverse(0.0)
    assert inverse_or_infinite(0.0) == np.inf
    options = kernel(fastmath={"contract", "reassoc"})(_half.py_func).dispatcher.targetoptions
    assert (options["fastmath"], options["nogil"]) == ({"contract", "reassoc"}, True)
    assert inverse.dispatcher.targetoptions["nogil"] is False


def test_threads_share_one_dispatcher(monkeypatch):
    made = []
    monkeypatch.setattr(jit, "_compiled", lambda function, options: made.append(function) or (lambda x: x))
    fresh = kernel()(_half.py_func)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh, range(32))) == list(range(32))
    assert len(made) == 1


def test_a_forked_process_has_threads_of_its_own():
    """Of the parent's, a fork copies the pool but not the threads: waiting for them never ends."""
    parts = []

    def part(begin, end):
        time.sleep(0.05)  # each thread has one
        parts.append((begin, end))

    def both():
        jit.parallel_for(part, 4, jit.MIN_PARALLEL_CELLS)
        time.sleep(0.05)  # and waits for the next
        return len(parts)

    assert both() == min(jit.thread_limit(), 4)
    if not (child := os.fork()):
        signal.alarm(20)
        os._exit(both())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2 * min(jit.thread_limit(), 4)


def quotients(x: Any) -> Any:
    """x_0, x_0/x_1, x_0/x_1/x_2, ..."""
    out = x.copy()
    for i in range(len(x) - 1):
        out[i + 1] = out[i] / x[i + 1]
    return out


@pytest.mark.parametrize("x", [[3.0, 7.0, 0.1], [1.0, 0.0, 2.0, -0.0], [np.inf, np.nan, 5e-324]])
def test_an_interpreted_loop_gives_the_bits_of_a_compiled_one(x):
    interpreted, compiled = (kernel(budget=IterationBudget(left))(quotients) for left in (100, -1))
    found = interpreted(np.array(x))
    assert interpreted._dispatcher is None
    assert found.tobytes() == compiled(np.array(x)).tobytes()


def test_a_budget_is_spent_by_the_entries_of_the_first_argument():
    budget = IterationBudget(10)
    lazy = kernel(budget=budget)(quotients)
    for left in (7, 4, 1):
        lazy(np.ones(3))
        assert budget.left == left
        assert lazy._dispatcher is None, "interpreted"
    budget.spend(1)
    assert not budget.exhausted
    lazy(np.ones(3))
    assert budget.exhausted
    assert lazy._dispatcher is not None


def test_no_cache_directory_is_no_failure(monkeypatch):
    """A function without a file has no place where numba could cache it."""
    space: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x\n", space)
    assert kernel()(space["twice"])(2.0) == 4.0


def test_kernels_import_numba_when_called():
    code = """
import sys, fvflow, fvflow.linalg.grid.sweep_kernels, fvflow.transport.kernels, fvflow.wasserstein.kernels
assert "numba" not in sys.modules
fvflow.wasserstein.kernels._join
assert "numba" not in sys.modules
import numpy as np
assert fvflow.transport.kernels.dot(np.ones(3), np.ones(3)) == 3.0
assert "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
