"""Lists of values as they are written on the command line."""

from __future__ import annotations

import re

import numpy as np

from fvflow.case.overrides import as_text
from fvflow.errors import CaseError

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_SPACED = re.compile(r"(linspace|geomspace)\(([^(),]+),([^(),]+),([^(),]+)\)")
MOST_CASES = 100_000


def split_values(text: str) -> list[str]:
    """The values of a list, split at commas outside brackets and quotes; none of an empty text.

    >>> split_values("[64], [128], {kind: box, cells: [2]}, max(x, 1), 'a,b'")
    ['[64]', '[128]', '{kind: box, cells: [2]}', 'max(x, 1)', "'a,b'"]
    """
    if not text.strip():
        return []
    parts, opened, quote, start = [], list[str](), "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _PAIRS:
            opened.append(_PAIRS[letter])
        elif opened and letter == opened[-1]:
            opened.pop()
        elif letter == "," and not opened:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def spaced(path: str, text: str) -> tuple[str, ...]:
    """The values that a text stands for: those of linspace(a, b, n) and geomspace(a, b, n), else itself.

    Both ends are among them. Raises CaseError.

    >>> spaced("flow.epsilon", "geomspace(0.01, 1, 3)")
    ('0.01', '0.1', '1.0')
    """
    found = _SPACED.fullmatch(text.strip())
    if found is None:
        return (text,)
    try:
        low, high, count = float(found[2]), float(found[3]), int(found[4])
        if not (2 <= count <= MOST_CASES and np.isfinite([low, high]).all() and low != high):
            raise ValueError
        if found[1] == "geomspace" and not low * high > 0:
            raise ValueError
    except ValueError:
        raise CaseError(
            f"{path}={text}: expected {found[1]}(first, last, number of values >= 2) with ends that differ"
            + (" and have the same sign" if found[1] == "geomspace" else "")
        ) from None
    values = (np.linspace if found[1] == "linspace" else np.geomspace)(low, high, count)
    return tuple(as_text(float(f"{value:.15g}")) for value in values)
