"""Meshes: a mesh kind is a frozen description that builds a Mesh, the face graph that schemes see."""

from fvflow.mesh.core import Array, Extent, Index, Mesh
from fvflow.mesh.fipy import FiPyMesh
from fvflow.mesh.grid import Box, Graded, Grid

MeshKind = Box | Graded | FiPyMesh

__all__ = ["Array", "Box", "Extent", "FiPyMesh", "Graded", "Grid", "Index", "Mesh", "MeshKind"]
