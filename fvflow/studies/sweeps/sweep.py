"""Sweeps: all cases of a plan, run, kept and put together."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fvflow.case import Case
from fvflow.case.document import Document
from fvflow.case.overrides import apply_overrides
from fvflow.dataset.netcdf import require_name
from fvflow.errors import CaseError
from fvflow.input_files import admission
from fvflow.studies.sweeps.executors import Executor
from fvflow.studies.sweeps.folder import Folder
from fvflow.studies.sweeps.jobs import Job, case_hash
from fvflow.studies.sweeps.outcome import Outcome
from fvflow.studies.sweeps.plan import Plan
from fvflow.studies.sweeps.replacing import require_replaceable
from fvflow.studies.sweeps.result import SweepResult
from fvflow.studies.sweeps.store import Store

if TYPE_CHECKING:
    pass

_MOST_TOLD = 20  # lines about cases that cannot be built


@dataclass(frozen=True)
class Sweep:
    """All cases of a plan, built and checked."""

    folder: Folder
    """That of the case."""
    title: str
    document: Document
    plan: Plan
    cases: Sequence[Case]
    fields: bool = False
    keys: Sequence[str] = field(init=False)
    """What each case is recognised by."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", [case_hash(case, self.fields) for case in self.cases])

    @staticmethod
    def of(document: Document, plan: Plan, fields: bool = False) -> Sweep:
        """The sweep of a plan over the case in a document; raises CaseError with the faults of all its cases."""
        folder, document = Folder.of(document.name), replace(document, name=os.path.abspath(document.name))
        cases, faults, refused = list[Case](), dict[str, None](), 0
        for overrides in plan.overrides():
            try:
                cases.append(Case.of(apply_overrides(document, overrides)))
            except CaseError as error:
                refused += 1
                faults |= dict.fromkeys(folder.told(str(text)) for text in error.args)
        if refused:
            told = list(faults)
            rest = [f"and {len(told) - _MOST_TOLD} lines more"] if len(told) > _MOST_TOLD else []
            number = f"{refused} of the {plan.count} cases" if plan.count > 1 else "the only case"
            raise CaseError(*told[:_MOST_TOLD], *rest, f"{number} of the sweep cannot be run; none was started")
        return Sweep(folder, cases[0].title, document, plan, cases, fields)

    def jobs(self, folder: Path, mark: str) -> Iterator[Job]:
        """What is to be done, each case once however often it is in the plan."""
        seen = set[str]()
        for key, case in zip(self.keys, self.cases, strict=True):
            if key not in seen:
                seen.add(key)
                yield Job(key, case, self.fields, admission(), self.folder, folder, mark)

    def run(
        self,
        path: Path,
        executor: Executor,
        progress: Callable[[int, int], None] = lambda done, failed: None,
        tell: Callable[[str], None] = lambda sentence: None,
        *,
        discard: bool = False,
    ) -> None:
        """Run into NAME.nc, by way of NAME.parts, where what is finished is taken over from a sweep cut short.

        `progress` is given the numbers of cases that are finished and of those among them that failed, `tell`
        sentences on what is there already. Raises OutputError; what goes wrong in a case is in the result.
        """
        require_name(path)
        require_replaceable(path, tell)
        mark = json.dumps({"name": os.path.basename(self.document.name), "axes": self.plan.describe()})
        with Store(path, mark, frozenset(self.keys), tell, discard) as store:
            try:
                self._run(store, executor, progress, mark, tell)
            except BaseException as error:
                store.flush()
                if len(store):
                    error.add_note(
                        f"{len(store)} of {len(set(self.keys))} cases are finished and in {store.folder}; the same "
                        "command goes on with them"
                    )
                raise
            result = SweepResult(self.plan, self.keys, store.__getitem__, self._attributes)
            result.write(path, store.folder / "whole.tmp")
            store.clear()

    def _run(
        self,
        store: Store,
        executor: Executor,
        progress: Callable[[int, int], None],
        mark: str,
        tell: Callable[[str], None],
    ) -> None:
        """Run what is not in the store."""
        if len(store):
            tell(f"{len(store)} cases are finished, in {store.folder}")
        done, failed = len(store), 0
        jobs = [job for job in self.jobs(store.folder.absolute(), mark) if job.key not in store]
        if not jobs:
            return
        with contextlib.closing(executor.run(jobs)) as outcomes:
            for blob in outcomes:
                if blob is None:
                    store.tick()
                else:
                    failed += _has_failed(store.add(blob))
                    done += 1
                progress(done, failed)

    @property
    def _attributes(self) -> dict[str, str]:
        return {"title": self.title or Path(self.document.name).stem, "case": self.document.text}


def _has_failed(outcome: Outcome) -> bool:
    return outcome.status == "failed"
