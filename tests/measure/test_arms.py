"""The gap from its three arms, with a sampler and a grader whose answers are known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from opsd_rs.base import Batch
from opsd_rs.config import ContextConfig, load_context
from opsd_rs.measure import GapRow, Sample, measure_gaps
from opsd_rs.records import Case, Grade, Problem, Rollout, SampleRequest, TeacherContext

TRAIN = {name: Problem(name, name, (Case("1", "1"),)) for name in ("a", "b")}
FULL = {name: replace(problem, tests=(*problem.tests, Case("2", "2"))) for name, problem in TRAIN.items()}


@dataclass
class Lab:
    """Draws and grades by a rule: an answer's ids are what its request asked for, ``passes`` judges them."""

    passes: Any
    draws: list[tuple[str, tuple[SampleRequest, ...]]] = field(default_factory=list)
    graded: list[tuple[int, int]] = field(default_factory=list)
    """(answers, tests of the first problem) of each call."""

    def draw(self, requests: Sequence[SampleRequest], purpose: str) -> list[Rollout]:
        self.draws.append((purpose, tuple(requests)))
        return [
            Rollout(r.problem_id, r.sample, r.prompt_ids, r.prompt_ids, (), purpose, r.sample == 3, 0)
            for r in requests
        ]

    def grade(self, rollouts: Sequence[Rollout], problems: Mapping[str, Problem]) -> list[Grade]:
        tests = len(problems[rollouts[0].problem_id].tests)
        self.graded.append((len(rollouts), tests))
        found = [self.passes(r.text, r.problem_id, r.sample, r.prompt_ids) for r in rollouts]
        return [
            Grade(r.problem_id, r.sample, p, "accepted", ()) for r, p in zip(rollouts, found, strict=True)
        ]


class Contexts:
    """Rows whose rollout failed read feedback, all others nothing."""

    def __init__(self, context: ContextConfig) -> None:
        self.context = context

    def student_prompt(self, problem: Problem) -> tuple[int, ...]:
        return (1,)

    def teacher_contexts(
        self, rollouts: Sequence[Rollout], grades: Sequence[Grade], problems: Any, notes: Any = None
    ) -> list[TeacherContext]:
        assert problems is TRAIN
        helped = [not grade.passed for grade in grades]
        batch = Batch.of(
            [(1, 9, 9) if read else (1,) for read in helped], [() for _ in helped], has_context=helped
        )
        return [
            TeacherContext(
                r.problem_id, r.sample, "feedback" if read else "bare", read,
                ("cut:feedback", "leak:notes") if read else (), batch, row,
            )
            for row, (r, read) in enumerate(zip(rollouts, helped, strict=True))
        ]  # fmt: skip


def measure(
    lab: Lab,
    name: str = "feedback",
    *,
    n: int = 4,
    group_size: int = 4,
    baseline: str = "split",
    **options: Any,
) -> GapRow:
    contexts = Contexts(load_context(name))
    (row,) = measure_gaps(
        {name: contexts}, TRAIN, FULL, n=n, group_size=group_size, baseline=baseline, draw=lab.draw, grade=lab.grade,
        write=options.pop("write", lambda *arguments: None), **options,
    )  # fmt: skip
    return row


def test_the_gap_is_teacher_minus_student_on_fresh_samples() -> None:
    """A: sample 0 passes. B: samples 0 and 1. T: whatever reads feedback, and sample 0."""
    rule = {"gap-A": {0}, "gap-B": {0, 1}}
    lab = Lab(
        lambda text, problem, sample, ids: sample in rule[text] if text in rule else 9 in ids or sample == 0
    )
    row = measure(lab)
    assert [purpose for purpose, _ in lab.draws] == ["gap-A", "gap-B", "gap-T-feedback"]
    assert lab.graded == [(8, 1), (8, 2), (8, 2)], "A on the training tests, B and T on all"
    assert (row.acc_student_gap, row.acc_teacher, row.gap) == (0.5, 1.0, 0.5)
    assert (row.coverage, row.acc_with_context) == (0.75, 1.0)
    assert (row.n_problems_gap, row.k_gap, row.nulls, row.truncated) == (2, 4, 0, 2)
    assert (row.context_cut, row.context_leaks, row.tokens_teacher) == (6, 6, (3 * 3 + 1) / 4)
    assert row.context_sha256 == load_context("feedback").sha256
    assert row.seconds is not None
    assert row.note() == ""


def test_the_paper_scores_the_rollouts_that_built_the_contexts() -> None:
    lab = Lab(lambda text, problem, sample, ids: sample == 0)
    row = measure(lab, baseline="paper")
    assert [purpose for purpose, _ in lab.draws] == ["gap-A", "gap-T-feedback"]
    assert (row.acc_student_gap, row.gap) == (0.25, 0.0)


