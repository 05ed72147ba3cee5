"""Estimators in plain numbers: mean@k and pass@k with their errors, differences of two arms, Student's t.

In: arrays of counts. Out: frozen records. numpy only, so that every estimator can be checked against a textbook; a
quantity that the data do not determine is None, never nan.

Source: Miller, arXiv 2411.00640 (clustered and paired errors).
"""

# Shapes: N problems, G groups of samples per problem.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence


Floats = NDArray[np.float64]

Counts = NDArray[np.int64]


# --- accuracies -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over problems and its two standard errors, all as fractions.

    >>> mean_accuracy([2, 0], [2, 2])
    Mean(value=0.5, se_cond=0.0, se_super=0.5, num_problems=2)
    """

    value: float | None
    se_cond: float | None
    """These problems are all there is; only the sampling varies. None where no problem has two samples."""
    se_super: float | None
    """The problems too are a sample (clustered by problem; paired for differences). None for one problem."""
    num_problems: int


def tally_passed(passed: Sequence[Sequence[bool | None]]) -> tuple[Counts, Counts]:
    """Correct answers (N,) and scored samples (N,) per problem; nulls (infrastructure faults) count in neither.

    >>> tally_passed([[True, False, None], [None]])
    (array([1, 0]), array([2, 0]))
    """
    scored = [[outcome for outcome in row if outcome is not None] for row in passed]
    correct_N = np.array([sum(row) for row in scored], dtype=np.int64)
    return correct_N, np.array([len(row) for row in scored], dtype=np.int64)


def mean_accuracy(correct_N: ArrayLike, samples_N: ArrayLike) -> Mean:
    """mean@k: the mean over problems of each one's share of correct samples; k may differ by problem.

    Problems without a scored sample are left out. Squared errors: conditional (1/N^2) sum_i p_i (1 - p_i) /
    (k_i - 1), super-population var_i(p_i) / N. Never p(1-p)/(Nk): a problem's samples are alike.
    """
    correct, samples = _scored(correct_N, samples_N)
    if not len(samples):
        return Mean(None, None, None, 0)
    shares = correct / samples
    conditional = _root(_sampling_variance(correct, samples))
    return Mean(float(shares.mean()), conditional, _clustered(shares), len(shares))


def pass_at_k(correct_N: ArrayLike, samples_N: ArrayLike, k: int) -> Floats:
    """Per problem, the chance that k of its samples, drawn without replacement, hold a correct one (N,).

    The unbiased estimate 1 - C(n - c, k) / C(n, k) of Chen et al., arXiv 2107.03374. ValueError below k samples.

    >>> pass_at_k([1, 0], [2, 2], 1)
    array([0.5, 0. ])
    """
    correct, samples = np.asarray(correct_N, dtype=np.int64), np.asarray(samples_N, dtype=np.int64)
    if k < 1 or (samples < k).any():
        raise ValueError(f"pass@{k} needs {max(k, 1)} samples of every problem")
    return np.array(
        [
            # 1 - product of (1 - k / i) for i = n - c + 1 ... n; an empty product gives 0
            1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))
            for c, n in zip(correct.tolist(), samples.tolist(), strict=True)
        ]
    )


def mean_difference(
    above_correct_N: ArrayLike,
    above_samples_N: ArrayLike,
    below_correct_N: ArrayLike,
    below_samples_N: ArrayLike,
) -> Mean:
    """Mean of (above - below) per problem; for the gap: teacher above, student below, same order of problems.

    Conditional errors of the two arms add in squares (independent samples); the super-population error is
    paired, sqrt(var_i(d_i) / N). Problems that lack a scored sample in either arm are left out of both.
    """
    arms = [np.asarray(a) for a in (above_correct_N, above_samples_N, below_correct_N, below_samples_N)]
    both = (arms[1] > 0) & (arms[3] > 0)
    above_correct, above, below_correct, below = (arm[both] for arm in arms)
    if not len(above):
        return Mean(None, None, None, 0)
    differences = above_correct / above - below_correct / below
    variances = _sampling_variance(above_correct, above), _sampling_variance(below_correct, below)
    total = None if variances[0] is None or variances[1] is None else variances[0] + variances[1]
    return Mean(float(differences.mean()), _root(total), _clustered(differences), len(differences))


def grouped_difference(differences_NG: ArrayLike) -> Mean:
    """The gap from G >= 2 independent groups per problem, each with its own contexts.

    The spread between a problem's groups shows what one group cannot: a lucky group raises both the
    student's accuracy and the worth of its teacher's context. Squared conditional error:
    (1/N^2) sum_i var_g(d_ig) / G_i. A group that was not scored is nan: problems without a group are left out, a
    problem left with one takes the others' mean var_g. ValueError below two groups.

    >>> grouped_difference([[0.5, 0.25], [0.0, 0.25]])
    Mean(value=0.25, se_cond=0.08838834764831845, se_super=0.125, num_problems=2)
    """
    table = np.asarray(differences_NG, dtype=np.float64)
    if table.shape[1] < 2:
        raise ValueError("a between-group error needs two groups per problem")
    table = table[~np.isnan(table).all(axis=1)]
    if not len(table):
        return Mean(None, None, None, 0)
    scored = (~np.isnan(table)).sum(axis=1)
    by_problem = np.nanmean(table, axis=1)
    squares = np.nansum((table - by_problem[:, None]) ** 2, axis=1)
    several = scored > 1
    conditional = None
    if several.any():
        spread = np.zeros_like(by_problem)
        spread[several] = squares[several] / (scored[several] - 1)
        spread[~several] = spread[several].mean()
        conditional = math.sqrt(float((spread / scored).sum())) / len(table)
    return Mean(float(by_problem.mean()), conditional, _clustered(by_problem), len(table))


def _scored(correct_N: ArrayLike, samples_N: ArrayLike) -> tuple[Floats, Floats]:
    samples = np.asarray(samples_N, dtype=np.float64)
    return np.asarray(correct_N, dtype=np.float64)[samples > 0], samples[samples > 0]


def _sampling_variance(correct: Floats, samples: Floats) -> float | None:
    """(1/N^2) sum_i s_i^2 / k_i; a problem left with one sample takes the others' mean s^2."""
    shares, several = correct / samples, samples > 1
    if not several.any():
        return None
    spread = np.zeros_like(shares)
    spread[several] = (shares * (1 - shares) * samples)[several] / (samples[several] - 1)
    spread[~several] = spread[several].mean()
    return float((spread / samples).sum()) / len(shares) ** 2


