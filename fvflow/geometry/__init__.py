"""The geometry of densities under W2: tangents, metric, projection, slopes, and curves with their action and length.

The notes, equations (147)-(154); F. Otto, The geometry of dissipative evolution equations, Comm. PDE 26, 2001.
"""

from fvflow.geometry.curves import Curve, curve, geodesic_defect, speed
from fvflow.geometry.tangent import (
    FaceMean,
    Projection,
    Tangent,
    duality_map,
    face_density,
    gradient,
    inner,
    norm,
    project,
    slope,
    tangent,
)

__all__ = [
    "Curve",
    "FaceMean",
    "Projection",
    "Tangent",
    "curve",
    "duality_map",
    "face_density",
    "geodesic_defect",
    "gradient",
    "inner",
    "norm",
    "project",
    "slope",
    "speed",
    "tangent",
]
