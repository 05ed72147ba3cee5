"""A line through points with the errors of its closed form, and the errors of what is read off it.

numpy only, so that each figure is tested against a textbook; a quantity that the data do not determine is None, never
nan. Known answers: NIST StRD and Anscombe 1973.
"""

# Shapes: N problems, G groups of samples per problem, n points of a line.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    pass
from opsd_rs.base import t_two_sided

LEVERAGE_ONE = 1.0 - 1e-9
"""A point of this leverage or more determines the slope alone: leaving it out leaves no line."""


# --- a line -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """Ordinary least squares y = intercept + slope x through n points, with all that its closed form gives.

    >>> line = fit_line([0, 1, 2, 3], [1, 3, 5, 8])
    >>> round(line.slope, 12), round(line.intercept, 12), line.df
    (2.3, 0.8, 2)
    """

    n: int
    slope: float
    slope_se: float
    intercept: float
    intercept_se: float
    r2: float | None
    """None where all y are equal."""
    residual_sd: float
    """sqrt(SSE / (n - 2))."""
    slope_p: float
    """Two-sided, of slope = 0."""
    x_mean: float
    sxx: float
    x_min: float
    x_max: float
    leverages: tuple[float, ...]
    residuals: tuple[float, ...]
    loo_residuals: tuple[float, ...] | None
    """y_i minus the forecast of the line through the others; None where one point determines the slope."""
    press: float | None
    loo_r2: float | None
    """1 - PRESS / sum (y_i - mean)^2, which is scikit-learn's r2_score of cross_val_predict."""
    loo_q2: float | None
    """1 - PRESS / sum (y_i - mean of the others)^2: against what was known without the point."""
    loo_rmse: float | None

    @property
    def df(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.n - 2


def fit_line(x_n: ArrayLike, y_n: ArrayLike) -> Line:
    """The line, its errors, its leave-one-out figures. ValueError below 3 points or where all x are equal."""
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    n = len(x)
    if n < 3:
        raise ValueError(f"a line with errors needs 3 points, here are {n}")
    x_mean, y_mean = float(x.mean()), float(y.mean())
    dx, dy = x - x_mean, y - y_mean
    sxx, sst = float(dx @ dx), float(dy @ dy)
    if np.ptp(x) == 0.0:
        raise ValueError("all x are equal: no slope")
    slope = float(dx @ dy) / sxx
    intercept = y_mean - slope * x_mean
    residuals = dy - slope * dx
    sse = float(residuals @ residuals)
    sd = math.sqrt(sse / (n - 2))
    slope_se = sd / math.sqrt(sxx)
    leverages = 1 / n + dx**2 / sxx
    flat = np.ptp(y) == 0.0
    loo = press = loo_r2 = loo_q2 = loo_rmse = None
    if float(leverages.max()) < LEVERAGE_ONE:
        loo = residuals / (1 - leverages)
        press = float(loo @ loo)
        loo_rmse = math.sqrt(press / n)
        if not flat:
            loo_r2, loo_q2 = 1 - press / sst, 1 - press / (sst * (n / (n - 1)) ** 2)
    return Line(
        n=n,
        slope=slope,
        slope_se=slope_se,
        intercept=intercept,
        intercept_se=sd * math.sqrt(1 / n + x_mean**2 / sxx),
        r2=None if flat else 1 - sse / sst,
        residual_sd=sd,
        slope_p=t_two_sided(slope / slope_se, n - 2) if slope_se > 0 else float(slope == 0),
        x_mean=x_mean,
        sxx=sxx,
        x_min=float(x.min()),
        x_max=float(x.max()),
        leverages=tuple(leverages.tolist()),
        residuals=tuple(residuals.tolist()),
        loo_residuals=None if loo is None else tuple(loo.tolist()),
        press=press,
        loo_r2=loo_r2,
        loo_q2=loo_q2,
        loo_rmse=loo_rmse,
    )


def mean_se(x0: float, *, residual_sd: float, n: int, x_mean: float, sxx: float) -> float:
    """Standard error of the line itself at x0."""
    return residual_sd * math.sqrt(1 / n + (x0 - x_mean) ** 2 / sxx)


def prediction_se(
    x0: float, *, slope: float, residual_sd: float, n: int, x_mean: float, sxx: float, x0_se: float = 0.0
) -> float:
    """Standard error of a new point's y at x0: residuals, the line's own error, slope times x0's error."""
    line = mean_se(x0, residual_sd=residual_sd, n=n, x_mean=x_mean, sxx=sxx)
    return math.sqrt(residual_sd**2 + line**2 + (slope * x0_se) ** 2)


def welch_p(
    estimate_a: float, se_a: float, df_a: float, estimate_b: float, se_b: float, df_b: float
) -> float:
    """Two-sided p of two estimates being equal, their variances not being so (Welch-Satterthwaite df)."""
    variance = se_a**2 + se_b**2
    if variance == 0:
        return float(estimate_a == estimate_b)
    df = variance**2 / (se_a**4 / df_a + se_b**4 / df_b)
    return t_two_sided((estimate_a - estimate_b) / math.sqrt(variance), df)
