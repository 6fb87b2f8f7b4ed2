"""Dynamic optimal transport: solvers of the Benamou-Brenier and Hamilton-Jacobi equations, and a proximal toolbox."""

from fvflow.transport.base import BaseTransportSolver
from fvflow.transport.expression_hamiltonian import ExpressionHamiltonian
from fvflow.transport.geodesic import Geodesic, cell_vectors
from fvflow.transport.hamilton_jacobi import hopf_lax, longest_step, slopes, solve
from fvflow.transport.hamiltonians import BaseHamiltonian, PowerHamiltonian, QuadraticHamiltonian
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual

Hamiltonian = QuadraticHamiltonian | PowerHamiltonian
TransportSolver = PrimalDual | InteriorPoint

__all__ = [
    "BaseHamiltonian",
    "BaseTransportSolver",
    "ExpressionHamiltonian",
    "Geodesic",
    "Hamiltonian",
    "InteriorPoint",
    "PowerHamiltonian",
    "PrimalDual",
    "QuadraticHamiltonian",
    "TransportSolver",
    "cell_vectors",
    "hopf_lax",
    "longest_step",
    "slopes",
    "solve",
]
