"""Files of outcomes in the directory of a sweep, each of which appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from fvflow.system import sync_directory

IDENTITY, ENDING = "sweep.json", ".part"


def written_whole(path: Path, content: bytes) -> None:
    """Write a file so that all of it or none is on the disk under its name, whatever happens; raises OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def write_part(folder: Path, mark: str, key: str, content: bytes) -> bool:
    """Write the outcome of a case from its worker; False if that does not see the directory of the sweep."""
    try:
        if (folder / IDENTITY).read_text(encoding="utf-8") != mark:
            return False
        written_whole(folder / f"{key}{ENDING}", content)
    except OSError:
        return False
    return True
