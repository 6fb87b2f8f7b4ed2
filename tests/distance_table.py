"""Bounds of W2 over families of pairs: CPU time of one thread and width, one JSON line a pair.

python -m tests.distance_table [--cells N ...] [--families NAME ...] [--seed 0] [--dimension 2] [--width 1e-3]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

from fvflow.mesh import Box
from fvflow.wasserstein import bounds
from tests.transport_pairs import FAMILIES, pair


def row(family: str, n: int, seed: int, dimension: int, width: float) -> dict[str, Any]:
    """One pair on n^dimension cells of the unit cube."""
    mesh = Box((0.0,) * dimension, (1.0,) * dimension, (n,) * dimension).build()
    one, other = (density.ravel() for density in pair(family, n, seed, dimension))
    begun = time.process_time()
    found = bounds(mesh, one, other, width=width)
    return {
        "family": family,
        "n": n,
        "dimension": dimension,
        "seed": seed,
        "cpu_s": round(time.process_time() - begun, 2),
        "lower": float(f"{found.lower:.8g}"),
        "upper": float(f"{found.upper:.8g}"),
        "width": float(f"{found.width:.2e}"),
        "cells": round(found.upper * n, 2),
        "level": found.level,
        "reason": found.reason,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    """Print the table; kernels are compiled before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dimension", type=int, default=2)
    parser.add_argument("--width", type=float, default=1e-3)
    chosen = parser.parse_args()
    row("smooth", 12, 0, chosen.dimension, 1e-2)
    for n in chosen.cells:
        for family in chosen.families:
            print(json.dumps(row(family, n, chosen.seed, chosen.dimension, chosen.width)), flush=True)


if __name__ == "__main__":
    main()
