"""Order without a line: Theil and Sen's slope, Spearman's and Kendall's correlation, exact permutation p.

In: points. Out: figures for a few points, where the large-sample p of scipy does not hold. They are exploratory: with
six points a perfect order has p = 2/720. scipy.stats has the estimates, and takes longer to load than a fit takes; the
tests compare.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opsd_rs.base import t_quantile

EXACT = 8
"""Up to so many points all orders are counted; beyond, ``DRAWS`` random ones."""
DRAWS = 10_000
COUNTED = 60
"""Up to so many points Kendall's distribution is counted exactly; beyond, and with ties, it is taken as normal."""


def theil_sen(x_n: ArrayLike, y_n: ArrayLike, level: float = 0.95) -> dict[str, Any]:
    """The median of the slopes of all pairs, the line's intercept, and Sen's interval.

    The interval cuts the ordered slopes where Kendall's exact distribution leaves half of ``1 - level``; None where no
    cut leaves so little (below five points at 95 %), or where x has ties.

    >>> theil_sen([0, 1, 2, 3], [0, 1, 2, 9])["slope"]
    2.0
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    first, second = np.triu_indices(len(x), 1)
    run = x[second] - x[first]
    slopes = np.sort((y[second] - y[first])[run != 0] / run[run != 0])
    slope = float(np.median(slopes))
    interval = None
    if len(slopes) == len(run):
        cut = _cut(len(x), (1 - level) / 2)
        if cut >= 1:
            interval = [float(slopes[cut - 1]), float(slopes[-cut])]
    return {"slope": slope, "intercept": float(np.median(y) - slope * np.median(x)), "slope_ci95": interval}


def rank_correlations(x_n: ArrayLike, y_n: ArrayLike) -> dict[str, Any]:
    """Spearman's rho and Kendall's tau-b with two-sided permutation p, and that of Pearson's r.

    ``exact`` says whether all orders were counted. Figures are None where all x or all y are equal.

    >>> found = rank_correlations([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6])
    >>> found["spearman"], round(found["spearman_p"] * 720)
    (1.0, 2)
    """
    x, y = np.asarray(x_n, dtype=np.float64), np.asarray(y_n, dtype=np.float64)
    names = ("spearman", "spearman_p", "kendall", "kendall_p", "pearson", "pearson_p")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return dict.fromkeys(names) | {"exact": False}
    orders, exact = _orders(len(x))
    found: dict[str, Any] = {}
    for name, a, b in (("spearman", _ranks(x), _ranks(y)), ("pearson", x, y)):
        da, db = a - a.mean(), b - b.mean()
        scale = math.sqrt(float(da @ da) * float(db @ db))
        found[name] = float(np.clip(float(da @ db) / scale, -1, 1))
        found[f"{name}_p"] = _tail(found[name], db[orders] @ da / scale, exact)
    signs = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    scale = math.sqrt(float((signs[0] ** 2).sum()) * float((signs[1] ** 2).sum()))
    found["kendall"] = float((signs[0] * signs[1]).sum()) / scale
    if exact:
        first, second = np.triu_indices(len(x), 1)
        drawn = 2 * (signs[1][orders[:, first], orders[:, second]] @ signs[0][first, second]) / scale
        found["kendall_p"] = _tail(found["kendall"], drawn, exact)
    else:
        found["kendall_p"] = _kendall_p(x, y, float((signs[0] * signs[1]).sum()) / 2)
    return {name: found[name] for name in names} | {"exact": exact}


def _tail(observed: float, drawn_O: NDArray[np.float64], exact: bool) -> float:
    extreme = int((np.abs(drawn_O) >= abs(observed) - 1e-12).sum())
    # Of random orders the observed one is one more.
    return extreme / len(drawn_O) if exact else (extreme + 1) / (len(drawn_O) + 1)


def _orders(n: int) -> tuple[NDArray[np.int64], bool]:
    """Orders (O, n) of n points: all, or random ones that are the same in every call."""
    if n <= EXACT:
        return np.array(list(itertools.permutations(range(n)))), True
    generator = np.random.Generator(np.random.Philox(key=n))
    return generator.permuted(np.tile(np.arange(n), (DRAWS, 1)), axis=1), False


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean."""
    below = (values[:, None] > values).sum(axis=1)
    ties = (values[:, None] == values).sum(axis=1)
    return np.asarray(below + (ties + 1) / 2, dtype=np.float64)


def _kendall_p(x: NDArray[np.float64], y: NDArray[np.float64], concordance: float) -> float:
    """Two-sided p of concordant minus discordant pairs."""
    n = len(x)
    ties = [np.unique(values, return_counts=True)[1].astype(np.float64) for values in (x, y)]
    if n <= COUNTED and all(len(sizes) == n for sizes in ties):
        chances, pairs = _inversions(n), n * (n - 1) / 2
        extreme = np.abs(pairs - 2 * np.arange(len(chances))) >= abs(concordance) - 1e-9
        return min(1.0, float(chances[extreme].sum()))
    both = [float((sizes * (sizes - 1)).sum()) for sizes in ties]
    cubed = [float((sizes * (sizes - 1) * (sizes - 2)).sum()) for sizes in ties]
    squared = [float((sizes * (sizes - 1) * (2 * sizes + 5)).sum()) for sizes in ties]
    variance = (n * (n - 1) * (2 * n + 5) - squared[0] - squared[1]) / 18
    variance += both[0] * both[1] / (2 * n * (n - 1)) + cubed[0] * cubed[1] / (9 * n * (n - 1) * (n - 2))
    return math.erfc(abs(concordance) / math.sqrt(2 * variance))


def _cut(n: int, tail: float) -> int:
    """How many slopes lie on the wrong side with at most the chance ``tail``."""
    if n <= COUNTED:
        return int(np.searchsorted(np.cumsum(_inversions(n)), tail, side="right"))
    away = t_quantile(1 - tail, 1e6) * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    return max(0, math.floor((n * (n - 1) / 2 - away) / 2))


@cache
def _inversions(n: int) -> NDArray[np.float64]:
    """Chances that an order of n has 0, 1, 2 ... pairs the wrong way round."""
    chances = np.ones(1)
    for size in range(2, n + 1):
        chances = np.convolve(chances, np.full(size, 1 / size))
    return chances
