"""A case: all that a run is made of, as frozen values that read from and write to YAML."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from fvflow.case import document as documents
from fvflow.case import schema
from fvflow.case.checks import Checks, Output, misplaced
from fvflow.case.document import Document, Fault, Path
from fvflow.case.initial_conditions import initial_density, require_end, target_density
from fvflow.case.overrides import apply_overrides, to_yaml
from fvflow.case.simulation import Simulation
from fvflow.errors import CaseError, OutputError
from fvflow.exact import AtEquilibrium, Exact, Facts, FromExact, Gibbs
from fvflow.fields import RESERVED, Density, FromFile
from fvflow.flows import Flow, HamiltonJacobiFlow, SteadyFlow, TransportFlow
from fvflow.march import Times, Watch, Watchers
from fvflow.mesh import Extent, Mesh, MeshKind
from fvflow.problems import State
from fvflow.system import available_memory

if TYPE_CHECKING:
    import xarray

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Case:
    """A run as one writes it down.

    >>> case = Case.parse("mesh: {kind: box, lower: [-6], upper: [6], cells: [60]}\\n"
    ...     "flow: {kind: fokker-planck, epsilon: 1, potential: 0.5*x**2}\\n"
    ...     "initial: {kind: gaussian, mean: [1], covariance: [[0.3]]}\\n"
    ...     "times: {end: 0.1, step: 0.05}")
    >>> case.run().mass.round(14).values
    array([1., 1.])
    """

    mesh: MeshKind
    flow: Flow
    initial: Density | AtEquilibrium | FromExact
    times: Times | None = None
    title: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    exact: Exact | None = None
    checks: Checks = Checks()
    output: Output = Output()
    document: Document | None = field(default=None, init=False, repr=False, compare=False)  # what it was read from

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise schema.ValidationFaults(faults)

    def _faults(self) -> Iterator[Fault]:
        """What the parts of the case ask of each other."""
        for name in self.parameters:
            if not _NAME.fullmatch(name) or name in RESERVED:
                yield Fault(("parameters", name), f"{name} is taken or no name; use other letters, digits and _")
        if self.exact is not None and isinstance(self.flow, HamiltonJacobiFlow):
            yield Fault(("exact",), "flow hamilton-jacobi has no closed form here; check hopf_lax instead")
        for name in ("error_l1", "error_l2", "error_linf", "w2_error", "w2_solver_error"):
            if getattr(self.checks, name) is not None and self.exact is None:
                yield Fault(("checks", name), "needs an exact solution; add exact: {kind: ...}")
        if isinstance(self.flow, SteadyFlow) and not isinstance(self.exact, Gibbs | None):
            yield Fault(("exact",), f"flow {self.flow.kind} can be compared with {{kind: gibbs}} alone; leave it out")
        if self.output.fluxes and isinstance(self.flow, TransportFlow | HamiltonJacobiFlow):
            yield Fault(("output", "fluxes"), "is for flows fokker-planck and gradient-flow; leave it out")
        try:
            self.flow.schedule(self.times)
        except CaseError as error:
            yield Fault(("times",), str(error))
        for name, told in misplaced(self.checks, self.flow):
            yield Fault(("checks", name), told)

    @property
    def schedule(self) -> Times:
        """The times of the run: those given, or the nodes of a geodesic."""
        return self.flow.schedule(self.times)

    @staticmethod
    def read(path: str | os.PathLike[str], overrides: Mapping[str, str] | None = None) -> Case:
        """The case in a YAML file; `overrides` sets dotted paths to values written as in YAML.

        Raises CaseError with file:line:column of all that is wrong, OutputError if the file cannot be read.
        """
        try:
            with open(path, "rb") as file:
                text = file.read(documents.LARGEST + 1)
        except OSError as error:
            raise OutputError(f"{path}: cannot be read ({error.strerror}); give the path of a case file") from None
        return Case.parse(text, os.fspath(path), overrides)

    @staticmethod
    def parse(text: str | bytes, name: str = "case", overrides: Mapping[str, str] | None = None) -> Case:
        """The case in a YAML text."""
        document = documents.parse(text, name)
        if overrides:
            document = apply_overrides(document, overrides)
        made, faults = schema.build(Case, document.values, os.path.dirname(name))
        if made is None or document.faults:
            raise document.refusal([*document.faults, *faults])
        object.__setattr__(made, "document", document)  # not an argument, so that dataclasses.replace drops it
        return made

    def replace(self, changes: Mapping[str, Any]) -> Case:
        """The case with the values at dotted paths exchanged: case.replace({"flow.epsilon": 0.02})."""
        name = "case" if self.document is None else self.document.name  # files are looked for from there
        return Case.parse(
            self.text, name, {path: json.dumps(value, default=_listed) for path, value in changes.items()}
        )

    def unused_parameters(self) -> list[str]:
        """Parameters that no expression of the case names."""
        used = {name for mark in schema.formulas(self.values, type(self)) for name in mark.names}
        return [name for name in self.parameters if name not in used]

    @property
    def files(self) -> list[str]:
        """The files that the case reads."""
        named = (getattr(part, "file", None) for part in (self.mesh, self.initial))
        return [str(file) for file in named if file is not None]

    @property
    def text(self) -> str:
        """The case in YAML: as it was read, or written out if it was made in Python or changed."""
        if self.document is not None and not self.document.overrides:
            return self.document.text
        return to_yaml(self.values if self.document is None else self.document.values)

    @property
    def values(self) -> dict[str, Any]:
        """The case as plain values, defaults filled in."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.init}
        return {name: _plain(value) for name, value in values.items() if value is not None}

    def prepare(self) -> Simulation:
        """The case in arrays; raises CaseError naming all stages that cannot be built."""
        faults: list[Fault] = []
        if self.document is None:  # made in Python: as yet only its parts have been looked at
            faults = schema.build(Case, self.values)[1]
        if not faults and self.mesh.extent is not None:
            self._stage(("flow", "stepper"), faults, lambda: self.flow.memory(self.mesh.extent))  # does it fit?
        if not faults:
            self._stage(("mesh", "cells"), faults, lambda: self._require_memory(self.mesh.extent))
        mesh = None if faults else self._stage(("mesh",), faults, self.mesh.build)
        if mesh is not None and self.mesh.extent is None:
            self._stage(("flow", "stepper"), faults, lambda: self.flow.memory(mesh.extent))
        if mesh is not None and self.mesh.extent is None and not faults:
            self._stage(("mesh",), faults, lambda: self._require_memory(mesh.extent))
        if mesh is None or faults:
            raise self._refusal(faults)
        names = dict(self.parameters)
        mass = self._stage(("initial",), faults, lambda: self._mass(mesh, names))
        problem = self._stage(("flow",), faults, lambda: self.flow.problem(mesh, names))
        if problem is None or mass is None:
            raise self._refusal(faults)
        facts = Facts(
            mesh,
            self.flow.drift(names),
            self.flow.diffusion(),
            mass,
            self.flow.power_laws(),
            self.schedule.length,
            self.initial,
            self.flow.kernels(names),
            self.flow.target if isinstance(self.flow, TransportFlow) else None,
            names,
        )
        exact, reference = self.exact, None
        if exact is not None:
            reference = self._stage(("exact",), faults, lambda: exact.on(facts))
        initial = None
        if exact is None or reference is not None:
            initial = self._stage(("initial",), faults, lambda: initial_density(facts, reference, names))
        if isinstance(self.flow, TransportFlow) and initial is not None:
            target = self._stage(("flow", "target"), faults, lambda: target_density(facts, reference, names, initial))
            problem = dataclasses.replace(problem, target=target)
            if target is not None and reference is not None:
                self._stage(("exact",), faults, lambda: require_end(mesh, reference, target))
        if faults or initial is None:
            raise self._refusal(faults)
        return Simulation(self, mesh, problem, State.initial(mesh, initial), reference)

    def _mass(self, mesh: Mesh, names: Mapping[str, float]) -> float:
        """The mass of the initial density; 1 where it is that of a closed form."""
        if self.initial.mass is None and isinstance(self.initial, FromFile):
            return float(mesh.volume @ self.initial.sample(mesh, names))
        return 1.0 if self.initial.mass is None else self.initial.mass

    def _require_memory(self, extent: Extent | None) -> None:
        """Refuse a mesh for which the machine has too little memory, before any of it is taken if its size is known."""
        if extent is None:
            return
        needed, free = self.flow.memory(extent), available_memory()
        if needed > free:
            told = f"{needed / 2**30:.2g} GiB, {free / 2**30:.2g} are free"
            raise CaseError(f"{extent.cells} cells need about {told}; use fewer")

    def _stage(self, path: Path, faults: list[Fault], build: Any) -> Any:
        try:
            return build()
        except CaseError as error:
            faults.append(Fault(path, str(error)))
        except MemoryError:
            faults.append(Fault(path, "not enough memory for this many cells; use fewer"))
        return None

    def _refusal(self, faults: list[Fault]) -> CaseError:
        if self.document is not None:
            return self.document.refusal(faults)
        return CaseError("\n".join(f"{documents.dotted(fault.path)}: {fault.message}" for fault in faults))

    def run(self, watch: Watch | None = None) -> xarray.Dataset:
        """Run in memory: the data that `write` would put into a file.

        `watch` is a function, called with the state after every step, or a `Progress`, which is told of the iterations
        of a solver too. Raises CaseError or NumericsError.
        """
        from fvflow import dataset

        prepared = self.prepare()
        memory = dataset.Memory(prepared.layout(), prepared.attributes())
        for frame in prepared.frames(watch):
            memory.append(frame)
        return memory.close(prepared.closing(), prepared.solved)

    def write(
        self, path: str | os.PathLike[str], watch: Watch | None = None, prepared: Simulation | None = None
    ) -> dict[str, Any]:
        """Run into NAME.nc and NAME.xmf2, frame by frame; returns the figures of the whole run.

        `watch` is as in `run`. A run that is cut short leaves its frames in NAME.parts.
        Raises CaseError, NumericsError, OutputError.
        """
        from fvflow import dataset, paraview

        prepared = prepared or self.prepare()
        layout = prepared.layout()
        path = os.path.realpath(path) if os.path.islink(path) else path  # a link stays one, to the new result
        if FilePath(path).resolve() in (FilePath(file).resolve() for file in self.files):
            raise OutputError(f"{path}: the result would overwrite a file that the case reads; use another name")
        paraview.check(FilePath(path))
        with dataset.Writer(FilePath(path), layout, prepared.attributes()) as writer:
            watchers = Watchers(lambda state: writer.tick(), *([] if watch is None else [watch]))
            for frame in prepared.frames(watchers):
                writer.append(frame)
            paraview.remove(FilePath(path))  # so that an old one never describes a new result
            writer.close(prepared.closing(), prepared.solved)
        paraview.write(FilePath(path), prepared.mesh, writer.times, tuple(layout.fields()), layout.single)
        return prepared.figures()


def _listed(value: Any) -> Any:
    """numpy numbers and arrays for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise CaseError(f"{value!r} cannot be written in a case file; give numbers, texts, lists and mappings")


def _plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as plain dicts and lists, without what is None."""
    if dataclasses.is_dataclass(value):
        items = {item.name: getattr(value, item.name) for item in dataclasses.fields(value) if item.init}
        ordered = {"kind": items.pop("kind"), **items} if "kind" in items else items
        return {name: _plain(part) for name, part in ordered.items() if part is not None}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def json_schema() -> dict[str, Any]:
    """The JSON schema of case files, for editors."""
    made = schema.model(Case).model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "fvflow case"}
