"""Closed forms: each is read off a case and gives its density at any time, as initial data and as reference."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.ball import HeatBall
from fvflow.exact.barenblatt import Barenblatt
from fvflow.exact.gaussian import GaussianFlow, GaussianReference, check_linear, linear_drift, steady_moments
from fvflow.exact.geodesic import Affine, GaussianGeodesic, Quantiles
from fvflow.exact.gibbs import Gibbs
from fvflow.exact.heat import HeatBox
from fvflow.exact.recursion import GaussianRecursion
from fvflow.exact.setting import AtEquilibrium, FromExact, Reference, Setting
from fvflow.exact.tilted import TiltedBox
from fvflow.fields import Names
from fvflow.mesh import Array

Exact = (
    GaussianFlow
    | GaussianRecursion
    | HeatBox
    | HeatBall
    | Gibbs
    | Barenblatt
    | TiltedBox
    | GaussianGeodesic
    | Affine
    | Quantiles
)


def initial_density(setting: Setting, reference: Reference | None, names: Names, time: float = 0.0) -> Array:
    """Cell averages of the initial density (cell,), or of a target given as that at `time`, not yet of its mass.

    Raises CaseError where it is undefined.
    """
    if isinstance(setting.initial, AtEquilibrium):
        return Gibbs().on(setting).average(0.0)
    if isinstance(setting.initial, FromExact):
        if reference is None:
            raise CaseError("kind exact needs an exact solution; add exact: {kind: ...}")
        return reference.average(time)
    return np.asarray(setting.initial.sample(setting.mesh, names))


__all__ = [
    "Affine",
    "AtEquilibrium",
    "Barenblatt",
    "Exact",
    "FromExact",
    "GaussianFlow",
    "GaussianGeodesic",
    "GaussianRecursion",
    "GaussianReference",
    "Gibbs",
    "HeatBall",
    "HeatBox",
    "Quantiles",
    "Reference",
    "Setting",
    "TiltedBox",
    "check_linear",
    "initial_density",
    "linear_drift",
    "steady_moments",
]
