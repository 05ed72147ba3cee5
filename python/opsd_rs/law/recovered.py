"""The share of the gap that training recovered: improvement over gap, with Fieller's interval.

In: a point with its errors. Out: the ratio and its interval, or None where the gap may be 0. It is the
performance gap recovered of weak-to-strong generalisation (arXiv 2312.09390).
"""

from __future__ import annotations

import math

from opsd_rs.base import t_quantile


def fieller(
    above: float,
    below: float,
    above_se: float,
    below_se: float,
    *,
    covariance: float = 0.0,
    df: float = 1e6,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Fieller's interval of above / below; None where the interval of ``below`` has 0 in it.

    >>> low, high = fieller(1.0, 2.0, 0.1, 0.2)
    >>> round(low, 4), round(high, 4)
    (0.3772, 0.6627)
    """
    t2 = t_quantile(0.5 + level / 2, df) ** 2
    # below^2 r^2 - 2 above below r + above^2 = t^2 (variance of above - r below), a quadratic in r.
    a = below**2 - t2 * below_se**2
    if a <= 0:
        return None
    b = above * below - t2 * covariance
    c = above**2 - t2 * above_se**2
    root = math.sqrt(max(0.0, b * b - a * c))
    return (b - root) / a, (b + root) / a
