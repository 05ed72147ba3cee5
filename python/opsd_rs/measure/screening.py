"""Which context is best, on a budget: shrinkage, the probability of being best, and how many groups come next.

Pure functions of shares by context, problem and group; what runs and what is simulated is this code. Contexts are
compared by the self-teacher's accuracy: the student's term is common to all.

The prior is normal, with a mean and a spread that the contexts themselves tell (empirical Bayes, the spread averaged
over its likelihood). Noise is that between groups, without the part that all contexts share because they answer the
same attempts: it moves all alike.
"""

# Shapes: W worlds (any leading axes), M contexts, N problems, G groups, T values of the prior's spread, X grid points.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FINAL_SHARE = 0.15
"""Of the budget, for fresh samples of the winner alone: its gap then owes nothing to having won."""
MIN_GROUPS = 2
"""Of the final samples: one group has no error of its own."""
LEVEL = 0.95
"""Of the set that is not excluded."""
_TAUS, _GRID = 24, 128


@dataclass(frozen=True)
class Scores:
    """What is known of each context, (..., M) each."""

    mean: Floats
    """Accuracy of its teacher."""
    variance: Floats
    """Of ``mean``, without the noise that all share."""
    groups: Ints


@dataclass(frozen=True)
class Posterior:
    """After shrinkage, (..., M) each."""

    mean: Floats
    sd: Floats
    p_best: Floats

    def not_excluded(self, level: float = LEVEL) -> NDArray[np.bool_]:
        """The smallest set that holds the best with probability ``level``."""
        order = np.argsort(-self.p_best, axis=-1)
        sorted_M = np.take_along_axis(self.p_best, order, axis=-1)
        before = np.cumsum(sorted_M, axis=-1) - sorted_M
        inside = np.zeros(self.p_best.shape, np.bool_)
        np.put_along_axis(inside, order, before < level, axis=-1)
        return inside


def scores(shares_MNG: Floats, group_size: int) -> Scores:
    """Means and noise of ``shares`` (..., M, N, G), nan where a context has no such group.

    A context's spread is drawn towards that of all as ten more degrees of freedom would: with few problems some show
    none at all. A context with one group has no spread: its answers count as independent, until the next round.
    """
    there = ~np.isnan(shares_MNG)
    filled = np.where(there, shares_MNG, 0.0)
    counts = there.sum(axis=-1)
    mean_MN = filled.sum(axis=-1) / np.maximum(counts, 1)
    own = _own(filled, there)
    own_there = ~np.isnan(own)
    own_counts = own_there.sum(axis=-1)
    own = np.where(own_there, own, 0.0)
    left = np.where(
        own_there, own - own.sum(axis=-1, keepdims=True) / np.maximum(own_counts, 1)[..., None], 0.0
    )
    several = own_counts > 1
    spread_MN = np.where(several, (left**2).sum(axis=-1) / np.maximum(own_counts - 1, 1), 0.0)
    alone_MN = mean_MN * (1 - mean_MN) / max(group_size - 1, 1)
    answered = counts > 0
    num = np.maximum(answered.sum(axis=-1), 1)
    df = np.where(several, own_counts - 1, 0).sum(axis=-1)
    between = spread_MN.sum(axis=-1) / np.maximum(several.sum(axis=-1), 1) / num
    one = np.where(several.any(axis=-1), between, (alone_MN * answered).sum(axis=-1) / num**2)
    pooled = one.mean(axis=-1, keepdims=True)
    one = (df * one + 10 * pooled) / (df + 10)
    groups = counts.max(axis=-1)
    mean = (mean_MN * answered).sum(axis=-1) / num
    return Scores(mean, np.maximum(one, 1e-9) / np.maximum(groups, 1), groups)


def _own(filled_MNG: Floats, there: NDArray[np.bool_]) -> Floats:
    """Shares less the mean of the contexts that answered the same group, with the variance that they had of their own;
    nan where there is no other."""
    num = there.sum(axis=-3, keepdims=True)
    centre = filled_MNG.sum(axis=-3, keepdims=True) / np.maximum(num, 1)
    scale = np.sqrt(num / np.maximum(num - 1, 1))
    return np.asarray(np.where(there & (num > 1), (filled_MNG - centre) * scale, np.nan))


