"""The contents of a mesh file: nodes, cells and named groups, read by meshio."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.input_files import require_input
from fvflow.mesh.arrays import Array, Index
from fvflow.mesh.named_groups import Groups, Mask, named_groups

_SUPPORTED = ("triangle", "quad", "polygon", "tetra", "pyramid", "wedge", "hexahedron")
_PLANAR = {"triangle", "quad", "polygon"}
_IGNORED = {"vertex", "line"}
_SECOND_ORDER = {  # and the elements of first order that their corners, which come first, make
    "line3": ("line", 2),
    "triangle6": ("triangle", 3),
    "triangle7": ("triangle", 3),
    "quad8": ("quad", 4),
    "quad9": ("quad", 4),
    "tetra10": ("tetra", 4),
    "pyramid13": ("pyramid", 5),
    "pyramid14": ("pyramid", 5),
    "wedge15": ("wedge", 6),
    "wedge18": ("wedge", 6),
    "hexahedron20": ("hexahedron", 8),
    "hexahedron24": ("hexahedron", 8),
    "hexahedron27": ("hexahedron", 8),
}
STRAIGHTENED = "the elements are of second order and taken as straight, by their corners"
"""What is remarked of elements whose other nodes are not used."""
_FLAT = 1e-9  # range of z below which a mesh lies in a plane, relative to its size


@dataclass(frozen=True)
class FileMark:
    """Marks a field that holds the path of a file; a case resolves it relative to the case file."""


FilePath = Annotated[str, FileMark()]


@dataclass(frozen=True)
class Elements:
    """The contents of a mesh file: nodes, cells, and the named groups of cells and of faces."""

    points: Array
    """Nodes (node, dim)."""
    cell_points: Index
    """Nodes of each cell (cell, corner), in VTK's order; shorter rows are padded with -1."""
    regions: dict[str, Array]
    """Indicator of each named group of cells (cell,): 1 inside, 0 outside."""
    boundaries: dict[str, Index]
    """Nodes of the faces of each named group of faces (face, corner), padded with -1."""
    left_out: tuple[str, ...] = ()
    """Phrases for what the file has and a mesh has not."""
    remark: str = ""
    """What the mesh is that the file does not say."""


def import_library(name: str) -> Any:
    """The library of that name; raises CaseError with the command that installs it."""
    from importlib import import_module

    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise missing_library(name, error) from None


def missing_library(name: str, error: ImportError | OSError) -> CaseError:
    """The error for a library that cannot be imported, with the command that installs it."""
    if isinstance(error, OSError):  # it is installed, but a system library that it links to is not
        return CaseError(f"this mesh needs {name}, which does not load ({error}); install that system library")
    remedy = f"install it with pip install -e '.[mesh]' in the folder of fvflow, or with pip install {name}"
    return CaseError(f"this mesh needs {name} ({error}); {remedy}")


def read_elements(path: Path, file_format: str | None = None, name: str | None = None) -> Elements:
    """The elements in a file, which messages call `name` instead of its path.

    `file_format` "gmsh" selects meshio's reader of .msh files; otherwise meshio goes by the ending of the path. Raises
    CaseError for whatever the reader raises, if the cells are not polygons or solids, and for periodic walls. Elements
    of second order are taken by their corners, which is remarked. A mesh that was generated just before has a `name`;
    its periodic curves only make nodes of both sides alike, which is remarked too.
    """
    generated, name = name is not None, name or str(path)
    meshio = import_library("meshio")
    require_input(path, "a mesh file")
    try:
        with _printed() as printed, np.errstate(all="ignore"):
            mesh = meshio.gmsh.read(path) if file_format == "gmsh" else meshio.read(path)
    except MemoryError as error:
        raise CaseError(f"{name}: does not fit into memory, or is damaged ({error}); write it again") from None
    except ImportError as error:
        raise CaseError(f"{name}: its format needs {error.name} ({error}); install it with pip") from None
    except (Exception, SystemExit) as error:
        said = printed if isinstance(error, SystemExit) else [*printed, *str(error).strip().splitlines()]
        reason = "; ".join(dict.fromkeys(filter(None, map(str.strip, said))))[:300]
        raise CaseError(
            f"{name}: is not a readable mesh file ({reason or 'its format is unknown or damaged'}); write it again, or "
            "in another format"
        ) from None
    try:
        return _from_meshio(mesh, path, name, printed, generated)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CaseError(
            f"{name}: meshio reads it into blocks and groups that do not fit together ({error}); write it again, or in "
            "another format"
        ) from None


