"""Accuracy from grades: one row per problem on disk, mean@k with its standard errors.

``eval.parquet`` holds a row per (step, arm, problem): ``step, arm, context, problem_id, n, passed, nulls, truncated,
tokens``. Arms: ``student`` and ``teacher``. Nulls (infrastructure faults) leave every mean and are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from opsd_rs.base import Mean, mean_accuracy, mean_difference
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


def eval_accuracy(group: Iterable[EvalRow]) -> Mean:
    """mean@k of one arm at one step. Problems with no countable answer leave the mean."""
    group = list(group)
    return mean_accuracy([row.passed for row in group], [row.n for row in group])


def num_nulls(group: Iterable[EvalRow]) -> int:
    """Answers that no mean counts."""
    return sum(row.nulls for row in group)


def paired_improvement(before: Iterable[EvalRow], after: Iterable[EvalRow]) -> Mean:
    """Mean difference after - before, over the problems that both arms counted."""
    first = {row.problem_id: row for row in before}
    both = [(first[row.problem_id], row) for row in after if row.problem_id in first]
    return mean_difference(
        [row.passed for _, row in both],
        [row.n for _, row in both],
        [row.passed for row, _ in both],
        [row.n for row, _ in both],
    )


def eval_table(group: Iterable[EvalRow]) -> list[dict[str, Any]]:
    """Rows as plain dictionaries, for parquet."""
    return [asdict(row) for row in group]
