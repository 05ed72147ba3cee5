"""Accuracy of student and self-teacher: validation with its errors, the gap before training, and screening."""

# isort: off
from typing import TYPE_CHECKING
from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    from opsd_rs.measure.arms import Arms, BuiltFrom, Draw, GradeAll, Write, measure_gaps
    from opsd_rs.measure.baseline import CONTROL, Control, control
    from opsd_rs.measure.groups import by_group, group_accuracy, group_gap
    from opsd_rs.measure.identity import Identity, differences, read_identity
    from opsd_rs.measure.measurement import Measurement, arrange
    from opsd_rs.measure.rows import POOLS, GapRow, gap_rows, repooled
    from opsd_rs.measure.samples import Arm, Sample, student_samples, teacher_samples
    from opsd_rs.measure.screen_result import Round, Screened, current, num_answers, screened, wall_seconds
    from opsd_rs.measure.screening import Budget, next_contexts, num_rounds
    from opsd_rs.measure.table import Shown, base_identity, measurement_of, read_samples, sample_row, show_gap
    from opsd_rs.measure.validation import EvalRow, eval_accuracy, eval_rows, eval_table, num_nulls
    from opsd_rs.measure.validation import paired_improvement

__all__ = [
    "CONTROL", "POOLS", "Arm", "Arms", "Budget", "BuiltFrom", "Control", "Draw", "EvalRow", "GapRow", "GradeAll",
    "Identity", "Measurement", "Round", "Sample", "Screened", "Shown", "Write", "arrange", "base_identity",
    "by_group", "control", "current", "differences", "eval_accuracy", "eval_rows", "eval_table", "gap_rows",
    "group_accuracy", "group_gap", "measure_gaps", "measurement_of", "next_contexts", "num_answers", "num_nulls",
    "num_rounds", "paired_improvement", "read_identity", "read_samples", "repooled", "sample_row", "screened",
    "show_gap", "student_samples", "teacher_samples", "wall_seconds",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "arms": "Arms BuiltFrom Draw GradeAll Write measure_gaps", "baseline": "CONTROL Control control",
    "groups": "by_group group_accuracy group_gap", "identity": "Identity differences read_identity",
    "measurement": "Measurement arrange", "rows": "POOLS GapRow gap_rows repooled",
    "samples": "Arm Sample student_samples teacher_samples",
    "screen_result": "Round Screened current num_answers screened wall_seconds",
    "screening": "Budget next_contexts num_rounds",
    "table": "Shown base_identity measurement_of read_samples sample_row show_gap",
    "validation": "EvalRow eval_accuracy eval_rows eval_table num_nulls paired_improvement",
})  # fmt: skip
