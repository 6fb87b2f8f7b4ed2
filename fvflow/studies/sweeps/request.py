"""What is asked of a sweep: by its caller, and by the section `sweep` of the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fvflow.case import schema
from fvflow.case.document import Document, Fault
from fvflow.case.overrides import as_text
from fvflow.case.sweep_section import SweepSection
from fvflow.studies.sweeps.plan import Plan, make_plan

_NO_NAMES: dict[str, Any] = {"axes": "xyz", "parameters": {}, "numbers": {}}


@dataclass(frozen=True)
class Request:
    """Values and distributions by dotted path, as texts in YAML; None leaves it to the case."""

    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    draws: Mapping[str, str] = field(default_factory=dict)
    together: bool = False
    random: int | None = None
    seed: int | None = None
    fields: bool = False

    def plan(self, document: Document) -> tuple[Document, Plan, bool]:
        """The case without its section, the plan, and whether frames are kept; raises CaseError.

        What is asked for here comes before the section of the case; what is not is taken from there.
        """
        section = _section(document)
        asked = {*self.lists, *self.fixed, *self.draws}
        lists = {
            path: [_written(value) for value in values] for path, values in section.set.items() if path not in asked
        }
        draws = {path: text for path, text in section.draw.items() if path not in asked}
        plan = make_plan(
            {**lists, **self.lists},
            self.fixed,
            {**draws, **self.draws},
            together=self.together or section.zip,
            random=section.random if self.random is None else self.random,
            seed=section.seed if self.seed is None else self.seed,
        )
        values = {name: value for name, value in document.values.items() if name != "sweep"}
        return replace(document, values=values), plan, self.fields or section.fields


def _written(value: Any) -> str:
    """A value of the section as on the command line, where linspace(...) stands for several."""
    return value if isinstance(value, str) and value.startswith(("linspace(", "geomspace(")) else as_text(value)


def _section(document: Document) -> SweepSection:
    given = document.values.get("sweep", {})
    if not isinstance(given, dict):
        raise document.refusal(
            [Fault(("sweep",), "expected a mapping, as in sweep: {set: {flow.epsilon: [0.1, 0.2]}}")]
        )
    made, faults = schema.build(SweepSection, given, context=dict(_NO_NAMES))
    if made is None:
        raise document.refusal([replace(fault, path=("sweep", *fault.path)) for fault in faults])
    return made
