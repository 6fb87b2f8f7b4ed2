"""Whether a netCDF file can be read at all, found out in a process of its own, which may crash, hang or be greedy.

The libraries below netCDF4 do all three on damaged files. This module is also the program of that process, which opens
the file and reads what is small of it, and the first and the last value of the rest; no values come back.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from typing import Any

SECONDS = 2
"""Seconds of CPU time that opening a file may take."""
_PATIENCE = 60.0  # seconds on the clock, for slow disks
_MEMORY = 1536 * 2**20  # bytes of address space
_WHOLE = 2**20  # bytes of a variable that is read as a whole
_COMPRESSION = 1100  # of a result; more is not possible by the filters of HDF5
_DAMAGED = 3


def damage(path: str | os.PathLike[str]) -> str:
    """What is wrong with a netCDF file; empty if it can be read."""
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error.strerror)
    return _damage(os.path.abspath(path), status.st_ino, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _damage(path: str, *identity: int) -> str:
    if not sys.executable:
        return ""
    command = [sys.executable, "-P", "-W", "ignore", __file__, path]  # -P: no module of the working directory
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        return f"it does not open in {_PATIENCE:g} s"
    except OSError:  # no process can be started here
        return ""
    if done.returncode < 0:
        return f"reading it takes more than {SECONDS} s, or crashes the library"
    reason = done.stdout.decode(errors="replace").splitlines()
    return (reason or ["it is damaged"])[-1] if done.returncode == _DAMAGED else ""


# the other process


def _limit() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _probe(path: str) -> None:
    """Open the file and read from every variable; raises whatever the libraries raise."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread takes address space
    import netCDF4

    _limit()
    with netCDF4.Dataset(path) as file:
        ours = str(getattr(file, "source", "")).startswith("fvflow")  # other files may hold what was never written
        most = _COMPRESSION * os.path.getsize(path) + _WHOLE if ours else 2**62
        groups = [file]
        while groups:
            group = groups.pop()
            groups += group.groups.values()
            owners: list[Any] = [group, *group.variables.values()]
            for owner in owners:
                for name in owner.ncattrs():
                    owner.getncattr(name)
            for variable in group.variables.values():
                _sample(variable, most)


def _sample(values: Any, most: int) -> None:
    values.set_auto_maskandscale(False)
    size = values.size * getattr(values.dtype, "itemsize", 1)
    if size > most:
        raise ValueError(f"{values.name} claims to have {size} bytes")
    if size <= _WHOLE:
        values[...]
    else:
        values[tuple(0 for _ in values.shape)]
        values[tuple(-1 for _ in values.shape)]


if __name__ == "__main__":
    try:
        _probe(sys.argv[1])
    except ImportError:
        sys.exit(0)  # the caller will find out
    except BaseException as fault:
        text = " ".join(str(getattr(fault, "strerror", None) or fault).split())[:200]
        os.write(1, (text or type(fault).__name__).encode("ascii", "backslashreplace"))
        os._exit(_DAMAGED)
    os._exit(0)  # the libraries may crash when they close a damaged file
