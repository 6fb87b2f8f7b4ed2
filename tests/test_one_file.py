"""One file adds one kind: kinds that nobody here has thought of, joined to their union by one line, run from YAML."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fvflow

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
import numpy as np
"""

# family: (module of the union, its name, the new kind)
KINDS = {
    "flux": (
        "fvflow/fluxes/kinds.py",
        "Flux",
        """
@dataclass(frozen=True)
class Exponential(FluxKind):
    kind: Literal["exponential"] = "exponential"
    order = 2
    monotone = True
    keeps_gibbs = True
    requires_diffusion = True

    def weight(self, w, eps):
        return eps * np.exp(-0.5 * w / eps)
""",
    ),
    "energy": (
        "fvflow/energies/__init__.py",
        "Energy",
        """
from fvflow.energies.base import EnergyKind, EnergyTerm

class CoshTerm(EnergyTerm):
    def value(self, density):
        return np.where(density < 0, np.inf, np.cosh(density))
    def first(self, density):
        return np.sinh(density)
    def second(self, density):
        return np.cosh(density)

@dataclass(frozen=True)
class Cosh(EnergyKind):
    kind: Literal["cosh"] = "cosh"
    strictly_convex = True

    def on(self, mesh, names):
        return CoshTerm()
""",
    ),
    "stepper": (
        "fvflow/steppers/__init__.py",
        "LinearStepper",
        """
from dataclasses import replace
from fvflow.linalg import divergence
from fvflow.steppers.base import LinearStepperBase

@dataclass(frozen=True)
class ExplicitEuler(LinearStepperBase):
    kind: Literal["explicit-euler"] = "explicit-euler"

    def positive_step(self, problem):
        return 1.0 / problem.max_outflow_rate(0.0)

    def start(self, problem):
        def step(state, length):
            change = divergence(problem.mesh, problem.flux(state.density, state.time)) / problem.mesh.volume
            after = state.density - length * change
            return replace(state, time=state.time + length, step=state.step + 1, density=after)
        return step
""",
    ),
    "closed form": (
        "fvflow/exact/__init__.py",
        "Exact",
        """
from fvflow.exact.base import ClosedForm, Reference

@dataclass(frozen=True)
class Flat(ClosedForm):
    kind: Literal["flat"] = "flat"
    derived_for = frozenset({"linear diffusion"})

    def reference(self, facts):
        return FlatReference(facts.mass / facts.mesh.volume.sum() * np.ones(facts.mesh.cells))

@dataclass(frozen=True, eq=False)
class FlatReference(Reference):
    density: object

    def average(self, time):
        return self.density
""",
    ),
    "mesh": (
        "fvflow/mesh/__init__.py",
        "MeshKind",
        """
from fvflow.mesh.base import MeshDescription
from fvflow.mesh.grid import Grid

@dataclass(frozen=True)
class Chebyshev(MeshDescription):
    count: int
    kind: Literal["chebyshev"] = "chebyshev"

    @property
    def extent(self):
        return Extent.of((self.count,))

    def build(self):
        return Grid((-np.cos(np.linspace(0.0, np.pi, self.count + 1)),))
""",
    ),
    "solver": (
        "fvflow/linalg/selection.py",
        "Solver",
        """
from fvflow.linalg.matrix import Solution, rescale_to_mass

@dataclass(frozen=True)
class Dense(LinearSolver):
    kind: Literal["dense"] = "dense"

    def prepare(self, matrix):
        dense = matrix.sparse().toarray()
        return lambda right, total: rescale_to_mass(matrix, np.linalg.solve(dense, right), total)
""",
    ),
    "density": (
        "fvflow/fields/density.py",
        "Density",
        """
@dataclass(frozen=True)
class Hat(DensityKind):
    mass: float = 1.0
    kind: Literal["hat"] = "hat"

    def sample(self, mesh, names):
        return np.maximum(1.0 - np.abs(mesh.centre).max(axis=1), 0.0)
""",
    ),
}
NAMES = {
    "flux": "Exponential",
    "energy": "Cosh",
    "stepper": "ExplicitEuler",
    "closed form": "Flat",
    "mesh": "Chebyshev",
}
NAMES |= {"solver": "Dense", "density": "Hat"}

