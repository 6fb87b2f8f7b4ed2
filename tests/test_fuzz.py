"""Mutated case files and random expressions: refused or run, never a traceback or a hang.

FVFLOW_FUZZ=10000 makes it the long run; the seed is fixed.
"""

import os
import random
import time
import warnings
from pathlib import Path

import numpy as np

from fvflow.case import Case
from fvflow.errors import CaseError
from fvflow.fields import Expression

COUNT = int(os.environ.get("FVFLOW_FUZZ", "600"))
TEXTS = [file.read_bytes() for file in sorted(Path("cases").glob("*.yaml"))]
PIECES = [
    *rb": |- |[|]|{|}|&a |*a|!!int |>|'|#|%|0|-1|1e400|.nan|1e-320|99999999999999999".split(b"|"),
    *rb"true|null|x|kind|{}|[]|? |<<: |**|x**x**x|1/0|log(-1)|---".split(b"|"),
    *(b"\n", b"  ", b"\t", b"\xff", b"\x00", b"|", b'"', b"a" * 300),
]
TOKENS = [
    *[
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
        "+",
        "-",
        "*",
        "/",
        "**",
        "(",
        ")",
        ",",
        "<",
        ">",
        "==",
        "!=",
        "exp(",
        "log(",
        "sqrt(",
        "where(",
        "min(",
        "max(",
        "abs(",
        "erf(",
        "heaviside(",
    ],
    *[
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
        "é",
        "x.real",
        "**9**9",
    ],
    *("\n", "9" * 40),
]


def mutated(text: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 6)):
        at, end = sorted((chance.randrange(len(text) + 1), min(len(text), chance.randrange(len(text) + 1))))
        end = min(end, at + 12)
        match chance.randrange(5):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + chance.choice(PIECES) + text[at:]
            case 2:
                text = text[:at] + chance.choice(PIECES) + text[end:]
            case 3:
                text = text[:at] + text[at:end] * 2 + text[end:]
            case 4 if text:
                text = text[:at] + bytes([chance.randrange(256)]) + text[at + 1 :]
    return text


def test_mutated_case_files():
    chance = random.Random(20240601)
    refused, slowest = 0, 0.0
    for _ in range(COUNT):
        text = mutated(chance.choice(TEXTS), chance)
        begun = time.process_time()
        try:
            case = Case.parse(text)
            if case.mesh.build().cells <= 50_000:
                case.prepare()
        except CaseError:
            refused += 1
        slowest = max(slowest, time.process_time() - begun)
    assert refused > COUNT / 4, "the mutations do not bite"
    assert slowest < 2.0


def test_random_expressions():
    chance = random.Random(20240602)
    position = np.linspace(-2, 2, 50)[:, None]
    refused, slowest = 0, 0.0
    for _ in range(COUNT):
        text = "".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 14)))
        begun = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                expression = Expression(text)
                expression.require(frozenset({"x", "t", "k"}))
                expression.at(position, {"k": 2.0}, 0.0)
        except CaseError:
            refused += 1
        slowest = max(slowest, time.process_time() - begun)
    assert COUNT / 4 < refused < COUNT
    assert slowest < 2.0
