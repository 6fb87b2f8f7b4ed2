"""A netCDF file whose contents are checked as they are read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.input_files import require_regular
from fvflow.mesh.arrays import Array
from fvflow.mesh.netcdf_probe import damage

_OURS = "fvflow"  # the source of a result begins with this


@contextlib.contextmanager
def opened(
    path: str, wanted: str = "the .nc file of a run", fault: str = "its UGRID topology is not complete"
) -> Iterator[NetCDFFile]:
    """The file, open while the context lasts; raises CaseError if it cannot be read. Imports netCDF4.

    `wanted` and `fault` are for messages: what to give instead, and what is wrong if something is missing.
    """
    require_regular(path, wanted)
    if reason := damage(path):
        raise CaseError(f"{path}: cannot be read ({reason}); give {wanted}")
    import netCDF4

    try:
        file = netCDF4.Dataset(path)
    except (OSError, RuntimeError) as error:
        raise CaseError(f"{path}: cannot be read ({error}); give {wanted}") from None
    with file:
        file.set_auto_mask(False)
        yield NetCDFFile(path, file, fault)


@dataclass(frozen=True, eq=False)
class NetCDFFile:
    """An open netCDF file; what is missing, damaged or of a wrong type raises CaseError.

    Only calls of the netCDF library are guarded: an error in the code that uses the values is not taken for a fault of
    the file.
    """

    path: str
    """Path of the file, for messages."""
    file: Any
    """The open netCDF4.Dataset."""
    fault: str
    """What is wrong with a file in which something is missing or inconsistent, for messages."""

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the variables at the root."""
        return tuple(self.file.variables)

    @property
    def source(self) -> str:
        """The global attribute `source`; empty if there is none."""
        return str(getattr(self.file, "source", ""))

    @property
    def is_result(self) -> bool:
        """Whether fvflow wrote the file."""
        return self.source.startswith(_OURS)

    def incomplete(self, reason: str) -> CaseError:
        """The error for a file in which something is missing or inconsistent."""
        return CaseError(f"{self.path}: {self.fault} ({reason}); write it again")

    def names_in(self, group: str) -> tuple[str, ...]:
        """Names of the variables in a group; empty if there is no such group."""
        return tuple(self.file.groups[group].variables) if group in self.file.groups else ()

    def fields_in_time(self) -> list[str]:
        """Names of the variables whose first dimension is time, without the times themselves."""
        return [name for name in self.variables if self.dimensions_of(name)[:1] == ("time",) and name != "time"]

    def dimensions_of(self, name: str) -> tuple[str, ...]:
        """Names of the dimensions of a variable; empty if there is no such variable."""
        return tuple(self._variable(name).dimensions) if name in self.file.variables else ()

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The lengths of the dimensions of a variable."""
        return tuple(self._variable(name).shape)

    def itemsize_of(self, name: str) -> int:
        """Bytes of a value of a variable, which has to hold numbers."""
        kind = np.dtype(self._variable(name).dtype)
        if kind.kind not in "iuf":
            raise self.incomplete(f"{name} does not hold numbers")
        return int(kind.itemsize)

    def has_attribute(self, variable: str, name: str) -> bool:
        """Whether a variable has an attribute."""
        return name in self._variable(variable).ncattrs()

    def text(self, variable: str, name: str) -> str:
        """An attribute of a variable that is a text."""
        value = self._attribute(variable, name)
        if not isinstance(value, str):
            raise self.incomplete(f"{variable}:{name} is {value!r} and not a text")
        return value

    def texts(self, name: str) -> list[str]:
        """The texts in the rows of a variable of characters."""
        values = np.asarray(self._guarded(name, slice(None)))
        if values.dtype.kind not in "SU" or values.ndim != 2:
            raise self.incomplete(f"{name} does not hold texts")
        return [b"".join(row).decode(errors="replace").strip("\x00 ") for row in values.astype("S1")]

    def integer(self, variable: str, name: str, default: int) -> int:
        """An attribute of a variable that is a whole number; the default if there is none."""
        value = self._attribute(variable, name) if self.has_attribute(variable, name) else default
        if np.ndim(value) or not np.issubdtype(type(value), np.number) or not np.isfinite(value) or value != int(value):
            raise self.incomplete(f"{variable}:{name} is {value!r} and not a whole number")
        return int(value)

    def number(self, variable: str, name: str) -> float:
        """An attribute of a variable that is a number."""
        value = self._attribute(variable, name)
        if np.ndim(value) or not np.issubdtype(type(value), np.number) or not np.isfinite(value):
            raise self.incomplete(f"{variable}:{name} is {value!r} and not a number")
        return float(value)

    def numbers(self, name: str, dimensions: int) -> Array:
        """All values of a variable, as doubles, in the shape of the variable, which must have so many dimensions."""
        return self._checked(name, slice(None), dimensions)

    def numbers_or_nan(self, name: str) -> Array:
        """All values of a variable, as doubles, in the shape of the variable; NaN where a fill value stands."""
        variable = self._variable(name)
        variable.set_auto_mask(True)
        masked = np.ma.getmaskarray(self._guarded(name, slice(None)))
        variable.set_auto_mask(False)
        return np.where(masked, np.nan, self._checked(name, slice(None), None))

    def slice_of(self, name: str, index: int) -> Array:
        """The values of a variable at one index of its first dimension, as doubles, in the shape of the others."""
        return self._checked(name, index, None)

    def _checked(self, name: str, index: int | slice, dimensions: int | None) -> Array:
        values = np.asarray(self._guarded(name, index))
        if values.dtype.kind not in "iuf" or dimensions not in (None, values.ndim):
            raise self.incomplete(f"{name} does not hold numbers in {dimensions or 'several'} dimensions")
        return values.astype(float)

    def _guarded(self, name: str, index: int | slice) -> Any:
        """What the library returns for an index of a variable."""
        variable = self._variable(name)
        try:
            return variable[index]
        except (OSError, RuntimeError, IndexError) as error:
            raise CaseError(f"{self.path}: {name} cannot be read ({error}); write the file again") from None

    def _variable(self, name: str) -> Any:
        try:
            return self.file[name]
        except (IndexError, KeyError):
            raise self.incomplete(f"there is no variable {name}") from None

    def _attribute(self, variable: str, name: str) -> Any:
        try:
            return self._variable(variable).getncattr(name)
        except (AttributeError, RuntimeError, UnicodeError):
            raise self.incomplete(f"{variable} has no attribute {name}") from None
