"""Arguments and results of function calls as our tests have them: JSON, one argument per line.

Data sets write arguments as such lines (LiveCodeBench), as a list (APPS), or as Python would write them in the call
(LeetCode: ``nums = [2, 7], target = 9``). Nothing is evaluated.
"""

from __future__ import annotations

import ast
from typing import Any

from opsd_rs.inputs import Digits, as_json, dumps, literal, loads, short

MOST_POWER = 64
"""Largest exponent of a constant power: ``2 ** 10`` is a number, ``9 ** 9 ** 9`` a trap."""


def arguments(value: Any) -> str:
    """The arguments of a call.

    :raises ValueError: a text that is neither

    >>> arguments("a = 1, b = [2]"), arguments([1, [2]]), arguments("1\\n[2]")
    ('1\\n[2]', '1\\n[2]', '1\\n[2]')
    """
    if not isinstance(value, str):
        return "\n".join(map(dumps, value if isinstance(value, list) else [value]))
    reason = None
    for line in value.split("\n"):
        try:
            loads(line)
        except ValueError as error:
            reason = error
            break
    if reason is None:
        return value
    try:
        call = ast.parse(f"f({value.strip()}\n)", mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError("no arguments of a call")
        return "\n".join(map(dumps, call_arguments(call)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"input {short(value)} is not JSON, one value per line, nor the arguments of a call in Python ({reason})"
        ) from None


def result(value: Any) -> str:
    """The expected result as JSON.

    :raises ValueError: a text that is neither JSON nor a Python literal
    """
    if not isinstance(value, str):
        return dumps(value)
    try:
        loads(value)
    except ValueError as error:
        try:
            return dumps(literal(value))
        except ValueError:
            raise ValueError(
                f"output {short(value)} is neither JSON nor a Python literal ({error})"
            ) from None
    return value


def call_arguments(call: ast.Call) -> list[Any]:
    """The constant arguments of a call in their order.

    :raises ValueError: one that is no constant, or that JSON does not have
    """
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        raise ValueError("an argument with a star")
    if any(keyword.arg is None for keyword in call.keywords):
        raise ValueError("an argument with two stars")
    return [constant(node) for node in [*call.args, *(keyword.value for keyword in call.keywords)]]


def constant(node: ast.expr) -> Any:
    """The JSON value of a constant expression: a literal, with sums, products and small powers of numbers.

    :raises ValueError: no constant, a value that JSON does not have, or one whose type only Python can tell
    """
    value = _folded(node)
    _check_tuples(value)
    return as_json(value)


def _check_tuples(value: Any) -> None:
    """A tuple beside other values may only be known by its type, which a list loses."""
    if isinstance(value, (list, tuple)):
        tuples = sum(isinstance(item, tuple) for item in value)
        if 0 < tuples < len(value):
            raise ValueError("tuples beside other values, which JSON cannot tell from lists")
        for item in value:
            _check_tuples(item)
    elif isinstance(value, dict):
        for item in value.values():
            _check_tuples(item)


def _folded(node: ast.expr) -> Any:
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_folded(item) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError("a dictionary with two stars")
        return {_folded(key): _folded(item) for key, item in zip(node.keys, node.values, strict=True) if key}
    if isinstance(node, ast.BinOp):
        return _operation(node.op, _folded(node.left), _folded(node.right))
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        raise ValueError(f"{short(ast.unparse(node))} is no constant") from None


def _operation(op: ast.operator, left: Any, right: Any) -> Any:
    """Of two numbers, or of a text or list that repeats."""
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, Digits) for value in (left, right)
    )
    try:
        if numbers and isinstance(op, ast.Add):
            return left + right
        if numbers and isinstance(op, ast.Sub):
            return left - right
        if numbers and isinstance(op, ast.Mult):
            return left * right
        if numbers and isinstance(op, ast.Div):
            return left / right
        if numbers and isinstance(op, ast.FloorDiv):
            return left // right
        if numbers and isinstance(op, ast.Mod):
            return left % right
        if numbers and isinstance(op, ast.Pow) and 0 <= right <= MOST_POWER:
            return left**right
        if isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, (str, list, tuple)):
            return left + right
    except ArithmeticError as error:
        raise ValueError(str(error)) from error
    raise ValueError("an operation that is no constant")
