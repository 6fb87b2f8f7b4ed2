"""Meshing of a geometry by the gmsh library."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fvflow.errors import CaseError
from fvflow.mesh.elements import Elements, import_library, read_elements, require_file


def mesh_geometry(file: str | None, geometry: str | None, size: float) -> Elements:
    """The elements that gmsh generates from a .geo file, or from the text of one if `file` is None.

    `size` is a factor on the mesh size. Imports gmsh and meshio; raises CaseError if gmsh cannot mesh the geometry.
    """
    name = "the geometry" if file is None else file
    gmsh = import_library("gmsh")
    with tempfile.TemporaryDirectory() as folder:
        source = _source(file, geometry, Path(folder))
        target = Path(folder) / "mesh.msh"
        with _session(gmsh):
            try:
                _generate(gmsh, source, target, size, name)
            except CaseError:
                raise
            except Exception as error:
                raise CaseError(f"gmsh cannot mesh {name} ({str(error).strip() or 'no reason given'})") from None
        return read_elements(target, "gmsh", name)


def _source(file: str | None, geometry: str | None, folder: Path) -> Path:
    """The path of the geometry, whose text is written into the folder if there is no file."""
    if geometry is not None:
        source = folder / "geometry.geo"
        source.write_text(geometry + "\n")  # gmsh ignores a last line without an end
        return source
    source = Path(str(file))
    require_file(source)
    if source.suffix == ".geo" and not source.read_bytes().endswith(b"\n"):
        raise CaseError(f"{source}: its last line has no line end, so gmsh would ignore it; end it")
    return source


@contextlib.contextmanager
def _session(gmsh: Any) -> Iterator[None]:
    """A session of gmsh: one of our own, or another model in the session that the caller has open."""
    if not gmsh.isInitialized():
        gmsh.initialize(["gmsh", "-v", "0"], interruptible=False)
        try:
            yield
        finally:
            gmsh.finalize()
        return
    current = gmsh.model.getCurrent()
    try:
        yield
    finally:
        gmsh.model.remove()
        gmsh.model.setCurrent(current)


def _generate(gmsh: Any, source: Path, target: Path, size: float, name: str) -> None:
    """Mesh the geometry in `source` and write the mesh to `target`."""
    gmsh.option.setNumber("General.Terminal", 0)
    gmsh.option.setNumber("General.AbortOnError", 2)
    gmsh.open(str(source))
    if gmsh.model.getDimension() < 2:
        raise CaseError(f"{name} has neither surfaces nor volumes; add some to mesh")
    gmsh.option.setNumber("Mesh.MeshSizeFactor", size * gmsh.option.getNumber("Mesh.MeshSizeFactor"))
    gmsh.option.setNumber("Mesh.Binary", 1)
    gmsh.option.setNumber("Mesh.MshFileVersion", 4.1)
    gmsh.option.setNumber("Mesh.SaveAll", 0)
    gmsh.model.mesh.generate(gmsh.model.getDimension())
    gmsh.write(str(target))
