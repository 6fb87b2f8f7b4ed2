"""Which control volumes meshes of many kinds get by default, and what fluxes make of them: a table.

    python -m tests.mesh_table [NAME ...] [--levels 3]

For each mesh: what it is made of and which control volumes it has; relative errors of the volume and of the mass of a
run, the largest change of a Gibbs density, the least density from a spike; orders in L1 of -div grad u + u = f for a
Neumann mode u, over meshes of half the size each; with --flow, orders in L1 of an Ornstein-Uhlenbeck flow too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import cg

import fvflow
from fvflow.case import Case
from fvflow.mesh import Gmsh, Mesh

Mode = Callable[[Any], Any]
"""A function of positions (point, dim)."""


@dataclass(frozen=True)
class Subject:
    """A mesh, at some sizes, and a Neumann mode of its domain."""

    write: Callable[[Path, float], Any]
    """Writes the mesh of a size into a file; returns its exact measure, None if walls are curved."""
    mode: Mode
    square: float
    """k^2, where -div grad u = k^2 u for the mode."""
    size: float
    """The first size."""


def cosines(*numbers: float) -> tuple[Mode, float]:
    """prod cos(k_a pi x_a), a Neumann mode of all boxes between its extrema."""
    return lambda x: np.cos(np.pi * np.asarray(numbers) * x).prod(axis=1), np.pi**2 * float(np.sum(np.square(numbers)))


def radial(dimension: int, inner: float = 0.0) -> tuple[Mode, float]:
    """The first radial Neumann mode of the unit disc, the unit ball, or a ring of outer radius 1."""
    from scipy.optimize import brentq
    from scipy.special import j0, j1, spherical_jn, y0, y1

    if dimension == 3:
        k = brentq(lambda k: np.tan(k) - k, 4.4, 4.6)
        return lambda x: spherical_jn(0, k * np.linalg.norm(x, axis=1)), k**2
    if not inner:
        k = brentq(j1, 3.0, 4.5)
        return lambda x: j0(k * np.linalg.norm(x, axis=1)), k**2
    k = brentq(lambda k: j1(k) * y1(inner * k) - y1(k) * j1(inner * k), 2.0, 8.0)
    return lambda x: (lambda r: j0(k * r) * y1(k) - y0(k * r) * j1(k))(np.linalg.norm(x, axis=1)), k**2


def geometry(build: Callable[[Any, float], float | None], dimension: int = 2, **options: float) -> Any:
    """A writer of a geometry in gmsh's Python interface, with options as Mesh_Algorithm."""

    def write(path: Path, size: float) -> float | None:
        import gmsh

        gmsh.initialize(["gmsh", "-v", "0"], interruptible=False)
        try:
            for name, value in {"Mesh.MeshSizeMin": size, "Mesh.MeshSizeMax": size}.items():
                gmsh.option.setNumber(name, value)
            for name, value in options.items():
                gmsh.option.setNumber(name.replace("_", "."), value)
            measure = build(gmsh, size)
            gmsh.model.mesh.generate(dimension)
            if options.get("Mesh_RecombineAll"):
                gmsh.model.mesh.recombine()
            if gmsh.model.getPhysicalGroups(1):
                gmsh.plugin.setNumber("Crack", "Dimension", 1)
                gmsh.plugin.setNumber("Crack", "PhysicalGroup", gmsh.model.getPhysicalGroups(1)[0][1])
                gmsh.plugin.run("Crack")
                gmsh.model.removePhysicalGroups()
            gmsh.write(str(path))
        finally:
            gmsh.finalize()
        return measure

    return write


def _disc(gmsh: Any, size: float) -> None:
    gmsh.model.occ.addDisk(0, 0, 0, 1, 1)
    gmsh.model.occ.synchronize()


def _ring(gmsh: Any, size: float) -> None:
    occ = gmsh.model.occ
    occ.cut([(2, occ.addDisk(0, 0, 0, 1, 1))], [(2, occ.addDisk(0, 0, 0, 0.4, 0.4))])
    occ.synchronize()


