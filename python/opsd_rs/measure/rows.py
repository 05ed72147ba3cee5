"""One row per context: the gap with everything that says how far it can be relied on.

In: a measurement, the answers of A, B and T. Out: the rows of ``gap.parquet``, the same whether the answers come from
the engine or from ``samples.parquet``.
"""

# Shapes: N problems, S samples per problem.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.measure.baseline import CONTROL, GATE, Baseline, baseline, control, pools
from opsd_rs.measure.contrast import Estimate, between_groups, estimate, group_shares, ratio
from opsd_rs.measure.measurement import Answers, Measurement

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UNKNOWN = Estimate(None, None, None, None, 0)


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
    """Of the arms that ``baseline`` names."""
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
    baseline: str = "B"
    """The arms of the student's term: ``B``, ``A`` or, where the control holds, ``A+B+T_none``."""
    k_baseline: int | None = None
    """Its samples per problem."""
    gap_df: float | None = None
    """Degrees of freedom of ``gap_se_cond``."""
    gap_ci95_low: float | None = None
    gap_ci95_high: float | None = None
    diff_none: float | None = None
    """Teacher accuracy minus that of the control, paired by problem and group."""
    diff_none_se: float | None = None
    p_none: float | None = None
    """Two-sided, of ``diff_none``; for one comparison."""
    gain_with_context: float | None = None
    """Teacher minus student on the answers that had context."""
    gain_with_context_se: float | None = None
    gap_failed: float | None = None
    """Teacher minus student where the attempt in A had failed."""
    gap_failed_se: float | None = None
    gap_passed: float | None = None
    """Teacher minus student where the attempt in A had passed."""
    gap_passed_se: float | None = None
    truncated_teacher: float | None = None
    """Share of the teacher's answers that were cut off at the longest length."""
    truncated_student: float | None = None
    gap_complete: float | None = None
    """The gap of the answers that were not cut off, on both sides."""
    gap_complete_se: float | None = None
    visible_gap: float | None = None
    """The smallest gap that a test at 5 % finds in 80 % of measurements like this."""
    visible_difference: float | None = None
    """The same for the difference to another context of this measurement: the median over them."""
    tokens_generated: int | None = None
    """By the teacher; notes are not counted."""
    gpu_minutes: float | None = None
    """``seconds`` times the GPUs; None without one."""

    def note(self) -> str:
        """A warning about this row; empty when there is none."""
        if self.gap is None or self.gap_se_cond is None:
            return ""
        if self.context == CONTROL and abs(self.gap) > GATE * self.gap_se_cond:
            return (
                f"the control's gap {self.gap:+.3f} lies outside 3 standard errors ({self.gap_se_cond:.3f}) of 0:"
                " the measurement is biased (template, pooling or decoding differ between student and teacher)"
            )
        return ""


def gap_rows(
    measured: Measurement,
    contexts: Sequence[str] | None = None,
    *,
    pooled: bool | None = None,
    context_sha256: Mapping[str, str] | None = None,
) -> list[GapRow]:
    """The rows of ``contexts``, or of all.

    :param pooled: whether T of ``none`` and A join B; unset, where they may
    """
    pooled = pools(measured) if pooled is None else pooled
    hashes = context_sha256 or {}
    shared = _Shared.of(measured, pooled)
    alone = _Shared.of(measured, False) if pooled else shared
    return [
        _row(measured, name, alone if name == CONTROL else shared, hashes.get(name, ""))
        for name in (measured.teachers if contexts is None else contexts)
    ]


@dataclass(frozen=True)
class _Shared:
    """What the rows have in common."""

    term: Baseline
    complete: Baseline

    @classmethod
    def of(cls, measured: Measurement, pooled: bool) -> _Shared:
        return cls(baseline(measured, pooled=pooled), baseline(measured, pooled=pooled, complete=True))


