"""Closed forms: each is read off a case and gives its density at any time, as initial data and as reference."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.barenblatt import Barenblatt
from fvflow.exact.gaussian import GaussianFlow, GaussianReference, check_linear, linear_drift, steady_moments
from fvflow.exact.gibbs import Gibbs
from fvflow.exact.heat import HeatBox
from fvflow.exact.recursion import GaussianRecursion
from fvflow.exact.setting import AtEquilibrium, FromExact, Reference, Setting
from fvflow.exact.tilted import TiltedBox
from fvflow.fields import Names
from fvflow.mesh import Array

Exact = GaussianFlow | GaussianRecursion | HeatBox | Gibbs | Barenblatt | TiltedBox


def initial_density(setting: Setting, reference: Reference | None, names: Names) -> Array:
    """Cell averages of the case's initial density (cell,), not yet of its mass; raises CaseError where undefined."""
    if isinstance(setting.initial, AtEquilibrium):
        return Gibbs().on(setting).average(0.0)
    if isinstance(setting.initial, FromExact):
        if reference is None:
            raise CaseError("initial exact needs an exact solution; add exact: {kind: ...}")
        return reference.average(0.0)
    return np.asarray(setting.initial.sample(setting.mesh, names))


__all__ = [
    "AtEquilibrium",
    "Barenblatt",
    "Exact",
    "FromExact",
    "GaussianFlow",
    "GaussianRecursion",
    "GaussianReference",
    "Gibbs",
    "HeatBox",
    "Reference",
    "Setting",
    "TiltedBox",
    "check_linear",
    "initial_density",
    "linear_drift",
    "steady_moments",
]
