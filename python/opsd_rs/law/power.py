"""What a study could see before it is paid for: smallest visible differences, and the power to show a slope.

In: the user's own accuracy, correlation within a problem, and spread between seeds. Out: tables. Normal quantiles for
differences of counted accuracies; noncentral t for slopes, whose scatter few configurations estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import t_quantile
from opsd_rs.errors import BadInput

Floats = NDArray[np.float64]
PROBLEMS, SAMPLES = (40, 80, 131, 300, 1000), (4, 8, 16, 32, 64)
CONTEXTS, SEEDS = (4, 6, 8, 10, 12, 16, 24), (1, 2, 3, 5)


def within_variance(accuracy: float, icc: float) -> float:
    """E[p(1-p)] of problems whose answers correlate by ``icc``.

    >>> round(within_variance(0.28, 0.68), 4)
    0.0645
    """
    if not (0 < accuracy < 1 and 0 <= icc < 1):
        raise BadInput(f"accuracy {accuracy:g} lies between 0 and 1, icc {icc:g} from 0 to below 1")
    return accuracy * (1 - accuracy) * (1 - icc)


def smallest_difference(se: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The difference that a two-sided test of ``level`` sees with ``power``, its standard error known.

    >>> round(smallest_difference(0.01), 5)
    0.02802
    """
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2) + ndtri(power)) * se


def gap_table(within: float, *, slope: float = 1.0) -> list[dict[str, Any]]:
    """Smallest visible difference of two contexts' gaps, problems held, in one set of draws each.

    The student's term is common to both. In improvements it is ``slope`` times as large.

    :param within: E[p(1-p)]
    """
    return [
        {
            "problems": problems,
            **{
                f"k={k}": abs(slope) * smallest_difference(math.sqrt(2 * within / (problems * k)))
                for k in SAMPLES
            },
        }
        for problems in PROBLEMS
    ]


def improvement_table(within: float, training_sd: float, *, problems: int, k: int) -> list[dict[str, Any]]:
    """Smallest visible difference of two contexts' improvements by seeds, normal and with t (2 S - 2 df).

    :param training_sd: SD between seeds beyond the sampling of validation
    """
    one = training_sd**2 + within / (problems * k)
    rows = []
    for seeds in SEEDS:
        se = math.sqrt(2 * one / seeds)
        with_t = None
        if seeds > 1:
            df = 2 * seeds - 2
            with_t = _noncentrality(df) * se
        rows.append({"seeds": seeds, "normal": smallest_difference(se), "t": with_t})
    return rows


def _noncentrality(df: int, level: float = 0.95, power: float = 0.8) -> float:
    """Difference over standard error that a t test of ``df`` sees with ``power``."""
    low, high = 0.0, 1000.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_power(middle, df, level) < power else (low, middle)
    return high


def t_power(noncentrality: float, df: int, level: float = 0.95) -> float:
    """Chance that a two-sided t test is significant.

    >>> round(t_power(0.0, 4), 6)
    0.05
    """
    from scipy.special import nctdtr

    t = t_quantile(0.5 + level / 2, df)
    above = 1 - float(nctdtr(df, noncentrality, t))
    below = float(nctdtr(df, noncentrality, -t))
    return above + (0.0 if math.isnan(below) else below)


def slope_table(
    slope: float,
    gaps: Sequence[float],
    *,
    tau: float,
    seed_sd: float,
    gap_se: float,
    contexts: Sequence[int] = CONTEXTS,
) -> list[dict[str, Any]]:
    """Power to show that a slope is not 0, and half its 95 % interval, by contexts and seeds.

    :param gaps: lowest and highest gap; contexts spread evenly between
    :param seed_sd: SD between seeds of one configuration, validation's sampling and all
    """
    rows = []
    for n in contexts:
        if n < 3:
            continue
        sxx = float(np.var(np.linspace(min(gaps), max(gaps), n)) * n)
        row: dict[str, Any] = {"contexts": n}
        for seeds in SEEDS:
            sd = math.sqrt(tau**2 + seed_sd**2 / seeds + slope**2 * gap_se**2)
            se = sd / math.sqrt(sxx)
            row[f"power S={seeds}"] = t_power(abs(slope) / se, n - 2)
            row[f"half S={seeds}"] = t_quantile(0.975, n - 2) * se
        rows.append(row)
    return rows


def needed_contexts(slope: float, gaps: Sequence[float], *, tau: float, seed_sd: float, gap_se: float,
                    seeds: int, power: float = 0.8) -> int | None:  # fmt: skip
    """The fewest contexts that show the slope with ``power``; None where 200 do not."""
    for n in range(3, 201):
        (row,) = slope_table(
            slope, gaps, tau=tau, seed_sd=seed_sd / math.sqrt(seeds), gap_se=gap_se, contexts=(n,)
        )
        if row["power S=1"] >= power:
            return n
    return None


def icc_of(correct_N: Sequence[int], samples_N: Sequence[int]) -> tuple[float, float, float]:
    """Accuracy, E[p(1-p)] and the correlation within a problem, from counts per problem (two samples or more).

    >>> [round(value, 3) for value in icc_of([4, 0, 2], [4, 4, 4])]
    [0.5, 0.111, 0.556]
    """
    correct, samples = np.asarray(correct_N, dtype=np.float64), np.asarray(samples_N, dtype=np.float64)
    correct, samples = correct[samples > 1], samples[samples > 1]
    if not len(samples):
        raise BadInput("a correlation within problems needs a problem with two graded answers")
    shares = correct / samples
    mean = float(shares.mean())
    within = float((shares * (1 - shares) * samples / (samples - 1)).mean())
    total = mean * (1 - mean)
    return mean, within, 1 - within / total if total > 0 else 0.0
