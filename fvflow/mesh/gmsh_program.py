"""The program of a process that meshes a geometry by gmsh; see `fvflow.mesh.gmsh_generator`.

It imports nothing of fvflow and never returns values: the mesh goes to a file, and what is wrong to another.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

REFUSED, NO_LIBRARY, BROKEN_LIBRARY = 3, 4, 5
"""Exit codes: gmsh cannot mesh the geometry; gmsh is missing; gmsh lacks a library of the system."""
UNTOLD = "no reason given"


def _main(task: dict[str, Any]) -> int:
    """Mesh as the task says; the reason why not, if there is one, is in the file `reason`."""
    _limit(task["seconds"], task["memory"], task["largest"])
    threading.Thread(target=_end_with, args=(task["parent"],), daemon=True).start()
    reason = Path(task["reason"])
    try:
        import gmsh
    except (ImportError, OSError) as error:
        reason.write_text(str(error), encoding="utf-8")
        return NO_LIBRARY if isinstance(error, ImportError) else BROKEN_LIBRARY
    try:
        gmsh.initialize(["gmsh", "-v", "0"], readConfigFiles=False, interruptible=False)
        fault = _mesh(gmsh, Path(task["source"]), task["target"], task["size"], task["language"])
    except Exception as error:
        fault = str(error).strip() or UNTOLD
    reason.write_text(fault, encoding="utf-8")
    return REFUSED if fault else 0


def _limit(seconds: int, memory: int, largest: int) -> None:
    """Let the system end this process if it takes too much."""
    try:
        import resource
    except ImportError:
        return
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
    limits = {"CPU": seconds, "AS": memory, "FSIZE": largest, "CORE": 0}
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        highest = resource.getrlimit(kind)[1]
        value = value if highest == resource.RLIM_INFINITY else min(value, highest)
        with contextlib.suppress(ValueError, OSError):  # a system that knows no such limit
            resource.setrlimit(kind, (value, highest))


def _end_with(parent: int) -> None:
    """End this process soon after the one that started it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _mesh(gmsh: Any, source: Path, target: str, size: float, language: bool) -> str:
    """Mesh the geometry in `source` and write the mesh to `target`; returns what is wrong, or nothing.

    Without `language` the source holds shapes, and nothing in it is run.
    """
    gmsh.option.setNumber("General.Terminal", 0)
    if language:
        if fault := _run(gmsh, source):
            return fault
    else:
        gmsh.model.add("geometry")
        gmsh.model.occ.importShapes(str(source))
        gmsh.model.occ.synchronize()
    gmsh.option.setNumber("General.AbortOnError", 2)
    if gmsh.model.getDimension() < 2:
        return "it has neither surfaces nor volumes; add some to mesh"
    gmsh.option.setNumber("Mesh.MeshSizeFactor", size * gmsh.option.getNumber("Mesh.MeshSizeFactor"))
    gmsh.option.setNumber("Mesh.Binary", 1)
    gmsh.option.setNumber("Mesh.MshFileVersion", 4.1)
    gmsh.option.setNumber("Mesh.SaveAll", 0)
    gmsh.model.mesh.generate(gmsh.model.getDimension())
    gmsh.write(target)
    return ""


def _run(gmsh: Any, source: Path) -> str:
    """Run a geometry in gmsh's language; returns its first error, at which gmsh may not stop."""
    gmsh.option.setNumber("General.AbortOnError", 0)
    gmsh.option.setNumber("General.Verbosity", 1)  # errors are logged, and only they
    gmsh.logger.start()
    try:
        gmsh.open(str(source))
    finally:
        log = gmsh.logger.get()
        gmsh.logger.stop()
        gmsh.option.setNumber("General.Verbosity", 0)
    errors = (line.partition(": ")[2] for line in log if line.startswith("Error"))
    return next(errors, "").replace(str(source), source.name)


if __name__ == "__main__":
    code = _main(json.loads(sys.argv[1]))
    os._exit(code)  # gmsh may crash when it shuts down after an error
