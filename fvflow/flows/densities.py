"""The part of the contract of a flow that says between which densities it runs."""

from __future__ import annotations

from typing import ClassVar

from fvflow.fields import DensityKind, Uniform

CasePath = tuple[str | int, ...]
"""The keys that lead to a value of a case."""


class FlowDensities:
    """The densities that a case gives to a flow."""

    kind: str
    needs_initial: ClassVar[bool] = True
    """Whether a case has to give the initial density; where it need not, the default is uniform, of mass 1."""
    uses_initial: ClassVar[bool] = True
    """Whether the result depends on where the initial mass is, beside how much there is."""

    @property
    def own_start(self) -> tuple[CasePath, DensityKind] | None:
        """Its place in the case and the density it starts from, if that is no `initial`; None if it is."""
        return None

    def initial_fault(self, *, given: bool) -> str:
        """What is wrong with a case that gives an initial density, or does not; empty if nothing is."""
        if (own := self.own_start) is not None:
            return f"flow {self.kind} has its densities in `{own[0][1]}`; leave initial out" if given else ""
        return "is missing" if self.needs_initial and not given else ""

    def start_density(self, initial: DensityKind | None) -> DensityKind:
        """The density that a run starts from; uniform, of mass 1, if there is none."""
        if (own := self.own_start) is not None:
            return own[1]
        return Uniform() if initial is None else initial

    @property
    def given_densities(self) -> tuple[tuple[CasePath, DensityKind], ...]:
        """Its place in the case and each density that is neither the initial nor the final one."""
        return ()

    @property
    def end_density(self) -> DensityKind | None:
        """The final density, if it is prescribed."""
        return None
