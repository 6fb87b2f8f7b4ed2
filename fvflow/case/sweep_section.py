"""What a case says of the sweep over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge


@dataclass(frozen=True)
class SweepSection:
    """The cases that `fvflow sweep` makes of this one; a run of the case itself takes no notice of them."""

    set: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Values by dotted path, as in `flow.epsilon: [0.01, 0.02]`; all combinations are run."""
    zip: bool = False
    """Whether the first values of all paths make the first case, and so on, in place of all combinations."""
    draw: Mapping[str, str] = field(default_factory=dict)
    """Distributions by dotted path, as in `parameters.k: uniform(0.5, 2)`."""
    random: Annotated[int, Ge(1)] | None = None
    """How many times values are drawn."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the draws."""
    fields: bool = False
    """Whether the frames of all cases are kept, beside their figures and diagnostics."""

    def describe(self) -> str:
        """A sentence for `check`."""
        return f"of {', '.join([*self.draw, *self.set]) or 'what --set says'}; fvflow sweep runs it"