@contextlib.contextmanager
def _printed() -> Iterator[list[str]]:
    """The lines that meshio prints on both streams, which are not shown otherwise, once the context has ended.

    meshio says there what it cannot read before it leaves by SystemExit, and what it leaves out.
    """
    lines: list[str] = []
    with io.StringIO() as stream:
        try:
            with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
                yield lines
        finally:
            lines += [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in stream.getvalue().splitlines()]


def _from_meshio(mesh: Any, file: Path, path: str, printed: list[str], generated: bool) -> Elements:
    """The cells of the highest dimension of a meshio mesh, and its named groups."""
    for block in mesh.cells:
        if not isinstance(block.data, np.ndarray) or block.data.ndim != 2:
            raise ValueError(f"a block of {block.type} is no table of nodes")
    periodic = bool(getattr(mesh, "gmsh_periodic", None))
    if periodic and not generated:
        raise CaseError(
            f"{path}: has periodic walls ($Periodic), which meshes from files cannot have; remove that section, and "
            "they are walls like others"
        )
    remarks = ["walls that the geometry calls periodic are walls like others"] if periodic else []
    remarks += _straightened(mesh)
    elements = from_blocks(np.asarray(mesh.points, float), named_groups(mesh, file), path, printed)
    return replace(elements, remark="; ".join(remarks))


def from_blocks(points: Array, groups: Groups, path: str, printed: Sequence[str] = ()) -> Elements:
    """The cells of the highest dimension among blocks of elements, and their groups.

    Points are (node, 3) or (node, 2). Raises CaseError if the cells are not first-order polygons or solids.
    """
    blocks = groups.blocks
    solid = _is_solid([kind for kind, _ in blocks], path)
    cells = [index for index, (kind, _) in enumerate(blocks) if kind in _SUPPORTED and (kind in _PLANAR) is not solid]
    facets = [index for index, (kind, _) in enumerate(blocks) if kind in (_PLANAR if solid else {"line"})]
    if not cells:
        raise CaseError(
            f"{path}: has no cells; give a mesh of triangles, quadrilaterals, polygons or solids (if there are "
            "physical groups, gmsh saves only these: add the surface or volume to one)"
        )
    cell_points = _padded([blocks[index][1] for index in cells])
    if cell_points.max() >= len(points):
        row = int(np.argmax(cell_points.max(axis=1) >= len(points)))
        raise CaseError(f"{path}: cell {row} has node {cell_points[row].max()}, and there are {len(points)} nodes")
    regions = _regions(groups.masks, cells)
    boundaries = _boundaries(groups, facets, solid)
    return Elements(
        points if solid else planar_points(points, cell_points, path),
        cell_points,
        regions,
        boundaries,
        (*_left_out(groups, {*cells, *facets}, {*regions, *boundaries}, printed), *_apart(groups, facets, cell_points)),
    )


def _left_out(groups: Groups, used: set[int], named: set[str], printed: Sequence[str]) -> Iterator[str]:
    """Phrases for what is in the file and not in the mesh."""
    kinds = sorted({kind for index, (kind, _) in enumerate(groups.blocks) if index not in used})
    if kinds:
        yield f"elements of type {', '.join(kinds)}"
    if empty := sorted({*groups.masks, *groups.faces} - named):
        yield f"groups without cells and walls: {', '.join(empty)}"
    yield from groups.left_out
    yield from dict.fromkeys(f"as meshio says: {line.strip()}" for line in printed if line.strip())


def _apart(groups: Groups, facets: list[int], cell_points: Index) -> Iterator[str]:
    """Phrases for elements of a dimension less than that of the cells, at nodes of none: a second part of the file."""
    for kind in dict.fromkeys(groups.blocks[index][0] for index in facets):
        rows = np.concatenate([groups.blocks[index][1] for index in facets if groups.blocks[index][0] == kind])
        if count := int((~np.isin(rows, cell_points)).any(axis=1).sum()):
            yield f"{count} element{'s' * (count > 1)} of type {kind} away from all cells"


def _straightened(mesh: Any) -> list[str]:
    """Replace elements of second order by those of their corners, in place; a remark if there are any."""
    curved = False
    for index, block in enumerate(mesh.cells):
        kind, corners = _SECOND_ORDER.get(block.type, (block.type, None))
        if corners is not None:
            mesh.cells[index] = type(block)(kind, np.asarray(block.data)[:, :corners])
            curved = True
    return [STRAIGHTENED] if curved else []


