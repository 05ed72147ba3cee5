"""Lines where x has an error too: Deming's, and York's with an error of each point and their correlation.

In: points and their errors. Out: slope and intercept with errors. Least squares flattens a slope by the share of noise
in the spread of x; these do not, and stand beside it as a check of that bias. scipy has no line with correlated errors
(``scipy.odr`` has none, and leaves scipy in 1.19).

Source: York et al. 2004, Am. J. Phys. 72, 367 (unified equations).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class ErrorsLine:
    """A line from points with errors on both axes.

    >>> round(deming([0, 1, 2, 3], [0.1, 0.9, 2.1, 2.9]).slope, 3)
    0.963
    """

    slope: float
    slope_se: float | None
    intercept: float
    intercept_se: float | None
    chi2: float | None = None
    """York's weighted sum of squares, expected n - 2 where the stated errors are all there is."""


def deming(x_n: ArrayLike, y_n: ArrayLike, ratio: float = 1.0) -> ErrorsLine:
    """The line of points whose errors have one ratio, with jackknife standard errors.

    :param ratio: variance of y's error over that of x's
    :raises ValueError: below three points, all x equal, or no common trend of x and y
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    n = len(x)
    slope, intercept = _deming(x, y, ratio)
    keep = ~np.eye(n, dtype=bool)
    try:
        left_out = np.array([_deming(x[row], y[row], ratio) for row in keep])
    except ValueError:
        return ErrorsLine(slope, None, intercept, None)
    pseudo = n * np.array([slope, intercept]) - (n - 1) * left_out
    slope_se, intercept_se = np.sqrt(pseudo.var(axis=0, ddof=1) / n).tolist()
    return ErrorsLine(slope, slope_se, intercept, intercept_se)


def _deming(x: np.ndarray, y: np.ndarray, ratio: float) -> tuple[float, float]:
    if len(x) < 2 or np.ptp(x) == 0:
        raise ValueError("a line needs two different x")
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    if sxy == 0:
        raise ValueError("x and y have no common trend")
    difference = syy - ratio * sxx
    slope = (difference + math.sqrt(difference**2 + 4 * ratio * sxy**2)) / (2 * sxy)
    return slope, float(y.mean() - slope * x.mean())


def york(
    x_n: ArrayLike,
    y_n: ArrayLike,
    x_se_n: ArrayLike,
    y_se_n: ArrayLike,
    correlation_n: ArrayLike = 0.0,
    *,
    scatter: float = 0.0,
) -> ErrorsLine:
    """York's line: each point has its errors, and a correlation of them.

    :param correlation_n: of a point's two errors; 0 where gap and improvement have samples of their own
    :param scatter: SD of the points about the line beyond their errors, added to y's
    :raises ValueError: a point without any error, or all x equal

    Standard errors are those of the stated errors alone: too small where points scatter beyond them.
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    x_var = np.broadcast_to(np.asarray(x_se_n, dtype=np.float64) ** 2, x.shape)
    y_noise = np.broadcast_to(np.asarray(y_se_n, dtype=np.float64) ** 2, x.shape)
    covariance = np.asarray(correlation_n, dtype=np.float64) * np.sqrt(x_var * y_noise)
    y_var = y_noise + scatter**2
    if not ((x_var > 0) | (y_var > 0)).all():
        raise ValueError("every point needs an error on one axis")
    if np.ptp(x) == 0:
        raise ValueError("all x are equal: no slope")
    slope = float(np.polyfit(x, y, 1)[0])
    for _ in range(500):
        # With W = 1 / variance of y - slope x, York's beta has the weights of x and y multiplied out: errors may be 0.
        weights = 1 / np.maximum(y_var + slope**2 * x_var - 2 * slope * covariance, 1e-300)
        x_bar, y_bar = np.average(x, weights=weights), np.average(y, weights=weights)
        u, v = x - x_bar, y - y_bar
        beta = weights * (u * y_var + slope * v * x_var - (slope * u + v) * covariance)
        before, slope = slope, float((weights * beta) @ v / ((weights * beta) @ u))
        if abs(slope - before) <= 1e-15 * max(1.0, abs(slope)):
            break
    intercept = float(y_bar - slope * x_bar)
    adjusted = x_bar + beta
    centre = float(np.average(adjusted, weights=weights))
    slope_variance = 1 / float(weights @ (adjusted - centre) ** 2)
    intercept_variance = 1 / float(weights.sum()) + centre**2 * slope_variance
    chi2 = float(weights @ (y - intercept - slope * x) ** 2)
    return ErrorsLine(slope, math.sqrt(slope_variance), intercept, math.sqrt(intercept_variance), chi2)