MESH = "mesh: {kind: box, lower: [-2], upper: [2], cells: [40]}\n"
FLOW = "flow: {kind: fokker-planck, epsilon: 0.5, potential: x**2/2}\n"
REST = "initial: {kind: gaussian, mean: [0.3], covariance: [[0.2]]}\ntimes: {end: 0.1, step: 0.01}\n"
CASES = {
    "flux": MESH + FLOW.replace("x**2/2", "x**2/2, flux: {kind: exponential}") + REST,
    "energy": MESH + "flow: {kind: gradient-flow, energy: [{kind: cosh}, {kind: potential, potential: x**2}]}\n" + REST,
    "stepper": MESH + FLOW.replace("x**2/2", "x**2/2, stepper: {kind: explicit-euler}") + REST.replace("0.01", "0.001"),
    "closed form": MESH
    + "flow: {kind: fokker-planck, epsilon: 0.5}\ninitial: {kind: exact}\ntimes: {end: 0.1, step: 0.01}\n"
    + "exact: {kind: flat}\nchecks: {error_linf: 1e-12}\n",
    "mesh": "mesh: {kind: chebyshev, count: 40}\n" + FLOW + REST.replace("0.2", "0.02"),
    "solver": MESH + FLOW.replace("x**2/2", "x**2/2, stepper: {kind: implicit-euler, solver: {kind: dense}}") + REST,
    "density": MESH + FLOW + "initial: {kind: hat}\ntimes: {end: 0.1, step: 0.01}\n",
}
REFUSED = {
    "closed form": CASES["energy"] + "exact: {kind: gaussian}\n",
    "equilibrium": CASES["energy"].replace(REST, "initial: {kind: gibbs}\ntimes: {end: 0.1, step: 0.01}\n"),
    "reference": CASES["energy"] + "exact: {kind: gibbs}\n",
}
SCRIPT = """
import sys
from pathlib import Path
from fvflow.case import Case, json_schema
from fvflow.errors import CaseError
for path in sorted(Path(".").glob("run-*.yaml")):
    figures = Case.read(path).write(path.with_suffix(".nc"))
    assert figures["mass_drift"] <= 1e-14, (path, figures)
    Case.read(path).check()
for path in sorted(Path(".").glob("refuse-*.yaml")):
    try:
        Case.read(path).prepare()
    except CaseError as error:
        assert "energy cosh" in str(error) or "gibbs needs epsilon > 0" in str(error), error
    else:
        raise AssertionError(path)
assert all(word in str(json_schema()) for word in ("exponential", "cosh", "explicit-euler", "flat", "dense", "hat"))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package in which one file of each family has one more kind; the cases have been run."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(Path(fvflow.__file__).parent, folder / "fvflow")  # compiled parts too
    for family, (module, union, text) in KINDS.items():
        file = folder / module
        head = HEAD.replace("from __future__ import annotations\n", "") if "__future__" in file.read_text() else HEAD
        if "__future__" not in file.read_text():
            doc, rest = file.read_text().split('"""\n', 1)
            file.write_text(f'{doc}"""\nfrom __future__ import annotations\n{rest}')
            head = HEAD.replace("from __future__ import annotations\n", "")
        with open(file, "a", encoding="utf-8") as opened:
            opened.write(f"{head}{text}\n{union} = {union} | {NAMES[family]}\n")
    for name, text in CASES.items():
        (folder / f"run-{name.replace(' ', '-')}.yaml").write_text(text)
    for name, text in REFUSED.items():
        (folder / f"refuse-{name.replace(' ', '-')}.yaml").write_text(text)
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("family", KINDS)
def test_one_file_and_one_line_add_a_kind(house, family):
    ds = fvflow.read(house / f"run-{family.replace(' ', '-')}.nc")
    assert np.isfinite(ds.rho.values).all()
    assert ds.rho.min() >= 0
    assert ds.attrs["checks_missed"] == "none"
    np.testing.assert_allclose(ds.mass, ds.mass[0], rtol=1e-14)


def test_a_new_flux_keeps_the_equilibrium_that_it_promises(house):
    """The run with it tends to where Scharfetter-Gummel's does: both have exp(-V/eps) as their steady state."""
    ds = fvflow.read(house / "run-flux.nc")
    other = fvflow.Case.parse(CASES["flux"].replace("exponential", "square-root")).run()
    np.testing.assert_allclose(ds.rho.values, other.rho.values, rtol=1e-12)
