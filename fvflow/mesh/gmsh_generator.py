"""Meshing of a geometry by the gmsh library."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fvflow.errors import CaseError
from fvflow.input_files import admission, require_input
from fvflow.mesh.elements import Elements, import_library, read_elements
from fvflow.mesh.geo import harmless_script

_CAD = (".step", ".stp", ".brep", ".iges", ".igs")  # gmsh imports these without its language
_WANTED = "a .geo file, or a .msh file meshed before"


def mesh_geometry(file: str | None, geometry: str | None, size: float) -> Elements:
    """The elements that gmsh generates from a .geo file, or from the text of one if `file` is None.

    `size` is a factor on the mesh size. Imports gmsh and meshio; raises CaseError if gmsh cannot mesh the geometry, or
    if the geometry does more than describe one (unless files are trusted, see `fvflow.input_files`).
    """
    name = "the geometry" if file is None else file
    with tempfile.TemporaryDirectory() as folder:
        source = _source(file, geometry, Path(folder))
        gmsh = import_library("gmsh")
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
    """The path of what gmsh is to open: the admitted statements, written into the folder, or a file of data.

    gmsh takes a file that it does not know for a script, and runs one that lies beside it under the name FILE.opt.
    """
    ending = Path(str(file)).suffix.lower() if geometry is None else ".geo"
    if geometry is None:
        require_input(str(file), _WANTED)
    if admission().trust:
        return _trusted(file, geometry, folder)
    if ending in _CAD:
        return Path(str(file))
    if ending != ".geo":
        raise CaseError(f"{file}: ends in {ending or 'nothing'}, which gmsh may run as a script; give {_WANTED}")
    script = _text_of(str(file)) if geometry is None else geometry
    source = folder / "geometry.geo"
    source.write_text(harmless_script(script, "geometry" if file is None else file), encoding="utf-8")
    return source


def _text_of(file: str) -> str:
    """The text of a .geo file."""
    data = Path(file).read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise CaseError(f"{file}:{line}:1: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def _trusted(file: str | None, geometry: str | None, folder: Path) -> Path:
    """The path of a geometry as it is, whatever it does."""
    if geometry is not None:
        source = folder / "geometry.geo"
        source.write_text(geometry + "\n", encoding="utf-8")  # gmsh ignores a last line without an end
        return source
    source = Path(str(file))
    if source.suffix == ".geo" and not source.read_bytes().endswith(b"\n"):
        raise CaseError(f"{source}: its last line has no line end, so gmsh would ignore it; end it")
    return source


@contextlib.contextmanager
def _session(gmsh: Any) -> Iterator[None]:
    """A session of gmsh: one of our own, or another model in the session that the caller has open."""
    if not gmsh.isInitialized():
        gmsh.initialize(["gmsh", "-v", "0"], readConfigFiles=False, interruptible=False)
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
    _open(gmsh, source, name)
    gmsh.option.setNumber("General.AbortOnError", 2)
    if gmsh.model.getDimension() < 2:
        raise CaseError(f"{name} has neither surfaces nor volumes; add some to mesh")
    gmsh.option.setNumber("Mesh.MeshSizeFactor", size * gmsh.option.getNumber("Mesh.MeshSizeFactor"))
    gmsh.option.setNumber("Mesh.Binary", 1)
    gmsh.option.setNumber("Mesh.MshFileVersion", 4.1)
    gmsh.option.setNumber("Mesh.SaveAll", 0)
    gmsh.model.mesh.generate(gmsh.model.getDimension())
    gmsh.write(str(target))


def _open(gmsh: Any, source: Path, name: str) -> None:
    """Read the geometry; raises CaseError with the first error of gmsh.

    gmsh may not stop at it: its parser would take what it left unread for the beginning of the next file.
    """
    if source.suffix.lower() in _CAD and not admission().trust:
        gmsh.model.add("geometry")
        gmsh.model.occ.importShapes(str(source))
        gmsh.model.occ.synchronize()
        return
    gmsh.option.setNumber("General.AbortOnError", 0)
    verbosity = gmsh.option.getNumber("General.Verbosity")
    gmsh.option.setNumber("General.Verbosity", 1)  # errors are logged, and only they
    gmsh.logger.start()
    try:
        gmsh.open(str(source))
    finally:
        log = gmsh.logger.get()
        gmsh.logger.stop()
        gmsh.option.setNumber("General.Verbosity", verbosity)
    for line in log:
        if line.startswith("Error"):
            reason = line.partition(": ")[2].replace(str(source), source.name)
            raise CaseError(f"gmsh cannot mesh {name} ({reason})")
