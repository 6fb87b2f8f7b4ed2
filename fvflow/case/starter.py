"""The commented case that `fvflow new` writes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from string import Template
from typing import Any

from fvflow.case.messages import dataclasses_in, kind_of
from fvflow.energies import Energy
from fvflow.exact import AtEquilibrium, Exact, FromExact
from fvflow.fields import Density
from fvflow.flows import FLOWS
from fvflow.fluxes import Flux
from fvflow.linalg import Solver
from fvflow.mesh import MeshKind
from fvflow.steppers import GradientStepper, LinearStepper
from fvflow.transport import TransportSolver

_WIDTH = 118
FAMILIES: dict[str, Any] = {  # unions and tables of kinds
    "meshes": MeshKind,
    "flows": FLOWS,
    "fluxes": Flux,
    "linear_steppers": LinearStepper,
    "solvers": Solver,
    "energies": Energy,
    "gradient_steppers": GradientStepper,
    "transport_solvers": TransportSolver,
    "densities": Density | AtEquilibrium | FromExact,
    "closed_forms": Exact,
}


def starter() -> str:
    """The text of a case that runs, with the kinds of every union in its comments."""
    template = (Path(__file__).parent / "starter.yaml").read_text(encoding="utf-8")
    kinds = {name: ", ".join(map(kind_of, dataclasses_in(family))) for name, family in FAMILIES.items()}
    return "".join(_wrapped(line) + "\n" for line in Template(template).substitute(kinds).splitlines())


def _wrapped(line: str) -> str:
    """A list of kinds on as many lines as it takes; other lines as they are."""
    if "Kinds of" not in line:
        return line
    margin = line[: line.index("Kinds")]
    return textwrap.fill(line, _WIDTH, subsequent_indent=margin + "  ", break_on_hyphens=False)
