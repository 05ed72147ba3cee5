"""Whether several groups share a line: analysis of covariance, and slopes in pairs.

In: points by group. Out: F tests of one slope, of one line, of one intercept given the slope; Welch's test of each pair
of slopes, corrected for their number (Holm). The groups' scatters differ in the published fits by a factor of eight,
which the F tests assume away: the pairs are the headline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from opsd_rs.law.regression import welch_p


def compare_lines(groups: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> dict[str, Any] | None:
    """F tests between one line, parallel lines and separate lines; None for one group or no df.

    :param groups: name to (x, y)
    :returns: slopes, coincidence, intercepts (given one slope): each {f, df1, df2, p}
    """
    arrays = [(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)) for x, y in groups.values()]
    g, total = len(arrays), sum(len(x) for x, _ in arrays)
    if g < 2 or total <= 2 * g or any(np.ptp(x) == 0 for x, _ in arrays):
        return None
    moments = np.array([_moments(x, y) for x, y in arrays])
    separate = float((moments[:, 2] - moments[:, 1] ** 2 / moments[:, 0]).sum())
    sxx, sxy, syy = moments.sum(axis=0)
    parallel = float(syy - sxy**2 / sxx)
    sxx, sxy, syy = _moments(np.concatenate([x for x, _ in arrays]), np.concatenate([y for _, y in arrays]))
    one = float(syy - sxy**2 / sxx)
    if separate <= 1e-14 * one or parallel <= 0:
        return None
    return {
        "slopes": _f(parallel - separate, g - 1, separate, total - 2 * g),
        "coincidence": _f(one - separate, 2 * (g - 1), separate, total - 2 * g),
        "intercepts": _f(one - parallel, g - 1, parallel, total - g - 1),
    }


def _moments(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    dx, dy = x - x.mean(), y - y.mean()
    return float(dx @ dx), float(dx @ dy), float(dy @ dy)


def _f(above: float, df1: int, below: float, df2: int) -> dict[str, Any]:
    from scipy.special import fdtrc

    f = max(0.0, above) / df1 / (below / df2)
    return {"f": f, "df1": df1, "df2": df2, "p": float(fdtrc(df1, df2, f))}


def slope_pairs(entries: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every pair of fitted slopes: difference, Welch's p, and Holm's over all pairs.

    :param entries: families of a fit; those without a slope, or invented beside measured, are in no pair
    """
    fitted = [(name, entry) for name, entry in entries.items() if entry["slope"] is not None]
    pairs = []
    for place, (name, one) in enumerate(fitted):
        for other_name, other in fitted[place + 1 :]:
            if one["synthetic"] != other["synthetic"]:
                continue
            p = welch_p(
                one["slope"], one["slope_se"], one["df"], other["slope"], other["slope_se"], other["df"]
            )
            pairs.append({"pair": [name, other_name], "difference": one["slope"] - other["slope"], "p": p})
    for pair, corrected in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = corrected
    return pairs


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction, in the order given.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
