"""Assertions in Python (MBPP, HumanEval) as tests of ours: those that compare a call with a constant.

A program never sees an expected value here, so an assertion cannot be run beside it; it is read instead. What cannot be
read (a loop, a call of another function, a tolerance) makes the whole row one that cannot be graded.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from opsd_rs.inputs import dumps, short
from opsd_rs.problems.calls import call_arguments, constant
from opsd_rs.problems.unsupported import Unsupported
from opsd_rs.records import Case

if TYPE_CHECKING:
    from opsd_rs.problems.cases import Found

CANDIDATE = "candidate"
"""How HumanEval calls the function under test."""


def assertions(key: str, lines: Any, entry_point: str | None = None) -> Found:
    """Tests from a list of assertions.

    :param entry_point: the function; None: the one that the assertions call
    :raises Unsupported: names the assertion and why it is no test of ours

    >>> assertions("test_list", ["assert add(1, 2) == 3"]).cases
    (Case(input='1\\n2', output='3', public=False),)
    """
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Unsupported(f"key {key}: must be a list of assertions")
    statements = [statement for line in lines for statement in _parsed(key, line)]
    return _found(key, statements, entry_point, {entry_point} if entry_point else set())


def check_function(key: str, text: str, entry_point: str, *, is_predicate: bool = False) -> Found:
    """Tests from the text of a function ``check(candidate)``.

    :param is_predicate: the function's result is True or False, so that ``assert f(x)`` means ``f(x) == True``

    :raises Unsupported: as for :func:`assertions`
    """
    defined = [
        node for node in _parsed(key, text) if isinstance(node, ast.FunctionDef) and node.name == "check"
    ]
    if not defined:
        raise Unsupported(f"key {key}: defines no function check(candidate), so it cannot be read")
    parameters = defined[0].args.args
    name = parameters[0].arg if parameters else CANDIDATE
    return _found(key, defined[0].body, entry_point, {name, entry_point}, is_predicate)


def _parsed(key: str, text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unsupported(f"key {key}: {short(text)} is no Python ({str(error).splitlines()[0]})") from None


def _found(
    key: str,
    statements: Sequence[ast.stmt],
    entry_point: str | None,
    names: set[str | None],
    is_predicate: bool = False,
) -> Found:
    from opsd_rs.problems.cases import Found

    cases, called = [], set[str]()
    for statement in statements:
        if _says_nothing(statement):
            continue
        try:
            name, case = _case(statement, is_predicate)
        except ValueError as error:
            shown = short(ast.unparse(statement))
            raise Unsupported(
                f"key {key}: {shown} cannot be graded ({error}): only assertions that compare a call with a constant "
                "can"
            ) from None
        if names and name not in names:
            raise Unsupported(f"key {key}: {short(ast.unparse(statement))} calls {name}, not {entry_point}")
        called.add(name)
        cases.append(case)
    if not cases:
        raise Unsupported(f"key {key}: holds no test, or every program would pass: leave the problem out")
    if place := _told_by_type(statements):
        raise Unsupported(
            f"key {key}: argument {place} is a tuple in some assertions and a list in others, which JSON cannot tell "
            "apart"
        )
    if entry_point is None and len(called) > 1:
        raise Unsupported(f"key {key}: the assertions call several functions: {', '.join(sorted(called))}")
    return Found(tuple(cases), entry_point or called.pop())


def _told_by_type(statements: Iterable[ast.stmt]) -> int | None:
    """The place, from 1, of an argument that is a tuple here and a list there: the function may ask for its type."""
    kinds: dict[int, set[type]] = {}
    for statement in statements:
        calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
        for place, node in enumerate(calls[0].args if calls else [], 1):
            kinds.setdefault(place, set()).add(type(node))
    return next((place for place, found in kinds.items() if found >= {ast.Tuple, ast.List}), None)


def _says_nothing(statement: ast.stmt) -> bool:
    """Comments in quotes, ``pass``, imports, and assertions of a constant that is true."""
    if isinstance(statement, (ast.Pass, ast.Import, ast.ImportFrom)):
        return True
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and bool(statement.test.value)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Constant, ast.Name))


def _case(statement: ast.stmt, is_predicate: bool) -> tuple[str, Case]:
    """The function's name and the test of one assertion."""
    if not isinstance(statement, ast.Assert):
        raise ValueError("no assertion")
    test = statement.test
    if is_predicate:
        negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        call = test.operand if isinstance(test, ast.UnaryOp) else test
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            return call.func.id, Case("\n".join(map(dumps, call_arguments(call))), dumps(not negated))
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        raise ValueError("no comparison")
    left, right = test.left, test.comparators[0]
    if not isinstance(left, ast.Call):
        left, right = right, left
    if not isinstance(left, ast.Call):
        raise ValueError("no call")
    wanted = constant(right)
    is_equal = isinstance(test.ops[0], ast.Eq)
    if not is_equal and not (
        isinstance(test.ops[0], ast.Is) and (wanted is None or isinstance(wanted, bool))
    ):
        raise ValueError("compared by something other than ==")
    if not isinstance(left.func, ast.Name):
        raise ValueError("no plain function")
    return left.func.id, Case("\n".join(map(dumps, call_arguments(left))), dumps(wanted))
