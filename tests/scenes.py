"""Small runs that several tests share."""

from __future__ import annotations

from typing import Any

from fvflow.case import Case, Simulation
from fvflow.problems import State


def ou(dimension: int = 1, cells: int = 100, **changes: Any) -> Case:
    """Ornstein-Uhlenbeck with a closed form, on [-5, 5]^dimension."""
    mean, variance = [0.8, -0.4, 0.3][:dimension], 0.5
    case = Case.parse(
        f"""
        mesh: {{kind: box, lower: {[-5] * dimension}, upper: {[5] * dimension}, cells: {[cells] * dimension}}}
        flow: {{kind: fokker-planck, epsilon: 0.8, potential: {"+".join(f"0.5*{a}**2" for a in "xyz"[:dimension])}}}
        initial:
          kind: gaussian
          mean: {mean}
          covariance: {[[variance * (i == j) for j in range(dimension)] for i in range(dimension)]}
        times: {{end: 0.4, step: 0.02}}
        exact: {{kind: gaussian}}
        """
    )
    for path, value in changes.items():
        case = case.replace({path.replace("__", "."): value})
    return case


def final(case: Case) -> tuple[Simulation, State, dict[str, Any]]:
    """Run a case; its arrays, its last state and the figures of the whole run."""
    prepared = case.prepare()
    states: list[State] = []

    def keep(state: State) -> None:
        states[:] = [state]

    for _ in prepared.frames(keep):
        pass
    return prepared, states[-1], prepared.figures()


def every_state(case: Case, simulation: Simulation | None = None) -> list[State]:
    """All states of a run."""
    states: list[State] = []
    for _ in (simulation or case.prepare()).frames(states.append):
        pass
    return states


def spike(case: Case) -> Case:
    """The case started from all the mass in one cell."""
    at = [0.37] * case.prepare().mesh.dimension
    return case.replace({"initial": {"kind": "spike", "at": at}, "exact": None})
