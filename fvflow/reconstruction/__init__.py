"""Densities and their gradients at points, from the values of cells."""

from fvflow.mesh import Mesh
from fvflow.reconstruction.base import Derivatives, Reconstruction, Slopes
from fvflow.reconstruction.in_time import FieldInTime, InTime, Place, SavedValues
from fvflow.reconstruction.simplices import NodeLeastSquares, NodeMeans
from fvflow.reconstruction.spline import GridLinear, GridSpline


def smooth(mesh: Mesh) -> Reconstruction:
    """The reconstruction of highest order on a mesh: splines on grids, least squares elsewhere."""
    return NodeLeastSquares(mesh) if mesh.edges is None else GridSpline(mesh)


def positive(mesh: Mesh) -> Reconstruction:
    """A reconstruction of low order on a mesh that stays between the smallest and the largest value."""
    return NodeMeans(mesh) if mesh.edges is None else GridLinear(mesh)


__all__ = [
    "Derivatives",
    "FieldInTime",
    "InTime",
    "Place",
    "Reconstruction",
    "SavedValues",
    "Slopes",
    "positive",
    "smooth",
]
