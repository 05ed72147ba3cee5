"""How well a line carries over: the points of one group forecast by the line through all others.

In: points by group (family, or size). Out: errors of these forecasts, and how often their 95 % interval held. One
group's points are left out together, so nothing of it is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.law.intervals import forecast_interval
from opsd_rs.law.regression import fit_line


def leave_one_group_out(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Forecast each group by the line of the others; groups whose others make no line are left out.

    :param groups: name to fitted points (gap, improvement)
    :returns: left_out, n, fitted_on (points), rmse, bias (mean of outcome minus forecast), inside95 (share)
    """
    found = []
    for name, points in groups.items():
        others = [point for other, members in groups.items() if other != name for point in members]
        gaps = [point["gap"] for point in others]
        if len(others) < 3 or min(gaps) == max(gaps):
            continue
        line = fit_line(gaps, [point["improvement"] for point in others])
        entry = {
            "n": line.n,
            "slope": line.slope,
            "intercept": line.intercept,
            "residual_sd": line.residual_sd,
            "gap_mean": line.x_mean,
            "gap_sxx": line.sxx,
        }
        errors, inside = [], 0
        for point in points:
            low, high = forecast_interval(entry, point["gap"], None, 0.95)
            inside += low <= point["improvement"] <= high
            errors.append(point["improvement"] - line.intercept - line.slope * point["gap"])
        found.append(
            {
                "left_out": name,
                "n": len(points),
                "fitted_on": line.n,
                "rmse": math.sqrt(math.fsum(error**2 for error in errors) / len(errors)),
                "bias": math.fsum(errors) / len(errors),
                "inside95": inside / len(points),
            }
        )
    return found
