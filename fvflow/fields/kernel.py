"""Interaction kernels W(d), functions of the displacement between two points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fvflow.errors import CaseError
from fvflow.fields.expression import Expression, Parameters
from fvflow.mesh import Array

_QUADRATIC = 1e-9  # relative deviation from a quadratic form that is attributed to round-off


@dataclass(frozen=True)
class Kernel:
    """W(d) of the displacement d = (x, y, z) between two points, r = |d|.

    >>> Kernel(Expression("r**2/2 + x*y"))(np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    array([0.5, 4.5])
    """

    expression: Expression
    parameters: Parameters = field(default_factory=dict)

    def __call__(self, *displacement: Array) -> Array:
        """W, broadcast over the arrays of the components of d; not finite at a pole."""
        axes = dict(zip("xyz", displacement, strict=False))
        if "r" in self.expression.names:
            axes["r"] = np.sqrt(sum((part**2 for part in displacement), start=np.float64(0.0)))
        numbers = {name: np.float64(number) for name, number in self.parameters.items()}
        value: Any = self.expression(**axes, **numbers)
        return np.broadcast_to(np.asarray(value, float), np.broadcast_shapes(*(part.shape for part in displacement)))

    def curvature(self, bound: Array) -> Array:
        """Q (dim, dim) if W(d) = W(0) + d.Q d/2 for |d_i| <= bound_i (dim,); raises CaseError if W is not quadratic."""
        dimension = len(bound)
        corner = np.diag(bound)
        offsets = np.concatenate([np.zeros((1, dimension)), corner])
        pairs = (corner[:, None] + corner[None, :]).reshape(-1, dimension)
        origin, *single = self(*offsets.T)
        both = self(*pairs.T).reshape(dimension, dimension)
        form = (both - np.array(single)[:, None] - np.array(single)[None, :] + origin) / np.outer(bound, bound)
        random = (2 * np.random.default_rng(21).random((200, dimension)) - 1) * bound
        value = self(*random.T)
        deviation = np.abs(value - origin - 0.5 * ((random @ form) * random).sum(axis=1)).max()
        if not deviation <= _QUADRATIC * max(np.abs(value).max(), 1e-300):
            raise CaseError(f"the kernel {self.expression.text} is not a quadratic form; this closed form needs one")
        return np.asarray(form)
