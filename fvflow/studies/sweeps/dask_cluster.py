"""Cases on the workers of a Dask cluster that is there already."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fvflow.errors import CaseError, OutputError
from fvflow.studies.sweeps.executors import killed
from fvflow.studies.sweeps.jobs import Job, run_job
from fvflow.version import __version__

_PATIENCE = 15.0  # seconds until a scheduler answers, and until it has a worker
_TICK = 0.25


@dataclass(frozen=True)
class DaskCluster:
    """Runs cases on the workers of a scheduler, which runs those of a lost worker again on others.

    They need fvflow of this version, and see the files that the cases name under the same paths.
    """

    address: str

    @property
    def at_once(self) -> int:
        """The threads of its workers."""
        with self._client() as client:
            return max(sum(map(int, client.nthreads().values())), 1)

    def prepare(self) -> None:
        """Raise CaseError without Dask, OutputError unless the scheduler has workers with this version of fvflow."""
        with self._client() as client:
            try:
                client.wait_for_workers(1, timeout=_PATIENCE)
            except TimeoutError:
                raise OutputError(f"{self.address}: the scheduler has no workers; start some (dask worker)") from None
            for worker, found in client.run(worker_version, on_error="return").items():
                if found != __version__:
                    told = f"fvflow {found}" if isinstance(found, str) else f"no fvflow ({found})"
                    raise OutputError(
                        f"{self.address}: worker {worker} has {told}, this is {__version__}; install that"
                    )

    def _client(self) -> Any:
        try:
            return _distributed().Client(self.address, timeout=_PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            reason = " ".join(str(error).split())[:200]
            raise OutputError(f"{self.address}: no Dask scheduler answers there ({reason})") from None

    def run(self, jobs: Sequence[Job]) -> Generator[bytes | None, None, None]:
        """See `Executor`: a case that has lost several workers is recorded as failed."""
        dask = _distributed()
        with self._client() as client:
            futures = {client.submit(run_job, job, key=f"fvflow-{job.key}", pure=True): job for job in jobs}
            try:
                for future in dask.as_completed(list(futures)):
                    job = futures.pop(future)
                    try:
                        yield future.result()
                    except (dask.KilledWorker, dask.CancelledError):
                        yield killed(job.key)
                    future.release()
            finally:
                client.cancel(list(futures))


def _distributed() -> Any:
    """The library; raises CaseError without it."""
    try:
        return import_module("distributed")
    except ImportError:
        raise CaseError("--scheduler needs Dask; install it: pip install 'fvflow[dask]'") from None


def worker_version() -> str:
    """The version of fvflow on a worker."""
    return __version__