def posterior(found: Scores) -> Posterior:
    """Shrunken accuracies and the probability that each is the best."""
    mean_M, variance_M = found.mean, found.variance
    spread = mean_M.std(axis=-1, keepdims=True) + np.sqrt(variance_M.mean(axis=-1, keepdims=True))
    tau_T = np.linspace(0.02, 2.5, _TAUS) ** 1.5
    tau2 = (spread * tau_T)[..., None] ** 2  # (..., T, 1)
    v, y = variance_M[..., None, :], mean_M[..., None, :]
    total = v + tau2
    weight = 1 / total
    mu = (weight * y).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True)
    log_likelihood = (
        -0.5 * np.log(total).sum(axis=-1)
        - 0.5 * np.log(weight.sum(axis=-1))
        - 0.5 * (weight * (y - mu) ** 2).sum(axis=-1)
    )
    # A flat prior on the spread: points of the grid count by their distance.
    belief = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True)) * np.gradient(tau_T)
    belief /= belief.sum(axis=-1, keepdims=True)
    kept = tau2 / total
    centre = mu + kept * (y - mu)
    own = kept * v
    shared = (1 - kept) ** 2 / weight.sum(axis=-1, keepdims=True)
    b = belief[..., None]
    mean = (b * centre).sum(axis=-2)
    second = (b * (own + shared + centre**2)).sum(axis=-2)
    best = np.zeros(mean.shape)
    for place in range(_TAUS):  # all at a time would be T times the memory
        best += belief[..., place, None] * _p_best(centre[..., place, :], np.sqrt(own[..., place, :]))
    return Posterior(mean, np.sqrt(np.maximum(second - mean**2, 0.0)), best)


def _p_best(centre_M: Floats, sd_M: Floats) -> Floats:
    """P(each is the largest) of independent normals (..., M), by quadrature."""
    sd_M = np.maximum(sd_M, 1e-9)
    low = (centre_M - 6 * sd_M).max(axis=-1)
    high = (centre_M + 6 * sd_M).max(axis=-1)
    x = low[..., None] + (high - low)[..., None] * np.linspace(0.0, 1.0, _GRID)
    z = (x[..., None, :] - centre_M[..., None]) / sd_M[..., None]  # (..., M, X)
    below = np.log(np.maximum(_normal_cdf(z), 1e-300))
    density = np.exp(-0.5 * z**2) / sd_M[..., None]
    mass = (density * np.exp(below.sum(axis=-2, keepdims=True) - below)).sum(axis=-1)
    return np.asarray(mass / np.maximum(mass.sum(axis=-1, keepdims=True), 1e-300))


def _normal_cdf(z: Floats) -> Floats:
    """Abramowitz and Stegun 7.1.26, to 1.5e-7."""
    x = np.abs(z) / math.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1 - tail * np.exp(-(x**2))
    return np.asarray(0.5 * (1 + np.sign(z) * erf))


# --- the schedule -----------------------------------------------------------------------------------------


def num_rounds(num_contexts: int) -> int:
    """Halvings that leave two or three contexts, of which the last round's best wins.

    >>> [num_rounds(m) for m in (2, 3, 6, 23)]
    [1, 1, 2, 4]
    """
    return max(math.ceil(math.log2(max(num_contexts, 2))) - 1, 1)


def survivors(num_contexts: int) -> int:
    """How many go on to the next round.

    >>> survivors(23), survivors(12), survivors(3)
    (12, 6, 2)
    """
    return max(-(-num_contexts // 2), 2)


@dataclass(frozen=True)
class Budget:
    """What may be drawn, in answers; ``per_group`` of them are a group of every problem.

    >>> Budget(per_group=320, bare=2560, total=40_000).round_groups(23, rounds_left=4, spent=2560)
    1
    """

    per_group: int
    """Problems times ``rollout.n``."""
    bare: int
    """Of B, drawn once."""
    total: float

    @property
    def final(self) -> float:
        """Kept for the winner's fresh samples: two groups of A and T at least."""
        return max(FINAL_SHARE * self.total, 2 * MIN_GROUPS * self.per_group)

    def least(self, num_contexts: int) -> int:
        """The smallest budget that screens so many contexts at all: the first round and the final samples."""
        first = self.bare + (num_contexts + 1) * self.per_group
        return max(first + 2 * MIN_GROUPS * self.per_group, math.ceil(first / (1 - FINAL_SHARE)))

    def round_groups(self, alive: int, rounds_left: int, spent: float) -> int:
        """Groups of the next round, for each context that is left and for A; 0 where none can be paid.

        Every round has an equal part of what is left.
        """
        left = self.total - self.final - spent
        cost = (alive + 1) * self.per_group
        if cost > left:
            return 0
        return max(int(left / max(rounds_left, 1) // cost), 1)

    def final_groups(self, spent: float, *, early: bool = False) -> int:
        """Fresh groups for the winner, from all that is left.

        :param early: the search ended before its budget: only from what was kept for them
        """
        left = min(self.total - spent, self.final) if early else self.total - spent
        return max(int(left // (2 * self.per_group)), MIN_GROUPS)


def next_contexts(found: Posterior, alive: Sequence[int]) -> list[int]:
    """Who goes on, the best first: half of those that are left, by shrunken accuracy."""
    order = sorted(alive, key=lambda place: -float(found.mean[place]))
    return order[: survivors(len(alive))]
