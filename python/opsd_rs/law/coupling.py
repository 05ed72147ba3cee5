"""Whether gap and improvement are tied by more than the law: both subtract the student's accuracy before training.

In: rows with the accuracies themselves. Out: audits. Within one base the student is a constant, and the law is that the
final accuracy is linear in the teacher's. Across bases a baseline that moves both differences draws a line from
nothing: from no effect at all a slope of 0.5 where both use the same samples, of 1 where teacher and outcome are the
same for every base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import t_two_sided
from opsd_rs.law.configurations import mean
from opsd_rs.law.rows import LawRow

Floats = NDArray[np.float64]
MIN_DF = 1


def reused_baseline(rows: Sequence[LawRow]) -> dict[str, Any]:
    """Do improvement and gap subtract the very same measurement, in bases that each measured it?

    ``value`` is the share of rows in which both accuracies are equal to the last digit.
    """
    known = [row for row in rows if row.acc_val0 is not None and row.acc_student_gap is not None]
    if not known:
        return _audit(None, None, "no accuracies before training in the table (acc_val0, acc_student_gap)")
    share = sum(row.acc_val0 == row.acc_student_gap for row in known) / len(known)
    differ = len({row.acc_student_gap for row in known}) > 1
    if share <= 0.5:
        return _audit(True, share, "gap and improvement have baselines of their own")
    if not differ:
        return _audit(True, share, "gap and improvement share one baseline: it moves the intercept, no slope")
    return _audit(
        False,
        share,
        "gap and improvement subtract the same samples of the student: its luck alone draws a slope of about 0.5; "
        "measure the two baselines apart",
    )


def teacher_and_student(rows_by_point: Sequence[Sequence[LawRow]]) -> dict[str, Any]:
    """F ~ T + S over configurations: final accuracy by teacher's and student's before training.

    The law says coefficients b and 1 - b. The audit fails where their sum is not 1 (t test, p < 0.05) or where the
    teacher says nothing once the student is known (partial correlation, p > 0.05) although the gap's own line is
    significant. It is not determined where the student is one number for all, up to its error.
    """
    triples = [_accuracies(rows) for rows in rows_by_point]
    known = [triple for triple in triples if triple is not None]
    if len(known) < len(triples) or not known:
        return _audit(None, None, "needs acc_teacher, acc_student_gap and acc_val1 of every configuration")
    f, t, s, error = np.array(known).T
    n = len(f)
    if np.std(s) <= 3 * float(error.mean()) or np.std(s) < 1e-9:
        return _audit(
            None, None, "one base: the student's accuracy does not vary, so the law is F linear in T"
        )
    if n - 3 < MIN_DF or np.ptp(t) == 0:
        return _audit(None, None, f"needs four configurations with different teachers, here are {n}")
    design = np.column_stack([np.ones(n), t, s])
    if np.linalg.matrix_rank(design - [0.0, t.mean(), s.mean()]) < 3:
        return _audit(
            None, None, "teacher and student rise together exactly: their shares cannot be told apart"
        )
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ f
    residuals = f - design @ beta
    variance = float(residuals @ residuals) / (n - 3)
    ones = np.array([0.0, 1.0, 1.0])
    total, total_se = float(ones @ beta), math.sqrt(max(variance * float(ones @ inverse @ ones), 0.0))
    teacher_se = math.sqrt(variance * inverse[1, 1])
    p_sum = t_two_sided((total - 1) / total_se, n - 3) if total_se > 0 else 1.0
    t_teacher = float(beta[1]) / teacher_se if teacher_se > 0 else math.inf
    p_teacher = t_two_sided(t_teacher, n - 3) if math.isfinite(t_teacher) else 0.0
    value = {
        "beta_teacher": float(beta[1]),
        "beta_student": float(beta[2]),
        "sum": total,
        "sum_p": p_sum,
        "partial_r_teacher": t_teacher / math.sqrt(t_teacher**2 + n - 3) if math.isfinite(t_teacher) else 1.0,
        "teacher_p": p_teacher,
        "df": n - 3,
    }
    if p_sum < 0.05:
        return _audit(False, value, f"F ~ T + S: the coefficients add to {total:.2f}, not 1 (p {p_sum:.2g})")
    if p_teacher > 0.05 and _significant(t - s, f - s):
        said = f"the teacher's accuracy says nothing once the student's is known (p {p_teacher:.2g})"
        return _audit(False, value, f"F ~ T + S: {said}; the slope is the student's own")
    return _audit(
        True, value, f"F ~ T + S: T {beta[1]:.2f}, S {beta[2]:.2f}, sum {total:.2f} (p {p_sum:.2g})"
    )


def _significant(x: Floats, y: Floats) -> bool:
    from opsd_rs.law.regression import fit_line

    return bool(np.ptp(x) > 0) and fit_line(x, y).slope_p < 0.05


def _accuracies(rows: Sequence[LawRow]) -> tuple[float, float, float, float] | None:
    """Final, teacher's and student's accuracy of a configuration, and a bound of the student's error."""
    found = []
    for row in rows:
        if row.acc_teacher is None or row.acc_student_gap is None:
            return None
        final = row.acc_val1
        if final is None:
            return None
        found.append((final, row.acc_teacher, row.acc_student_gap, row.gap_se or 0.0))
    columns = list(zip(*found, strict=True))
    return mean(columns[0]), mean(columns[1]), mean(columns[2]), mean(columns[3])


def _audit(ok: bool | None, value: Any, said: str) -> dict[str, Any]:
    return {"ok": ok, "value": value, "said": said}
