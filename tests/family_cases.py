"""Families on grids of every dimension, for the tests of members and of data sets."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import fvflow

SHAPES = {"1D": [40], "2D": [33, 17], "3D": [10, 9, 8]}


def base(cells: list[int], stepper: dict[str, Any] | None = None, **flow: Any) -> fvflow.Case:
    """A steady trap on a grid of so many cells, from a Gaussian."""
    dimension = len(cells)
    squares = " + ".join(f"{axis}**2" for axis in "xyz"[:dimension])
    values = {
        "mesh": {"kind": "box", "lower": [-3.0] * dimension, "upper": [3.0] * dimension, "cells": cells},
        "flow": {
            "kind": "fokker-planck",
            "potential": f"0.5*k*({squares})",
            "epsilon": 0.4,
            "stepper": stepper or {"kind": "split-euler"},
            **flow,
        },
        "initial": {
            "kind": "gaussian",
            "mean": [0.3] * dimension,
            "covariance": np.diag([0.6] * dimension).tolist(),
            "truncate": 0.1,
        },
        "times": {"end": 0.3, "step": 0.01, "save": 0.1},
        "parameters": {"k": 1.0},
    }
    return fvflow.Case.parse(json.dumps(values))


def random_changes(dimension: int, count: int, seed: int) -> dict[str, list[Any]]:
    """Values at all paths that may vary, the start being a mixture."""
    random = np.random.default_rng(seed)
    waves = " + ".join(f"0.3*cos({{:.3f}}*{axis})" for axis in "xyz"[:dimension])
    squares = " + ".join(f"{axis}**2" for axis in "xyz"[:dimension])

    def mixture() -> dict[str, Any]:
        parts = [
            {
                "mean": random.uniform(-0.8, 0.8, dimension).tolist(),
                "covariance": np.diag(random.uniform(0.6, 0.8, dimension) ** 2).tolist(),
                "weight": float(random.uniform(0.5, 1.5)),
            }
            for _ in range(random.integers(1, 4))
        ]
        return {"kind": "mixture", "components": parts, "truncate": 0.1}

    return {
        "parameters.k": random.uniform(0.5, 2.0, count).tolist(),
        "flow.epsilon": random.uniform(0.2, 0.8, count).tolist(),
        "flow.potential": [
            f"0.5*k*({squares}) + {waves.format(*random.uniform(0.5, 2.0, dimension))}" for _ in range(count)
        ],
        "initial": [mixture() for _ in range(count)],
    }
