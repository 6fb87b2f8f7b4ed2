"""NAME.xmf2, the file that ParaView opens: XDMF 2 text that refers to the arrays in NAME.nc."""

from __future__ import annotations

import html
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fvflow.errors import CaseError, OutputError
from fvflow.mesh import Mesh, topology, topology_kind
from fvflow.mesh.netcdf_file import NetCDFFile, opened

_COLLECTION = '<Grid Name="fvflow" GridType="Collection" CollectionType="Temporal">'
_HEAD = 300  # characters within which that stands
_UNFOLLOWED = re.compile(r"^ |[:\\]|[^ -~]")  # in names: XDMF ends them at a colon and drops blanks in front
_POSITION = "position"
_MEASURES = {"cell_length": 1, "cell_area": 2, "cell_volume": 3}


@dataclass(frozen=True)
class Description:
    """What NAME.xmf2 says of the arrays in NAME.nc."""

    kind: str
    """XDMF's type of the topology."""
    topology: tuple[int, ...]
    """Shape of /paraview/topology."""
    elements: int
    """Number of cells that are drawn."""
    nodes: int
    """Number of nodes, with three coordinates each."""
    shape: tuple[int, ...]
    """Shape of a field at one time."""
    at_nodes: bool
    """Whether a field has its values at the nodes, not in the cells."""
    times: tuple[float, ...]
    """The saved times."""
    fields: tuple[str, ...]
    """Names of the fields, the one that is coloured at first in front."""
    precision: int
    """Bytes of a value of a field."""
    particles: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shapes at one time of what particles carry, (particle,) or (particle, axis), by name; empty if not drawn."""

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        times: Sequence[float],
        fields: Sequence[str],
        single: bool = False,
        particles: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Description:
        """That of a run on a mesh, with the shapes of what particles carry."""
        kind, cells = topology(mesh)
        return cls(
            kind,
            cells.shape,
            len(mesh.plot_cells),
            len(mesh.points),
            mesh.shape,
            mesh.point_data,
            tuple(times),
            tuple(fields),
            4 if single else 8,
            _drawn(particles or {}),
        )

    @classmethod
    def stored(cls, path: Path) -> Description:
        """That of a result; raises OutputError if the file is not one or is damaged."""
        try:
            with opened(str(path), fault="it is not complete") as file:
                return cls._of_file(path, file)
        except CaseError as error:
            raise OutputError(*error.args) from None

    @classmethod
    def _of_file(cls, path: Path, file: NetCDFFile) -> Description:
        if not file.is_result:
            raise OutputError(f"{path}: is not a result of fvflow (its source is {file.source or 'not given'})")
        fields, cells = tuple(file.fields_in_time()), file.shape_of("paraview/topology")
        if "rho" not in fields:
            raise file.incomplete("it has no rho over time")
        shape = file.shape_of("rho")[1:]
        dimension = next((axes for measure, axes in _MEASURES.items() if measure in file.variables), 0)
        kind = topology_kind(dimension, cells)
        if kind is None:
            raise file.incomplete(f"its cells have the shape {cells} in {dimension} dimensions")
        return cls(
            kind,
            cells,
            math.prod(shape) if kind == "Mixed" else cells[0],
            file.shape_of("paraview/points")[0],
            shape,
            file.dimensions_of("rho")[-1] == "mesh_node",
            tuple(file.numbers("time", 1).tolist()),
            fields,
            file.itemsize_of("rho"),
            _drawn({name: file.shape_of(f"particles/{name}")[1:] for name in file.names_in("particles")}),
        )


def _drawn(particles: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What is drawn of particles: positions in two or three dimensions, on which numbers stand."""
    if len(place := particles.get(_POSITION, ())) < 2 or place[1] < 2:
        return {}
    return {name: shape for name, shape in particles.items() if name == _POSITION or len(shape) == 1}


def write(path: Path, description: Description, target: Path | None = None) -> Path:
    """Write NAME.xmf2 for the result NAME.nc, or `target` for another file of the same arrays; raises OutputError.

    .xmf2 is the extension for which ParaView offers exactly one reader.
    """
    target = path.with_suffix(".xmf2") if target is None else target
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with open(temporary, "w", encoding="ascii") as file:
            for line in _lines(path.name, description):
                file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); is there room?") from error
    return target


def rewrite(path: Path) -> Path:
    """Write NAME.xmf2 anew for a result that was renamed, moved, or lost it; raises OutputError."""
    description = Description.stored(path)
    check(path)
    return write(path, description)


