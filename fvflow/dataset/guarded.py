"""Values of a file that are loaded when they are used, and then raise errors of fvflow. Importing this takes xarray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from fvflow.errors import OutputError


class _Guarded(BackendArray):  # type: ignore[no-any-unimported, misc, unused-ignore]
    """The values of a variable that xarray loads from a file."""

    def __init__(self, path: Path, name: str, variable: xarray.Variable) -> None:
        self.shape, self.dtype = variable.shape, variable.dtype
        self._path, self._name, self._variable = path, name, variable

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._loaded)

    def _loaded(self, key: tuple[Any, ...]) -> Any:
        try:
            return self._variable[key].values
        except (OSError, RuntimeError) as error:
            raise OutputError(f"{self._path}: {self._name} is damaged ({error}); write it again") from error


def guarded(path: Path, stored: xarray.Dataset) -> xarray.Dataset:
    """A dataset of a file in which values that cannot be read raise OutputError when they are loaded."""
    values = {str(name): _variable(path, str(name), stored.variables[name]) for name in stored.data_vars}
    whole = stored.assign(values)
    whole.set_close(stored.close)
    return whole


def _variable(path: Path, name: str, variable: xarray.Variable) -> xarray.Variable:
    values = indexing.LazilyIndexedArray(_Guarded(path, name, variable))
    return xarray.Variable(variable.dims, values, variable.attrs, variable.encoding)
