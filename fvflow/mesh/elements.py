"""What a mesh file holds, as meshio reads it."""

from __future__ import annotations

import contextlib
import keyword
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh.core import Array, Index

_CORNERS = ("triangle", "quad", "polygon", "tetra", "pyramid", "wedge", "hexahedron")
_PLANE = {"triangle", "quad", "polygon"}
_IGNORED = {"vertex", "line"}
_FLAT = 1e-9  # range of z of a mesh in the plane, of its size


@dataclass(frozen=True)
class FileMark:
    """Marks a field that holds the path of a file, for the case, which takes it from where the case file is."""


FilePath = Annotated[str, FileMark()]


@dataclass(frozen=True)
class Elements:
    """What a mesh file holds: nodes, cells, and the named groups of cells and of faces."""

    points: Array  # (node, dim)
    cell_points: Index  # (cell, corner), padded with -1
    regions: dict[str, Array]  # (cell,) 1 inside, 0 outside
    boundaries: dict[str, Index]  # (face, corner)


def imported(name: str) -> Any:
    """The library of that name; raises CaseError that says how to get it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        remedy = f"pip install -e '.[mesh]' in the folder of fvflow brings it, and so does pip install {name}"
        raise CaseError(f"this mesh needs {name} ({error}); {remedy}") from None
    except OSError as error:  # it is there, but not what it is linked to
        raise CaseError(f"this mesh needs {name}, which does not load ({error}); install that system library") from None


def require_file(path: Path) -> None:
    """Refuse a file that is not there or cannot be read: CaseError."""
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                raise CaseError(f"{path}: is empty; give a mesh file")
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror}); give a mesh file") from None


def read(path: Path, format_: str | None = None, name: str | None = None) -> Elements:
    """The elements in a file, called by `name` if it goes by another; raises CaseError, whatever the reader does."""
    name = str(path) if name is None else name
    meshio = imported("meshio")
    require_file(path)
    try:
        with _silence(), np.errstate(all="ignore"):
            found = meshio.gmsh.read(path) if format_ == "gmsh" else meshio.read(path)
    except MemoryError:
        raise
    except ImportError as error:
        raise CaseError(f"{name}: its format needs {error.name} ({error}); install it with pip") from None
    except (Exception, SystemExit) as error:
        told = str(error).strip().splitlines()
        reason = told[0][:200] if told and not isinstance(error, SystemExit) else "its format is unknown or damaged"
        raise CaseError(
            f"{name}: is no mesh that can be read ({reason}); write it anew, or in another format"
        ) from None
    return _elements(found, name)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """meshio tells what it finds on both streams; what matters of it is said here."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def _elements(found: Any, path: str) -> Elements:
    """The cells of the highest dimension in what meshio has read, and its named groups."""
    blocks = [(block.type, np.asarray(block.data)) for block in found.cells if len(block.data)]
    unknown = sorted({kind for kind, _ in blocks} - _IGNORED - set(_CORNERS))
    if unknown:
        raise CaseError(
            f"{path}: has elements {', '.join(unknown)}; known are {', '.join(_CORNERS)}, those of first order"
        )
    solid = any(kind not in _PLANE | _IGNORED for kind, _ in blocks)
    cells = [index for index, (kind, _) in enumerate(blocks) if kind in _CORNERS and (kind in _PLANE) is not solid]
    facets = [index for index, (kind, _) in enumerate(blocks) if kind in (_PLANE if solid else {"line"})]
    if not cells:
        raise CaseError(
            f"{path}: has no cells; give a mesh of triangles, quadrilaterals, polygons or solids (gmsh saves physical "
            "groups only, if there are any: make the surface or volume one)"
        )
    regions, boundaries = {}, {}
    for name, masks in _groups(found).items():
        if any(masks[index].any() for index in cells):
            regions[name] = np.concatenate([masks[index] for index in cells]).astype(float)
        if any(masks[index].any() for index in facets):
            boundaries[name] = _padded([blocks[index][1][masks[index]] for index in facets])
    points = flattened(np.asarray(found.points, float), solid, path)
    return Elements(points, _padded([blocks[index][1] for index in cells]), regions, boundaries)


