"""The gap: self-teacher accuracy minus student accuracy at step 0, per context, with the training decoding.

Arms (independent draws): A, the student, builds the contexts and is graded on the training tests, as in training;
B, the student again, is the gap's student term; T, the teacher, answers every rollout of A under its context (bare
where there is none) and, like B, is graded on all tests. ``gap.baseline = "paper"`` scores A instead of B.

Contexts are built within groups of ``group_size`` rollouts, those of a training step, so that more samples measure
the same gap more exactly: a peer is found among as many others however many are drawn.

In: functions that sample, grade and assemble. Out: one row per context, for ``gap.parquet``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opsd_rs.config import ContextConfig
from opsd_rs.measure import validation
from opsd_rs.measure.groups import by_group, group_accuracy, group_gap, pool
from opsd_rs.measure.samples import Sample, student_samples, teacher_samples
from opsd_rs.records import Grade, Problem, Rollout, SampleRequest, TeacherContext


class Assembles(Protocol):
    """What the gap needs of a context assembler."""

    context: ContextConfig

    def student_prompt(self, problem: Problem) -> tuple[int, ...]: ...

    def teacher_contexts(
        self,
        rollouts: Sequence[Rollout],
        grades: Sequence[Grade],
        problems: Mapping[str, Problem],
        notes: Any = None,
    ) -> list[TeacherContext]: ...


Draw = Callable[[Sequence[SampleRequest], str], list[Rollout]]
"""(requests, purpose) -> rollouts, with the training decoding."""
GradeAll = Callable[[Sequence[Rollout], Mapping[str, Problem]], list[Grade]]
Write = Callable[[Any, Sequence[Rollout], Sequence[Grade], Mapping[str, Problem], int], Any]
"""(assembler, rollouts, grades, problems, group) -> what the model wrote for its teacher, None for contexts without
notes."""


@dataclass(frozen=True)
class GapRow:
    """One context's gap.

    Accuracies, their errors and the gap are None where grading failed for all that they need.

    >>> row = GapRow("feedback", 40, 8, 0.30, 0.016, 0.33, 0.016, 0.03, 0.023, 0.03, 0.7, 0.31, 0, 3, 41.0)
    >>> round(row.acc_teacher - row.acc_student_gap, 2)
    0.03
    """

    context: str
    n_problems_gap: int
    """Problems that the gap is a mean over."""
    k_gap: int
    acc_student_gap: float | None
    acc_student_gap_se: float | None
    """Conditional standard error: these problems, k draws."""
    acc_teacher: float | None
    acc_teacher_se: float | None
    gap: float | None
    gap_se_cond: float | None
    """These problems, other draws: between a problem's groups. Of one group the clustered one."""
    gap_se_super: float | None
    """Clustered by problem, paired."""
    coverage: float
    """Share of rollouts that had context."""
    acc_with_context: float | None
    """Teacher accuracy on those only; None without any."""
    nulls: int
    truncated: int
    tokens_teacher: float
    """Mean length of the teacher's prompt."""
    context_cut: int = 0
    """Teacher prompts that had a section cut to the budget."""
    context_leaks: int = 0
    """Teacher prompts that hold a line of a solution which the model copied into its notes."""
    seconds: float | None = None
    """Wall time of notes, teacher answers and their grading; the student's arms, shared by all contexts, left out."""
    context_sha256: str = ""
    """Which context it was, whatever its name: first 16 digits of the hash of all its keys."""
    gap_groups: int = 1
    """Independent groups per problem, each with its own peers."""

    def note(self) -> str:
        """A warning about this row; empty when there is none."""
        if self.gap is None or self.gap_se_cond is None:
            return ""
        if self.context == "none" and abs(self.gap) > 3 * self.gap_se_cond:
            return (
                f"the control's gap {self.gap:+.3f} lies outside 3 standard errors ({self.gap_se_cond:.3f}) of 0:"
                " the measurement is biased (template, pooling or decoding differ between student and teacher)"
            )
        return ""


