"""Windows of the frames of data sets for PyTorch, read from the file when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.errors import CaseError, OutputError
from fvflow.input_files import require_regular

_HDF5 = (".hdf5", ".h5")


class Frames:
    """A data set of windows of `length` frames in a row, for `torch.utils.data.DataLoader`.

    The file is one of `fvflow data` in the layout netcdf or well. An item is a mapping of tensors: the field (length,
    x[, y[, z]]), `time` (length,), the number of the `sample`, and each of the `numbers` of the sample that are asked
    for, such as drawn parameters. Items are numbered sample by sample; windows begin `stride` frames apart. Only what
    is asked for is read; each process opens the file on its own. Raises CaseError for windows that no sample has and
    names that the file does not hold, OutputError for a file that cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        length: int = 2,
        stride: int = 1,
        *,
        field: str = "rho",
        numbers: Sequence[str] = (),
    ) -> None:
        self.path, self.length, self.stride, self.field = Path(path), length, stride, field
        require_regular(self.path, "a data set", OutputError)
        self._opened: tuple[int, Any] | None = None
        self._well = self.path.suffix in _HDF5
        frames = self._variable(f"t0_fields/{field}" if self._well else field)
        self.samples, self.times = int(frames.shape[0]), int(frames.shape[1])
        self.time = np.asarray(self._variable("dimensions/time" if self._well else "time")[:], np.float32)
        self._numbers = {
            name: np.asarray(self._variable(f"scalars/{name}" if self._well else name)[:]) for name in numbers
        }
        if not (1 <= length <= self.times and stride >= 1):
            raise CaseError(
                f"{self.path}: windows of {length} frames, {stride} apart; the samples have {self.times} frames: "
                f"take 1 to {self.times}, a frame or more apart"
            )
        self.windows = (self.times - length) // stride + 1

    def _file(self) -> Any:
        """The file, open in this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), self._open()
        return self._opened[1]

    def _open(self) -> Any:
        try:
            if self.path.suffix in _HDF5:
                import h5py

                return h5py.File(self.path, "r")
            import netCDF4

            return netCDF4.Dataset(self.path, "r")
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error}); give a file of fvflow data") from None

    def _variable(self, name: str) -> Any:
        file = self._file()
        held = file if self._well else file.variables
        if name not in held:
            raise CaseError(f"{self.path}: holds no {name.split('/')[-1]}; ncdump -h and h5dump -H tell what it holds")
        return held[name]

    def __len__(self) -> int:
        """Number of windows of all samples."""
        return self.samples * self.windows

    def arrays(self, item: int) -> dict[str, Any]:
        """An item as numpy arrays."""
        if not -len(self) <= item < len(self):
            raise IndexError(f"item {item} of {len(self)}")
        sample, window = divmod(item % len(self), self.windows)
        frames = slice(window * self.stride, window * self.stride + self.length)
        values = self._variable(f"t0_fields/{self.field}" if self._well else self.field)[sample, frames]
        found = {name: column[sample] for name, column in self._numbers.items()}
        return {self.field: np.asarray(values, np.float32), "time": self.time[frames], "sample": sample, **found}

    def __getitem__(self, item: int) -> dict[str, Any]:
        """An item as tensors."""
        import torch

        return {name: torch.as_tensor(value) for name, value in self.arrays(item).items()}

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs, without the open file."""
        return {**vars(self), "_opened": None}
