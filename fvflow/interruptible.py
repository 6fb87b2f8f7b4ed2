"""Long calls into compiled code that Ctrl-C, or any signal whose handler raises, can leave."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_NAME = "fvflow-interruptible"


def interruptible(function: Callable[..., T], *arguments: Any) -> T:
    """function(*arguments) in a thread of its own, which is left to itself if a signal handler raises meanwhile.

    Python runs signal handlers between its own instructions only, so that a call into compiled code would delay them
    until it returns. The function has to release the interpreter, and nobody else may use what it changes. Raises what
    the function raises.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are handled in the main thread alone
        return function(*arguments)
    results: list[T] = []
    errors: list[BaseException] = []
    context = contextvars.copy_context()  # numpy keeps its error state there

    def work() -> None:
        try:
            results.append(context.run(function, *arguments))
        except BaseException as error:  # raised again below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=work, name=_NAME, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def threads_left_working() -> bool:
    """Whether a call that was left is still running, so that the interpreter cannot shut down in order."""
    return any(thread.name == _NAME for thread in threading.enumerate())
