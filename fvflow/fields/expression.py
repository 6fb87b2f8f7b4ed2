"""The expressions of a case: a small language over numpy arrays, read from Python's own syntax tree."""

from __future__ import annotations

import ast
import keyword
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

import numpy as np

from fvflow.errors import CaseError, NumericsError
from fvflow.mesh import Array, Subset

LONGEST, MOST_NODES, DEEPEST = 2000, 500, 50
LARGEST_POWER = 64  # integer powers up to here are products


@dataclass(frozen=True)
class FormulaMark:
    """Marks a field that holds an expression, for the schema."""

    names: frozenset[str] = frozenset()  # what it may use beside the axes and the parameters
    regions: bool = True  # whether it is evaluated in cells, so that it may name regions


Formula = Annotated[str | float, FormulaMark(frozenset("t"))]
SteadyFormula = Annotated[str | float, FormulaMark()]
KernelFormula = Annotated[str | float, FormulaMark(frozenset("r"), regions=False)]
Parameters = Mapping[str, float]


class ExpressionError(CaseError):
    """An expression that is not in the language."""


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(np.asarray(condition) != 0, yes, no)


def _heaviside(x: Any) -> Any:
    return np.heaviside(x, 0.5)


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # name: (function, number of arguments)
    "exp": (np.exp, 1),
    "log": (np.log, 1),
    "sqrt": (np.sqrt, 1),
    "sin": (np.sin, 1),
    "cos": (np.cos, 1),
    "tan": (np.tan, 1),
    "tanh": (np.tanh, 1),
    "abs": (np.abs, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
    "where": (_where, 3),
    "erf": (_erf, 1),
    "heaviside": (_heaviside, 1),
}
CONSTANTS = {"pi": math.pi}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.divide,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ADVICE: dict[type[ast.AST], str] = {
    ast.BitXor: "write ** for powers",
    ast.IfExp: "write where(condition, a, b)",
    ast.BoolOp: "multiply comparisons for and, take their max for or",
}
INSIDE = "inside"  # inside(name): the part of a cell that lies in a region of the mesh, 0 to 1
RESERVED = frozenset({"x", "y", "z", "t", "r", INSIDE, *FUNCTIONS, *CONSTANTS, *keyword.kwlist})


