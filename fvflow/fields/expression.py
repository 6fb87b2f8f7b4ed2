"""The expressions of a case, evaluated at points."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.fields.derivative import derivative
from fvflow.fields.grammar import (
    CONSTANTS,
    FUNCTIONS,
    INSIDE,
    ExpressionError,
    evaluate,
    is_region_call,
    parse,
)
from fvflow.mesh import Array, Subset

LARGEST_VALUE = 1e100
"""Size beyond which the values of a function are refused."""


@dataclass(frozen=True)
class FormulaMark:
    """Marks a field of a case as an expression, for the schema."""

    names: frozenset[str] = frozenset()
    """Names that it may use beside the axes and the parameters."""
    regions: bool = True
    """Whether it is evaluated in cells, so that it may use regions of the mesh."""
    momenta: bool = False
    """Whether it may use px, py, pz, as many as there are axes."""


Formula = Annotated[str | float, FormulaMark(frozenset("t"))]
SteadyFormula = Annotated[str | float, FormulaMark()]
HamiltonianFormula = Annotated[str | float, FormulaMark(frozenset("t"), regions=False, momenta=True)]
KernelFormula = Annotated[str | float, FormulaMark(frozenset("r"), regions=False)]
Parameters = Mapping[str, float]
"""The parameters of a case: names that its expressions may use, with their values."""


@dataclass(frozen=True)
class Expression:
    """A formula of numbers, + - * / **, comparisons, names, FUNCTIONS and inside(region); nothing else is evaluated.

    Comparisons give 0 or 1; inside(region) gives the fraction of the cell that lies in a named region of the mesh.
    Raises ExpressionError if the text is not in the language.

    >>> Expression("0.5*k*x**2")(x=np.array([0.0, 2.0]), k=3.0)
    array([0., 6.])
    >>> Expression("x.__class__")
    Traceback (most recent call last):
    fvflow.fields.grammar.ExpressionError: x.__class__ is not allowed in an expression; ...
    """

    text: str | float
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = repr(self.text) if isinstance(self.text, int | float) else self.text
        object.__setattr__(self, "_tree", parse(text))

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables and parameters that it uses, without functions and constants."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        not_values = {id(node.func) for node in calls} | {id(node.args[0]) for node in calls if is_region_call(node)}
        values = [node for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in not_values]
        return frozenset({node.id for node in values} - set(CONSTANTS))

    @cached_property
    def regions(self) -> frozenset[str]:
        """The regions of the mesh that it uses."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call) and is_region_call(node)]
        return frozenset(part.id for call in calls for part in call.args if isinstance(part, ast.Name))

    def derivative(self, name: str) -> Expression:
        """The derivative by a variable; raises ExpressionError if the language has none.

        >>> Expression("x**3 + sin(t)*x").derivative("x")(x=2.0, t=0.0)
        np.float64(12.0)
        """
        made = copy(self)
        object.__setattr__(made, "text", f"d/d{name} ({self.text})")
        object.__setattr__(made, "_tree", derivative(self._tree, name))
        return made

    def along(self, axis: int, step: float) -> Expression:
        """The derivative along an axis, in closed form."""
        return self.derivative("xyz"[axis])

    def __call__(self, **values: Any) -> Any:
        """The value for given variables, elementwise over arrays; it may be non-finite, without a warning."""
        with np.errstate(all="ignore"):
            return evaluate(self._tree, values)

    def require(self, allowed: frozenset[str]) -> None:
        """Raise ExpressionError if it uses a name that is not allowed."""
        import difflib

        for name in sorted(self.names - allowed):
            if name in FUNCTIONS:
                raise ExpressionError(f"{name} is a function, write {name}(...), or declare a parameter of this name")
            close = difflib.get_close_matches(name, sorted(allowed | set(FUNCTIONS)), n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            raise ExpressionError(
                f"unknown name {name}{guess} (known here: {', '.join(sorted(allowed | {'pi'}))}; declare others in "
                "parameters)"
            )

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value (point,) at positions (point, dim).

        `regions` gives the fraction of each point's cell (point,) that lies in each region of the mesh. Raises
        CaseError if an axis or region is missing, and as `require_finite` if a value is not finite.
        """
        axes = dict(zip("xyz", position.T, strict=False))
        absent = sorted(self.names & set("xyz") - set(axes))
        if absent:
            raise CaseError(f"{self.text} uses {', '.join(absent)}, the mesh has {position.shape[1]} dimensions")
        for name in self.regions:
            axes[f"{INSIDE} {name}"] = _region(name, regions)
        value = self(**axes, t=np.float64(time), **{name: np.float64(number) for name, number in parameters.items()})
        value = np.asarray(value, dtype=float)
        if value.shape != (len(position),) or value.base is not None:  # a number, or the positions themselves
            value = np.broadcast_to(value, len(position))
        require_finite(value, position, time, str(self.text))
        return value


def require_finite(value: Array, position: Array, time: float, name: str) -> None:
    """Raise at the first of the positions (point, dim) where a value (point,) is not finite.

    A value beyond LARGEST_VALUE, whose products overflow, counts as not finite. At time 0, before the run, the error is
    a CaseError; later it is a NumericsError.
    """
    finite = np.abs(value) <= LARGEST_VALUE
    if not finite.all():
        bad = int(np.argmin(finite))
        place = ", ".join(f"{axis} = {value:.6g}" for axis, value in zip("xyz", position[bad], strict=False))
        refusal = CaseError if time == 0.0 else NumericsError
        raise refusal(
            f"{name} is {value[bad]:g} at {place}, t = {time:g}; it has to be finite everywhere{_too_large(value[bad])}"
        )


def _too_large(value: float) -> str:
    return f", and at most {LARGEST_VALUE:g} in size: products of larger values overflow" if np.isfinite(value) else ""


def _region(name: str, regions: Mapping[str, Array] | None) -> Array:
    if regions is None:
        raise CaseError(f"{INSIDE}({name}) has no meaning here; use it in potentials, velocities and densities")
    if name not in regions:
        known = ", ".join(sorted(regions)) or "none (physical groups of a gmsh file are regions)"
        raise CaseError(f"the mesh has no region {name}; it has {known}")
    return regions[name]


def restrict_regions(regions: Mapping[str, Array], subset: Subset) -> dict[str, Array]:
    """The fraction in each region, for a subset of the cells or faces."""
    return {name: inside[subset] for name, inside in regions.items()}
