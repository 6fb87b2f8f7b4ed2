"""The layers of a grid that one of several processes holds."""

from __future__ import annotations

from fvflow.errors import CaseError
from fvflow.mesh.core import Extent, Mesh
from fvflow.mesh.grid import Grid
from fvflow.parallel import world


class Slab(Grid):
    """Neighbouring layers of a grid, across its last axis: those of this process, and some of its neighbours' beside.

    Cells and faces are those of the layers that it holds. `extent` and `whole` are those of the whole grid.
    """

    def __init__(self, whole: Grid, layers: range) -> None:
        edges = list(whole.product_edges or ())
        edges[-1] = edges[-1][layers.start : layers.stop + 1]
        super().__init__(tuple(edges), whole.periodic, whole.revolution)
        object.__setattr__(self, "_whole", whole)

    @property
    def whole(self) -> Grid:
        """The grid that it is a part of."""
        grid: Grid = self._whole  # type: ignore[attr-defined]
        return grid

    @property
    def extent(self) -> Extent:
        """The extent of the whole grid."""
        return self.whole.extent


def indivisible(mesh: Mesh) -> str:
    """Why a mesh is not divided among several processes; empty if it is."""
    slowest = mesh.dimension - 1
    if mesh.edges is None:
        return "only grids (box, graded) are divided among ranks; run this mesh on one"
    if slowest == 0:
        return "a line of cells is not divided among ranks; run it on one"
    if slowest in mesh.periodic:
        return (
            f"a grid is divided along {'xyz'[slowest]}, which is periodic here; make another axis periodic in its place"
        )
    if mesh.revolution is not None:
        return "a grid whose x is a radius is not divided among ranks; run it on one"
    return ""


def divided(mesh: Mesh, reach: int = 1) -> Mesh:
    """What this process holds of a mesh: all of it, or a slab of a grid with `reach` layers of each neighbour.

    Raises CaseError if there are several processes and the mesh cannot be divided among them.
    """
    comm = world()
    if comm.holds_all:
        return mesh
    if sentence := indivisible(mesh):
        raise CaseError(sentence)
    assert isinstance(mesh, Grid)
    comm.divide(mesh.shape[0], mesh.cells // mesh.shape[0], reach)
    assert comm.division is not None
    return Slab(mesh, comm.division.held(comm.rank))
