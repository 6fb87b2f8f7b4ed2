"""Dynamic optimal transport: solvers of the Benamou-Brenier problem, and their proximal parts."""

from fvflow.transport.geodesic import Geodesic, cell_vectors
from fvflow.transport.hamilton_jacobi import Power, Quadratic, hopf_lax, solve
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual

Hamiltonian = Quadratic | Power
TransportSolver = PrimalDual | InteriorPoint

__all__ = [
    "Geodesic",
    "Hamiltonian",
    "InteriorPoint",
    "Power",
    "PrimalDual",
    "Quadratic",
    "TransportSolver",
    "cell_vectors",
    "hopf_lax",
    "solve",
]
