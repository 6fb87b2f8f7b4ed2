"""Printing: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any


def say(text: str) -> None:
    """Print a line on stderr; a closed stderr is no reason to stop."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(_finite(values)))


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    if sys.stdout is None:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    width = None if sys.stdout.isatty() else 120
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def plain(value: Any) -> Any:
    """A numpy scalar as a Python number."""
    return value.item() if hasattr(value, "item") else value


def number(value: Any) -> str:
    """A value in at most eight digits."""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """The value for JSON, in which infinities and nan become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value
