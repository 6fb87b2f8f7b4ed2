"""The named groups of a mesh file, as each format has them, for the blocks of cells that meshio has read."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvflow.errors import CaseError
from fvflow.mesh.arrays import Index

_TAGGED = ("region", "material", "medit:ref", "nastran:ref")
"""Cell data of whole numbers whose values are regions, by format: vtk, vtu and xdmf, medit, nastran."""
_DIMENSION = {"vertex": 0, "line": 1, "triangle": 2, "quad": 2, "polygon": 2}
_NODES_OF_SU2 = {3: 2, 5: 3, 9: 4}  # of the elements that markers consist of, by VTK's number

Block = tuple[str, Index]
"""The type of some elements and their nodes (element, corner)."""
Mask = NDArray[np.bool_]


@dataclass
class Groups:
    """Named groups of elements; names become identifiers of expressions."""

    blocks: list[Block]
    """The elements by type."""
    masks: dict[str, list[Mask]] = field(default_factory=dict)
    """Which elements (element,) of each block belong to each group."""
    faces: dict[str, list[Index]] = field(default_factory=dict)
    """Nodes of faces (face, corner) that belong to each group and are no elements."""
    left_out: list[str] = field(default_factory=list)
    """Phrases for what the file has and fvflow does not use."""
    _original: dict[str, str] = field(default_factory=dict)

    def of(self, original: str) -> list[Mask]:
        """The masks of a group, created empty; raises CaseError if two groups get the same identifier."""
        return self.masks.setdefault(self.name(original), [np.zeros(len(rows), bool) for _, rows in self.blocks])

    def name(self, original: str) -> str:
        """The identifier of a group; raises CaseError if two groups get the same one."""
        name = _identifier(original)
        first = self._original.setdefault(name, original)
        if first != original:
            raise CaseError(f"the groups {first!r} and {original!r} would both be named {name}; rename one of them")
        return name

    def add(self, original: str, block: int, members: Any) -> None:
        """Add some elements of a block, by a mask or by their numbers."""
        self.of(original)[block][members] = True


def named_groups(mesh: Any, path: Path) -> Groups:
    """The groups of a meshio mesh, for its blocks that are not empty, and those that meshio does not read.

    These are gmsh's physical groups, the sets of Abaqus (sets of sets too), the markers of SU2, the families of MED,
    and the values of whole-numbered cell data `region`, `material` and the references of medit and nastran.
    """
    kept = [index for index, block in enumerate(mesh.cells) if len(block.data)]
    groups = Groups([(mesh.cells[index].type, np.asarray(mesh.cells[index].data)) for index in kept])
    if (tags := mesh.cell_data.get("gmsh:physical")) is not None:
        _add_physical_groups(groups, mesh.field_data, [np.asarray(tags[index]) for index in kept])
        _merge_repeated(groups)
    if families := getattr(mesh, "cell_tags", None):
        _add_families(groups, families, [np.asarray(mesh.cell_data["cell_tags"][index]) for index in kept])
    for name in (name for name in _TAGGED if name in mesh.cell_data):
        _add_values(groups, name, [np.asarray(mesh.cell_data[name][index]) for index in kept])
    if path.suffix.lower() == ".inp":
        _add_abaqus_sets(groups, path, [len(block.data) for block in mesh.cells], kept)
    else:
        _add_sets(groups, mesh.cell_sets, kept)
    if path.suffix.lower() == ".su2":
        _add_markers(groups, path)
    if mesh.point_sets:
        groups.left_out.append(f"sets of nodes: {', '.join(map(str, mesh.point_sets))}")
    return groups


def _add_sets(groups: Groups, sets: Mapping[str, Any], kept: list[int]) -> None:
    """Add meshio's cell sets: members by block."""
    for name, members in sets.items():
        if name and not name.startswith("gmsh:"):
            groups.of(name)
            for block, index in enumerate(kept):
                if members[index] is not None:
                    groups.add(name, block, np.asarray(members[index], int))


def _add_physical_groups(groups: Groups, field_data: Mapping[str, Any], tags: list[Any]) -> None:
    """Add gmsh's physical groups, from the tags (element,) of each block."""
    names = {(int(tag), int(dim)): name for name, (tag, dim) in field_data.items()}
    for block, ((kind, _), tagged) in enumerate(zip(groups.blocks, tags, strict=True)):
        for tag in set(np.unique(tagged).tolist()) - {0}:
            groups.add(names.get((tag, _DIMENSION.get(kind, 3))) or f"physical_{tag}", block, tagged == tag)


