"""Rows of the public data sets and of trainers' tables: one row in, one problem out.

The tests stand under a key by which the row is known: ``input_output`` (APPS, TACO, LeetCodeDataset), ``tests`` (SDPO,
DeepCoder), ``reward_model.ground_truth`` (verl), ``verification_info`` (open-r1), ``official_tests`` (open-r1's
Codeforces), ``public_tests`` and its like (CodeContests), ``test_list`` (MBPP), ``test`` (HumanEval). Limits stated for
compiled languages are ignored; ``time_limit`` beside inputs and outputs is a grader's and is kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opsd_rs.errors import BadInput
from opsd_rs.inputs import get, is_absent, parse, present
from opsd_rs.problems.asserts import check_function
from opsd_rs.problems.cases import NAMES, Found, opened, read_tests, time_limit
from opsd_rs.problems.entry_names import entry_name
from opsd_rs.problems.ours import is_date
from opsd_rs.problems.unsupported import Unsupported
from opsd_rs.records import Case, Problem

PLAIN_KEYS = ("input_output", "tests", "test_cases", "official_tests", "unit_tests", "ground_truth")
"""Keys that hold tests and nothing else."""
CONTEST_KEYS = ("public_tests", "private_tests", "generated_tests")
"""CodeContests' three, in the order in which they are joined."""
TEST_KEYS = (
    *PLAIN_KEYS[:3], "verification_info", "reward_model", *PLAIN_KEYS[3:], *CONTEST_KEYS, "test_list", "test",
    "base_input", "plus_input",
)  # fmt: skip
"""All keys by which a row is known, first match first."""
NAME_KEYS = ("problem_id", "task_id", "question_id", "id", "idx", "name")
"""Keys of a problem's name, first match first; then ``extra_info.index``."""
FOREIGN_TEST_KEYS = ("testtype", "metadata", "fn_name", "type", "func_name", "assert_case")
"""Keys of a test that ours does not have."""
INSTRUCTION = "Complete this Python function. Answer with one Python code block."


@dataclass(frozen=True, slots=True)
class Names:
    """What a row may be called."""

    name: str
    qualified: str | None = None
    """With the source and the part of the data set, where the row says them: each counts from zero."""


def is_record(row: Mapping[str, Any]) -> bool:
    """Whether a row is of one of these shapes, and not of our own form."""
    keys = [key for key in TEST_KEYS if key in row]
    if not keys:
        return False
    if keys != ["tests"] or not isinstance(row["tests"], list):
        return True
    tests = row["tests"]
    if "problem_id" not in row and any(
        key in row for key in (*NAME_KEYS[1:], "problem", "question", "description")
    ):
        return True
    return bool(tests) and all(
        isinstance(test, str) or (isinstance(test, Mapping) and any(key in test for key in FOREIGN_TEST_KEYS))
        for test in tests
    )


def row_names(row: Mapping[str, Any], number: int) -> Names:
    """The row's name; ``number``, its place in the file, where it has none.

    :raises BadInput: a name that is neither a text nor a whole number
    """
    extra = _object(row.get("extra_info"))
    name = get(row, *NAME_KEYS)
    name = get(extra, "index", "id") if name is None or name == "" else name
    if name is None or name == "":
        return Names(
            str(number), f"row-{number + 1}"
        )  # the longer one where another row is called by that number
    if isinstance(name, float) and name.is_integer():
        name = int(name)  # a column of integers with a null in it
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise BadInput(f"the problem's name must be a string or an integer, found {type(name).__name__}")
    source, part = get(row, "data_source", "source", "dataset"), get(extra, "split")
    words = [word for word in (source, part) if isinstance(word, str) and word]
    return Names(str(name), "/".join([*words, str(name)]) if words else None)


def row_problem(row: Mapping[str, Any], name: str) -> Problem:
    """The problem of a row.

    :param name: what it is called, see :func:`row_names`
    :raises Unsupported: the row is not code, or is judged by more than its tests
    :raises BadInput: names the key and what is wrong with it
    """
    row = present(row) | {key: None for key in TEST_KEYS if key in row and is_absent(row[key])}
    _check_kind(row)
    found = row_tests(row)
    date = get(row, "date", "contest_date")
    is_mbpp, is_humaneval = (test_key(row) == key for key in ("test_list", "test"))
    return Problem(
        problem_id=name,
        prompt=_mbpp_prompt(row, found)
        if is_mbpp
        else _humaneval_prompt(row)
        if is_humaneval
        else _prompt(row),
        tests=found.cases,
        starter_code=_words(row, "starter_code") or (_signature(row, found.entry_point) if is_mbpp else None),
        entry_point=found.entry_point,
        solution=_solution(
            get(row, "solutions", "code", "canonical_solution"), row if is_humaneval else None
        ),
        difficulty=_words(row, "difficulty"),
        platform=_words(row, "source") or _words(row, "platform"),
        date=date if isinstance(date, str) and is_date(date) else None,
        time_limit_seconds=found.time_limit or 6.0,
    )