def _clustered(per_problem: Floats) -> float | None:
    return math.sqrt(per_problem.var(ddof=1) / len(per_problem)) if len(per_problem) > 1 else None


def _root(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)


def t_interval(estimate: float, se: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """Two-sided t interval."""
    half = t_quantile(0.5 + level / 2, df) * se
    return estimate - half, estimate + half


# --- Student's t, so that the base layer needs numpy alone ------------------------------------------------


def t_two_sided(t: float, df: float) -> float:
    """P(|T| > |t|) with ``df`` degrees of freedom.

    >>> round(t_two_sided(2.7764451052, 4), 9)
    0.05
    """
    square = t * t
    return _incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square))


def t_quantile(probability: float, df: float) -> float:
    """The t below which ``probability`` of the mass lies, by bisection to the last bit.

    >>> round(t_quantile(0.975, 4), 9)
    2.776445105
    """
    if not 0 < probability < 1:
        raise ValueError(f"a probability strictly between 0 and 1, not {probability}")
    both_tails = 2 * min(probability, 1 - probability)
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > both_tails:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_two_sided(middle, df) > both_tails else (low, middle)
    return math.copysign(high, probability - 0.5) if both_tails < 1 else 0.0


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """Regularised I_x(a, b), y = 1 - x given apart so that neither end loses digits (DLMF 8.17.22)."""
    if x <= 0:
        return 0.0
    if y <= 0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(b, a, y, x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    # Lentz's evaluation of 1 + d_1 / (1 + d_2 / (1 + ...)), whose inverse is wanted.
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(1, 100_000):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / (1.0 + term * d or 1e-300)
        c = 1.0 + term / c or 1e-300
        fraction *= c * d
        if abs(c * d - 1.0) < 4e-16:
            break
    return math.exp(log_front) / (a * fraction)
