"""Known answers: NIST StRD, Anscombe's quartet, brute-force refits, simulated sampling, scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opsd_rs.base import mean_accuracy, mean_difference, t_interval, t_quantile, t_two_sided, tally_passed
from opsd_rs.base.estimators import Mean, grouped_difference
from opsd_rs.law.regression import fit_line, mean_se, prediction_se, welch_p
from textbook import ANSCOMBE, NORRIS

scipy_stats = pytest.importorskip("scipy.stats")


def test_norris_certified_values() -> None:
    pairs = np.array([[float(word) for word in pair.split()] for pair in NORRIS.split(",")])
    line = fit_line(pairs[:, 1], pairs[:, 0])
    assert line.n == 36
    assert line.slope == pytest.approx(1.00211681802045, rel=1e-13)
    assert line.slope_se == pytest.approx(0.429796848199937e-03, rel=1e-11)
    assert line.intercept == pytest.approx(-0.262323073774029, rel=1e-11)
    assert line.intercept_se == pytest.approx(0.232818234301152, rel=1e-11)
    assert line.residual_sd == pytest.approx(0.884796396144373, rel=1e-11)
    assert line.r2 == pytest.approx(0.999993745883712, rel=1e-14)
    assert line.press == pytest.approx(30.4750917859326, rel=1e-10)
    assert line.loo_rmse == pytest.approx(0.920070827375, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "intercept", "slope", "r2", "press", "loo_r2", "loo_q2"),
    [
        ("I", 3.000091, 0.500091, 0.666542, 20.579255, 0.501383, 0.587920),
        ("II", 3.000909, 0.500000, 0.666242, 24.245991, 0.412593, 0.514539),
        ("III", 3.002455, 0.499727, 0.666324, 23.621041, 0.427038, 0.526478),
    ],
)
def test_anscombe(name, intercept, slope, r2, press, loo_r2, loo_q2) -> None:
    line = fit_line(*ANSCOMBE[name])
    found = (line.intercept, line.slope, line.r2, line.press, line.loo_r2, line.loo_q2)
    assert found == pytest.approx((intercept, slope, r2, press, loo_r2, loo_q2), abs=6e-7)


def test_anscombe_iv_has_no_leave_one_out() -> None:
    line = fit_line(*ANSCOMBE["IV"])
    assert (line.intercept, line.slope, line.r2) == pytest.approx((3.001727, 0.499909, 0.666707), abs=6e-7)
    assert line.leverages[7] == pytest.approx(1.0)
    assert (line.press, line.loo_residuals, line.loo_r2, line.loo_q2, line.loo_rmse) == (None,) * 5


points = st.lists(
    st.tuples(st.floats(-0.2, 0.5), st.floats(-0.5, 0.8)).map(lambda p: (round(p[0], 4), round(p[1], 4))),
    min_size=4,
    max_size=12,
    unique_by=lambda p: p[0],
)


@settings(max_examples=100, deadline=None)
@given(points)
@example([(0.0, 0.25), (0.1, 0.25), (0.2, 0.25), (0.4, 0.25)])
def test_line_agrees_with_scipy_and_leave_one_out_with_refitting(pairs) -> None:
    x, y = np.array(pairs).T
    line = fit_line(x, y)
    theirs = scipy_stats.linregress(x, y)
    assert line.slope == pytest.approx(theirs.slope, rel=1e-8, abs=1e-12)
    # Without any spread of y scipy divides 0 by 0, unless rounding of the mean saves it: the errors are 0.
    wanted = (0.0, 0.0) if np.ptp(y) == 0.0 else (theirs.stderr, theirs.intercept_stderr)
    assert (line.slope_se, line.intercept_se) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert sum(line.leverages) == pytest.approx(2.0)
    if line.loo_residuals is None or max(line.leverages) > 1 - 1e-4:
        return
    others = [np.arange(len(x)) != i for i in range(len(x))]
    refits = [np.polyfit(x[keep], y[keep], 1) for keep in others]
    brute = np.array([y[i] - np.polyval(fit, x[i]) for i, fit in enumerate(refits)])
    assert line.loo_residuals == pytest.approx(brute, rel=1e-6, abs=1e-8)
    if line.loo_q2 is not None:
        from_others = np.array([y[i] - y[keep].mean() for i, keep in enumerate(others)])
        assert line.loo_q2 == pytest.approx(
            1 - brute @ brute / (from_others @ from_others), rel=1e-5, abs=1e-7
        )


def test_line_refuses_what_has_no_line() -> None:
    with pytest.raises(ValueError, match="3 points"):
        fit_line([0, 1], [0, 1])
    with pytest.raises(ValueError, match="equal"):
        fit_line([0.1, 0.1, 0.1], [0, 1, 2])
    flat = fit_line([0, 1, 2], [0.3, 0.3, 0.3])
    assert (flat.r2, flat.loo_r2, flat.loo_q2) == (None, None, None)
    exact = fit_line([0, 1, 2], [0, 2, 4])
    assert exact.slope == 2
    assert exact.slope_p < 1e-6


@pytest.mark.parametrize("df", [1, 2, 3, 4, 4.1, 7, 17, 34, 200, 5000])
@pytest.mark.parametrize("t", [1e-9, 1e-3, 0.3, 1.0, 2.5, 8.63, 40.0, 1e4])
def test_student_t_agrees_with_scipy(df, t) -> None:
    # Near 0 scipy is the coarser one: at df = 1 the exact value is 1 - 2 atan(t) / pi.
    assert t_two_sided(t, df) == pytest.approx(2 * scipy_stats.t.sf(t, df), rel=1e-9, abs=1e-300)
    if df == 1:
        assert t_two_sided(t, df) == pytest.approx(2 * math.atan(1 / t) / math.pi, rel=1e-13)


@pytest.mark.parametrize("df", [1, 2, 4, 4.1, 17, 200])
@pytest.mark.parametrize("probability", [1e-6, 0.1, 0.5, 0.8, 0.9, 0.975, 0.995, 1 - 1e-9])
def test_student_t_quantile_agrees_with_scipy(df, probability) -> None:
    assert t_quantile(probability, df) == pytest.approx(
        scipy_stats.t.ppf(probability, df), rel=1e-7, abs=1e-12
    )


def test_published_fits_give_the_derived_errors() -> None:
    """From (slope, R2, n) alone: t = sqrt(R2 df / (1 - R2)); the paper's two families differ in slope."""
    assert t_two_sided(math.sqrt(0.949 * 4 / 0.051), 4) == pytest.approx(9.9e-4, rel=0.01)
    assert t_interval(1.492, 0.173, 4) == pytest.approx((1.01, 1.97), abs=0.005)
    assert welch_p(1.492, 0.173, 4, 0.663, 0.0210, 4) == pytest.approx(0.008, abs=0.001)


