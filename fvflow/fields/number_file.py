"""Numbers in .csv, .npy and .npz files that strangers may have written: read and checked, never executed."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TextIO, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from fvflow.errors import CaseError
from fvflow.input_files import admission, require_input
from fvflow.mesh import Array

_SHOWN = 40  # characters of a value that are quoted in a message
T = TypeVar("T")
_in_use: WeakValueDictionary[tuple[object, ...], Any] = WeakValueDictionary()


def ending(file: str) -> str:
    """The ending of a file name, in lower case: .csv, .npy, .npz, .nc."""
    return os.path.splitext(file)[1].lower()


def shared(file: str, how: tuple[object, ...], read: Callable[[], T]) -> T:
    """What `read` makes of a file, once for all that is in use; it is read again if the file has changed.

    `how` distinguishes what is read from the same file in other ways.
    """
    require_readable(file)
    status = os.stat(file)
    key = (os.path.abspath(file), status.st_ino, status.st_mtime_ns, status.st_size, *how)
    found: T | None = _in_use.get(key)
    if found is None:
        found = _in_use[key] = read()
    return found


def require_readable(file: str) -> None:
    """Raise CaseError unless it is a regular file with something in it, not larger than the user allows."""
    require_input(file, "the path of a file with numbers")


def read_array(file: str) -> Array:
    """The array in an .npy file, as doubles and of the same shape; raises CaseError for a pickle."""
    require_readable(file)
    advice = "write it with numpy.save as an array of numbers"
    with open(file, "rb") as opened_file:
        if opened_file.read(6) != b"\x93NUMPY":
            raise CaseError(f"{file}: is not an .npy file (pickled objects are not read); {advice}")
    try:
        stored = np.lib.format.open_memmap(file, mode="r")  # compares the shape in the header with the size
    except Exception as error:  # the header is parsed as a Python literal, which fails in many ways
        raise CaseError(f"{file}: cannot be read ({_reason(error)}); {advice}") from None
    return _doubles(file, stored, advice)


def read_archive(file: str, names: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of an .npz file that have these names, by name, as doubles and of the same shape.

    Other arrays are left unread. Raises CaseError for a pickle, and for a file that is damaged or no archive.
    """
    require_readable(file)
    advice = "write it with numpy.savez as arrays of numbers"
    try:
        with zipfile.ZipFile(file) as archive:
            held = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
            return {name: _entry(file, archive, held[name], advice) for name in names if name in held}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise CaseError(f"{file}: cannot be read ({_reason(error)}); {advice}") from None


def _entry(file: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, advice: str) -> Array:
    """An array in an .npz file."""
    name, largest = f"{file}: {entry.filename.removesuffix('.npy')}", admission().largest
    if entry.file_size > largest:
        raise CaseError(f"{name} has {entry.file_size} bytes; at most {largest} are read (--largest allows more)")
    with archive.open(entry) as content:
        try:
            stored = np.lib.format.read_array(content, allow_pickle=False)
        except Exception as error:  # as in `read_array`; the claimed size is only allocated, and then not filled
            raise CaseError(f"{name} cannot be read ({_reason(error)}); {advice}") from None
    return _doubles(name, stored, advice)


def _doubles(name: str, stored: np.ndarray[Any, np.dtype[Any]], advice: str) -> Array:
    """The values of an array of numbers; raises CaseError for others, and for too many."""
    if stored.dtype.kind not in "iuf" or 8 * stored.size > admission().largest:
        most = admission().largest // 8
        raise CaseError(f"{name}: holds {stored.size} values of type {stored.dtype}; {advice}, at most {most}")
    return np.array(stored, float)


def _reason(error: Exception) -> str:
    """What numpy or zipfile found wrong with a file, in a few words."""
    pickled = "Python objects" in str(error) or "Object arrays" in str(error)
    return "it holds pickled objects" if pickled else "".join(str(error).splitlines()[:1])[:200] or type(error).__name__


def read_rows(
    file: str, allowed: tuple[tuple[str, ...], ...], wanted: str, infinite: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Array]:
    """The columns of a .csv file with a header, by the order of their names in `allowed`, and rows (row, column).

    Raises CaseError with the line of what is wrong; `wanted` says in words which columns are allowed, and the
    columns `infinite` may hold -inf.
    """
    require_readable(file)
    names, rows = _reading(file, lambda text: _header(file, text, wanted)), None
    known = next((each for each in allowed if set(each) == set(names) and len(names) == len(each)), None)
    if known is None:
        raise CaseError(f"{file}: its header is {_quoted(','.join(names))}; give {wanted}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are no rows
            rows = _reading(file, lambda text: _numbers(text, len(names)))
    except ValueError as error:
        raise _fault_in_rows(file, names, str(error)) from None
    rows = rows[:, [names.index(name) for name in known]]
    if not len(rows):
        raise CaseError(f"{file}: has a header and no rows; give {wanted}")
    finite = np.isfinite(rows) | ((rows == -np.inf) & [name in infinite for name in known])
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), len(known))
        what = f"{known[column]} {rows[row, column]:g}"
        raise CaseError(f"{file}: line {line_of(file, row)} has {what}; give finite numbers")
    return known, rows


def _reading(file: str, read: Callable[[TextIO], T]) -> T:
    """What `read` makes of an opened text file."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            return read(text)
    except UnicodeDecodeError as error:
        raise CaseError(f"{file}: is not UTF-8 text (byte {error.start}); give a .csv file") from None


def _header(file: str, text: TextIO, wanted: str) -> tuple[str, ...]:
    line = text.readline(4096)
    names = tuple(name.strip().strip('"').strip() for name in line.strip().split(","))
    if all(_is_number(name) for name in names):
        raise CaseError(
            f"{file}: has no header (its first line is {_quoted(line.strip())}); name the columns: {wanted}"
        )
    return names


def _numbers(text: TextIO, columns: int) -> Array:
    text.readline()
    rows = np.loadtxt(text, delimiter=",", comments=None, quotechar='"', ndmin=2)
    if rows.size and rows.shape[1] != columns:
        raise ValueError(f"rows of {rows.shape[1]} values below a header of {columns}")
    return rows.reshape(-1, columns)


def _lines(text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Number and values of each line with values, the header excluded."""
    text.readline()
    for number, line in enumerate(text, start=2):
        if line.strip():
            yield number, [value.strip().strip('"').strip() for value in line.rstrip("\r\n").split(",")]


def line_of(file: str, row: int) -> int:
    """The number of the line in which a row stands."""
    return _reading(file, lambda text: next(number for k, (number, _) in enumerate(_lines(text)) if k == row))


def _fault_in_rows(file: str, names: tuple[str, ...], reason: str) -> CaseError:
    """The first line that is not one number for each column."""

    def first(text: TextIO) -> str:
        for number, values in _lines(text):
            if len(values) != len(names):
                return f"line {number} has {len(values)} values; give {len(names)}, as the header names"
            for name, value in zip(names, values, strict=True):
                if not _is_number(value):
                    return f"line {number} has {_quoted(value)} as {name}; give a number"
        return f"is not a table of numbers ({reason.splitlines()[0][:200]})"

    return CaseError(f"{file}: {_reading(file, first)}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _quoted(text: str) -> str:
    return f'"{text[:_SHOWN]}..."' if len(text) > _SHOWN else f'"{text}"'
