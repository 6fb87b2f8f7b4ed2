"""All metrics, by name."""

from __future__ import annotations

from fvflow.studies.score.fields import Crmse, MaxError, Nmse, Nrmse, PearsonR, Rmse, Vrmse
from fvflow.studies.score.kernels import EnergyDistance, LinearMmd, PolynomialMmd, RbfMmd, ScalarMmd
from fvflow.studies.score.laws import Continuity, EnergyDissipation, EvolutionInequality, WeakResidual
from fvflow.studies.score.likelihood import LogLikelihood, Mass, SymmetricKl
from fvflow.studies.score.maps import Cosine, JkoFunctional, L2Uvp
from fvflow.studies.score.metric import Metric
from fvflow.studies.score.moments import BuresUvp
from fvflow.studies.score.spectra import Boundary, FourierHigh, FourierLow, FourierMid
from fvflow.studies.score.transport import W1, W2, OneStepEmd, SlicedW2, W2Interval

_KINDS: tuple[type[Metric], ...] = (
    W1,
    W2,
    W2Interval,
    SlicedW2,
    OneStepEmd,
    EnergyDistance,
    RbfMmd,
    ScalarMmd,
    LinearMmd,
    PolynomialMmd,
    BuresUvp,
    L2Uvp,
    Cosine,
    JkoFunctional,
    Rmse,
    Nrmse,
    Nmse,
    Vrmse,
    Crmse,
    MaxError,
    Boundary,
    FourierLow,
    FourierMid,
    FourierHigh,
    PearsonR,
    SymmetricKl,
    LogLikelihood,
    Mass,
    WeakResidual,
    Continuity,
    EnergyDissipation,
    EvolutionInequality,
)
METRICS: dict[str, Metric] = {kind.name: kind() for kind in _KINDS}
"""The metrics by name; a new one is a class derived from `Metric` and an entry here."""
