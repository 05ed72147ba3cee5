"""What repeated runs say about noise: spread between seeds, each point's error, and scatter beyond both.

In: the points of a fit. Out: figures of ``law.json``. The error of an improvement is taken from its seeds where a
configuration has several, pooled over configurations, for two or three seeds do not show their own spread; else from
the counted answers, which do not know how training varies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opsd_rs.law.worlds import fit_lines, generator

Floats = NDArray[np.float64]


def seed_figures(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pooled spread between seeds of one configuration, its degrees of freedom, the harmonic mean of the seed counts.

    >>> seed_figures([{"num_seeds": 2, "improvement_sd": 0.02}, {"num_seeds": 1, "improvement_sd": None}])
    {'seed_sd': 0.02, 'seed_df': 1, 'seeds_per_config': 1.333333333333}
    """
    several = [point for point in points if point["improvement_sd"] is not None]
    df = sum(point["num_seeds"] - 1 for point in several)
    squares = math.fsum((point["num_seeds"] - 1) * point["improvement_sd"] ** 2 for point in several)
    return {
        "seed_sd": math.sqrt(squares / df) if df else None,
        "seed_df": df,
        "seeds_per_config": round(len(points) / math.fsum(1 / point["num_seeds"] for point in points), 12),
    }


def point_variances(
    points: Sequence[Mapping[str, Any]], seed_sd: float | None
) -> tuple[Floats, Floats] | None:
    """Squared errors of gaps and of improvements (n,), (n,); None where no error of the improvements is known."""
    gaps = np.array([(point["gap_se"] or 0.0) ** 2 for point in points])
    if seed_sd is not None:
        return gaps, np.array([seed_sd**2 / point["num_seeds"] for point in points])
    if any(point["improvement_se"] is None for point in points):
        return None
    return gaps, np.array([point["improvement_se"] ** 2 for point in points])


def scatter_beyond_noise(
    x_n: ArrayLike, y_n: ArrayLike, x_variance_n: ArrayLike, y_variance_n: ArrayLike
) -> float:
    """tau, the SD of points about the line beyond their errors (Paule and Mandel), 0 where noise explains all.

    tau^2 is where the weighted squares about the weighted line, weights 1 / (y variance + slope^2 x variance + tau^2),
    have their expected sum n - 2. scipy has no such estimate; bisection spares the load of its root finders.

    >>> round(scatter_beyond_noise([0, 1, 2, 3], [0, 2, 1, 3], [0] * 4, [0] * 4), 9)
    0.948683298
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    x_variance, y_variance = np.asarray(x_variance_n, np.float64), np.asarray(y_variance_n, np.float64)
    slope, _ = _weighted(x, y, np.ones(len(x)))

    def squares(tau2: float) -> float:
        at = slope
        for _ in range(20):
            variance = y_variance + at**2 * x_variance + tau2
            if not variance.min() > 0:
                return math.inf
            before = at
            at, total = _weighted(x, y, 1 / variance)
            if abs(at - before) <= 1e-12 * abs(at):
                break
        return total

    target, high = len(x) - 2, float(np.var(y)) + 1e-30
    if squares(0.0) <= target:
        return 0.0
    while squares(high) > target:
        high *= 2
    low = 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if squares(middle) > target else (low, middle)
        if high - low <= 1e-13 * high:
            break
    return math.sqrt(high)


def _weighted(x: Floats, y: Floats, weights: Floats) -> tuple[float, float]:
    """Slope of the weighted line and its weighted sum of squares."""
    total = weights.sum()
    dx, dy = x - weights @ x / total, y - weights @ y / total
    slope = float((weights * dx) @ dy / ((weights * dx) @ dx))
    return slope, float(weights @ (dy - slope * dx) ** 2)


CEILING_DRAWS = 2000


def noise_ceiling(
    x_n: ArrayLike, y_n: ArrayLike, x_variance_n: Floats, y_variance_n: Floats, slope: float
) -> dict[str, Any] | None:
    """What R2 and the leave-one-out error can be if the law holds exactly and all scatter is measurement.

    Drawn from the fitted line: true gaps with the spread that is left without their errors, the slope corrected for
    them, errors as stated. None where the gaps or the improvements do not differ beyond their errors.

    :returns: r2 (the product of the two reliabilities), r2_band95, loo_rmse_median, loo_rmse_band95, and the
        reliabilities of gaps and improvements
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    reliable_x = 1 - float(x_variance_n.mean()) / float(x.var(ddof=1))
    spread = float(y.var(ddof=1))
    reliable_y = 1 - float(y_variance_n.mean()) / spread if spread > 0 else 0.0
    if reliable_x <= 0 or reliable_y <= 0:
        return None
    draw = generator(20260528)
    true = x.mean() + math.sqrt(reliable_x) * (x - x.mean())
    size = (CEILING_DRAWS, len(x))
    drawn = fit_lines(
        true + draw.normal(size=size) * np.sqrt(x_variance_n),
        slope / reliable_x * true + draw.normal(size=size) * np.sqrt(y_variance_n),
    )
    bands = {name: np.quantile(getattr(drawn, name), (0.025, 0.5, 0.975)) for name in ("r2", "loo_rmse")}
    return {
        "r2": reliable_x * reliable_y,
        "r2_band95": bands["r2"][[0, 2]].tolist(),
        "loo_rmse_median": float(bands["loo_rmse"][1]),
        "loo_rmse_band95": bands["loo_rmse"][[0, 2]].tolist(),
        "reliability_gap": reliable_x,
        "reliability_improvement": reliable_y,
    }
