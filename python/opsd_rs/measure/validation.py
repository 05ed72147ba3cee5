"""Accuracy from grades: one row per problem on disk, mean@k with its standard errors for people.

``eval.parquet`` holds a row per (step, arm, problem): ``step, arm, context, problem_id, n, passed, nulls, truncated,
tokens``. Arms: ``student`` and ``teacher``. Nulls (infrastructure faults) leave every mean and are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opsd_rs.base import mean_accuracy, mean_difference
from opsd_rs.records import Grade, Rollout


@dataclass(frozen=True)
class EvalRow:
    """One problem's answers in one validation.

    >>> EvalRow(5, "student", "none", "add", n=4, passed=3, nulls=0, truncated=0, tokens=31.5).passed
    3
    """

    step: int
    arm: str
    context: str
    problem_id: str
    n: int
    """Answers that count: nulls are left out."""
    passed: int
    nulls: int
    truncated: int
    tokens: float
    """Mean completion length."""


@dataclass(frozen=True)
class Accuracy:
    """mean@k over problems, with the two standard errors of Miller (arXiv 2411.00640).

    >>> Accuracy(mean=0.35, se_conditional=0.016, se_super=0.044, num_problems=40, num_nulls=0).mean
    0.35
    """

    mean: float
    se_conditional: float
    """These problems are the population: sampling noise only."""
    se_super: float
    """The problems are a sample too: clustered by problem."""
    num_problems: int
    num_nulls: int


def eval_rows(
    step: int, arm: str, context: str, rollouts: Sequence[Rollout], grades: Sequence[Grade]
) -> list[EvalRow]:
    """Group graded rollouts by problem, in order of first appearance."""
    groups: dict[str, list[tuple[Rollout, Grade]]] = {}
    for rollout, grade in zip(rollouts, grades, strict=True):
        groups.setdefault(rollout.problem_id, []).append((rollout, grade))
    return [
        EvalRow(
            step=step,
            arm=arm,
            context=context,
            problem_id=problem_id,
            n=sum(grade.passed is not None for _, grade in group),
            passed=sum(grade.passed is True for _, grade in group),
            nulls=sum(grade.passed is None for _, grade in group),
            truncated=sum(rollout.truncated for rollout, _ in group),
            tokens=sum(len(rollout.completion_ids) for rollout, _ in group) / len(group),
        )
        for problem_id, group in groups.items()
    ]


def eval_accuracy(group: Iterable[EvalRow]) -> Accuracy:
    """mean@k of one arm at one step. Problems with no countable answer leave the mean."""
    group = list(group)
    mean = mean_accuracy([row.passed for row in group], [row.n for row in group])
    return Accuracy(
        mean=_number(mean.value),
        se_conditional=_number(mean.se_conditional),
        se_super=_number(mean.se_super),
        num_problems=mean.num_problems,
        num_nulls=sum(row.nulls for row in group),
    )


def paired_improvement(before: Iterable[EvalRow], after: Iterable[EvalRow]) -> tuple[float, float, float]:
    """(mean difference after - before, conditional SE, clustered SE) over the problems both arms counted."""
    first = {row.problem_id: row for row in before}
    both = [(first[row.problem_id], row) for row in after if row.problem_id in first]
    mean = mean_difference(
        [row.passed for _, row in both],
        [row.n for _, row in both],
        [row.passed for row, _ in both],
        [row.n for row, _ in both],
    )
    return _number(mean.value), _number(mean.se_conditional), _number(mean.se_super)


def _number(value: float | None) -> float:
    """Tables hold NaN where a figure is undefined."""
    return math.nan if value is None else value


def eval_table(group: Iterable[EvalRow]) -> list[dict[str, Any]]:
    """Rows as plain dictionaries, for parquet."""
    return [asdict(row) for row in group]
