"""Energies: what a gradient flow descends."""

from fvflow.energies.interaction import InteractionTerm
from fvflow.energies.kinds import Energy, Entropy, Interaction, PorousMedium, Potential, PowerLaw
from fvflow.energies.terms import EntropyTerm, PotentialTerm, PowerTerm, Term
from fvflow.energies.total import Sum

__all__ = [
    "Energy",
    "Entropy",
    "EntropyTerm",
    "Interaction",
    "InteractionTerm",
    "PorousMedium",
    "Potential",
    "PotentialTerm",
    "PowerLaw",
    "PowerTerm",
    "Sum",
    "Term",
]
