"""Compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


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