def check(path: Path) -> None:
    """Raise OutputError, before the run, if ParaView cannot follow the name of a result.

    Also if its .xmf2 cannot be written or belongs to something else.
    """
    if odd := _UNFOLLOWED.search(path.name):
        raise OutputError(
            f"{path}: ParaView opens no result with {odd.group()!r} there in its name; use another name, such as "
            f"{path.with_name(_proposed(path.name))}"
        )
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


def _proposed(name: str) -> str:
    """A name like this one that ParaView can follow: letters without accents, and - for what is left."""
    letters = (each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    stem, dot, ending = _UNFOLLOWED.sub("-", "".join(letters)).rpartition(".")
    return f"{stem.strip(' -') or 'result'}{dot}{ending}"


def _lines(name: str, described: Description) -> Iterator[str]:
    source = html.escape(name, quote=False)
    yield '<?xml version="1.0" ?>'
    yield '<Xdmf Version="2.0">'
    yield " <Domain>"
    yield f"  {_COLLECTION}"
    for index, time in enumerate(described.times):
        if not described.particles:
            yield from _mesh_lines(source, described, index, time)
            continue
        yield f'   <Grid Name="both" GridType="Collection" CollectionType="Spatial"><Time Value="{time!r}"/>'
        yield from _mesh_lines(source, described, index, time)
        yield from _particle_lines(source, described, index, time)
        yield "   </Grid>"
    yield "  </Grid>"
    yield " </Domain>"
    yield "</Xdmf>"


def _mesh_lines(source: str, described: Description, index: int, time: float) -> Iterator[str]:
    """The mesh at one time, with its fields."""
    extra = ' NodesPerElement="2"' if described.kind == "Polyline" else ""
    centre = "Node" if described.at_nodes else "Cell"
    yield f'   <Grid Name="mesh" GridType="Uniform"><Time Value="{time!r}"/>'
    yield f'    <Topology TopologyType="{described.kind}"{extra} NumberOfElements="{described.elements}">'
    yield (
        f'     <DataItem Dimensions="{_spaced(described.topology)}" NumberType="Int" Precision="4" Format="HDF">'
        f"{source}:/paraview/topology</DataItem>"
    )
    yield "    </Topology>"
    yield '    <Geometry GeometryType="XYZ">'
    yield (
        f'     <DataItem Dimensions="{described.nodes} 3" NumberType="Float" Precision="8" Format="HDF">'
        f"{source}:/paraview/points</DataItem>"
    )
    yield "    </Geometry>"
    for field_name in described.fields:
        yield f'    <Attribute Name="{field_name}" AttributeType="Scalar" Center="{centre}">'
        yield from _slab(f"{source}:/{field_name}", described, index, described.shape, flat=True)
        yield "    </Attribute>"
    yield "   </Grid>"


def _particle_lines(source: str, described: Description, index: int, time: float) -> Iterator[str]:
    """The particles at one time, as points."""
    place = described.particles[_POSITION]
    yield f'   <Grid Name="particles" GridType="Uniform"><Time Value="{time!r}"/>'
    yield f'    <Topology TopologyType="Polyvertex" NodesPerElement="1" NumberOfElements="{place[0]}"/>'
    yield f'    <Geometry GeometryType="{"XYZ"[: place[1]]}">'
    yield from _slab(f"{source}:/particles/{_POSITION}", described, index, place)
    yield "    </Geometry>"
    for carried, shape in described.particles.items():
        if carried != _POSITION:
            yield f'    <Attribute Name="{carried}" AttributeType="Scalar" Center="Node">'
            yield from _slab(f"{source}:/particles/{carried}", described, index, shape)
            yield "    </Attribute>"
    yield "   </Grid>"


def _slab(array: str, described: Description, index: int, shape: Sequence[int], *, flat: bool = False) -> Iterator[str]:
    """The values at one time of an array over time."""
    rank = 1 + len(shape)
    chosen = f"{index} {' '.join(['0'] * len(shape))} {' '.join(['1'] * rank)} 1 {_spaced(shape)}"
    yield f'     <DataItem ItemType="HyperSlab" Dimensions="{math.prod(shape) if flat else _spaced(shape)}">'
    yield f'      <DataItem Dimensions="3 {rank}" NumberType="Int" Format="XML">{chosen}</DataItem>'
    yield (
        f'      <DataItem Dimensions="{_spaced((len(described.times), *shape))}" NumberType="Float" '
        f'Precision="{described.precision}" Format="HDF">{array}</DataItem>'
    )
    yield "     </DataItem>"


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))