def _row(measured: Measurement, name: str, shared: _Shared, sha256: str) -> GapRow:
    answers, size, term = measured.teachers[name], measured.group_size, shared.term
    teacher_NG = group_shares(answers.passed_NS, size)
    mean_N, part = between_groups(teacher_NG)
    teacher = estimate(mean_N, [part])
    student = term.accuracy()
    gap = control_gap(measured) if name == CONTROL else term.gap(teacher_NG)
    low, high = gap.interval()
    against = _difference(measured, name, CONTROL) or UNKNOWN
    helped = answers.helped_NS & answers.drawn_NS
    counted = answers.passed_NS[helped & ~np.isnan(answers.passed_NS)]
    attempts_NS = measured.built_from.passed_NS
    gain, failed, passed = (
        _where(measured, answers, term, mask) for mask in (helped, attempts_NS == 0, attempts_NS == 1)
    )
    whole = shared.complete.gap(group_shares(answers.complete(), size))
    seen = [found.visible for other in measured.teachers if (found := _difference(measured, name, other))]
    num = max(len(answers.samples), 1)
    seconds, gpu_seconds = answers.seconds, answers.gpu_seconds
    lengths = [s.prompt_tokens for s in answers.samples if s.prompt_tokens is not None]
    bare = measured.bare
    return GapRow(
        context=name,
        n_problems_gap=teacher.num_problems,
        k_gap=answers.num_samples,
        acc_student_gap=student.value,
        acc_student_gap_se=student.se,
        acc_teacher=teacher.value,
        acc_teacher_se=teacher.se,
        gap=gap.value,
        gap_se_cond=gap.se,
        gap_se_super=gap.se_super,
        coverage=float(helped.sum()) / num,
        acc_with_context=float(counted.mean()) if len(counted) else None,
        nulls=bare.nulls + answers.nulls,
        truncated=int(answers.truncated_NS.sum()),
        tokens_teacher=sum(lengths) / len(lengths) if lengths else 0.0,
        context_cut=sum(s.cut for s in answers.samples),
        context_leaks=sum(s.leak for s in answers.samples),
        seconds=seconds,
        context_sha256=sha256,
        gap_groups=-(-answers.num_samples // size),
        baseline=term.arms,
        k_baseline=term.num_samples,
        gap_df=gap.df,
        gap_ci95_low=low,
        gap_ci95_high=high,
        diff_none=against.value,
        diff_none_se=against.se,
        p_none=against.p_value,
        gain_with_context=gain.value,
        gain_with_context_se=gain.se,
        gap_failed=failed.value,
        gap_failed_se=failed.se,
        gap_passed=passed.value,
        gap_passed_se=passed.se,
        truncated_teacher=float(answers.truncated_NS.sum()) / num,
        truncated_student=float(bare.truncated_NS.sum()) / max(int(bare.drawn_NS.sum()), 1),
        gap_complete=whole.value,
        gap_complete_se=whole.se,
        visible_gap=gap.visible,
        visible_difference=median(known) if (known := [v for v in seen if v is not None]) else None,
        tokens_generated=answers.tokens,
        gpu_minutes=None if gpu_seconds is None else gpu_seconds / 60,
    )


def control_gap(measured: Measurement) -> Estimate:
    """T of ``none`` minus B alone."""
    found = control(measured)
    assert found is not None
    alone = baseline(measured, pooled=False)
    if alone.grouped_NG is None:
        return found.gap
    return alone.gap(group_shares(measured.teachers[CONTROL].passed_NS, measured.group_size))


def _difference(measured: Measurement, name: str, other: str) -> Estimate | None:
    """Teacher of ``name`` minus teacher of ``other``, paired by group; None where one is not there, or is itself."""
    if name == other or other not in measured.teachers:
        return None
    one, two = (group_shares(measured.teachers[c].passed_NS, measured.group_size) for c in (name, other))
    mean_N, part = between_groups(one - two)
    return estimate(mean_N, [part])


def _where(measured: Measurement, answers: Answers, term: Baseline, mask_NS: Bools) -> Estimate:
    """Teacher minus student over the answers of ``mask``, which A's own luck chose: A is left out of the student's
    term, else the failed attempts that chose a row would lower it too."""
    if measured.bare_is_a:
        return UNKNOWN
    counted_NS = mask_NS & ~np.isnan(answers.passed_NS)
    base_N, part = term.free_N, term.free_part
    gain_NS = np.where(counted_NS, answers.passed_NS - base_N[:, None], 0.0)
    shape = (len(gain_NS), -1, measured.group_size)
    drawn_G = answers.drawn_NS.reshape(shape).any(axis=(0, 2))
    sums_NG, counts_NG = (
        x.reshape(shape).sum(axis=2)[:, drawn_G] for x in (gain_NS, counted_NS.astype(float))
    )
    return ratio(sums_NG, counts_NG, base_N, part)


POOLS = ("all_rollouts", "failed_only", "keep_success")
"""How a self-teacher's accuracy has been defined: it answers every rollout; only where the attempt had failed; or
there, with the attempts that passed kept as its answers."""


def repooled(measured: Measurement, pool: str) -> list[dict[str, Any]]:
    """Each context's gap under another pooling, for reading the data of others.

    ``keep_success`` gives even the control a gap of E[p (1 - p)]: never compare it with a gap of ``all_rollouts``.
    """
    term = baseline(measured, pooled=False)
    kept_NS = measured.built_from.passed_NS if measured.full_NS is None else measured.full_NS
    width = measured.built_from.passed_NS.shape[1]
    found: list[dict[str, Any]] = []
    for name, answers in measured.teachers.items():
        t_NS, attempts_NS = answers.passed_NS, measured.built_from.passed_NS
        if pool == "keep_success":
            t_NS = np.where((attempts_NS == 1) & answers.drawn_NS, kept_NS[:, :width], t_NS)
        if pool == "failed_only":
            result = _where(measured, answers, term, attempts_NS == 0)
        else:
            result = term.gap(group_shares(t_NS, measured.group_size))
        low, high = result.interval()
        found.append(
            {
                "context": name,
                "pool": pool,
                "gap": result.value,
                "gap_se_cond": result.se,
                "gap_ci95_low": low,
                "gap_ci95_high": high,
                "n_problems_gap": result.num_problems,
            }
        )
    return found
