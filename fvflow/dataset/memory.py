"""A result in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fvflow.dataset.assembly import Assembly
from fvflow.dataset.layout import Layout
from fvflow.dataset.variable import Group, NetCDFVariable
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
        """The dataset that `merged` would make of the groups, without a dataset of each of them."""
        import xarray

        variables, coordinates = dict[str, xarray.Variable](), set[str]()
        for group_name, group in {**self.layout.groups, **groups}.items():
            for name, variable in group.variables.items():
                values = self._values(f"{group_name}/{name}".removeprefix("/"), variable)
                given = dict(variable.attributes)
                encoding: dict[str, Any] = {"dtype": values.dtype}
                if variable.fill is not None:
                    given["_FillValue"] = values.dtype.type(variable.fill)
                if "coordinates" in given:
                    encoding["coordinates"] = given.pop("coordinates")
                    coordinates.update(each for each in encoding["coordinates"].split() if each in group.variables)
                variables[name] = xarray.Variable(variable.dims, values, given, encoding, fastpath=True)
        whole = xarray.Dataset(variables, attrs=attributes)  # with the indices of dimensions
        return whole.set_coords(coordinates) if coordinates else whole

    def _values(self, path: str, variable: NetCDFVariable) -> Array:
        """The values of a variable, those of all frames if it changes with time."""
        if variable.values is None:
            return np.array([frame[path] for frame in self._frames], variable.dtype)
        return np.asarray(variable.values, variable.dtype)
