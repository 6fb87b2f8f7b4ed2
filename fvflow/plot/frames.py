"""Which of the saved times a picture shows, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fvflow.errors import CaseError
from fvflow.mesh import Array

_USUAL, _OTHERS = 5, (4, 6)  # frames in a picture; others if they can be evenly spaced and the usual number cannot
_SAME = 1e-6  # of the span: a difference of times that nobody sees


@dataclass(frozen=True)
class Choice:
    """The indices of the times to show, and what the reader has to know of them, if anything."""

    indices: list[int]
    note: str = ""


def chosen(times: Array, frames: int | Sequence[int] | None, at: Sequence[float] | None) -> Choice:
    """The frames at the saved times (frame,) nearest to the times `at`, or to evenly spaced ones.

    `frames` is their number, or their indices; by default there are five, or four or six if these are evenly spaced and
    five are not. Raises CaseError for frames and times that are not there.
    """
    if at is not None:
        return _nearest_to(times, at)
    if frames is None:
        tried = [_evenly(times, count) for count in (_USUAL, *_OTHERS)]
        return next((choice for choice in tried if not choice.note), tried[0])
    if not isinstance(frames, Sequence):
        if frames < 1:
            raise CaseError(f"{frames} frames: a picture has at least one; give a number >= 1, or times")
        return _evenly(times, frames)
    for index in frames:
        if not -len(times) <= index < len(times):
            raise CaseError(f"frame {index}: the result has {len(times)}; give them from 0 to {len(times) - 1}")
    return _without_repeats([index % len(times) for index in frames], "")


def _evenly(times: Array, count: int) -> Choice:
    """So many frames, the first and the last among them; only the last if it is one."""
    if count >= len(times):
        return Choice(list(range(len(times))), "" if _even(times) else "all saved times, which are not evenly spaced")
    wanted = np.linspace(times[0], times[-1], count) if count > 1 else times[-1:]
    indices = sorted({int(np.abs(times - time).argmin()) for time in wanted})
    if len(indices) == count and np.abs(times[indices] - wanted).max() <= _SAME * np.ptp(times):
        return Choice(indices)
    return Choice(indices, "the saved times nearest to evenly spaced ones")


def _even(times: Array) -> bool:
    steps = np.diff(times)
    return len(steps) < 2 or bool(np.ptp(steps) <= _SAME * np.ptp(times))


def _nearest_to(times: Array, at: Sequence[float]) -> Choice:
    slack = _SAME * np.ptp(times)
    for time in at:
        if not times[0] - slack <= time <= times[-1] + slack:
            raise CaseError(f"time {time:g}: the result runs from {times[0]:g} to {times[-1]:g}; give times of it")
    indices = [int(np.abs(times - time).argmin()) for time in at]
    exact = np.abs(times[indices] - at).max() <= slack
    return _without_repeats(indices, "" if exact else "the saved times nearest to those asked for")


def _without_repeats(indices: list[int], note: str) -> Choice:
    """Each frame once, which is told."""
    once = list(dict.fromkeys(indices))
    told = "" if len(once) == len(indices) else f"{len(indices)} frames asked for, {len(once)} of them different"
    return Choice(once, "; ".join(filter(None, (note, told))))


def labels(times: Array) -> list[str]:
    """The times as t = ..., in as few digits, four at least, as tell them apart.

    >>> labels(np.array([0.0, 1 / 3, 1000.125, 1000.25]))
    ['t = 0', 't = 0.33333', 't = 1000.1', 't = 1000.2']
    """
    for digits in range(4, 17):
        texts = [f"t = {time:.{digits}g}" for time in times]
        if len(set(texts)) == len(set(times.tolist())):
            break
    return texts