def _merge_repeated(groups: Groups) -> None:
    """Make one element of those that are listed once for each of their groups, as in .msh files of version 2.2.

    An element that is twice in one group stays so, and is refused with the others that overlap.
    """
    for kind in dict.fromkeys(kind for kind, _ in groups.blocks):
        blocks = [number for number, (other, _) in enumerate(groups.blocks) if other == kind]
        rows = np.concatenate([groups.blocks[number][1] for number in blocks])
        _, first, inverse, counts = np.unique(
            np.sort(rows, axis=1), axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        if counts.max(initial=1) == 1:
            continue
        inverse = inverse.ravel()
        masks = {name: np.concatenate([mask[number] for number in blocks]) for name, mask in groups.masks.items()}
        grouped = {name: np.bincount(inverse, mask, len(counts)) for name, mask in masks.items()}
        if max((part.max() for part in grouped.values()), default=0) > 1 or not np.array_equal(
            sum(grouped.values()), counts
        ):
            continue
        keep = np.zeros(len(rows), bool)
        keep[first] = True
        start = np.cumsum([0, *(len(groups.blocks[number][1]) for number in blocks)])
        for number, low, high in zip(blocks, start[:-1], start[1:], strict=True):
            kept = keep[low:high]
            groups.blocks[number] = kind, groups.blocks[number][1][kept]
            for name, mask in groups.masks.items():
                mask[number] = (grouped[name] > 0)[inverse[low:high]][kept]


def _add_families(groups: Groups, families: Mapping[int, list[str]], tags: list[Any]) -> None:
    """Add the groups of MED: the elements of a family belong to all groups that it names."""
    for number, names in families.items():
        for name in names:
            for block, tagged in enumerate(tags):
                groups.add(name, block, tagged == number)


def _add_values(groups: Groups, name: str, values: list[Any]) -> None:
    """Add a group for each value of whole-numbered cell data."""
    if not all(np.issubdtype(part.dtype, np.integer) and part.ndim == 1 for part in values):
        groups.left_out.append(f"cell data {name}, which are not whole numbers")
        return
    short = name.partition(":")[0]
    for block, part in enumerate(values):
        for value in np.unique(part).tolist():
            groups.add(f"{short}_{value}", block, part == value)


def _add_abaqus_sets(groups: Groups, path: Path, sizes: list[int], kept: list[int]) -> None:
    """Add the element sets of an Abaqus file, which may be sets of sets; raises CaseError for a circle of them."""
    ids: list[list[int]] = []  # of the elements, by block
    members: dict[str, list[int | str]] = {}  # numbers of elements, and names of sets
    for word, options, rows in _abaqus_sections(path):
        if word == "ELEMENT":
            numbers = [int(text) for row in rows for text in row]
            size = sizes[len(ids)] if len(ids) < len(sizes) else 0
            ids.append(numbers[:: len(numbers) // size] if size else [])
            if "ELSET" in options:
                members.setdefault(options["ELSET"], []).extend(ids[-1])
        elif word == "ELSET" and "ELSET" in options:
            found = members.setdefault(options["ELSET"], [])
            for row in rows:
                if "GENERATE" in options:
                    low, high, *step = (int(text) for text in row)
                    found.extend(range(low, high + 1, *step[:1]))
                else:
                    found.extend(int(text) if text.isdecimal() else text for text in row)
    place = {number: (block, at) for block, index in enumerate(kept) for at, number in enumerate(ids[index])}
    for name in members:
        groups.of(name)
        for number in _flattened(name, members, ()):
            if number in place:
                groups.add(name, *place[number])


def _abaqus_sections(path: Path) -> Iterator[tuple[str, dict[str, str], list[list[str]]]]:
    """Each keyword of an Abaqus file, its options, and the texts in the lines of data below it."""
    word = ""
    options: dict[str, str] = {}
    rows: list[list[str]] = []
    with open(path, errors="replace") as file:
        for line in file:
            if line.startswith("**") or not line.strip():
                continue
            if not line.startswith("*"):
                if word in ("ELEMENT", "ELSET"):
                    rows.append([text for part in line.split(",") if (text := part.strip())])
                continue
            if word:
                yield word, options, rows
            head, *settings = (part.strip() for part in line[1:].split(","))
            pairs = (setting.partition("=") for setting in settings)
            word, options = head.upper(), {key.strip().upper(): value.strip() for key, _, value in pairs}
            rows = []
    if word:
        yield word, options, rows


def _flattened(name: str, members: Mapping[str, list[int | str]], above: tuple[str, ...]) -> Iterator[int]:
    """The elements of a set, with those of the sets in it; raises CaseError for a circle or a set that is missing."""
    if name in above:
        raise CaseError(f"the element set {name} contains itself; remove it from {above[-1]}")
    for member in members[name]:
        if isinstance(member, int):
            yield member
        elif member in members:
            yield from _flattened(member, members, (*above, name))
        else:
            raise CaseError(f"the element set {name} contains {member}, which is no element set; define it")


def _add_markers(groups: Groups, path: Path) -> None:
    """Add the faces of the markers of an SU2 file, whose names meshio drops."""
    with open(path, errors="replace") as file:
        lines = (line for raw in file if (line := raw.partition("%")[0].strip()))
        name = ""
        for line in lines:
            key, _, value = (part.strip() for part in line.partition("="))
            if key == "MARKER_TAG":
                name = value
            elif key == "MARKER_ELEMS" and name:
                by_corners: dict[int, list[list[int]]] = {}
                for _ in range(int(value)):
                    kind, *nodes = (int(text) for text in next(lines, "0").split())
                    count = _NODES_OF_SU2.get(kind, 0)
                    if count:
                        by_corners.setdefault(count, []).append(nodes[:count])
                groups.faces.setdefault(groups.name(name), []).extend(
                    np.array(part, np.int32) for part in by_corners.values()
                )


def _identifier(name: str) -> str:
    """The name with characters that an identifier cannot have replaced by _."""
    name = re.sub(r"\W|^(?=\d)", "_", name)
    return f"{name}_" if keyword.iskeyword(name) else name
