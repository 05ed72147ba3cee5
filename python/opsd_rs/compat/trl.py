"""TRL's reward function for programs: ``reward_func`` as it is, or ``make_reward_func`` with settings of your own.

    trainer = GRPOTrainer(model, reward_funcs=opsd_rs.compat.trl.reward_func, train_dataset=dataset)

The trainer calls it with ``prompts``, ``completions`` and every further column of the dataset, a value per completion.
The tests are taken from the first of these columns that is there: ``ground_truth``, ``input_output``, ``reward_model``,
``tests``, or another of those by which a problem file is known (docs/grader.md, Problems); what stands beside them
counts too (``entry_point``, ``fn_name``, ``metadata``, ``time_limit_seconds``). A completion is text, or messages of a
chat, of which the assistant's last counts.

A reward is 1.0 or 0.0; None where the row has no tests, and for an infrastructure fault: TRL leaves such a reward out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from opsd_rs.compat import shared
from opsd_rs.config import GraderOptions
from opsd_rs.errors import BadInput
from opsd_rs.problems import CONTEST_KEYS, TEST_KEYS
from opsd_rs.records import Problem, Solution

FIRST = ("ground_truth", "input_output", "reward_model", "tests")
COLUMNS = (*FIRST, *(key for key in TEST_KEYS if key not in FIRST))
"""Where the tests may be, in the order they are looked for."""
BESIDE = (
    "entry_point", "fn_name", "func_name", "metadata", "time_limit_seconds", "starter_code", "input_mode", "prompt",
    "generated_checker",
)  # fmt: skip
"""Columns that say how the tests are run."""

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
    if column is None and not any(name in columns for name in COLUMNS):
        raise BadInput(
            f"the dataset has none of the columns {', '.join(COLUMNS)}: name the one with the tests"
        )
    if column is not None:
        _column(columns, column, num_rows)
    order = [column] if column is not None else [name for name in COLUMNS if name in columns]
    table = {name: _column(columns, name, num_rows) for name in (*order, *BESIDE) if name in columns}
    made: list[Problem | None] = []
    for row in range(num_rows):
        # Of a dataset that was joined from several, each row has null in the columns of the others.
        key = next((name for name in order if name in table and table[name][row] is not None), None)
        try:
            made.append(None if key is None else _problem({name: table[name][row] for name in table}, key))
        except BadInput as error:
            raise BadInput(f"column {key}, row {row} of the batch: {error}") from None
    return made


def _column(columns: Mapping[str, Any], name: str, num_rows: int) -> Sequence[Any]:
    if name not in columns:
        raise BadInput(f"the dataset has no column {name}")
    values: Sequence[Any] = columns[name]
    if len(values) != num_rows:
        raise BadInput(f"column {name}: {len(values)} values for {num_rows} completions")
    return values


def _problem(row: Mapping[str, Any], key: str) -> Problem:
    """The problem of a row whose tests stand under ``key``; one of another name holds what ``ground_truth`` does."""
    keys = CONTEST_KEYS if key in CONTEST_KEYS else (key,)
    known = {name: row[name] for name in (*keys, *BESIDE) if name in row}
    return shared.from_row(known if key in TEST_KEYS else {**known, "ground_truth": known.pop(key)})


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
