"""The mesh kind of densities that depend on the distance from a centre alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from fvflow.mesh.base import MeshDescription, coarser
from fvflow.mesh.box import check_box
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import Extent
from fvflow.mesh.grid import Grid
from fvflow.mesh.revolution import Revolution


@dataclass(frozen=True)
class Radial(MeshDescription):
    """A disc or a ball, or a part of it between two radii, cut into rings or shells of equal width.

    x is the distance from the centre, and rho the density in space: the volumes are pi (b^2 - a^2) or
    4 pi (b^3 - a^3)/3. There is no wall at the centre.

    >>> float(Radial(dimension=2, outer=1.0, cells=8).build().volume.sum() / np.pi)
    1.0
    """

    dimension: Literal[2, 3]
    """Number of space dimensions: 2 for a disc or a ring, 3 for a ball or a shell."""
    outer: float
    """Radius at which the domain ends."""
    cells: Annotated[int, Ge(1)]
    """Number of cells."""
    inner: Annotated[float, Ge(0)] = 0.0
    """Radius at which the domain begins."""
    kind: Literal["radial"] = "radial"

    def __post_init__(self) -> None:
        check_box((self.inner,), (self.outer,), (self.cells,))

    @classmethod
    def declared_dimension(cls, values: Mapping[str, Any]) -> int:
        """1: the radius is the only coordinate."""
        return 1

    @property
    def extent(self) -> Extent:
        """One axis and the number of cells."""
        return Extent.of((self.cells,))

    def build(self) -> Mesh:
        """The line of the edges inner + (outer - inner) i/cells, with the measure of rings or shells."""
        edges = np.linspace(self.inner, self.outer, self.cells + 1)
        return Grid((edges,), revolution=Revolution.whole(self.dimension))

    def refined(self, factor: int = 2) -> Radial:
        """The same radii with `factor` times as many cells."""
        return replace(self, cells=factor * self.cells)

    def coarsened(self, factor: int = 2) -> Radial:
        """The same radii with 1/`factor` of the cells, rounded up."""
        (cells,) = coarser((self.cells,), factor)
        return replace(self, cells=cells)

    def describe(self, mesh: Mesh) -> str:
        """One line on the mesh that was built."""
        shape = {2: "disc" if self.inner == 0 else "ring", 3: "ball" if self.inner == 0 else "shell"}[self.dimension]
        return f"radial, {shape}, {mesh.cells} cells, {mesh.faces} faces"
