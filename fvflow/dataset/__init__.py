"""Results: from frames to xarray and netCDF, and back. Only this package knows the format of a result."""

from fvflow.dataset.frame import Frame
from fvflow.dataset.layout import Layout
from fvflow.dataset.memory import Memory
from fvflow.dataset.reader import read
from fvflow.dataset.writer import Writer, parts_of, save_mesh

__all__ = ["Frame", "Layout", "Memory", "Writer", "parts_of", "read", "save_mesh"]
