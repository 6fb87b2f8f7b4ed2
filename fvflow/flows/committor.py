"""Transitions between two sets: the committor, the reactive current and the rate, without steps in time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields import Parameters
from fvflow.flows.passage import EliminationFlow, ending_chain, large, leak_into, on_all, opened
from fvflow.flows.target import Target, listed, target_cells, target_walls
from fvflow.linalg import inner
from fvflow.march import Progress
from fvflow.mesh import Array, Index, Mesh, Openings
from fvflow.mesh.arrays import freeze_index
from fvflow.problems import FokkerPlanck, OutputVariable, State
from fvflow.times import SingleFrame
from fvflow.walls import REST, case_openings, named

_DEFECT = 1e-6  # relative difference of the four rates beyond which an iteration is refused
_ROUND_OFF = 1e-13  # of the rate at which a drift leaves a cell


@dataclass(frozen=True, eq=False)
class Transitions(FokkerPlanck):
    """The equation with closed walls, and the same with two sets that absorb."""

    ends: FokkerPlanck = field(kw_only=True)
    """The equation in which both sets absorb."""
    side: Index = field(kw_only=True)
    """0 for each group of its openings that belongs to `from`, 1 for `to` (group,)."""


@dataclass(frozen=True)
class CommittorFlow(EliminationFlow):
    """Transitions of d_t rho + div(rho v) = epsilon Lap rho between two sets, in its steady state rho.

    The committor q is the probability to reach `to` before `from`: v.grad q + epsilon Lap q = 0, q = 0 in `from` and 1
    in `to`. `backward_committor` is the probability to have been in `from` later than in `to`, 1 - q if the drift is a
    gradient. `reactive_flux` (in /faces) is the net mass per unit time on its way from one to the other. `rate` is the
    number of transitions per unit time for mass 1; it is computed in four ways, which differ by `rate_defect`. Over the
    share of the mass that was last in `from`, it is `forward_rate_constant`; `backward_rate_constant` is that of the
    way back. However rare transitions are, all are accurate to round-off if the drift is a gradient
    (fvflow.linalg.markov.transition_paths). In three dimensions beyond 65536 cells the equations are solved by
    iteration; a `rate_defect` above 1e-6 is refused there. E, Vanden-Eijnden, Towards a theory of transition paths, J.
    Stat. Phys. 123 (2006).
    """

    from_: Target | tuple[Target, ...] = field(kw_only=True)
    """Where transitions start: `{wall: left}`, `{region: A}`, `{where: "x <= -1"}` or a list of these."""
    to: Target | tuple[Target, ...] = field(kw_only=True)
    """Where they end."""
    kind: Literal["committor"] = "committor"
    figures: ClassVar[Mapping[str, str]] = {"residual": "", "rate_defect": ""}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (listed(self.from_) and listed(self.to)):
            raise CaseError('from and to need a target each: {wall: left}, {region: A} or {where: "x >= 1"}')

    @property
    def converging_figures(self) -> tuple[str, ...]:
        """The rates."""
        return "rate", "forward_rate_constant", "backward_rate_constant"

    @property
    def drawn(self) -> tuple[str, ...]:
        """The committor."""
        return ("committor",)

    def exact_fault(self, exact: Any) -> str:
        """Its density is the steady state, which can be compared with one."""
        return "" if exact.stationary else super().exact_fault(exact)

    def problem(self, mesh: Mesh, parameters: Parameters, start: float = 0.0) -> Transitions:
        """The problem in arrays; raises CaseError for sets that the mesh lacks, or that overlap or touch."""
        problem = super().problem(mesh, parameters, start)
        ends, side = self._ends(mesh, parameters)
        own = {item.name: getattr(problem, item.name) for item in fields(problem) if item.init}
        return Transitions(**own, ends=opened(problem, ends, "the committor is not defined there"), side=side)

    def _ends(self, mesh: Mesh, parameters: Parameters) -> tuple[Openings, Index]:
        """The openings of both sets, and the side of each group."""
        both = listed(self.from_), listed(self.to)
        walls, sets = [target_walls(part) for part in both], [target_cells(part) for part in both]
        if shared := sorted(set(walls[0]) & set(walls[1])):
            raise CaseError(f"from and to share wall {shared[0]}; leave it out of one of them")
        cells = [*sets[0], *sets[1]]
        found = case_openings(mesh, dict.fromkeys((*walls[0], *walls[1]), "absorbing"), cells, parameters)
        assert found is not None
        names = list(named(cells))
        start = {*walls[0], *names[: len(sets[0])]}
        stop = {*walls[1], *names[len(sets[0]) :]}
        other = int(REST in stop)  # of the walls that only `rest` names
        side = np.array([0 if name in start else 1 if name in stop else other for name in found.names])
        _require_apart(mesh, found, side, [name for name in found.names if name not in names])
        return found, side

    def fields(self, mesh: Mesh) -> dict[str, OutputVariable]:
        """Both committors."""
        return {
            "committor": OutputVariable(("cell",), "probability to reach `to` before `from`"),
            "backward_committor": OutputVariable(("cell",), "probability to have been in `from` later than in `to`"),
        }

    def face_fields(self) -> dict[str, OutputVariable]:
        """The reactive current; not with a full tensor, which moves mass along diagonals too."""
        if self.full:
            return {}
        text = "net mass per unit time that crosses the face on its way from `from` to `to`, from owner to neighbour"
        return {"reactive_flux": OutputVariable(("face",), text)}

    def states(
        self, problem: Transitions, initial: State, times: SingleFrame, progress: Progress | None = None
    ) -> Iterator[State]:
        """The steady state with committors and current; raises NumericsError if rates underflow."""
        from fvflow.linalg.markov.detailed_balance import in_balance
        from fvflow.linalg.markov.stationary import component_masses, stationary_density, submatrix
        from fvflow.linalg.markov.transition_paths import transition_paths

        mesh, openings = problem.mesh, problem.ends.openings
        assert openings is not None
        start, closed = problem.start, openings.closed
        masses = component_masses(mesh.volume, initial.density, mesh.components)
        matrix = problem.matrix(start, 1.0)
        steady = stationary_density(
            matrix, mesh.components, masses, mesh.dimension, reason=problem.without_rates
        ).density
        cells = freeze_index(np.flatnonzero(closed < 0))
        balanced = in_balance(matrix, steady)
        if not balanced and not steady[cells].all():
            raise NumericsError(
                f"the steady density is 0 or below all doubles in {np.sum(steady[cells] == 0)} cells, and where mass "
                f"there comes from is not known: {problem.without_rates()}, or a domain without these cells"
            )
        side, coming = problem.side[openings.group], _coming_out(problem, steady, balanced)
        into = _of_sides(side, lambda chosen: leak_into(problem.ends, chosen)[cells])
        between = replace(submatrix(problem.ends.matrix(start, 1.0), cells), leak=into[0] + into[1])
        paths = transition_paths(
            ending_chain(between, mesh.extent),
            steady[cells],
            into,
            _of_sides(side, lambda chosen: openings.by_cell(np.where(chosen, coming, 0.0))[cells]),
            balanced,
            problem.without_rates,
        )
        if large(mesh.extent) and not paths.rate_defect <= _DEFECT:
            raise NumericsError(
                f"four ways to the rate differ by {paths.rate_defect:.1e} (allowed: {_DEFECT:.0e}), as transitions are "
                "too rare for the iteration; use a mesh small enough for elimination, or a larger epsilon"
            )
        within = np.where(closed >= 0, problem.side[closed], -1)  # the side of each absorbing cell
        forward, backward = on_all(mesh, cells, paths.to_b, within == 1), on_all(mesh, cells, paths.from_a, within == 0)
        mass = mesh.volume * steady
        last = inner(mass, backward), inner(mass, on_all(mesh, cells, paths.from_b, within == 1))
        leaving = np.where(side == 0, -coming * forward[openings.cell], 0.0)
        leaving += np.where(side == 1, problem.ends.leaks(start) * (backward * steady)[openings.cell], 0.0)
        found = {"committor": forward, "backward_committor": backward}
        if not self.full:
            found["reactive_flux"] = _current(mesh, openings, paths.flux, leaving)
        figures = {"rate": paths.rate / initial.mass, "rate_defect": paths.rate_defect, "residual": paths.residual}
        figures |= {"forward_rate_constant": paths.rate / last[0], "backward_rate_constant": paths.rate / last[1]}
        yield replace(initial, density=steady, fields=found, figures=figures)


def _of_sides(side: Index, values: Callable[[Any], Array]) -> tuple[Array, Array]:
    """Values for the openings (opening,) of `from`, and for those of `to`."""
    return values(side == 0), values(side == 1)


def _coming_out(problem: Transitions, steady: Array, balanced: bool) -> Array:
    """What comes out of each opening per unit time (opening,) in the steady state: what enters it less the net flux.

    The net flux is 0 in detailed balance and at walls. Elsewhere, with the flux F = a rho_K - b rho_L from the cell K
    into the cell L behind the opening, it is (leak - a) rho_K + b rho_L, where the density on the face is positive.
    """
    ends, graph = problem.ends, problem.graph
    openings, leaks = ends.openings, ends.leaks(problem.start)
    assert openings is not None
    coming = leaks * steady[openings.cell]
    if balanced:
        return np.asarray(coming)
    inside = openings.face >= 0
    face, cell = openings.face[inside], openings.cell[inside]
    owned = graph.owner[face] == cell
    down, up = (values[face] for values in problem.coefficients(problem.start))
    out, back = np.where(owned, down, up), np.where(owned, up, down)
    behind = np.where(owned, graph.neighbour[face], graph.owner[face])
    less = leaks[inside] - out
    less[np.abs(less) <= _ROUND_OFF * out] = 0.0  # without diffusion the drift that leaves is on both sides of it
    coming[inside] = less * steady[cell] + back * steady[behind]
    if (coming < 0).any():
        raise NumericsError(
            "the steady density is negative on a face of `from` or `to`: the cells do not resolve the drift there; use "
            "a finer mesh"
        )
    return np.asarray(coming)


def _current(mesh: Mesh, openings: Openings, within: Array, leaving: Array) -> Array:
    """The current of each face (face,), from that between cells outside of both sets, and that into openings."""
    current, closed = np.zeros(mesh.faces), openings.closed >= 0
    current[~(closed[mesh.owner] | closed[mesh.neighbour])] = within
    inside = openings.face >= 0
    face = openings.face[inside]
    current[face] = np.where(mesh.owner[face] == openings.cell[inside], 1.0, -1.0) * leaving[inside]
    return current


def _require_apart(mesh: Mesh, ends: Openings, side: Index, walls: Iterable[str]) -> None:
    """Raise CaseError if the two sets touch, or no cell is left between them."""
    within = np.where(ends.closed >= 0, side[ends.closed], -1)
    owner, neighbour = within[mesh.owner], within[mesh.neighbour]
    touching = int(((owner >= 0) & (neighbour >= 0) & (owner != neighbour)).sum())
    for name in walls:
        other = 1 - side[ends.names.index(name)]
        touching += int((within[mesh.wall_contacts(mesh.named_walls[name])[1]] == other).sum())
    if touching:
        raise CaseError(
            f"from and to touch on {touching} face{'s' * (touching > 1)}, where transitions take no time; leave cells "
            "between them"
        )
    for number, name in enumerate(("from", "to")):
        if not (side[ends.group] == number).any():
            raise CaseError(f"{name} touches no cell outside of both sets; leave cells between them")
