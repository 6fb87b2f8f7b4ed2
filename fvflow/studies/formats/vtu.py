"""VTK's XML files of unstructured meshes (.vtu), and collections of them over time (.pvd).

The layout is that of "VTK File Formats" in the VTK User's Guide: arrays inline in base64, each with its number of
bytes in front.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.mesh import Index, Mesh

_CODES = {  # VTK's number of a shape, by dimension and corners
    (1, 2): 3,
    (2, 3): 5,
    (2, 4): 9,
    (3, 4): 10,
    (3, 5): 14,
    (3, 6): 13,
    (3, 8): 12,
}
_POLYGON = 7
_TYPES = {"<f4": "Float32", "<f8": "Float64", "<i4": "Int32", "<i8": "Int64", "|u1": "UInt8"}


class MeshText:
    """The part of a .vtu file that tells the mesh, made once for all times."""

    def __init__(self, mesh: Mesh) -> None:
        cells = mesh.plot_cells
        self.at_nodes, self.nodes, self.cells = mesh.point_data, len(mesh.points), len(cells)
        self.lines = list(_mesh_lines(mesh, cells))


def write_vtu(path: Path, mesh: MeshText, time: float, fields: Mapping[str, Any], volume: Any) -> None:
    """Write fields (cell,) at a time; `volume` (cell,) are the measures of the cells."""
    place = "PointData" if mesh.at_nodes else "CellData"
    with open(path, "w", encoding="ascii") as file:
        for line in (
            '<?xml version="1.0"?>',
            '<VTKFile type="UnstructuredGrid" version="1.0" byte_order="LittleEndian" header_type="UInt64">',
            "<UnstructuredGrid>",
            f"<FieldData>{_array('TimeValue', np.array([time]), tuples=True)}</FieldData>",
            f'<Piece NumberOfPoints="{mesh.nodes}" NumberOfCells="{mesh.cells}">',
            *mesh.lines,
            f'<{place} Scalars="{html.escape(next(iter(fields)))}">',
            *(_array(name, values) for name, values in {**fields, "volume": volume}.items()),
            f"</{place}>",
            "</Piece>",
            "</UnstructuredGrid>",
            "</VTKFile>",
        ):
            file.write(f"{line}\n")


def write_pvd(path: Path, times: Sequence[float], files: Sequence[str]) -> None:
    """Write the collection of files, each at its time."""
    with open(path, "w", encoding="ascii", errors="xmlcharrefreplace") as file:
        file.write('<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1">\n<Collection>\n')
        for time, name in zip(times, files, strict=True):
            file.write(f'<DataSet timestep="{float(time)!r}" part="0" file="{html.escape(name)}"/>\n')
        file.write("</Collection>\n</VTKFile>\n")


def _mesh_lines(mesh: Mesh, cells: Index) -> Iterator[str]:
    points = np.zeros((len(mesh.points), 3))
    points[:, : mesh.dimension] = mesh.points
    sizes = (cells >= 0).sum(axis=1)
    shapes = {int(size): _CODES.get((mesh.dimension, int(size)), _POLYGON) for size in np.unique(sizes)}
    kinds = np.array([shapes[int(size)] for size in sizes], np.uint8)
    yield f"<Points>{_array('Points', points)}</Points>"
    yield "<Cells>"
    yield _array("connectivity", cells[cells >= 0].astype("<i8"))
    yield _array("offsets", np.cumsum(sizes).astype("<i8"))
    yield _array("types", kinds)
    yield "</Cells>"


def _array(name: str, values: Any, *, tuples: bool = False) -> str:
    """A DataArray element."""
    array = np.ascontiguousarray(values)
    array = array.astype(array.dtype.newbyteorder("<")) if array.dtype.itemsize > 1 else array
    data = array.tobytes()
    text = base64.b64encode(np.uint64(len(data)).tobytes() + data).decode("ascii")
    components = f' NumberOfComponents="{array.shape[1]}"' if array.ndim > 1 else ""
    count = f' NumberOfTuples="{len(array)}"' if tuples else ""
    kind = _TYPES[array.dtype.str]
    return f'<DataArray type="{kind}" Name="{html.escape(name)}"{components}{count} format="binary">{text}</DataArray>'
