"""What a case can choose to run; each flow names its physics and makes an iterator of states."""

from fvflow.flows.fokker_planck import FokkerPlanckFlow
from fvflow.flows.gradient_flow import WassersteinFlow

Flow = FokkerPlanckFlow | WassersteinFlow

__all__ = ["Flow", "FokkerPlanckFlow", "WassersteinFlow"]
