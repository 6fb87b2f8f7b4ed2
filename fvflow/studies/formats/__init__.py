"""Files of many trajectories on one grid, in the layouts that makers of neural models read.

with writer("well", "train.hdf5", Trajectories(grid, times, samples=10000, fields={"rho": 0})) as file:
    file.write(0, {"rho": rho})  # (sample, time, x, y), any number of samples at a time
"""

from __future__ import annotations

import difflib
import os

from fvflow.errors import CaseError
from fvflow.studies.formats.base import OPEN, PERIODIC, WALL, Trajectories, TrajectoryWriter, x_first
from fvflow.studies.formats.netcdf import NetCDFWriter
from fvflow.studies.formats.npz import NpzWriter
from fvflow.studies.formats.pdebench import PDEBenchWriter
from fvflow.studies.formats.well import WellWriter
from fvflow.studies.formats.zarr import ZarrWriter

WRITERS: dict[str, type[TrajectoryWriter]] = {
    "netcdf": NetCDFWriter,
    "npz": NpzWriter,
    "pdebench": PDEBenchWriter,
    "well": WellWriter,
    "zarr": ZarrWriter,
}
"""The writers by the name of their layout."""

__all__ = ["OPEN", "PERIODIC", "WALL", "WRITERS", "Trajectories", "TrajectoryWriter", "writer", "x_first"]


def writer(layout: str, path: str | os.PathLike[str], trajectories: Trajectories) -> TrajectoryWriter:
    """The writer of a layout, open; raises CaseError for an unknown layout, and as `TrajectoryWriter` does."""
    if layout not in WRITERS:
        close = difflib.get_close_matches(layout, WRITERS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise CaseError(f"there is no layout {layout!r}; there are {', '.join(WRITERS)}{meant}")
    return WRITERS[layout](path, trajectories)
