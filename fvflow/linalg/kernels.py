"""Compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

FEW = 2**17  # turns of a loop that take the interpreter a fifth of the time in which numba starts


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


class Patient:
    """A loop that is interpreted until such loops have turned 2^17 times in the process, and compiled from then on.

    So a small run does not wait for numba. The numbers are the same to the last bit: for loops whose sums a compiler
    leaves in their order.
    """

    left = FEW  # for all of them

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arrays: Any) -> Any:
        """The loop, whose turns are the entries of the first array."""
        foresee(len(arrays[0]))
        if Patient.left < 0:
            return compiled(self._function)(*arrays)
        with np.errstate(all="ignore"):  # as compiled
            return self._function(*arrays)


def foresee(turns: int) -> None:
    """Count turns of patient loops, so that they are compiled at once where many are to come."""
    Patient.left -= turns
