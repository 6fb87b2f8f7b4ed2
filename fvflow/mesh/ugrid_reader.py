"""Meshes, and fields on them, from results of fvflow and other UGRID-1.0 files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index, freeze
from fvflow.mesh.base import MeshDescription
from fvflow.mesh.control_volumes import Centres, ControlVolumes, control_volume_mesh, require_compatible, restored
from fvflow.mesh.core import Mesh
from fvflow.mesh.elements import FilePath, planar_points
from fvflow.mesh.grid import CIRCULAR, Grid
from fvflow.mesh.netcdf_file import NetCDFFile, opened
from fvflow.mesh.polytopes import mesh_from_cells
from fvflow.mesh.revolution import DISC, RADIUS_ANGLE, RADIUS_OF, Revolution

_SAME_TIME = 1e-9  # difference below which two times are the same, relative to the last one
_UNDECLARED_FILL = 2.0**31 - 1  # what writers pad rows with and do not always declare
_DEGREES = re.compile(r"^degrees?(_(north|south|east|west|N|S|E|W|true))?$", re.IGNORECASE)
_GEOGRAPHIC = ("longitude", "latitude", "grid_longitude", "grid_latitude")
_OTHERS = {  # other conventions, by variables that they have
    frozenset({"verticesOnCell", "nEdgesOnCell"}): "MPAS",
    frozenset({"grid_corner_lat", "grid_corner_lon"}): "SCRIP",
    frozenset({"vertex_of_cell", "clon", "clat"}): "ICON",
    frozenset({"coordx", "connect1"}): "Exodus II (which mesh kind meshio reads)",
}
_PART = {2: "face", 3: "volume"}  # UGRID's name of the cells, by the dimension of the topology


@dataclass(frozen=True)
class Ugrid(MeshDescription):
    """The mesh of a result of fvflow (.nc), or of another UGRID-1.0 file.

    The mesh of a result is restored exactly, with the centres that its fluxes joined.
    """

    file: FilePath
    """Path of the netCDF file."""
    control_volumes: ControlVolumes = "auto"
    """The cells of the mesh, or the Voronoi boxes of its nodes, as for gmsh; not for a result of fvflow."""
    centres: Centres = "circumcentres"
    """Points that two-point fluxes join, as for gmsh; not for a result of fvflow."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, as for gmsh; not for a result of fvflow, which knows it."""
    kind: Literal["ugrid"] = "ugrid"

    def __post_init__(self) -> None:
        require_compatible(self.control_volumes, self.centres)

    @property
    def files(self) -> tuple[str, ...]:
        """The path of the netCDF file."""
        return (self.file,)

    def build(self) -> Mesh:
        """The mesh; imports netCDF4. Raises CaseError for a file without a complete topology of dimension 2 or 3."""
        with opened(self.file) as file:
            if not file.is_result:
                mesh = _mesh_of_topology(file, centroids=self.centres == "centroids")
                return control_volume_mesh(mesh, self.control_volumes, self.centres, self.axisymmetric)
            if (self.control_volumes, self.centres, self.axisymmetric) != ("auto", "circumcentres", False):
                raise CaseError(
                    f"{self.file}: the mesh of a result is used as it is stored; remove control_volumes, centres and "
                    "axisymmetric"
                )
            return _mesh_of_result(file)

    def refined(self, factor: int = 2) -> Ugrid:
        """Raises CaseError: the file holds one mesh."""
        raise CaseError("a mesh of kind ugrid cannot be refined; use the mesh kind that generated it")


def stored_field(path: str, name: str, time: float | None) -> tuple[Mesh, Array]:
    """The mesh of a result, and one of its cell fields (cell,) at a saved time; the last one if `time` is None.

    Raises CaseError if the file is not a result, or has no such field or time.
    """
    with opened(path) as file:
        if not file.is_result:
            raise CaseError(f"{path}: is not a result of fvflow (its source is {file.source or 'not given'})")
        fields = file.fields_in_time()
        if name not in fields:
            raise CaseError(f"{path}: has no field {name}; it has {', '.join(fields) or 'none'}")
        frame = _frame(file.numbers("time", 1), time, path)
        mesh, values = _mesh_of_result(file), np.ravel(file.slice_of(name, frame))
        if values.shape != (mesh.cells,):
            raise CaseError(f"{path}: {name} has {values.size} values, the mesh {mesh.cells} cells; give a cell field")
        return mesh, freeze(values)