def _padded(parts: list[Any]) -> Index:
    """Rows of several blocks, as wide as the widest, the others padded with -1."""
    width = max(part.shape[1] for part in parts)
    filled = [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in parts]
    return np.concatenate(filled).astype(np.int32)


def _groups(found: Any) -> dict[str, list[Any]]:
    """The named groups of a mesh, each as a mask for each block that is not empty; names as expressions take them."""
    kept = [index for index, block in enumerate(found.cells) if len(block.data)]
    groups: dict[str, list[Any]] = {}
    given: dict[str, str] = {}

    def group(called: str) -> list[Any]:
        name = _identifier(called)
        if given.setdefault(name, called) != called:
            raise CaseError(f"the groups {given[name]!r} and {called!r} would both be {name}; rename one of them")
        return groups.setdefault(name, [np.zeros(len(found.cells[i].data), bool) for i in kept])

    tags = found.cell_data.get("gmsh:physical")
    if tags is not None:
        called = {(int(tag), int(dim)): name for name, (tag, dim) in found.field_data.items()}
        depth = {"vertex": 0, "line": 1, **dict.fromkeys(_PLANE, 2)}
        for place, index in enumerate(kept):
            dim = depth.get(found.cells[index].type, 3)
            for tag in set(np.unique(tags[index]).tolist()) - {0}:
                masks = group(called.get((tag, dim)) or f"physical_{tag}")
                masks[place] |= np.asarray(tags[index]) == tag
    for name, members in found.cell_sets.items():
        if name and not name.startswith("gmsh:"):
            masks = group(name)
            for place, index in enumerate(kept):
                if members[index] is not None:
                    masks[place][np.asarray(members[index], int)] = True
    return groups


def _identifier(name: str) -> str:
    """The name with what a name in an expression cannot have replaced by _."""
    name = re.sub(r"\W|^(?=\d)", "_", name)
    return f"{name}_" if keyword.iskeyword(name) else name


def flattened(points: Array, solid: bool, path: str) -> Array:
    """The points in the dimension of the cells; raises CaseError for surfaces that are not in a plane z = const."""
    if solid:
        return points
    size = float(np.ptp(points[:, :2], axis=0).max()) if len(points) else 0.0
    if points.shape[1] == 3 and np.ptp(points[:, 2]) > _FLAT * size:
        raise CaseError(f"{path}: is a surface in space; give one in a plane z = const, or solids")
    return points[:, :2]


def halved(elements: Elements) -> Elements:
    """The mesh with each triangle cut into four similar ones at the middles of its sides."""
    points, triangles = elements.points, elements.cell_points
    if points.shape[1] != 2 or triangles.shape[1] != 3:
        raise CaseError("refinements are for triangles alone; leave them out")
    sides = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    keys = sides[:, 0].astype(np.int64) * len(points) + sides[:, 1]
    edges, number = np.unique(keys, return_inverse=True)
    ends = np.stack(np.divmod(edges, len(points)), axis=1)
    a, b, c = triangles.T
    ab, bc, ca = (len(points) + number).reshape(3, -1)
    cut = np.stack([[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]).transpose(2, 0, 1).reshape(-1, 3)
    boundaries = {}
    for name, faces in elements.boundaries.items():
        rows = np.sort(faces, axis=1)
        middle = len(points) + np.searchsorted(edges, rows[:, 0].astype(np.int64) * len(points) + rows[:, 1])
        boundaries[name] = np.concatenate([np.stack([end, middle], axis=1) for end in rows.T]).astype(np.int32)
    regions = {name: np.repeat(inside, 4) for name, inside in elements.regions.items()}
    return Elements(np.concatenate([points, points[ends].mean(axis=1)]), cut.astype(np.int32), regions, boundaries)
