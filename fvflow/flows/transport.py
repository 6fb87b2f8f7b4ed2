"""Dynamic optimal transport between two densities."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import FromExact
from fvflow.fields import Density, Parameters
from fvflow.flows.base import BaseFlow
from fvflow.march import Progress
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import OutputVariable, State, Transport
from fvflow.times import Times
from fvflow.transport import Geodesic, PrimalDual, TransportSolver, cell_vectors
from fvflow.wasserstein import bounds, bounds_available


@dataclass(frozen=True)
class TransportFlow(BaseFlow):
    """The geodesic from `initial` to `target` on 0 <= t <= 1: min int |m|^2/(2 rho) with d_t rho + div m = 0.

    W2 is told as a proved interval for the densities that are constant in cells, `w2` being the solver's value or the
    end of the interval that it is beyond (its own error is that of the discretisation in time and space).

    Benamou, Brenier, A computational fluid mechanics solution to the Monge-Kantorovich mass transfer problem, Numer.
    Math. 84 (2000); notes, equations (44)-(57) and (73).
    """

    target: Density | FromExact
    """The density at t = 1."""
    intervals: Annotated[int, Ge(2), Le(4096)]
    """Number of equal time intervals."""
    solver: TransportSolver = PrimalDual()
    """The solver of the dynamic problem."""
    width: Annotated[float, Gt(0), Le(1)] = 1e-4
    """Relative width of the proved interval around W2 that is aimed at."""
    accept: bool = False
    """Whether a path is accepted although the solver did not converge."""
    kind: Literal["transport"] = "transport"

    judged_at_every_time: ClassVar[bool] = True
    figures = dict.fromkeys(
        (
            "w2_error",
            "w2_solver_error",
            "gap",
            "repair",
            "continuity",
            "hamilton_jacobi",
            "hamilton_jacobi_excess",
            "residual",
        ),
        "",
    )

    @property
    def end_density(self) -> Density | FromExact:
        """The target."""
        return self.target

    def undescribed(self) -> tuple[str, ...]:
        """Nothing: the ends are all there is."""
        return ()

    def positive_step(self, problem: Transport) -> float:
        """Infinite: densities are made admissible after the solve, and how much that took is reported."""
        return math.inf

    def schedule(self, times: Times | None) -> Times:
        """The N + 1 time nodes; raises CaseError if the case has times of its own."""
        if times is not None:
            raise CaseError("a geodesic runs from 0 to 1 in `intervals`; leave times out")
        step = 1.0 / self.intervals
        return Times(1.0, step, step)

    def problem(self, mesh: Mesh, parameters: Parameters) -> Transport:
        """The problem in arrays, without its target; raises CaseError where the solver does not fit the mesh."""
        self.solver.fits(mesh)
        return Transport(mesh)

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """What is stored of each time beside rho."""
        axes = "xyz"[: mesh.dimension]
        vectors = {f"v_{a}": OutputVariable(("cell",), f"velocity grad(phi) along {a}") for a in axes}
        vectors |= {
            f"m_{a}": OutputVariable(("cell",), f"momentum along {a}, the mean of the intervals before and after")
            for a in axes
        }
        return {"phi": OutputVariable(("cell",), "potential of the velocity"), **vectors}

    def face_fields(self) -> dict[str, OutputVariable]:
        """What is stored on the faces."""
        return {
            "momentum": OutputVariable(
                ("face",), "momentum towards the neighbour, in the interval that ends here (the first, at 0)"
            ),
            "velocity": OutputVariable(
                ("face",), "velocity towards the neighbour, in the interval that ends here (the first, at 0)"
            ),
        }

    def states(
        self, problem: Transport, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """The nodes of the geodesic; raises NumericsError if the solver does not converge and that is not accepted."""
        assert problem.target is not None
        mesh, start, end = problem.mesh, initial.density, problem.target
        report = None if progress is None else progress.iteration
        found = self.solver.solve(mesh, start, end, self.intervals, report)
        if not (found.converged or self.accept):
            raise NumericsError(
                f"solver {self.solver.kind} stopped after {found.iterations} iterations at the residual "
                f"{found.residual:.1e} (tolerance {self.solver.tolerance:g}); allow more iterations, a larger "
                "tolerance, or say accept: true"
            )
        figures = self._figures(problem, found)
        for index, fields in enumerate(_nodes(found)):
            yield replace(
                initial,
                time=times.save_time(index),
                step=index,
                density=found.density[index],
                iterations=found.iterations if index == 1 else 0,
                fields=fields,
                figures=figures,
            )

    def _figures(self, problem: Transport, found: Geodesic) -> dict[str, float]:
        inside, excess = found.hamilton_jacobi_errors()
        figures = {"w2": found.w2, "w2_solver": found.w2, "action": 0.5 * found.w2**2}
        if bounds_available(problem.mesh):
            ends, phi = (found.density[0], found.density[-1]), found.nodal_potential()[-1]
            proved = bounds(problem.mesh, *ends, phi, width=self.width)
            figures["w2"] = min(max(found.w2, proved.lower), proved.upper)
            figures |= {"w2_lower": proved.lower, "w2_upper": proved.upper, "gap": proved.width}
        return figures | {
            "duality_gap": found.gap,
            "residual": found.residual,
            "repair": found.repair,
            "continuity": found.continuity(),
            "hamilton_jacobi": inside,
            "hamilton_jacobi_excess": excess,
            "converged": float(found.converged),
        }

    def describe(self, extent: Extent) -> str:
        """A sentence on the scheme."""
        return self.solver.describe()

    def memory(self, extent: Extent) -> int:
        """Bytes that the run will hold at once, roughly."""
        return self.solver.memory(extent, self.intervals)


def _nodes(found: Geodesic) -> Iterator[dict[str, Array]]:
    """The cell and face fields of each time node."""
    mesh, last = found.mesh, len(found.flux) - 1
    for node, phi in enumerate(found.nodal_potential()):
        before, after = max(node - 1, 0), min(node, last)
        momentum = cell_vectors(mesh, 0.5 * (found.flux[before] + found.flux[after]))
        velocity = cell_vectors(mesh, (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance)
        inner = found.potential[before]
        fields = {"phi": phi}
        for axis, name in zip(range(mesh.dimension), "xyz", strict=False):
            fields[f"v_{name}"], fields[f"m_{name}"] = velocity[:, axis], momentum[:, axis]
        fields["momentum"] = found.flux[before]
        fields["velocity"] = np.asarray((inner[mesh.neighbour] - inner[mesh.owner]) / mesh.distance)
        yield fields


def equal_masses(initial: float, target: float, tolerance: float) -> None:
    """Refuse densities between which there is no transport: CaseError."""
    if not abs(initial - target) <= tolerance * max(initial, target):
        raise CaseError(
            f"the target has the mass {target:.9g}, the initial density {initial:.9g}; transport needs equal ones: set "
            "mass in both"
        )