def stored_time(path: str, time: float | None) -> float:
    """The saved time of a result that is nearest to a time, or its last; raises CaseError as `stored_field`."""
    with opened(path) as file:
        times = file.numbers("time", 1)
        return float(times[_frame(times, time, path)])


def _frame(times: Array, time: float | None, path: str) -> int:
    """The index of a saved time."""
    if not len(times):
        raise CaseError(f"{path}: has no saved times (a run that was interrupted, or a mesh); give a complete result")
    if time is None:
        return len(times) - 1
    nearest = int(np.argmin(np.abs(times - time)))
    if abs(times[nearest] - time) > _SAME_TIME * max(abs(times[-1]), abs(time)):
        raise CaseError(
            f"{path}: has no time {time:.15g}; the nearest is {times[nearest]:.15g}, the last {times[-1]:.15g}"
        )
    return nearest


def _mesh_of_result(file: NetCDFFile) -> Mesh:
    """The mesh of a result, restored exactly: a grid, cells of any shape, or Voronoi boxes of nodes."""
    if "mesh" not in file.variables:
        return _grid(file)
    elements = _mesh_of_topology(file, centroids=False, own=True)
    at_nodes = any(file.dimensions_of(name) == ("mesh_node",) for name in ("cell_area", "cell_volume"))
    revolution = _revolution(file, "mesh_node_x") if "mesh_node_x" in file.variables else None
    if revolution is not None and (revolution.dimension, elements.dimension) != (DISC, 2):
        raise file.incomplete(f"mesh_node_x is the radius of a {'disc' if revolution.dimension == DISC else 'ball'}")
    mesh = restored(elements, at_nodes, revolution)
    regions = {name: file.numbers(f"regions/{name}", 1) for name in file.names_in("regions")}
    for name, share in regions.items():
        if len(share) != mesh.cells:
            raise file.incomplete(f"region {name} has {len(share)} values, the mesh {mesh.cells} cells")
    return replace(mesh, regions={name: freeze(share) for name, share in regions.items()})


def _grid(file: NetCDFFile) -> Grid:
    """The grid whose cell boundaries are stored as bounds of the coordinates."""
    bounds = [file.numbers(f"{axis}_bnds", 2) for axis in "xyz" if f"{axis}_bnds" in file.variables]
    if not bounds:
        raise file.incomplete("there is neither a variable mesh nor x_bnds")
    for bound in bounds:
        if bound.shape[1] != 2 or not len(bound) or not (bound[:, 1] > bound[:, 0]).all():
            raise file.incomplete("the bounds of the cells do not increase")
    periodic = (axis for axis, name in enumerate("xyz"[: len(bounds)]) if _circular(file, name))
    edges = tuple(np.append(bound[:, 0], bound[-1, 1]) for bound in bounds)
    return Grid(edges, tuple(periodic), _revolution(file, "x"))


def _revolution(file: NetCDFFile, name: str) -> Revolution | None:
    """What the coordinate in a variable stands for, if it is a radius."""
    if not file.has_attribute(name, RADIUS_OF):
        return None
    dimension, angle = file.integer(name, RADIUS_OF, 2), file.number(name, RADIUS_ANGLE)
    if dimension not in (2, 3) or not angle > 0:
        raise file.incomplete(f"{name}:{RADIUS_OF} is {dimension} and {name}:{RADIUS_ANGLE} {angle:g}")
    return Revolution(2 if dimension == 2 else 3, angle)


def _circular(file: NetCDFFile, name: str) -> bool:
    """Whether the axis of a coordinate is periodic."""
    return file.has_attribute(name, "topology") and file.text(name, "topology") == CIRCULAR


def _mesh_of_topology(file: NetCDFFile, centroids: bool, own: bool = False) -> Mesh:
    """The mesh of the first topology of a file; `own`: with the centres and boundaries that a result stores."""
    topology, dimension = _topology(file)
    part = _PART[dimension]
    points = _coordinates(file, topology, "node_coordinates")
    if not dimension <= points.shape[1] <= 3:
        raise file.incomplete(f"the nodes of a topology of dimension {dimension} have {points.shape[1]} coordinates")
    cell_points = _cell_points(file, topology, part, len(points))
    if dimension == 2:
        points = planar_points(points, cell_points, file.path)
    centre, boundaries = None, {}
    if own:
        if file.has_attribute(topology, f"{part}_coordinates"):
            centre = _coordinates(file, topology, f"{part}_coordinates")
            if centre.shape != (len(cell_points), dimension):
                raise file.incomplete(f"the centres are {centre.shape}, the cells ({len(cell_points)}, {dimension})")
        boundaries = {name: _boundary(file, name, len(points), dimension) for name in file.names_in("boundaries")}
    return mesh_from_cells(points, cell_points, centre, centroids=centroids, boundaries=boundaries)


