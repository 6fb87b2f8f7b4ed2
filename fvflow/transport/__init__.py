"""Dynamic optimal transport: solvers of the Benamou-Brenier and Hamilton-Jacobi equations, and a proximal toolbox."""

from fvflow.transport.base import BaseTransportSolver
from fvflow.transport.bridge import BridgeFactors, fit, mean_square_distance, steepness
from fvflow.transport.expression_hamiltonian import ExpressionHamiltonian
from fvflow.transport.geodesic import Geodesic, cell_vectors
from fvflow.transport.hamilton_jacobi import hopf_lax, longest_step, slopes, solve
from fvflow.transport.hamiltonians import BaseHamiltonian, PowerHamiltonian, QuadraticHamiltonian
from fvflow.transport.interior_point import InteriorPoint
from fvflow.transport.primal_dual import PrimalDual
from fvflow.transport.reference_process import ReferenceProcess

Hamiltonian = QuadraticHamiltonian | PowerHamiltonian
TransportSolver = PrimalDual | InteriorPoint

__all__ = [
    "BaseHamiltonian",
    "BaseTransportSolver",
    "BridgeFactors",
    "ExpressionHamiltonian",
    "Geodesic",
    "Hamiltonian",
    "InteriorPoint",
    "PowerHamiltonian",
    "PrimalDual",
    "QuadraticHamiltonian",
    "ReferenceProcess",
    "TransportSolver",
    "cell_vectors",
    "fit",
    "hopf_lax",
    "longest_step",
    "mean_square_distance",
    "slopes",
    "solve",
    "steepness",
]