def row_tests(row: Mapping[str, Any]) -> Found:
    """The tests of a row.

    :raises Unsupported: none of its keys holds any
    :raises BadInput: as for :func:`row_problem`
    """
    if not any(key in row for key in TEST_KEYS):
        raise BadInput(
            f"none of the keys {', '.join(TEST_KEYS)}: of no form that is known, see docs/grader.md, Problems; "
            f"it has {', '.join(row)}"
        )
    key, name = test_key(row), _row_function(row)
    if key in CONTEST_KEYS:
        return _contests(row, name)
    value = row[key]
    if key == "reward_model":
        holder = opened(key, value)
        if not isinstance(holder, Mapping):
            raise Unsupported(f"key {key}: must hold ground_truth, found {type(holder).__name__}")
        key, value = "reward_model.ground_truth", holder.get("ground_truth")
    elif key == "verification_info":
        holder = opened(key, value)
        inside = isinstance(holder, Mapping) and "test_cases" in holder
        key, value = (f"{key}.test_cases", holder["test_cases"]) if inside else (key, holder)
    elif key == "test_list":
        return _public_first(read_tests(key, value, entry_point=name), 1)
    elif key == "test":
        if name is None:
            raise BadInput("key entry_point is missing: which function does check(candidate) test?")
        bools = all(word in str(row.get("prompt", "")) for word in ("True", "False"))
        found = check_function(key, str(value), name, is_predicate=bools)
        return _public_first(found, 2)
    elif key in ("base_input", "plus_input"):
        raise Unsupported(
            f"key {key}: holds inputs without outputs: take the data set's table with test instead"
        )
    found = read_tests(key, value, entry_point=name)
    own = time_limit(row.get("time_limit_seconds"), "time_limit_seconds")
    return Found(found.cases, found.entry_point, found.time_limit or own)


def test_key(row: Mapping[str, Any]) -> str:
    """The first key that holds something, else the first that is there."""
    keys = [key for key in TEST_KEYS if key in row]
    return next((key for key in keys if not is_absent(row[key]) and row[key] != ""), keys[0] if keys else "")


def _check_kind(row: Mapping[str, Any]) -> None:
    """Rows that are not judged by the output of a program on standard input, or by a call's result."""
    kind = row.get("kind", "code")
    if kind != "code":
        raise Unsupported(f"key kind: only code can be graded, found {kind!r}")
    checker = next((key for key in ("generated_checker", "checker") if get(row, key)), None)
    if checker is not None:
        raise Unsupported(
            f"key {checker}: several answers are right, which only the row's own checker can tell"
        )
    if get(row, "interaction_format"):
        raise Unsupported(
            "key interaction_format: the program talks with the judge; its output alone cannot be graded"
        )
    if get(row, "input_mode") == "file" or get(row, "input_file") or get(row, "output_file"):
        raise Unsupported("the program reads and writes files, not standard input and output")
    if "input_output" in row and re.search(r"\b(ListNode|TreeNode)\b", _heads(get(row, "starter_code"))):
        raise Unsupported(
            "key starter_code: the function takes or gives objects of ListNode or TreeNode, not values"
        )


def _heads(starter: Any) -> str:
    """The signatures of a starter code, without its comments."""
    lines = starter.splitlines() if isinstance(starter, str) else []
    return "\n".join(line for line in lines if line.lstrip().startswith("def "))


def _row_function(row: Mapping[str, Any]) -> str | None:
    key = next((key for key in NAMES if not is_absent(row.get(key)) and row[key] != ""), None)
    if key is not None:
        return entry_name(row[key], key)
    metadata = _object(row.get("metadata"))
    return entry_name(get(metadata, *NAMES), "metadata.func_name")


def _object(value: Any) -> Mapping[str, Any]:
    """An object, or the one in a text; empty for anything else, since it is not needed."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = parse(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _contests(row: Mapping[str, Any], name: str | None) -> Found:
    parts = []
    for key in CONTEST_KEYS:
        value = opened(key, row.get(key))
        if isinstance(value, Mapping) and not any(present(value).values()):
            value = []
        if value:
            parts.append(read_tests(key, value, entry_point=name))
            if key == "public_tests":
                parts[-1] = _public_first(parts[-1], len(parts[-1].cases))
    if not parts:
        raise Unsupported(f"keys {', '.join(CONTEST_KEYS)}: hold no test, or every program would pass")
    return Found(tuple(case for part in parts for case in part.cases), parts[0].entry_point)


def _public_first(found: Found, count: int) -> Found:
    """The first tests as those that a learner may see: they stand in the statement."""
    cases = [Case(case.input, case.output, place < count) for place, case in enumerate(found.cases)]
    return Found(tuple(cases), found.entry_point, found.time_limit)


def _mbpp_prompt(row: Mapping[str, Any], found: Found) -> str:
    text = get(row, "text", "prompt") or ""
    head = _signature(row, found.entry_point) or f"def {found.entry_point}(...):"
    return f"```python\n{head}\n    # {text}\n```\n\n{INSTRUCTION}"


def _humaneval_prompt(row: Mapping[str, Any]) -> str:
    return f"```python\n{str(row.get('prompt', '')).rstrip()}\n```\n\n{INSTRUCTION}"


def _signature(row: Mapping[str, Any], name: str | None) -> str | None:
    """The head of the function in the published program."""
    try:
        body = ast.parse(str(row.get("code", ""))).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return f"def {name}({ast.unparse(node.args)}):"
    return None


def _prompt(row: Mapping[str, Any]) -> str:
    words = ("question", "problem", "problem_description", "question_content", "prompt", "description")
    prompt = next((row[word] for word in words if row.get(word)), "")
    if isinstance(prompt, list):  # messages of a chat
        said = [part.get("content") for part in prompt if isinstance(part, Mapping)]
        prompt = said[-1] if said else ""
    if not isinstance(prompt, str):
        raise BadInput(f"the problem's statement must be a string, found {type(prompt).__name__}")
    return prompt


def _words(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    return str(value) if isinstance(value, (str, int)) and str(value).strip() else None


def _solution(value: Any, humaneval: Mapping[str, Any] | None) -> str | None:
    """The first of the published programs; they come as a list, in a string or not, or not at all."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = parse(value)
        except ValueError:
            return None  # it is not needed for grading
    first = value[0] if isinstance(value, list) and value else value
    if not isinstance(first, str) or not first.strip():
        return None
    return f"{humaneval.get('prompt', '')}{first}" if humaneval is not None else first
