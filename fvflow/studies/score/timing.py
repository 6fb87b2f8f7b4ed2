"""Which frames of the reference a prediction is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array
from fvflow.studies.score.reference import Reference


@dataclass(frozen=True, eq=False)
class Timing:
    """The times that a user gives, if any, in place of those that a prediction has."""

    reference: Reference
    given: tuple[float, ...] | None = None
    """Times in ascending order."""

    def __post_init__(self) -> None:
        if self.given is not None and (not self.given or not (np.diff(self.given) > 0).all()):
            raise CaseError(f"times {', '.join(f'{t:g}' for t in self.given)}: give one or more in ascending order")

    def of_grid(self, name: str, count: int, own: Array | None) -> tuple[int, ...]:
        """The frames of so many times on a grid; `own` are those of the file, which may have one more, as edges."""
        times = own if self.given is None else np.array(self.given)
        if times is None:
            if count != len(self.reference.times):
                raise CaseError(
                    f"{name}: has {count} times and does not say which, the reference {len(self.reference.times)}; "
                    "give them by --times"
                )
            times = self.reference.times
        if self.given is None and len(times) == count + 1:
            times = times[:-1]
        if len(times) != count:
            raise CaseError(f"{name}: has densities at {count} times, and {len(times)} times are given; give one each")
        return self.frames(name, times)

    def frames(self, name: str, times: Sequence[float] | Array) -> tuple[int, ...]:
        """The frames of times; raises CaseError unless they are saved, finite and ascending."""
        found = []
        for time in map(float, times):
            if not np.isfinite(time):
                raise CaseError(f"{name}: one of its times is {time:g}; give finite numbers")
            try:
                found.append(self.reference.frame_at(time))
            except CaseError as error:
                raise CaseError(f"{name}: {error}") from None
        if any(later <= earlier for earlier, later in pairwise(found)):
            raise CaseError(f"{name}: its times are not ascending, or one stands twice; give each once, in order")
        return tuple(found)

    def of_labels(self, name: str, labels: Array | None, count: int) -> dict[int, Array]:
        """Which samples (sample,) each frame has; `labels` (sample,) are times, or numbers where times are given."""
        if labels is None:
            if self.given is not None and len(self.given) > 1:
                raise CaseError(f"{name}: its samples have no labels that tell their times; give one time, or labels")
            time = float(self.reference.times[-1]) if self.given is None else self.given[0]
            return {self.frames(name, [time])[0]: np.ones(count, bool)}
        if labels.shape != (count,):
            raise CaseError(f"{name}: has {count} samples and labels of shape {labels.shape}; give one for each")
        distinct = np.unique(labels)
        times = distinct if self.given is None else np.array(self.given)
        if len(times) != len(distinct):
            raise CaseError(f"{name}: has {len(distinct)} labels, and {len(times)} times are given; give one for each")
        try:
            frames = self.frames(name, times)
        except CaseError as error:
            if self.given is None and (distinct == np.round(distinct)).all():
                raise CaseError(f"{error}; labels that number the times need --times") from None
            raise
        return {frame: labels == label for frame, label in zip(frames, distinct, strict=True)}

    def of_map(self, name: str, own: Array | None) -> tuple[int, int]:
        """The frames between which a map leads: by default the first and the last."""
        times = own if self.given is None else np.array(self.given)
        if times is None:
            return 0, len(self.reference.times) - 1
        if len(times) != 2:
            raise CaseError(f"{name}: has a map and {len(times)} times; give two, of the points and of the images")
        start, end = (self.frames(name, [time])[0] for time in times)
        if start == end:
            raise CaseError(f"{name}: its map leads from t = {times[0]:g} to the same time; give two times")
        return start, end
