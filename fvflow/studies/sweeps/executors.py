"""Where the cases of a sweep are run: in this process, in others on this machine, or on a Dask cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fvflow.errors import NumericsError
from fvflow.jit import INTERPRETER_BUDGET, expect_iterations
from fvflow.studies.sweeps.jobs import Job, run_job
from fvflow.studies.sweeps.outcome import Outcome, encoded

KILLED = (
    "the worker was killed in this case twice, the second time with no other beside it; is there memory for it? It is "
    "tried again when the sweep is resumed"
)


class Executor(Protocol):
    """Runs jobs."""

    @property
    def at_once(self) -> int:
        """How many cases run at once, as far as is known."""

    def prepare(self) -> None:
        """Begin with what takes time before the first job; raises OutputError if no job can be run."""

    def run(self, jobs: Sequence[Job]) -> Generator[bytes | None, None, None]:
        """The outcomes of all jobs as they end, encoded, and None now and then while there are none.

        When the iterator is closed nothing is left running.
        """


@dataclass(frozen=True)
class Serial:
    """Runs one case after another in this process."""

    at_once: int = 1

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def run(self, jobs: Sequence[Job]) -> Generator[bytes | None, None, None]:
        """See `Executor`."""
        for number, job in enumerate(jobs):
            left = INTERPRETER_BUDGET.left
            yield run_job(job)
            if number == 0:
                expect_iterations((left - INTERPRETER_BUDGET.left) * (len(jobs) - 1))


def killed(key: str) -> bytes:
    """The outcome of a case of which nothing is known but that it ends its process."""
    return encoded(Outcome(key, NumericsError.exit_code, KILLED, final=False))
