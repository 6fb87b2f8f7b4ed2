"""The layouts of PDEBench: HDF5 in single precision (Takamoto et al., PDEBench, NeurIPS 2022, appendix on the data)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.studies.formats.base import Float32, Trajectories, TrajectoryWriter, imported

_ENDS = {"x": ("x_left", "x_right", "xdim"), "y": ("y_bottom", "y_top", "ydim")}
_LEAST_DIGITS = 4  # of the names of groups


class PDEBenchWriter(TrajectoryWriter):
    """One field in one dimension as `tensor` (sample, time, x); otherwise a group for each run, as 0000.

    The first has `x-coordinate` (x,) and `t-coordinate` (time,), and what each run has under the names of these in the
    group `parameters`. A group has `data` (time, x[, y], channel), `grid/x`, `grid/y`, `grid/t`, and what the run has
    among its attributes, with a `config` in YAML. Channels are the fields in their order, vectors by component. The
    layout knows no cells that absorb: `mask` (x[, y]), which its readers pass over, marks them.
    """

    endings = (".hdf5", ".h5")
    title = "PDEBench"
    library = "h5py"

    def require(self, trajectories: Trajectories) -> None:
        """Raise CaseError in three dimensions, and unless times and grid are evenly spaced."""
        trajectories.require_even(self.title)
        if len(trajectories.axes) > 2:
            raise CaseError("PDEBench's layout for runs is one of one or two dimensions, not three; choose well or npz")
        if self._tensor and self.path.suffix == ".h5":
            raise CaseError(f"{self.path}: PDEBench's reader of one dimension refuses names in .h5; call it .hdf5")

    @property
    def _tensor(self) -> bool:
        return len(self.trajectories.axes) == 1 and list(self.trajectories.fields.values()) == [0]

    def _open(self) -> None:
        h5py, held = imported("h5py"), self.trajectories
        self._file = file = h5py.File(self.temporary, "w")
        file.attrs.update({"name": held.name, "fields": list(held.fields), **held.attributes})
        self._grid: Any = None
        if not self._tensor:
            self._digits = max(_LEAST_DIGITS, len(str(held.samples - 1)))
            return
        file.create_dataset("tensor", (held.samples, *held.shape(next(iter(held.fields)))), "f4")
        file.create_dataset("x-coordinate", data=np.asarray(held.centres[0], np.float32))
        file.create_dataset("t-coordinate", data=np.asarray(held.times, np.float32))
        if held.absorbing is not None:
            file.create_dataset("mask", data=held.absorbing)
        for names, kind in ((held.numbers, "f4"), (held.texts, h5py.string_dtype())):
            for name in names:
                file.create_dataset(f"parameters/{name}", (held.samples,), kind)

    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        count = len(next(iter(fields.values())))
        own: dict[str, list[Any]] = {name: list(values) for name, values in [*numbers.items(), *texts.items()]}
        if self._tensor:
            self._file["tensor"][start : start + count] = fields[next(iter(self.trajectories.fields))]
            for name, values in own.items():
                self._file[f"parameters/{name}"][start : start + count] = values
            return
        order = self.trajectories.fields
        channels = [fields[name] if order[name] else fields[name][..., None] for name in order]
        data = np.concatenate(channels, axis=-1)
        for row in range(count):
            group = self._file.create_group(f"{start + row:0{self._digits}}")
            group.create_dataset("data", data=data[row])
            if self._grid is None:
                self._grid, self._mask = self._make_grid(group), self._make_mask(group)
            else:
                group["grid"] = self._grid
                if self._mask is not None:
                    group["mask"] = self._mask
            group.attrs["config"] = self._config(start + row)
            for name, values in own.items():
                group.attrs[name] = values[row]

    def _make_grid(self, group: Any) -> Any:
        """The coordinates, made in the group of one run; the groups of all runs share them."""
        held, made = self.trajectories, group.create_group("grid")
        for name, values in zip((*held.axes, "t"), (*held.centres, held.times), strict=True):
            made.create_dataset(name, data=np.asarray(values, np.float32))
        return made

    def _make_mask(self, group: Any) -> Any:
        """Which cells absorb, in the group of one run, shared by all; None if none does."""
        absorbing = self.trajectories.absorbing
        return None if absorbing is None else group.create_dataset("mask", data=absorbing)

    def _config(self, sample: int) -> str:
        """The configuration in YAML that PDEBench's readers of single runs load; JSON is YAML."""
        held = self.trajectories
        space = {
            key: value
            for axis, edge in zip(held.axes, held.edges, strict=True)
            for key, value in zip(_ENDS[axis], (float(edge[0]), float(edge[-1]), len(edge) - 1), strict=True)
        }
        times = {"t": float(held.times[-1]), "tdim": len(held.times)}
        return json.dumps({"name": held.name, "sim": {**space, **times, "seed": sample}})

    def _finish(self) -> None:
        self._file.close()
