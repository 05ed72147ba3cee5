"""Our own problem format: one JSON object per line, its keys those of ``records.Problem``.

Types are strict, unknown keys are errors, missing optional keys take the record's defaults. Errors name the
key and the fix; the caller adds file and line.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from datetime import date
from functools import cache
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.inputs import loads
from opsd_rs.problems.entry_names import entry_name
from opsd_rs.records import Case, Problem


def parse(line: bytes) -> Problem:
    """One line of our jsonl as a problem.

    :raises BadInput: names the key, the reason and the fix; the caller knows file and line

    >>> parse(b'{"problem_id": "add", "prompt": "Add.", "tests": [{"input": "1 2", "output": "3"}]}').kind
    'stdin'
    """
    from pydantic import ValidationError

    try:
        (problem,) = _parser().validate_json(b"[" + line.strip() + b"]")
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise BadInput(_fault(min(faults, key=lambda fault: fault["type"] == "missing"))) from None
    assert isinstance(problem, Problem)
    if not problem.problem_id:
        raise BadInput("key problem_id: must not be empty")
    if not problem.tests:
        raise BadInput("key tests: must hold at least one test, or every program would pass")
    if not (math.isfinite(problem.time_limit_seconds) and problem.time_limit_seconds > 0):
        raise BadInput("key time_limit_seconds: must be a positive number")
    if problem.memory_limit_mib < 1:
        raise BadInput("key memory_limit_mib: must be at least 1")
    if problem.date is not None and not is_date(problem.date):
        raise BadInput(f"key date: {problem.date!r} is not a date like 2025-02-01")
    if problem.entry_point is not None:
        name = entry_name(problem.entry_point, "entry_point")
        if name is None:
            raise BadInput(f"key entry_point: {problem.entry_point!r} is neither a name nor Class.name")
        problem = dataclasses.replace(problem, entry_point=name)
        _check_function(problem)
    return problem


def parse_object(line: bytes) -> dict[str, Any]:
    """One line as a JSON object, of whatever keys.

    :raises BadInput: it is none
    """
    try:
        value = loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON ({error}): one JSON object per line is expected") from error
    if not isinstance(value, dict):
        raise BadInput(f"one JSON object per line is expected, found {type(value).__name__}")
    return value


def format_line(problem: Problem) -> bytes:
    """The problem as one line, every key written out; ``parse`` gives it back equal."""
    return json.dumps(dataclasses.asdict(problem), ensure_ascii=False).encode() + b"\n"


def is_date(text: str) -> bool:
    """Whether the text is an ISO date with dashes; such dates sort as text."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


@cache
def _parser() -> Any:
    """The record's own fields are the schema: strict types, no other keys."""
    from pydantic import ConfigDict, TypeAdapter

    # In a tuple, because pydantic takes a configuration only beside a plain dataclass, not on it.
    return TypeAdapter(tuple[Problem], config=ConfigDict(strict=True, extra="forbid"))


def _fault(fault: Any) -> str:
    """One of pydantic's errors as key, reason and fix."""
    place = list(fault["loc"][1:])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    if fault["type"] == "missing":
        return f"key {key} is missing"
    if fault["type"] == "unexpected_keyword_argument":
        known = [field.name for field in dataclasses.fields(Case if len(place) > 1 else Problem)]
        close = difflib.get_close_matches(str(place[-1]), known, n=1)
        return f"unknown key {key}: " + (
            f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        )
    if fault["type"] == "json_invalid":
        # We put one character before the line.
        said = re.sub(r" at line 1 column (\d+)", lambda m: f" at column {int(m[1]) - 1}", str(fault["msg"]))
        return f"{said}: one JSON object per line is expected"
    if not key:
        return f"one JSON object per line is expected ({str(fault['msg']).lower()})"
    found = type(fault["input"]).__name__
    return f"key {key}: {str(fault['msg']).lower()}, found {'null' if found == 'NoneType' else found}"


def _check_function(problem: Problem) -> None:
    for index, test in enumerate(problem.tests):
        values = [("input", number, text) for number, text in enumerate(test.input.split("\n"), 1)]
        for key, number, text in (*values, ("output", 1, test.output)):
            try:
                json.loads(text, parse_int=str, parse_float=str)  # syntax only: digits may be many
            except (ValueError, RecursionError) as error:
                raise BadInput(
                    f"key tests[{index}].{key}: line {number} is not JSON ({error}): a function call takes "
                    "one JSON value per line of input, and one as output"
                ) from error
