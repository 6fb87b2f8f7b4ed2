"""The layout of The Well: HDF5 in single precision (Ohana et al., The Well, NeurIPS 2024; data_format.md there)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.formats.base import OPEN, Boundary, Float32, Trajectories, TrajectoryWriter, imported

_SIDES = ("lower", "upper")
_PROVENANCE = "provenance"  # a group that the readers of The Well pass over


class WellWriter(TrajectoryWriter):
    """Fields (sample, time, x[, y[, z]]) in t0_fields, vectors in t1_fields, numbers of each run in scalars.

    An axis has a boundary condition WALL, OPEN or PERIODIC, with a mask (x,) that marks its cells there. Cells that
    absorb are one more, OPEN, of all axes, with a mask (x[, y[, z]]): the format has internal ones. Attributes that are
    numbers are the simulation parameters; texts of each run are in the group provenance. Times and grid have to be
    evenly spaced.
    """

    endings = (".hdf5", ".h5")
    title = "The Well"
    library = "h5py"

    def require(self, trajectories: Trajectories) -> None:
        """Raise CaseError unless times and grid are evenly spaced."""
        trajectories.require_even(self.title)

    def _open(self) -> None:
        h5py, held = imported("h5py"), self.trajectories
        self._file = file = h5py.File(self.temporary, "w")
        numbers = {name: value for name, value in held.attributes.items() if not isinstance(value, str)}
        file.attrs.update(held.attributes)
        file.attrs.update({"dataset_name": held.name, "grid_type": "cartesian"})
        file.attrs.update({"n_spatial_dims": len(held.axes), "n_trajectories": held.samples})
        _set_names(h5py, file, "simulation_parameters", list(numbers))
        self._open_dimensions(h5py)
        self._open_boundaries(h5py)
        scalars = file.create_group("scalars")
        _set_names(h5py, scalars, "field_names", [*numbers, *held.numbers])
        for name, value in numbers.items():
            scalars.create_dataset(name, data=np.float32(value))
            scalars[name].attrs.update({"sample_varying": False, "time_varying": False})
        for name in held.numbers:
            scalars.create_dataset(name, (held.samples,), "f4")
            scalars[name].attrs.update({"sample_varying": True, "time_varying": False})
        for order in range(3):
            group = file.create_group(f"t{order}_fields")
            names = [name for name, own in held.fields.items() if own == order]
            _set_names(h5py, group, "field_names", names)
            for name in names:
                group.create_dataset(name, (held.samples, *held.shape(name)), "f4")
                group[name].attrs["dim_varying"] = np.ones(len(held.axes), bool)
                group[name].attrs.update({"sample_varying": True, "time_varying": True})
        for name in held.texts:
            file.create_dataset(f"{_PROVENANCE}/{name}", (held.samples,), h5py.string_dtype())

    def _open_dimensions(self, h5py: Any) -> None:
        """Times and the centres of the cells."""
        held, group = self.trajectories, self._file.create_group("dimensions")
        _set_names(h5py, group, "spatial_dims", list(held.axes))
        for name, values in zip(("time", *held.axes), (held.times, *held.centres), strict=True):
            group.create_dataset(name, data=np.asarray(values, np.float32))
            group[name].attrs["sample_varying"] = False
            if name != "time":
                group[name].attrs["time_varying"] = False

    def _open_boundaries(self, h5py: Any) -> None:
        """What is at the ends of each axis, each with the cells there."""
        group = self._file.create_group("boundary_conditions")
        for name, axes, kind, mask in _boundaries(self.trajectories):
            part = group.create_group(name)
            _set_names(h5py, part, "associated_dims", list(axes))
            _set_names(h5py, part, "associated_fields", [])
            part.attrs.update({"bc_type": kind, "sample_varying": False, "time_varying": False})
            part.create_dataset("mask", data=mask)

    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        for name, values in fields.items():
            order = self.trajectories.fields[name]
            self._file[f"t{order}_fields/{name}"][start : start + len(values)] = values
        for name, number in numbers.items():
            self._file[f"scalars/{name}"][start : start + len(number)] = number
        for name, words in texts.items():
            self._file[f"{_PROVENANCE}/{name}"][start : start + len(words)] = list(words)

    def _finish(self) -> None:
        self._file.close()


def _boundaries(held: Trajectories) -> Iterator[tuple[str, str, Boundary, Any]]:
    """The name, the axes, the kind and the mask (cells along each of them) of each boundary condition."""
    for axis, count, ends in zip(held.axes, held.cells, held.sides, strict=True):
        for kind in dict.fromkeys(ends):
            mask = np.zeros(count, bool)
            mask[0] |= ends[0] == kind
            mask[-1] |= ends[1] == kind
            side = "" if len(set(ends)) == 1 else f"_{_SIDES[ends.index(kind)]}"
            yield f"{axis}{side}_{kind.lower()}", axis, kind, mask
    if held.absorbing is not None:
        yield "absorbing_cells_open", held.axes, OPEN, held.absorbing


def _set_names(h5py: Any, place: Any, attribute: str, names: Sequence[str]) -> None:
    """An attribute that is a list of texts, also where it is empty."""
    place.attrs.create(attribute, np.array(list(names), dtype=object), dtype=h5py.string_dtype())
