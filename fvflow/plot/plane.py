"""The cells of a result in the plane: coloured shapes, and arrows of its velocity."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from fvflow.mesh import Array, Index, polygons, section
from fvflow.plot.colours import Scale

_ARROWS = 10  # along the longer side of the domain
_LONGEST = 1.3  # length of the longest arrow, in distances between arrows
_SLICES = 21  # of a mesh that is no grid, among which the fullest is found
_ENOUGH = 0.1  # of the mass of the fullest layer, for the section half-way to show the density
_MOST_PARTICLES = 2000  # that are drawn
_OCCUPIED = 0.01  # of the largest density of a frame: where arrows are drawn


class Plane:
    """The cells of a result as shapes in the plane, in 3D those of a section.

    The section is half-way along z, unless at the start or the end there is hardly any mass: then where most of it is.
    """

    def __init__(self, ds: Any) -> None:
        self.ds = ds

    @property
    def _grid(self) -> bool:
        return "mesh" not in self.ds

    @cached_property
    def _pieces(self) -> tuple[Array, Any, Any]:
        """The polygons to fill (piece, corner, 2), the cell of each, and the nodes of each cell."""
        axes = [axis for axis in "xyz" if f"mesh_node_{axis}" in self.ds]
        points = np.stack([self.ds[f"mesh_node_{axis}"].values for axis in axes], axis=1)
        nodes = self.ds["mesh_face_nodes" if len(axes) == 2 else "mesh_volume_nodes"].values
        if len(axes) == 2:
            return polygons(points, nodes), np.arange(len(nodes)), nodes
        return *section(points, nodes, 2, self._level), nodes

    @cached_property
    def _layers(self) -> tuple[Array, Array]:
        """Heights (layer,) of the layers of a grid, or of slices of another mesh, and the mass (frame, layer) in each.

        The frames are the first and the last.
        """
        mass = self.ds["rho"][[0, -1]].values * self.ds["cell_volume"].values
        if self._grid:
            return self.ds["z"].values, mass.sum(axis=(2, 3))
        height, nodes = self.ds["mesh_node_z"].values, self.ds["mesh_volume_nodes"].values
        edges = np.linspace(height.min(), height.max(), _SLICES + 1)
        if "mesh_node" not in self.ds["rho"].dims:
            height = np.where(nodes >= 0, height[nodes], 0.0).sum(axis=1) / (nodes >= 0).sum(axis=1)
        parts = [np.histogram(height, edges, weights=part)[0] for part in mass]
        return 0.5 * (edges[1:] + edges[:-1]), np.array(parts)

    @cached_property
    def _layer(self) -> int:
        """The layer that the section is in."""
        mass = self._layers[1]
        middle = mass.shape[1] // 2
        enough = (mass[:, middle] >= _ENOUGH * mass.max(axis=1)).all()
        return middle if enough else int(mass.sum(axis=0).argmax())

    @property
    def _level(self) -> float:
        """The height of the section; on a grid that of the centres of the cells that it shows."""
        return float(self._layers[0][self._layer])

    @property
    def note(self) -> str:
        """Which section is shown; empty in two dimensions."""
        if not {"z", "mesh_node_z"} & set(map(str, self.ds.variables)):
            return ""
        moved = self._layer != len(self._layers[0]) // 2
        return f"section z = {self._level:.3g}" + (", where most of the mass is" if moved else "")

    @cached_property
    def _edges(self) -> list[Array]:
        """The boundaries of the cells of a grid along x and y."""
        bounds = [self.ds[f"{axis}_bnds"].values for axis in "xy"]
        return [np.append(bound[:, 0], bound[-1, 1]) for bound in bounds]

    @cached_property
    def size(self) -> tuple[float, float]:
        """Width and height of what is drawn."""
        if self._grid:
            width, height = (float(np.ptp(edges)) for edges in self._edges)
        else:
            width, height = np.ptp(self._pieces[0].reshape(-1, 2), axis=0).tolist()
        return width, height

    def layer(self, values: Any) -> Array:
        """The values to draw: (y, x) on a grid, else (piece,), averaged over the nodes of each if nodal."""
        if self._grid:
            return np.asarray(values if values.ndim == 2 else values[self._layer], float)
        _, cell, nodes = self._pieces
        field = np.asarray(values, float)
        if values.dims != ("mesh_node",):
            return np.asarray(field[cell])
        corner = nodes[cell]
        return np.asarray(np.where(corner >= 0, field[corner], 0.0).sum(axis=1) / (corner >= 0).sum(axis=1))

    def draw(self, panel: Any, layer: Array, scale: Scale) -> Any:
        """Draw a layer; the `set_array` of what is returned takes another layer, flattened."""
        from matplotlib.collections import PolyCollection

        look: dict[str, Any] = {"norm": scale.norm, "cmap": scale.colour_map, "rasterized": True, "antialiased": False}
        panel.set(aspect="equal")
        if self._grid:
            return panel.pcolormesh(*self._edges, layer, **look)
        # edges that are not antialiased close the seams that a background would shine through
        patches = PolyCollection(list(self._pieces[0]), array=layer, edgecolors="face", linewidths=0.3, **look)
        panel.add_collection(patches)
        panel.autoscale_view()
        panel.margins(0.02)
        return patches

    @property
    def has_particles(self) -> bool:
        """Whether the result has particles in the plane."""
        return "position" in self.ds and self.ds.sizes["axis"] == 2

    def particles(self, index: int) -> Array:
        """Positions (point, 2) of the particles of a frame: of all, or of some at even distances in their numbers."""
        count = self.ds.sizes["particle"]
        chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_PARTICLES)).round().astype(int))
        return np.asarray(self.ds["position"][index].values[chosen], float)

    def draw_particles(self, panel: Any, index: int) -> Any:
        """Draw the particles of a frame; the `set_offsets` of what is returned moves them."""
        size = max(1.0, min(6.0, 600.0 / self.ds.sizes["particle"]))
        look: dict[str, Any] = {"c": "white", "edgecolors": "black", "linewidths": 0.2 * size**0.5}
        return panel.scatter(*self.particles(index).T, s=size, **look)

    @property
    def has_velocity(self) -> bool:
        """Whether the result has a velocity in the plane."""
        return "v_x" in self.ds and "v_y" in self.ds and "v_z" not in self.ds

    @cached_property
    def _arrow_cells(self) -> tuple[Index, Array]:
        """Cells about evenly spread over the plane, as places in a flat layer, and their centres (point, 2)."""
        if self._grid:
            centre = np.stack([axis.ravel() for axis in np.meshgrid(self.ds["x"], self.ds["y"])], axis=1)
        else:
            centre = self._pieces[0].mean(axis=1)
        place = (centre - centre.min(axis=0)) / self._spacing
        square = np.floor(place).astype(int)
        order = np.argsort(np.abs(place - square - 0.5).max(axis=1), kind="stable")  # the middle of a square first
        _, first = np.unique(square[order], axis=0, return_index=True)
        cells = np.sort(order[first]).astype(np.int32)
        return cells, centre[cells]

    @property
    def _spacing(self) -> float:
        return max(self.size) / _ARROWS

    def arrows(self, index: int) -> tuple[Array, Array]:
        """Centres and velocities (point, 2) of a frame, where there is mass."""
        cells, centre = self._arrow_cells
        density, *velocity = (self.layer(self.ds[name][index]).ravel()[cells] for name in ("rho", "v_x", "v_y"))
        occupied = density > _OCCUPIED * float(self.ds["rho"][index].max())
        return centre[occupied], np.stack(velocity, axis=1)[occupied]

    def draw_arrows(self, panel: Any, arrows: tuple[Array, Array], fastest: float) -> None:
        """Draw arrows as long as they are fast, the same scale for all panels with the same `fastest`."""
        scale = fastest / (_LONGEST * self._spacing)
        look = {"color": "white", "edgecolor": "black", "linewidth": 0.4, "width": 0.008}
        panel.quiver(*arrows[0].T, *arrows[1].T, angles="xy", scale_units="xy", scale=scale, **look)
