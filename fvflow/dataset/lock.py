"""The lock on the folder of a run, so that no two runs write the same result."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fvflow import system
from fvflow.errors import OutputError

NAME = "lock"


@dataclass
class Lock:
    """A locked folder, until the lock is released; the system releases it however the process ends."""

    folder: Path
    made: bool
    """Whether the folder was made for it."""
    _file: IO[str]

    def release(self) -> None:
        """Release it and remove its file, and the folder if that was made for it and is empty."""
        if self._file.closed:
            return
        try:
            (self.folder / NAME).unlink(missing_ok=True)
        finally:
            self._file.close()
        if self.made:
            with contextlib.suppress(OSError):
                self.folder.rmdir()


def locked(folder: Path) -> Lock:
    """The lock on a folder, which is made if it is not there.

    A file that a process of another computer left is no proof that it has ended, as not all network file systems pass
    locks on. Raises OutputError if the folder is in use or may be, or is none.
    """
    made = not folder.exists()
    if made:
        folder.mkdir(exist_ok=True)
        system.sync_directory(folder.parent)
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file, but a run keeps its frames in a directory of that name; move it away")
    if (folder / NAME).is_dir():
        raise OutputError(f"{folder / NAME}: is a directory, but a run keeps a file of that name; move it away")
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
    return Lock(folder, made, lock)
