"""One graded answer of one arm: the record behind every mean, kept so that each can be computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opsd_rs.records import Grade, Rollout, TeacherContext

Arm = Literal["A", "B", "T", "V0", "V1", "V", "VA", "VT"]
"""Of the gap: A built the contexts, B is the student's term, T the teacher's. Of validation: the student before (V0)
and after training (V1) and in between (V); VT the self-teacher, whose contexts VA built."""
Tests = Literal["train_half", "full"]
"""Which tests judged: those that training may see, or all."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of one arm.

    >>> Sample("T", 0, "feedback", 1, "add", 9, 9, "peer+feedback", True, 31, False, "full", "5f1c").group
    1
    """

    arm: Arm
    step: int
    context: str
    """Empty for answers of the student."""
    group: int | None
    """Whose members are each other's peers; None where no context is built from the answer."""
    problem_id: str
    sample: int
    parent_sample: int | None
    """The rollout whose context this answer's teacher read; None for the student."""
    status: str | None
    """What that context held."""
    passed: bool | None
    num_tokens: int
    truncated: bool
    tests: Tests
    prompt_sha256: str
    """First 16 digits."""


def student_samples(
    arm: Arm,
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    *,
    tests: Tests,
    group_size: int | None,
) -> list[Sample]:
    """Answers of the student; ``group_size`` where contexts are built from them."""
    return [
        _sample(arm, step, "", rollout, grade, tests, group_size)
        for rollout, grade in zip(rollouts, grades, strict=True)
    ]


def teacher_samples(
    arm: Arm,
    step: int,
    context: str,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    *,
    group_size: int,
) -> list[Sample]:
    """Answers of the self-teacher, each under the context of the rollout with the same number."""
    return [
        _sample(arm, step, context, rollout, grade, "full", group_size, rollout.sample, read.status)
        for rollout, grade, read in zip(rollouts, grades, contexts, strict=True)
    ]


def _sample(
    arm: Arm,
    step: int,
    context: str,
    rollout: Rollout,
    grade: Grade,
    tests: Tests,
    group_size: int | None,
    parent: int | None = None,
    status: str | None = None,
) -> Sample:
    return Sample(
        arm=arm,
        step=step,
        context=context,
        group=None if group_size is None else rollout.sample // group_size,
        problem_id=rollout.problem_id,
        sample=rollout.sample,
        parent_sample=parent,
        status=status,
        passed=grade.passed,
        num_tokens=len(rollout.completion_ids),
        truncated=rollout.truncated,
        tests=tests,
        prompt_sha256=hashlib.sha256(json.dumps(rollout.prompt_ids).encode()).hexdigest()[:16],
    )
