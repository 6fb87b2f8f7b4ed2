"""Dynamic optimal transport: solvers of the Benamou-Brenier problem, and their proximal parts."""

from fvflow.transport.geodesic import Geodesic, cell_vectors
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual

TransportSolver = PrimalDual | InteriorPoint

__all__ = ["Geodesic", "InteriorPoint", "PrimalDual", "TransportSolver", "cell_vectors"]
