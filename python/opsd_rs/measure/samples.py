"""One graded answer of one arm: the record behind every mean, kept so that each can be computed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

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
    passed_full: bool | None = None
    """Of A, by all tests: then it is one more answer of the student. None where that was not judged."""
    prompt_tokens: int | None = None
    cut: bool = False
    """A section of the teacher's prompt was cut to the budget."""
    leak: bool = False
    """The teacher's prompt holds a line of a solution that the model copied into its notes."""
    seconds: float | None = None
    """This answer's share of its arm's wall time, notes and grading included."""
    gpu_seconds: float | None = None
    """The same, times the GPUs; None without one."""

    @property
    def helped(self) -> bool:
        """Whether its teacher had anything privileged to read."""
        return self.status not in (None, "bare", "dropped")


class Cost(NamedTuple):
    """What an arm took.

    >>> Cost(60.0, 2).of(100)
    (0.6, 1.2)
    """

    seconds: float | None = None
    num_gpus: int = 0

    def of(self, answers: int) -> tuple[float | None, float | None]:
        """Wall and GPU seconds per answer."""
        if self.seconds is None or not answers:
            return None, None
        each = self.seconds / answers
        return each, each * self.num_gpus if self.num_gpus else None


FREE = Cost()
"""What it took is not known."""


def student_samples(
    arm: Arm,
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    *,
    tests: Tests,
    group_size: int | None,
    full_grades: Sequence[Grade] | None = None,
    is_of_a: bool = False,
    cost: Cost = FREE,
) -> list[Sample]:
    """Answers of the student; ``group_size`` where contexts are built from them.

    :param full_grades: of A, by all tests
    :param is_of_a: they are those of A, which serve as the student's term too (``gap.baseline = "paper"``)
    """
    judged: Sequence[Grade | None] = full_grades or [None] * len(rollouts)
    return [
        _sample(
            arm, step, "", rollout, grade, tests, group_size, cost.of(len(rollouts)),
            parent_sample=rollout.sample if is_of_a else None,
            passed_full=None if full is None else full.passed,
        )
        for rollout, grade, full in zip(rollouts, grades, judged, strict=True)
    ]  # fmt: skip


def teacher_samples(
    arm: Arm,
    step: int,
    context: str,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    *,
    group_size: int,
    cost: Cost = FREE,
) -> list[Sample]:
    """Answers of the self-teacher, each under the context of the rollout with the same number."""
    return [
        _sample(
            arm, step, context, rollout, grade, "full", group_size, cost.of(len(rollouts)),
            parent_sample=rollout.sample,
            status=read.status,
            cut=any(flag.startswith("cut:") for flag in read.flags),
            leak=any(flag.startswith("leak:") for flag in read.flags),
        )
        for rollout, grade, read in zip(rollouts, grades, contexts, strict=True)
    ]  # fmt: skip


def _sample(
    arm: Arm,
    step: int,
    context: str,
    rollout: Rollout,
    grade: Grade,
    tests: Tests,
    group_size: int | None,
    cost: tuple[float | None, float | None],
    *,
    parent_sample: int | None,
    status: str | None = None,
    passed_full: bool | None = None,
    cut: bool = False,
    leak: bool = False,
) -> Sample:
    return Sample(
        arm=arm,
        step=step,
        context=context,
        group=None if group_size is None else rollout.sample // group_size,
        problem_id=rollout.problem_id,
        sample=rollout.sample,
        parent_sample=parent_sample,
        status=status,
        passed=grade.passed,
        num_tokens=len(rollout.completion_ids),
        truncated=rollout.truncated,
        tests=tests,
        prompt_sha256=hashlib.sha256(json.dumps(rollout.prompt_ids).encode()).hexdigest()[:16],
        passed_full=passed_full,
        prompt_tokens=len(rollout.prompt_ids),
        cut=cut,
        leak=leak,
        seconds=cost[0],
        gpu_seconds=cost[1],
    )
