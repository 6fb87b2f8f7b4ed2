"""What of a case is not run on several ranks, and what running it on them means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from fvflow.case.checks import asking_for_sides
from fvflow.case.document import Fault, dotted
from fvflow.case.simulation import Simulation
from fvflow.errors import CaseError
from fvflow.mesh import indivisible
from fvflow.parallel import Division
from fvflow.steppers import LinearStepper

_PYTHON = 180  # MiB of the interpreter, the libraries and MPI
_PAYS = 2**16  # cells of a rank from which a step takes several times as long as its messages
_OUTPUT = ("fluxes", "velocity", "score", "evi")
"""Entries of `output` that need more of a mesh than a slab and the layers beside it."""


def undivided(parts: Any) -> Iterator[Fault]:
    """What the parts of a case ask for that runs on one rank only, each with what runs on several."""
    if copied(parts):
        return
    if sentence := parts.flow.undivided:
        yield Fault(("flow",), f"{sentence}; {_known()}")
    elif parts.mesh.extent is None or not parts.mesh.extent.grid:
        yield Fault(("mesh",), f"mesh {parts.mesh.kind} runs on one rank; {_known()}")
    elif sentence := parts.flow.divided_solver_fault(parts.mesh.extent, parts.flow.steady(dict(parts.parameters))):
        yield Fault(("flow", "stepper"), sentence)
    if parts.exact is not None and not parts.exact.divided:
        yield Fault(("exact",), f"{parts.exact.kind} is compared on one rank; leave it out")
    stepper = getattr(parts.flow, "stepper", None)
    if (parts.walls or parts.absorbing_sets) and stepper is not None and stepper.collects_absorbed:
        place = ("walls" if parts.walls else "absorbing",)
        yield Fault(place, f"mass leaves the domain on one rank only in stepper {stepper.kind}; use split-euler")
    asked = [name for name in _OUTPUT if getattr(parts.output, name)]
    for path in [("output", name) for name in asked] + asking_for_sides(parts.checks, parts.output):
        yield Fault(path, "is computed on one rank only; leave it out")


def copied(parts: Any) -> bool:
    """Whether each rank holds all of the mesh: where they share rows, and on a line, solved from end to end."""
    extent = parts.mesh.extent
    line = extent is not None and extent.grid and extent.dimension == 1
    return bool(parts.flow.shares_rows or (line and not parts.flow.undivided))


def _known() -> str:
    """What runs on several ranks, as a clause."""
    kinds = [get_args(get_type_hints(kind)["kind"])[0] for kind in get_args(LinearStepper) if kind.divided]
    grids = f"several run flow fokker-planck on a grid by stepper {', '.join(kinds)}"
    return f"{grids}, and on any mesh with solver: {{kind: petsc}}"


def about_ranks(parts: Any, simulation: Simulation, ranks: int) -> str:
    """What running a case on so many ranks means: memory, whether it pays, or why it is refused."""
    if parts.flow.shares_rows:
        return f"each of {ranks} holds the whole mesh, and they share the rows of the systems that PETSc solves"
    for fault in undivided(parts):
        return f"{dotted(fault.path)}: {fault.message}"
    mesh = simulation.mesh.whole
    layer, periodic = mesh.cells // mesh.shape[0], mesh.dimension - 1 in mesh.periodic
    if mesh.edges is not None and layer == 1:
        return f"each of {ranks} holds the whole line and takes all steps, no faster than one: use one"
    if sentence := indivisible(mesh):
        return sentence
    try:
        division = Division(mesh.shape[0], layer, ranks, parts.flow.reach, periodic)
    except CaseError as error:
        return str(error)
    held = max(len(division.held(rank)) for rank in range(ranks)) * division.layer
    memory = simulation.memory * held / mesh.cells / 2**20 + _PYTHON
    pays = (
        "the split pays"
        if mesh.cells >= _PAYS * ranks
        else f"with fewer than {_PAYS} a rank the messages take a good part of a step: fewer ranks are as fast"
    )
    return f"up to {held} cells and about {memory:.3g} MiB on each of {ranks}; {pays}"
