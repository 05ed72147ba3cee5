"""Accuracy of student and self-teacher: validation with its errors, and the gap before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.measure.arms import GapRow, measure_gaps
    from opsd_rs.measure.groups import by_group, group_accuracy, group_gap
    from opsd_rs.measure.identity import Identity, differences, read_identity
    from opsd_rs.measure.samples import Arm, Sample, student_samples, teacher_samples
    from opsd_rs.measure.validation import EvalRow, eval_accuracy, eval_rows, eval_table, num_nulls
    from opsd_rs.measure.validation import paired_improvement

__all__ = [
    "Arm", "EvalRow", "GapRow", "Identity", "Sample", "by_group", "differences", "eval_accuracy", "eval_rows",
    "eval_table", "group_accuracy", "group_gap", "measure_gaps", "num_nulls", "paired_improvement", "read_identity",
    "student_samples", "teacher_samples",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "arms": ["GapRow", "measure_gaps"], "groups": ["by_group", "group_accuracy", "group_gap"],
    "identity": ["Identity", "differences", "read_identity"],
    "samples": ["Arm", "Sample", "student_samples", "teacher_samples"],
    "validation": ["EvalRow", "eval_accuracy", "eval_rows", "eval_table", "num_nulls",
        "paired_improvement"],
})  # fmt: skip
