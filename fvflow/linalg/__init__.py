"""Linear solvers for `FaceMatrix`; each solve ends by restoring the total mass to round-off."""

from fvflow.linalg.amg import Multigrid, ReusedAMG
from fvflow.linalg.base import LinearSolver, SymmetricSolver
from fvflow.linalg.direct.chain import invert_on_chain
from fvflow.linalg.direct.factorisation import Direct, factorise, least_degree_order
from fvflow.linalg.direct.neighbour_system import NeighbourSystem
from fvflow.linalg.direct.nested_dissection import elimination_order
from fvflow.linalg.direct.reused_factors import ReusedFactors
from fvflow.linalg.direct.symmetric import assemble_symmetric
from fvflow.linalg.direct.tridiagonal import Tridiagonal
from fvflow.linalg.faces import dissipated_by_owners, drop_between, flux_between
from fvflow.linalg.factor_cache import FactorCache
from fvflow.linalg.fixed_pattern import FixedPattern
from fvflow.linalg.grid.itinerary import Itinerary, Journey, travel
from fvflow.linalg.grid.locally_one_dimensional import LocallyOneDimensional, SplitSweeps
from fvflow.linalg.krylov import Krylov
from fvflow.linalg.markov.stationary import LARGEST_ELIMINATION
from fvflow.linalg.markov.uniformization import (
    RecurrenceStep,
    chebyshev_growth_bound,
    jump_rate,
    mean_after_jump,
    recurrence_step,
)
from fvflow.linalg.matrix import (
    FaceMatrix,
    Solution,
    Solve,
    TransposedSolve,
    divergence,
    is_chain,
    rescale_to_mass,
    total_variation,
)
from fvflow.linalg.reused import SolverMemory
from fvflow.linalg.second_kind import solve_second_kind
from fvflow.linalg.selection import LARGEST_DIRECT, Auto, Solver, describe_solver, resolve_solver
from fvflow.linalg.upwind_triangular import UpwindTriangular
from fvflow.sums import inner

__all__ = [
    "LARGEST_DIRECT",
    "LARGEST_ELIMINATION",
    "Auto",
    "Direct",
    "FaceMatrix",
    "FactorCache",
    "FixedPattern",
    "Itinerary",
    "Journey",
    "Krylov",
    "LinearSolver",
    "LocallyOneDimensional",
    "Multigrid",
    "NeighbourSystem",
    "RecurrenceStep",
    "ReusedAMG",
    "ReusedFactors",
    "Solution",
    "Solve",
    "Solver",
    "SolverMemory",
    "SplitSweeps",
    "SymmetricSolver",
    "TransposedSolve",
    "Tridiagonal",
    "UpwindTriangular",
    "assemble_symmetric",
    "chebyshev_growth_bound",
    "describe_solver",
    "dissipated_by_owners",
    "divergence",
    "drop_between",
    "elimination_order",
    "factorise",
    "flux_between",
    "inner",
    "invert_on_chain",
    "is_chain",
    "jump_rate",
    "least_degree_order",
    "mean_after_jump",
    "recurrence_step",
    "rescale_to_mass",
    "resolve_solver",
    "solve_second_kind",
    "total_variation",
    "travel",
]
