"""Data sets: many samples of a family of cases, in the layouts that makers of neural models read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fvflow.case import Case
from fvflow.case.members import FIGURES
from fvflow.errors import CaseError, OutputError
from fvflow.fields import Expression
from fvflow.jit import thread_limit
from fvflow.studies.family_draws import DrawnFamily, seed_of
from fvflow.studies.formats import WRITERS, Trajectories, x_first
from fvflow.studies.formats.domain import absorbing_cells, boundaries_of
from fvflow.studies.sample_store import Block, SampleStore

_BLOCK_BYTES, _MOST = 2**25, 64  # of the samples that are computed and kept at once
_SPLITS = {1: ("",), 2: ("-train", "-test"), 3: ("-train", "-valid", "-test")}
_BYTES = 4  # of a value
MOST_SAMPLES = 10**6
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Split:
    """How samples are divided among files: their numbers, and what is added to the name of each file."""

    counts: tuple[int, ...]

    @staticmethod
    def of(text: str | None, count: int) -> Split:
        """From a text such as 8:1:1, whole parts of the samples, or their numbers; raises CaseError.

        >>> Split.of("8:1:1", 50).counts
        (40, 5, 5)
        """
        if text is None:
            return Split((count,))
        words = text.split(":")
        if not all(word.strip().isdecimal() and int(word) > 0 for word in words) or not 2 <= len(words) <= 3:
            raise CaseError(f"split {text}: expected two or three whole numbers above 0, as in 8:1:1 or 9:1")
        parts = [int(word) for word in words]
        if count % sum(parts):
            raise CaseError(
                f"split {text}: {count} samples do not divide into {sum(parts)} equal parts; take a multiple of "
                f"{sum(parts)}, or numbers that add up to {count}"
            )
        return Split(tuple(part * (count // sum(parts)) for part in parts))

    def files(self, path: Path) -> list[tuple[Path, range]]:
        """The files and the samples that are in each."""
        marks, first = _SPLITS[len(self.counts)], 0
        found = []
        for mark, count in zip(marks, self.counts, strict=True):
            found.append((path.with_name(f"{path.stem}{mark}{path.suffix}"), range(first, first + count)))
            first += count
        return found


class DataSet:
    """The samples of a family, to be made and written; raises CaseError or OutputError for what cannot be.

    Samples are kept in blocks in PATH.parts until all files are complete. Whatever stops it, the same family and seed
    go on from there, with any number of samples, layout and split.
    """

    def __init__(
        self,
        case: Case,
        path: str | os.PathLike[str],
        count: int,
        *,
        seed: int = 0,
        layout: str,
        split: str | None = None,
    ) -> None:
        if not 1 <= count <= MOST_SAMPLES:
            raise CaseError(f"{count} samples; make 1 to {MOST_SAMPLES}")
        self.path, self.layout, self.seed, self.count = Path(path), layout, seed, count
        self.files = Split.of(split, count).files(self.path)
        self.mesh, self.times = case.mesh.build(), case.schedule
        self.sample_bytes = _BYTES * (self.times.saves + 1) * self.mesh.cells
        self.size = max(1, min(_MOST, _BLOCK_BYTES // self.sample_bytes))
        self.require_room(self.kept_bytes)
        self.drawn = DrawnFamily(case, count, seed)
        self.drawn.require_samples()
        self._title, self._text, self._values = case.title, case.text, case.values
        _require_same_cells(case)
        for file, samples in self.files:
            WRITERS[layout].check(file, self._trajectories(samples))
            if file.resolve() in {Path(name).resolve() for name in case.files}:
                raise OutputError(f"{file}: the data would overwrite a file that the case reads; use another name")

    def _trajectories(self, samples: range) -> Trajectories:
        numbers = [*self.drawn.numbers, *(name for name in (*FIGURES, "seed") if name not in self.drawn.numbers)]
        return Trajectories(
            self.mesh,
            np.array(self.times.save_times),
            len(samples),
            numbers=numbers,
            texts=("case_hash", "draws"),
            name=self._title or self.path.stem,
            boundaries=boundaries_of(self._values, self.mesh),
            absorbing=absorbing_cells(self._values, self.mesh),
            attributes={"family": self._text, "family_seed": str(self.seed), "first_sample": str(samples.start)},
        )

    @property
    def folder(self) -> Path:
        """Where samples are kept until all files are complete."""
        return self.path.with_suffix(".parts")

    @property
    def kept_bytes(self) -> int:
        """Bytes of the samples that are kept from before."""
        return sum(file.stat().st_size for file in self.folder.glob("block-*.npy"))

    def require_room(self, kept: int) -> None:
        """Raise OutputError unless the disk holds the samples twice, in blocks and in files; some bytes are kept."""
        copies = 3 if self.layout == "npz" else 2
        needed = self.sample_bytes * copies * self.count - kept
        free = shutil.disk_usage(self.path.resolve().parent).free
        if needed > free:
            raise OutputError(
                f"{self.path}: {self.count} samples of {self.sample_bytes / 2**20:.3g} MiB need "
                f"{needed / 2**30:.3g} GiB while they are made, and {free / 2**30:.3g} are free; make fewer, or save "
                "fewer times"
            )

    def write(
        self, threads: int | None = None, told: Told = lambda done, count: None, *, discard: bool = False
    ) -> dict[str, float]:
        """Make what is missing and write the files; returns the extremes of the figures of all samples.

        `told` is called with the numbers of samples that are there and that are wanted. Raises CaseError, NumericsError
        or OutputError.
        """
        store = SampleStore(self.folder, self.drawn.identity, self.size, discard=discard)
        try:
            blocks = [(start, min(start + self.size, self.count)) for start in range(0, self.count, self.size)]
            missing = [(start, stop) for start, stop in blocks if not store.has(start, stop - start)]
            done = self.count - sum(stop - start for start, stop in missing)
            self._make(store, missing, done, threads or thread_limit(), told)
            for file, samples in self.files:
                self._export(store, file, samples)
            figures = self._extremes(store)
            store.remove()
            return figures
        finally:
            store.release()

    def _make(
        self, store: SampleStore, missing: Sequence[tuple[int, int]], done: int, threads: int, told: Told
    ) -> None:
        """Compute blocks, each being written while the next one is computed."""
        told(done, self.count)
        with ThreadPoolExecutor(1, "fvflow-data") as disk:
            pending: Future[None] | None = None
            for start, stop in missing:
                members = self.drawn.family.run(start, stop, threads, np.float32, self.drawn.case_hash)
                if pending is not None:
                    pending.result()
                pending = disk.submit(lambda block: store.put(self._block(*block)), (start, stop, members))
                done += stop - start
                told(done, self.count)
            if pending is not None:
                pending.result()

    def _block(self, start: int, stop: int, members: Any) -> Block:
        numbers = {name: np.array(values[start:stop], float) for name, values in self.drawn.numbers.items()}
        seeds = np.array([seed_of(self.seed, number) for number in range(start, stop)], float)
        texts = {"case_hash": members.texts, "draws": [self.drawn.text(number) for number in range(start, stop)]}
        values = np.ascontiguousarray(x_first(members.density, self.mesh))
        return Block(start, values, {"seed": seeds, **members.figures, **numbers}, texts)

    def _export(self, store: SampleStore, file: Path, samples: range) -> None:
        with WRITERS[self.layout](file, self._trajectories(samples)) as writer:
            for block in store.blocks(self.count):
                first = max(block.start, samples.start)
                last = min(block.start + len(block.values), samples.stop)
                if first < last:
                    own = slice(first - block.start, last - block.start)
                    numbers = {name: values[own] for name, values in block.numbers.items()}
                    texts = {name: list(values)[own] for name, values in block.texts.items()}
                    writer.write(first - samples.start, {"rho": block.values[own]}, numbers, texts)

    def _extremes(self, store: SampleStore) -> dict[str, float]:
        """The largest figure of all samples, but the smallest density."""
        found: dict[str, float] = {}
        for block in store.blocks(self.count):
            for name in FIGURES:
                values = block.numbers[name]
                if not np.isnan(values).all():
                    worst = float(np.nanmin(values) if name == "minimum" else np.nanmax(values))
                    pick = min if name == "minimum" else max
                    found[name] = pick(found.get(name, worst), worst)
        return found


def _require_same_cells(case: Case) -> None:
    """Refuse a family whose samples absorb in other cells: CaseError."""
    names = {name for each in case.absorbing_sets if each.where is not None for name in Expression(each.where).names}
    if drawn := sorted(names & {path.removeprefix("parameters.") for path in case.draw}):
        raise CaseError(
            f"absorbing: which cells absorb depends on {', '.join(drawn)}, which is drawn, and a data set has the same "
            "in all samples; draw something else"
        )


def sample_case(case: Case, number: int, seed: int = 0) -> Case:
    """The case of one sample of a family, which `fvflow run` runs to the same densities."""
    if not 0 <= number < MOST_SAMPLES:
        raise CaseError(f"sample {number}: samples are numbered from 0 to {MOST_SAMPLES - 1}")
    found: Case = DrawnFamily(case, number + 1, seed).family.case(number)
    return found
