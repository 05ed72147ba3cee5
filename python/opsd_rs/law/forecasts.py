"""What a law says of one configuration's gap: the expected gain, its intervals, and flags that warn.

In: a family's entry and the rows of one configuration. Out: a ``Forecast``: for the mean of several runs and for one
new run, clipped to what accuracy allows, the unclipped number beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from opsd_rs.law.configurations import gap_se, mean
from opsd_rs.law.fit import FEW_CONFIGS
from opsd_rs.law.intervals import forecast_se
from opsd_rs.law.rows import LawRow

UNSURE = ("family_absent", "slope_undefined", "domain_unknown", "slope_uncertain", "transfer", "synthetic")
"""Flags under which nothing says train."""


@dataclass(frozen=True)
class Spread:
    """Where a gain may lie: Student's t around a centre.

    >>> spread = Spread(0.1, 0.02, 4)
    >>> round(spread.above(0.1), 3), [round(x, 3) for x in spread.interval(0.95)]
    (0.5, [0.044, 0.156])
    """

    centre: float
    se: float
    df: float

    def above(self, value: float) -> float:
        """P(gain >= value)."""
        if self.se == 0:
            return float(self.centre >= value)
        return float(special.stdtr(self.df, (self.centre - value) / self.se))

    def interval(self, level: float) -> list[float]:
        """Two-sided."""
        half = float(special.stdtrit(self.df, 0.5 + level / 2)) * self.se
        return [self.centre - half, self.centre + half]

    def expected_gain(self, bounds: tuple[float, float]) -> float:
        """E[max(gain, 0)], the gain clipped to ``bounds``: over 2,001 quantiles."""
        num = 2001
        gains = self.centre + self.se * special.stdtrit(self.df, (np.arange(num) + 0.5) / num)
        return float(gains.clip(0.0, max(0.0, bounds[1])).mean())


@dataclass(frozen=True)
class Forecast:
    """A configuration's forecast; fractions. ``None`` for what cannot be said."""

    family: str
    config_id: str
    gap: float
    gap_se: float | None
    flags: tuple[str, ...]
    spread: Spread | None = None
    """Of the mean of as many seeds as the fit's points, or of those asked for."""
    run_spread: Spread | None = None
    """Of one new run."""
    bounds: tuple[float, float] = (-1.0, 1.0)
    """What the student's accuracy allows."""
    acc_val0: float | None = None
    """Known, or that of the gap's own measurement."""
    gap_share: float = 0.0
    """Of the squared error of one run: the gap's own error."""
    excess: bool = True

    def clipped(self, value: float) -> float:
        """``value`` within ``bounds``."""
        return max(self.bounds[0], min(value, self.bounds[1]))


def forecast(
    entry: Mapping[str, Any],
    group: Sequence[LawRow],
    *,
    num_seeds: int | None = None,
    excess: bool = True,
    flags: Sequence[str] = (),
) -> Forecast:
    """The forecast of one configuration, whose rows are ``group``.

    :param num_seeds: the mean of so many runs; None: as many as are behind a point of the fit
    :param excess: count of the gap's error only what exceeds that of the fitted gaps, which is in the residuals
    :param flags: those that the caller has found: of the domain
    """
    gap, error = mean([row.gap for row in group]), gap_se(group)
    spread = spread_at(entry, gap, error, num_seeds=num_seeds, excess=excess)
    run = spread_at(entry, gap, error, num_seeds=1, excess=excess)
    exact = spread_at(entry, gap, 0.0, num_seeds=1, excess=excess)
    known, measured = _accuracy(group)
    bounds = (-1.0, 1.0) if known is None else (-known, 1.0 - known)
    return Forecast(
        family=group[0].family,
        config_id=group[0].config_id,
        gap=gap,
        gap_se=error,
        flags=(*_flags(entry, gap, error), *_bound_flags(run.centre, bounds, measured), *flags),
        spread=spread,
        run_spread=run,
        bounds=bounds,
        acc_val0=known,
        gap_share=max(0.0, 1 - (exact.se / run.se) ** 2) if run.se > 0 else 0.0,
        excess=excess,
    )


def spread_at(
    entry: Mapping[str, Any], gap: float, error: float | None, *, num_seeds: int | None, excess: bool
) -> Spread:
    """The gain at a gap measured with ``error``. All of the error goes with the line's own degrees of freedom."""
    se, df = forecast_se(entry, gap, error, num_seeds=num_seeds, excess=excess)
    return Spread(
        entry["intercept"] + entry["slope"] * gap, se, df if excess else min(df, float(entry["n"]) - 2)
    )


def _accuracy(group: Sequence[LawRow]) -> tuple[float | None, bool]:
    """The student's accuracy before training, and whether it is validation's own."""
    validated = [row.acc_val0 for row in group if row.acc_val0 is not None]
    if validated:
        return mean(validated), True
    at_gap = [row.acc_student_gap for row in group if row.acc_student_gap is not None]
    return (mean(at_gap) if at_gap else None), False


def _flags(entry: Mapping[str, Any], gap: float, error: float | None) -> list[str]:
    n, x_mean, sxx = int(entry["n"]), entry["gap_mean"], entry["gap_sxx"]
    found = {
        "synthetic": bool(entry.get("synthetic")),
        "extrapolation": not entry["gap_min"] <= gap <= entry["gap_max"]
        or 1 / n + (gap - x_mean) ** 2 / sxx > 4 / n,
        "few_configs": n < FEW_CONFIGS,
        "slope_uncertain": not slope_is_certain(entry),
        "gap_error_unknown": error is None,
        "seed_sd_unknown": entry.get("seed_sd") is None and entry.get("num_runs", n) > n,
    }
    return [name for name, holds in found.items() if holds]


def slope_is_certain(entry: Mapping[str, Any]) -> bool:
    """Whether the slope's 95 % interval leaves 0 out; a line without scatter says nothing of its own error."""
    interval = entry.get("slope_ci95")
    if interval is not None:
        return bool(interval[0] > 0 or interval[1] < 0)
    error = entry.get("slope_se")
    if error is None:
        return False
    bound = float(special.stdtrit(int(entry["n"]) - 2, 0.975)) * float(error)
    return abs(float(entry["slope"])) > bound


def _bound_flags(centre: float, bounds: tuple[float, float], validated: bool) -> list[str]:
    suffix = "" if validated else ":acc_student_gap"
    if bounds == (-1.0, 1.0):
        suffix = ""
    if centre > bounds[1]:
        return [f"ceiling{suffix}"]
    return [f"below_zero{suffix}"] if centre < bounds[0] else []
