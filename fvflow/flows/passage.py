"""Times to reach a target, where it is reached, and the state before: without steps in time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le

from fvflow.errors import CaseError, NumericsError
from fvflow.exact import ClosedForm
from fvflow.fields import Parameters
from fvflow.flows.motion import Motion, SavedFields
from fvflow.flows.stationary import SteadyFlow
from fvflow.flows.target import Target, absorbing_too, listed, target_cells, target_walls
from fvflow.linalg import Direct, FaceMatrix, Krylov, inner
from fvflow.march import Progress
from fvflow.mesh import Array, Extent, Index, Mesh, Openings
from fvflow.mesh.arrays import freeze_index
from fvflow.problems import FokkerPlanck, OutputVariable, State
from fvflow.times import SingleFrame
from fvflow.walls import CellSet, Wall, case_openings

if TYPE_CHECKING:
    from fvflow.linalg.markov.absorbing import EndingChain

_MOST_CELLS = 2**16  # in three dimensions: a minute or two of elimination, four times as long for twice as many


@dataclass(frozen=True)
class EliminationFlow(SteadyFlow):
    """A flow that solves equations of the generator with openings by subtraction-free elimination.

    Meshes of more than 65536 cells in three dimensions are left to an iteration, the errors of which are proved.
    """

    def exact_fault(self, exact: ClosedForm) -> str:
        """Why it cannot be compared with a closed form: its density is none."""
        return f"flow {self.kind} has no closed form; leave it out"

    def describe(self, extent: Extent) -> str:
        """A phrase that describes the scheme."""
        method = "BiCGStab with multigrid" if large(extent) else "subtraction-free elimination of the cells"
        return f"{method}; {self.flux.kind} flux"

    def memory(self, extent: Extent) -> int:
        """Estimated memory of a run, bytes: mesh, matrix, and 24 per entry of L, as for flow stationary."""
        if large(extent):
            return 4000 * extent.cells
        return Krylov().memory(extent) + (100 * extent.cells if extent.dimension == 1 else Direct().memory(extent))


def large(extent: Extent) -> bool:
    """Whether a mesh has too many cells to eliminate."""
    return extent.dimension == 3 and extent.cells > _MOST_CELLS


@dataclass(frozen=True)
class PassageFlow(EliminationFlow):
    """A flow that asks when a target, or an absorbing wall or cell of the case, is reached."""

    target: Target | tuple[Target, ...] = ()
    """What has to be reached: `{wall: left}`, `{region: A}`, `{where: "x >= 1"}` or a list of these."""

    takes_openings: ClassVar[bool] = True
    needs_openings: ClassVar[bool] = True

    def absorbing(self, walls: Mapping[str, Wall], cells: tuple[CellSet, ...]) -> tuple[Any, tuple[CellSet, ...]]:
        """Also the target."""
        targets = listed(self.target)
        sets = dict.fromkeys((*target_cells(targets), *cells))  # each once
        return absorbing_too(walls, target_walls(targets)), tuple(sets)

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> FokkerPlanck:
        """The problem in arrays, still with closed walls; raises CaseError also for a target that the mesh lacks."""
        problem = super().problem(mesh, parameters, start)
        walls, cells = self.absorbing({}, ())
        case_openings(mesh, walls, cells, parameters)
        return problem

    def opened(self, problem: FokkerPlanck, openings: Openings) -> FokkerPlanck:
        """The problem with openings; raises CaseError if a part of the mesh cannot reach them."""
        return opened(problem, openings)


@dataclass(frozen=True)
class FirstPassageFlow(PassageFlow):
    """When and where the process d_t rho + div(rho v) = epsilon Lap rho first reaches a target, from every cell.

    The mean time tau and its variance s solve the backward equations

        v.grad tau + epsilon Lap tau = -1,    v.grad s + epsilon Lap s = -2 epsilon |grad tau|^2

    with no flux through closed walls and tau = s = 0 at the target, or at any other absorbing wall or cell of the case,
    in the discrete form that is exact for the jumps between cells. `splitting_NAME` is the probability to end at the
    target, wall or region of that name; together they are 1. `mean_first_passage_time` and
    `variance_first_passage_time` are those from `initial`, by default uniform. However rare passages are, all are
    accurate to round-off (fvflow.linalg.markov.absorbing). In three dimensions beyond 65536 cells the equations are
    solved by iteration, to a relative error that is proved, at most 1e-6 or refused
    (fvflow.linalg.markov.iterative_chain). Gardiner, Stochastic Methods, 2009, section 5.5.
    """

    moments: Annotated[int, Ge(1), Le(2)] = 1
    """1 for the mean time; 2 for its variance too."""
    kind: Literal["first-passage"] = "first-passage"
    figures: ClassVar[Mapping[str, str]] = {"residual": ""}

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """Mean and variance of the time."""
        return "mean_first_passage_time", "variance_first_passage_time"

    @property
    def drawn(self) -> tuple[str, ...]:
        """The mean time."""
        return ("mean_passage_time",)

    def motion(self, problem: FokkerPlanck, parameters: Parameters, saved: SavedFields) -> Motion:
        """None: its density is where passages start."""
        return Motion(fault="flow first-passage moves no density: its rho is where passages start; use fokker-planck")

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """The moments of the time."""
        found = {"mean_passage_time": OutputVariable(("cell",), "mean time until a target is reached from the cell")}
        if self.moments == 2:
            found["variance_passage_time"] = OutputVariable(("cell",), "variance of the time until a target is reached")
        return found

    def opening_fields(self, openings: Openings) -> dict[str, OutputVariable]:
        """The probability of each end."""
        text = "probability that the first target reached from the cell is {0}"
        return {f"splitting_{name}": OutputVariable(("cell",), text.format(name)) for name in openings.names}

    def states(
        self, problem: FokkerPlanck, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The initial density, with the times and probabilities as fields; raises NumericsError if rates underflow."""
        mesh, openings = problem.mesh, problem.openings
        assert openings is not None
        cells, chain = open_chain(problem)
        mean = chain.backward(mesh.volume[cells])
        fields = {"mean_passage_time": on_all(mesh, cells, mean)}
        figures = {"residual": chain.residual(mean, mesh.volume[cells])}
        share = (mesh.volume * initial.density)[cells] / initial.mass
        figures["mean_first_passage_time"] = expected = inner(share, mean)
        if self.moments == 2:
            variance = chain.variance(mean)
            fields["variance_passage_time"] = on_all(mesh, cells, variance)
            at_once = (1.0 - initial.remaining / initial.mass) * expected**2
            figures["variance_first_passage_time"] = inner(share, variance + (mean - expected) ** 2) + at_once
        for group, name in enumerate(openings.names):
            ending = chain.backward(leak_into(problem, openings.group == group)[cells])
            fields[f"splitting_{name}"] = on_all(mesh, cells, ending, openings.closed == group)
        yield replace(initial, fields=fields, figures=figures)


