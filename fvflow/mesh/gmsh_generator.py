"""Meshing of a geometry by the gmsh library."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL

from fvflow import system
from fvflow.errors import CaseError
from fvflow.input_files import GIB, admission, require_input
from fvflow.long_work import under_way
from fvflow.mesh import gmsh_program
from fvflow.mesh.elements import Elements, missing_library, read_elements
from fvflow.mesh.geo import harmless_script

_CAD = (".step", ".stp", ".brep", ".iges", ".igs")  # gmsh imports these without its language
SECONDS = 600
"""Seconds of work in which gmsh has to mesh a geometry."""
_LIBRARY_ERRORS = {gmsh_program.NO_LIBRARY: ImportError, gmsh_program.BROKEN_LIBRARY: OSError}
_MOST = 2**62
_BEFOREHAND = "mesh it beforehand by gmsh and give the .msh"
_WANTED = "a .geo file, or a .msh file meshed before"


def mesh_geometry(file: str | None, geometry: str | None, size: float) -> Elements:
    """The elements that gmsh generates from a .geo file, or from the text of one if `file` is None.

    `size` is a factor on the mesh size. Runs gmsh in a process of its own, which any signal can leave. It may take
    `SECONDS` of work, the memory that is available, and as many bytes as the `Admission` allows. Imports meshio; raises
    CaseError if gmsh cannot mesh the geometry within these limits, or if the geometry does more than describe one
    (unless files are trusted, see `fvflow.input_files`).
    """
    name = "the geometry" if file is None else file
    with tempfile.TemporaryDirectory() as folder:
        target, reason = Path(folder) / "mesh.msh", Path(folder) / "reason"
        source = _source(file, geometry, Path(folder))
        free = system.available_memory()
        memory = _MOST if math.isinf(free) else int(free)
        task = {
            "source": str(source),
            "target": str(target),
            "reason": str(reason),
            "size": size,
            "language": source.suffix.lower() not in _CAD or admission().trust,
            "seconds": SECONDS,
            "memory": memory,
            "largest": admission().largest,
            "parent": os.getpid(),
        }
        command = [
            sys.executable,
            "-P",
            gmsh_program.__file__,
            json.dumps(task),
        ]  # -P: nothing of the working directory
        try:
            with under_way(f"gmsh is meshing {name}"):
                code = subprocess.run(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL).returncode
        except OSError as error:
            raise CaseError(f"no process can be started to mesh {name} ({error.strerror}); {_BEFOREHAND}") from None
        if code:
            told = reason.read_text(encoding="utf-8") if reason.exists() else ""
            raise _failure(name, code, told, memory)
        return read_elements(target, "gmsh", name)


def _failure(name: str, code: int, told: str, memory: int) -> CaseError:
    """The error for an exit code of the process and for what it told."""
    if code in _LIBRARY_ERRORS:
        return missing_library("gmsh", _LIBRARY_ERRORS[code](told))
    if code == gmsh_program.REFUSED and told != gmsh_program.UNTOLD:
        return CaseError(f"gmsh cannot mesh {name} ({told})")
    if code == -getattr(signal, "SIGXCPU", 0):
        return CaseError(
            f"gmsh works for more than {SECONDS} s on {name}; shorten its loops, take a larger mesh size, or "
            f"{_BEFOREHAND}"
        )
    if code == -getattr(signal, "SIGXFSZ", 0):
        return CaseError(f"the mesh of {name} has more than {admission().largest / GIB:.3g} GiB; --largest allows more")
    return CaseError(
        f"gmsh gives up on {name}, or needs more than the {memory / GIB:.3g} GiB of memory that are free; {_BEFOREHAND}"
    )


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
