"""Dynamic optimal transport: solvers of the Benamou-Brenier and Hamilton-Jacobi equations, and a proximal toolbox."""

from fvflow.transport.base import BaseTransportSolver
from fvflow.transport.hamiltonians import BaseHamiltonian, PowerHamiltonian, QuadraticHamiltonian
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual

Hamiltonian = QuadraticHamiltonian | PowerHamiltonian
TransportSolver = PrimalDual | InteriorPoint

__all__ = [
    "BaseHamiltonian",
    "BaseTransportSolver",
    "Hamiltonian",
    "InteriorPoint",
    "PowerHamiltonian",
    "PrimalDual",
    "QuadraticHamiltonian",
    "TransportSolver",
]
