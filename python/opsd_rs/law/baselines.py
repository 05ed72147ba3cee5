"""Baselines that several points share: one error in all of them, which residuals cannot show.

In: the rows of a family and its fitted points. Out: the variance that the shared error adds to the intercept. Runs with
one seed ask the same student the same way before training, whatever their context: an accuracy before training, and a
gap's student term, are then one measurement in many points. The line moves up or down as a whole; its slope does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    said: dict[str, Any] = {}
    covariance, common = np.zeros((n, n)), 0.0
    unknown = False
    for side, column, error in (
        ("improvement", "acc_val0", _error_before),
        ("gap", "acc_student_gap", _error_bare),
    ):
        keys = baselines(rows_by_point, column)
        said[side] = _is_shared(keys)
        if not said[side]:
            continue
        assert keys is not None
        for key, weights in _weights(keys).items():
            parts = [
                part
                for rows, of_point in zip(rows_by_point, keys, strict=True)
                for row, own in zip(rows, of_point, strict=True)
                if own == key and (part := error(row)) is not None
            ]
            unknown = unknown or not parts
            variance = math.fsum(parts) / max(1, len(parts))
            covariance += (1.0 if side == "improvement" else slope**2) * variance * np.outer(weights, weights)
            common += variance * float(weights.mean()) ** 2 if side == "gap" else 0.0
    if unknown:
        return said | dict.fromkeys(("offset_se2", "intercept_se2", "slope_se2", "gap_se2"))
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


def error_correlations(
    rows_by_point: Sequence[Sequence[LawRow]], gap_variances: Floats, improvement_variances: Floats
) -> Floats:
    """Correlation of each point's two errors where gap and improvement subtract the same samples (n,), else 0.

    Both differences hold minus the student's error, so the covariance is its variance. Only for bases that each
    measured their student: an error that all points share is an offset, which correlates nothing.
    """
    found = np.zeros(len(rows_by_point))
    for place, rows in enumerate(rows_by_point):
        same = [row for row in rows if row.acc_val0 is not None and row.acc_val0 == row.acc_student_gap]
        parts = [part for row in same if (part := _error_bare(row)) is not None]
        if len(same) == len(rows) and parts:
            # One student behind all seeds keeps its error; seeds of their own average it down.
            measured = len({row.acc_student_gap for row in rows})
            scale = float(np.sqrt(gap_variances[place] * improvement_variances[place]))
            found[place] = math.fsum(parts) / len(parts) / measured / scale if scale > 0 else 0.0
    return np.clip(found, 0.0, 0.95)


def _weights(keys: Sequence[Sequence[Any]]) -> dict[Any, Floats]:
    """By baseline, its share in each point (n,)."""
    found: dict[Any, Floats] = {}
    for place, of_point in enumerate(keys):
        for key in of_point:
            found.setdefault(key, np.zeros(len(keys)))[place] += 1 / len(of_point)
    return found


def baselines(rows_by_point: Sequence[Sequence[LawRow]], column: str) -> list[list[Any]] | None:
    """Which measurement of the student each run starts from, by point; None where a row does not say.

    By ``baseline_id`` where rows have it. Else runs of one base and seed share a baseline if all of them have the same
    accuracy to the last digit: single pairs do so by chance.
    """
    by_seed: dict[Any, list[tuple[int, float]]] = {}
    for place, rows in enumerate(rows_by_point):
        for row in rows:
            value = getattr(row, column)
            if value is None and not (column == "acc_val0" and row.baseline_id):
                return None
            by_seed.setdefault((_base(row), row.seed), []).append((place, value))
    shared = {
        group: len({value for _, value in members}) == 1 and len({place for place, _ in members}) > 1
        for group, members in by_seed.items()
    }
    keys: list[list[Any]] = []
    for place, rows in enumerate(rows_by_point):
        keys.append([])
        for run, row in enumerate(rows):
            if column == "acc_val0" and row.baseline_id:
                keys[-1].append((_base(row), row.baseline_id))
            elif shared[_base(row), row.seed]:
                keys[-1].append((_base(row), getattr(row, column)))
            else:
                keys[-1].append((place, run))
    return keys


def _base(row: LawRow) -> tuple[str, str]:
    return row.settings.get("base_model", ""), row.settings.get("model_sha", "")


def _is_shared(keys: Sequence[Sequence[Any]] | None) -> bool | None:
    return None if keys is None else any(int((w > 0).sum()) > 1 for w in _weights(keys).values())


def _error_before(row: LawRow) -> float | None:
    return _part(row.improvement_se, row.acc_val0, row.acc_val1, _given(row, "acc_val0_se"))


def _error_bare(row: LawRow) -> float | None:
    return _part(row.gap_se, row.acc_student_gap, row.acc_teacher, _given(row, "acc_student_gap_se"))


def _given(row: LawRow, column: str) -> float | None:
    value = row.record.get(column)
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None


def _part(error: float | None, below: float | None, above: float | None, given: float | None) -> float | None:
    """The baseline's squared error: its own where stated, else its share in that of the difference.

    The two accuracies had as many samples then, and p (1 - p) divides the sum.
    """
    if given is not None:
        return given**2
    if error is None:
        return None
    one = None if below is None else below * (1 - below)
    other = None if above is None else above * (1 - above)
    known = one is not None and other is not None and one + other > 0
    return (one / (one + other) if known else 0.5) * error**2  # type: ignore[operator]
