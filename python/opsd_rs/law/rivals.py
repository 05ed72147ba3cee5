"""What else may predict the improvement: other figures measured before training, fitted beside the gap in one table.

In: the rows behind each point, by column. Out: a line of the table per predictor. Units differ, so predictors are
compared by leave-one-out error and Q2 on the same points, never by slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from opsd_rs.base import t_interval
from opsd_rs.errors import BadInput
from opsd_rs.law.configurations import mean
from opsd_rs.law.regression import Line, fit_line
from opsd_rs.law.rows import LawRow

KNOWN = ("gap_failed", "gap_passed", "token_kl0", "topk_overlap0", "coverage", "acc_teacher", "p(1-p)")
"""Predictors that are fitted wherever the table has them; ``p(1-p)`` is of the student's accuracy in the gap."""


def fit_rivals(
    rows_by_point: Sequence[Sequence[LawRow]],
    gaps: Sequence[float],
    improvements: Sequence[float],
    more: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """The gap's line, then one for each predictor that the rows hold.

    :param more: columns that must be there: names of the user's own
    :returns: predictor, n, slope, slope_ci95, slope_p, r2, loo_rmse, loo_q2, and gap_loo_rmse, the gap's error on the
        same points; figures are None where the predictor does not vary or one point determines the slope, with said
    :raises BadInput: a column of ``more`` that no row has, or that holds no numbers
    """
    table = [_row("gap", list(gaps), list(gaps), list(improvements))]
    for name in dict.fromkeys((*KNOWN, *more)):
        if name == "gap":
            continue
        values = [_point_value(rows, name, name in more) for rows in rows_by_point]
        known = [place for place, value in enumerate(values) if value is not None]
        if not known:
            if name in more:
                raise BadInput(f"--predictor {name}: no fitted run has a number in a column {name}")
            continue
        table.append(
            _row(
                name,
                [values[place] for place in known],  # type: ignore[misc]  # the known ones are numbers
                [gaps[place] for place in known],
                [improvements[place] for place in known],
            )
        )
    return table


def _point_value(rows: Sequence[LawRow], name: str, wanted: bool) -> float | None:
    """The mean over a point's seeds; None where a seed lacks it."""
    values = []
    for row in rows:
        if name == "p(1-p)":
            p = row.acc_student_gap
            value: Any = None if p is None else p * (1 - p)
        else:
            value = row.record.get(name)
        if value in (None, ""):
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            if wanted:
                raise BadInput(f"--predictor {name}: {value!r} in {row.config_id} is not a number") from None
            return None
        if not math.isfinite(number):
            return None
        values.append(number)
    return mean(values)


def _row(name: str, x: list[float], gaps: list[float], y: list[float]) -> dict[str, Any]:
    found: dict[str, Any] = {"predictor": name, "n": len(x)}
    found |= dict.fromkeys(
        ("slope", "slope_ci95", "slope_p", "r2", "loo_rmse", "loo_q2", "gap_loo_rmse", "said")
    )
    line = _line(x, y)
    if line is None:
        few = len(x) < 3
        return found | {"said": "below three configurations" if few else "the same in all configurations"}
    same = _line(gaps, y)
    return found | {
        "slope": line.slope,
        "slope_ci95": list(t_interval(line.slope, line.slope_se, line.df)),
        "slope_p": line.slope_p,
        "r2": line.r2,
        "loo_rmse": line.loo_rmse,
        "loo_q2": line.loo_q2,
        "gap_loo_rmse": None if same is None else same.loo_rmse,
    }


def _line(x: Sequence[float], y: Sequence[float]) -> Line | None:
    spread = max(x, default=0.0) - min(x, default=0.0)
    # A mean over equal values may differ in its last bit.
    if len(x) < 3 or spread <= 1e-12 * max(1e-300, *(abs(value) for value in x)):
        return None
    return fit_line(x, y)
