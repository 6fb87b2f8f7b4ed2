"""A process for each rank that watches over it, so that a rank which is killed ends all with one line."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType

from fvflow.system import STOP_SIGNALS, end_with_parent

_SOCKET = "PMI_FD"  # where hydra listens to the processes that it has started
_PATIENCE = 10.0  # seconds that the launcher has to end this process


def watch(rank: int) -> None:
    """Go on in a child process. This one passes signals on to it, and ends with its exit code.

    If the child is killed, this one tells it and asks hydra to end all ranks, by the message `abort` of the interface
    by which it started them (PMI-1); hydra then adds nothing, as it does when a process just disappears. Under other
    launchers nothing happens.
    """
    socket = os.environ.get(_SOCKET, "")
    if not socket.isdigit() or not hasattr(os, "fork"):
        return
    children: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, number)

    before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    if not (child := os.fork()):
        for number, handler in before.items():
            signal.signal(number, handler)
        os.setpgid(0, 0)  # a signal to the group of the parent comes once
        end_with_parent()
        return
    children.append(child)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= 0:
        os._exit(code)
    if -code not in STOP_SIGNALS:
        name = signal.Signals(-code).name
        print(f"fvflow: rank {rank} was killed ({name}), so all end; a run goes on by fvflow resume", file=sys.stderr)
        sys.stderr.flush()
    os.write(int(socket), f"cmd=abort exitcode={128 - code}\n".encode())
    time.sleep(_PATIENCE)
    os._exit(128 - code)
