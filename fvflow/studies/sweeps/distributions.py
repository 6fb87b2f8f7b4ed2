"""Distributions that the values of a sweep are drawn from."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fvflow.case.overrides import as_text, parsed_value
from fvflow.errors import CaseError
from fvflow.studies.sweeps.value_lists import split_values

_CALL = re.compile(r"\s*([A-Za-z_][\w-]*)\s*\((.*)\)\s*", re.S)
_Quantile = Callable[[Any, float, float], Any]


def _normal(share: Any, mean: float, deviation: float) -> Any:
    from scipy.special import ndtri

    return mean + deviation * ndtri(share)


def _integer(share: Any, low: float, high: float) -> Any:
    return np.minimum(np.floor(low + share * (high - low + 1)), high).astype(int)


_FAMILIES: dict[str, tuple[str, _Quantile, Callable[[float, float], str]]] = {
    "uniform": (
        "uniform(low, high)",
        lambda share, low, high: low + share * (high - low),
        lambda low, high: "" if low < high else "low has to be below high",
    ),
    "loguniform": (
        "loguniform(low, high)",
        lambda share, low, high: low * (high / low) ** share,
        lambda low, high: "" if 0 < low < high else "0 < low < high is needed",
    ),
    "normal": (
        "normal(mean, deviation)",
        _normal,
        lambda mean, deviation: "" if deviation > 0 else "the deviation has to be above 0",
    ),
    "lognormal": (
        "lognormal(mean of the logarithm, deviation of the logarithm)",
        lambda share, mean, deviation: np.exp(_normal(share, mean, deviation)),
        lambda mean, deviation: "" if deviation > 0 else "the deviation has to be above 0",
    ),
    "integer": (
        "integer(low, high), both included",
        _integer,
        lambda low, high: "" if low.is_integer() and high.is_integer() and low < high else "whole numbers low < high",
    ),
}
_OTHER_NAMES = {
    "log-uniform": "loguniform",
    "log_uniform": "loguniform",
    "reciprocal": "loguniform",
    "gaussian": "normal",
    "norm": "normal",
    "log-normal": "lognormal",
    "randint": "integer",
    "integers": "integer",
    "categorical": "choice",
}


def is_distribution(text: str) -> bool:
    """Whether a text has the form of a distribution, `name(...)` of one that is known."""
    found = _CALL.fullmatch(text)
    return found is not None and _OTHER_NAMES.get(found[1], found[1]) in {*_FAMILIES, "choice"}


def drawn(path: str, text: str, count: int, seed: int) -> tuple[str, ...]:
    """So many values of a distribution as texts in YAML; raises CaseError if it is none.

    Each path has a stream of its own, by inversion of uniform numbers of Philox: neither more values nor other paths
    change those that are drawn.

    >>> drawn("flow.epsilon", "choice([64], [128])", 3, 0)
    ('[64]', '[64]', '[64]')
    """
    where = f"{path}={text}"
    found = _CALL.fullmatch(text)
    if found is None:
        raise CaseError(f"{where}: expected a distribution such as uniform(0.5, 2); {_known()}")
    name = _OTHER_NAMES.get(found[1], found[1])
    arguments = split_values(found[2])
    stream = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")
    share = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream]))).random(count)
    if name == "choice":
        if not arguments:
            raise CaseError(f"{where}: a choice needs values, as in choice(1, 2, 5)")
        return tuple(arguments[int(index)] for index in np.floor(share * len(arguments)))
    if name not in _FAMILIES:
        close = difflib.get_close_matches(name, [*_FAMILIES, "choice"], n=1)
        guess = f'did you mean "{close[0]}"?' if close else _known()
        raise CaseError(f"{where}: unknown distribution {name}; {guess}")
    usage, quantile, fault = _FAMILIES[name]
    first, second = _numbers(where, usage, arguments)
    if sentence := fault(first, second):
        raise CaseError(f"{where}: {sentence}, in {usage}")
    values = quantile(np.maximum(share, 2.0**-54), first, second)  # within (0, 1)
    return tuple(as_text(value) for value in values)


def _known() -> str:
    return "known are " + ", ".join(usage for usage, _, _ in _FAMILIES.values()) + ", choice(a, b, ...)"


def _numbers(where: str, usage: str, arguments: Sequence[str]) -> tuple[float, float]:
    """The two numbers of a distribution."""
    values = [parsed_value(where, argument) for argument in arguments]
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(arguments) != 2 or len(numbers) != 2 or not all(map(math.isfinite, numbers)):
        raise CaseError(f"{where}: expected two numbers, {usage}, got ({', '.join(arguments)})")
    return numbers[0], numbers[1]
