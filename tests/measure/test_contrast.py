"""Errors of differences whose arms share contexts or do not, against values worked out by hand and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from opsd_rs.measure.contrast import (
    Estimate,
    between_groups,
    binomial,
    estimate,
    group_shares,
    less_shared,
    ratio,
)

NAN = np.nan


def test_independent_answers_have_the_binomial_error() -> None:
    share_N, part = binomial(np.array([[1.0, 1, 0, 0], [1, NAN, NAN, NAN], [NAN] * 4]))
    assert share_N[:2].tolist() == [0.5, 1.0]
    assert np.isnan(share_N[2])
    assert part is not None
    # 1/4 * 4/3 / 4 answers; the problem left with one answer takes the other's variance of one answer.
    assert part.variance[:2] == pytest.approx([1 / 12, 1 / 3])
    found = estimate(share_N, [part])
    assert (found.value, found.num_problems) == (0.75, 2)
    assert found.se == pytest.approx((1 / 12 + 1 / 3) ** 0.5 / 2)
    assert binomial(np.array([[1.0], [0.0]]))[1] is None


def test_groups_are_the_observations_where_a_context_is_shared() -> None:
    shares = group_shares(np.array([[1.0, 1, 0, 0], [1, 0, NAN, NAN]]), 2)
    assert shares[0].tolist() == [1.0, 0.0]
    assert (shares[1, 0], np.isnan(shares[1, 1])) == (0.5, True)
    mean_N, part = between_groups(shares)
    assert mean_N.tolist() == [0.5, 0.5]
    assert part is not None
    assert part.variance == pytest.approx([0.25, 0.5]), "0.5 / 2 groups; one group takes the other's 0.5"
    assert between_groups(shares[:, :1])[1] is None


def test_an_arm_of_the_same_groups_is_paired_group_by_group() -> None:
    """T minus A of the same groups is the mean of differences, and its error that of differences."""
    rng = np.random.default_rng(0)
    t, a = rng.random((5, 4)), rng.random((5, 4))
    mean_N, part = less_shared(t, a)
    expected_N, expected = between_groups(t - a)
    assert part is not None
    assert expected is not None
    assert mean_N == pytest.approx(expected_N)
    assert part.variance == pytest.approx(expected.variance)


def test_more_groups_of_the_shared_arm_lessen_its_part() -> None:
    """T of 3 groups, A of 12 that correlates within them: the claimed variance is that of many draws."""
    rng = np.random.default_rng(1)
    values, claimed = [], []
    for _ in range(1500):
        a = rng.normal(size=(6, 12))
        t = np.full((6, 12), NAN)
        t[:, :3] = 0.8 * a[:, :3] + rng.normal(size=(6, 3))
        mean_N, part = less_shared(t, a)
        assert part is not None
        values.append(mean_N.mean())
        claimed.append(part.variance.sum() / 36)
    assert np.mean(claimed) == pytest.approx(np.var(values), rel=0.08)


def test_degrees_of_freedom_are_those_of_the_parts() -> None:
    """40 problems of one variance, two groups each: 40 observations of it; chi-square says so."""
    rng = np.random.default_rng(2)
    found = [estimate(*_one(between_groups(rng.normal(size=(40, 2))))) for _ in range(400)]
    assert np.median([one.df for one in found]) == pytest.approx(40, rel=0.1)
    inside = [low <= 0 <= high for low, high in (one.interval() for one in found)]
    assert 0.92 <= np.mean(inside) <= 0.98


def _one(found: tuple[np.ndarray, object]) -> tuple[np.ndarray, list[object]]:
    return found[0], [found[1]]


def test_one_group_has_the_error_clustered_by_problem() -> None:
    found = estimate(np.array([0.5, 0.25, NAN]), [None])
    assert found == Estimate(0.375, pytest.approx(0.125), pytest.approx(0.125), 1.0, 2)
    assert estimate(np.array([NAN]), [None]).value is None


def test_what_a_measurement_can_see() -> None:
    found = Estimate(0.1, 0.02, None, 1e6, 40)
    assert found.visible == pytest.approx(2.8016 * 0.02, rel=1e-3)
    assert found.p_value == pytest.approx(5.733e-7, rel=1e-2)
    assert Estimate(0.1, 0.02, None, 4.0, 40).visible == pytest.approx((2.776445 + 0.940965) * 0.02, rel=1e-4)
    nothing = Estimate(0.1, None, None, None, 1)
    assert (nothing.visible, nothing.p_value, nothing.interval()) == (None, None, (None, None))


def test_a_ratio_counts_the_answers_that_its_mask_keeps() -> None:
    base_N, base = binomial(np.array([[1.0, 0], [0, 0]]))
    sums, counts = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[1.0, 1.0], [1.0, 0.0]])
    found = ratio(sums, counts, base_N, base)
    assert found.value == pytest.approx(2 / 3)
    left = sums - 2 / 3 * counts
    within = (left.var(axis=1, ddof=1) * 2 / 9).sum()
    fixed = 0.25 * 2 / 1 / 2 * (2 / 3) ** 2
    assert found.se == pytest.approx((within + fixed) ** 0.5)
    assert ratio(sums, 0 * counts, base_N, base).value is None