def measure_gaps(
    assemblers: Mapping[str, Assembles],
    train_problems: Mapping[str, Problem],
    full_problems: Mapping[str, Problem],
    *,
    n: int,
    group_size: int,
    baseline: str,
    draw: Draw,
    grade: GradeAll,
    write: Write,
    report: Callable[[GapRow], None] = lambda row: None,
    keep: Callable[[Sequence[Sample]], None] = lambda samples: None,
) -> list[GapRow]:
    """Measure each context of ``assemblers`` on the same student rollouts.

    ``train_problems`` hold the tests that may reach a context, ``full_problems`` those that score.

    :param n: samples per problem and arm, in groups of ``group_size``
    :param keep: given every graded answer, those of an arm together and before its row
    """
    some = next(iter(assemblers.values()))
    requests = [
        SampleRequest(problem_id, sample, some.student_prompt(problem))
        for problem_id, problem in train_problems.items()
        for sample in range(n)
    ]
    built_from = draw(requests, "gap-A")
    grades = grade(built_from, train_problems)
    keep(student_samples("A", 0, built_from, grades, tests="train_half", group_size=group_size))
    scored = built_from if baseline == "paper" else draw(requests, "gap-B")
    scores = grade(scored, full_problems)
    keep(student_samples("B", 0, scored, scores, tests="full", group_size=group_size))
    groups = by_group(built_from, group_size)
    student = _rows("student", "", scored, scores, groups)
    found = []
    for name, assembler in assemblers.items():
        started = time.monotonic()
        contexts = _contexts(assembler, built_from, grades, train_problems, groups, write)
        answers = draw(
            [SampleRequest(c.problem_id, c.sample, c.prompt_ids) for c in contexts], f"gap-T-{name}"
        )
        graded = grade(answers, full_problems)
        seconds = time.monotonic() - started
        keep(teacher_samples("T", 0, name, answers, graded, contexts, group_size=group_size))
        teacher = _rows("teacher", name, answers, graded, groups)
        row = _row(name, n, student, teacher, contexts, graded, assembler.context.sha256, seconds)
        report(row)
        found.append(row)
    return found


def _contexts(
    assembler: Assembles,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    problems: Mapping[str, Problem],
    groups: Sequence[Sequence[int]],
    write: Write,
) -> list[TeacherContext]:
    """What the teacher reads before each rollout, in order; every group is assembled alone."""
    by_place: dict[int, TeacherContext] = {}
    for group, places in enumerate(groups):
        members = [rollouts[place] for place in places], [grades[place] for place in places]
        notes = write(assembler, *members, problems, group)
        by_place |= zip(places, assembler.teacher_contexts(*members, problems, notes), strict=True)
    return [by_place[place] for place in range(len(rollouts))]


def _rows(
    arm: str,
    context: str,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    groups: Sequence[Sequence[int]],
) -> list[list[validation.EvalRow]]:
    return [
        validation.eval_rows(
            0, arm, context, [rollouts[place] for place in places], [grades[place] for place in places]
        )
        for places in groups
    ]


def _row(
    name: str,
    n: int,
    student_groups: list[list[validation.EvalRow]],
    teacher_groups: list[list[validation.EvalRow]],
    contexts: list[TeacherContext],
    grades: list[Grade],
    context_sha256: str,
    seconds: float,
) -> GapRow:
    student, teacher = pool(student_groups), pool(teacher_groups)
    s, t = validation.eval_accuracy(student), group_accuracy(teacher_groups)
    difference = group_gap(student_groups, teacher_groups)
    helped = [c.status not in ("bare", "dropped") for c in contexts]
    counted = [g.passed for g, h in zip(grades, helped, strict=True) if h and g.passed is not None]
    return GapRow(
        context=name,
        n_problems_gap=t.num_problems,
        k_gap=n,
        acc_student_gap=s.value,
        acc_student_gap_se=s.se_cond,
        acc_teacher=t.value,
        acc_teacher_se=t.se_cond,
        gap=difference.value,
        gap_se_cond=difference.se_cond,
        gap_se_super=difference.se_super,
        coverage=sum(helped) / len(helped),
        acc_with_context=sum(counted) / len(counted) if counted else None,
        nulls=validation.num_nulls(student) + validation.num_nulls(teacher),
        truncated=sum(row.truncated for row in teacher),
        tokens_teacher=sum(len(c.prompt_ids) for c in contexts) / len(contexts),
        context_cut=sum(any(f.startswith("cut:") for f in c.flags) for c in contexts),
        context_leaks=sum(any(f.startswith("leak:") for f in c.flags) for c in contexts),
        seconds=seconds,
        context_sha256=context_sha256,
        gap_groups=len(teacher_groups),
    )
