"""Commands of fvflow in this process, for tests of what they do and say; starting Python takes seconds each time."""

from __future__ import annotations

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from typing import Any

from fvflow.cli import main


def call(*arguments: str, cwd: Any) -> CompletedProcess[str]:
    """What a command in a directory writes to its streams, and its exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
            main(list(arguments))
    except SystemExit as ended:
        code = int(ended.code or 0)
    return CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())
