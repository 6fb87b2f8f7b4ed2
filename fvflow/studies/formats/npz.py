"""Trajectories as numpy arrays in one .npz file."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fvflow.mesh import Array
from fvflow.studies.formats.base import Float32, TrajectoryWriter

_ARRAY = ".npy"


class NpzWriter(TrajectoryWriter):
    """Fields (sample, time, x[, y[, z]][, component]), time, x, y, z, x_edges, ..., and what each run has (sample,).

    The arrays are not compressed, so that readers may map them into memory.
    """

    endings = (".npz",)
    title = "npz"

    def _open(self) -> None:
        held = self.trajectories
        self._folder = self.path.with_name(f"{self.path.name}.parts")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        self._arrays: dict[str, Any] = {
            name: np.lib.format.open_memmap(
                self._folder / f"{name}{_ARRAY}", "w+", np.float32, (held.samples, *held.shape(name))
            )
            for name in held.fields
        }
        self._small: dict[str, Any] = {"time": held.times, "axes": np.array(list(held.axes))}
        self._small |= dict(zip(held.axes, held.centres, strict=True))
        self._small |= {f"{axis}_edges": edge for axis, edge in zip(held.axes, held.edges, strict=True)}
        self._small |= {name: np.zeros(held.samples) for name in held.numbers}
        self._small |= {name: [""] * held.samples for name in held.texts}
        self._small |= {name: np.array(value) for name, value in held.attributes.items()}

    def _write(
        self,
        start: int,
        fields: Mapping[str, Float32],
        numbers: Mapping[str, Array],
        texts: Mapping[str, Sequence[str]],
    ) -> None:
        for name, values in fields.items():
            self._arrays[name][start : start + len(values)] = values
        for name, own in {**numbers, **texts}.items():
            self._small[name][start : start + len(own)] = own

    def _finish(self) -> None:
        self._arrays.clear()

    def _rename(self) -> None:
        with zipfile.ZipFile(self.temporary, "w", allowZip64=True) as archive:
            for name in self.trajectories.fields:
                archive.write(self._folder / f"{name}{_ARRAY}", f"{name}{_ARRAY}")
            for name, values in self._small.items():
                with archive.open(f"{name}{_ARRAY}", "w") as member:
                    np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)
        shutil.rmtree(self._folder)
        super()._rename()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        super()._remove()
