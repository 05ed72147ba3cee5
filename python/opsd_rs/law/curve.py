"""The curve of a run's validations, and whether the rest of it is worth its steps.

The student's accuracy at step t is y(t) = V0 + D (1 - exp(-t / tau)) / (1 - exp(-H / tau)): D is the gain at the
run's end H, which is what the law forecasts, and tau how fast it comes. Over a grid of D, tau and of the scatter that
sampling does not explain, the posterior is the forecast's Student t times the likelihood of the validations; V0 is
unknown with the error of its own validation.

Two rules read it. ``ceiling``: at two validations in a row, a further gain above ``further_gain`` is unlikely.
``futility``: a gain of ``worthwhile`` at the end is unlikely. Both look at the curve alone: that the student has
reached its teacher of step 0 is no reason to stop, students go beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from opsd_rs.base import mean_accuracy
from opsd_rs.errors import BadInput
from opsd_rs.law.forecasts import Spread

Rule = Literal["ceiling", "futility"]
RULES: tuple[Rule, ...] = ("ceiling", "futility")
Floats = NDArray[np.float64]

# Shapes: D gains, T times, S scatters, N validations.
NUM_GAINS, NUM_TIMES = 241, 25
WIDTH = 6.0
"""Gains of the grid reach so many of the forecast's errors to both sides, and over all that was seen."""
TIMES = (0.03, 3.0)
"""Tau, as shares of the horizon: from at once to nearly straight; even in its logarithm."""
SCATTERS = (0.0, 0.005, 0.01, 0.02)
"""What moves a validation beside sampling, equally likely before the first."""


@dataclass(frozen=True)
class Look:
    """One validation of the student.

    >>> Look(5, 0.25, 0.01).step
    5
    """

    step: int
    accuracy: float
    se: float
    """Of its samples, the problems held fixed."""


@dataclass(frozen=True)
class StopTerms:
    """When a run is stopped; fractions."""

    worthwhile: float = 0.01
    """Smallest gain at the end that a run is worth."""
    further_gain: float = 0.005
    """Smallest gain that the rest of a run is worth."""
    confidence: float = 0.95
    """How sure a stop must be."""

    def __post_init__(self) -> None:
        for name in ("worthwhile", "further_gain"):
            if not abs(getattr(self, name)) <= 1:
                said = f"{name.replace('_', ' ')} {getattr(self, name):g}"
                raise BadInput(f"{said}: a fraction of 1, not percentage points: 0.02 is two")
        if not 0.5 <= self.confidence < 1:
            raise BadInput(f"confidence {self.confidence:g}: a probability from 0.5 up to, not with, 1")


@dataclass(frozen=True)
class Outlook:
    """What is to be expected after a validation."""

    step: int
    p_further: float
    """P(the gain from here to the end > further_gain)."""
    p_worthwhile: float
    """P(the gain at the end >= worthwhile)."""
    expected_gain: float
    """At the end, over the start."""


@dataclass(frozen=True)
class Stop:
    """A rule's stop, and why."""

    rule: Rule
    step: int
    reason: str


def looks_of(rows: Sequence[Mapping[str, Any]]) -> list[Look]:
    """The student's validations in rows of an ``eval.parquet``, by step; those of the newest measurement alone.

    A validation whose error cannot be told (one sample per problem) takes that of a share with as many samples.
    """
    named = [row["identity_id"] for row in rows if row.get("identity_id")]
    mine = [row for row in rows if row["arm"] == "student" and row.get("identity_id") in (None, *named[-1:])]
    found = []
    for step in sorted({row["step"] for row in mine}):
        group = [row for row in mine if row["step"] == step]
        mean = mean_accuracy([row["passed"] for row in group], [row["n"] for row in group])
        if mean.value is not None:
            found.append(
                Look(step, mean.value, _error(mean.value, mean.se_cond, sum(row["n"] for row in group)))
            )
    return found


def _error(accuracy: float, se: float | None, samples: int) -> float:
    """At least what one answer more or less would change: no observed spread is no proof of none."""
    plain = math.sqrt(accuracy * (1 - accuracy) / samples)
    return max(plain if se is None else se, 0.5 / samples)


def outlooks(looks: Sequence[Look], prior: Spread, horizon: int, terms: StopTerms) -> list[Outlook]:
    """One for each validation after step 0, each from those before it and itself.

    :param prior: of the gain at ``horizon``
    """
    if not looks or looks[0].step != 0:
        return []
    # Nothing of later validations goes into an earlier outlook: a run sees what a look back at it sees.
    seen = [looks[: end + 1] for end in range(1, len(looks))]
    return [_Grid(part, prior, horizon).outlook(terms) for part in seen]


def find_stop(
    rule: Rule, looks: Sequence[Look], prior: Spread, horizon: int, terms: StopTerms
) -> Stop | None:
    """Where the rule ends a run; None where the run goes to its end."""
    return first_stop(rule, outlooks(looks, prior, horizon, terms), prior, horizon, terms)


