"""Accuracy from grades: one row per problem on disk, mean@k with its standard errors for people.

``eval.parquet`` holds a row per (step, arm, problem): ``step, arm, context, problem_id, n, passed, nulls, truncated,
tokens``. Arms: ``student`` and ``teacher``. Nulls (infrastructure faults) leave every mean and are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from opsd_rs.records import Grade, Rollout


@dataclass(frozen=True)
class EvalRow:
    """One problem's answers in one validation.

    >>> EvalRow(step=5, arm="student", context="none", problem_id="add", n=4, passed=3, nulls=0, truncated=0, tokens=31.5).passed
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


def rows(
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


def accuracy(group: Iterable[EvalRow]) -> Accuracy:
    """mean@k of one arm at one step. Problems with no countable answer leave the mean."""
    group = list(group)
    counted = [row for row in group if row.n > 0]
    if not counted:
        return Accuracy(float("nan"), float("nan"), float("nan"), 0, sum(row.nulls for row in group))
    p, n = rates(counted)
    return Accuracy(
        mean=float(p.mean()),
        se_conditional=conditional_se(p, n),
        se_super=super_se(p),
        num_problems=len(counted),
        num_nulls=sum(row.nulls for row in group),
    )


def rates(counted: Sequence[EvalRow]) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, Any]]:
    """(accuracy per problem, answers per problem)."""
    n = np.array([row.n for row in counted], dtype=np.float64)
    return np.array([row.passed for row in counted], dtype=np.float64) / n, n


def conditional_se(p: np.ndarray[Any, Any], n: np.ndarray[Any, Any]) -> float:
    """sqrt(sum p(1-p)/(k-1)) / N: the noise of k draws per fixed problem; NaN where a problem has one draw only."""
    if (n < 2).any():
        return float("nan")
    return float(np.sqrt((p * (1 - p) / (n - 1)).sum()) / len(p))


def super_se(differences: np.ndarray[Any, Any]) -> float:
    """Standard error over problems of a mean of per-problem values."""
    return float(differences.std(ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else float("nan")


def paired(before: Iterable[EvalRow], after: Iterable[EvalRow]) -> tuple[float, float, float]:
    """(mean difference after - before, conditional SE, clustered SE) over the problems both arms counted."""
    first = {row.problem_id: row for row in before if row.n > 0}
    both = [(first[row.problem_id], row) for row in after if row.n > 0 and row.problem_id in first]
    if not both:
        return float("nan"), float("nan"), float("nan")
    p0, n0 = rates([a for a, _ in both])
    p1, n1 = rates([b for _, b in both])
    return (
        float((p1 - p0).mean()),
        float(np.hypot(conditional_se(p0, n0), conditional_se(p1, n1))),
        super_se(p1 - p0),
    )


def table(group: Iterable[EvalRow]) -> list[dict[str, Any]]:
    """Rows as plain dictionaries, for parquet."""
    return [asdict(row) for row in group]
