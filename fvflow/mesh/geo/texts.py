"""What a text in a geometry may say, by its place; each function returns what is wrong with it, or nothing."""

from __future__ import annotations

import re

from fvflow.mesh.geo import words

_FORMATS = re.compile(r"%(?:%|[-+ 0]*\d{0,3}(?:\.\d{1,2})?l?[gGeEf])")
_PART = re.compile(r"(?P<name>[A-Za-z_]\w*)|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+*/^(),\s<>=!&|?:]")
_OTHER_FIELD = re.compile(r"F\d+")


def no_text(text: str) -> str:
    """For places where numbers stand."""
    return f'the text "{text}" has no place here, where numbers are'


def any_text(text: str) -> str:
    """For names of groups and values of variables."""
    return ""


def number_format(text: str) -> str:
    """For formats, whose % stand only for numbers."""
    return f'"{text}" has a % that is not the format of a number, such as %g' if "%" in _FORMATS.sub("", text) else ""


def formula(text: str) -> str:
    """For formulas of fields: numbers, operators, functions, x, y, z, and F1, F2, ... for other fields."""
    rest, place = _FORMATS.sub("0", text), 0
    while place < len(rest):
        part = _PART.match(rest, place)
        name = part["name"] if part else None
        if part is None or (name and name.lower() not in words.FORMULA and not _OTHER_FIELD.fullmatch(name)):
            return f'the formula "{text}" has {name or rest[place]} in it, which is no mathematics'
        place = part.end()
    return ""
