"""The variables of a result, for the file and for memory alike.

The layout is shaped by ParaView: any other variable in the root hides rho, and axes X with Y wrap a grid on a sphere.
So the root holds only cell fields, coordinates, bounds and the cell measure; the ledger is in /diagnostics, what
ParaView needs in /paraview.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fvflow
from fvflow.dataset import ugrid
from fvflow.dataset.item import NetCDFVariable
from fvflow.diagnostics import DENSITY
from fvflow.mesh import Array, Mesh
from fvflow.problems import OutputVariable

AXES = ("x", "y", "z")
_MEASURE = {1: "cell_length", 2: "cell_area", 3: "cell_volume"}
SOURCE = "fvflow"


@dataclass(frozen=True, eq=False)
class Layout:
    """The variables that a run of a case stores, for the file and for memory alike."""

    mesh: Mesh
    ledger: Mapping[str, OutputVariable]
    single: bool = False
    compression: int = 0
    extra: Mapping[str, OutputVariable] = field(default_factory=dict)  # cell fields beside rho
    faces: Mapping[str, OutputVariable] = field(default_factory=dict)

    @property
    def space(self) -> tuple[str, ...]:
        """The space dimensions of a field, slowest first."""
        if self.mesh.edges is None:
            return (ugrid.location(self.mesh),)
        return tuple(reversed(AXES[: self.mesh.dimension]))

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of all dimensions but time."""
        mesh = self.mesh
        if mesh.edges is None:
            space = ugrid.sizes(mesh)
        else:
            space = {**dict(zip(self.space, mesh.shape, strict=True)), "bounds": 2}
        face = {"face": mesh.faces} if self.faces else {}
        return {**space, **face, "axis": mesh.dimension, "axis_2": mesh.dimension}

    def fixed(self) -> dict[str, NetCDFVariable]:
        """Coordinates, bounds or the topology of the mesh, and the cell measure."""
        items = ugrid.items(self.mesh) if self.mesh.edges is None else _box_items(self.mesh.edges)
        attributes = {"units": "1", "long_name": self.measure.replace("_", " ")}
        measure = self.mesh.volume.reshape(self.mesh.shape)
        return {**items, self.measure: NetCDFVariable(self.space, {**attributes, **self._placed()}, measure)}

    @property
    def measure(self) -> str:
        """The name of the cells' measure."""
        return _MEASURE[self.mesh.dimension]

    def _placed(self) -> dict[str, str]:
        """What a field on a mesh says of where it is."""
        return {} if self.mesh.edges is not None else ugrid.placed(self.mesh)

    def fields(self) -> dict[str, NetCDFVariable]:
        """Cell fields that are recorded at each saved time."""
        attributes = {"cell_methods": " ".join(f"{axis}: mean" for axis in self.space), **self._placed()}
        if self.mesh.dimension > 1:
            attributes["cell_measures"] = f"{self.measure.removeprefix('cell_')}: {self.measure}"
        return {
            name: NetCDFVariable(("time", *self.space), {**attributes, **_described(variable)}, dtype=self._dtype)
            for name, variable in {"rho": DENSITY, **self.extra}.items()
        }

    def face_fields(self) -> dict[str, NetCDFVariable]:
        """Face fields that are recorded at each saved time."""
        return {
            name: NetCDFVariable(("time", "face"), _described(variable), dtype=self._dtype)
            for name, variable in self.faces.items()
        }

    def face_fixed(self) -> dict[str, NetCDFVariable]:
        """The cells beside each face, its area and its place, where fields on faces are stored."""
        if not self.faces:
            return {}
        ends = {"owner": self.mesh.owner, "neighbour": self.mesh.neighbour}
        told = "cell, counted from 0 and on grids with x fastest, that the normal of the face"
        names = {"owner": f"{told} leaves", "neighbour": f"{told} enters"}
        items = {
            name: NetCDFVariable(("face",), {"long_name": names[name]}, value, "i4") for name, value in ends.items()
        }
        items["face_area"] = NetCDFVariable(("face",), {"units": "1", "long_name": "area of the face"}, self.mesh.area)
        for axis, values in zip(AXES, self.mesh.face_centre.T, strict=False):
            place = {"units": "1", "long_name": f"{axis} coordinate of the centre of the face"}
            items[f"face_{axis}"] = NetCDFVariable(("face",), place, values)
        return items

    @property
    def _dtype(self) -> str:
        return "f4" if self.single else "f8"

    def diagnostics(self) -> dict[str, NetCDFVariable]:
        """The ledger."""
        return {
            name: NetCDFVariable(("time", *variable.dims), _described(variable))
            for name, variable in self.ledger.items()
        }

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        ledger = sum(math.prod(self.sizes[name] for name in item.dims[1:]) for item in self.diagnostics().values())
        fields = self.mesh.cells * (1 + len(self.extra)) + self.mesh.faces * len(self.faces)
        return fields * (4 if self.single else 8) + 8 * ledger


