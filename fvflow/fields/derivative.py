"""Derivatives of expressions, as syntax trees of the same language."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from fvflow.fields.grammar import INSIDE, ExpressionError

_Node = ast.expr


def derivative(node: _Node, name: str) -> _Node:
    """The derivative of a tree by a variable; where it jumps or has a kink, that on one of the sides.

    Raises ExpressionError if a function has no derivative in the language, or if regions depend on the variable.
    """
    match node:
        case ast.Constant() | ast.Compare():
            return _number(0.0)
        case ast.Name(id=found):
            return _number(1.0 if found == name else 0.0)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _minus(derivative(operand, name))
        case ast.UnaryOp(operand=operand):
            return derivative(operand, name)
        case ast.BinOp(left=left, op=operation, right=right):
            return _of_operation(operation, left, right, name)
        case ast.Call(func=ast.Name(id=function), args=arguments):
            return _of_call(function, arguments, name)
    raise AssertionError(ast.dump(node))


def _number(value: float) -> _Node:
    return ast.Constant(value)


def _is(node: _Node, value: float) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _minus(node: _Node) -> _Node:
    return node if _is(node, 0.0) else ast.UnaryOp(ast.USub(), node)


def _sum(left: _Node, right: _Node) -> _Node:
    if _is(left, 0.0) or _is(right, 0.0):
        return right if _is(left, 0.0) else left
    return ast.BinOp(left, ast.Add(), right)


def _product(*factors: _Node) -> _Node:
    if any(_is(factor, 0.0) for factor in factors):
        return _number(0.0)
    first, *rest = [factor for factor in factors if not _is(factor, 1.0)] or [_number(1.0)]
    for factor in rest:
        first = ast.BinOp(first, ast.Mult(), factor)
    return first


def _quotient(above: _Node, below: _Node) -> _Node:
    return above if _is(above, 0.0) else ast.BinOp(above, ast.Div(), below)


def _power(base: _Node, exponent: _Node) -> _Node:
    if _is(exponent, 0.0) or _is(exponent, 1.0):
        return base if _is(exponent, 1.0) else _number(1.0)
    return ast.BinOp(base, ast.Pow(), exponent)


def _less_one(exponent: _Node) -> _Node:
    if isinstance(exponent, ast.Constant) and isinstance(exponent.value, int | float):
        return _number(exponent.value - 1.0)
    return ast.BinOp(exponent, ast.Sub(), _number(1.0))


def _call(function: str, *arguments: _Node) -> _Node:
    return ast.Call(ast.Name(function), list(arguments), [])


def _of_operation(operation: ast.operator, left: _Node, right: _Node, name: str) -> _Node:
    d_left, d_right = derivative(left, name), derivative(right, name)
    match operation:
        case ast.Add():
            return _sum(d_left, d_right)
        case ast.Sub():
            return _sum(d_left, _minus(d_right))
        case ast.Mult():
            return _sum(_product(d_left, right), _product(left, d_right))
        case ast.Div():
            return _sum(_quotient(d_left, right), _minus(_quotient(_product(left, d_right), _product(right, right))))
    by_base = _product(right, _power(left, _less_one(right)), d_left)
    return _sum(by_base, _product(_power(left, right), _call("log", left), d_right))


def _over(numerator: float, below: _Node) -> _Node:
    return _quotient(_number(numerator), below)


def _one_and_square(sign: float, x: _Node) -> _Node:
    """1 + sign x^2."""
    return ast.BinOp(_number(1.0), ast.Add() if sign > 0 else ast.Sub(), _product(x, x))


def _bell(factor: float, x: _Node) -> _Node:
    return _product(_number(factor), _call("exp", _minus(_product(x, x))))


_OF: dict[str, Callable[[_Node], _Node]] = {
    "exp": lambda x: _call("exp", x),
    "expm1": lambda x: _call("exp", x),
    "log": lambda x: _over(1.0, x),
    "log10": lambda x: _over(1.0 / math.log(10.0), x),
    "log1p": lambda x: _over(1.0, ast.BinOp(_number(1.0), ast.Add(), x)),
    "sqrt": lambda x: _over(0.5, _call("sqrt", x)),
    "sin": lambda x: _call("cos", x),
    "cos": lambda x: _minus(_call("sin", x)),
    "tan": lambda x: _over(1.0, _product(_call("cos", x), _call("cos", x))),
    "asin": lambda x: _over(1.0, _call("sqrt", _one_and_square(-1, x))),
    "acos": lambda x: _over(-1.0, _call("sqrt", _one_and_square(-1, x))),
    "atan": lambda x: _over(1.0, _one_and_square(1, x)),
    "sinh": lambda x: _call("cosh", x),
    "cosh": lambda x: _call("sinh", x),
    "tanh": lambda x: _over(1.0, _product(_call("cosh", x), _call("cosh", x))),
    "abs": lambda x: _call("sign", x),
    "sign": lambda x: _number(0.0),
    "floor": lambda x: _number(0.0),
    "heaviside": lambda x: _number(0.0),
    "erf": lambda x: _bell(2.0 / math.sqrt(math.pi), x),
    "erfc": lambda x: _bell(-2.0 / math.sqrt(math.pi), x),
    "j0": lambda x: _minus(_call("j1", x)),
    "i0": lambda x: _call("i1", x),
}
"""Derivatives of the functions of one argument."""


def _of_call(function: str, arguments: list[_Node], name: str) -> _Node:
    if function == INSIDE:
        raise ExpressionError(f"{INSIDE}(...) jumps between cells and has no derivative; use a formula of the position")
    if function == "where":
        condition, *values = arguments
        return _call("where", condition, *(derivative(value, name) for value in values))
    inner = [derivative(argument, name) for argument in arguments]
    if all(_is(each, 0.0) for each in inner):
        return _number(0.0)
    if function in ("min", "max"):
        smaller, larger = arguments if function == "min" else arguments[::-1]
        return _call("where", ast.Compare(smaller, [ast.Lt()], [larger]), *inner)
    if function == "atan2":
        (y, x), (d_y, d_x) = arguments, inner
        square = ast.BinOp(_product(x, x), ast.Add(), _product(y, y))
        return _quotient(_sum(_product(x, d_y), _minus(_product(y, d_x))), square)
    if function not in _OF:
        raise ExpressionError(
            f"the derivative of {function} is no function of the language; write the function by others"
        )
    return _product(_OF[function](arguments[0]), inner[0])
