"""Small mutants of the files in cases/, each a function of a seed and a number."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fvflow.case import document
from fvflow.case.overrides import to_yaml

_CELLS = {1: 40, 2: 9, 3: 4}  # most cells along an axis, by dimension
_STEPS = 10
_UNSHRUNK = 0.02  # share of the mutants whose mesh is left as large as it is, mostly to be refused
_WILD = 0.3  # share of the mutants that may be nonsense; the others are built so that most of them run
POSITIVE: list[Any] = [
    *(
        1,
        2,
        3,
        0.5,
        1e-3,
        0.01,
        0.1,
        10,
        1e3,
        1e-8,
        1e8,
        1e-16,
        1e16,
        1e-20,
        1e20,
        1e-30,
        1e30,
        1e-25,
        1e25,
        1e-60,
        1e60,
    ),
    *(2e6, 700, 1.0 + 1e-12, 1.0 - 1e-12, 1.001, "pi"),
]
EXTREMES = [1e-150, 1e150, 1e-300, 1e300, 5e-324, 1e308, -1e308, 10**30, 10**400]
NUMBERS = [*POSITIVE, *EXTREMES, 0, -1, -0.5, "nan", "inf", "-inf", "1/0", "1e400", "k", True, None, [], {}, "x"]
EXPRESSIONS = [
    *("0", "1/x", "log(x)", "log(abs(x))", "x**-2", "exp(x**8)", "1e308*x", "1e155*x**2", "abs(x)**0.5", "-x**4"),
    *("tan(x)", "1e-320", "where(x < 0, 1e300, -1e300)", "gamma(x)", "t", "exp(1e3*t)", "1/(t - 0.1)", "t/t", "x/0"),
    *("exp(-1e3*x**2)", "1e200*x", "1e8*x**2", "heaviside(x)", "where(x < 0, 0, 1e308)", "exp(700*x)", "sqrt(t)"),
    *(
        "1e-200*x",
        "1e90*x",
        "-1e60*x**2",
        "1e99*x",
        "1e99",
        "1e50*x*t",
        "floor(5*x)",
        "x*y",
        "y",
        "inside(room)",
        "sin(1e6*x)",
        "1e20",
        "-1e20*x**2",
        "x**0.5",
        "1/t",
    ),
]
KERNELS = [
    *("r**2/2", "log(r)", "-log(r)", "r**-0.5", "-r**-1", "r**-3", "x**3", "1e200*r**2", "exp(-r)", "1/r", "1e308"),
    *("-1e10*r**2", "exp(r**2)", "0", "1e-300*r", "sin(1e6*r)", "gamma(r)", "where(r > 0, 1/r, 0)", "x", "t"),
]
_EXPRESSION_KEYS = frozenset(("potential", "velocity", "stream", "density"))
_TEXTS = _EXPRESSION_KEYS | {"kernel"}
_ENERGIES = [
    {"kind": "entropy", "epsilon": 0.3},
    {"kind": "potential", "potential": "x**2"},
    {"kind": "porous-medium", "exponent": 2},
    {"kind": "porous-medium", "exponent": 0.8},
    {"kind": "porous-medium", "exponent": 60},
    {"kind": "power-law", "exponent": 3},
    {"kind": "interaction", "kernel": "r**2/2"},
    {"kind": "interaction", "kernel": "-log(r)"},
]
_DENSITIES = [
    {"kind": "gaussian", "mean": [0.1], "covariance": [[0.2]]},
    {"kind": "uniform"},
    {"kind": "uniform", "lower": [0.1], "upper": [0.4]},
    {"kind": "spike", "at": [0.3]},
    {"kind": "gibbs"},
    {"kind": "exact"},
    {"kind": "expression", "density": "1 + x**2", "mass": "integral"},
    {"kind": "expression", "density": "where(x > 0, 1, 0)", "mass": 1},
    {"kind": "expression", "density": "1e-300"},
    {"kind": "gaussian", "mean": [0.2], "covariance": [[0.1]], "mass": 1e-200},
    {"kind": "gaussian", "mean": [0.2], "covariance": [[0.1]], "mass": 1e200},
]
SAMPLES: dict[str, list[Any]] = {  # what may stand at a key, each valid somewhere
    "flux": [{"kind": kind} for kind in ("upwind", "centred", "scharfetter-gummel", "square-root")],
    "stepper": [
        *({"kind": kind} for kind in ("implicit-euler", "crank-nicolson", "tr-bdf2", "split-euler", "chebyshev")),
        *({"kind": kind} for kind in ("split-crank-nicolson", "uniformisation", "muscl", "ljko", "jko", "midpoint")),
        *({"kind": "ljko", "mobility": kind} for kind in ("upwind", "centred")),
        *({"kind": "muscl", "limiter": kind} for kind in ("minmod", "van-leer", "superbee")),
        *({"kind": "evbdf2"}, {"kind": "split-crank-nicolson", "richardson": True}),
        *({"kind": "implicit-euler", "solver": {"kind": kind}} for kind in ("tridiagonal", "direct", "krylov")),
    ],
    "energy": [*([energy] for energy in _ENERGIES), _ENERGIES[:2], _ENERGIES[1:3], [_ENERGIES[0], _ENERGIES[-2]]],
    "initial": _DENSITIES,
    "target": _DENSITIES,
    "exact": [
        *({"kind": kind} for kind in ("gaussian", "gibbs", "gaussian-jko", "log-gas", "second-moment")),
        *({"kind": kind} for kind in ("tilted-box", "quantiles")),
        *({"kind": "heat-box", "modes": [1]}, {"kind": "barenblatt", "start": 0.1}, {"kind": "gaussian-geodesic"}),
        *({"kind": "affine", "shift": [0.1]}, {"kind": "heat-ball", "radius": 1}),
    ],
    "mesh": [
        {"kind": "box", "lower": [-1], "upper": [1], "cells": [12]},
        {"kind": "box", "lower": [0], "upper": [1], "cells": [1]},
        {"kind": "box", "lower": [-1, 0], "upper": [1, 1], "cells": [5, 4]},
        {"kind": "box", "lower": [0, 0], "upper": [1, 1], "cells": [1, 1]},
        {"kind": "box", "lower": [0, 0, 0], "upper": [1, 1, 1], "cells": [3, 3, 3]},
        {"kind": "graded", "lower": [0], "upper": [2], "cells": [9], "ratio": [4]},
        {"kind": "box", "lower": [0], "upper": [1], "cells": [7], "periodic": ["x"]},
        {"kind": "box", "lower": [0, -1], "upper": [1, 1], "cells": [5, 4], "periodic": ["y"]},
        {"kind": "voronoi", "lower": [-1, -1], "upper": [1, 1], "cells": [5, 5], "seed": 1},
    ],
    "step": [{"initial": 1e-3, "tolerance": 1e-3}, {"initial": 1e-2, "tolerance": 1e-9}, 0.1, 1e-4, 1e300],
    "solver": [{"kind": kind} for kind in ("primal-dual", "interior-point", "tridiagonal", "direct", "krylov")],
    "save": [{"kind": "geometric", "first": 1e-3, "ratio": 2}, [0.01, 0.02], 0.01],
    "output": [{"fluxes": True}, {"precision": "single"}],
}
_SPREAD = frozenset(("gaussian", "mixture", "exact"))  # densities with a bound on what is outside
_GRADIENT_STEPPERS = frozenset(("ljko", "jko", "midpoint", "evbdf2", "implicit-euler"))
_FLOW_KEYS = {"fokker-planck": ("flux", "stepper"), "gradient-flow": ("energy", "stepper"), "transport": ("target",)}
_Path = tuple[str | int, ...]


@cache
def _files() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Name and values of every case."""
    files = sorted(Path("cases").glob("*.yaml"))
    return tuple((str(file), document.parse(file.read_bytes(), str(file)).values) for file in files)


