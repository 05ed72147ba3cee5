"""The gap: self-teacher accuracy minus student accuracy at step 0, per context, with the training decoding.

Arms (independent draws): A, the student, builds the contexts and is graded on the training tests, as in training;
B, the student again, is the gap's student term; T, the teacher, answers every rollout of A under its context (bare
where there is none) and, like B, is graded on all tests. Scoring B on fresh samples matters: a lucky A both lifts
the student and supplies the peer's solution. ``gap.baseline = "paper"`` scores A instead.

In: functions that sample, grade and assemble. Out: one row per context, for ``gap.parquet``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opsd_rs.config import ContextConfig
from opsd_rs.measure import validation
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
Write = Callable[[Any, Sequence[Rollout], Sequence[Grade], Mapping[str, Problem]], Any]
"""(assembler, rollouts, grades, problems) -> what the model wrote for its teacher, None for contexts without notes."""


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
    baseline: str,
    draw: Draw,
    grade: GradeAll,
    write: Write,
    report: Callable[[GapRow], None] = lambda row: None,
) -> list[GapRow]:
    """Measure each context of ``assemblers`` on the same student rollouts.

    ``train_problems`` hold the tests that may reach a context, ``full_problems`` those that score.
    """
    some = next(iter(assemblers.values()))
    requests = [
        SampleRequest(problem_id, sample, some.student_prompt(problem))
        for problem_id, problem in train_problems.items()
        for sample in range(n)
    ]
    built_from = draw(requests, "gap-A")
    grades = grade(built_from, train_problems)
    scored = built_from if baseline == "paper" else draw(requests, "gap-B")
    student = validation.eval_rows(0, "student", "", scored, grade(scored, full_problems))
    found = []
    for name, assembler in assemblers.items():
        started = time.monotonic()
        contexts = assembler.teacher_contexts(
            built_from, grades, train_problems, write(assembler, built_from, grades, train_problems)
        )
        answers = draw(
            [SampleRequest(c.problem_id, c.sample, c.prompt_ids) for c in contexts], f"gap-T-{name}"
        )
        graded = grade(answers, full_problems)
        seconds = time.monotonic() - started
        row = _row(name, n, student, contexts, answers, graded, assembler.context.sha256, seconds)
        report(row)
        found.append(row)
    return found


def _row(
    name: str,
    n: int,
    student: list[validation.EvalRow],
    contexts: list[TeacherContext],
    answers: list[Rollout],
    grades: list[Grade],
    context_sha256: str,
    seconds: float,
) -> GapRow:
    teacher = validation.eval_rows(0, "teacher", name, answers, grades)
    s, t = validation.eval_accuracy(student), validation.eval_accuracy(teacher)
    difference = validation.paired_improvement(student, teacher)
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
    )
