"""All that depends on the operating system: signals, file locks, limits of memory, cores.

fvflow is tested on Linux and written for POSIX. `fcntl`, `resource`, SIGHUP, the affinity of a process and /proc are
used here alone, and only if they exist. Without them (on Windows) cases are read, checked and run in memory; writing a
result is refused, since nothing would keep two runs from writing the same file.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from fvflow.errors import OutputError

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]
try:
    import resource
except ImportError:
    resource = None  # type: ignore[assignment]

_PARENT_DEATH = 1  # PR_SET_PDEATHSIG
_OPEN_MPI = "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"
_LAUNCHERS = (("PMI_RANK", "PMI_SIZE"), _OPEN_MPI)

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name)
)
"""The signals that ask a process to stop."""


class Launch(NamedTuple):
    """What a launcher such as mpiexec says of a process that it has started."""

    rank: int = 0
    """Its number among those started together."""
    size: int = 1
    """How many were."""


def launch() -> Launch:
    """This process among those started together; the only one if no launcher says another thing."""
    for names in _LAUNCHERS:
        values = [os.environ.get(name, "") for name in names]
        if all(value.isdigit() for value in values):
            return Launch(*map(int, values))
    return Launch()


def launched_by_open_mpi() -> bool:
    """Whether the launcher of Open MPI has started this process."""
    return all(name in os.environ for name in _OPEN_MPI)


def end_with_parent() -> None:
    """Be killed when the process that has started this one ends; on Linux, elsewhere nothing."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH, int(signal.SIGKILL))


def start_alarm(handler: Callable[[int, FrameType | None], None], seconds: float, again: float) -> None:
    """Call the handler in so many seconds and then every `again` seconds; without alarms in the system, never."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds, again)


def stop_alarm() -> None:
    """Call off the alarm, if there is one."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def require_file_locks() -> None:
    """Raise OutputError if the system has no file locks."""
    if fcntl is None:
        raise OutputError(
            "results are written on POSIX systems only: this one has no file locks (fcntl) to keep two runs from "
            "writing the same file; use Case.run() and the to_netcdf() of its dataset"
        )


def lock_file(file: IO[str]) -> None:
    """Lock an open file until it is closed, however the process ends.

    Raises BlockingIOError if another process has the lock, OutputError if the system has no locks.
    """
    require_file_locks()
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync_directory(folder: Path) -> None:
    """Flush the entries of a directory to the disk, if the system can open directories."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def available_memory() -> float:
    """Bytes that this process may still allocate; infinite if the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            free = next(float(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = math.inf
    if resource is None:
        return free
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return free if limit == resource.RLIM_INFINITY else min(free, float(limit))


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
