"""Exodus II files: nodes, element blocks and side sets with their names, which meshio drops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.elements import STRAIGHTENED, Elements, from_blocks
from fvflow.mesh.named_groups import Groups
from fvflow.mesh.netcdf_file import NetCDFFile, opened

ENDINGS = (".e", ".ex2", ".exo", ".exii", ".exodus")
_TYPES = {  # by the letters that the type of a block begins with: type, corners, sides
    "TRISHELL": ("triangle", 3, ((0, 1, 2), (0, 2, 1), (0, 1), (1, 2), (2, 0))),
    "TRI": ("triangle", 3, ((0, 1), (1, 2), (2, 0))),
    "QUAD": ("quad", 4, ((0, 1), (1, 2), (2, 3), (3, 0))),
    "SHELL": ("quad", 4, ((0, 1, 2, 3), (3, 2, 1, 0), (0, 1), (1, 2), (2, 3), (3, 0))),
    "TET": ("tetra", 4, ((0, 1, 3), (1, 2, 3), (0, 3, 2), (0, 2, 1))),
    "PYR": ("pyramid", 5, ((0, 1, 4), (1, 2, 4), (2, 3, 4), (0, 4, 3), (0, 3, 2, 1))),
    "WEDGE": ("wedge", 6, ((0, 1, 4, 3), (1, 2, 5, 4), (0, 3, 5, 2), (0, 2, 1), (3, 4, 5))),
    "HEX": (
        "hexahedron",
        8,
        ((0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (0, 4, 7, 3), (0, 3, 2, 1), (4, 5, 6, 7)),
    ),
    "BAR": ("line", 2, ()),
    "BEAM": ("line", 2, ()),
    "TRUSS": ("line", 2, ()),
    "SPHERE": ("vertex", 1, ()),
}


def read_exodus(path: str) -> Elements:
    """The elements in an Exodus II file; its blocks are regions, its side sets boundaries.

    A block or side set without a name is called block_ID or side_set_ID. Raises CaseError if the file cannot be read or
    has other elements. L. Schoof, V. Yarberry, EXODUS II: a finite element data model, 1994, appendix A.
    """
    with opened(path, "an Exodus II file", "it is not a complete Exodus II file") as file:
        groups, sides, points, curved = Groups([]), [], _points(file), False
        for number, name in enumerate(_names(file, "eb_names", "eb_prop1", "block"), start=1):
            if f"connect{number}" not in file.variables:
                continue  # an empty block
            kind, corners, of_sides = _type_of(file, f"connect{number}", points.shape[1])
            nodes = _whole(file, f"connect{number}", 2) - 1
            curved |= nodes.shape[1] > corners
            groups.blocks.append((kind, nodes[:, :corners]))
            groups.masks = {each: [*masks, np.zeros(len(nodes), bool)] for each, masks in groups.masks.items()}
            groups.add(name, -1, slice(None))
            sides.append(of_sides)
        for number, name in enumerate(_names(file, "ss_names", "ss_prop1", "side_set"), start=1):
            if f"elem_ss{number}" in file.variables:
                groups.faces[groups.name(name)] = _faces(file, number, groups, sides)
        if "ns_names" in file.variables or "ns_prop1" in file.variables:
            groups.left_out.append(f"sets of nodes: {', '.join(_names(file, 'ns_names', 'ns_prop1', 'node_set'))}")
        return replace(from_blocks(points, groups, path), remark=STRAIGHTENED if curved else "")


def _type_of(file: NetCDFFile, name: str, dimension: int) -> tuple[str, int, tuple[tuple[int, ...], ...]]:
    """The type of the elements of a block, the number of their corners, and the corners of each of their sides.

    Where nodes have three coordinates, triangles are shells, whose first two sides are their faces.
    """
    text = file.text(name, "elem_type").strip().upper()
    if text == "SHELL3" or (dimension == 3 and text.startswith("TRI")):
        text = "TRISHELL"
    for letters, found in _TYPES.items():
        if text.startswith(letters):
            return found
    raise CaseError(
        f"{file.path}: {name} has elements of type {text}; supported are triangles, quadrilaterals, tetrahedra, "
        "pyramids, wedges and hexahedra"
    )


def _points(file: NetCDFFile) -> Array:
    """The nodes (node, dim)."""
    if "coord" in file.variables:
        return file.numbers("coord", 2).T
    axes = [file.numbers(f"coord{axis}", 1) for axis in "xyz" if f"coord{axis}" in file.variables]
    if not axes or len({len(axis) for axis in axes}) > 1:
        raise file.incomplete("the coordinates of the nodes are missing or differ in length")
    return np.stack(axes, axis=1)


def _faces(file: NetCDFFile, number: int, groups: Groups, sides: list[tuple[tuple[int, ...], ...]]) -> list[Index]:
    """The nodes of the faces of a side set, by their number of corners."""
    element, side = (_whole(file, f"{name}_ss{number}", 1) - 1 for name in ("elem", "side"))
    ends = np.cumsum([len(rows) for _, rows in groups.blocks])
    if (
        len(element) != len(side)
        or element.min(initial=0) < 0
        or element.max(initial=-1) >= (ends[-1] if len(ends) else 0)
    ):
        raise file.incomplete(f"side set {number} names elements that the file does not have")
    faces: list[Index] = []
    block = np.searchsorted(ends, element, side="right")
    for which, of_sides in enumerate(sides):
        rows, first = groups.blocks[which][1], ends[which] - len(groups.blocks[which][1])
        for place in np.unique(side[block == which]).tolist():
            if not 0 <= place < len(of_sides):
                raise file.incomplete(
                    f"side set {number} has side {place + 1} of elements of type {groups.blocks[which][0]}"
                )
            chosen = element[(block == which) & (side == place)] - first
            faces.append(rows[chosen][:, list(of_sides[place])])
    return faces


def _whole(file: NetCDFFile, name: str, dimensions: int) -> Index:
    """The values of a variable of whole numbers."""
    return file.numbers(name, dimensions).astype(np.int32)


def _names(file: NetCDFFile, names: str, numbers: str, fallback: str) -> list[str]:
    """The names of blocks or sets, or the fallback with their number where one has none; none if there are none."""
    ids = _whole(file, numbers, 1).tolist() if numbers in file.variables else []
    given: list[str] = file.texts(names) if names in file.variables else [""] * len(ids)
    count = max(len(ids), len(given))
    return [
        (given[k] if k < len(given) else "") or f"{fallback}_{ids[k] if k < len(ids) else k + 1}" for k in range(count)
    ]