@dataclass(frozen=True)
class QuasiStationaryFlow(PassageFlow):
    """The density of d_t rho + div(rho v) = epsilon Lap rho, given that no target has been reached for a long time.

    It decays at the rate `quasi_stationary_rate` without changing its shape. Started in it, the time to the target, or
    to any absorbing wall or cell of the case, is exponential: this rate is the mean rate of exit from a well whose rim
    is the target. The density is scaled to the mass of the initial one, by default 1; `outflow_NAME` is what leaves at
    each target. In three dimensions beyond 65536 cells it comes from an iteration, its rate to a relative error that is
    proved of each solve. Collet, Martinez, San Martin, Quasi-Stationary Distributions, 2013. See
    fvflow.linalg.markov.quasi_stationary.
    """

    kind: Literal["quasi-stationary"] = "quasi-stationary"
    uses_initial: ClassVar[bool] = False
    figures: ClassVar[Mapping[str, str]] = {"residual": ""}

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """The rate."""
        return ("quasi_stationary_rate",)

    def opened(self, problem: FokkerPlanck, openings: Openings) -> FokkerPlanck:
        """The problem with openings; raises CaseError also if the cells left are not connected."""
        from fvflow.linalg.markov.absorbing import classes
        from fvflow.linalg.markov.stationary import submatrix

        problem = super().opened(problem, openings)
        cells = np.flatnonzero(openings.closed < 0)
        count = classes(submatrix(problem.matrix(problem.start, 1.0), cells))
        if count > 1:
            raise CaseError(
                f"the target leaves {count} parts of the mesh between which nothing passes, or in one direction only, "
                f"so that their densities decay apart; leave one part. Unless the target separates them, "
                f"{problem.without_rates()}"
            )
        return problem

    def states(
        self, problem: FokkerPlanck, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The quasi-stationary density; raises NumericsError if rates underflow or the iteration does not converge."""
        from fvflow.linalg.markov.quasi_stationary import quasi_stationary

        cells, chain = open_chain(problem)
        found = quasi_stationary(chain)
        density = on_all(problem.mesh, cells, initial.mass * found.density)
        state = State.initial(problem.mesh, density, initial.time, problem.openings)
        figures = {"quasi_stationary_rate": found.rate, "residual": found.residual}
        yield replace(state, iterations=found.iterations, figures=figures)


def opened(
    problem: FokkerPlanck, openings: Openings, consequence: str = "their passage time is infinite"
) -> FokkerPlanck:
    """The problem with openings; raises CaseError if their rates are not defined or a part cannot reach them."""
    from fvflow.linalg.markov.absorbing import reaches_opening

    problem = problem.opened(openings)
    assert problem.openings is not None
    openings = problem.openings
    try:
        leaks = problem.leaks(problem.start)
    except NumericsError as error:
        raise CaseError(str(error)) from None
    if (leaks < 0).any():
        raise CaseError("the flux is not monotone at the target; use flux scharfetter-gummel or a finer mesh")
    matrix, within = problem.matrix(problem.start, 1.0), openings.closed < 0
    stuck = within & ~reaches_opening(matrix)
    if stuck.any():
        link = np.where(problem.shut, 0.0, 1.0)
        ways = replace(matrix, down=link, up=link, leak=openings.by_cell(np.ones_like(leaks)))
        apart = bool((stuck & ~reaches_opening(ways)).any())
        cure = (
            "no face leads out of their part of the mesh; give it a target too, or another mesh"
            if apart
            else problem.without_rates()
        )
        never = f"{' or '.join(openings.names)}, so that {consequence}"
        raise CaseError(f"{_never(problem.mesh, stuck, never)}: {cure}")
    return problem


def _never(mesh: Mesh, stuck: Any, what: str) -> str:
    """A sentence on cells from which no target is ever reached."""
    first = int(np.flatnonzero(stuck)[0])
    place = ", ".join(f"{axis} = {value:.6g}" for axis, value in zip("xyz", mesh.centre[first], strict=False))
    inside = [name for name, share in mesh.regions.items() if share[first] >= 0.5]
    where = f"{place}, in {', '.join(inside)}" if inside else place
    return f"{int(stuck.sum())} cells never reach {what}, as the one at {where}"


def open_chain(problem: FokkerPlanck) -> tuple[Index, EndingChain]:
    """The cells that do not absorb, and their chain."""
    cells, matrix = _open_cells(problem)
    return cells, ending_chain(matrix, problem.mesh.extent)


def ending_chain(matrix: FaceMatrix, extent: Extent) -> EndingChain:
    """The chain of cells of a mesh, factorised unless that is too large; raises NumericsError if rates underflow."""
    from fvflow.linalg.markov.absorbing import AbsorbingChain
    from fvflow.linalg.markov.iterative_chain import IterativeChain

    return IterativeChain(matrix) if large(extent) else AbsorbingChain.of(matrix)


def _open_cells(problem: FokkerPlanck) -> tuple[Index, FaceMatrix]:
    """The cells that do not absorb, and their rates."""
    from fvflow.linalg.markov.stationary import submatrix

    assert problem.openings is not None
    cells = freeze_index(np.flatnonzero(problem.openings.closed < 0))
    return cells, submatrix(problem.matrix(problem.start, 1.0), cells)


def leak_into(problem: FokkerPlanck, chosen: Any) -> Array:
    """The rate (cell,) of leaving each cell through the chosen openings (opening,)."""
    assert problem.openings is not None
    return problem.openings.by_cell(np.where(chosen, problem.leaks(problem.start), 0.0))


def on_all(mesh: Mesh, cells: Index, values: Array, elsewhere: Any = 0.0) -> Array:
    """Values of some cells as values of all (cell,), those of the others being `elsewhere`, a number or (cell,)."""
    whole = np.full(mesh.cells, elsewhere, float)
    whole[cells] = values
    return whole
