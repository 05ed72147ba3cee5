"""Accuracy of student and self-teacher: validation with its errors, and the gap before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.measure.arms import GapRow, measure_gaps
    from opsd_rs.measure.validation import EvalRow, eval_accuracy, eval_rows, eval_table, num_nulls
    from opsd_rs.measure.validation import paired_improvement

__all__ = [
    "EvalRow", "GapRow", "eval_accuracy", "eval_rows", "eval_table", "measure_gaps", "num_nulls",
    "paired_improvement",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "arms": ["GapRow", "measure_gaps"],
    "validation": ["EvalRow", "eval_accuracy", "eval_rows", "eval_table", "num_nulls",
        "paired_improvement"],
})  # fmt: skip
