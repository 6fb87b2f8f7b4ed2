"""Mesh kinds that read a file: gmsh's formats, and all others that meshio reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError
from fvflow.mesh.base import MeshDescription
from fvflow.mesh.control_volumes import Centres, ControlVolumes, control_volume_mesh, require_compatible
from fvflow.mesh.core import Mesh
from fvflow.mesh.delaunay import retriangulated
from fvflow.mesh.elements import Elements, FilePath, read_elements, red_refinement
from fvflow.mesh.exodus import ENDINGS, read_exodus
from fvflow.mesh.polytopes import mesh_from_cells

_MAX_REFINEMENTS = 8


@dataclass(frozen=True)
class Gmsh(MeshDescription):
    """A mesh of gmsh: a .msh file, or a geometry (a .geo file, or its text) that gmsh meshes.

    Physical groups of the cells become regions, those of their faces boundaries. Needs the extra `mesh`.
    """

    file: FilePath | None = None
    """Path of a .msh file, or of a .geo file that gmsh meshes; exclusive with `geometry`."""
    geometry: str | None = None
    """Text of a .geo file that gmsh meshes; exclusive with `file`."""
    control_volumes: ControlVolumes = "auto"
    """The cells of the mesh, or the Voronoi boxes of its nodes; auto: the cells if fluxes are consistent on them."""
    centres: Centres = "circumcentres"
    """Points that two-point fluxes join; with centroids of cells that are not orthogonal nothing converges."""
    delaunay: bool = False
    """Replace triangles, or the tetrahedra of a convex domain, by a Delaunay mesh of the same nodes."""
    size: Annotated[float, Gt(0)] = 1.0
    """Factor on the mesh size of a geometry; not for a .msh file."""
    refinements: Annotated[int, Ge(0), Le(_MAX_REFINEMENTS)] = 0
    """Number of times that each triangle is cut into four similar ones."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, so that volumes are those of rings, 2 pi x dx dy."""
    kind: Literal["gmsh"] = "gmsh"

    def __post_init__(self) -> None:
        if (self.file is None) == (self.geometry is None):
            raise CaseError("mesh gmsh needs either a file (.msh or .geo) or a geometry (the text of a .geo)")
        if self.size != 1.0 and not self._is_geometry:
            raise CaseError("size is for a geometry that gmsh meshes, not for a .msh file; remove size")
        require_compatible(self.control_volumes, self.centres)

    @property
    def _is_geometry(self) -> bool:
        return self.geometry is not None or Path(str(self.file)).suffix.lower() != ".msh"

    @property
    def files(self) -> tuple[str, ...]:
        """The path of the file, if there is one."""
        return () if self.file is None else (self.file,)

    def build(self) -> Mesh:
        """The mesh; imports meshio, and gmsh for a geometry. Raises CaseError for a mesh that fluxes cannot use."""
        if self._is_geometry:
            from fvflow.mesh.gmsh_generator import mesh_geometry

            elements = mesh_geometry(self.file, self.geometry, self.size)
        else:
            elements = read_elements(Path(str(self.file)), "gmsh")
        return _finished(elements, self)

    def refined(self, factor: int = 2) -> Gmsh:
        """The same geometry with the mesh size divided by `factor`; triangles of a .msh file are cut by powers of 2."""
        if self._is_geometry:
            return replace(self, size=self.size / factor)
        return replace(self, refinements=self.refinements + _binary_logarithm(factor))

    def coarsened(self, factor: int = 2) -> Gmsh:
        """The same geometry with the mesh size times `factor`; of a .msh file, fewer `refinements`."""
        if self._is_geometry:
            return replace(self, size=self.size * factor)
        return replace(self, refinements=_fewer(self.refinements, factor))


@dataclass(frozen=True)
class Meshio(MeshDescription):
    """A mesh in any other format that meshio reads: .vtu, .vtk, .inp, .med, .xdmf, .su2, .mesh, ..., and Exodus II.

    Groups become regions and boundaries: sets of Abaqus (sets of sets too), families of MED, markers of SU2, blocks and
    side sets of Exodus, and the whole-numbered cell data `region` and `material`, as region_1, material_2. Needs the
    extra `mesh`.
    """

    file: FilePath
    """Path of the mesh file; its ending gives the format."""
    control_volumes: ControlVolumes = "auto"
    """The cells of the mesh, or the Voronoi boxes of its nodes; auto: the cells if fluxes are consistent on them."""
    centres: Centres = "circumcentres"
    """Points that two-point fluxes join; with centroids of cells that are not orthogonal nothing converges."""
    delaunay: bool = False
    """Replace triangles, or the tetrahedra of a convex domain, by a Delaunay mesh of the same nodes."""
    refinements: Annotated[int, Ge(0), Le(_MAX_REFINEMENTS)] = 0
    """Number of times that each triangle is cut into four similar ones."""
    axisymmetric: bool = False
    """Whether x is the distance from an axis along y, so that volumes are those of rings, 2 pi x dx dy."""
    kind: Literal["meshio"] = "meshio"

    def __post_init__(self) -> None:
        require_compatible(self.control_volumes, self.centres)

    @property
    def files(self) -> tuple[str, ...]:
        """The path of the mesh file."""
        return (self.file,)

    def build(self) -> Mesh:
        """The mesh; imports meshio. Raises CaseError for a file or a mesh that cannot be used."""
        exodus = Path(self.file).suffix.lower() in ENDINGS
        return _finished(read_exodus(self.file) if exodus else read_elements(Path(self.file)), self)

    def refined(self, factor: int = 2) -> Meshio:
        """The same file with each triangle cut into four, log2(factor) times more."""
        return replace(self, refinements=self.refinements + _binary_logarithm(factor))

    def coarsened(self, factor: int = 2) -> Meshio:
        """The same file with fewer `refinements`."""
        return replace(self, refinements=_fewer(self.refinements, factor))


def _fewer(refinements: int, factor: int) -> int:
    """Refinements less log2(factor); raises CaseError if there are too few."""
    left = refinements - _binary_logarithm(factor)
    if left < 0:
        raise CaseError(
            "the mesh of a file cannot be coarsened below the file; give refinements: 1 with a coarser file, or a .geo"
        )
    return left


def _binary_logarithm(factor: int) -> int:
    """log2 of a refinement factor; raises CaseError if it is not a power of 2."""
    if factor < 1 or factor & (factor - 1):
        raise CaseError(f"triangles are refined by factors 2, 4, 8, ..., not by {factor}; use one of these")
    return factor.bit_length() - 1


def _finished(elements: Elements, kind: Gmsh | Meshio) -> Mesh:
    """The mesh of the elements, refined and retriangulated as the kind asks."""
    for _ in range(kind.refinements):
        elements = red_refinement(elements)
    if kind.delaunay:
        elements = retriangulated(elements)
    mesh = mesh_from_cells(
        elements.points,
        elements.cell_points,
        centroids=kind.centres == "centroids",
        regions=elements.regions,
        boundaries=elements.boundaries,
    )
    chosen = control_volume_mesh(mesh, kind.control_volumes, kind.centres, kind.axisymmetric)
    remark = "; ".join(filter(None, (elements.remark, chosen.remark)))
    return replace(chosen, remark=remark, left_out=(*elements.left_out, *chosen.left_out))