def mutant(seed: int, number: int) -> tuple[str, str]:
    """The file that a mutant is made of, beside which it counts as being, and its text in YAML."""
    chance = random.Random(f"{seed}:{number}")
    name, original = chance.choice(_files())
    values = copy.deepcopy(original)
    _shorten(values, chance)
    wild = chance.random() < _WILD
    if not wild:
        _loosen(values, chance)
    for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
        if wild:
            chance.choice((_value, _value, _kind, _structure, _crossing))(values, chance)
        else:
            chance.choice((_civil_value, _civil_value, _civil_kind))(values, chance)
    if chance.random() >= _UNSHRUNK:
        _shrink(values)
    return name, to_yaml(values)


def _shorten(values: dict[str, Any], chance: random.Random) -> None:
    """A run of few steps."""
    times = values.get("times")
    if times:
        steps = chance.randint(1, _STEPS)
        step, start, few = times["step"], times.get("start", 0), min(2, steps)
        written = isinstance(step, str)
        times["end"] = f"({step})*{steps} + {start}" if written else step * steps + start
        times["save"] = f"({step})*{few}" if written else step * few
    if "intervals" in values["flow"]:
        values["flow"]["intervals"] = 4


def _loosen(values: dict[str, Any], chance: random.Random) -> None:
    """The case without most of what refuses others: its closed form, its checks, its bound on what is outside."""
    values.pop("checks", None)
    initial = values.get("initial", {})
    target = values["flow"].get("target")
    densities = [initial, target] if isinstance(target, dict) else [initial]  # that of flow transport is one
    needed = "exact" in (density.get("kind") for density in densities)
    if not needed and chance.random() < 0.6:
        values.pop("exact", None)
    for density in densities:
        if density.get("kind") in _SPREAD:
            density["truncate"] = 0.9


