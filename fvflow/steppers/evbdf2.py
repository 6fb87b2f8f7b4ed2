"""The extrapolated variational BDF2 scheme: second-order minimising movements."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from fvflow.errors import NumericsError
from fvflow.linalg import Auto, Direct, SymmetricSolver, UpwindTriangular, divergence, factorise
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import GradientFlow, State
from fvflow.steppers.base import GradientStepperBase, Step
from fvflow.steppers.fallible import FallibleStep, with_fallback
from fvflow.steppers.jko import JKO, LJKO
from fvflow.steppers.mesh_system import MeshSystemSolver
from fvflow.steppers.schur import sparse

_LARGEST_HELD_BACK = (
    1e-2  # largest outflow that the extrapolation may ask for beyond what cells hold, relative to the mass
)
_VACUUM = 1e-10  # relative to the mean: faces with less density are closed, as round-off of masses would drive them


@dataclass(frozen=True)
class EVBDF2(GradientStepperBase):
    """A JKO step from an extrapolation along the geodesic through the last two densities: order 2 in time and space.

    With the last step t', the current step t and r = t/t', rho^n is extrapolated along the geodesic of the last step
    for the time s = t' r^2/(1 + 2r), and a centred JKO step of length t (1 + r)/(1 + 2r) starts from there; for equal
    steps these are t/3 and 2t/3. The potential of the geodesic at the midpoint of the last step solves

        |K| (rho^n_K - rho^{n-1}_K) + t' sum_s T_s m_s D_s = 0,

    where m_s is the mean of the densities of the two cells of s before and after that step. It is extrapolated to the
    midpoint of the extrapolation as phi* = phi + (t' + s)/2 |grad phi|^2/2, and transports rho^n by a midpoint rule.
    Gallouet, Natale, Todeschi, From geodesic extrapolation to a variational BDF2 scheme for Wasserstein gradient flows,
    2022. The first step is a JKO step. At fronts in vacuum the extrapolation takes from a cell no more than it holds,
    and the step is counted as `reduced`. A step that does not converge, or whose extrapolation would take more than
    1e-2 of the mass beyond that, is taken by `ljko` instead and counted as a fallback.
    """

    tolerance: Annotated[float, Gt(0), Lt(1e-3)] = 1e-12
    """Residual of Newton's method, as a fraction of the mass; 100 times as large for the potential."""
    iterations: Annotated[int, Ge(1)] = 40
    """Largest number of Newton iterations; a step that needs more is taken by an interior point."""
    kind: Literal["evbdf2"] = "evbdf2"
    tells_crossing = True
    error_fault = "longer steps of this method do not tell it reliably; compare with a run in steps half as long"
    order = 2
    order_in_space = 2
    growth = 1.5  # an extrapolation over a step twice as long as the last one is inaccurate

    @property
    def solver(self) -> SymmetricSolver:
        """The solver of its Newton systems, by the size of the mesh."""
        return Auto()

    def positive_step(self, problem: GradientFlow) -> float:
        """Infinite: a step that would be negative is taken by `ljko`."""
        return math.inf

    def memory(self, extent: Extent) -> int:
        """Estimated bytes of a run: whatever solves the Newton systems, the extrapolation factorises a matrix."""
        return Direct().symmetric_memory(extent)

    def start(self, problem: GradientFlow) -> Step:
        """The step as a function."""
        take = with_fallback(self._start_fallible(problem), LJKO().start(problem))

        def step(state: State, length: float) -> State:
            return replace(take(state, length), previous=state.density, length=length)

        return step

    def _start_fallible(self, problem: GradientFlow) -> FallibleStep:
        system, triangular = MeshSystemSolver(problem.mesh), UpwindTriangular(problem.mesh)
        jko = JKO(intervals=1, tolerance=self.tolerance, iterations=self.iterations).start_fallible(problem)

        def step(state: State, length: float) -> State:
            if state.previous is None:
                return jko(state, length)
            ratio = length / state.length
            duration = state.length * ratio**2 / (1.0 + 2.0 * ratio)
            found = _extrapolated(problem, system, triangular, state, duration, self.tolerance)
            density, before, reduced = found
            after = jko(replace(state, density=density), length * (1.0 + ratio) / (1.0 + 2.0 * ratio))
            crossed = None if after.crossed is None else before + after.crossed
            return replace(after, time=state.time + length, dissipated=0.0, reduced=reduced, crossed=crossed)

        return system.remembering(self.kind, step)


def _extrapolated(
    problem: GradientFlow,
    system: MeshSystemSolver,
    triangular: UpwindTriangular,
    state: State,
    duration: float,
    tolerance: float,
) -> tuple[Array, Array, int]:
    """rho^n (cell,) moved along the geodesic of the last step for this time, and what has crossed each face (face,).

    With them, whether more than `tolerance` of the mass was held back where the density would have been negative.
    Raises NumericsError if that is too much.
    """
    mesh = problem.mesh
    with np.errstate(all="ignore"):
        phi, conductance = _geodesic_potential(problem, system, state, duration)
        flux = _midpoint_flux(mesh, state, duration, phi, conductance)
    masses, limited, held_back = triangular.limit_outflow(flux, phi, mesh.volume * state.density)
    if held_back > _LARGEST_HELD_BACK * state.mass:
        raise NumericsError("the extrapolation would empty cells")
    return masses / mesh.volume, limited, int(held_back > tolerance * state.mass)


def _geodesic_potential(
    problem: GradientFlow, system: MeshSystemSolver, state: State, duration: float
) -> tuple[Array, Array]:
    """phi* (cell,) at the midpoint of the extrapolation, and the conductances (face,), 0 in vacuum."""
    assert state.previous is not None
    mesh, before, now, last = problem.mesh, state.previous, state.density, state.length
    owner, neighbour = mesh.owner, mesh.neighbour
    quarter = 0.25 * (before + now)
    mean = quarter[owner] + quarter[neighbour]
    inside = mean > _VACUUM * state.mass / float(mesh.volume.sum())
    conductance = np.where(inside, problem.conductance, 0.0)
    flow = last * conductance * mean
    total = np.bincount(owner, flow, mesh.cells) + np.bincount(neighbour, flow, mesh.cells)
    diagonal: Array = np.where(total > 0, total, 1.0)
    phi = system.inverse(owner, neighbour, -flow, diagonal)(mesh.volume * (before - now))
    drop = phi[owner] - phi[neighbour]
    square = conductance * drop**2
    sums = np.bincount(owner, square, mesh.cells) + np.bincount(neighbour, square, mesh.cells)
    kinetic = sums / (4.0 * mesh.volume)
    return phi + 0.5 * (last + duration) * kinetic, conductance


def _midpoint_flux(mesh: Mesh, state: State, duration: float, phi: Array, conductance: Array) -> Array:
    """The mass through each face (face,) as rho^n is transported along phi by the midpoint rule."""
    now, owner, neighbour = state.density, mesh.owner, mesh.neighbour
    speed = 0.25 * duration * conductance * (phi[owner] - phi[neighbour])
    cells = np.arange(mesh.cells, dtype=np.int32)
    own = mesh.volume + divergence(mesh, speed)
    matrix = sparse([own, speed, -speed], [cells, owner, neighbour], [cells, neighbour, owner]).tocsc()
    end = factorise(matrix).solve(mesh.volume * now - divergence(mesh, speed * (now[owner] + now[neighbour])))
    total = end + now
    return np.asarray(speed * (total[owner] + total[neighbour]))
