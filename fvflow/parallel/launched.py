"""The communicator of a run: that of the processes which a launcher has started, if there are any."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from fvflow.errors import CaseError
from fvflow.parallel.alone import Alone
from fvflow.system import launch, launched_by_open_mpi

T = TypeVar("T")
_current: list[Alone] = [Alone()]


def world() -> Alone:
    """The processes of this run; `Alone` if it is the only one."""
    return _current[-1]


def arrange(copies: bool) -> None:
    """Say whether each of the processes of a run holds all of its mesh, or a slab."""
    if world().size > 1:
        from fvflow.parallel.copies import Copies

        _current[1:] = [_current[1], Copies(_current[1])] if copies else [_current[1]]


def by_one(action: Callable[[], T]) -> T:
    """What an action on the whole mesh returns on the first process, which runs it as if alone; errors are of all."""

    def alone() -> T:
        _current.append(Alone())
        try:
            return action()
        finally:
            _current.pop()

    return world().by_first(alone)


def begin() -> Alone:
    """Join the processes that a launcher has started with this one, if there are any, and return them.

    Raises CaseError on each of them if mpi4py is missing, or of another MPI than the launcher.
    """
    started = launch()
    if started.size == 1 or world().size > 1:
        return world()
    how = "start it by mpiexec.hydra of the extra: pip install 'fvflow[mpi]'"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what mpi4py warns of is refused below
            import mpi4py

            mpi4py.rc.initialize, mpi4py.rc.finalize = False, True  # an MPI with another launcher ends the process
            from mpi4py import MPI

            from fvflow.parallel.ranks import Ranks

        library = MPI.Get_library_version()
        if launched_by_open_mpi() and not library.startswith("Open MPI"):
            raise RuntimeError(f"it is of {library.split()[0]}, and mpiexec of Open MPI")
        if not MPI.Is_initialized():
            MPI.Init_thread()
        made = Ranks()
    except (ImportError, RuntimeError) as error:
        raise CaseError(f"{started.size} ranks were started, and mpi4py cannot be used ({error}); {how}") from None
    if made.size != started.size:
        raise CaseError(
            f"{started.size} ranks were started, and mpi4py sees {made.size}: it is of another MPI than mpiexec; {how}"
        )
    _current.append(made)
    return made
