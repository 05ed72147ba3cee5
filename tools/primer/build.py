"""Make ``primer.jsonl``: run every reference solution on its inputs and record its answers.

The same sources give the same bytes. A solution that changes its arguments, prints, fails or answers with
something JSON cannot hold stops the build, naming the problem and the input.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tools.primer import arithmetic, choices, lists, programs_numbers, programs_text, tables, text

if TYPE_CHECKING:
    from tools.primer.define import Catalogue, Definition

OUT = Path("python/opsd_rs/data/primer.jsonl")
FUNCTIONS = (arithmetic.PROBLEMS, text.PROBLEMS, lists.PROBLEMS, choices.PROBLEMS, tables.PROBLEMS)
PROGRAMS = (programs_numbers.PROBLEMS, programs_text.PROBLEMS)
NUM_PUBLIC = 2
"""Tests per problem that its statement's reader may see; the rest are private."""
TIME_LIMIT_SECONDS = 1.0
"""CPU seconds per test; every reference solution needs a few milliseconds, and small models loop for ever often."""
DATE, RELEASE, PLATFORM = "2026-11-24", "primer-1", "primer"


def interleave(catalogues: tuple[Catalogue, ...]) -> list[Definition]:
    """Return the problems of all files, mixed in proportion, so that any prefix holds every kind."""
    groups: dict[tuple[int, str], list[Definition]] = {}
    for number, catalogue in enumerate(catalogues):
        for definition in catalogue.definitions:
            groups.setdefault((number, definition.difficulty), []).append(definition)
    placed = [
        ((place + 0.5) / len(group), key, definition)
        for key, group in groups.items()
        for place, definition in enumerate(group)
    ]
    return [definition for _, _, definition in sorted(placed, key=lambda row: row[:2])]


def prompt(definition: Definition) -> str:
    """Return the user's message: the task, and the form of the answer.

    The wording of function problems is the best of those tried, see ``docs/appendix/primer.md``; type hints in the
    signature made the small model worse, so they are in ``starter_code`` only.
    """
    if definition.entry_point is None:
        return (
            f"{definition.statement}\n\nWrite a Python program that reads standard input and prints the answer. "
            "Answer with one Python code block."
        )
    return (
        f"```python\n{definition.plain_signature}\n    # {definition.statement}\n```\n\n"
        "Complete this Python function. Answer with one Python code block."
    )


def run_function(definition: Definition, arguments: tuple[Any, ...]) -> str:
    """Return the JSON of what the reference function answers to one call."""
    scope: dict[str, Any] = {}
    exec(definition.solution, scope)
    given = copy.deepcopy(arguments)
    answer = scope[str(definition.entry_point)](*given)
    if given != arguments:
        raise ValueError(f"{definition.problem_id}: the solution changes its arguments on {arguments!r}")
    encoded = to_json(answer)
    if json.loads(encoded) != answer:
        raise ValueError(f"{definition.problem_id}: {answer!r} on {arguments!r} is not a JSON value")
    return encoded


def run_program(definition: Definition, stdin: str) -> str:
    """Return what the reference program prints when ``stdin`` is all its input."""
    printed = io.StringIO()
    with mock.patch.object(sys, "stdin", io.StringIO(stdin)), contextlib.redirect_stdout(printed):
        exec(definition.solution, {"__name__": "__main__"})
    return printed.getvalue()


def to_json(value: Any) -> str:
    """Return the one JSON text of a value that the tests use: ASCII, no line breaks."""
    return json.dumps(value, allow_nan=False)


def record(definition: Definition) -> dict[str, Any]:
    """Return the problem as one line of the file holds it."""
    if definition.entry_point is None:
        pairs = [(stdin, run_program(definition, stdin)) for stdin in definition.inputs]
    else:
        pairs = [
            ("\n".join(map(to_json, call)), run_function(definition, call)) for call in definition.inputs
        ]
    tests = [
        {"input": given, "output": expected, "public": index < NUM_PUBLIC}
        for index, (given, expected) in enumerate(pairs)
    ]
    return {
        "problem_id": definition.problem_id,
        "prompt": prompt(definition),
        "starter_code": None if definition.entry_point is None else definition.signature,
        "entry_point": definition.entry_point,
        "tests": tests,
        "solution": definition.solution,
        "difficulty": definition.difficulty,
        "platform": PLATFORM,
        "date": DATE,
        "release": RELEASE,
        "time_limit_seconds": TIME_LIMIT_SECONDS,
    }


def build() -> str:
    """Return the text of ``primer.jsonl``: function problems first, then stdin problems."""
    definitions = interleave(FUNCTIONS) + interleave(PROGRAMS)
    return "".join(json.dumps(record(definition)) + "\n" for definition in definitions)
