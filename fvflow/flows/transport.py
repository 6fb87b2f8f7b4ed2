"""Dynamic optimal transport between two densities: the geodesic of W2."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import FromExact
from fvflow.fields import Density, Parameters
from fvflow.flows.base import BaseFlow
from fvflow.flows.motion import Motion, PotentialMotion, SavedFields
from fvflow.march import Progress
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import OutputVariable, State, Transport
from fvflow.times import TimeGrid, Times
from fvflow.transport import PrimalDual, TransportSolver

if TYPE_CHECKING:
    from fvflow.transport.geodesic import Geodesic


@dataclass(frozen=True)
class TransportFlow(BaseFlow):
    """The geodesic from `initial` to `target` on 0 <= t <= 1: min int |m|^2/(2 rho) with d_t rho + div m = 0.

    The run reports a proved interval for W2 between the densities that are constant in each cell. `w2` is the solver's
    value, whose error is that of the discretisation in time and space, clipped to the interval.

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
    """Target for the relative width of the proved interval around W2."""
    accept: bool = False
    """Whether a path is accepted although the solver did not converge."""
    kind: Literal["transport"] = "transport"
    homogeneous = True

    def in_intervals(self, factor: float) -> TransportFlow:
        """With `intervals` over the factor, at least 2."""
        return replace(self, intervals=max(2, round(self.intervals / factor)))

    steps_in_time: ClassVar[bool] = False
    judged_at_every_time: ClassVar[bool] = True
    figures: ClassVar[Mapping[str, str]] = dict.fromkeys(
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
        """The target density."""
        return self.target

    def undescribed(self) -> tuple[str, ...]:
        """Nothing: the end densities determine the geodesic."""
        return ()

    def positive_step(self, problem: Transport) -> float:
        """Infinite: densities are made admissible after the solve, and the size of the correction is reported."""
        return math.inf

    def schedule(self, times: Times | None) -> Times:
        """The N + 1 time nodes; raises CaseError if the case gives times."""
        if times is not None:
            raise CaseError("a geodesic runs from 0 to 1 in `intervals`; leave times out")
        step = 1.0 / self.intervals
        return Times(1.0, step, step, start=0.0)

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Transport:
        """The problem in arrays, without its target; raises CaseError if the solver does not fit the mesh."""
        self.solver.fits(mesh)
        return Transport(mesh)

    noted: ClassVar[str] = "oscillation"

    def notes(self, problem: Transport) -> Iterator[str]:
        """Where the densities between the ends are not to be trusted cell by cell."""
        if self.solver.oscillates(problem.mesh):
            yield (
                "off grids the densities between the ends oscillate from cell to cell, and converge slowly; W2 and the "
                "potential do not: use a mesh of kind box where the densities matter"
            )

    def error_in_time_note(self, problem: Transport, times: TimeGrid) -> str:
        """Nothing: the proved interval around W2 tells."""
        return ""

    def motion(self, problem: Transport, parameters: Parameters, saved: SavedFields) -> Motion:
        """v = grad phi, linear in time between the nodes."""
        from fvflow.reconstruction import SavedValues

        return PotentialMotion(
            saved=saved,
            values=lambda frame: SavedValues(saved.field("phi", frame)),
            factor=1.0,
            drift_fault="flow transport has no drift but its velocity",
        )

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Potential, velocity and momentum in the cells."""
        axes = "xyz"[: mesh.dimension]
        vectors = {f"v_{a}": OutputVariable(("cell",), f"velocity grad(phi) along {a}", signed=True) for a in axes}
        vectors |= {
            f"m_{a}": OutputVariable(
                ("cell",), f"momentum along {a}, the mean of the intervals before and after", signed=True
            )
            for a in axes
        }
        return {"phi": OutputVariable(("cell",), "potential of the velocity"), **vectors}

    def face_fields(self) -> dict[str, OutputVariable]:
        """Momentum and velocity through the faces."""
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
        """The geodesic at its nodes; raises NumericsError if the solver does not converge, unless `accept` is set."""
        assert problem.target is not None
        mesh, start, end = problem.mesh, initial.density, problem.target
        report = None if progress is None else progress.iteration
        geodesic = self.solver.solve(mesh, start, end, self.intervals, report, initial.iterate)
        if not (geodesic.converged or self.accept):
            raise NumericsError(
                f"solver {self.solver.kind} stopped after {geodesic.iterations} iterations at the residual "
                f"{geodesic.residual:.1e} (tolerance {self.solver.tolerance:g}); allow more iterations, a larger "
                "tolerance, or say accept: true"
            )
        figures = self._figures(problem, geodesic)
        for index, fields in enumerate(_nodes(geodesic)):
            yield replace(
                initial,
                time=times.save_time(index),
                step=index,
                density=geodesic.density[index],
                iterations=geodesic.iterations if index == 1 else 0,
                fields=fields,
                figures=figures,
                iterate=None,
            )

    def _figures(self, problem: Transport, geodesic: Geodesic) -> dict[str, float]:
        """W2 with its bounds, and the errors of the geodesic."""
        from fvflow.wasserstein import bounds, bounds_available

        error, excess = geodesic.hamilton_jacobi_errors()
        figures = {"w2": geodesic.w2, "w2_solver": geodesic.w2, "action": 0.5 * geodesic.w2**2}
        if bounds_available(problem.mesh):
            ends, phi = (geodesic.density[0], geodesic.density[-1]), geodesic.nodal_potential()[-1]
            proved = bounds(problem.mesh, *ends, phi, width=self.width)
            figures["w2"] = min(max(geodesic.w2, proved.lower), proved.upper)
            figures |= {"w2_lower": proved.lower, "w2_upper": proved.upper, "gap": proved.width}
        if not math.isnan(geodesic.gap):  # nan: the scheme proves none
            figures["duality_gap"] = geodesic.gap
        return figures | {
            "residual": geodesic.residual,
            "repair": geodesic.repair,
            "continuity": geodesic.continuity(),
            "hamilton_jacobi": error,
            "hamilton_jacobi_excess": excess,
            "converged": float(geodesic.converged),
        }

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return self.solver.describe()

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes."""
        return self.solver.memory(extent, self.intervals)


def _nodes(geodesic: Geodesic) -> Iterator[dict[str, Array]]:
    """Cell and face fields at each time node."""
    from fvflow.transport.geodesic import cell_vectors

    mesh, last = geodesic.mesh, len(geodesic.flux) - 1
    for node, phi in enumerate(geodesic.nodal_potential()):
        before, after = max(node - 1, 0), min(node, last)
        momentum = cell_vectors(mesh, 0.5 * (geodesic.flux[before] + geodesic.flux[after]))
        velocity = cell_vectors(mesh, (phi[mesh.neighbour] - phi[mesh.owner]) / mesh.distance)
        interval_phi = geodesic.potential[before]
        fields = {"phi": phi}
        for axis, name in zip(range(mesh.dimension), "xyz", strict=False):
            fields[f"v_{name}"], fields[f"m_{name}"] = velocity[:, axis], momentum[:, axis]
        fields["momentum"] = geodesic.flux[before]
        fields["velocity"] = np.asarray((interval_phi[mesh.neighbour] - interval_phi[mesh.owner]) / mesh.distance)
        yield fields
