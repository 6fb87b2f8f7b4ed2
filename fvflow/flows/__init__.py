"""The flows that a case can run; each defines an equation, its discretisation and an iterator of states."""

from fvflow.flows.backward import BackwardFlow
from fvflow.flows.barycentre import BarycentreFlow
from fvflow.flows.base import BaseFlow
from fvflow.flows.committor import CommittorFlow
from fvflow.flows.flow_map import FlowMapFlow
from fvflow.flows.fokker_planck import FokkerPlanckFlow
from fvflow.flows.gradient_flow import WassersteinFlow
from fvflow.flows.hamilton_jacobi import HamiltonJacobiFlow
from fvflow.flows.particles import ParticleFlow
from fvflow.flows.passage import FirstPassageFlow, QuasiStationaryFlow
from fvflow.flows.stationary import SpectrumFlow, StationaryFlow, SteadyFlow
from fvflow.flows.target import Target
from fvflow.flows.transport import TransportFlow, equal_masses

Flow = (
    FokkerPlanckFlow
    | BackwardFlow
    | StationaryFlow
    | SpectrumFlow
    | FirstPassageFlow
    | CommittorFlow
    | QuasiStationaryFlow
    | WassersteinFlow
    | TransportFlow
    | BarycentreFlow
    | HamiltonJacobiFlow
    | ParticleFlow
    | FlowMapFlow
)

__all__ = [
    "BackwardFlow",
    "BarycentreFlow",
    "BaseFlow",
    "CommittorFlow",
    "FirstPassageFlow",
    "Flow",
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
    "equal_masses",
]
