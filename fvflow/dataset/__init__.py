"""Results: from frames to xarray and netCDF, and back. Only this package knows the format of a result."""

from fvflow.dataset.frame import Frame
from fvflow.dataset.layout import UNTITLED, Layout
from fvflow.dataset.memory import Memory
from fvflow.dataset.reader import opened, read, title_of
from fvflow.dataset.replacing import parts_of, require_nothing_replaced
from fvflow.dataset.writer import Writer, save_mesh

__all__ = [
    "UNTITLED",
    "Frame",
    "Layout",
    "Memory",
    "Writer",
    "opened",
    "parts_of",
    "read",
    "require_nothing_replaced",
    "save_mesh",
    "title_of",
]
