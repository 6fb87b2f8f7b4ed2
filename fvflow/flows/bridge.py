"""The Schroedinger bridge: the most likely evolution between two densities for particles of a linear equation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import CaseError
from fvflow.exact import FromExact
from fvflow.fields import Density, Parameters
from fvflow.flows.bridge_motion import BridgeMotion
from fvflow.flows.linear import LinearFlow
from fvflow.flows.linear_motion import LinearMotion
from fvflow.flows.motion import Motion, SavedFields
from fvflow.linalg import rescale_to_mass
from fvflow.march import Progress, given_steps
from fvflow.mesh import Array, Extent, Mesh
from fvflow.problems import Bridge, FokkerPlanck, OutputVariable, State
from fvflow.time_error import HALVES
from fvflow.times import TimeGrid, Times

if TYPE_CHECKING:
    from fvflow.transport.bridge import BridgeFactors
    from fvflow.transport.reference_process import ReferenceProcess

_STEEP = 0.3  # change of log g between cells beyond which jumps of the lattice are no diffusion


@dataclass(frozen=True)
class BridgeFlow(LinearFlow):
    """The law of paths from `initial` to `target` that is nearest to a linear equation, in relative entropy.

    The equation is d_t rho + div(rho v) = epsilon Lap rho. rho = f g, where f (`forward`) solves it and g (`backward`)
    its backward equation. The particles have the drift v + 2 epsilon grad log g (field `drift`); rho moves with the
    velocity v + epsilon grad log(g/f) (field `v`). On the cells it is a Markov chain, whose rates are those of the
    scheme times g_L/g_K: `target` is reached, and mass conserved, to round-off. Kernels are exact exponentials for a
    steady v; if v depends on t it is that of the middle of each step. `kl` is the relative entropy of the bridge with
    respect to the equation that starts from `initial`; without a drift, 4 epsilon T kl tends to W2^2 as epsilon does to
    0. Schroedinger 1931; Leonard, A survey of the Schroedinger problem, Discrete Contin. Dyn. Syst. 34 (2014).
    """

    target: Density | FromExact = field(kw_only=True)
    """The density at the end."""
    tolerance: Annotated[float, Ge(1e-14), Le(1e-2)] = 1e-13
    """Largest L1 distance of the density at the end from the target, as a fraction of the mass."""
    rounds: Annotated[int, Ge(1)] = 10_000
    """Most rounds of the iteration."""
    kind: Literal["bridge"] = "bridge"

    steps_in_time: ClassVar[bool] = False
    looks_ahead: ClassVar[bool] = True
    tells_crossing: ClassVar[bool] = True
    judged_at_every_time: ClassVar[bool] = True
    figures: ClassVar[Mapping[str, str]] = {"marginal_error": "", "kl_error": "with exact: {kind: bridge}"}

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """KL, and the mean square distance of the ends."""
        return "kl", "mean_square_distance"

    @property
    def end_density(self) -> Density | FromExact:
        """The target."""
        return self.target

    @property
    def order_in_time(self) -> float:
        """Infinite for a steady reference, else 2: its rates are those at the middle of each step."""
        return math.inf if self.steady({}) else 2.0

    @property
    def velocity_fault(self) -> str:
        """It is stored in any case."""
        return super().velocity_fault or "flow bridge stores v and drift in any case; leave it out"

    @property
    def flux_fault(self) -> str:
        """Only a full tensor has no fluxes through faces."""
        return super().velocity_fault

    @property
    def at_walls(self) -> str:
        """Nothing leaves, and mass ends where the target is."""
        return "no flux; paths of the reference are reflected"

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if the case has none, or steps chosen by their error."""
        if times is None:
            raise CaseError("is missing")
        if times.adaptive is not None:
            raise CaseError("a bridge needs steps that are given: write step: 0.1, say")
        return times

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Bridge:
        """The problem in arrays, without its target; raises CaseError if the reference is no process with diffusion."""
        reference = super().problem(mesh, parameters, start)
        if self.factor == 0:
            raise CaseError("a bridge needs diffusion, as without it there is one path only; set epsilon above 0")
        if not reference.monotone:
            raise CaseError(
                f"flux {self.flux.kind} is not monotone at this drift, so that its rates are no probabilities; use "
                "flux scharfetter-gummel"
            )
        return Bridge.of(reference)

    def in_state(self, problem: Bridge, state: State) -> Bridge:
        """The problem with the factors of a state, which its fluxes depend on."""
        return replace(problem, forward=state.fields["forward"], backward=state.fields["backward"])

    def motion(self, problem: Any, parameters: Parameters, saved: SavedFields) -> Motion:
        """The velocity of the bridge at points, and the drift of its particles."""
        reference = super().motion(problem.reference, parameters, saved)
        assert isinstance(reference, LinearMotion)
        return BridgeMotion(problem, saved, reference, fault=reference.fault)

    def states(
        self, problem: Bridge, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """The bridge after every step; raises NumericsError if the iteration does not converge."""
        from fvflow.transport.bridge import fit
        from fvflow.transport.reference_process import ReferenceProcess

        assert problem.target is not None
        mesh, begin = problem.mesh, times.save_time(0)
        nodes = [begin, *(end for _, end in given_steps(times, begin))]
        reference, saves = ReferenceProcess(problem.reference, nodes), set(times.save_times)
        kept = [node for node, time in enumerate(nodes) if time in saves]
        factors = fit(
            reference,
            mesh.volume * initial.density,
            mesh.volume * problem.target,
            self.tolerance,
            self.rounds,
            _places(mesh),
            None if progress is None else progress.iteration,
            initial.iterate,
        )
        figures, backward = self._figures(reference, factors, problem), _backward(reference, factors, kept)
        f, matrix = factors.forward, reference.problem.matrix(begin, times.span)
        for step, time in enumerate(nodes):
            g, crossed = next(backward), initial.crossed
            if step == 0:  # g_0 by other products than in `fit`, which round in another way
                f = f * (initial.mass / float(f @ g))
            else:
                before = f
                f = reference.forward(before, step - 1, step)
                crossed = None if crossed is None else reference.crossed(step - 1, before, g)
            solution = rescale_to_mass(matrix, f * g / mesh.volume, initial.mass)
            if step == len(nodes) - 1:
                missed = float(mesh.volume @ np.abs(solution.density - problem.target))
                figures["marginal_error"] = missed / initial.mass
            yield replace(
                initial,
                time=time,
                step=step,
                density=solution.density,
                correction=solution.correction,
                iterations=factors.rounds if step == 1 else 0,
                crossed=crossed,
                fields=self._fields(problem, f / mesh.volume, g, time) if time in saves else {},
                figures=dict(figures),
                iterate=None,
            )

    def _figures(self, reference: ReferenceProcess, factors: BridgeFactors, problem: Bridge) -> dict[str, float]:
        from fvflow.transport.bridge import mean_square_distance, steepness

        figures = {
            "kl": factors.relative_entropy(),
            "rounds": factors.rounds,
            "steepness": steepness(reference, factors),
        }
        if factors.unreached:
            figures["unreached"] = factors.unreached
        if not problem.mesh.periodic and problem.mesh.revolution is None:
            figures["mean_square_distance"] = mean_square_distance(reference, factors, problem.mesh)
        return figures

    def _fields(self, problem: Bridge, forward: Array, backward: Array, time: float) -> dict[str, Array]:
        """Factors, drift and velocity in the cells."""
        from fvflow.transport.geodesic import cell_vectors

        found = {"forward": forward, "backward": backward}
        if self.full:
            return found
        problem = replace(problem, forward=forward, backward=backward)
        for name, normal in (("drift", problem.face_drift(time)), ("v", problem.face_velocity(forward, time))):
            vectors = cell_vectors(problem.mesh, normal)
            found |= {f"{name}_{axis}": vectors[:, at] for at, axis in enumerate("xyz"[: problem.mesh.dimension])}
        return found

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Factors, drift and velocity."""
        text = "solution of the {} equation; rho is the product of both"
        found = {name: OutputVariable(("cell",), text.format(name)) for name in ("forward", "backward")}
        texts = {"drift": "drift of the particles of the bridge", "v": "velocity of rho"}
        for name, what in texts.items():
            for axis in "xyz"[: 0 if self.full else mesh.dimension]:
                long_name = f"{what} along {axis}, nan where or beside where a factor is 0"
                found[f"{name}_{axis}"] = OutputVariable(("cell",), long_name, signed=True)
        return found

    def told(self, figures: Mapping[str, float]) -> Iterator[str]:
        """The lattice regime, and a target that is left out where the reference does not come."""
        if (steep := figures["steepness"]) > _STEEP:
            yield (
                f"between neighbouring cells the factors of the bridge change by a factor of {math.exp(steep):.3g} "
                "(rms, weighted by mass), so that kl and the path are those of jumps on a lattice rather than of "
                "diffusion; use smaller cells, a larger epsilon or a later end"
            )
        if (unreached := figures.get("unreached", 0.0)) > 0:
            yield f"{100 * unreached:.1e} % of the mass is in cells that the reference does not reach, and is left out"

    def positive_step(self, problem: FokkerPlanck) -> float:
        """Infinite: the factors are sums and products of what is >= 0."""
        return math.inf

    def error_in_time_note(self, problem: FokkerPlanck, times: TimeGrid) -> str:
        """None for a steady reference."""
        if problem.steady:
            return "none: the method is exact in time"
        return f"not estimated, as the equation depends on t; {HALVES}"

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return f"iterative proportional fitting to {self.tolerance:g}, kernels of {self.flux.describe(self.factor)}"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes."""
        from fvflow.linalg.markov.axis_exponentials import LONGEST_LINE
        from fvflow.transport.reference_process import MOST_KEPT

        lines = 32 * min(extent.cells, LONGEST_LINE) ** 2 if extent.grid else 0
        exponentials = 0 if self.steady({}) else 8 * MOST_KEPT
        return 600 * extent.dimension * extent.cells + lines + exponentials

    def frame_memory(self, extent: Extent) -> int:
        """g."""
        return 8 * extent.cells


def _places(mesh: Mesh) -> Callable[[int], str]:
    """Where a cell is, in words."""
    return lambda cell: ", ".join(f"{axis} = {at:.6g}" for axis, at in zip("xyz", mesh.centre[cell], strict=False))


def _backward(reference: ReferenceProcess, factors: BridgeFactors, kept: Sequence[int]) -> Iterator[Array]:
    """g (cell,) at every node of the reference, from the first one on.

    Those at the nodes `kept` are computed first; those between two of them are computed anew when they are needed.
    """
    saved = {kept[-1]: factors.backward}
    for before, after in reversed(list(pairwise(kept))):
        saved[before] = reference.backward(saved[after], after, before)
    yield saved[kept[0]]
    for before, after in pairwise(kept):
        between = [saved[after]]
        for node in reversed(range(before + 1, after)):
            between.append(reference.backward(between[-1], node + 1, node))
        yield from reversed(between)