def _l_shape(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    occ.cut([(2, occ.addRectangle(-1, -1, 0, 2, 2))], [(2, occ.addRectangle(0, 0, 0, 2, 2))])
    occ.synchronize()
    return 3.0


def _perforated(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    holes = [(2, occ.addRectangle(x, y, 0, 0.25, 0.25)) for x in (0.25, 0.625) for y in (0.125, 0.5)]
    occ.cut([(2, occ.addRectangle(0, 0, 0, 1.125, 1))], holes)
    occ.synchronize()
    return 1.125 - 0.25


def _inclusion(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    occ.fragment([(2, occ.addRectangle(0, 0, 0, 1, 1))], [(2, occ.addDisk(0.45, 0.55, 0, 0.3, 0.2))])
    occ.synchronize()
    return 1.0


def _crack(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    line = occ.addLine(occ.addPoint(-0.5, 0, 0), occ.addPoint(0.4, 0, 0))
    out, _ = occ.fragment([(2, occ.addRectangle(-1, -1, 0, 2, 2))], [(1, line)])
    occ.synchronize()
    gmsh.model.addPhysicalGroup(1, [tag for dim, tag in out if dim == 1])
    gmsh.model.addPhysicalGroup(2, [tag for dim, tag in out if dim == 2])
    gmsh.option.setNumber("Mesh.SaveAll", 1)
    return 4.0


def _layer(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    occ.cut([(2, occ.addRectangle(-1, -1, 0, 2, 2))], [(2, occ.addRectangle(-0.5, -0.5, 0, 1.0, 0.5))])
    occ.synchronize()
    near = [tag for _, tag in gmsh.model.getBoundary(gmsh.model.getEntities(2), oriented=False) if _inside(gmsh, tag)]
    field = gmsh.model.mesh.field
    made = field.add("BoundaryLayer")
    field.setNumbers(made, "CurvesList", near)
    for name, value in {"Size": size / 20, "Ratio": 1.3, "Thickness": 0.15, "Quads": 0}.items():
        field.setNumber(made, name, value)
    field.setAsBoundaryLayer(made)
    return 3.5


def _inside(gmsh: Any, curve: int) -> bool:
    low = gmsh.model.getBoundingBox(1, curve)
    return max(map(abs, low[:2])) < 0.6 and max(map(abs, low[3:5])) < 0.6


def _box(gmsh: Any, size: float) -> float:
    gmsh.model.occ.addBox(0, 0, 0, 1, 1, 1)
    gmsh.model.occ.synchronize()
    return 1.0


def _ball(gmsh: Any, size: float) -> None:
    gmsh.model.occ.addSphere(0, 0, 0, 1)
    gmsh.model.occ.synchronize()


def _l_solid(gmsh: Any, size: float) -> float:
    occ = gmsh.model.occ
    occ.cut([(3, occ.addBox(-1, -1, 0, 2, 2, 1))], [(3, occ.addBox(0, 0, -1, 2, 2, 4))])
    occ.synchronize()
    return 3.0


def lattice(shift: Callable[[Any, float], Any], dimension: int = 2, cut: bool = False) -> Any:
    """A writer of the cells of a lattice on the unit square or cube, moved; cut into prisms if it is in space."""

    def write(path: Path, size: float) -> float:
        import meshio

        box = fvflow.Box((0.0,) * dimension, (1.0,) * dimension, (round(1 / size),) * dimension).build()
        points, cells = shift(box.points.copy(), size), box.cell_points
        kind = {2: "quad", 3: "hexahedron"}[dimension]
        if cut:
            cells = np.concatenate([cells[:, [0, 1, 2, 4, 5, 6]], cells[:, [0, 2, 3, 4, 6, 7]]])
            kind = "wedge"
        flat = np.column_stack([points, np.zeros((len(points), 3 - dimension))])
        meshio.write(path, meshio.Mesh(flat, [(kind, cells)]), file_format="gmsh")
        return 1.0

    return write


def _kershaw(points: Any, size: float) -> Any:
    """Lines that are bent up and down, after Kershaw, J. Comput. Phys. 39 (1981)."""
    x, y = points.T
    bend = np.interp(x, [0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0, -1.0, 1.0, 0.0])
    return np.column_stack([x, np.where(y < 0.5, y * (1 + 0.6 * bend), 1 - (1 - y) * (1 - 0.6 * bend))])


def _sine(points: Any, size: float) -> Any:
    wave = 0.1 * np.sin(2 * np.pi * points).prod(axis=1)
    return points + wave[:, None]


def _jitter(points: Any, size: float) -> Any:
    inside = ((points > 1e-9) & (points < 1 - 1e-9)).all(axis=1)
    shift = np.random.default_rng(5).uniform(-0.3, 0.3, points.shape) * size
    return points + np.where(inside[:, None], shift, 0.0)


def _sheared(points: Any, size: float) -> Any:
    return points + np.column_stack([0.6 * points[:, 2], np.zeros((len(points), 2))])


def _whole(points: Any, size: float) -> Any:
    return points


SUBJECTS = {
    **{
        f"disc, algorithm {number}": Subject(geometry(_disc, Mesh_Algorithm=number), *radial(2), 0.16)
        for number in (1, 5, 6, 8, 9, 11)
    },
    "disc, quads": Subject(geometry(_disc, Mesh_RecombineAll=1, Mesh_Algorithm=8), *radial(2), 0.16),
    "L": Subject(geometry(_l_shape, Mesh_Algorithm=5), *cosines(1, 1), 0.15),
    "ring": Subject(geometry(_ring, Mesh_Algorithm=8), *radial(2, 0.4), 0.1),
    "perforated": Subject(geometry(_perforated, Mesh_Algorithm=1), *cosines(8, 8), 0.04),
    "inclusion": Subject(geometry(_inclusion, Mesh_Algorithm=9), *cosines(1, 2), 0.08),
    "crack": Subject(geometry(_crack, Mesh_Algorithm=5), *cosines(1, 1), 0.15),
    "airfoil layer": Subject(geometry(_layer, Mesh_Algorithm=5), *cosines(2, 2), 0.1),
    **{
        f"box, algorithm {number}": Subject(geometry(_box, 3, Mesh_Algorithm3D=number), *cosines(1, 1, 1), 0.2)
        for number in (1, 4, 10)
    },
    **{
        f"ball, algorithm {number}": Subject(geometry(_ball, 3, Mesh_Algorithm3D=number), *radial(3), 0.35)
        for number in (1, 4, 10)
    },
    **{
        f"L in space, algorithm {number}": Subject(
            geometry(_l_solid, 3, Mesh_Algorithm3D=number), *cosines(1, 1, 1), 0.3
        )
        for number in (1, 4, 10)
    },
    "hexahedra": Subject(lattice(_whole, 3), *cosines(1, 2, 1), 0.1),
    "jittered hexahedra": Subject(lattice(_jitter, 3), *cosines(1, 1, 1), 0.2),
    "sheared prisms": Subject(lattice(_sheared, 3, cut=True), *cosines(0, 2, 0), 0.2),
    "Kershaw": Subject(lattice(_kershaw), *cosines(1, 1), 0.05),
    "sine": Subject(lattice(_sine), *cosines(1, 1), 0.05),
    "30 % jitter": Subject(lattice(_jitter), *cosines(1, 1), 0.05),
}


@dataclass(frozen=True)
class Row:
    """What was found for a subject, at its finest level."""

    elements: int
    cells: int
    choice: str
    volume: float
    mass: float
    gibbs: float
    minimum: float
    orders: list[float]


def measured(subject: Subject, folder: Path, levels: int) -> Row:
    """The row of a subject."""
    errors, sizes = [], []
    for level in range(levels):
        path = folder / f"{level}.msh"
        whole = subject.write(path, subject.size / 2**level)
        mesh = Gmsh(file=str(path)).build()
        errors.append(error_l1(mesh, subject.mode, subject.square))
        sizes.append((float(mesh.volume.sum()) / mesh.cells) ** (1 / mesh.dimension))
        if level == 0:
            facts = _structure(path, mesh, whole)
    orders = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    return Row(len(mesh.plot_cells), mesh.cells, mesh.remark or "cells", *facts, orders.tolist())


def error_l1(mesh: Mesh, mode: Mode, square: float) -> float:
    """||v - u||_1/||u||_1 of the two-point solution v of -div grad v + v = (1 + k^2) u, without flux at the walls.

    v is compared with u at the centres of the cells, which fluxes join.
    """
    average, exact = mesh.integral(lambda at, cells: mode(at), 3) / mesh.volume, mode(mesh.centre)
    shape = (mesh.cells, mesh.cells)
    links = coo_array((mesh.transmissibility, (mesh.owner, mesh.neighbour)), shape=shape).tocsr()
    links = links + links.T
    matrix = diags_array(np.asarray(links.sum(axis=1)).ravel() + mesh.volume) - links
    scale = diags_array(1.0 / matrix.diagonal())
    found, failed = cg(matrix, mesh.volume * (1.0 + square) * average, exact, rtol=1e-11, M=scale, maxiter=20000)
    assert not failed
    return float(mesh.volume @ np.abs(found - exact) / (mesh.volume @ np.abs(exact)))


def _structure(path: Path, mesh: Mesh, whole: float | None) -> Iterator[float]:
    """Errors of the volume, of mass, of a Gibbs density, and the least density from a spike."""
    case = Case.parse(
        f"""
        mesh: {{kind: gmsh, file: {path}}}
        flow: {{kind: fokker-planck, epsilon: 0.3, potential: "2*(x - 0.3)**2 + y"}}
        initial: {{kind: gibbs}}
        times: {{end: 50, step: 5}}
        """
    )
    rest = case.run().rho.values
    middle = mesh.centre[np.argmin(((mesh.centre - mesh.points.mean(axis=0)) ** 2).sum(axis=1))]
    spike = {"kind": "spike", "at": middle.tolist(), "cell": True}
    moving = case.replace({"initial": spike, "times": {"end": 0.01, "step": 0.001}}).run()
    yield 0.0 if whole is None else abs(float(mesh.volume.sum()) / whole - 1.0)
    yield float(np.abs(moving.mass - 1.0).max())
    yield float(np.abs(rest[-1] - rest[0]).max() / rest[0].max())
    yield float(moving.attrs["minimum"])


def flow_orders(subject: Subject, folder: Path, levels: int) -> list[float]:
    """Orders in L1 of an Ornstein-Uhlenbeck flow, in a bowl as wide as the domain allows, over meshes of half the size.

    Its deviation at rest is a fifth of the distance to the nearest wall, which is at least
    two sizes of cells in the plane, 1.2 in space.
    """
    errors, sizes, place, level = [], [], None, 0
    while len(errors) < levels:
        path = folder / f"flow-{level}.msh"
        subject.write(path, size := subject.size / 2**level)
        mesh = Gmsh(file=str(path)).build()
        centre, room = place or _roomiest(mesh)
        level += 1
        if room < (10.0 if mesh.dimension == 2 else 6.0) * size and not errors:
            continue
        place = centre, room
        errors.append(_error_of_flow(path, centre, room / 5.0))
        sizes.append((float(mesh.volume.sum()) / mesh.cells) ** (1 / mesh.dimension))
    return (np.diff(np.log(errors)) / np.diff(np.log(sizes))).tolist()


def _roomiest(mesh: Mesh) -> tuple[Any, float]:
    """The centre farthest from the walls, and its distance."""
    from scipy.spatial import KDTree

    distance, _ = KDTree(mesh.walls[0]).query(mesh.centre)
    return mesh.centre[np.argmax(distance)], float(distance.max())


def _error_of_flow(path: Path, centre: Any, deviation: float) -> float:
    bowl = " + ".join(f"({axis} - {x!r})**2" for axis, x in zip("xyz", centre.tolist(), strict=False))
    start = (0.8 * deviation) ** 2 * np.eye(len(centre))
    mean = [centre[0] + 0.4 * deviation, *centre[1:]]
    case = Case.parse(
        f"""
        mesh: {{kind: gmsh, file: {path}}}
        flow: {{kind: fokker-planck, epsilon: {deviation**2}, potential: "0.5*({bowl})", stepper: {{kind: tr-bdf2}}}}
        initial: {{kind: gaussian, mean: {[float(x) for x in mean]}, covariance: {start.tolist()}, truncate: 0.1,
                   sampling: centre}}
        times: {{end: 0.5, step: 0.01, save: 0.25}}
        exact: {{kind: gaussian}}
        """
    )
    return float(case.run().attrs["error_l1"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of meshes; all if none is given")
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--flow", action="store_true")
    asked = parser.parse_args()
    flow = " | orders of a flow" if asked.flow else ""
    print("mesh | elements | cells | control volumes | volume | mass | Gibbs | minimum | orders" + flow)
    for name, subject in SUBJECTS.items():
        if asked.names and not any(part in name for part in asked.names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measured(subject, Path(folder), asked.levels)
            found = flow_orders(subject, Path(folder), asked.levels) if asked.flow else []
        figures = f"{row.volume:.0e} | {row.mass:.0e} | {row.gibbs:.0e} | {row.minimum:.0e}"
        orders = " ".join(f"{order:.2f}" for order in row.orders)
        if found:
            orders += " | " + " ".join(f"{order:.2f}" for order in found)
        print(f"{name} | {row.elements} | {row.cells} | {row.choice} | {figures} | {orders}", flush=True)


if __name__ == "__main__":
    main()
