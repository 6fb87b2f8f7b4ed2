"""Printing: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def escaped(text: str) -> str:
    r"""A line with its control characters, line breaks and marks of direction as escapes: what a terminal would obey.

    Whatever a command prints of a case, a result or a name of a file goes through here.

    >>> print(escaped("a title \x1b[2J\nof two lines"))
    a title \x1b[2J\nof two lines
    """
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def say(text: str) -> None:
    """Print a line on stderr, escaped; a closed stderr is no reason to stop."""
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        print(escaped(text), file=sys.stderr, flush=True)


def print_json(values: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(_finite(values)))


def print_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    if sys.stdout is None:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=escaped(title), title_justify="left", show_header=False, box=None)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(escaped(name), escaped(value))
    width = None if sys.stdout.isatty() else 120
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def print_columns(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under the names of their columns."""
    if sys.stdout is None:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=escaped(title), title_justify="left", box=None, padding=(0, 1))
    for name in names:
        table.add_column(escaped(name), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*map(escaped, row))
    width = None if sys.stdout.isatty() else 200
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
