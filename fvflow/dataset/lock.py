"""The lock on the folder of a run, so that no two runs write the same result."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import IO

from fvflow import system
from fvflow.errors import OutputError

NAME = "lock"


def locked(folder: Path) -> IO[str]:
    """The folder's lock file, locked until it is closed; the system releases it however the process ends.

    A file that a process of another computer left is no proof that it has ended, as not all network file systems pass
    locks on. Raises OutputError if the folder is in use or may be.
    """
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        system.sync_directory(folder.parent)
    lock = open(folder / NAME, "a+")  # noqa: SIM115 (the caller holds it)
    lock.seek(0)
    holder = lock.read(1000).strip() or "another process"
    try:
        system.lock_file(lock)
    except BlockingIOError:
        lock.close()
        raise OutputError(f"{folder}: {holder} is writing there; use another name, or wait") from None
    if not (folder / NAME).exists() or os.stat(folder / NAME).st_ino != os.fstat(lock.fileno()).st_ino:
        lock.close()  # its last holder removed it in the meantime
        return locked(folder)
    elsewhere = re.fullmatch(r"process \d+ on (\S+)", holder)
    if elsewhere and elsewhere[1] != socket.gethostname():
        lock.close()
        raise OutputError(
            f"{folder}: {holder} began to write there; if it has ended, remove {folder / NAME} and try again"
        )
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}")
    lock.flush()
    return lock


def unlock(lock: IO[str], folder: Path) -> None:
    """Release a lock and remove its file."""
    (folder / NAME).unlink(missing_ok=True)
    lock.close()
