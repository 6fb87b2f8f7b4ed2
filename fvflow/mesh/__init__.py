"""Meshes: a mesh kind is a frozen description that builds a Mesh, the face graph that schemes see.

`MeshDescription` is the contract of a mesh kind, `MeshKind` the union of those that a case file can name.
"""

from fvflow.mesh.admissibility import Admissibility
from fvflow.mesh.arrays import EVERY, Array, Index, Subset
from fvflow.mesh.base import MeshDescription
from fvflow.mesh.box import Box, Graded
from fvflow.mesh.box_overlap import box_outside, box_share
from fvflow.mesh.coarse_proxy import coarse_proxy
from fvflow.mesh.core import Mesh
from fvflow.mesh.curve import hilbert_order
from fvflow.mesh.elements import FileMark, FilePath
from fvflow.mesh.extent import Extent
from fvflow.mesh.files import Gmsh, Meshio
from fvflow.mesh.fipy import FiPyMesh, from_fipy
from fvflow.mesh.grid import CIRCULAR, Grid
from fvflow.mesh.location import cells_of
from fvflow.mesh.openings import Openings, openings, require_wall, unknown_name
from fvflow.mesh.overlap import averaged, overlaps, transfer, transferred
from fvflow.mesh.plot_cells import grid_in_pieces, topology, topology_kind
from fvflow.mesh.radial import Radial
from fvflow.mesh.revolution import DISC, RADIUS_ANGLE, RADIUS_OF, Revolution
from fvflow.mesh.section import polygons, section
from fvflow.mesh.slab import Slab, divided, indivisible
from fvflow.mesh.ugrid_reader import Ugrid, stored_field, stored_time
from fvflow.mesh.voronoi import Voronoi

MeshKind = Box | Graded | Radial | FiPyMesh | Gmsh | Meshio | Ugrid | Voronoi

__all__ = [
    "CIRCULAR",
    "DISC",
    "EVERY",
    "RADIUS_ANGLE",
    "RADIUS_OF",
    "Admissibility",
    "Array",
    "Box",
    "Extent",
    "FiPyMesh",
    "FileMark",
    "FilePath",
    "Gmsh",
    "Graded",
    "Grid",
    "Index",
    "Mesh",
    "MeshDescription",
    "MeshKind",
    "Meshio",
    "Openings",
    "Radial",
    "Revolution",
    "Slab",
    "Subset",
    "Ugrid",
    "Voronoi",
    "averaged",
    "box_outside",
    "box_share",
    "cells_of",
    "coarse_proxy",
    "divided",
    "from_fipy",
    "grid_in_pieces",
    "hilbert_order",
    "indivisible",
    "openings",
    "overlaps",
    "polygons",
    "require_wall",
    "section",
    "stored_field",
    "stored_time",
    "topology",
    "topology_kind",
    "transfer",
    "transferred",
    "unknown_name",
]
