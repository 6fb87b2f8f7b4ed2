"""The cell fields of a result at some of its times, as they are exported."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fvflow.dataset import UNTITLED, stored_mesh
from fvflow.errors import CaseError
from fvflow.mesh import Array, Mesh
from fvflow.studies.formats.base import Boundary
from fvflow.studies.formats.domain import absorbing_cells, boundaries_of, mapping

if TYPE_CHECKING:
    import xarray

_SAME_TIME = 1e-9  # relative difference of times that are the same


@dataclass(frozen=True, eq=False)
class StoredRun:
    """What of a result is exported: some of its fields, at some of its times."""

    ds: xarray.Dataset
    mesh: Mesh
    frames: Sequence[int]
    """The frames, by their numbers in the result."""
    fields: Sequence[str]
    """Names of cell fields."""

    @staticmethod
    def of(ds: xarray.Dataset, at: Sequence[float] | None = None, fields: Sequence[str] | None = None) -> StoredRun:
        """That of a result, with all its times and fields by default; raises CaseError for what it has not."""
        if "rho" not in ds or not ds.sizes.get("time"):
            raise CaseError("the result has no density at any time; give the result of a run")
        found = [str(name) for name in ds.data_vars if ds[name].dims == ds["rho"].dims]
        for name in fields or ():
            if name not in found:
                close = difflib.get_close_matches(name, found, n=1)
                meant = f"; did you mean {close[0]}?" if close else ""
                raise CaseError(f"the result has no field {name}; it has {', '.join(found)}{meant}")
        times = np.asarray(ds["time"].values, float)
        frames = list(range(len(times))) if at is None else [_frame(times, time) for time in at]
        return StoredRun(ds, stored_mesh(ds), frames, list(fields or found))

    @property
    def time(self) -> Array:
        """The times (frame,)."""
        return np.asarray(self.ds["time"].values, float)[list(self.frames)]

    @property
    def title(self) -> str:
        """The title of the result."""
        return str(self.ds.attrs.get("title", UNTITLED))

    def field(self, name: str, frame: int) -> NDArray[Any]:
        """A field (cell,) at a frame, by its number in the result, in the precision that it has there."""
        return np.ravel(self.ds[name][frame].values)

    @property
    def vectors(self) -> dict[str, list[str]]:
        """The fields that are the components of vectors, as v_x, v_y of v, by the name of the vector."""
        axes = "xyz"[: self.mesh.dimension]
        stems = dict.fromkeys(name[:-2] for name in self.fields if name[-2:] == "_x")
        found = {stem: [f"{stem}_{axis}" for axis in axes] for stem in stems}
        return {stem: names for stem, names in found.items() if set(names) <= set(self.fields)}

    @property
    def scalars(self) -> list[str]:
        """The fields that are no components of vectors."""
        components = {name for names in self.vectors.values() for name in names}
        return [name for name in self.fields if name not in components]

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters of the case by name, and its diffusion coefficient."""
        case = self._case
        given = {**mapping(case.get("parameters")), "epsilon": mapping(case.get("flow")).get("epsilon")}
        return {str(name): float(value) for name, value in given.items() if isinstance(value, int | float)}

    @property
    def boundaries(self) -> list[tuple[Boundary, Boundary]]:
        """What is at both ends of each axis: an absorbing or a partial wall is open."""
        return boundaries_of(self._case, self.mesh)

    @property
    def absorbing(self) -> Any:
        """Whether each cell absorbs (x[, y[, z]]); None if none does."""
        return absorbing_cells(self._case, self.mesh)

    @property
    def _case(self) -> Mapping[str, Any]:
        """The case with its defaults, as the result tells it; empty if it does not."""
        try:
            return mapping(json.loads(str(self.ds.attrs.get("resolved_case", "{}"))))
        except ValueError:
            return {}


def _frame(times: Array, time: float) -> int:
    nearest = int(np.abs(times - time).argmin())
    if abs(times[nearest] - time) <= _SAME_TIME * np.abs(times).max():
        return nearest
    raise CaseError(f"the result has no t = {time:.12g}; the nearest that it has is {times[nearest]:.12g}")
