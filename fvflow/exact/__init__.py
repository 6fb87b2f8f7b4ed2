"""Closed forms: each takes its parameters from a case and gives the density at any time."""

from __future__ import annotations

from fvflow.exact.ball import HeatBall
from fvflow.exact.barenblatt import Barenblatt
from fvflow.exact.base import ClosedForm, FromExact, Reference, density_errors
from fvflow.exact.bridge import GaussianBridge
from fvflow.exact.facts import ISOTHERMAL, VARYING, Facts
from fvflow.exact.gaussian import GaussianReference, GaussianSolution, check_linear, linear_drift, steady_moments
from fvflow.exact.gaussian_jko import GaussianJKO
from fvflow.exact.geodesic import AffineGeodesic, GaussianGeodesic, Quantiles
from fvflow.exact.gibbs import AtEquilibrium, Gibbs
from fvflow.exact.heat import HeatBox
from fvflow.exact.log_gas import LogGas
from fvflow.exact.mean_field_gibbs import MeanFieldGibbs
from fvflow.exact.second_moment import SecondMoment
from fvflow.exact.tilted import TiltedBox

Exact = (
    GaussianSolution
    | GaussianJKO
    | HeatBox
    | HeatBall
    | Gibbs
    | LogGas
    | MeanFieldGibbs
    | SecondMoment
    | Barenblatt
    | TiltedBox
    | GaussianGeodesic
    | GaussianBridge
    | AffineGeodesic
    | Quantiles
)


__all__ = [
    "ISOTHERMAL",
    "VARYING",
    "AffineGeodesic",
    "AtEquilibrium",
    "Barenblatt",
    "ClosedForm",
    "Exact",
    "Facts",
    "FromExact",
    "GaussianBridge",
    "GaussianGeodesic",
    "GaussianJKO",
    "GaussianReference",
    "GaussianSolution",
    "Gibbs",
    "HeatBall",
    "HeatBox",
    "LogGas",
    "MeanFieldGibbs",
    "Quantiles",
    "Reference",
    "SecondMoment",
    "TiltedBox",
    "check_linear",
    "density_errors",
    "linear_drift",
    "steady_moments",
]
