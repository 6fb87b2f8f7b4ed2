"""Dynamic optimal transport: solvers of the Benamou-Brenier problem, and their proximal parts."""

from fvflow.transport.geodesic import Geodesic, cell_vectors
from fvflow.transport.hamilton_jacobi import PowerHamiltonian, QuadraticHamiltonian, hopf_lax, solve
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual

Hamiltonian = QuadraticHamiltonian | PowerHamiltonian
TransportSolver = PrimalDual | InteriorPoint

__all__ = [
    "Geodesic",
    "Hamiltonian",
    "InteriorPoint",
    "PowerHamiltonian",
    "PrimalDual",
    "QuadraticHamiltonian",
    "TransportSolver",
    "cell_vectors",
    "hopf_lax",
    "solve",
]
