"""Geometries of gmsh that strangers wrote: read by an allow-list before gmsh sees them."""

from fvflow.mesh.geo.script import LARGEST, harmless_script

__all__ = ["LARGEST", "harmless_script"]