def first_stop(
    rule: Rule, seen: Sequence[Outlook], prior: Spread, horizon: int, terms: StopTerms
) -> Stop | None:
    """As ``find_stop``, where the outlooks are known."""
    alpha = 1 - terms.confidence
    before: Outlook | None = None
    for here in seen:
        if here.step >= horizon:
            return None
        if rule == "futility" and here.p_worthwhile < alpha:
            return Stop(
                rule, here.step,
                f"below forecast, diagnose: P(gain >= {100 * terms.worthwhile:g} pp at step {horizon}) ="
                f" {here.p_worthwhile:.3f}, the forecast was {100 * prior.centre:+.1f} pp",
            )  # fmt: skip
        if rule == "ceiling" and here.p_further < alpha and before is not None and before.p_further < alpha:
            return Stop(
                rule, here.step,
                f"nothing left to gain: P(further gain > {100 * terms.further_gain:g} pp) = {before.p_further:.3f} and"
                f" {here.p_further:.3f} at steps {before.step} and {here.step}",
            )  # fmt: skip
        before = here
    return None


class _Grid:
    """The posterior over (D, tau, scatter) after some validations."""

    def __init__(self, looks: Sequence[Look], prior: Spread, horizon: int) -> None:
        seen = [look.accuracy - looks[0].accuracy for look in looks]
        error = max(max(look.se for look in looks), SCATTERS[-1], prior.se, 1e-4)
        low = min(prior.centre, *seen) - WIDTH * error
        high = max(prior.centre, *seen) + WIDTH * error
        # Half of the cells lie evenly over all of this, half near the centre, where a narrow forecast has its mass.
        near = prior.centre + prior.se * np.linspace(-WIDTH, WIDTH, NUM_GAINS)
        self._gains_D = np.unique(np.concatenate([np.linspace(low, high, NUM_GAINS), near]))
        self._times_T = horizon * np.geomspace(*TIMES, NUM_TIMES)
        self._horizon = horizon
        self._looks = looks
        self._log_prior_D = _log_student(self._gains_D, prior) + np.log(np.gradient(self._gains_D))

    def outlook(self, terms: StopTerms) -> Outlook:
        """After the last of the validations."""
        looks = self._looks
        weight_DTS = self._posterior()
        done_T = self._share(looks[-1].step)
        further_DT = self._gains_D[:, None] * (1 - done_T)
        weight_DT = weight_DTS.sum(axis=2)
        weight_D = weight_DT.sum(axis=1)
        return Outlook(
            step=looks[-1].step,
            p_further=float(weight_DT[further_DT > terms.further_gain].sum()),
            p_worthwhile=float(weight_D[self._gains_D >= terms.worthwhile].sum()),
            expected_gain=float(weight_D @ self._gains_D),
        )

    def _share(self, step: int) -> Floats:
        """Of the gain at the end, what is there at ``step``, by tau (T,)."""
        share: Floats = np.expm1(-step / self._times_T) / np.expm1(-self._horizon / self._times_T)
        return share

    def _posterior(self) -> Floats:
        looks = self._looks
        y_N = np.array([look.accuracy for look in looks])
        se_N = np.array([look.se for look in looks])
        share_TN = np.stack([self._share(look.step) for look in looks], axis=1)
        log_DTS = np.empty((len(self._gains_D), NUM_TIMES, len(SCATTERS)))
        for place, scatter in enumerate(SCATTERS):
            precision_N = 1 / (se_N**2 + scatter**2)
            total = precision_N.sum()
            # Residuals r = y - D share, less their weighted mean: V0 integrated out, flat before its validation.
            y_mean = precision_N @ y_N / total
            share_mean_T = share_TN @ precision_N / total
            dy_N, ds_TN = y_N - y_mean, share_TN - share_mean_T[:, None]
            yy = float(precision_N @ dy_N**2)
            ys_T = ds_TN @ (precision_N * dy_N)
            ss_T = ds_TN**2 @ precision_N
            gains_D1 = self._gains_D[:, None]
            squares_DT = yy - 2 * gains_D1 * ys_T + gains_D1**2 * ss_T
            log_DTS[:, :, place] = 0.5 * (np.log(precision_N).sum() - math.log(total) - squares_DT)
        log_DTS += self._log_prior_D[:, None, None]
        weight_DTS: Floats = np.exp(log_DTS - log_DTS.max())
        weight_DTS /= weight_DTS.sum()
        return weight_DTS


def _log_student(values: Floats, prior: Spread) -> Floats:
    se = max(prior.se, 1e-4)  # a line without scatter is no certainty
    z = (values - prior.centre) / se
    return -0.5 * (prior.df + 1) * np.log1p(z**2 / prior.df)
