"""How a problem of the primer is written: a statement, inputs, and a solution that is real Python.

In: decorated functions (``trivial``, ``easy``) and calls of ``program`` in the other files of this folder.
Out: ``Definition`` records in the order of writing, without expected outputs; ``build`` makes those.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Definition:
    """One problem before its expected outputs exist.

    >>> Definition("primer-one", "Return 1.", "trivial", "def one(n):\\n    return 1", "one", ()).signature
    'def one(n):'
    """

    problem_id: str
    statement: str
    difficulty: str
    solution: str
    """Source text without the decorator."""
    entry_point: str | None
    """None: the solution is a whole program that reads stdin."""
    inputs: tuple[Any, ...]
    """Function: a tuple of arguments per test. Program: the text on stdin per test."""

    @property
    def signature(self) -> str:
        """The ``def`` line of a function problem, colon included."""
        return self.solution.split("\n", 1)[0]

    @property
    def plain_signature(self) -> str:
        """The ``def`` line without type hints."""
        node = ast.parse(self.solution).body[0]
        assert isinstance(node, ast.FunctionDef)
        return f"def {node.name}({', '.join(argument.arg for argument in node.args.args)}):"


class Catalogue:
    """The problems of one file, in the order they are written."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []

    def trivial(self, *inputs: Any) -> Callable[[Function], Function]:
        """Define a function problem of one obvious line; the docstring is its statement.

        A function of one parameter takes its inputs bare, ``"abc"``; of more, as tuples, ``(1, 2)``.
        """
        return self._function("trivial", inputs)

    def easy(self, *inputs: Any) -> Callable[[Function], Function]:
        """Define a function problem that needs a loop, a branch or an idea."""
        return self._function("easy", inputs)

    def program(
        self,
        name: str,
        statement: str,
        solution: str,
        inputs: tuple[str, ...],
        *,
        difficulty: str = "trivial",
    ) -> None:
        """Define a problem read from stdin; every input gets its final newline here."""
        self.definitions.append(
            Definition(
                problem_id=f"primer-stdin-{name}",
                statement=statement,
                difficulty=difficulty,
                solution=textwrap.dedent(solution).strip(),
                entry_point=None,
                inputs=tuple(text + "\n" for text in inputs),
            )
        )

    def _function(self, difficulty: str, inputs: tuple[Any, ...]) -> Callable[[Function], Function]:
        def register(function: Function) -> Function:
            name = function.__name__
            arity = len(inspect.signature(function).parameters)
            # JSON has no tuples, so a tuple can only be an argument list.
            calls = tuple(call if isinstance(call, tuple) else (call,) for call in inputs)
            if wrong := [call for call in calls if len(call) != arity]:
                raise ValueError(f"{name}: {wrong[0]!r} is not a call with {arity} arguments")
            self.definitions.append(
                Definition(
                    problem_id="primer-" + name.replace("_", "-"),
                    statement=" ".join((function.__doc__ or "").split()),
                    difficulty=difficulty,
                    solution=_source(function),
                    entry_point=name,
                    inputs=calls,
                )
            )
            return function

        return register


def _source(function: Callable[..., Any]) -> str:
    """Return the text of a function without decorators and docstring."""
    text = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    statement, first = node.body[0], node.body[1]
    if statement.lineno != node.lineno + 1:
        raise ValueError(f"{function.__name__}: the signature must be one line, the statement the next")
    lines = text.split("\n")
    return "\n".join([lines[node.lineno - 1], *lines[first.lineno - 1 :]]).strip()
