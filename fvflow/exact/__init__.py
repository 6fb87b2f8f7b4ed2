"""Closed forms: each is read off a case and gives its density at any time, as initial data and as reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fvflow.exact.gaussian import GaussianFlow, GaussianReference, linear_drift, steady_moments
from fvflow.exact.gibbs import Gibbs
from fvflow.exact.heat import HeatBox
from fvflow.exact.setting import Reference, Setting

Exact = GaussianFlow | HeatBox | Gibbs


@dataclass(frozen=True)
class FromExact:
    """The case's exact solution at time 0."""

    kind: Literal["exact"] = "exact"


__all__ = [
    "Exact",
    "FromExact",
    "GaussianFlow",
    "GaussianReference",
    "Gibbs",
    "HeatBox",
    "Reference",
    "Setting",
    "linear_drift",
    "steady_moments",
]
