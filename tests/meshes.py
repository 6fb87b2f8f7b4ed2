"""Small meshes of every shape that results can have, made without a mesh generator; an example of every mesh kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import fvflow
from fvflow.mesh import Box, FiPyMesh, Gmsh, Graded, Mesh, MeshDescription, Meshio, Radial, Ugrid, Voronoi
from fvflow.mesh.control_volumes import node_mesh
from fvflow.mesh.polytopes import mesh_from_cells

# A well-centred pattern of 14 triangles on the unit square, the tile of a family of test meshes (FVCA5, mesh 1).
TILE = np.array(
    [
        [0, 0],
        [0.5, 0],
        [1, 0],
        [1, 0.5],
        [1, 1],
        [0.5, 1],
        [0, 1],
        [0, 0.5],
        [0.3, 0.3],
        [0.65, 0.35],
        [0.7, 0.7],
        [0.35, 0.65],
    ]
)
PATTERN = (
    """0 1 8, 1 9 8, 1 2 9, 2 3 9, 3 10 9, 3 4 10, 4 5 10, 10 5 11, 5 6 11, 6 7 11, 7 8 11, 7 0 8, 8 9 11, 9 10 11"""
)
TRIANGLES = np.array([list(map(int, corners.split())) for corners in PATTERN.split(",")])


def joined(points, cells):
    """The mesh without repeated nodes."""
    _, first, number = np.unique(np.round(points, 9), axis=0, return_index=True, return_inverse=True)
    return points[first], np.where(cells < 0, -1, number.ravel()[cells])


def acute(level: int):
    """4^level copies of the pattern: nodes and triangles; 56 triangles at level 1."""
    count = 2**level
    tiles = [(i, j) for j in range(count) for i in range(count)]
    points = np.concatenate([(TILE + tile) / count for tile in tiles])
    return joined(points, np.concatenate([TRIANGLES + len(TILE) * index for index in range(len(tiles))]))


def triangles() -> Mesh:
    return mesh_from_cells(*acute(2))


def quadrilaterals() -> Mesh:
    """A ring of isosceles trapezoids, which have circumcentres."""
    box = Box((1.0, 0.0), (2.0, 1.9 * np.pi), (6, 40)).build()
    r, theta = box.points.T
    return mesh_from_cells(np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1), box.cell_points)


def polygons() -> Mesh:
    return Voronoi((0.0, 0.0), (1.0, 1.0), (8, 7), seed=3).build()


def node_boxes() -> Mesh:
    return node_mesh(triangles())


def mixed() -> Mesh:
    """Rows of squares and of equilateral triangles, which share the sides of the squares."""
    count, height = 6, np.sqrt(0.75)
    line = np.arange(count + 1.0)
    rows = [np.stack([line, np.full(count + 1, y)], axis=1) for y in (0.0, 1.0)]
    top = np.stack([line[:-1] + 0.5, np.full(count, 1.0 + height)], axis=1)
    n = count + 1
    squares = [[i, i + 1, n + i + 1, n + i] for i in range(count)]
    up = [[n + i, n + i + 1, 2 * n + i, -1] for i in range(count)]
    down = [[n + i + 1, 2 * n + i + 1, 2 * n + i, -1] for i in range(count - 1)]
    return mesh_from_cells(np.concatenate([*rows, top]), np.array(squares + up + down))


def solids() -> Mesh:
    """Cubes with their middles: four tetrahedra between each two, pyramids at the walls; all with circumcentres."""
    box = Box((0.0,) * 3, (3.0, 2.0, 2.0), (3, 2, 2)).build()
    points = np.concatenate([box.points, box.centre])
    middle = len(box.points) + np.arange(box.cells)
    inner = []
    for face, one, other in zip(box.face_points, middle[box.owner], middle[box.neighbour], strict=True):
        inner += [[face[k], face[(k + 1) % 4], one, other] for k in range(4)]
    sides = box.cell_points[:, [[0, 3, 2, 1], [4, 5, 6, 7], [0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7]]]
    walls = {tuple(sorted(row)) for row in box.wall_points.tolist()}
    outer = [
        [*side, tip]
        for tip, six in zip(middle, sides.tolist(), strict=True)
        for side in six
        if tuple(sorted(side)) in walls
    ]
    tetrahedra = np.pad(np.array(inner), ((0, 0), (0, 1)), constant_values=-1)
    return mesh_from_cells(points, np.concatenate([tetrahedra, np.array(outer)]))


def _cut_cubes():
    box = Box((0.0,) * 3, (1.0, 1.0, 1.0), (3, 3, 3)).build()
    cut = [[0, a, b, 6] for a, b in ((1, 2), (2, 3), (3, 7), (7, 4), (4, 5), (5, 1))]
    return box.points, np.concatenate([box.cell_points[:, part] for part in cut])


def tetrahedra() -> Mesh:
    """Cubes cut into six tetrahedra each; their circumcentres coincide, so that centroids are joined."""
    return mesh_from_cells(*_cut_cubes(), centroids=True)


def tetrahedra_nodes() -> Mesh:
    """The boxes about the nodes of these: cubes again, cut by the walls."""
    return node_mesh(mesh_from_cells(*_cut_cubes()))


def clipped_quadrilaterals() -> Mesh:
    """The boxes about the nodes of skewed quadrilaterals, clipped to the square."""
    box = Box((0.0, 0.0), (1.0, 1.0), (7, 6)).build()
    wave = 0.1 * np.sin(2 * np.pi * box.points).prod(axis=1)
    return node_mesh(mesh_from_cells(box.points + wave[:, None], box.cell_points, centroids=True))


def clipped_prisms() -> Mesh:
    """The boxes about the nodes of prisms that are bent in the middle, clipped to the box."""
    made = prisms()
    x, y, z = made.points.T
    bent = x + np.where(z == 0.3, 0.1, 0.0) * np.sin(np.pi * x) * np.sin(np.pi * y)
    points = np.stack([bent, y, z], axis=1)
    return node_mesh(mesh_from_cells(points, made.cell_points, centroids=True))


def hexahedra() -> Mesh:
    box = Box((0.0,) * 3, (1.0, 2.0, 1.0), (4, 3, 2)).build()
    return mesh_from_cells(box.points, box.cell_points)


def prisms() -> Mesh:
    """Layers of the acute triangles."""
    flat, corners = acute(1)
    layers = [np.column_stack([flat, np.full(len(flat), z)]) for z in (0.0, 0.3, 0.5)]
    cells = [np.hstack([corners + k * len(flat), corners + (k + 1) * len(flat)]) for k in range(2)]
    return mesh_from_cells(np.concatenate(layers), np.concatenate(cells))


SHAPES: dict[str, Callable[[], Mesh]] = {
    shape.__name__: shape
    for shape in (
        triangles,
        quadrilaterals,
        polygons,
        node_boxes,
        mixed,
        tetrahedra,
        tetrahedra_nodes,
        clipped_quadrilaterals,
        clipped_prisms,
        solids,
        hexahedra,
        prisms,
    )
}
MEASURE = {
    "quadrilaterals": 6 * 40 * 0.0 + 20 * np.sin(1.9 * np.pi / 40) * 3.0,
    "mixed": 6.0 + 11 * np.sqrt(0.75) / 2,
}
SLANTED = ("tetrahedra",)


def _gmsh(folder: Path) -> Gmsh:
    """The unit square, meshed by gmsh with triangles that have their circumcentres inside."""
    return Gmsh(
        geometry="""
        Point(1) = {0, 0, 0, 0.15}; Point(2) = {1, 0, 0, 0.15}; Point(3) = {1, 1, 0, 0.15}; Point(4) = {0, 1, 0, 0.15};
        For i In {1:4}
          Line(i) = {i, i % 4 + 1};
        EndFor
        Curve Loop(1) = {1:4}; Plane Surface(1) = {1};
        Mesh.Algorithm = 6;
        """
    )


def _meshio(folder: Path) -> Meshio:
    """Triangles of the unit square in a .vtu file."""
    import meshio

    points, corners = acute(1)
    space = np.column_stack([points, np.zeros(len(points))])
    meshio.write(folder / "mesh.vtu", meshio.Mesh(space, [("triangle", corners)]))
    return Meshio(str(folder / "mesh.vtu"))


def _ugrid(folder: Path) -> Ugrid:
    """The triangles of the unit square in a file of our own."""
    fvflow.save_mesh(triangles(), folder / "mesh.nc")
    return Ugrid(str(folder / "mesh.nc"))


# An example of every mesh kind, whose files are written into a folder. All cover their bounding box.
EXAMPLES: dict[type[MeshDescription], Callable[[Path], MeshDescription]] = {
    Box: lambda folder: Box((0.0, -1.0), (1.0, 1.0), (5, 4)),
    Graded: lambda folder: Graded((0.0, -1.0, 2.0), (1.0, 1.0, 3.0), (3, 4, 2), (2.0, 1.0, 0.5)),
    Radial: lambda folder: Radial(dimension=3, outer=2.0, cells=7),
    FiPyMesh: lambda folder: FiPyMesh((-1.0,), (2.0,), (7,)),
    Gmsh: _gmsh,
    Meshio: _meshio,
    Ugrid: _ugrid,
    Voronoi: lambda folder: Voronoi((0.0, 0.0), (2.0, 1.0), (6, 5), seed=3),
}
