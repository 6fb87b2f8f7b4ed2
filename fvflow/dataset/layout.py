"""The variables of a result, for the file and for memory alike.

The layout is shaped by ParaView: any other variable in the root hides rho, and axes X with Y wrap a grid on a sphere.
So the root holds only cell fields, coordinates, bounds and the cell measure; the ledger is in /diagnostics, what
ParaView needs in /paraview.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

import fvflow
from fvflow.errors import OutputError
from fvflow.ledger import DENSITY
from fvflow.mesh import Array, Index, Mesh
from fvflow.problems import Variable

AXES = ("x", "y", "z")
_MEASURE = {1: "cell_length", 2: "cell_area", 3: "cell_volume"}
SOURCE = "fvflow"


@dataclass(frozen=True)
class Item:
    """One variable of the file: dimensions, attributes, and its values if they do not change with time."""

    dims: tuple[str, ...]
    attributes: dict[str, str]
    values: Array | Index | None = None
    dtype: str = "f8"


@dataclass(frozen=True, eq=False)
class Layout:
    """The variables that a run of a case stores, for the file and for memory alike."""

    mesh: Mesh
    ledger: Mapping[str, Variable]
    single: bool = False
    compression: int = 0
    extra: Mapping[str, Variable] = field(default_factory=dict)  # cell fields beside rho
    faces: Mapping[str, Variable] = field(default_factory=dict)

    @cached_property
    def edges(self) -> tuple[Array, ...]:
        """The cell boundaries along x, y, z."""
        if self.mesh.edges is None:
            raise OutputError("only grids (box, graded, fipy) can be stored")
        return self.mesh.edges

    @property
    def space(self) -> tuple[str, ...]:
        """The space dimensions of a field, slowest first."""
        return tuple(reversed(AXES[: len(self.edges)]))

    @property
    def sizes(self) -> dict[str, int]:
        """Lengths of all dimensions but time."""
        space = dict(zip(self.space, self.mesh.shape, strict=True))
        dimension = self.mesh.dimension
        face = {"face": self.mesh.faces} if self.faces else {}
        return {**space, **face, "bounds": 2, "axis": dimension, "axis_2": dimension}

    def fixed(self) -> dict[str, Item]:
        """Coordinates, bounds and the cell measure."""
        items: dict[str, Item] = {}
        for axis, edge in zip(AXES, self.edges, strict=False):
            attributes = {"units": "1", "long_name": f"{axis} coordinate of the cell centre", "bounds": f"{axis}_bnds"}
            if axis != "z":
                attributes["standard_name"] = f"projection_{axis}_coordinate"
            items[axis] = Item((axis,), attributes, 0.5 * (edge[1:] + edge[:-1]))
            items[f"{axis}_bnds"] = Item((axis, "bounds"), {}, np.stack([edge[:-1], edge[1:]], axis=1))
        name = _MEASURE[len(self.edges)]
        measure = self.mesh.volume.reshape(self.mesh.shape)
        items[name] = Item(self.space, {"units": "1", "long_name": name.replace("_", " ")}, measure)
        return items

    def fields(self) -> dict[str, Item]:
        """Cell fields that are recorded at each saved time."""
        attributes = {"cell_methods": " ".join(f"{axis}: mean" for axis in self.space)}
        if len(self.edges) > 1:
            measure = _MEASURE[len(self.edges)]
            attributes["cell_measures"] = f"{measure.removeprefix('cell_')}: {measure}"
        return {
            name: Item(("time", *self.space), {**attributes, **_described(variable)}, dtype=self._dtype)
            for name, variable in {"rho": DENSITY, **self.extra}.items()
        }

    def face_fields(self) -> dict[str, Item]:
        """Face fields that are recorded at each saved time."""
        return {
            name: Item(("time", "face"), _described(variable), dtype=self._dtype)
            for name, variable in self.faces.items()
        }

    def face_fixed(self) -> dict[str, Item]:
        """The cells beside each face, where fields on faces are stored."""
        if not self.faces:
            return {}
        ends = {"owner": self.mesh.owner, "neighbour": self.mesh.neighbour}
        told = "cell, counted with x fastest, that the normal of the face"
        names = {"owner": f"{told} leaves", "neighbour": f"{told} enters"}
        return {name: Item(("face",), {"long_name": names[name]}, value, "i4") for name, value in ends.items()}

    @property
    def _dtype(self) -> str:
        return "f4" if self.single else "f8"

    def diagnostics(self) -> dict[str, Item]:
        """The ledger."""
        return {name: Item(("time", *variable.dims), _described(variable)) for name, variable in self.ledger.items()}

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        ledger = sum(math.prod(self.sizes[name] for name in item.dims[1:]) for item in self.diagnostics().values())
        fields = self.mesh.cells * (1 + len(self.extra)) + self.mesh.faces * len(self.faces)
        return fields * (4 if self.single else 8) + 8 * ledger


def _described(variable: Variable) -> dict[str, str]:
    return {"units": variable.units, "long_name": variable.long_name}


FIGURES = {
    "w2": "W2: the solver's value, or the end of the proved interval that it is beyond",
    "w2_solver": "W2 as the solver has it, with its discretisation error",
    "w2_lower": "proved lower bound of W2 of the densities constant in cells",
    "w2_upper": "proved upper bound of W2 of the densities constant in cells",
    "gap": "(w2_upper - w2_lower)/w2_upper",
    "action": "w2_solver^2/2",
    "duality_gap": "relative gap of the discrete W2, certified",
    "residual": "relative residual of the solver's optimality conditions",
    "repair": "largest L1 change that made the solver's densities non-negative and admissible, of the mass",
    "continuity": "largest residual of the continuity equation in an interval, relative to the mass",
    "hamilton_jacobi": "largest residual of the Hamilton-Jacobi equation where rho is above 1e-4 of its maximum",
    "hamilton_jacobi_excess": "largest positive residual of the Hamilton-Jacobi equation",
    "converged": "1 if the solver converged",
    "w2_error": "relative error of w2 against the closed form",
    "w2_solver_error": "relative error of w2_solver against the closed form",
    "hopf_lax": "largest difference of phi from the Hopf-Lax formula at the end, relative to its range",
}
TIME = Item(("time",), {"units": "s", "axis": "T", "long_name": "time"})


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
