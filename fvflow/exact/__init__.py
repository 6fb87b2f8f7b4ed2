"""Closed forms: each is read off a case and gives its density at any time, as initial data and as reference."""

from __future__ import annotations

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact.ball import HeatBall
from fvflow.exact.barenblatt import Barenblatt
from fvflow.exact.facts import AtEquilibrium, Facts, FromExact, Reference
from fvflow.exact.gaussian import GaussianFlow, GaussianReference, check_linear, linear_drift, steady_moments
from fvflow.exact.gaussian_jko import GaussianJKO
from fvflow.exact.geodesic import AffineGeodesic, GaussianGeodesic, Quantiles
from fvflow.exact.gibbs import Gibbs
from fvflow.exact.heat import HeatBox
from fvflow.exact.tilted import TiltedBox
from fvflow.fields import Names
from fvflow.mesh import Array

Exact = (
    GaussianFlow
    | GaussianJKO
    | HeatBox
    | HeatBall
    | Gibbs
    | Barenblatt
    | TiltedBox
    | GaussianGeodesic
    | AffineGeodesic
    | Quantiles
)


def sample_density(facts: Facts, reference: Reference | None, names: Names, time: float = 0.0) -> Array:
    """Cell averages of the initial density (cell,), or of a target given as that at `time`, not yet of its mass.

    Raises CaseError where it is undefined.
    """
    if isinstance(facts.initial, AtEquilibrium):
        return Gibbs().on(facts).average(0.0)
    if isinstance(facts.initial, FromExact):
        if reference is None:
            raise CaseError("kind exact needs an exact solution; add exact: {kind: ...}")
        return reference.average(time)
    return np.asarray(facts.initial.sample(facts.mesh, names))


__all__ = [
    "AffineGeodesic",
    "AtEquilibrium",
    "Barenblatt",
    "Exact",
    "Facts",
    "FromExact",
    "GaussianFlow",
    "GaussianGeodesic",
    "GaussianJKO",
    "GaussianReference",
    "Gibbs",
    "HeatBall",
    "HeatBox",
    "Quantiles",
    "Reference",
    "TiltedBox",
    "check_linear",
    "linear_drift",
    "sample_density",
    "steady_moments",
]
