"""TRL's reward function for programs: ``reward_func`` as it is, or ``make_reward_func`` with settings of your own.

    trainer = GRPOTrainer(model, reward_funcs=opsd_rs.compat.trl.reward_func, train_dataset=dataset)

The trainer calls it with ``prompts``, ``completions`` and every further column of the dataset, a value per completion.
The tests are taken from the first of these columns that is there: ``ground_truth`` or ``input_output`` (``inputs``,
``outputs`` and, for calls, ``fn_name``, as JSON or as an object), ``reward_model`` (verl's, with ``ground_truth``
inside), ``tests`` (a list of ``input`` and ``output``, with ``entry_point`` and ``time_limit_seconds`` in columns of
their own). A completion is text, or messages of a chat, of which the assistant's last counts.

A reward is 1.0 or 0.0; None where the row has no tests, and for an infrastructure fault: TRL leaves such a reward out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from opsd_rs.compat import shared
from opsd_rs.config import GraderOptions
from opsd_rs.errors import BadInput
from opsd_rs.records import Case, Problem, Solution

COLUMNS = ("ground_truth", "input_output", "reward_model", "tests")
"""Where the tests may be, in the order they are looked for."""

RewardFunc = Callable[..., list[float | None]]


def reward_func(completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Rewards in the order of ``completions``, with the default settings."""
    return _rewards(completions, columns, column=None, problems=None, continuous=False, settings=None)


def make_reward_func(
    *,
    column: str | None = None,
    problems: Mapping[str, Problem] | None = None,
    continuous: bool = False,
    name: str = "passed",
    **grader: Unpack[GraderOptions],
) -> RewardFunc:
    """A reward function with its own settings.

    :param column: the column that holds the tests, in place of the first of ``COLUMNS`` that is there
    :param problems: problems by name (``opsd_rs.problems``), looked up by the column ``problem_id``; the dataset then
        needs no tests
    :param continuous: the share of accepted tests instead of 1 for all and 0 otherwise
    :param name: under which TRL logs it
    :param grader: options of ``opsd_rs.Grader``
    """

    def rewards(completions: Sequence[Any], **columns: Any) -> list[float | None]:
        return _rewards(
            completions, columns, column=column, problems=problems, continuous=continuous, settings=grader
        )

    rewards.__name__ = rewards.__qualname__ = name
    return rewards


def _rewards(
    completions: Sequence[Any],
    columns: Mapping[str, Any],
    *,
    column: str | None,
    problems: Mapping[str, Problem] | None,
    continuous: bool,
    settings: Mapping[str, Any] | None,
) -> list[float | None]:
    rewards: list[float | None] = [None] * len(completions)
    rows, items = [], []
    for row, problem in enumerate(_problems(len(completions), columns, column, problems)):
        if problem is not None:
            rows.append(row)
            items.append((problem, Solution(problem.problem_id, row, completion=text(completions[row]))))
    grades = shared.grader(settings).grade(items) if items else []
    for row, grade in zip(rows, grades, strict=True):
        if grade.passed is not None:
            rewards[row] = shared.share_accepted(grade) if continuous else float(grade.passed)
    if callable(log := columns.get("log_metric")):
        log("infra_error", float(sum(grade.passed is None for grade in grades)))  # every process, every time
    return rewards


def _problems(
    num_rows: int,
    columns: Mapping[str, Any],
    column: str | None,
    problems: Mapping[str, Problem] | None,
) -> list[Problem | None]:
    if problems is not None:
        names = _column(columns, "problem_id", num_rows)
        unknown = sorted({str(name) for name in names if name is not None and name not in problems})
        if unknown:
            raise BadInput(f"column problem_id: no such problem: {', '.join(unknown[:3])}")
        return [None if name is None else problems[name] for name in names]
    found = column or next((name for name in COLUMNS if name in columns), None)
    if found is None:
        raise BadInput(
            f"the dataset has none of the columns {', '.join(COLUMNS)}: name the one with the tests"
        )
    values = _column(columns, found, num_rows)
    if found == "reward_model":
        values = [None if value is None else value.get("ground_truth") for value in values]
    entry_points = (
        _column(columns, "entry_point", num_rows) if "entry_point" in columns else [None] * num_rows
    )
    limits = (
        _column(columns, "time_limit_seconds", num_rows)
        if "time_limit_seconds" in columns
        else [None] * num_rows
    )
    made: list[Problem | None] = []
    for row, value in enumerate(values):
        try:
            made.append(None if value is None else _problem(value, entry_points[row], limits[row]))
        except BadInput as error:
            raise BadInput(f"column {found}, row {row} of the batch: {error}") from None
    return made


def _column(columns: Mapping[str, Any], name: str, num_rows: int) -> Sequence[Any]:
    if name not in columns:
        raise BadInput(f"the dataset has no column {name}")
    values: Sequence[Any] = columns[name]
    if len(values) != num_rows:
        raise BadInput(f"column {name}: {len(values)} values for {num_rows} completions")
    return values


def _problem(value: Any, entry_point: str | None, time_limit_seconds: float | None) -> Problem:
    value = shared.plain(value)
    if not isinstance(value, list):
        return shared.from_pairs(value)
    key = json.dumps([value, entry_point, time_limit_seconds], sort_keys=True)

    def make(name: str) -> Problem:
        for number, test in enumerate(value, start=1):
            for word in ("input", "output"):
                if not isinstance(test, dict) or not isinstance(test.get(word), str):
                    raise BadInput(f"test {number}: needs {word}, a string")
        tests = tuple(Case(test["input"], test["output"]) for test in value)
        limit = 6.0 if time_limit_seconds is None else float(time_limit_seconds)
        return Problem(name, "", tests, entry_point=entry_point or None, time_limit_seconds=limit)

    return shared.problem_of(key, make)


def text(completion: Any) -> str:
    """What the assistant said last.

    >>> text([{"role": "user", "content": "Go."}, {"role": "assistant", "content": "print(1)"}])
    'print(1)'
    """
    if isinstance(completion, str):
        return completion
    for message in reversed(completion):
        if message.get("role", "assistant") == "assistant":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if content is not None:  # parts of a message
                return "".join(part.get("text") or "" for part in content)
    return ""
