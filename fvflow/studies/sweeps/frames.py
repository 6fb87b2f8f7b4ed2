"""What the cases of a sweep store at their saved times: sizes that differ are filled up, fields are kept by mesh."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.dataset.sweeps import OVER_TIME
from fvflow.errors import CaseError
from fvflow.studies.sweeps.outcome import Entry, Outcome


@dataclass
class _Mesh:
    """The mesh of some cases, and which they are."""

    entries: dict[str, Entry]
    fields: dict[str, Entry] = field(default_factory=dict)
    cases: list[int] = field(default_factory=list)
    frames: int = 0


@dataclass
class FrameTables:
    """The variables over time of a sweep: seen in all outcomes, defined, then stored case by case."""

    _series: dict[str, Entry] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _times: list[Any] = field(default_factory=list)
    _meshes: dict[str, _Mesh] = field(default_factory=dict)
    _count: int = 0
    _filled: dict[str, Any] = field(default_factory=dict)  # series in memory, on their way to the file

    def see(self, outcome: Outcome) -> None:
        """Take note of the names and sizes of the next case."""
        number, self._count = self._count, self._count + 1
        for name, entry in outcome.entries.items():
            if entry.role == "series":
                self._series.setdefault(name, entry)
                for dim, size in zip(entry.dims, entry.values.shape, strict=True):
                    self._sizes[dim] = max(self._sizes.get(dim, 0), size)
        if "time" in outcome.entries:
            times = np.array(outcome.entries["time"].values)
            if not any(np.array_equal(times, known) for known in self._times):
                self._times.append(times)
        self._see_mesh(number, outcome)

    def _see_mesh(self, number: int, outcome: Outcome) -> None:
        entries = {name: entry for name, entry in outcome.entries.items() if entry.role == "mesh"}
        fields = {name: entry for name, entry in outcome.entries.items() if entry.role == "frame"}
        if not fields:
            return
        found = self._meshes.setdefault(_fingerprint(entries, fields), _Mesh(entries))
        found.cases.append(number)
        for name, entry in fields.items():
            found.fields.setdefault(name, entry)
            found.frames = max(found.frames, entry.values.shape[0])

    @property
    def _same_times(self) -> bool:
        return len(self._times) == 1

    @property
    def _time(self) -> str:
        """The dimension of saved times: without coordinate where these differ."""
        return "time" if self._same_times else "frame"

    def define(self, file: Any, dims: tuple[str, ...], shape: tuple[int, ...]) -> None:
        """Define all variables, and fill those that belong to no case; raises CaseError if two names are the same."""
        for dim, size in self._sizes.items():
            file.createDimension(self._time if dim == "time" else dim, size)
        for name, entry in self._series.items():
            if name == "time" and self._same_times:
                _made(file, "time", entry, ("time",))[:] = self._times[0]
                continue
            _made(file, _stored_name(name), entry, (*dims, *self._renamed(entry.dims)))
            sizes = tuple(self._sizes[dim] for dim in entry.dims)
            self._filled[name] = np.full((*shape, *sizes), np.nan)
        for number, mesh in enumerate(self._meshes.values(), start=1):
            target = file if len(self._meshes) == 1 else file.createGroup(f"mesh_{number}")
            self._define_mesh(target, mesh, dims if len(self._meshes) == 1 else ("mesh_case",))

    def _define_mesh(self, target: Any, mesh: _Mesh, dims: tuple[str, ...]) -> None:
        if dims == ("mesh_case",):
            target.createDimension("mesh_case", len(mesh.cases))
            number = target.createVariable("case_number", "i4", ("mesh_case",))
            number.long_name = "number of the case, from 0, the last swept path fastest"
            number[:] = mesh.cases
        for entry in (*mesh.entries.values(), *mesh.fields.values()):
            for dim, size in zip(entry.dims, entry.values.shape, strict=True):
                if dim != "time" and dim not in target.dimensions and not (dim in self._sizes and self._is_in(target)):
                    target.createDimension(dim, size)
        for name, entry in mesh.entries.items():
            _made(target, name, entry, entry.dims)[...] = entry.values
        for name, entry in mesh.fields.items():
            shape = (1,) * (len(dims) + 1) + entry.values.shape[1:]
            _made(target, name, entry, (*dims, *self._renamed(entry.dims)), shape)

    @staticmethod
    def _is_in(target: Any) -> bool:
        return target.parent is None

    def _renamed(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._time if dim == "time" else dim for dim in dims)

    def store(self, file: Any, number: int, place: tuple[int, ...], outcome: Outcome) -> None:
        """Store the fields of a case; its series are kept until `finish`."""
        for name, entry in outcome.entries.items():
            if name in self._filled:
                self._filled[name][(*place, *map(slice, entry.values.shape))] = entry.values
        for index, mesh in enumerate(self._meshes.values(), start=1):
            if number in mesh.cases:
                several = len(self._meshes) > 1
                target = file[f"mesh_{index}"] if several else file
                where = (mesh.cases.index(number),) if several else place
                for name in mesh.fields:
                    values = outcome.entries[name].values
                    for frame in range(len(values)):
                        target[name][(*where, frame)] = values[frame]

    def finish(self, file: Any) -> None:
        """Store the series of all cases."""
        for name, values in self._filled.items():
            file[_stored_name(name)][...] = values


def _stored_name(name: str) -> str:
    return name if name == "time" else name + OVER_TIME


def _made(target: Any, name: str, entry: Entry, dims: tuple[str, ...], chunks: tuple[int, ...] | None = None) -> Any:
    """A new variable; floating-point numbers that are not stored are nan."""
    if name in target.variables:
        raise CaseError(f"{name} is a path of the sweep and a variable of its cases; sweep over another path")
    attributes = dict(entry.attributes)
    dtype = entry.values.dtype
    fill = attributes.pop("fill", np.nan if dtype.kind == "f" else False)
    variable = target.createVariable(name, dtype, dims, fill_value=fill, fletcher32=bool(dims), chunksizes=chunks)
    variable.setncatts(attributes)
    return variable


def _fingerprint(entries: Mapping[str, Entry], fields: Mapping[str, Entry]) -> str:
    """What tells meshes from each other, and the shapes of what is on them."""
    digest = hashlib.sha256()
    for name, entry in sorted(entries.items()):
        digest.update(repr((name, entry.dims, entry.values.shape, entry.values.dtype.str)).encode())
        digest.update(np.ascontiguousarray(entry.values).tobytes())
    for name, entry in sorted(fields.items()):
        digest.update(repr((name, entry.dims, entry.values.shape[1:], entry.values.dtype.str)).encode())
    return digest.hexdigest()
