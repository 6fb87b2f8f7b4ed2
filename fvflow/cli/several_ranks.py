"""A command on several ranks: the first one speaks, unless another has met an error alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from typing import TYPE_CHECKING

from fvflow.cli.watcher import watch
from fvflow.errors import UsageError
from fvflow.system import launch
from fvflow.version import __version__

if TYPE_CHECKING:
    from fvflow.case import Case
    from fvflow.parallel import Alone


class SeveralRanks:
    """What a command has to know of the ranks that were started with it; nothing if it is the only one."""

    def __init__(self) -> None:
        self.rank, self.size = launch()
        if self.size > 1:
            watch(self.rank)
        if self.rank > 0:
            sys.stdout.flush()
            sys.stdout = sys.stderr = None

    def require(self, options: argparse.Namespace) -> None:
        """Raise UsageError if there are several and the command runs on one."""
        if self.size > 1 and not options.on_ranks:
            raise UsageError(
                f"{self.size} ranks were started, and this command runs on one: leave out mpiexec (run, "
                "resume and check know several ranks)"
            )

    def leave(self, code: int) -> None:
        """End all ranks with an exit code if this one has failed and the others have not."""
        if _size() > 1:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            _comm().leave(code)


def someone_else_tells() -> bool:
    """Whether another rank tells the error that this one has met; if none does, this one may speak from now on."""
    if _size() == 1:
        return False
    if _comm().told():
        return True
    sys.stderr = sys.stderr or sys.__stderr__
    return False


def require_same_case(case: Case) -> None:
    """Raise CaseError on all ranks unless they see the same case, files and version."""
    if _size() == 1:
        return
    from fvflow.case.checkpoints import by_content

    seen = json.dumps([__version__, by_content(case.values, case.files)])
    _comm().require_same(
        hashlib.sha256(seen.encode()).hexdigest(),
        "the ranks see different case files, files that these read, or versions of fvflow; give all the same",
    )


def _comm() -> Alone:
    """The ranks that this one runs with."""
    from fvflow.parallel import world

    return world()


def _size() -> int:
    """How many ranks have begun to run together."""
    return 1 if launch().size == 1 else _comm().size
