"""Groups of samples: ``rollout.n`` answers to a problem that are each other's peers, as in training.

The answers of one group share its luck: one first success is the solution that all its teachers read. So a group is
one observation, and errors come from the spread between a problem's groups, never from its samples.

In: rows by problem, one list per group. Out: means with errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import Mean, grouped_difference
from opsd_rs.measure.validation import EvalRow, eval_accuracy, paired_improvement
from opsd_rs.records import Rollout

# Shapes: N problems, G groups.

Rows = Sequence[Sequence[EvalRow]]
"""Per group, a row per problem."""


def by_group(rollouts: Sequence[Rollout], size: int) -> list[list[int]]:
    """Places of ``rollouts`` by group: samples 0 to size - 1 of every problem, then the next ``size``, and so on.

    >>> answers = [Rollout("add", sample, (1,), (2,), (0.0,), "", False, 0) for sample in range(4)]
    >>> by_group(answers, 2)
    [[0, 1], [2, 3]]
    """
    groups: dict[int, list[int]] = {}
    for place, rollout in enumerate(rollouts):
        groups.setdefault(rollout.sample // size, []).append(place)
    return [groups[group] for group in sorted(groups)]


def group_gap(student: Rows, teacher: Rows) -> Mean:
    """Mean of (teacher - student) over problems, with the error between groups.

    One group cannot tell sampling noise from its own luck: then both errors are the one clustered by problem.
    """
    if len(teacher) == 1:
        one = paired_improvement(student[0], teacher[0])
        return replace(one, se_cond=one.se_super)
    problems = _problems([*student, *teacher])
    return grouped_difference(_shares(teacher, problems) - _shares(student, problems))


def group_accuracy(rows: Rows) -> Mean:
    """mean@k of answers that share their group's context; errors as in ``group_gap``."""
    pooled = eval_accuracy(pool(rows))
    if len(rows) == 1:
        return replace(pooled, se_cond=pooled.se_super)
    return replace(pooled, se_cond=grouped_difference(_shares(rows, _problems(rows))).se_cond)


def pool(rows: Rows) -> list[EvalRow]:
    """A row per problem, all groups together.

    >>> one, two = (EvalRow(0, "student", "", "add", 2, passed, 0, 0, 5.0) for passed in (1, 2))
    >>> pool([[one], [two]])[0].passed, pool([[one], [two]])[0].n
    (3, 4)
    """
    found: dict[str, EvalRow] = {}
    for row in (row for group in rows for row in group):
        seen = found.get(row.problem_id)
        if seen is None:
            found[row.problem_id] = row
            continue
        counts = seen.n + seen.nulls, row.n + row.nulls
        found[row.problem_id] = replace(
            seen,
            n=seen.n + row.n,
            passed=seen.passed + row.passed,
            nulls=seen.nulls + row.nulls,
            truncated=seen.truncated + row.truncated,
            tokens=(seen.tokens * counts[0] + row.tokens * counts[1]) / sum(counts),
        )
    return list(found.values())


def _problems(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row.problem_id for group in rows for row in group))


def _shares(rows: Rows, problems: Sequence[str]) -> NDArray[np.float64]:
    """Share of each problem's answers that passed, by group (N, G); nan where none was graded."""
    table_NG = np.full((len(problems), len(rows)), np.nan)
    places = {name: place for place, name in enumerate(problems)}
    for group, members in enumerate(rows):
        for row in members:
            if row.n:
                table_NG[places[row.problem_id], group] = row.passed / row.n
    return table_NG
