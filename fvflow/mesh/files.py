"""Meshes from files: gmsh's, and all that meshio reads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError
from fvflow.mesh.admissibility import Admissibility
from fvflow.mesh.conformity import require_fitting
from fvflow.mesh.core import Mesh
from fvflow.mesh.delaunay import retriangulated
from fvflow.mesh.elements import Elements, FilePath, halved, imported, read, require_file
from fvflow.mesh.polytopes import assembled
from fvflow.mesh.voronoi_dual import boxes

ControlVolumes = Literal["cells", "nodes"]
Centres = Literal["circumcentres", "centroids"]


_MOST_REFINEMENTS = 8
_REMEDY = "centres: centroids at the price of consistency"


@dataclass(frozen=True)
class Gmsh:
    """A mesh of gmsh: a .msh file, or a geometry (a .geo file, or its text) that gmsh meshes.

    Physical groups of the cells are regions, those of their faces boundaries. `control_volumes` are the cells, with
    their circumcentres, or for triangles and tetrahedra the Voronoi boxes of the nodes. `size` is a factor on the mesh
    size of a geometry; `refinements` cut each triangle into four similar ones, that many times. `centres: centroids`
    takes meshes without orthogonality, whose two-point fluxes are then not consistent. `delaunay` replaces triangles,
    or the tetrahedra of a convex domain, by the Delaunay ones of the same nodes. Needs the extra `mesh`.
    """

    file: FilePath | None = None
    geometry: str | None = None
    control_volumes: ControlVolumes = "cells"
    centres: Centres = "circumcentres"
    delaunay: bool = False
    size: Annotated[float, Gt(0)] = 1.0
    refinements: Annotated[int, Ge(0), Le(_MOST_REFINEMENTS)] = 0
    kind: Literal["gmsh"] = "gmsh"

    def __post_init__(self) -> None:
        if (self.file is None) == (self.geometry is None):
            raise CaseError("mesh gmsh needs either a file (.msh or .geo) or a geometry (the text of a .geo)")
        if self.size != 1.0 and not self._meshes:
            raise CaseError("size is for a geometry that gmsh has yet to mesh, not for a .msh file; leave it out")
        _require_fit(self.control_volumes, self.centres)

    @property
    def _meshes(self) -> bool:
        return self.geometry is not None or Path(str(self.file)).suffix != ".msh"

    @property
    def extent(self) -> None:
        """Not known before the file is read."""

    def build(self) -> Mesh:
        """The mesh; imports meshio, and gmsh for a geometry."""
        if self._meshes:
            with tempfile.TemporaryDirectory() as folder:
                elements = read(_generated(self, Path(folder)), "gmsh", _named(self))
        else:
            elements = read(Path(str(self.file)), "gmsh")
        return _built(elements, self)

    def refined(self, factor: int = 2) -> Gmsh:
        """The same geometry meshed `factor` times as finely; a .msh file of triangles is cut, by powers of 2."""
        if self._meshes:
            return replace(self, size=self.size / factor)
        return replace(self, refinements=self.refinements + _power_of_two(factor))


@dataclass(frozen=True)
class Meshio:
    """A mesh in any of the formats that meshio reads (.vtu, .vtk, .inp, .med, .xdmf, .mesh, ...), as `gmsh` otherwise.

    Physical groups and cell sets are regions, where the format has them. Needs the extra `mesh`.
    """

    file: FilePath
    control_volumes: ControlVolumes = "cells"
    centres: Centres = "circumcentres"
    delaunay: bool = False
    refinements: Annotated[int, Ge(0), Le(_MOST_REFINEMENTS)] = 0
    kind: Literal["meshio"] = "meshio"

    def __post_init__(self) -> None:
        _require_fit(self.control_volumes, self.centres)

    @property
    def extent(self) -> None:
        """Not known before the file is read."""

    def build(self) -> Mesh:
        """The mesh; imports meshio."""
        return _built(read(Path(self.file)), self)

    def refined(self, factor: int = 2) -> Meshio:
        """The same file with each triangle cut into four, by powers of 2."""
        return replace(self, refinements=self.refinements + _power_of_two(factor))


def _require_fit(control_volumes: ControlVolumes, centres: Centres) -> None:
    if control_volumes == "nodes" and centres == "centroids":
        raise CaseError("centres centroids is for control_volumes cells: boxes about nodes have these as centres")


def _power_of_two(factor: int) -> int:
    if factor < 1 or factor & (factor - 1):
        raise CaseError(f"triangles are cut in halves: refine by 2, 4, 8, ..., not by {factor}")
    return factor.bit_length() - 1


def _built(elements: Elements, kind: Gmsh | Meshio) -> Mesh:
    for _ in range(kind.refinements):
        elements = halved(elements)
    if kind.delaunay:
        elements = retriangulated(elements)
    mesh = assembled(
        elements.points,
        elements.cell_points,
        centroids=kind.centres == "centroids",
        regions=elements.regions,
        boundaries=elements.boundaries,
    )
    return volumes(mesh, kind.control_volumes, kind.centres)


def volumes(mesh: Mesh, control_volumes: ControlVolumes, centres: Centres = "circumcentres") -> Mesh:
    """The mesh itself, or that of the boxes about its nodes; raises CaseError where it is not admissible."""
    require_fitting(mesh)
    if control_volumes == "nodes":
        return boxes(mesh)
    simplices = mesh.cell_points.shape[1] == mesh.dimension + 1
    remedy = f"use control_volumes: nodes, delaunay: true, or {_REMEDY}" if simplices else f"use {_REMEDY}"
    Admissibility(mesh).require(remedy, slanted=centres == "centroids")
    return mesh


def _generated(kind: Gmsh, folder: Path) -> Path:
    """The .msh file that gmsh makes of a geometry, in a folder."""
    gmsh = imported("gmsh")
    source = folder / "geometry.geo"
    if kind.geometry is not None:
        source.write_text(kind.geometry + "\n")  # gmsh passes over a last line that does not end
    else:
        source = Path(str(kind.file))
        require_file(source)
        if source.suffix == ".geo" and not source.read_bytes().endswith(b"\n"):
            raise CaseError(f"{source}: its last line does not end, so that gmsh would pass over it; end it")
    target = folder / "mesh.msh"
    ours = not gmsh.isInitialized()
    if ours:
        gmsh.initialize(["gmsh", "-v", "0"], interruptible=False)
    before = None if ours else gmsh.model.getCurrent()
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("General.AbortOnError", 2)
        gmsh.open(str(source))
        if gmsh.model.getDimension() < 2:
            raise CaseError(f"{_named(kind)} has neither surfaces nor volumes; add some to mesh")
        gmsh.option.setNumber("Mesh.MeshSizeFactor", kind.size * gmsh.option.getNumber("Mesh.MeshSizeFactor"))
        gmsh.option.setNumber("Mesh.Binary", 1)
        gmsh.option.setNumber("Mesh.MshFileVersion", 4.1)
        gmsh.option.setNumber("Mesh.SaveAll", 0)
        gmsh.model.mesh.generate(gmsh.model.getDimension())
        gmsh.write(str(target))
    except CaseError:
        raise
    except Exception as error:
        raise CaseError(f"gmsh cannot mesh {_named(kind)} ({str(error).strip() or 'no reason given'})") from None
    finally:
        if before is None:
            gmsh.finalize()
        else:  # someone else's session
            gmsh.model.remove()
            gmsh.model.setCurrent(before)
    return target


def _named(kind: Gmsh) -> str:
    return "the geometry" if kind.file is None else kind.file
