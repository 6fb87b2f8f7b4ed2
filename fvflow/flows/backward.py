"""The backward equation, the exact adjoint of the forward one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from fvflow.errors import CaseError
from fvflow.exact import ClosedForm
from fvflow.fields import Drift, Parameters, SteadyFunction, as_function, files_of
from fvflow.flows.fokker_planck import FokkerPlanckFlow
from fvflow.linalg import inner
from fvflow.march import Due, Progress, given_steps
from fvflow.mesh import Array, Extent, Mesh, Openings
from fvflow.problems import FokkerPlanck, OutputVariable, State
from fvflow.steppers import Step
from fvflow.time_error import TimeErrorMonitor
from fvflow.times import TimeGrid, Times


@dataclass(frozen=True)
class BackwardFlow(FokkerPlanckFlow):
    """d_t phi + v . grad phi + epsilon Lap phi = 0, phi(end) given, with the forward equation beside it.

    phi(x, t) is the mean of the final values over the paths that start in x at t; at absorbing walls it is 0. It runs
    backward by the adjoint of each forward step, so that sum_K |K| phi_K rho_K, stored as `pairing`, is the same at all
    times but for round-off, for every rho that the forward equation carries: rho of the result, which starts from
    `initial`. The notes, equations (30)-(38). Steps are those that are given; phi of all saved times is in memory.
    """

    final: SteadyFunction = field(kw_only=True)
    """phi at the end of the run, an expression in x, y, z or a table."""
    kind: Literal["backward"] = "backward"  # type: ignore[assignment]
    undivided = "flow backward runs on one rank"

    needs_initial: ClassVar[bool] = False
    sharp_stepper: ClassVar[str] = ""
    looks_ahead: ClassVar[bool] = True
    passes: ClassVar[int] = 2
    sized: ClassVar[str] = "phi in L1"
    figures: ClassVar[Mapping[str, str]] = {"duality": ""}
    uncorrelated: ClassVar[str] = "nothing is left"

    correlations: ClassVar[Mapping[str, str]] = {
        "covariance": "covariance of {0} at this time with the final values at the end, along the paths"
    }

    def leaping(self, problem: FokkerPlanck, initial: State, times: Times, due: Due) -> Iterator[State] | None:
        """None: phi comes with every saved state."""
        return None

    def travel(self, problem: FokkerPlanck, initial: State, times: Times, monitor: Any, out: Any) -> None:
        """None: phi comes with every saved state."""

    def error_in_time(self, problem: FokkerPlanck, times: TimeGrid) -> TimeErrorMonitor | None:
        """None of rho: that of phi is estimated on the way back."""
        return None

    def error_in_time_note(self, problem: FokkerPlanck, times: TimeGrid) -> str:
        """Whether that of phi is estimated."""
        watch = self._watch(problem, times)
        return (
            super().error_in_time_note(problem, times) if watch is None else watch.told(times.steps, "that of phi is ")
        )

    def _watch(self, problem: FokkerPlanck, times: TimeGrid) -> TimeErrorMonitor | None:
        """What estimates the error of phi from its values in the time that is left until the end, if anything does."""

        def start() -> Step:
            back = self.stepper.adjoint(problem)
            return lambda left, length: left.advanced(length, back(left.density, stop - left.time - length, length))

        stop = times.stop
        return self._monitor(problem, start)

    def correlated(self, problem: FokkerPlanck, state: State, values: Array) -> Mapping[str, float]:
        """Cov(f(X_t), final(X_end)) of the paths that are left at t, nan if none is.

        The final value of those that are absorbed later is 0.
        """
        weight, phi = problem.mesh.volume * state.density, state.fields["phi"]
        if not state.remaining:
            return {"covariance": math.nan}
        mean, expected = inner(weight, values) / state.remaining, inner(weight, phi) / state.remaining
        return {"covariance": inner(weight, (values - mean) * (phi - expected)) / state.remaining}

    @property
    def drawn(self) -> tuple[str, ...]:
        """phi, which the equation is about."""
        return ("phi",)

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the tables that drift and final values are made of."""
        return (*super().files, *files_of(self.final))

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form: those that there are are densities."""
        return "flow backward has no closed form; leave out exact and check duality instead"

    def schedule(self, times: Times | None) -> Times:
        """The times of the run; raises CaseError if the case has none, or steps chosen by their error."""
        found = super().schedule(times)
        if found.adaptive is not None:
            raise CaseError("the backward equation goes back over steps that are given: write step: 0.01, say")
        return found

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays; raises CaseError if the stepper has no exact adjoint or phi is not finite."""
        problem = super().problem(mesh, parameters, start)
        self.stepper.for_adjoint(mesh.extent).adjoint(problem)
        final = as_function(self.final).at(mesh.centre, parameters, 0.0, mesh.regions)
        return replace(problem, final=final)

    def opened(self, problem: FokkerPlanck, openings: Openings) -> FokkerPlanck:
        """The problem on a mesh with openings, where phi is 0 in absorbing cells."""
        problem = super().opened(problem, openings)
        assert problem.final is not None
        return replace(problem, final=np.where(openings.closed < 0, problem.final, 0.0))

    def equation(self, mesh: Mesh, drift: Drift) -> FokkerPlanck:
        """The equation as the stepper discretises it, with a solver that has an exact transpose."""
        return self.stepper.for_adjoint(mesh.extent).discretise(mesh, drift, self.factor, self.flux)

    def states(
        self, problem: FokkerPlanck, initial: State, times: Times, progress: Progress | None = None
    ) -> Iterator[State]:
        """Every state of the forward run, with phi at the saved times."""
        forward = replace(self, stepper=self.stepper.for_adjoint(problem.mesh.extent))
        saved, error = forward._values(problem, initial, times, progress)
        volume, tally = problem.mesh.volume, initial.tally
        of_run = {} if math.isnan(error) else {"time_error": error}
        if initial.iterate is not None:
            initial = replace(initial, iterate=None, iterations=0)
        for state in FokkerPlanckFlow.states(forward, problem, initial, times, progress):
            if state.time not in saved:
                yield replace(state, tally=tally)
                continue
            phi = saved[state.time]
            pairing, size = inner(volume * state.density, phi), inner(volume * state.density, np.abs(phi))
            lowest, highest, first = (pairing, pairing, size) if tally is None else tally
            tally = np.array([min(lowest, pairing), max(highest, pairing), first])
            fields = {"phi": phi, "pairing": np.asarray(pairing)}
            figures = {"duality": _change(*tally), **of_run} if state.time == times.stop else {}
            yield replace(state, fields=fields, figures=figures, tally=tally)

    def _values(
        self, problem: FokkerPlanck, initial: State, times: Times, progress: Progress | None
    ) -> tuple[dict[float, Array], float]:
        """phi (cell,) at every saved time, and the largest estimate of its error in time, relative to its L1 norm.

        A run that is stopped before its first step goes on from `iterate`.
        """
        steps = list(given_steps(times, times.save_time(0)))
        begins = [times.save_time(0), *(end for _, end in steps[:-1])]
        back, saves = self.stepper.adjoint(problem), set(times.save_times)
        assert problem.final is not None
        watch = self._watch(problem, times)
        fresh: Mapping[str, Any] = {"count": 0, "phi": problem.final, "saved": [problem.final], "error": None}
        done = fresh if initial.iterate is None else initial.iterate
        phi, saved = done["phi"], list(done["saved"])
        if watch is not None and done["error"] is not None:
            watch.restore(done["error"])
        elif watch is not None:
            watch(_sized(phi, problem.mesh, 0.0))
        for count in range(done["count"] + 1, len(steps) + 1):
            (length, _), begin = steps[-count], begins[-count]
            phi = back(phi, begin, length)
            if watch is not None:
                watch(_sized(phi, problem.mesh, times.stop - begin))
            if begin in saves:
                saved.append(phi)
                if watch is not None:
                    watch.saved()
            if progress is not None and initial.step == 0:
                iterate = {"count": count, "phi": phi, "saved": saved, "error": watch and watch.to_tree()}
                progress.iteration(count, 1.0 - count / len(steps), iterate)
        return dict(zip(reversed(times.save_times), saved, strict=True)), math.nan if watch is None else watch.largest

    def frame_memory(self, extent: Extent) -> int:
        """phi."""
        return 8 * extent.cells

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """phi."""
        return {"phi": OutputVariable(("cell",), "solution of the backward equation", signed=True)}

    def scalars(self) -> dict[str, OutputVariable]:
        """The pairing of phi and rho."""
        return {"pairing": OutputVariable((), "sum |K| phi rho, which does not depend on time")}

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        return f"exact adjoint of {replace(self, stepper=self.stepper.for_adjoint(extent)).forward_method(extent)}"

    def forward_method(self, extent: Extent) -> str:
        """The scheme of the forward equation."""
        return super().describe(extent)


def _sized(phi: Array, mesh: Mesh, left: float) -> State:
    """phi as a state, the time of which is that left until the end and the mass of which is its L1 norm."""
    return State(left, phi, max(inner(mesh.volume, np.abs(phi)), float(np.finfo(float).tiny)))


def _change(lowest: float, highest: float, size: float) -> float:
    """The largest difference between two pairings, relative to the size (pairing of rho and |phi|) of the first."""
    return float((highest - lowest) / size if size > 0 else highest - lowest)