def test_prediction_interval_counts_the_new_points_own_error() -> None:
    line = fit_line([0, 0.02, 0.045, 0.07, 0.11, 0.142], [0.01, 0.02, 0.08, 0.09, 0.18, 0.19])
    parts = {"residual_sd": line.residual_sd, "n": line.n, "x_mean": line.x_mean, "sxx": line.sxx}
    known = prediction_se(0.08, slope=line.slope, **parts)
    measured = prediction_se(0.08, slope=line.slope, **parts, x0_se=0.01)
    assert measured**2 - known**2 == pytest.approx((line.slope * 0.01) ** 2)
    assert known**2 - mean_se(0.08, **parts) ** 2 == pytest.approx(line.residual_sd**2)


def test_prediction_interval_covers_as_it_says() -> None:
    """2,000 worlds of six configurations: the 80 % interval holds the next one in 80 % of them."""
    rng = np.random.default_rng(7)
    x = np.array([0, 0.02, 0.045, 0.07, 0.11, 0.142])
    inside = 0
    for _ in range(2000):
        line = fit_line(x, 1.5 * x + rng.normal(0, 0.02, 6))
        se = prediction_se(
            0.09, slope=line.slope, residual_sd=line.residual_sd, n=6, x_mean=line.x_mean, sxx=line.sxx
        )
        low, high = t_interval(line.intercept + line.slope * 0.09, se, line.df, 0.80)
        inside += low <= 1.5 * 0.09 + rng.normal(0, 0.02) <= high
    assert inside / 2000 == pytest.approx(0.80, abs=3 * math.sqrt(0.16 / 2000))


def test_accuracy_by_hand_with_nulls() -> None:
    correct, samples = tally_passed([[True, True, False, False], [False, None, False], [None], [True]])
    assert correct.tolist() == [2, 0, 0, 1]
    assert samples.tolist() == [4, 2, 0, 1]
    mean = mean_accuracy(correct, samples)
    assert mean.num_problems == 3
    assert mean.value == pytest.approx((0.5 + 0 + 1) / 3)
    # s^2: 1/3, 0, and their mean 1/6 for the problem with one sample.
    assert mean.se_cond == pytest.approx(math.sqrt(1 / 3 / 4 + 0 + 1 / 6) / 3)
    assert mean.se_super == pytest.approx(np.std([0.5, 0, 1], ddof=1) / math.sqrt(3))
    assert mean_accuracy([], []) == Mean(None, None, None, 0)
    assert mean_accuracy([1], [1]) == Mean(1.0, None, None, 1)


def test_errors_are_what_repetition_shows() -> None:
    """Beta problems, binomial samples: the conditional error is the spread with the problems held, the
    super-population error the spread with problems redrawn; the gap's is paired."""
    rng = np.random.default_rng(3)
    num_problems, k = 60, 8

    def world(p_N: np.ndarray) -> tuple[Mean, Mean]:
        student, teacher = rng.binomial(k, p_N), rng.binomial(k, 0.8 * p_N + 0.2)
        whole = np.full(num_problems, k)
        return mean_accuracy(student, whole), mean_difference(teacher, whole, student, whole)

    held_p_N = rng.beta(0.3, 0.8, num_problems)
    for redraw, error in ((False, "se_cond"), (True, "se_super")):
        worlds = [world(rng.beta(0.3, 0.8, num_problems) if redraw else held_p_N) for _ in range(1500)]
        for which in (0, 1):
            spread = np.std([means[which].value for means in worlds])
            claimed = math.sqrt(np.mean([getattr(means[which], error) ** 2 for means in worlds]))
            assert claimed == pytest.approx(spread, rel=0.07), (error, which)


def test_difference_is_paired_and_drops_what_one_arm_lacks() -> None:
    gap = mean_difference([4, 2, 3], [4, 4, 0], [2, 0, 1], [4, 4, 4])
    assert gap.value == pytest.approx(0.5)
    assert gap.num_problems == 2
    assert gap.se_super == pytest.approx(0.0)  # both problems differ by the same half
    assert mean_difference([1], [0], [1], [1]) == Mean(None, None, None, 0)


def test_groups_show_the_luck_that_both_arms_share() -> None:
    differences = np.array([[0.5, 0.1], [0.3, 0.3], [0.0, 0.2]])
    gap = grouped_difference(differences)
    assert gap.value == pytest.approx(differences.mean())
    assert gap.se_cond == pytest.approx(math.sqrt((0.08 + 0 + 0.02) / 2) / 3)
    with pytest.raises(ValueError, match="two groups"):
        grouped_difference([[0.1], [0.2]])
