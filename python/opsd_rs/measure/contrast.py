"""Estimates with the error that their arms have: between groups where a context is shared, binomial where it is not.

In: shares of answers that passed, by problem and group. Out: a mean over problems with both errors, degrees of freedom,
interval, p-value, and the difference that it could have seen.
"""

# Shapes: N problems, G groups.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import t_interval, t_quantile, t_two_sided

Floats = NDArray[np.float64]

POWER = 0.8
"""Of the smallest visible difference."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems, as fractions; what the data do not determine is None.

    >>> Estimate(0.05, 0.02, 0.03, 40.0, 40).p_value < 0.05
    True
    """

    value: float | None
    se: float | None
    """These problems, other draws."""
    se_super: float | None
    """The problems too are a sample: clustered by problem."""
    df: float | None
    """Of ``se``."""
    num_problems: int

    @property
    def p_value(self) -> float | None:
        """Two-sided, against 0; None without an error."""
        if self.value is None or not self.se or self.df is None:
            return None
        return t_two_sided(self.value / self.se, self.df)

    def interval(self, level: float = 0.95) -> tuple[float | None, float | None]:
        """Two-sided, by Student's t."""
        if self.value is None or self.se is None or self.df is None:
            return None, None
        return t_interval(self.value, self.se, self.df, level)

    @property
    def visible(self) -> float | None:
        """The smallest true difference that a test at 5 % finds in 80 % of measurements like this one."""
        if self.se is None or self.df is None:
            return None
        return (t_quantile(0.975, self.df) + t_quantile(POWER, self.df)) * self.se


class Part(NamedTuple):
    """Something independent that adds to a problem's variance, (N,) each."""

    variance: Floats
    df: Floats


def group_shares(passed_NS: Floats, group_size: int) -> Floats:
    """Share of each group's scored answers that passed (N, G); nan where none was scored.

    >>> group_shares(np.array([[1.0, 0.0, 1.0, np.nan]]), 2)
    array([[0.5, 1. ]])
    """
    shape = (len(passed_NS), -1, group_size)
    table, scored = passed_NS.reshape(shape), ~np.isnan(passed_NS).reshape(shape)
    counts_NG = scored.sum(axis=2)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(scored, table, 0.0).sum(axis=2) / np.where(counts_NG, counts_NG, np.nan))


def binomial(passed_NS: Floats) -> tuple[Floats, Part | None]:
    """Shares (N,) of independent answers, and the variance p (1 - p) / (k - 1) of each.

    A problem left with one answer takes the others' mean p (1 - p). None where no problem has two.
    """
    scored_N = (~np.isnan(passed_NS)).sum(axis=1).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_N = np.nansum(passed_NS, axis=1) / np.where(scored_N > 0, scored_N, np.nan)
        spread_N = share_N * (1 - share_N) * scored_N / (scored_N - 1)
    several = scored_N > 1
    if not several.any():
        return share_N, None
    spread_N = np.where(several, spread_N, spread_N[several].mean())
    with np.errstate(divide="ignore"):
        return share_N, Part(spread_N / scored_N, np.maximum(scored_N - 1, 1.0))


def between_groups(table_NG: Floats) -> tuple[Floats, Part | None]:
    """Means (N,) over a problem's groups, and their variance by the spread between them.

    A problem left with one group takes the others' mean spread. None where no problem has two.
    """
    return (mean_of_groups(table_NG), _covariance(table_NG, table_NG))


def mean_of_groups(table_NG: Floats) -> Floats:
    """(N,); nan for a problem without a scored group."""
    scored_NG = ~np.isnan(table_NG)
    counts_N = scored_NG.sum(axis=1)
    return np.asarray(np.where(scored_NG, table_NG, 0.0).sum(axis=1) / np.where(counts_N, counts_N, np.nan))


def less_shared(table_NG: Floats, shared_NG: Floats) -> tuple[Floats, Part | None]:
    """Means (N,) of ``table`` minus ``shared``, an arm of the same groups or of more of them, and the variance.

    Groups that only ``shared`` has lessen its own error and the covariance of the two.
    """
    mean_N = mean_of_groups(table_NG) - mean_of_groups(shared_NG)
    own, other = _covariance(table_NG, table_NG), _covariance(shared_NG, shared_NG)
    both = _covariance(table_NG, shared_NG)
    if own is None or other is None or both is None:
        return mean_N, None
    variance_N = own.variance + other.variance - 2 * both.variance
    return mean_N, Part(np.maximum(variance_N, 0.0), own.df)


