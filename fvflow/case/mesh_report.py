"""What `check` reports about a mesh."""

from __future__ import annotations

import numpy as np

from fvflow.mesh import Admissibility, Array, Mesh

_SLIVER = 0.01  # largest area of a sliver face, relative to the face of a cube of the same volume as the cell


def about_mesh(mesh: Mesh, density: Array) -> dict[str, str]:
    """Cell sizes, consistency of two-point fluxes, connected components, regions and boundaries, as named sentences.

    `density` (cell,) is the initial density, for the share of the mass in each component.
    """
    if mesh.edges is not None:
        widths = [np.diff(edge) for edge in mesh.edges]
        return {"cell size": ", ".join(f"{width.min():.4g} to {width.max():.4g}" for width in widths)}
    size = mesh.cell_size
    sentences = {
        "cell size": f"{size.min():.4g} to {size.max():.4g} (|K|^(1/{mesh.dimension}))",
        "admissibility": _admissibility(mesh),
    }
    parts = int(mesh.components.max()) + 1
    if parts > 1:
        cells = np.bincount(mesh.components)
        mass = np.bincount(mesh.components, mesh.volume * density) / (mesh.volume @ density)
        shares = ", ".join(
            f"{count} cells with {share:.3g} of the mass" for count, share in zip(cells, mass, strict=True)
        )
        sentences["parts"] = f"{parts} that are not connected; each conserves its own mass: {shares}"
    if mesh.regions:
        measures = ", ".join(f"{name} {mesh.volume @ part:.4g}" for name, part in mesh.regions.items())
        sentences["regions"] = f"{measures} (measure); use inside(...) to name them in expressions"
    if mesh.boundaries:
        named = ((name, mesh.wall_area[rows].sum(), len(rows)) for name, rows in mesh.boundaries.items())
        sentences["boundaries"] = ", ".join(f"{name} {area:.4g} ({count} faces)" for name, area, count in named)
    if mesh.left_out:
        sentences["left out"] = "; ".join(mesh.left_out)
    return sentences


def _admissibility(mesh: Mesh) -> str:
    """Orthogonality, distances of centres and transmissibilities, as one sentence."""
    if not mesh.faces:
        return "one cell"
    admissibility = Admissibility(mesh)
    angle, distance = admissibility.angle.max(), admissibility.relative_distance.min()
    slivers = int((admissibility.relative_area < _SLIVER).sum())
    clauses = [
        f"lines between centres within {angle:.1e} rad of their faces' normals"
        + ("" if angle <= admissibility.MAX_ANGLE else ": two-point fluxes are not consistent"),
        f"centres at least {distance:.2g} cell sizes apart",
        f"transmissibilities {mesh.transmissibility.min():.2g} to {mesh.transmissibility.max():.2g}",
    ]
    if slivers:
        clauses.append(f"{slivers} sliver faces, below {_SLIVER:.0%} of a face of a cube of the cell's volume")
    return ", ".join(clauses)
