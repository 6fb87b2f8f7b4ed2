"""A case: all that a run is made of, as frozen values that read from and write to YAML."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

from fvflow.case import document as documents
from fvflow.case import schema
from fvflow.case.build import build_simulation
from fvflow.case.case_file import read_text
from fvflow.case.checkpoints import identity
from fvflow.case.checks import Checks, Output, asking_for_sides, flows_that, misplaced, unknown_output
from fvflow.case.document import Document, Fault
from fvflow.case.draws import Draw
from fvflow.case.formulas import formulas
from fvflow.case.overrides import apply_overrides, as_text, to_yaml
from fvflow.case.python_case import plain_values, python_faults, well_formed
from fvflow.case.recording import Recording, compare
from fvflow.case.report import report
from fvflow.case.resolution import with_error_estimate
from fvflow.case.several_ranks import about_ranks
from fvflow.case.simulation import Simulation
from fvflow.case.stages import Stages
from fvflow.case.sweep_section import SweepSection
from fvflow.dataset import UNTITLED, Memory
from fvflow.diagnostics import ERRORS, FIGURE_ERRORS
from fvflow.errors import CaseError, OutputError
from fvflow.exact import AtEquilibrium, Exact, FromExact
from fvflow.fields import RESERVED, Density, DensityKind, Formula
from fvflow.flows import FLOWS, BaseFlow
from fvflow.march import Watch
from fvflow.mesh import MeshKind
from fvflow.times import TimeGrid, Times
from fvflow.walls import CellSet, Wall

if TYPE_CHECKING:
    import xarray

    from fvflow.case.evaluation import Evaluation
    from fvflow.case.family import Family
    from fvflow.dataset import Lock, Tree

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OBSERVABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


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
    """The domain and its control volumes."""
    flow: Annotated[BaseFlow, FLOWS]
    """The equation and how it is solved."""
    initial: Density | AtEquilibrium | FromExact | None = None
    """The density at the start; may be left out for flows without time."""
    times: Times | None = None
    """When the run ends, in which steps, and when it saves; left out for flows without time."""
    title: str = ""
    """A title for results and plots."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Numbers that expressions may use by name."""
    exact: Exact | None = None
    """A closed form that the result is compared with."""
    checks: Checks = Checks()
    """Bounds that the finished run has to keep."""
    output: Output = Output()
    """How the result is stored."""
    walls: Mapping[str, Wall] = field(default_factory=dict)
    """What each wall does with mass, by name: a side of a box, a boundary of the mesh, or `rest`. Default: no-flux."""
    absorbing: CellSet | tuple[CellSet, ...] = ()
    """Cells that absorb all that reaches them."""
    observe: Mapping[str, Formula] = field(default_factory=dict)
    """Functions of x, y, z, t by name, whose mean and variance are recorded at each saved time."""
    draw: Mapping[str, str | Draw] = field(default_factory=dict)
    """What the cases of `fvflow data` are drawn from, by dotted path; a text is a distribution."""
    sweep: SweepSection | None = None
    """The cases that `fvflow sweep` makes of this one."""
    document: Document | None = field(default=None, init=False, repr=False, compare=False)
    """The file that it was read from."""

    def __post_init__(self) -> None:
        faults = list(self._faults()) if well_formed(self) else []  # `prepare` says what is not
        if faults:
            raise schema.ValidationFaults(faults)

    def _faults(self) -> Iterator[Fault]:
        """What the parts of the case require of each other."""
        yield from self._name_faults()
        if sentence := self.flow.initial_fault(given=self.initial is not None):
            yield Fault(("initial",), sentence)
        others = dict(misplaced(self.checks, self.flow))
        yield from (Fault(("checks", name), sentence) for name, sentence in others.items())
        for name in sorted(self.checks.bounds.keys() & {*ERRORS, *FIGURE_ERRORS} - others.keys()):
            if self.exact is None:
                yield Fault(("checks", name), "needs an exact solution; add exact: {kind: ...}")
            elif name in ERRORS and name not in self.exact.figures:
                allowed = ", ".join(self.exact.figures)
                yield Fault(("checks", name), f"is no error of exact {self.exact.kind}; it gives {allowed}")
        if self.exact is not None and (sentence := self.flow.exact_fault(self.exact)):
            yield Fault(("exact",), sentence)
        if self.checks.survival is not None and not (self.walls or self.absorbing):
            yield Fault(("checks", "survival"), "needs walls or cells that absorb; add walls: {left: absorbing}")
        for name in ("evi_violated", "contraction_violated"):
            if getattr(self.checks, name) is not None and not self.output.evi:
                yield Fault(("checks", name), "needs bounds of W2 in every step; add output: {evi: true}")
        leaves = "needs closed walls, as paths would leave with the mass; leave it out"
        if sentence := leaves if self.walls or self.absorbing else self.flow.score_fault:
            yield from (Fault(path, sentence) for path in asking_for_sides(self.checks, self.output))
        if not self.flow.takes_openings:
            for name in (name for name in ("walls", "absorbing") if getattr(self, name)):
                yield Fault((name,), f"is for {flows_that(lambda kind: kind.takes_openings)}; leave it out")
        for name, sentence in unknown_output(self.output, self.flow):
            yield Fault(("output", name), sentence)
        try:
            self.flow.schedule(self.times)
        except CaseError as error:
            yield Fault(("times",), str(error))

    def _name_faults(self) -> Iterator[Fault]:
        """The names that are none, or taken."""
        for name in self.parameters:
            if not _NAME.fullmatch(name) or name in RESERVED:
                what = "reserved in expressions" if name in RESERVED else "no name"
                yield Fault(("parameters", name), f"{name} is {what}; use other letters, digits and _")
        for name in (name for name in self.observe if not _OBSERVABLE.fullmatch(name)):
            yield Fault(("observe", name), f"{name} is no name; use letters, digits, _ and -")

    @property
    def start_density(self) -> DensityKind:
        """The density at the start; uniform, of mass 1, if the flow needs none and the case gives none."""
        return self.flow.start_density(self.initial)

    @property
    def absorbing_sets(self) -> tuple[CellSet, ...]:
        """The sets of cells that absorb."""
        return (self.absorbing,) if isinstance(self.absorbing, CellSet) else self.absorbing

    @property
    def schedule(self) -> TimeGrid:
        """The times of the run: those given, the nodes of a geodesic, or a single frame."""
        return self.flow.schedule(self.times)

    @staticmethod
    def read(path: str | os.PathLike[str], overrides: Mapping[str, str] | None = None) -> Case:
        """The case in a YAML file; `overrides` sets dotted paths to values written as in YAML.

        Raises CaseError with file:line:column of all that is wrong, OutputError if the file cannot be read.
        """
        return Case.parse(read_text(path), os.fspath(path), overrides)

    @staticmethod
    def parse(text: str | bytes, name: str = "case", overrides: Mapping[str, str] | None = None) -> Case:
        """The case in a YAML text."""
        document = documents.parse(text, name)
        return Case.of(apply_overrides(document, overrides) if overrides else document)

    @staticmethod
    def of(document: Document) -> Case:
        """The case in a document; raises CaseError with the place of all that is wrong."""
        made, faults = schema.build(Case, document.values, os.path.dirname(document.name))
        if made is None or document.faults:
            raise document.refusal([*document.faults, *faults])
        object.__setattr__(made, "document", document)  # not an argument, so that dataclasses.replace drops it
        return made

    def replace(self, changes: Mapping[str, Any]) -> Case:
        """The case with the values at dotted paths exchanged: case.replace({"flow.epsilon": 0.02})."""
        name = "case" if self.document is None else self.document.name  # files are looked for from there
        return Case.parse(self.text, name, {path: as_text(value) for path, value in changes.items()})

    def vary(self, changes: Mapping[str, Sequence[Any]]) -> Family:
        """The family of cases with these values at dotted paths: case.vary({"parameters.k": [1, 2]}).run()."""
        from fvflow.case.family import Family

        return Family(self, changes)

    def unused_parameters(self) -> list[str]:
        """Parameters that no expression of the case names."""
        written = self.values if self.document is None else self.document.values
        used = {name for expression in formulas(written, type(self)) for name in expression.names}
        return [name for name in self.parameters if name not in used]

    @property
    def files(self) -> list[str]:
        """The files that the case reads."""
        ends = [density for density in (self.initial, self.flow.end_density) if density is not None]
        return [*self.mesh.files, *self.flow.files, *(file for density in ends for file in density.files)]

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
        return {name: plain_values(value) for name, value in values.items() if value is not None}

    def prepare(self) -> Simulation:
        """The case in arrays, ready to run; raises CaseError naming every stage that cannot be built."""
        stages = Stages(self._refusal)
        if self.document is None:  # made in Python: so far only its parts have been looked at
            stages.add(python_faults(self))
            stages.finish()
        simulation = build_simulation(self, stages)
        return stages.require(("output", "error-estimate"), lambda: with_error_estimate(simulation, self))

    def velocity_of(self, result: str) -> Evaluation:
        """The velocity of the result in a file, at points; raises CaseError or OutputError."""
        from fvflow.case.result_evaluation import evaluate_result

        return evaluate_result(result, Case.parse)

    def check(self, simulation: Simulation | None = None, ranks: int = 1) -> dict[str, Any]:
        """What the run would be, as named sentences: mesh, method, cost and whatever deserves a look before it starts.

        With several `ranks` also what that means. Raises CaseError naming every stage that cannot be built.
        """
        simulation, parameters = simulation or self.prepare(), dict(self.parameters)
        found = report(simulation, self.mesh, parameters, self.unused_parameters(), self.times)
        found |= {} if self.sweep is None else {"sweep": self.sweep.describe()}
        return found if ranks == 1 else {**found, "ranks": about_ranks(self, simulation, ranks)}

    def _refusal(self, faults: list[Fault]) -> CaseError:
        if self.document is not None:
            return self.document.refusal(faults)
        return CaseError(*(f"{documents.dotted(fault.path)}: {fault.message}" for fault in faults))

    def _opening(self) -> dict[str, Any]:
        told = {"title": self.title or UNTITLED, "drawn": " ".join(self.flow.drawn), "case": self.text}
        return {**told, "resolved_case": json.dumps(self.values)}

    def _closing(self, simulation: Simulation) -> dict[str, Any]:
        """The global attributes of a result that are known after the run."""
        missed = "; ".join(check.sentence for check in self.checks.missed(simulation.figures())) or "none"
        told = {"remarks": "\n".join(simulation.remarks()) or "none", "checks_missed": missed}
        placed = {name: value for density in simulation.densities for name, value in density.attributes().items()}
        return {**simulation.figures(), **placed, "positivity": simulation.positivity(), **told}

    def run(self, watch: Watch | None = None) -> xarray.Dataset:
        """Run in memory: the data that `write` would put into a file.

        `watch` is a function, called with the state after every step, or a `Progress`, which is told of the iterations
        of a solver too. Raises CaseError or NumericsError.
        """
        simulation = self.prepare()
        memory = Memory(simulation.layout(), self._opening())
        for frame in simulation.frames(watch):
            memory.append(frame)
        if asking_for_sides(self.checks, self.output):
            compare(simulation, memory.close({}, {}), lambda text, name: self)
        return memory.close(self._closing(simulation), simulation.statistics.solved)

    def write(
        self,
        path: str | os.PathLike[str],
        watch: Watch | None = None,
        simulation: Simulation | None = None,
        tell: Callable[[str], None] = lambda sentence: None,
        *,
        discard: bool = False,
        checkpoint: Tree | None = None,
        lock: Lock | None = None,
    ) -> dict[str, Any]:
        """Run into NAME.nc and NAME.xmf2, frame by frame; returns the figures of the whole run.

        `watch` is as in `run`. A run that is cut short leaves its frames and a checkpoint in NAME.parts, or, if a
        signal asked it to stop, in NAME.nc if no other result is there; `continuation` finds them, and with its
        `checkpoint` and `lock` the run goes on. `tell` is given a sentence for an old result that it takes the place
        of. Frames of another run that was cut short are refused, or, with `discard`, told and removed.
        Raises CaseError, NumericsError, OutputError.
        """
        simulation = simulation or self.prepare()
        path = os.path.realpath(path) if os.path.islink(path) else path  # a link stays one, to the new result
        if FilePath(path).resolve() in (FilePath(file).resolve() for file in self.files):
            raise OutputError(f"{path}: the result would overwrite a file that the case reads; use another name")
        run = identity(self.text, "case" if self.document is None else self.document.name, self.values, self.files)
        parts = simulation, FilePath(path), self._opening(), lambda: self._closing(simulation), run
        recording = Recording(*parts, lambda text, name: self, bool(asking_for_sides(self.checks, self.output)))
        recording.run(watch, tell, discard=discard, checkpoint=checkpoint, lock=lock)
        return simulation.figures()
