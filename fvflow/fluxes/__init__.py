"""Two-point fluxes, and how well the cells resolve the drift for them."""

from fvflow.fluxes.base import CellResolution, FluxKind
from fvflow.fluxes.kinds import (
    Centred,
    Flux,
    ScharfetterGummel,
    SquareRoot,
    Upwind,
    bernoulli,
    scharfetter_gummel,
)
from fvflow.fluxes.resolution import RESOLVED, FaceResolution

__all__ = [
    "RESOLVED",
    "CellResolution",
    "Centred",
    "FaceResolution",
    "Flux",
    "FluxKind",
    "ScharfetterGummel",
    "SquareRoot",
    "Upwind",
    "bernoulli",
    "scharfetter_gummel",
]
