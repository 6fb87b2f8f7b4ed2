"""Compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function compiled by numba, kept on disk between runs; numba is imported when first needed."""
    import numba

    kernel: Callable[..., Any] = numba.njit(cache=True, error_model="numpy")(function)
    return kernel
