"""Results: from frames to xarray and netCDF, and back. Only this package knows the format of a result."""

from fvflow.dataset.checkpoint import FORMAT, Tree
from fvflow.dataset.frame import Frame
from fvflow.dataset.layout import UNTITLED, Layout
from fvflow.dataset.lock import Lock
from fvflow.dataset.memory import Memory
from fvflow.dataset.netcdf import save_mesh
from fvflow.dataset.point_output import write_points
from fvflow.dataset.reader import densities, opened, read, title_of
from fvflow.dataset.replacing import Resumable, has_checkpoint, parts_of, require_nothing_replaced, resumable
from fvflow.dataset.shared_writer import SharedWriter, divided_tree
from fvflow.dataset.stored_mesh import stored_mesh
from fvflow.dataset.writer import Writer, continued

__all__ = [
    "FORMAT",
    "UNTITLED",
    "Frame",
    "Layout",
    "Lock",
    "Memory",
    "Resumable",
    "SharedWriter",
    "Tree",
    "Writer",
    "continued",
    "densities",
    "divided_tree",
    "has_checkpoint",
    "opened",
    "parts_of",
    "read",
    "require_nothing_replaced",
    "resumable",
    "save_mesh",
    "stored_mesh",
    "title_of",
    "write_points",
]
