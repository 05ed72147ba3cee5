"""Baselines that several points share: one error in all of them, which residuals cannot show.

In: the rows of a family and its fitted points. Out: the variance that the shared error adds to the intercept. Runs with
one seed ask the same student the same way before training, whatever their context: an accuracy before training, and a
gap's student term, are then one measurement in many points. The line moves up or down as a whole; its slope does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.law.rows import LawRow

Floats = NDArray[np.float64]


def shared_offset(
    rows_by_point: Sequence[Sequence[LawRow]], gaps: Sequence[float], slope: float
) -> dict[str, Any]:
    """What shared baselines add to the line's errors.

    With design X, K the covariance of the points' errors through their baselines, and M the residual maker, residuals
    hold tr(M K) / (n - 2) of it; the estimates' covariance lacks the rest. Baselines of their own add nothing.

    :param rows_by_point: the runs behind each fitted point
    :returns: improvement and gap (is the baseline shared: True, False, None where the table does not say), offset_se2,
        intercept_se2, slope_se2 (to be added to the squared errors of the line at the mean gap, intercept, slope;
        None where a baseline is shared and its error is not known), gap_se2 (the part of the gaps' squared errors that
        they share)
    """
    n = len(gaps)
    before = _weights(rows_by_point, "acc_val0")
    bare = _weights(rows_by_point, "acc_student_gap")
    said = {"improvement": _is_shared(before), "gap": _is_shared(bare)}
    covariance, common = np.zeros((n, n)), 0.0
    for weights, variances, factor in (
        (before, _before_variance, 1.0),
        (bare, _bare_variance, slope**2),
    ):
        if not _is_shared(weights):
            continue
        assert weights is not None
        for key, column in weights.items():
            variance = variances([row for rows in rows_by_point for row in rows], key)
            if variance is None:
                return said | dict.fromkeys(("offset_se2", "intercept_se2", "slope_se2", "gap_se2"))
            if weights is bare:
                common += variance * float(column.mean()) ** 2
            covariance += factor * variance * np.outer(column, column)
    x = np.asarray(gaps, dtype=np.float64)
    design = np.column_stack([np.ones(n), x])
    inverse = np.linalg.inv(design.T @ design)
    estimate = inverse @ design.T
    residual_maker = np.eye(n) - design @ estimate
    held = float(np.trace(residual_maker @ covariance)) / (n - 2)
    extra = estimate @ covariance @ estimate.T - held * inverse
    centre = np.array([1.0, x.mean()])
    found = {"offset_se2": centre @ extra @ centre, "intercept_se2": extra[0, 0], "slope_se2": extra[1, 1]}
    # Rounding leaves 1e-19 where nothing is shared.
    small = 1e-9 * float(covariance.max(initial=0.0))
    rounded = {name: 0.0 if value <= small else float(value) for name, value in found.items()}
    return said | rounded | {"gap_se2": common}


def _weights(rows_by_point: Sequence[Sequence[LawRow]], column: str) -> dict[Any, Floats] | None:
    """By baseline, its share in each point (n,); None where a row does not tell its baseline."""
    found: dict[Any, Floats] = {}
    for place, rows in enumerate(rows_by_point):
        for row in rows:
            key = baseline(row, column)
            if key is None:
                return None
            found.setdefault(key, np.zeros(len(rows_by_point)))[place] += 1 / len(rows)
    return found


def baseline(row: LawRow, column: str) -> tuple[str, ...] | None:
    """Which measurement of the student a row starts from: two rows of one base with the same counts share it."""
    value = getattr(row, column)
    base = row.settings.get("base_model", ""), row.settings.get("model_sha", "")
    if column == "acc_val0" and row.baseline_id is not None:
        return (*base, row.baseline_id)
    return None if value is None else (*base, repr(value))


def _is_shared(weights: Mapping[Any, Floats] | None) -> bool | None:
    """Equal counts by chance happen to single pairs; a shared baseline is behind most points."""
    if weights is None:
        return None
    points = len(next(iter(weights.values())))
    together = sum(int((column > 0).sum()) for column in weights.values() if (column > 0).sum() > 1)
    return together > sum(int((column > 0).sum()) for column in weights.values()) / 2 and points > 1


def _before_variance(rows: Sequence[LawRow], key: Any) -> float | None:
    """The squared error of one accuracy before training, from the errors of the improvements that start from it."""
    members = [row for row in rows if baseline(row, "acc_val0") == key]
    return _part(
        [(row.improvement_se, row.acc_val0, row.acc_val1, _given(row, "acc_val0_se")) for row in members]
    )


def _bare_variance(rows: Sequence[LawRow], key: Any) -> float | None:
    members = [row for row in rows if baseline(row, "acc_student_gap") == key]
    return _part(
        [
            (row.gap_se, row.acc_student_gap, row.acc_teacher, _given(row, "acc_student_gap_se"))
            for row in members
        ]
    )


def _given(row: LawRow, column: str) -> float | None:
    value = row.record.get(column)
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def _part(rows: Sequence[tuple[float | None, float | None, float | None, float | None]]) -> float | None:
    """The mean over rows of the baseline's share in the squared error of a difference of two accuracies.

    Its own stated error where there is one. Else the two accuracies had as many samples, and p (1 - p) divides the sum.
    """
    found = []
    for error, below, above, given in rows:
        if given is not None:
            found.append(given**2)
        elif error is not None:
            one = None if below is None else below * (1 - below)
            other = None if above is None else above * (1 - above)
            share = one / (one + other) if one is not None and other is not None and one + other > 0 else 0.5
            found.append(share * error**2)
    return math.fsum(found) / len(found) if found else None
