"""Errors of what is read off a fitted line: a forecast for a mean of seeds, or for one run.

In: an entry of ``law.json``. Out: a standard error with Satterthwaite's degrees of freedom, or an interval. Parts of
the variance are estimated from few points each, so their sum needs degrees of freedom of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import special

from opsd_rs.base import t_interval

LEAST_WIDTH = 0.97
"""Of a forecast, over that of the line alone. With 1 one run's interval covers 0.971 with four configurations of two
seeds."""
MANY = 1e6
"""Degrees of freedom of a variance that is as good as known."""


LOWEST_COVERAGE = {
    "york": 0.94,
    "deming": 0.93,
    "theil_sen": 0.94,
    "fieller": 0.94,
    "bootstrap": 0.81,
}
"""Of intervals of 95 % that stand beside least squares, in the worst simulated cell (docs/law.md, Simulations)."""


def is_indicative(name: str) -> bool:
    """Does an interval hold the truth too rarely to be more than an indication (below 0.90)?

    >>> is_indicative("bootstrap")
    True
    """
    return LOWEST_COVERAGE[name] < 0.90


def forecast_se(
    entry: Mapping[str, Any],
    gap: float,
    gap_se: float | None,
    *,
    num_seeds: int | None = None,
    excess: bool = True,
    own_baseline: bool = False,
) -> tuple[float, float]:
    """Standard error and degrees of freedom of an improvement forecast at ``gap``, as fractions.

    :param entry: one family of ``law.json``; version 1 has no seed figures, and all forecasts are then for a mean of as
        many seeds as the fit's points
    :param gap_se: standard error of ``gap``; None counts as 0
    :param num_seeds: runs whose mean is forecast: None as many as behind a point of the fit, 1 one new run. More than
        the fit's give no narrower interval
    :param excess: add only what ``gap_se`` has beyond the fitted gaps' own errors, which the residuals hold already;
        False adds all of it, which covers more than it says
    :param own_baseline: the runs have an accuracy before training, or a gap baseline, of their own where the fitted
        runs share one; left out, they start from one of the fit's
    """
    n, slope = int(entry["n"]), float(entry["slope"])
    leverage = 1 / n + (gap - entry["gap_mean"]) ** 2 / entry["gap_sxx"]
    parts = [(entry["residual_sd"] ** 2 * (1 + leverage), float(n - 2))]
    error = (gap_se or 0.0) ** 2
    if excess:
        error = max(0.0, error - (entry.get("gap_se2_mean") or 0.0))
    parts.append((slope**2 * error, MANY))
    seed_sd, seeds = entry.get("seed_sd"), entry.get("seeds_per_config") or 1.0
    if num_seeds is not None and seed_sd is not None and num_seeds < seeds:
        parts.append((seed_sd**2 * (1 / num_seeds - 1 / seeds), float(entry["seed_df"])))
    if own_baseline:
        # The fit's offset and the runs' own. Of one seed's baseline, the spread between seeds holds the rest.
        parts.append((2 * (entry.get("offset_se2") or 0.0), MANY))
    return add_variances(parts, LEAST_WIDTH)


def forecast_interval(
    entry: Mapping[str, Any],
    gap: float,
    gap_se: float | None,
    level: float,
    *,
    num_seeds: int | None = None,
    excess: bool = True,
    own_baseline: bool = False,
) -> tuple[float, float]:
    """The two-sided t interval of a forecast; arguments as in ``forecast_se``.

    >>> entry = {"n": 6, "slope": 1.0, "intercept": 0.0, "residual_sd": 0.02, "gap_mean": 0.06, "gap_sxx": 0.02}
    >>> low, high = forecast_interval(entry, 0.06, None, 0.95)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.12)
    """
    se, df = forecast_se(entry, gap, gap_se, num_seeds=num_seeds, excess=excess, own_baseline=own_baseline)
    return t_interval(entry["intercept"] + entry["slope"] * gap, se, df, level)


def add_variances(parts: Sequence[tuple[float, float]], least_width: float = 1.0) -> tuple[float, float]:
    """The root of a sum of independent variances, each with its degrees of freedom, and those of the sum.

    Satterthwaite's degrees of freedom, lowered where they would make the 95 % interval narrower than ``least_width``
    times that of the first part alone: with two or three degrees of freedom adding a little well-known variance would.

    >>> se, df = add_variances([(4.0, 3.0), (0.0, 1.0)])
    >>> se, round(df, 9)
    (2.0, 3.0)
    """
    first = parts[0]
    known = [(variance, df) for variance, df in parts if variance > 0]
    total = math.fsum(variance for variance, _ in known)
    if not total:
        return 0.0, first[1]
    df = total**2 / math.fsum(variance**2 / df for variance, df in known)
    if first[0] > 0 and df > first[1]:
        least = least_width * _quantile(first[1]) * math.sqrt(first[0] / total)
        if _quantile(df) < least:
            df = _df_of(least, first[1], df)
    return math.sqrt(total), df


def _quantile(df: float) -> float:
    return float(
        special.stdtrit(df, 0.975)
    )  # a hundred of them a forecast: ours is slow at many degrees of freedom


def _df_of(quantile: float, low: float, high: float) -> float:
    """The degrees of freedom between ``low`` and ``high`` whose 0.975 quantile it is."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _quantile(middle) > quantile else (low, middle)
    return low
