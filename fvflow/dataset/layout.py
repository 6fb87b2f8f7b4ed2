"""The variables of a result, for a file and for memory alike.

ParaView dictates the layout: any other variable in the root group hides rho, and axes X with Y wrap a grid around a
sphere. The root group therefore holds only cell fields, coordinates, bounds and the cell measure; diagnostics are in
/diagnostics, face fields in /faces, what particles carry in /particles, the arrays that ParaView needs in /paraview.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fvflow.dataset import ugrid
from fvflow.dataset.frame import Frame
from fvflow.dataset.frame_log import Record
from fvflow.dataset.variable import Group, NetCDFVariable
from fvflow.diagnostics import DENSITY
from fvflow.mesh import CIRCULAR, Array, Mesh, Openings, Revolution
from fvflow.parallel import shaped
from fvflow.problems import OutputVariable
from fvflow.version import __version__

AXES = ("x", "y", "z")
_UNITS = {0: "1", 1: "m", 2: "m2", 3: "m3"}  # of measures, by dimension: CF asks lengths for units
_MEASURE = {1: "cell_length", 2: "cell_area", 3: "cell_volume"}
SOURCE = "fvflow"
UNTITLED = "fvflow run"  # the title of a result whose case has none
TIME = NetCDFVariable(("time",), {"units": "s", "axis": "T", "standard_name": "time", "long_name": "time"})


@dataclass(frozen=True, eq=False)
class Layout:
    """The variables that a run stores, their dimensions and their precision.

    All names differ, since `fvflow.read` merges the groups into one dataset; `groups` raises ValueError otherwise.
    """

    mesh: Mesh
    diagnostics: Mapping[str, OutputVariable]
    single: bool = False  # whether fields are stored in single precision
    compression: int = 0  # zlib level of the fields
    cell_fields: Mapping[str, OutputVariable] = field(default_factory=dict)  # besides rho
    face_fields: Mapping[str, OutputVariable] = field(default_factory=dict)  # of faces and openings
    openings: Openings | None = None  # those that face fields are of
    particle_fields: Mapping[str, OutputVariable] = field(default_factory=dict)
    particles: int = 0  # their number

    @property
    def space(self) -> tuple[str, ...]:
        """The space dimensions of a cell field, slowest first."""
        if self.mesh.edges is None:
            return (ugrid.location(self.mesh),)
        return tuple(reversed(AXES[: self.mesh.dimension]))

    @property
    def measure(self) -> str:
        """The name of the cell measure."""
        return _MEASURE[self.mesh.dimension]

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The groups that hold the data of a run, by name; the name of the root group is empty."""
        mesh = self.mesh
        if mesh.edges is None:
            space = ugrid.sizes(mesh)
        else:
            space = {**dict(zip(self.space, mesh.shape, strict=True)), "bounds": 2}
        coordinates, face_coordinates = self._coordinates(), self._face_coordinates() if self.face_fields else {}
        names = [
            "time",
            "rho",
            *coordinates,
            *self.cell_fields,
            *face_coordinates,
            *self.face_fields,
            *self.particle_fields,
            *self.diagnostics,
        ]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two variables are called {', '.join(repeated)}; all names of a result must differ")
        groups = {
            "": Group({"time": TIME, **coordinates, **self.fields()}, space),
            "diagnostics": Group(self._diagnostics(), {"axis": mesh.dimension, "axis_2": mesh.dimension}),
        }
        if self.face_fields:
            groups["faces"] = Group({**face_coordinates, **self._series(self.face_fields)}, self._face_sizes)
        if self.particle_fields:
            sizes = {"particle": self.particles, "axis": mesh.dimension}
            groups["particles"] = Group(self._series(self.particle_fields), sizes)
        return groups

    @cached_property
    def frame_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of what a frame adds to each variable over time, by path: rho, diagnostics/mass, faces/flux."""
        sizes = {name: size for group in self.groups.values() for name, size in group.dimensions.items()}
        return {path: tuple(sizes[name] for name in variable.dims[1:]) for path, variable in self._over_time.items()}

    @cached_property
    def record(self) -> Record:
        """Data type and shape of what a frame consists of, by path."""
        return {path: (np.dtype(self._over_time[path].dtype).str, shape) for path, shape in self.frame_shapes.items()}

    @cached_property
    def _over_time(self) -> dict[str, NetCDFVariable]:
        """The variables that frames supply, by path."""
        return {
            f"{group}/{name}".removeprefix("/"): variable
            for group, content in self.groups.items()
            for name, variable in content.variables.items()
            if variable.values is None
        }

    def values(self, frame: Frame) -> dict[str, Array]:
        """The values of a frame by path, in the precision and the shape of the variables.

        Raises ValueError if the names of the frame are not those of the layout.
        """
        given = {"time": frame.time, "rho": frame.density, **frame.fields}
        given |= {f"diagnostics/{name}": value for name, value in frame.diagnostics.items()}
        given |= {f"faces/{name}": value for name, value in frame.face_fields.items()}
        given |= {f"particles/{name}": value for name, value in frame.particle_fields.items()}
        variables = self._over_time
        if given.keys() != variables.keys():
            raise ValueError(f"the frame and the layout differ in {', '.join(sorted(given.keys() ^ variables.keys()))}")
        return {path: shaped(given[path], variables[path].dtype, shape) for path, shape in self.frame_shapes.items()}

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, without its time."""
        sizes = {"axis": self.mesh.dimension, "axis_2": self.mesh.dimension, "particle": self.particles}

        def numbers_in(variables: Mapping[str, OutputVariable]) -> int:
            return sum(math.prod(sizes[name] for name in variable.dims) for variable in variables.values())

        numbers = numbers_in(self.diagnostics)
        fields = self.mesh.cells * (1 + len(self.cell_fields))
        fields += sum(self._face_sizes[variable.dims[0]] for variable in self.face_fields.values())
        fields += numbers_in(self.particle_fields)
        return fields * (4 if self.single else 8) + 8 * numbers

    def _coordinates(self) -> dict[str, NetCDFVariable]:
        """Coordinates and bounds, or the topology of the mesh, and the cell measure."""
        variables = ugrid.variables(self.mesh) if self.mesh.edges is None else _grid_coordinates(self.mesh)
        what = self.measure.replace("_", " ") if self.mesh.revolution is None else "measure of the ring or shell"
        attributes = {"units": _UNITS[self.mesh.space_dimension], "long_name": what, **self._mesh_attributes()}
        measure = self.mesh.volume.reshape(self.mesh.shape)
        return {**variables, self.measure: NetCDFVariable(self.space, attributes, measure)}

    def _mesh_attributes(self) -> dict[str, str]:
        """The attributes that tie a cell field to a mesh that is not a grid."""
        return {} if self.mesh.edges is not None else ugrid.mesh_attributes(self.mesh)

    def fields(self) -> dict[str, NetCDFVariable]:
        """Cell fields that are stored at each saved time, rho among them."""
        attributes = {"cell_methods": " ".join(f"{axis}: mean" for axis in self.space), **self._mesh_attributes()}
        if self.mesh.dimension > 1:
            attributes["cell_measures"] = f"{self.measure.removeprefix('cell_')}: {self.measure}"
        return {
            name: NetCDFVariable(("time", *self.space), {**attributes, **_description(variable)}, dtype=self._dtype)
            for name, variable in {"rho": DENSITY, **self.cell_fields}.items()
        }

    def _series(self, variables: Mapping[str, OutputVariable]) -> dict[str, NetCDFVariable]:
        """Fields over time, with the dimensions that they name."""
        return {
            name: NetCDFVariable(("time", *variable.dims), _description(variable), dtype=self._dtype)
            for name, variable in variables.items()
        }

    @property
    def particle_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape at one time of what particles carry, by name: (particle,) or (particle, axis)."""
        return {name: self.frame_shapes[f"particles/{name}"] for name in self.particle_fields}

    @property
    def _face_sizes(self) -> dict[str, int]:
        """The number of faces, and of openings if there are fields of them."""
        faces = {"face": self.mesh.faces}
        return faces if self.openings is None else {**faces, "opening": len(self.openings.cell)}

    def _face_coordinates(self) -> dict[str, NetCDFVariable]:
        """The two cells, the area and the centre of each face, and of each opening if there are fields of them."""
        meaning = "cell, counted from 0 and on grids with x fastest, that the normal of the face"
        ends = {
            "owner": ({"long_name": f"{meaning} leaves"}, self.mesh.owner),
            "neighbour": ({"long_name": f"{meaning} enters"}, self.mesh.neighbour),
        }
        variables = {name: NetCDFVariable(("face",), *end, dtype="i4") for name, end in ends.items()}
        area = {"units": _UNITS[self.mesh.space_dimension - 1], "long_name": "area of the face"}
        variables["face_area"] = NetCDFVariable(("face",), area, self.mesh.area)
        for axis, values in zip(AXES, self.mesh.face_centre.T, strict=False):
            attributes = {"units": "m", "long_name": f"{axis} coordinate of the centre of the face"}
            variables[f"face_{axis}"] = NetCDFVariable(("face",), attributes, values)
        return variables if self.openings is None else {**variables, **_opening_coordinates(self.openings, area)}

    @property
    def _dtype(self) -> str:
        return "f4" if self.single else "f8"

    def _diagnostics(self) -> dict[str, NetCDFVariable]:
        """Numbers that are stored at each saved time."""
        return {
            name: NetCDFVariable(("time", *variable.dims), _description(variable))
            for name, variable in self.diagnostics.items()
        }


def _grid_coordinates(mesh: Mesh) -> dict[str, NetCDFVariable]:
    """Centres and bounds of the cells along each axis; the topology of a periodic one is circular."""
    variables: dict[str, NetCDFVariable] = {}
    for number, (axis, edge) in enumerate(zip(AXES, mesh.edges or (), strict=False)):
        attributes = {"units": "m", "long_name": f"{axis} coordinate of the cell centre", "bounds": f"{axis}_bnds"}
        if axis != "z":
            attributes["standard_name"] = f"projection_{axis}_coordinate"
        if number in mesh.periodic:
            attributes["topology"] = CIRCULAR
        if number == 0 and mesh.revolution is not None:
            attributes |= _of_radius(mesh.revolution)
        variables[axis] = NetCDFVariable((axis,), attributes, 0.5 * (edge[1:] + edge[:-1]))
        variables[f"{axis}_bnds"] = NetCDFVariable((axis, "bounds"), {}, np.stack([edge[:-1], edge[1:]], axis=1))
    return variables


def _of_radius(revolution: Revolution) -> dict[str, Any]:
    """The attributes of x where it is a radius."""
    name = {"long_name": f"{revolution.describe().removeprefix('x is the ')}, at the cell centre"}
    return {**name, **revolution.marks}


def _opening_coordinates(openings: Openings, area: Mapping[str, str]) -> dict[str, NetCDFVariable]:
    """The cell, the group, the area, in the units of that of faces, and the position of each opening."""
    group = {
        "long_name": "walls or absorbing cells that the opening belongs to",
        "flag_values": np.arange(len(openings.names), dtype=np.int32),
        "flag_meanings": " ".join(openings.names),
    }
    variables = {
        "opening_cell": NetCDFVariable(
            ("opening",), {"long_name": "cell that mass leaves through the opening"}, openings.cell, "i4"
        ),
        "opening_group": NetCDFVariable(("opening",), group, openings.group, "i4"),
        "opening_area": NetCDFVariable(("opening",), {**area, "long_name": "area of the opening"}, openings.area),
    }
    for axis, values in zip(AXES, openings.position.T, strict=False):
        attributes = {"units": "m", "long_name": f"{axis} coordinate of the opening"}
        variables[f"opening_{axis}"] = NetCDFVariable(("opening",), attributes, values)
    return variables


def _description(variable: OutputVariable) -> dict[str, str]:
    colours = {"colours": "diverging"} if variable.signed else {}  # for fvflow.plot
    return {"units": variable.units, "long_name": variable.long_name, **colours}


def header(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Global attributes: conventions, origin and those of the run; integers have 32 bits, as ParaView requires."""
    fixed = {
        "Conventions": "CF-1.11",
        "source": f"{SOURCE} {__version__}",
        "references": "https://cfconventions.org; the methods are cited in fvflow's docstrings",
        "comment": "open the .xmf2 file beside this one in ParaView",
    }
    return {name: _attribute(value) for name, value in {**fixed, **attributes}.items()}


def _attribute(value: Any) -> Any:
    if isinstance(value, bool | int):
        return np.int32(value)
    return np.float64(value) if isinstance(value, float) else value
