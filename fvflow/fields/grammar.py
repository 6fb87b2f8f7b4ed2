"""The grammar of expressions and their evaluation: a subset of Python's syntax over numpy arrays."""

from __future__ import annotations

import ast
import keyword
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fvflow.errors import CaseError

LONGEST, MOST_NODES, DEEPEST = 2000, 500, 50
LARGEST_POWER = 64  # largest integer exponent that is evaluated by multiplication


class ExpressionError(CaseError):
    """The text is not an expression of the language, or uses a name that is not defined."""


def _where(condition: Any, yes: Any, no: Any) -> Any:
    return np.where(np.asarray(condition) != 0, yes, no)


def _heaviside(x: Any) -> Any:
    return np.heaviside(x, 0.5)


def _special(name: str) -> Callable[..., Any]:
    """A function of scipy.special, which takes long to import."""

    def function(x: Any) -> Any:
        import scipy.special

        return getattr(scipy.special, name)(x)

    return function


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {  # name: (function, number of arguments)
    "exp": (np.exp, 1),
    "log": (np.log, 1),
    "sqrt": (np.sqrt, 1),
    "sin": (np.sin, 1),
    "cos": (np.cos, 1),
    "tan": (np.tan, 1),
    "asin": (np.arcsin, 1),
    "acos": (np.arccos, 1),
    "atan": (np.arctan, 1),
    "atan2": (np.arctan2, 2),
    "sinh": (np.sinh, 1),
    "cosh": (np.cosh, 1),
    "tanh": (np.tanh, 1),
    "log10": (np.log10, 1),
    "log1p": (np.log1p, 1),
    "expm1": (np.expm1, 1),
    "abs": (np.abs, 1),
    "sign": (np.sign, 1),
    "floor": (np.floor, 1),
    "min": (np.minimum, 2),
    "max": (np.maximum, 2),
    "where": (_where, 3),
    "heaviside": (_heaviside, 1),
    "erf": (_special("erf"), 1),
    "erfc": (_special("erfc"), 1),
    "gamma": (_special("gamma"), 1),
    "lgamma": (_special("gammaln"), 1),
    "j0": (_special("j0"), 1),
    "j1": (_special("j1"), 1),
    "i0": (_special("i0"), 1),
    "i1": (_special("i1"), 1),
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
INSIDE = "inside"  # inside(name): the fraction of a cell that lies in a region of the mesh, 0 to 1
RESERVED = frozenset({"x", "y", "z", "t", "r", INSIDE, *CONSTANTS, *keyword.kwlist})


def parse(text: str) -> ast.expr:
    """The syntax tree of an expression; raises ExpressionError if it is not in the language."""
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
    """Raise ExpressionError unless the node and its children are in the language."""
    if depth > DEEPEST:
        raise ExpressionError(f"the expression is nested more than {DEEPEST} deep; simplify it")
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return _check_number(number)
        case ast.Name():
            return None
        case (
            ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() | ast.Pow())
            | ast.UnaryOp(op=ast.USub() | ast.UAdd())
        ):
            return _check_children(node, depth)
        case ast.Compare(ops=[operator_node]) if type(operator_node) in _OPERATORS:
            return _check_children(node, depth)
        case ast.Call(func=ast.Name(id=name)) if name == INSIDE:
            return _check_inside(node)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _check_arguments(name, arguments, depth)
    raise _not_in_language(node)


def _check_number(number: float) -> None:
    if (isinstance(number, int) and abs(number) > 1e308) or not math.isfinite(number):
        raise ExpressionError(f"the number {str(number)[:20]} is not finite")


def _check_inside(call: ast.Call) -> None:
    if len(call.args) != 1 or not isinstance(call.args[0], ast.Name) or call.keywords:
        raise ExpressionError(f"{INSIDE} takes the name of one region of the mesh, as in {INSIDE}(core)")


def _check_arguments(name: str, arguments: list[ast.expr], depth: int) -> None:
    expected = FUNCTIONS[name][1]
    if len(arguments) != expected:
        raise ExpressionError(f"{name} takes {expected} argument(s), got {len(arguments)}")
    for argument in arguments:
        _check(argument, depth + 1)


def _not_in_language(node: ast.AST) -> ExpressionError:
    shown = ast.unparse(node)[:60] if isinstance(node, ast.expr) else type(node).__name__
    for kind, advice in _ADVICE.items():
        if isinstance(getattr(node, "op", node), kind):
            return ExpressionError(f"{shown} is not allowed in an expression; {advice}")
    return ExpressionError(
        f"{shown} is not allowed in an expression; allowed are numbers, + - * / **, comparisons of two, names and "
        f"{' '.join(FUNCTIONS)} {INSIDE}"
    )


def _check_children(node: ast.AST, depth: int) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, depth + 1)


def is_region_call(node: ast.AST) -> bool:
    """Whether the node is inside(...)."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == INSIDE


def evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """The value of a syntax tree for given variables; regions are variables named `inside NAME`."""
    match node:
        case ast.Constant(value=number):
            return np.float64(number)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return np.float64(CONSTANTS[name]) if name in CONSTANTS else values[name]
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _power(evaluate(base, values), evaluate(exponent, values))
        case ast.BinOp(left=left, op=kind, right=right):
            return _OPERATORS[type(kind)](evaluate(left, values), evaluate(right, values))
        case ast.UnaryOp(op=kind, operand=operand):
            return _OPERATORS[type(kind)](evaluate(operand, values))
        case ast.Compare(left=left, ops=[kind], comparators=[right]):
            return _OPERATORS[type(kind)](evaluate(left, values), evaluate(right, values)) * 1.0
        case ast.Call(func=ast.Name(id=name), args=[ast.Name(id=region)]) if name == INSIDE:
            return values[f"{INSIDE} {region}"]
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return FUNCTIONS[name][0](*(evaluate(argument, values) for argument in arguments))
    raise AssertionError(ast.dump(node))


def _power(base: Any, exponent: Any) -> Any:
    """base**exponent; small integer powers by repeated squaring, which is several times faster than numpy's pow."""
    if np.ndim(exponent) == 0 and exponent == _integer_or_nan(exponent) and 2 <= exponent <= LARGEST_POWER:
        return _product(base, int(exponent))
    return np.power(base, exponent)


def _integer_or_nan(number: Any) -> float:
    """The number if it is an integer, else NaN, which is equal to nothing."""
    return float(number) if float(number).is_integer() else math.nan


def _product(base: Any, count: int) -> Any:
    if count == 1:
        return base
    half = _product(base, count // 2)
    return half * half * base if count % 2 else half * half