def _topology(file: NetCDFFile) -> tuple[str, int]:
    """The name of the first topology of cells in the plane or in space, and its dimension."""
    for name in file.variables:
        if file.has_attribute(name, "cf_role") and file.text(name, "cf_role") == "mesh_topology":
            dimension = file.integer(name, "topology_dimension", 0)
            if dimension in _PART:
                return name, dimension
    for signs, convention in _OTHERS.items():
        if signs <= set(file.variables):
            raise CaseError(
                f"{file.path}: is a mesh of {convention}, and no UGRID file; convert it to UGRID, with lengths in a "
                "plane as coordinates"
            )
    raise CaseError(f"{file.path}: has no UGRID topology of dimension 2 or 3; give the .nc file of a run")


def _coordinates(file: NetCDFFile, topology: str, attribute: str) -> Array:
    """The coordinates (point, dim) in the variables that an attribute of the topology names."""
    names = file.text(topology, attribute).split()
    for name in names:
        _require_lengths(file, name)
    columns = [file.numbers(name, 1) for name in names]
    if not columns or len({len(column) for column in columns}) > 1:
        raise file.incomplete(f"the coordinates in {attribute} are missing or differ in length")
    return np.stack(columns, axis=1)


def _require_lengths(file: NetCDFFile, name: str) -> None:
    """Raise CaseError if the coordinates in a variable are angles."""
    given = {key: file.text(name, key) for key in ("units", "standard_name") if file.has_attribute(name, key)}
    if _DEGREES.match(given.get("units", "").strip()) or given.get("standard_name") in _GEOGRAPHIC:
        told = ", ".join(f"{key} {value!r}" for key, value in given.items())
        raise CaseError(
            f"{file.path}: the coordinates {name} are degrees ({told}), in which areas have no meaning; give lengths "
            "in a plane, by a map projection"
        )


def _cell_points(file: NetCDFFile, topology: str, part: str, nodes: int) -> Index:
    """The nodes of each cell (cell, corner), counted from 0; -1 where a row is padded.

    Rows are padded by a declared _FillValue, by a negative number or by the largest whole number. Raises CaseError for
    any other number that is not that of a node, with the cell and the number.
    """
    name = file.text(topology, f"{part}_node_connectivity")
    values = file.numbers_or_nan(name)
    if values.ndim != 2:
        raise file.incomplete(f"{name} is no table of cells and their nodes")
    cells_first = not file.has_attribute(topology, f"{part}_dimension") or (
        file.dimensions_of(name)[0] == file.text(topology, f"{part}_dimension")
    )
    values = values if cells_first else values.T
    start = file.integer(name, "start_index", 0)
    filled = np.isnan(values) | (values < 0)
    filled |= values == _UNDECLARED_FILL
    off = ~filled & ((values < start) | (values >= nodes + start))
    if (row := int(np.argmax(off.any(axis=1)))) or off.any():
        node = int(values[row][off[row]][0])
        counted = f"counted from {start}" + (
            "" if file.has_attribute(name, "start_index") else ", as no start_index says"
        )
        hint = ""
        if start == 0 and not (values[~filled] == 0).any() and values[~filled].max() == nodes:
            hint = "; the numbers seem to be counted from 1: write the attribute start_index = 1"
        raise CaseError(
            f"{file.path}: cell {row} of {name} has node {node}, and there are {nodes} nodes, {counted}{hint or '; '}"
            + ("" if hint else "declare the number that pads short rows as _FillValue, or mend the cell")
        )
    return np.where(filled, -1.0, values - start).astype(np.int32)


def _boundary(file: NetCDFFile, name: str, nodes: int, dimension: int) -> Index:
    """The nodes of the faces of a named boundary (face, corner)."""
    rows = file.numbers(f"boundaries/{name}", 2)
    if rows.shape[1] > 2 * (dimension - 1) or rows.max(initial=-1) >= nodes or rows.min(initial=-1) < -1:
        raise file.incomplete(f"boundary {name} lists faces that the mesh does not have")
    return rows.astype(np.int32)
