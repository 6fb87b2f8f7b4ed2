"""The contract of a mesh kind: a frozen description that builds a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from fvflow.errors import CaseError
from fvflow.mesh.core import Mesh
from fvflow.mesh.extent import Extent

MAX_DIMENSION = 3


class MeshDescription:
    """A mesh as a case file describes it; the defaults are safe for a kind that knows nothing before it is built.

    To add a mesh kind, write one module with a frozen dataclass derived from this class. Its fields are the keys of
    the case file, with `kind: Literal["name"] = "name"` as the last one, and its `__post_init__` refuses values that do
    not fit together. Implement `build`; override the other members if more is known before the mesh is built. Then
    add the class to `MeshKind` in `fvflow.mesh`. Schema, messages and contract tests follow from that union.
    """

    kind: str

    @classmethod
    def declared_dimension(cls, values: Mapping[str, Any]) -> int | None:
        """The dimension that the keys of a case file imply, before validation; None if only the mesh itself tells.

        `values` is the mapping under `mesh` as it was written: any key may be missing or hold a value of a wrong type.
        """
        return None

    @property
    def extent(self) -> Extent | None:
        """Dimension and number of cells; None if they are unknown before the mesh is built."""
        return None

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the files that `build` reads."""
        return ()

    def build(self) -> Mesh:
        """The mesh; raises CaseError if it cannot be built or two-point fluxes are not consistent on it."""
        raise NotImplementedError

    def refined(self, factor: int = 2) -> Self:
        """The same domain with cells 1/factor as large along each axis; raises CaseError if that is impossible."""
        raise CaseError(f"a mesh of kind {self.kind} cannot be refined by {factor}; give a finer mesh")

    def coarsened(self, factor: int = 2) -> Self:
        """The same domain with cells `factor` times as large along each axis; raises CaseError if that is impossible.

        A number of cells that is no multiple of the factor is rounded up, so that cells of both need not be nested.
        """
        raise CaseError(f"a mesh of kind {self.kind} cannot be coarsened by {factor}; give a coarser mesh")

    def describe(self, mesh: Mesh) -> str:
        """One line on the mesh that was built: kind, cells and interior faces."""
        remark = f"; {mesh.remark}" if mesh.remark else ""
        turned = f", {mesh.revolution.describe()}" if mesh.revolution is not None else ""
        return f"{self.kind}, {' x '.join(map(str, reversed(mesh.shape)))} cells, {mesh.faces} faces{turned}{remark}"


def coarser(cells: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """Numbers of cells over a factor, rounded up; raises CaseError if nothing is left to be joined.

    >>> coarser((145, 1), 2)
    (73, 1)
    """
    found = tuple(-(-count // factor) for count in cells)
    if found == cells:
        raise CaseError(f"a mesh of {' x '.join(map(str, cells))} cells cannot be coarsened; give more")
    return found


def entries_per_axis(values: Mapping[str, Any], *keys: str) -> int | None:
    """The length of the first of the keys that holds a list of 1 to 3 entries, one per axis; None if there is none."""
    lengths = (len(values[key]) for key in keys if isinstance(values.get(key), list | tuple))
    return next((length for length in lengths if 1 <= length <= MAX_DIMENSION), None)