@dataclass(frozen=True)
class Expression:
    """A formula in numbers, + - * / **, comparisons, names, FUNCTIONS and inside(region); nothing else is evaluated.

    Comparisons give 0 or 1, inside(region) the part of the cell that lies in a named region of the mesh. Raises
    ExpressionError when the text is not in the language.

    >>> Expression("0.5*k*x**2")(x=np.array([0.0, 2.0]), k=3.0)
    array([0., 6.])
    >>> Expression("x.__class__")
    Traceback (most recent call last):
    fvflow.fields.expression.ExpressionError: x.__class__ is not allowed in an expression; ...
    """

    text: str | float
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        text = repr(self.text) if isinstance(self.text, int | float) else self.text
        object.__setattr__(self, "_tree", _parse(text))

    @cached_property
    def names(self) -> frozenset[str]:
        """The variables and parameters it uses, without functions and constants."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call)]
        other = {id(node.func) for node in calls} | {id(node.args[0]) for node in calls if _is_inside(node)}
        found = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in other}
        return frozenset(found - set(CONSTANTS))

    @cached_property
    def regions(self) -> frozenset[str]:
        """The regions of the mesh that it names."""
        calls = [node for node in ast.walk(self._tree) if isinstance(node, ast.Call) and _is_inside(node)]
        return frozenset(part.id for call in calls for part in call.args if isinstance(part, ast.Name))

    def __call__(self, **values: Any) -> Any:
        """The value, elementwise over arrays; may be non-finite, without warning."""
        with np.errstate(all="ignore"):
            return _evaluate(self._tree, values)

    def require(self, allowed: frozenset[str]) -> None:
        """Refuse names that are not allowed: ExpressionError."""
        import difflib

        for name in sorted(self.names - allowed):
            close = difflib.get_close_matches(name, sorted(allowed | set(FUNCTIONS)), n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            raise ExpressionError(
                f"unknown name {name}{guess} (known here: {', '.join(sorted(allowed | {'pi'}))}; declare others in "
                "parameters)"
            )

    def at(
        self, position: Array, parameters: Parameters, time: float, regions: Mapping[str, Array] | None = None
    ) -> Array:
        """The value at the positions (point, dim): (point,). Raises at the first not finite.

        `regions` has the part of each point's cell (point,) that lies in each region of the mesh.
        """
        axes = dict(zip("xyz", position.T, strict=False))
        absent = sorted(self.names & set("xyz") - set(axes))
        if absent:
            raise CaseError(f"{self.text} uses {', '.join(absent)}, the mesh has {position.shape[1]} dimensions")
        for name in self.regions:
            axes[f"{INSIDE} {name}"] = _region(name, regions)
        value = self(**axes, t=np.float64(time), **{name: np.float64(number) for name, number in parameters.items()})
        value = np.broadcast_to(np.asarray(value, dtype=float), len(position))
        finite = np.isfinite(value)
        if not finite.all():
            bad = int(np.argmin(finite))
            place = ", ".join(f"{axis} = {value:.6g}" for axis, value in zip("xyz", position[bad], strict=False))
            refusal = CaseError if time == 0.0 else NumericsError  # found before the run, or in it
            raise refusal(f"{self.text} is {value[bad]:g} at {place}, t = {time:g}; it has to be finite everywhere")
        return value


def _parse(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression of {len(text)} characters; at most {LONGEST} are allowed")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        column = (
            f" near {text.strip()[max(0, (error.offset or 1) - 1) :][:12]!r}" if isinstance(error, SyntaxError) else ""
        )
        raise ExpressionError(f"{text!r} is not an expression{column}; products need *, powers **") from None
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise ExpressionError(f"the expression has more than {MOST_NODES} parts; name some of them in parameters")
    _check(tree, 0)
    return tree


def _check(node: ast.AST, depth: int) -> None:
    """Refuse all but the whitelisted nodes."""
    if depth > DEEPEST:
        raise ExpressionError(f"the expression is nested more than {DEEPEST} deep; simplify it")
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            if (isinstance(number, int) and abs(number) > 1e308) or not math.isfinite(number):
                raise ExpressionError(f"the number {str(number)[:20]} is not finite")
            return None
        case ast.Name():
            return None
        case (
            ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow())
            | ast.UnaryOp(op=ast.USub() | ast.UAdd())
        ):
            return _check_children(node, depth)
        case ast.Compare(ops=[operator_node]) if type(operator_node) in _OPERATORS:
            return _check_children(node, depth)
        case ast.Call(func=ast.Name(id=name), args=[ast.Name()], keywords=[]) if name == INSIDE:
            return None
        case ast.Call(func=ast.Name(id=name)) if name == INSIDE:
            raise ExpressionError(f"{INSIDE} takes the name of one region of the mesh, as in {INSIDE}(core)")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            wanted = FUNCTIONS[name][1]
            if len(arguments) != wanted:
                raise ExpressionError(f"{name} takes {wanted} argument(s), got {len(arguments)}")
            for argument in arguments:
                _check(argument, depth + 1)
            return None
    shown = ast.unparse(node)[:60] if isinstance(node, ast.expr) else type(node).__name__
    for kind, advice in _ADVICE.items():
        if isinstance(getattr(node, "op", node), kind):
            raise ExpressionError(f"{shown} is not allowed in an expression; {advice}")
    raise ExpressionError(
        f"{shown} is not allowed in an expression; allowed are numbers, + - * / **, comparisons of two, names and "
        f"{' '.join(FUNCTIONS)} {INSIDE}"
    )


def _is_inside(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == INSIDE


def _region(name: str, regions: Mapping[str, Array] | None) -> Array:
    if regions is None:
        raise CaseError(f"{INSIDE}({name}) has no meaning here; use it in potentials, velocities and densities")
    if name not in regions:
        known = ", ".join(sorted(regions)) or "none (physical groups of a gmsh file are regions)"
        raise CaseError(f"the mesh has no region {name}; it has {known}")
    return regions[name]


def restrict_regions(regions: Mapping[str, Array], part: Subset) -> dict[str, Array]:
    """The regions at some of the cells or faces."""
    return {name: inside[part] for name, inside in regions.items()}


def _check_children(node: ast.AST, depth: int) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, depth + 1)


def _evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=number):
            return np.float64(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return np.float64(CONSTANTS[name]) if name in CONSTANTS else values[name]
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _power(_evaluate(base, values), _evaluate(exponent, values))
        case ast.BinOp(left=left, op=kind, right=right):
            return _OPERATORS[type(kind)](_evaluate(left, values), _evaluate(right, values))
        case ast.UnaryOp(op=kind, operand=operand):
            return _OPERATORS[type(kind)](_evaluate(operand, values))
        case ast.Compare(left=left, ops=[kind], comparators=[right]):
            return _OPERATORS[type(kind)](_evaluate(left, values), _evaluate(right, values)) * 1.0
        case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=region)]) if name == INSIDE:
            return values[f"{INSIDE} {region}"]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name][0](*(_evaluate(argument, values) for argument in arguments))
    raise AssertionError(ast.dump(node))


def _power(base: Any, exponent: Any) -> Any:
    """base**exponent; small integer powers by repeated squaring, several times faster than numpy's pow."""
    if np.ndim(exponent) == 0 and exponent == _integer_or_nan(exponent) and 2 <= exponent <= LARGEST_POWER:
        return _product(base, int(exponent))
    return np.power(base, exponent)


def _integer_or_nan(number: Any) -> float:
    """The number if it is an integer, else NaN (which equals nothing)."""
    return float(number) if float(number).is_integer() else math.nan


def _product(base: Any, count: int) -> Any:
    if count == 1:
        return base
    half = _product(base, count // 2)
    return half * half * base if count % 2 else half * half