def test_the_error_of_one_group_is_the_one_clustered_by_problem() -> None:
    def passes(text: str, problem: str, sample: int, ids: tuple[int, ...]) -> bool:
        return sample < {"gap-A": 0, "gap-B": {"a": 1, "b": 2}[problem], "gap-T-feedback": 3}[text]

    row = measure(Lab(passes))
    assert (row.gap, row.gap_groups) == (pytest.approx((0.5 + 0.25) / 2), 1)
    assert row.gap_se_cond == row.gap_se_super == pytest.approx(0.125)
    assert row.acc_teacher_se == 0.0, "both problems have 3 of 4"
    assert row.acc_student_gap_se == pytest.approx((sum(p * (1 - p) / 3 for p in (0.25, 0.5)) / 4) ** 0.5)


def test_the_error_of_several_groups_is_the_one_between_them() -> None:
    """Of group 0 the teacher passes 3 of 4, of group 1 all; the student 1 of 4 in either."""

    def passes(text: str, problem: str, sample: int, ids: tuple[int, ...]) -> bool:
        return sample % 4 < {"gap-A": 0, "gap-B": 1, "gap-T-feedback": 3 + sample // 4}[text]

    row = measure(Lab(passes), n=8)
    assert (row.gap, row.k_gap, row.gap_groups) == (pytest.approx(0.625), 8, 2)
    between = ((0.5 - 0.625) ** 2 + (0.75 - 0.625) ** 2) / 1 / 2
    assert row.gap_se_cond == row.acc_teacher_se == pytest.approx((2 * between / 4) ** 0.5)
    assert row.gap_se_super == 0.0


def test_contexts_are_built_within_groups_of_a_training_step() -> None:
    """However many samples are drawn, a row's peers are those of its own group, and so are its notes."""
    seen: list[tuple[int, list[tuple[str, int]]]] = []

    def write(assembler: Any, rollouts: Sequence[Rollout], grades: Any, problems: Any, group: int) -> None:
        seen.append((group, [(r.problem_id, r.sample) for r in rollouts]))

    lab = Lab(lambda text, problem, sample, ids: sample == 0)
    measure(lab, n=4, group_size=2, write=write)
    assert seen == [
        (0, [("a", 0), ("a", 1), ("b", 0), ("b", 1)]),
        (1, [("a", 2), ("a", 3), ("b", 2), ("b", 3)]),
    ]
    _, asked = lab.draws[-1]
    assert [(r.problem_id, r.sample) for r in asked] == [(name, k) for name in "ab" for k in range(4)]


def test_every_graded_answer_is_handed_out() -> None:
    kept: list[Sample] = []
    row = measure(Lab(lambda text, problem, sample, ids: 9 in ids), n=4, group_size=2, keep=kept.extend)
    assert [(s.arm, s.tests) for s in kept] == [("A", "train_half")] * 8 + [("B", "full")] * 8 + [
        ("T", "full")
    ] * 8
    last = kept[-1]
    assert (last.problem_id, last.sample, last.parent_sample, last.group) == ("b", 3, 3, 1)
    assert (last.context, last.status, last.passed, last.truncated) == ("feedback", "feedback", True, True)
    assert {(s.context, s.status, s.parent_sample) for s in kept[:16]} == {("", None, None)}
    share = {arm: sum(bool(s.passed) for s in kept if s.arm == arm) / 8 for arm in "BT"}
    assert (share["B"], share["T"]) == (row.acc_student_gap, row.acc_teacher) == (0.0, 1.0)


def test_what_failed_to_grade_is_none_and_never_nan() -> None:
    row = measure(Lab(lambda text, problem, sample, ids: False if text == "gap-A" else None))
    assert (row.acc_student_gap, row.acc_teacher, row.gap, row.gap_se_cond, row.gap_se_super) == (None,) * 5
    assert (row.acc_with_context, row.nulls, row.n_problems_gap) == (None, 16, 0)
    assert row.note() == ""
    covered = measure(Lab(lambda text, problem, sample, ids: True))
    assert (covered.coverage, covered.acc_with_context) == (0.0, None)


def test_a_control_that_gains_is_noted() -> None:
    lab = Lab(lambda text, problem, sample, ids: text.startswith("gap-T") or sample == 0)
    row = measure(lab, "none")
    assert "the control's gap +0.750 lies outside 3 standard errors" in row.note()


def test_contexts_share_the_student_s_answers_and_report_as_they_finish() -> None:
    lab = Lab(lambda text, problem, sample, ids: sample == 0)
    names, seen, written = ("feedback", "none"), [], []
    measure_gaps(
        {name: Contexts(load_context(name)) for name in names}, TRAIN, FULL, n=2, group_size=2, baseline="split",
        draw=lab.draw, grade=lab.grade, report=seen.append,
        write=lambda assembler, *rest: written.append(assembler.context.name),
    )  # fmt: skip
    assert [purpose for purpose, _ in lab.draws] == ["gap-A", "gap-B", "gap-T-feedback", "gap-T-none"]
    assert [row.context for row in seen] == written == list(names)
    _, requests = lab.draws[2]
    assert [(r.problem_id, r.sample, r.prompt_ids) for r in requests] == [
        ("a", 0, (1,)), ("a", 1, (1, 9, 9)), ("b", 0, (1,)), ("b", 1, (1, 9, 9)),
    ]  # fmt: skip
