"""The posterior of a run's end, and the two rules that read it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from opsd_rs.errors import BadInput
from opsd_rs.law import Look, StopTerms, find_stop, looks_of
from opsd_rs.law import curve as module
from opsd_rs.law.curve import SCATTERS, TIMES, outlooks
from opsd_rs.law.forecasts import Spread
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "benches"))
import law_decisions

H = 50


def curve(gain: float, tau: float = 15.0, *, every: int = 5, end: int = H, se: float = 0.01) -> list[Look]:
    share = [math.expm1(-step / tau) / math.expm1(-H / tau) for step in range(0, end + 1, every)]
    return [Look(every * place, 0.3 + gain * s, se) for place, s in enumerate(share)]


def test_the_posterior_is_that_of_quadrature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a sum over gain, start, tau and scatter of scipy's densities."""
    monkeypatch.setattr(module, "NUM_TIMES", 3)
    prior, looks = Spread(0.08, 0.03, 4.0), curve(0.05, end=15)
    seen = np.array([look.accuracy for look in looks])
    gains, starts = np.linspace(-0.4, 0.5, 901), np.linspace(0.2, 0.4, 201)
    density = np.zeros(len(gains))
    for tau in H * np.geomspace(*TIMES, 3):
        share = np.array([math.expm1(-look.step / tau) / math.expm1(-H / tau) for look in looks])
        for scatter in SCATTERS:
            at = starts[None, :, None] + gains[:, None, None] * share
            density += stats.norm.pdf(seen, at, math.hypot(0.01, scatter)).prod(axis=2).sum(axis=1)
    density *= stats.t.pdf(gains, prior.df, prior.centre, prior.se)
    found = outlooks(looks, prior, H, StopTerms(worthwhile=0.0605))[-1]
    assert found.p_worthwhile == pytest.approx(density[gains >= 0.0605].sum() / density.sum(), abs=0.01)
    assert found.expected_gain == pytest.approx((density * gains).sum() / density.sum(), abs=0.001)


def test_before_it_has_seen_anything_the_curve_says_what_the_forecast_says() -> None:
    prior = Spread(0.03, 0.02, 6.0)
    blind = [Look(0, 0.3, 10.0), Look(5, 0.9, 10.0)]
    [found] = outlooks(blind, prior, H, StopTerms(worthwhile=0.05))
    assert found.p_worthwhile == pytest.approx(prior.above(0.05), abs=0.01)
    assert found.expected_gain == pytest.approx(0.03, abs=0.001)


def test_validations_outweigh_a_forecast_that_was_wrong() -> None:
    """A bad forecast does not stop a good run, and a good one does not keep a bad run going."""
    terms = StopTerms(worthwhile=0.02)
    assert find_stop("futility", curve(0.12), Spread(-0.05, 0.03, 4.0), H, terms) is None
    stop = find_stop("futility", curve(-0.05), Spread(0.10, 0.03, 4.0), H, terms)
    assert stop is not None
    assert stop.reason.startswith("below forecast, diagnose: P(gain >= 2 pp at step 50) = 0.0")
    assert "the forecast was +10.0 pp" in stop.reason


def test_a_ceiling_needs_two_validations_and_is_not_the_teacher_s_level() -> None:
    terms = StopTerms()
    prior = Spread(0.1, 0.02, 10.0)
    stop = find_stop("ceiling", curve(0.1, tau=4.0, se=0.002), prior, H, terms)
    assert stop is not None
    found = {o.step: o.p_further for o in outlooks(curve(0.1, tau=4.0, se=0.002), prior, H, terms)}
    before = stop.step - 5
    assert found[before] < 0.05 > found[stop.step]
    assert found.get(before - 5, 1.0) >= 0.05, "the first pair"
    # Straight up through any level that a teacher may have had: it goes on.
    rising = [Look(step, 0.3 + 0.004 * step, 0.005) for step in range(0, H + 1, 5)]
    assert find_stop("ceiling", rising, Spread(0.05, 0.03, 4.0), H, terms) is None


def test_what_comes_later_changes_nothing_before_it() -> None:
    """A run decides at each validation; a look back at the whole run finds the same."""
    rng = np.random.default_rng(3)
    looks = [Look(l.step, l.accuracy + float(rng.normal(0, 0.02)), 0.02) for l in curve(0.02)]
    prior, terms = Spread(0.05, 0.03, 4.0), StopTerms()
    whole = outlooks(looks, prior, H, terms)
    assert [outlooks(looks[: end + 1], prior, H, terms)[-1] for end in range(1, len(looks))] == whole
    spiked = [*looks[:4], Look(20, 0.99, 0.02)]
    assert outlooks(spiked, prior, H, terms)[:3] == whole[:3]


def test_nothing_ends_before_the_first_validation_or_at_the_last_step() -> None:
    prior, terms = Spread(-0.5, 0.01, 4.0), StopTerms()
    assert find_stop("futility", curve(-0.2)[:1], prior, H, terms) is None
    assert find_stop("futility", [], prior, H, terms) is None
    assert find_stop("futility", curve(-0.2)[1:], prior, H, terms) is None, "no validation before training"
    only_end = [curve(-0.2)[0], curve(-0.2)[-1]]
    assert find_stop("futility", only_end, prior, H, terms) is None
    exact = Spread(0.02, 0.0, 4.0)
    assert outlooks(curve(0.02), exact, H, terms)[-1].expected_gain == pytest.approx(0.02, abs=1e-3)


def test_validations_come_from_the_newest_measurement() -> None:
    def row(step: int, passed: int, identity: str | None, arm: str = "student", problem: str = "a") -> dict:
        return {
            "step": step,
            "arm": arm,
            "problem_id": problem,
            "n": 4,
            "passed": passed,
            "identity_id": identity,
        }

    rows = [
        row(0, 4, "old"), row(0, 1, "new"), row(0, 3, "new", problem="b"), row(0, 4, "new", arm="teacher"),
        row(5, 2, "new"), row(5, 3, "new", problem="b"),
    ]  # fmt: skip
    found = looks_of(rows)
    assert [(look.step, look.accuracy) for look in found] == [(0, 0.5), (5, 0.625)]
    assert found[0].se == pytest.approx(math.sqrt(0.25 * 0.75 / 3 * 2) / 2)
    sure = looks_of([row(0, 4, None), row(0, 4, None, problem="b")])
    assert sure[0].se > 0, "no spread among eight answers is no certainty"
    assert looks_of([{**row(0, 0, None), "n": 0}]) == []


@pytest.mark.parametrize(
    "options", [{"worthwhile": 2.0}, {"further_gain": -3.0}, {"confidence": 1.0}, {"confidence": 0.2}]
)
def test_terms_that_mean_nothing_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        StopTerms(**options)


def test_simulated_runs_lose_little_by_a_stop() -> None:
    """The short form of ``benches/law_decisions.py stop``: against the full curve, from a calibrated forecast."""
    rng = np.random.default_rng(5)
    terms = StopTerms(worthwhile=0.02)
    shape = law_decisions.saturating(0.1)
    drawn = [law_decisions.stop_once(shape, law_decisions.Runs(0.0), terms, rng) for _ in range(80)]
    for rule in ("ceiling", "futility"):
        steps, regrets, gains = map(np.array, zip(*(one[rule] for one in drawn), strict=True))
        assert regrets.mean() < 0.002, rule
        assert 1 - steps.mean() / H > 0.2, rule
        if rule == "futility":
            assert (steps[gains >= 0.02] < H).mean() < 0.1
