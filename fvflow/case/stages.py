"""Building in named stages: what each refuses is collected, with its place in the case."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fvflow.case.document import Fault, Path
from fvflow.errors import CaseError, NumericsError, OutputError

T = TypeVar("T")


class Stages:
    """Runs stages one after the other; `finish` raises what all of them refused."""

    def __init__(self, refusal: Callable[[list[Fault]], CaseError]) -> None:
        self._refusal = refusal
        self._faults: list[Fault] = []

    def add(self, faults: list[Fault]) -> None:
        """Faults found elsewhere."""
        self._faults += faults

    def run(self, path: Path, build: Callable[[], T]) -> T | None:
        """What `build` makes, None if it refuses: an error becomes a fault at its own place, or at the path."""
        try:
            return build()
        except (CaseError, NumericsError, OutputError) as error:
            self._faults.append(Fault(error.place or path, str(error)))
        except MemoryError:
            self._faults.append(Fault(path, "not enough memory for this many cells; use fewer"))
        return None

    def require(self, path: Path, build: Callable[[], T]) -> T:
        """What `build` makes; raises CaseError with all faults so far if it refuses."""
        made = self.run(path, build)
        self.finish()
        assert made is not None
        return made

    def finish(self) -> None:
        """Raise CaseError if there are faults."""
        if self._faults:
            raise self._refusal(self._faults)
