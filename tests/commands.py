"""Commands of fvflow in this process, for tests of what they do and say; starting Python takes seconds each time."""

from __future__ import annotations

import io
import signal
from contextlib import chdir, redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from typing import Any

from fvflow.cli import main
from fvflow.system import STOP_SIGNALS


def call(*arguments: str, cwd: Any) -> CompletedProcess[str]:
    """What a command in a directory writes to its streams, and its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            main(list(arguments))
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())
