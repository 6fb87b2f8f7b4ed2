"""A result in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset.assembly import Assembly
from fvflow.dataset.layout import Layout
from fvflow.dataset.reader import merged
from fvflow.dataset.variable import Group
from fvflow.mesh import Array

if TYPE_CHECKING:
    import xarray


class Memory(Assembly["xarray.Dataset"]):
    """Keeps all frames; `close` returns the dataset that `fvflow.read` would return of the file."""

    def __init__(self, layout: Layout, attributes: Mapping[str, Any]) -> None:
        super().__init__(layout, {**attributes, "history": "fvflow.Case.run"})
        self._frames: list[Mapping[str, Array]] = []

    def _store(self, values: Mapping[str, Array]) -> None:
        self._frames.append(values)

    def _complete(self, attributes: Mapping[str, Any], groups: Mapping[str, Group]) -> xarray.Dataset:
        stored = [self._raw(name, group) for name, group in {**self.layout.groups, **groups}.items()]
        stored[0].attrs = dict(attributes)
        return merged(stored)

    def _raw(self, name: str, group: Group) -> xarray.Dataset:
        """A group as xarray finds it in a file, before it interprets the attributes."""
        import xarray

        data = {}
        for variable_name, variable in group.variables.items():
            values, attributes = variable.values, dict(variable.attributes)
            if values is None:
                path = f"{name}/{variable_name}".removeprefix("/")
                values = np.array([frame[path] for frame in self._frames])
            if variable.fill is not None:
                attributes["_FillValue"] = np.dtype(variable.dtype).type(variable.fill)
            data[variable_name] = (variable.dims, np.asarray(values, variable.dtype), attributes)
        return xarray.Dataset(data)
