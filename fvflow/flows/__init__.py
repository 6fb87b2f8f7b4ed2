"""The flows that a case can run; each defines an equation, its discretisation and an iterator of states.

A flow is imported when a case names it: all together take as long as a short run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvflow.deferred import Kinds, deferred
from fvflow.flows.base import BaseFlow

if TYPE_CHECKING:
    from fvflow.flows.backward import BackwardFlow
    from fvflow.flows.barycentre import BarycentreFlow
    from fvflow.flows.bridge import BridgeFlow
    from fvflow.flows.committor import CommittorFlow
    from fvflow.flows.flow_map import FlowMapFlow
    from fvflow.flows.fokker_planck import FokkerPlanckFlow
    from fvflow.flows.gradient_flow import WassersteinFlow
    from fvflow.flows.hamilton_jacobi import HamiltonJacobiFlow
    from fvflow.flows.particles import ParticleFlow
    from fvflow.flows.passage import FirstPassageFlow, QuasiStationaryFlow
    from fvflow.flows.stationary import SpectrumFlow, StationaryFlow, SteadyFlow
    from fvflow.flows.target import Target
    from fvflow.flows.transport import TransportFlow

FLOWS: Kinds[BaseFlow] = Kinds(
    __name__,
    {
        "fokker-planck": "fokker_planck.FokkerPlanckFlow",
        "backward": "backward.BackwardFlow",
        "stationary": "stationary.StationaryFlow",
        "spectrum": "stationary.SpectrumFlow",
        "first-passage": "passage.FirstPassageFlow",
        "committor": "committor.CommittorFlow",
        "quasi-stationary": "passage.QuasiStationaryFlow",
        "gradient-flow": "gradient_flow.WassersteinFlow",
        "transport": "transport.TransportFlow",
        "bridge": "bridge.BridgeFlow",
        "barycentre": "barycentre.BarycentreFlow",
        "hamilton-jacobi": "hamilton_jacobi.HamiltonJacobiFlow",
        "particles": "particles.ParticleFlow",
        "flow-map": "flow_map.FlowMapFlow",
    },
)
"""The flows by their kinds."""

__getattr__ = deferred(__name__, {**FLOWS.modules, "SteadyFlow": "stationary", "Target": "target"})

__all__ = [
    "FLOWS",
    "BackwardFlow",
    "BarycentreFlow",
    "BaseFlow",
    "BridgeFlow",
    "CommittorFlow",
    "FirstPassageFlow",
    "FlowMapFlow",
    "FokkerPlanckFlow",
    "HamiltonJacobiFlow",
    "ParticleFlow",
    "QuasiStationaryFlow",
    "SpectrumFlow",
    "StationaryFlow",
    "SteadyFlow",
    "Target",
    "TransportFlow",
    "WassersteinFlow",
]


def __dir__() -> list[str]:
    return sorted(__all__)
