"""Densities and their gradients at points, from the values of cells."""

from fvflow.mesh import Mesh
from fvflow.reconstruction.base import Derivatives, Slopes, SpaceInterpolant
from fvflow.reconstruction.in_time import FieldInTime, InTime, Place, SavedValues
from fvflow.reconstruction.live import LiveCells
from fvflow.reconstruction.simplices import NodeLeastSquares, NodeMeans
from fvflow.reconstruction.spline import GridLinear, GridSpline
from fvflow.reconstruction.trend import Side, WallTrend


def smooth(mesh: Mesh, odd: bool = False) -> SpaceInterpolant:
    """The reconstruction of highest order on a mesh: splines on grids, least squares elsewhere.

    `odd`: of a function that is odd in x, where that is the distance from an axis and the mesh no grid.
    """
    return NodeLeastSquares(mesh, odd=odd) if mesh.edges is None else GridSpline(mesh)


def positive(mesh: Mesh) -> SpaceInterpolant:
    """A reconstruction of low order on a mesh that stays between the smallest and the largest value."""
    return NodeMeans(mesh) if mesh.edges is None else GridLinear(mesh)


__all__ = [
    "Derivatives",
    "FieldInTime",
    "InTime",
    "LiveCells",
    "Place",
    "SavedValues",
    "Side",
    "Slopes",
    "SpaceInterpolant",
    "WallTrend",
    "positive",
    "smooth",
]
