"""What a forecast may be off by: for the mean of as many seeds as the fit's points, and for one new run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from opsd_rs.base import t_interval


def forecast_se(
    entry: Mapping[str, Any],
    gap: float,
    gap_se: float | None,
    *,
    num_seeds: int | None = None,
    excess: bool = False,
) -> tuple[float, float]:
    """Standard error and degrees of freedom of a new configuration's improvement at ``gap``."""
    n, sd = int(entry["n"]), entry["residual_sd"]
    variance = sd**2 * (1 + 1 / n + (gap - entry["gap_mean"]) ** 2 / entry["gap_sxx"])
    known = (gap_se or 0.0) ** 2
    variance += entry["slope"] ** 2 * max(0.0, known - (entry.get("gap_se2_mean") or 0.0 if excess else 0.0))
    if num_seeds is not None and entry.get("seed_sd") is not None:
        behind = entry.get("seeds_per_config") or 1.0
        variance = max(variance + entry["seed_sd"] ** 2 * (1 / num_seeds - 1 / behind), 0.0)
    return math.sqrt(variance), n - 2


def forecast_interval(
    entry: Mapping[str, Any],
    gap: float,
    gap_se: float | None,
    level: float,
    *,
    num_seeds: int | None = None,
    excess: bool = False,
) -> tuple[float, float]:
    """Two-sided interval around the line at ``gap``."""
    se, df = forecast_se(entry, gap, gap_se, num_seeds=num_seeds, excess=excess)
    return t_interval(entry["intercept"] + entry["slope"] * gap, se, df, level)
