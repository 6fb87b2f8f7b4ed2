"""Compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by numba, kept on disk between runs; numba is imported when first needed."""
    import numba

    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation without a home
        kernel = numba.njit(nogil=True, error_model="numpy")(function)
    return kernel
