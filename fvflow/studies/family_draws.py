"""The values of the samples of a family: each follows from the seed of the family and the number of the sample."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

import numpy as np

from fvflow.case import Case
from fvflow.case.checkpoints import by_content
from fvflow.case.draws import DrawKind, Room
from fvflow.case.members import copied
from fvflow.case.overrides import parsed_value
from fvflow.errors import CaseError
from fvflow.studies.sweeps.distributions import drawn
from fvflow.studies.sweeps.jobs import hash_of_values
from fvflow.version import __version__

_NO_DRAWS = (
    "the case draws nothing, so that all samples would be the same; add a section such as draw: {parameters.k: "
    "uniform(0.5, 2), initial: {kind: random-mixture, deviation: [0.3, 0.6]}}"
)
_MOST_TOLD = 20  # samples that are refused, with their faults; of others the numbers
_KEPT = 256  # values of a path that are kept, more than are computed at once


class _Column(Sequence[Any]):
    """The values of one path in all samples, drawn when they are asked for."""

    def __init__(self, path: str, draw: DrawKind, seed: int, count: int, room: Room) -> None:
        self._path, self._draw, self._seed, self._count, self._room = path, draw, seed, count, room
        self._drawn = lru_cache(maxsize=_KEPT)(self._of)  # asked for by the case, its hash and its description

    @property
    def allowed(self) -> bool:
        """Whether all of its values are known to be allowed."""
        return self._draw.always_fits(self._room)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Any: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Any]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(self._count))]
        return copied(self._drawn(number))

    def _of(self, number: int) -> Any:
        stream = int.from_bytes(hashlib.sha256(self._path.encode()).digest()[:8], "little")
        key = np.random.SeedSequence([seed_of(self._seed, number), stream])
        try:
            return self._draw.drawn(np.random.Generator(np.random.Philox(key)), self._room)
        except CaseError as error:
            raise CaseError(f"draw {self._path}, sample {number}: {error}") from None


def seed_of(seed: int, number: int) -> int:
    """The seed of one sample of a family, of 53 bits, so that a double holds it."""
    high, low = np.random.SeedSequence([seed, number]).generate_state(2)
    return (int(high) << 21) | (int(low) >> 11)


class DrawnFamily:
    """A family of so many samples by the section `draw` of a case; raises CaseError if they cannot be drawn."""

    def __init__(self, case: Case, count: int, seed: int) -> None:
        if not case.draw:
            raise CaseError(_NO_DRAWS)
        mesh = case.mesh.build()
        room = Room.of(mesh)
        self.seed, self.count = seed, count
        self.values: dict[str, Sequence[Any]] = {}
        for path, draw in case.draw.items():
            if isinstance(draw, str):
                texts = drawn(path, draw, count, seed)
                known = {text: parsed_value(path, text) for text in set(texts)} if "choice" in draw else {}
                self.values[path] = [known[text] if known else json.loads(text) for text in texts]
            else:
                self.values[path] = _Column(path, draw, seed, count, room)
        self.family = case.vary(self.values)
        self._files = self.family.files
        self._content = by_content({name: value for name, value in case.values.items() if name != "title"}, case.files)

    @property
    def numbers(self) -> Mapping[str, Sequence[float]]:
        """The numbers that are drawn (sample,), by the names that they have in a file."""
        return {
            path.replace(".", "_"): values
            for path, values in self.values.items()
            if isinstance(values, list) and all(isinstance(value, int | float) for value in values)
        }

    def text(self, number: int) -> str:
        """What a sample has at the drawn paths, as JSON."""
        return json.dumps({path: values[number] for path, values in self.values.items()})

    def case_hash(self, values: dict[str, Any]) -> str:
        """`case_hash` of a sample, with its frames, from the plain values of its case."""
        return hash_of_values(values, self._files, True)

    def require_samples(self) -> None:
        """Raise CaseError, before anything runs, with all samples whose values are those of no case."""
        faults = self.family.faults()
        if not faults:
            return
        told = [f"sample {number}: {text}" for number, text in list(faults.items())[:_MOST_TOLD]]
        if len(faults) > _MOST_TOLD:
            told.append(f"and samples {', '.join(map(str, list(faults)[_MOST_TOLD:]))}")
        raise CaseError(*told, f"{len(faults)} of the {self.count} samples cannot be made; none was started")

    @property
    def identity(self) -> dict[str, Any]:
        """What says of which family samples are: the version, the case with its draws, and the seed."""
        return {"version": __version__, "case": self._content, "seed": self.seed}