def _covariance(x_NG: Floats, y_NG: Floats) -> Part | None:
    """Of the two means over a problem's groups, from the groups that both have."""
    has_x, has_y = ~np.isnan(x_NG), ~np.isnan(y_NG)
    both_NG = has_x & has_y
    common_N = both_NG.sum(axis=1)
    several = common_N > 1
    if not several.any():
        return None
    x = np.where(both_NG, x_NG, 0.0)
    y = np.where(both_NG, y_NG, 0.0)
    count = np.maximum(common_N, 1)[:, None]
    x = np.where(both_NG, x - x.sum(axis=1, keepdims=True) / count, 0.0)
    y = np.where(both_NG, y - y.sum(axis=1, keepdims=True) / count, 0.0)
    spread_N = (x * y).sum(axis=1) / np.maximum(common_N - 1, 1)
    spread_N = np.where(several, spread_N, spread_N[several].mean())
    means = np.maximum(has_x.sum(axis=1) * has_y.sum(axis=1), 1)
    return Part(spread_N * common_N / means, np.maximum(common_N - 1, 1).astype(np.float64))


def estimate(value_N: Floats, parts: Sequence[Part | None]) -> Estimate:
    """The mean of ``value`` over the problems that have one; variances of independent parts add up.

    Without a part's variance (one group) both errors are the one clustered by problem. Degrees of freedom are
    Satterthwaite's, with each squared variance freed of its own sampling error.
    """
    there = ~np.isnan(value_N)
    value_N, num = value_N[there], int(there.sum())
    if not num:
        return Estimate(None, None, None, None, 0)
    value = float(value_N.mean())
    clustered = math.sqrt(value_N.var(ddof=1) / num) if num > 1 else None
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return Estimate(value, clustered, clustered, num - 1.0 if num > 1 else None, num)
    variances = [part.variance[there] for part in known]
    total = float(sum(variance.sum() for variance in variances))
    squares = sum(
        float((variance**2 / (part.df[there] + 2)).sum())
        for variance, part in zip(variances, known, strict=True)
    )
    df = max(total**2 / squares - 2, 1.0) if squares > 0 else float(num)
    return Estimate(value, math.sqrt(total) / num, clustered, df, num)


def ratio(sums_NG: Floats, counts_NG: Floats, base_N: Floats, base: Part | None) -> Estimate:
    """The mean of something over the answers that a mask keeps: sum of ``sums`` over sum of ``counts``.

    ``sums`` are taken against a problem's own ``base``, an independent share with its variance. The error is that of a
    ratio, between a problem's groups; of one group, clustered by problem.
    """
    there = ~np.isnan(base_N)
    sums_NG, counts_NG = sums_NG[there], counts_NG[there]
    total, num = float(counts_NG.sum()), int((counts_NG.sum(axis=1) > 0).sum())
    if not total:
        return Estimate(None, None, None, None, 0)
    value = float(sums_NG.sum()) / total
    left_NG = sums_NG - value * counts_NG
    left_N = left_NG.sum(axis=1)
    clustered = math.sqrt(num / (num - 1) * float((left_N**2).sum())) / total if num > 1 else None
    groups = left_NG.shape[1]
    if groups < 2 or base is None:
        return Estimate(value, clustered, clustered, num - 1.0 if num > 1 else None, num)
    within_N = left_NG.var(axis=1, ddof=1) * groups / total**2
    fixed_N = base.variance[there] * (counts_NG.sum(axis=1) / total) ** 2
    variance = float(within_N.sum() + fixed_N.sum())
    squares = float((within_N**2).sum()) / (groups + 1) + float((fixed_N**2 / (base.df[there] + 2)).sum())
    df = max(variance**2 / squares - 2, 1.0) if squares > 0 else float(num)
    return Estimate(value, math.sqrt(variance), clustered, df, num)
