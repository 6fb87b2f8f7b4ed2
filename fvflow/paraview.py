"""NAME.xmf2, the file that ParaView opens: XDMF 2 text that refers to the arrays in NAME.nc."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fvflow.errors import OutputError
from fvflow.mesh import Mesh, topology

_COLLECTION = '<Grid Name="fvflow" GridType="Collection" CollectionType="Temporal">'
_HEAD = 300  # characters within which that stands


def write(path: Path, mesh: Mesh, times: Sequence[float], fields: Sequence[str], single: bool = False) -> Path:
    """Write NAME.xmf2 for the result NAME.nc; raises OutputError.

    .xmf2 is the extension for which ParaView offers exactly one reader.
    """
    target = path.with_suffix(".xmf2")
    temporary = target.with_suffix(".xmf2.tmp")
    try:
        with open(temporary, "w", encoding="ascii", errors="xmlcharrefreplace") as file:
            for line in _lines(path.name, mesh, times, fields, 4 if single else 8):
                file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); is there room?") from error
    return target


def check(path: Path) -> None:
    """Raise OutputError, before the run, if the .xmf2 of a result cannot be written or belongs to something else."""
    if not path.suffix or not (target := path.with_suffix(".xmf2")).exists():
        return
    if not target.is_file():
        what = "a directory" if target.is_dir() else "no regular file"
        raise OutputError(
            f"{target}: is {what}, but the file for ParaView needs this name; use another name for the result"
        )
    try:
        with open(target, encoding="ascii", errors="replace") as file:
            start = file.read(_HEAD)
    except OSError as error:
        raise OutputError(f"{target}: cannot be read ({error.strerror}); use another name for the result") from error
    if _COLLECTION not in start:
        raise OutputError(
            f"{target}: is not a file of fvflow and would be overwritten; use another name for the result"
        )


def remove(path: Path) -> None:
    """Remove the .xmf2 of a result that is about to be replaced; raises OutputError."""
    target = path.with_suffix(".xmf2")
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be replaced ({error.strerror})") from error


def _lines(name: str, mesh: Mesh, times: Sequence[float], fields: Sequence[str], precision: int) -> Iterator[str]:
    source = html.escape(name, quote=False)
    kind, cells = topology(mesh)
    extra = ' NodesPerElement="2"' if kind == "Polyline" else ""
    geometry = [
        f'    <Topology TopologyType="{kind}"{extra} NumberOfElements="{len(mesh.plot_cells)}">',
        f'     <DataItem Dimensions="{" ".join(map(str, cells.shape))}" NumberType="Int" Precision="4" Format="HDF">'
        f"{source}:/paraview/topology</DataItem>",
        "    </Topology>",
        '    <Geometry GeometryType="XYZ">',
        f'     <DataItem Dimensions="{len(mesh.points)} 3" NumberType="Float" Precision="8" Format="HDF">'
        f"{source}:/paraview/points</DataItem>",
        "    </Geometry>",
    ]
    centre = "Node" if mesh.point_data else "Cell"
    whole = " ".join(map(str, (len(times), *mesh.shape)))
    rank = 1 + len(mesh.shape)
    yield '<?xml version="1.0" ?>'
    yield '<Xdmf Version="2.0">'
    yield " <Domain>"
    yield f"  {_COLLECTION}"
    for index, time in enumerate(times):
        yield f'   <Grid Name="mesh" GridType="Uniform"><Time Value="{time!r}"/>'
        yield from geometry
        start = " ".join(["0"] * (rank - 1))
        count = " ".join(map(str, mesh.shape))
        for field in fields:
            yield f'    <Attribute Name="{field}" AttributeType="Scalar" Center="{centre}">'
            yield f'     <DataItem ItemType="HyperSlab" Dimensions="{mesh.cells}">'
            yield (
                f'      <DataItem Dimensions="3 {rank}" NumberType="Int" Format="XML">'
                f"{index} {start} {' '.join(['1'] * rank)} 1 {count}</DataItem>"
            )
            yield (
                f'      <DataItem Dimensions="{whole}" NumberType="Float" Precision="{precision}" Format="HDF">'
                f"{source}:/{field}</DataItem>"
            )
            yield "     </DataItem>"
            yield "    </Attribute>"
        yield "   </Grid>"
    yield "  </Grid>"
    yield " </Domain>"
    yield "</Xdmf>"