def _regions(groups: dict[str, list[Mask]], cells: list[int]) -> dict[str, Array]:
    """The indicator (cell,) of each group that contains cells; `cells` are the blocks of these."""
    masks = {name: np.concatenate([group[index] for index in cells]) for name, group in groups.items()}
    return {name: mask.astype(float) for name, mask in masks.items() if mask.any()}


def _boundaries(groups: Groups, facets: list[int], solid: bool) -> dict[str, Index]:
    """The nodes of the faces (face, corner) of each group that contains faces; `facets` are the blocks of these.

    Of planar elements only lines are faces: a side of a shell may be all of it.
    """
    blocks = groups.blocks
    rows = {name: [blocks[index][1][mask[index]] for index in facets] for name, mask in groups.masks.items()}
    for name, parts in groups.faces.items():
        rows.setdefault(name, []).extend(part for part in parts if solid or part.shape[1] == 2)
    return {name: _padded(parts) for name, parts in rows.items() if any(map(len, parts))}


def _is_solid(kinds: list[str], path: str) -> bool:
    """Whether there are solids among the elements; raises CaseError for elements that are not supported."""
    unsupported = sorted(set(kinds) - _IGNORED - set(_SUPPORTED))
    if unsupported:
        raise CaseError(
            f"{path}: has elements {', '.join(unsupported)}; supported are {', '.join(_SUPPORTED)} of first and "
            "second order"
        )
    return any(kind not in _PLANAR | _IGNORED for kind in kinds)


def _padded(parts: list[Any]) -> Index:
    """The rows of several blocks, padded with -1 to the width of the widest."""
    width = max(part.shape[1] for part in parts)
    filled = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return np.concatenate(filled).astype(np.int32)


def planar_points(points: Array, cell_points: Index, path: str) -> Array:
    """The nodes (node, 2) of cells in a plane z = const, without z; nodes that no cell has may be anywhere.

    Raises CaseError for a surface that is not in such a plane.
    """
    used = points[np.unique(cell_points[(cell_points >= 0) & (cell_points < len(points))])]
    if points.shape[1] == 2 or not len(used):
        return points[:, :2]
    flat = np.ptp(used, axis=0) <= _FLAT * np.ptp(used, axis=0).max()
    if not flat[2]:
        axis = next((axis for axis in (1, 0) if flat[axis]), None)
        if axis is None:
            raise CaseError(f"{path}: is a surface in space; give a mesh in a plane z = const, or one of solids")
        plane, others = "xy"[axis], "yx"[axis] + "z"
        raise CaseError(
            f"{path}: lies in the plane {plane} = {used[0, axis]:.4g}, where meshes lie in planes z = const; write "
            f"{others[0]} and {others[1]} as x and y"
        )
    return points[:, :2]


def red_refinement(elements: Elements) -> Elements:
    """The mesh with each triangle cut into four similar ones at the midpoints of its sides (red refinement).

    Raises CaseError for cells that are not triangles.
    """
    points, triangles = elements.points, elements.cell_points
    if points.shape[1] != 2 or triangles.shape[1] != 3:
        raise CaseError("refinements are for triangles only; remove refinements")
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    keys = sides[:, 0].astype(np.int64) * len(points) + sides[:, 1]
    edges, number = np.unique(keys, return_inverse=True)
    ends = np.stack(np.divmod(edges, len(points)), axis=1)
    a, b, c = triangles.T
    ab, bc, ca = (len(points) + number).reshape(3, -1)
    children = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(2, 0, 1).reshape(-1, 3)
    boundaries = {}
    for name, faces in elements.boundaries.items():
        rows = np.sort(faces, axis=1)
        midpoint = len(points) + np.searchsorted(edges, rows[:, 0].astype(np.int64) * len(points) + rows[:, 1])
        boundaries[name] = np.concatenate([np.stack([end, midpoint], axis=1) for end in rows.T]).astype(np.int32)
    regions = {name: np.repeat(inside, 4) for name, inside in elements.regions.items()}
    nodes = np.concatenate([points, points[ends].mean(axis=1)])
    return Elements(nodes, children.astype(np.int32), regions, boundaries, elements.left_out, elements.remark)
