"""Worker processes on this machine, one case at a time each.

They are forked from a server process that has imported what a run needs, so that each starts in milliseconds, and none
of them inherits threads or locks of the caller. Each has a pipe of its own: when one is killed, its pipe says so, and
only the case that it had in hand is run again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import Any

from fvflow.studies.sweeps.executors import killed
from fvflow.studies.sweeps.jobs import Job, run_job
from fvflow.workers import start_fork_server, starting_workers

_TICK = 0.25  # seconds without an outcome after which the caller is heard


@dataclass
class _Worker:
    process: Any
    pipe: Any
    job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        self.pipe.send(job)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass(frozen=True)
class Processes:
    """Runs so many cases at once."""

    at_once: int

    def prepare(self) -> None:
        """Start the server process, which then imports while the caller goes on."""
        start_fork_server()

    @cached_property
    def _context(self) -> Any:
        return start_fork_server()

    def run(self, jobs: Sequence[Job]) -> Generator[bytes | None, None, None]:
        """See `Executor`: a case whose worker is killed is run again after all others, alone."""
        struck: deque[Job] = deque()
        yield from self._run(deque(jobs), min(self.at_once, len(jobs)), struck)
        while struck:
            last: deque[Job] = deque()
            yield from self._run(deque([struck.popleft()]), 1, last)
            for job in last:
                yield killed(job.key)

    def _run(self, waiting: deque[Job], count: int, struck: deque[Job]) -> Generator[bytes | None, None, None]:
        """The outcomes of jobs; those whose worker was killed are added to `struck`."""
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.job for worker in workers):
                while waiting and len(workers) < count:
                    workers.append(self._started())
                for worker in (idle for idle in workers if idle.job is None):
                    if waiting:
                        self._give(worker, waiting.popleft())
                ready = wait([worker.pipe for worker in workers if worker.job], _TICK)
                if not ready:
                    yield None
                for worker in [each for each in workers if each.pipe in ready]:
                    blob = self._received(worker)
                    if blob is not None:
                        yield blob
                        continue
                    assert worker.job is not None
                    struck.append(worker.job)
                    worker.end()
                    workers.remove(worker)
        finally:
            for worker in workers:
                worker.end()

    @staticmethod
    def _give(worker: _Worker, job: Job) -> None:
        with suppress(OSError):  # it was killed while it had nothing to do; its pipe will say so
            worker.give(job)

    @staticmethod
    def _received(worker: _Worker) -> bytes | None:
        """What a worker sends; None if it is no more."""
        try:
            blob: bytes = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            return None
        worker.job = None
        return blob

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=work, args=(theirs,), daemon=True)
        with starting_workers():
            process.start()
        theirs.close()
        return _Worker(process, ours)


def work(pipe: Any) -> None:
    """What a worker does: jobs from a pipe, until the other end closes it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the owner decides
    threading.Thread(target=_leave_with_owner, daemon=True).start()
    with suppress(EOFError, OSError):  # the owner is no more
        while True:
            pipe.send_bytes(run_job(pipe.recv()))


def _leave_with_owner() -> None:
    """End this process when the one that has started it ends, however it does."""
    owner = parent_process()
    if owner is not None:
        owner.join()
        os._exit(0)
