"""Random texts as expressions: refused or evaluated, never a traceback, a warning or a hang."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields import Expression

SECONDS = 2.0  # within which an expression is refused or evaluated
_OPERANDS = [
    "x",
    "y",
    "t",
    "k",
    "pi",
    "1",
    "0",
    "-1",
    "1e308",
    "0.5",
    "1e-308",
    "2",
    "63",
    "64",
    "65",
    "1e400",
    "9" * 23,
]
_NAMES = [
    "exp",
    "log",
    "sqrt",
    "where",
    "min",
    "max",
    "abs",
    "erf",
    "heaviside",
    "gamma",
    "lgamma",
    "j0",
    "i0",
    "inside",
]
_LONG = "9" * 400
_SIGNS = ["+", "-", "*", "/", "**", "(", ")", ",", "<", ">", "==", "!=", "<=", ">="]
_FOREIGN = [
    ".",
    "[",
    "]",
    "'",
    "lambda",
    "if",
    "else",
    "__",
    "import",
    "@",
    "//",
    "%",
    ":",
    "=",
    "~",
    "and",
    "1j",
    "\\",
]
TOKENS = [
    *_OPERANDS,
    *_SIGNS,
    *(f"{name}(" for name in _NAMES),
    *_FOREIGN,
    "é",
    "x.real",
    "**9**9",
    "\n",
    "\0",
    "9" * 400,
]
_BINARY = ["({} + {})", "({} - {})", "{} * {}", "{} / {}", "({}) ** ({})", "min({}, {})", "atan2({}, {})", "{} < {}"]
_ONE = ["exp", "log", "sqrt", "sin", "tan", "gamma", "lgamma", "i1", "j1", "floor", "erfc", "sign", "cosh"]
_UNARY = ["-({})", *(f"{name}({{}})" for name in _ONE)]


def _soup(chance: random.Random) -> str:
    return "".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 14)))


def _formula(chance: random.Random, depth: int = 0) -> str:
    """A text in the language."""
    if depth > 4 or chance.random() < 0.2:
        return chance.choice(_OPERANDS)
    if chance.random() < 0.4:
        return chance.choice(_UNARY).format(_formula(chance, depth + 1))
    return chance.choice(_BINARY).format(_formula(chance, depth + 1), _formula(chance, depth + 1))


def text(seed: int, number: int) -> str:
    """One of the random texts: half of them are formulas."""
    chance = random.Random(f"{seed}:{number}")
    return _formula(chance) if number % 2 else _soup(chance)


def expression_findings(seed: int, count: int) -> Iterator[str]:
    """A line for each text that is neither refused nor evaluated in time."""
    position = np.linspace(-2, 2, 50)[:, None]
    for number in range(count):
        begun = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                expression = Expression(text(seed, number))
                expression.require(frozenset({"x", "t", "k"}))
                expression.at(position, {"k": 2.0}, 0.0)
        except CaseError:
            pass
        except Exception as error:
            yield f"{seed}:{number} traceback: {type(error).__name__}: {error}: {text(seed, number)!r}"
        if time.process_time() - begun > SECONDS:
            yield f"{seed}:{number} hang: {time.process_time() - begun:.1f} s: {text(seed, number)!r}"
