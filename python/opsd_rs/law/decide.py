"""Train, skip, measure more or train anchors: what a forecast advises, why, and at what price.

A run is worth it where its gain is at least ``worthwhile``. ``train`` where that is at least as likely as
``confidence``, ``skip`` where its opposite is. In between, more samples of the gap help where the gap's own error is
most of the forecast's; else only more finished runs do (``needs anchors``). With a price and a value, the expected
gain decides instead: value of the expected gain against the price of a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from opsd_rs.errors import BadInput
from opsd_rs.law.forecasts import UNSURE, Forecast, spread_at

Verdict = Literal["train", "skip", "measure more", "needs anchors"]
WORTHWHILE = 0.01
"""One point: about the error of one mean@4 on a hundred problems."""
CONFIDENCE = 0.8
MAX_FACTOR = 1000
"""More samples than this many times today's are no advice."""


@dataclass(frozen=True)
class Terms:
    """What a gain must be, how sure one wants to be, and what things cost."""

    worthwhile: float = WORTHWHILE
    """Smallest gain that a run is worth, a fraction."""
    confidence: float = CONFIDENCE
    gpu_hours: float | None = None
    """Of one run; None: unknown."""
    price_per_hour: float | None = None
    value_per_point: float | None = None
    """Of a percentage point of accuracy, in the price's currency."""

    def __post_init__(self) -> None:
        if not abs(self.worthwhile) <= 1:
            raise BadInput(
                f"--worthwhile {self.worthwhile:g}: a fraction of 1, not percentage points: 0.02 is two"
            )
        if not 0.5 <= self.confidence < 1:
            raise BadInput(f"--confidence {self.confidence:g}: a probability from 0.5 up to, not with, 1")
        for name in ("gpu_hours", "price_per_hour", "value_per_point"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise BadInput(f"--{name.replace('_', '-')} {value:g}: a number of at least 0")
        if self.value_per_point is not None and self.price_per_hour is None:
            raise BadInput(
                "--value-per-point needs --price-per-hour: a gain is worth a run's price or is not"
            )


@dataclass(frozen=True)
class Measured:
    """What the gap's measurement took, as far as the table says."""

    samples: int | None = None
    """Per problem."""
    group_size: int | None = None
    gpu_hours: float | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, and why."""

    verdict: Verdict
    reason: str
    p_worthwhile: float | None
    """P(gain of one new run >= worthwhile)."""
    settling_factor: float | None = None
    """So many times today's samples of the gap would settle an open question; None: no number would."""
    settling_samples: int | None = None
    """The same per problem, in whole groups; None where the table does not say today's number."""
    measuring_gpu_hours: float | None = None
    """Of measuring these."""
    run_gpu_hours: float | None = None
    expected_gain: float | None = None
    """E[max(gain, 0)] of one new run."""


def decide(entry: Mapping[str, Any] | None, forecast: Forecast, terms: Terms, measured: Measured) -> Decision:
    """The decision about one new run.

    :param entry: the family's, for what an exact gap would leave open; None where there is no line
    :raises BadInput: a value per point is given and nobody knows a run's GPU hours
    """
    run = forecast.run_spread
    if entry is None or run is None:
        why = "no line for this family" if "family_absent" in forecast.flags else "the law has no slope"
        return Decision("needs anchors", f"{why}: train at least 3 of its contexts and fit", None)
    p = run.above(terms.worthwhile)
    gain = run.expected_gain(forecast.bounds)
    verdict, reason = _by_probability(p, terms)
    if terms.value_per_point is not None:
        verdict, reason = _by_price(gain, terms)
    factor = None
    if verdict not in ("train", "skip"):
        factor = _settling_factor(entry, forecast, terms)
        verdict, reason = _open(forecast, reason, factor)
    unsure = [flag for flag in forecast.flags if flag in UNSURE]
    if verdict == "train" and unsure:
        verdict = "needs anchors"
        reason = f"{reason}, but never train on {', '.join(f'{flag} ({WHY[flag]})' for flag in unsure)}"
    samples = _whole_groups(factor, measured)
    cost = None
    if factor is not None and measured.gpu_hours is not None:
        share = factor if samples is None or not measured.samples else samples / measured.samples
        cost = measured.gpu_hours * share
    return Decision(verdict, reason, p, factor, samples, cost, terms.gpu_hours, gain)


WHY = {
    "domain_unknown": "the law does not say where it holds: fit rows with the columns of the domain",
    "slope_uncertain": "its slope is not distinguishable from 0",
    "transfer": "no run of this family is in it",
    "synthetic": "its points are invented",
}


def _by_probability(p: float, terms: Terms) -> tuple[Verdict | None, str]:
    said = f"P(gain >= {100 * terms.worthwhile:g} pp) = {p:.2f}"
    if p >= terms.confidence:
        return "train", f"{said}, at least {terms.confidence:g}"
    if p <= 1 - terms.confidence:
        return "skip", f"{said}, at most {1 - terms.confidence:.3g}"
    return None, f"{said}, between {1 - terms.confidence:.3g} and {terms.confidence:g}"


def _by_price(gain: float, terms: Terms) -> tuple[Verdict | None, str]:
    if terms.gpu_hours is None:
        raise BadInput("--value-per-point needs a run's price: give its hours with --gpu-hours")
    assert terms.value_per_point is not None
    assert terms.price_per_hour is not None
    worth, price = terms.value_per_point * 100 * gain, terms.gpu_hours * terms.price_per_hour
    said = f"the expected gain of {100 * gain:.2f} pp is worth {worth:.2f}, a run costs {price:.2f}"
    return ("train" if worth > price else "skip"), said


def _open(forecast: Forecast, reason: str, factor: float | None) -> tuple[Verdict, str]:
    share = f"the gap's own error is {100 * forecast.gap_share:.0f} % of the forecast's squared error"
    if factor is not None and forecast.gap_share > 0.5:
        return "measure more", f"{reason}; {share}"
    if forecast.gap_se is None:
        return "needs anchors", f"{reason}; the gap came without an error: measure it with one"
    if factor is None:
        return "needs anchors", f"{reason}; {share}, and an exact gap would not settle it"
    return "needs anchors", f"{reason}; {share}"


def _settling_factor(entry: Mapping[str, Any], forecast: Forecast, terms: Terms) -> float | None:
    """How many times today's samples would take P out of the open range, if the gap stayed what it is."""
    error = forecast.gap_se
    if not error:
        return None

    def settled(factor: float) -> bool:
        less = spread_at(entry, forecast.gap, error / math.sqrt(factor), num_seeds=1, excess=forecast.excess)
        p = less.above(terms.worthwhile)
        return p >= terms.confidence or p <= 1 - terms.confidence

    if not settled(MAX_FACTOR):
        return None
    low, high = 1.0, float(MAX_FACTOR)
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


def _whole_groups(factor: float | None, measured: Measured) -> int | None:
    if factor is None or not measured.samples:
        return None
    group = measured.group_size or 1
    return group * math.ceil(factor * measured.samples / group)
