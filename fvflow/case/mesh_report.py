"""What `check` says of a mesh."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Admissibility, Array, Mesh

_SLIVER = 0.01  # of the area of a cube's face, or the distance of cubes' centres


def about_mesh(mesh: Mesh, density: Array) -> dict[str, str]:
    """The size of its cells, whether two-point fluxes fit it, its parts, regions and boundaries."""
    if mesh.edges is not None:
        widths = [np.diff(edge) for edge in mesh.edges]
        return {"cell size": ", ".join(f"{width.min():.4g} to {width.max():.4g}" for width in widths)}
    size = mesh.volume ** (1 / mesh.dimension)
    told = {
        "cell size": f"{size.min():.4g} to {size.max():.4g} (|K|^(1/{mesh.dimension}))",
        "admissibility": _admissibility(mesh),
    }
    parts = int(mesh.components.max()) + 1
    if parts > 1:
        cells = np.bincount(mesh.components)
        mass = np.bincount(mesh.components, mesh.volume * density) / (mesh.volume @ density)
        shown = ", ".join(
            f"{count} cells with {share:.3g} of the mass" for count, share in zip(cells, mass, strict=True)
        )
        told["parts"] = f"{parts} that are not connected, each keeps its mass: {shown}"
    if mesh.regions:
        inside = ", ".join(f"{name} {mesh.volume @ part:.4g}" for name, part in mesh.regions.items())
        told["regions"] = f"{inside} (measure); name them in expressions by inside(...)"
    if mesh.boundaries:
        told["boundaries"] = ", ".join(f"{name} ({len(rows)} faces)" for name, rows in mesh.boundaries.items())
    return told


def _admissibility(mesh: Mesh) -> str:
    if not mesh.faces:
        return "one cell"
    found = Admissibility(mesh)
    angle, close, small = found.angle, found.relative_distance, found.relative_area
    slivers = int((small < _SLIVER).sum())
    told = [
        f"lines between centres within {angle.max():.1e} rad of their faces' normals"
        + ("" if angle.max() <= found.MAX_ANGLE else ": two-point fluxes are not consistent"),
        f"centres at least {close.min():.2g} cell sizes apart",
        f"transmissibilities {mesh.transmissibility.min():.2g} to {mesh.transmissibility.max():.2g}",
    ]
    if slivers:
        told.append(f"{slivers} sliver faces of less than {_SLIVER:.0%} of a cell's side")
    return ", ".join(told)
