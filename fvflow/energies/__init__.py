"""Energies of gradient flows: as a case specifies them, on a mesh, and their sum."""

from fvflow.energies.base import EnergyKind, EnergyTerm
from fvflow.energies.convexity import Convexity
from fvflow.energies.interaction import InteractionTerm
from fvflow.energies.kinds import Energy, Entropy, Interaction, PorousMedium, Potential, PowerLaw
from fvflow.energies.terms import EntropyTerm, PotentialTerm, PowerTerm
from fvflow.energies.total import TotalEnergy

__all__ = [
    "Convexity",
    "Energy",
    "EnergyKind",
    "EnergyTerm",
    "Entropy",
    "EntropyTerm",
    "Interaction",
    "InteractionTerm",
    "PorousMedium",
    "Potential",
    "PotentialTerm",
    "PowerLaw",
    "PowerTerm",
    "TotalEnergy",
]
