"""Compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def compiled(function: Callable[..., Any], contract: bool = False) -> Callable[..., Any]:
    """The function compiled by numba, kept on disk between runs; numba is imported when first needed.

    With `contract` a product and the sum that takes it are rounded once; not for differences that have to cancel.
    """
    import numba

    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"} if contract else False}
    kernel: Callable[..., Any]
    try:
        kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # nowhere to keep it: a read-only installation without a home
        kernel = numba.njit(**options)(function)
    return kernel