def _box_items(edges: tuple[Array, ...]) -> dict[str, NetCDFVariable]:
    """Centres and bounds of the cells along each axis."""
    items: dict[str, NetCDFVariable] = {}
    for axis, edge in zip(AXES, edges, strict=False):
        attributes = {"units": "1", "long_name": f"{axis} coordinate of the cell centre", "bounds": f"{axis}_bnds"}
        if axis != "z":
            attributes["standard_name"] = f"projection_{axis}_coordinate"
        items[axis] = NetCDFVariable((axis,), attributes, 0.5 * (edge[1:] + edge[:-1]))
        items[f"{axis}_bnds"] = NetCDFVariable((axis, "bounds"), {}, np.stack([edge[:-1], edge[1:]], axis=1))
    return items


def _described(variable: OutputVariable) -> dict[str, str]:
    return {"units": variable.units, "long_name": variable.long_name}


FIGURES = {
    "w2": "W2: the solver's value, or the end of the proved interval that it is beyond",
    "w2_solver": "W2 as the solver has it, with its discretisation error",
    "w2_lower": "proved lower bound of W2 of the densities constant in cells",
    "w2_upper": "proved upper bound of W2 of the densities constant in cells",
    "gap": "(w2_upper - w2_lower)/w2_upper",
    "action": "w2_solver^2/2",
    "duality_gap": "relative gap of the discrete W2, certified",
    "residual": "relative residual of what the solver was to solve",
    "spectral_gap": "rate_1: the rate at which the slowest mode, and so every density in the end, decays",
    "gap_error": "what spectral_gap may be off by through round-off and iteration, relative; the mesh is not in it",
    "repair": "largest L1 change that made the solver's densities non-negative and admissible, of the mass",
    "continuity": "largest residual of the continuity equation in an interval, relative to the mass",
    "hamilton_jacobi": "largest residual of the Hamilton-Jacobi equation where rho is above 1e-4 of its maximum",
    "hamilton_jacobi_excess": "largest positive residual of the Hamilton-Jacobi equation",
    "converged": "1 if the solver converged",
    "w2_error": "relative error of w2 against the closed form",
    "w2_solver_error": "relative error of w2_solver against the closed form",
    "hopf_lax": "largest difference of phi from the Hopf-Lax formula at the end, relative to its range",
}


def meaning(figure: str) -> str:
    """What a figure of the whole run tells."""
    if figure.startswith("rate_"):
        return f"rate at which mode_{figure.removeprefix('rate_')} decays"
    return FIGURES[figure]


TIME = NetCDFVariable(("time",), {"units": "s", "axis": "T", "long_name": "time"})


def header(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Global attributes: conventions, origin and what the run adds; integers as 32 bits, as ParaView reads them."""
    fixed = {
        "Conventions": "CF-1.11",
        "source": f"{SOURCE} {fvflow.__version__}",
        "references": "https://cfconventions.org; the methods are cited in fvflow's docstrings",
        "comment": "open the .xmf2 file beside this one in ParaView",
    }
    return {name: _attribute(value) for name, value in {**fixed, **attributes}.items()}


def _attribute(value: Any) -> Any:
    if isinstance(value, bool | int):
        return np.int32(value)
    return np.float64(value) if isinstance(value, float) else value
