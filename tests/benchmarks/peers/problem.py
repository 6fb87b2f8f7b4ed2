"""The linear problems that all contestants run: drift -A x, constant eps, walls; a Gaussian at all times.

Needs numpy and scipy only, as each peer runs in an environment of its own.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import expm

_TURNED = [[3.25, 1.299038105676658], [1.299038105676658, 1.75]]  # eigenvalues 4 and 1, turned by 30 degrees
PROBLEMS = {
    "ou1d": {"half": 6.0, "drift": [[1.0]], "epsilon": 1.0, "mean": [1.5], "variance": 0.25, "end": 1.0, "steps": 100},
    "ou2d": {
        "half": 4.0,
        "drift": _TURNED,
        "epsilon": 0.5,
        "mean": [1.0, 0.5],
        "variance": 0.15,
        "end": 0.5,
        "steps": 50,
    },
    "rot2d": {
        "half": 1.0,
        "drift": [[0.0, 1.0], [-1.0, 0.0]],
        "epsilon": 1e-3,
        "mean": [0.4, 0.0],
        "variance": 0.01,
        "end": 1.0,
        "steps": 50,
    },
    "ou3d": {
        "half": 4.0,
        "drift": [[2.0, 0.5, 0.0], [0.5, 1.5, 0.3], [0.0, 0.3, 1.0]],
        "epsilon": 0.5,
        "mean": [1.0, 0.5, -0.5],
        "variance": 0.2,
        "end": 0.4,
        "steps": 20,
    },
}


@dataclass
class Problem:
    """One of PROBLEMS on n cells an axis; arrays are indexed [x, y, z]."""

    name: str
    n: int

    def __post_init__(self) -> None:
        self.__dict__.update(PROBLEMS[self.name])
        self.drift, self.mean = np.array(self.drift), np.array(self.mean)
        self.dimension, self.step, self.width = len(self.mean), self.end / self.steps, 2 * self.half / self.n
        self.volume = self.width**self.dimension
        self.x = -self.half + (np.arange(self.n) + 0.5) * self.width

    def velocity(self, *position: Any) -> list[Any]:
        return [-sum(a * x for a, x in zip(row, position, strict=True)) for row in self.drift]

    def potential(self, *position: Any) -> Any:
        return 0.5 * sum(-v * x for v, x in zip(self.velocity(*position), position, strict=True))

    def grid(self) -> list[Any]:
        return list(np.meshgrid(*[self.x] * self.dimension, indexing="ij", sparse=True))

    def density(self, time: float) -> Any:
        """The closed form at the cell centres."""
        d = self.dimension
        block = np.zeros((2 * d, 2 * d))
        block[:d, :d], block[:d, d:], block[d:, d:] = self.drift, 2 * self.epsilon * np.eye(d), -self.drift.T
        found = expm(block * time)
        flow = found[d:, d:].T
        covariance = flow @ found[:d, d:] + flow @ (self.variance * np.eye(d)) @ flow.T
        inverse, offset = np.linalg.inv(covariance), [x - m for x, m in zip(self.grid(), flow @ self.mean, strict=True)]
        square = sum(inverse[i, j] * offset[i] * offset[j] for i in range(d) for j in range(d))
        return np.exp(-0.5 * square) / np.sqrt(np.linalg.det(2 * np.pi * covariance))

    def initial(self) -> Any:
        density = self.density(0.0)
        return density / (density.sum() * self.volume)

    def tell(self, peer: str, setup: float, step: float, density: Any = None, **more: Any) -> None:
        """One JSON line; errors only of a density at the end."""
        line: dict[str, Any] = {"peer": peer, "problem": self.name, "n": self.n, "setup_s": setup, "step_s": step}
        line["ns_per_cell_step"] = 1e9 * step / self.n**self.dimension
        line["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if density is not None:
            line["mass_err"] = abs(float(density.sum()) * self.volume - 1.0)
            line["min_rho"] = float(density.min())
            line["l1_err"] = float(np.abs(density - self.density(self.end)).sum()) * self.volume
        rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in line.items()}
        print(json.dumps({**rounded, **more}), flush=True)


def clock() -> float:
    """CPU seconds of this process: the machine may be shared."""
    return time.process_time()
