"""What `check` says of a case: mesh, method, cost and whatever deserves a look before the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvflow.case.mesh_report import about_mesh
from fvflow.case.runtime_estimate import RuntimeEstimate
from fvflow.case.simulation import Simulation
from fvflow.case.wall_report import about_walls
from fvflow.mesh import MeshDescription, coarse_proxy
from fvflow.problems import State
from fvflow.times import Times

_PYTHON = 150 * 2**20  # bytes of the interpreter and the libraries
_NETCDF = 80_000  # bytes of an empty result


def report(
    simulation: Simulation,
    mesh_kind: MeshDescription,
    parameters: dict[str, float],
    unused: Sequence[str],
    asked: Times | None,
) -> dict[str, Any]:
    """Named sentences, in the order in which they are printed; `asked` are the times that the case gives."""
    flow, mesh, problem = simulation.flow, simulation.mesh, simulation.problem
    drift = flow.flux_drift(parameters)
    found: dict[str, Any] = {
        "mesh": mesh_kind.describe(mesh),
        **about_mesh(mesh, simulation.initial.density),
        **{f"{density.role} density": density.describe() for density in simulation.densities},
        "walls": flow.at_walls or about_walls(mesh, problem.openings, drift, simulation.initial.time),
        "absorbed at once": simulation.absorbed_at_once(),
        flow.noted: "; ".join(flow.notes(problem)),
        "steps": _steps(simulation, asked),
        "error in time": flow.error_in_time_note(problem, simulation.times),
        "method": flow.describe(mesh.extent),
        "positivity": simulation.positivity(),
    }
    start = f"at t = {simulation.initial.time:g}"
    resolution = flow.resolution(problem, simulation.initial)
    if resolution is not None and not simulation.densities:  # only the run tells where its mass is
        where = ", above 2 in places; the run tells what that does if mass is there" if resolution.share else ""
        found["Peclet number"] = f"at most {resolution.peclet:.3g} (|v| d/epsilon over a face){where}"
    elif resolution is not None:
        largest = f"at most {resolution.peclet:.3g} {start} where there is mass (|v| d/epsilon over a face)"
        found["Peclet number"] = ", ".join(filter(None, (largest, flow.unresolved(resolution, problem.openings))))
    diffusion = problem.numerical_diffusion()
    if diffusion is not None:
        found["numerical diffusion"] = f"up to {diffusion:.3g} {start} (|v| d/2 of upwinding)"
    if unused:
        found["unused"] = f"parameters {', '.join(unused)}: no expression names them"
    found["memory"] = f"about {_sized(simulation.memory + _PYTHON)}, Python's own 150 MiB included"
    found["result"] = f"about {_sized(_file_bytes(simulation))}"
    if flow.can_be_timed:
        found["time"] = runtime(simulation, parameters).describe()
    return {name: sentence for name, sentence in found.items() if sentence}


def runtime(simulation: Simulation, parameters: dict[str, float]) -> RuntimeEstimate:
    """The estimate of a simulation's time."""

    start = simulation.initial.time

    def smaller(cells: int) -> Simulation:
        """The same flow on about so many cells, with closed walls."""
        found = coarse_proxy(simulation.mesh, simulation.initial.density, cells)
        assert found is not None
        mesh, density = found
        problem = simulation.flow.problem(mesh, parameters, start)
        return Simulation(simulation.flow, mesh, problem, State.initial(mesh, density, start), simulation.times)

    possible = simulation.flow.coarsens and coarse_proxy(simulation.mesh, simulation.initial.density, 1) is not None
    return RuntimeEstimate(simulation, smaller if possible else None)


def _steps(simulation: Simulation, asked: Times | None) -> str:
    steps = simulation.times.describe()
    if asked is not None and asked.adaptive is not None and simulation.times.adaptive is None:
        head, _, tail = steps.rpartition(", ")
        return f"{head}, exact in time whatever the tolerance, {tail}"
    return steps


def _file_bytes(simulation: Simulation) -> float:
    """Size of the result: frames, geometry, and what netCDF itself takes."""
    mesh, frames = simulation.mesh, simulation.times.saves + 1
    geometry = 24 * len(mesh.points) + 4 * mesh.plot_cells.size + 8 * mesh.cells
    return float(frames * simulation.layout().frame_bytes + geometry + _NETCDF)


def _sized(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1024:.3g} TiB"