def _shrink(values: dict[str, Any]) -> None:
    """A mesh of few cells, if it has a number of them."""
    mesh = values.get("mesh")
    cells = mesh.get("cells") if isinstance(mesh, dict) else None
    if isinstance(cells, list) and cells:
        most = _CELLS.get(len(cells), 3)
        mesh["cells"] = [min(count, most) if type(count) is int else count for count in cells]


def _places(value: Any, path: _Path = ()) -> Iterator[_Path]:
    """The paths of all values in a value, its own left out."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield (*path, key)
        yield from _places(part, (*path, key))


def _at(values: Any, path: _Path) -> Any:
    for key in path:
        values = values[key]
    return values


def _name(path: _Path) -> str:
    """The last key of a path that is a word."""
    return next((key for key in reversed(path) if isinstance(key, str)), "")


def _civil_value(values: dict[str, Any], chance: random.Random) -> None:
    """Another positive number in a leaf or another expression, or another unit of time."""
    if isinstance(values.get("times"), dict) and chance.random() < 0.1:
        factor = chance.choice((1e-300, 1e-20, 1e-3, 0.1, 10, 1e3, 1e8, 1e100, 1e300))
        numbers_of = {name: value for name, value in values["times"].items() if type(value) in (int, float)}
        values["times"] |= {name: value * factor for name, value in numbers_of.items()}
        return
    _value(values, chance, POSITIVE, frozenset(("end", "step", "save", "cells", "start")))


def _value(
    values: dict[str, Any], chance: random.Random, numbers: list[Any] = NUMBERS, kept: frozenset[str] = frozenset()
) -> None:
    """Another value in a leaf that is not to be kept: an expression where one is expected, else a number."""
    leaves = [path for path in _places(values) if not isinstance(_at(values, path), dict | list)]
    leaves = [path for path in leaves if path[0] not in ("title", "checks") and path[-1] not in ("kind", "file")]
    if kept:
        options = [path for path in leaves if isinstance(_at(values, path), str) and _name(path) not in _TEXTS]
        leaves = [path for path in leaves if _name(path) not in kept and path not in options]
    if not leaves:
        return
    path = chance.choice(leaves)
    old, key = _at(values, path), _name(path)
    if key == "kernel":
        new: Any = chance.choice(KERNELS)
    elif key in _EXPRESSION_KEYS:
        new = chance.choice((chance.choice(EXPRESSIONS), f"{chance.choice((-1, 1e-3, 1e6, 1e200))}*({old})"))
    elif isinstance(old, int | float) and abs(old) < 1e300 and chance.random() < 0.5:
        new = chance.choice((old * 1e3, old * 1e-3, old + 1, old * 2, old / 2, -old))
    else:
        new = chance.choice(numbers)
    _at(values, path[:-1])[path[-1]] = copy.deepcopy(new)


def _civil_kind(values: dict[str, Any], chance: random.Random) -> None:
    """Another kind where the flow has one, on a mesh with as many axes."""
    flow = values["flow"].get("kind")
    keys = ["initial", "mesh", *(["step", "save"] if "times" in values else []), *_FLOW_KEYS.get(flow, ())]
    key = chance.choice(keys)
    samples = SAMPLES[key]
    if key == "stepper":
        samples = [sample for sample in samples if (sample["kind"] in _GRADIENT_STEPPERS) == (flow == "gradient-flow")]
    if key == "mesh":
        axes = len(values["mesh"].get("cells", "xy"))
        samples = [sample for sample in samples if len(sample["cells"]) == axes]
    _put(key, chance.choice(samples), values)


def _kind(values: dict[str, Any], chance: random.Random) -> None:
    """Another kind, with all that it needs, at a key that has kinds; it need not be there."""
    key = chance.choice(sorted(SAMPLES))
    _put(key, chance.choice(SAMPLES[key]), values)


def _put(key: str, sample: Any, values: dict[str, Any]) -> None:
    parent = {"initial": values, "exact": values, "mesh": values, "output": values}.get(key)
    parent = values.get("times" if key in ("step", "save") else "flow") if parent is None else parent
    if isinstance(parent, dict):
        parent[key] = _fitting(copy.deepcopy(sample), values)


def _fitting(sample: Any, values: dict[str, Any]) -> Any:
    """The sample with vectors as long as the mesh has axes."""
    mesh = values.get("mesh")
    cells = mesh.get("cells") if isinstance(mesh, dict) else None
    count = len(cells) if isinstance(cells, list) else 2
    if not isinstance(sample, dict) or "cells" in sample:
        return sample
    for key in ("mean", "lower", "upper", "at", "modes", "shift"):
        if key in sample:
            sample[key] = sample[key] * count
    if "covariance" in sample:
        width = sample["covariance"][0][0]
        sample["covariance"] = [[width if i == j else 0 for j in range(count)] for i in range(count)]
    return sample


def _structure(values: dict[str, Any], chance: random.Random) -> None:
    """A value removed, doubled or put at a neighbouring key."""
    path = chance.choice(list(_places(values)))
    parent, key = _at(values, path[:-1]), path[-1]
    match chance.randrange(3):
        case 0 if len(path) > 1 or key not in ("mesh", "flow"):
            del parent[key]
        case 1 if isinstance(parent, list):
            parent.insert(int(key), copy.deepcopy(parent[int(key)]))
        case _ if isinstance(parent, dict):
            other = chance.choice(sorted(parent))
            parent[key], parent[other] = parent[other], parent[key]


def _crossing(values: dict[str, Any], chance: random.Random) -> None:
    """A part of another case."""
    _, other = chance.choice(_files())
    other = copy.deepcopy(other)
    _shorten(other, chance)
    key = chance.choice(("flow", "initial", "exact", "mesh", "times"))
    if key in other:
        values[key] = other[key]
