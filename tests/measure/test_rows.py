"""The rows of a gap from single answers: what joins the student's term, the control's gate, and the columns."""

from __future__ import annotations

import numpy as np
import pytest
from gap_samples import arm, measurement
from opsd_rs.measure import arrange, control, gap_rows, repooled
from opsd_rs.measure.simulate import World, answers, simulate_gap

YES, NO = True, False
A = [[YES, NO, NO, YES], [NO, NO, NO, YES]]
B = [[YES, NO] * 8, [NO, NO, NO, YES] * 4]
NONE = [[YES, NO, YES, NO], [NO, NO, YES, NO]]
PEER = [[YES, YES, YES, NO], [YES, NO, NO, YES]]


def rows(samples, **options):
    return {row.context: row for row in gap_rows(arrange(samples), **options)}


def test_what_the_contexts_share_joins_the_student_s_term() -> None:
    found = rows(measurement(A, B, {"none": NONE, "peer": PEER}))
    peer, none = found["peer"], found["none"]
    # Of the first problem 8 + 2 + 2 of 24 bare answers passed, of the second 4 + 1 + 1.
    assert (peer.baseline, peer.k_baseline) == ("A+B+T_none", 24)
    assert peer.acc_student_gap == pytest.approx((12 / 24 + 6 / 24) / 2)
    assert peer.gap == pytest.approx((0.75 + 0.5) / 2 - 0.375)
    assert (none.baseline, none.k_baseline) == ("B", 16)
    assert none.gap == pytest.approx((0.5 + 0.25) / 2 - 0.375), "the control is compared with B alone"
    # T less its share of A, between the two groups, and the binomial error of B and T of none.
    z = np.array([[1.0, 0.5], [0.5, 0.5]]) - 4 / 24 * np.array([[0.5, 0.5], [0.0, 0.5]])
    within = z.var(axis=1, ddof=1) / 2
    free = np.array([10 / 20, 5 / 20])
    fixed = free * (1 - free) / 19 * (20 / 24) ** 2
    assert peer.gap_se_cond == pytest.approx(np.sqrt((within + fixed).sum()) / 2)
    assert peer.diff_none == pytest.approx(0.625 - 0.375)
    between = np.array([[0.5, 0.0], [0.5, 0.0]]).var(axis=1, ddof=1) / 2
    assert peer.diff_none_se == pytest.approx(np.sqrt(between.sum()) / 2)
    assert none.diff_none is none.p_none is None
    assert 0 < peer.p_none < 1
    assert peer.gap_ci95_low < peer.gap < peer.gap_ci95_high
    assert peer.visible_gap > 2.8 * peer.gap_se_cond
    assert peer.visible_difference > 2.8 * peer.diff_none_se


def test_nothing_joins_where_the_control_fails_or_is_not_there() -> None:
    failing = [[YES] * 4, [YES] * 4]
    samples = measurement(A, [[NO] * 16, [NO, NO, NO, YES] * 4], {"none": failing, "peer": PEER})
    assert control(arrange(samples)).holds is False
    assert {row.baseline for row in rows(samples).values()} == {"B"}
    assert "outside 3 standard errors" in control(arrange(samples)).said()
    alone = rows(measurement(A, B, {"peer": PEER}))["peer"]
    assert (alone.baseline, alone.k_baseline, alone.p_none) == ("B", 16, None)
    assert control(arrange(measurement(A, B, {"peer": PEER}))) is None
    without = [s for s in measurement(A, B, {"none": NONE, "peer": PEER}) if s.arm != "A"] + arm("A", A)
    assert rows(without)["peer"].baseline == "B", "A was not judged by all tests"


def test_the_gate_says_what_it_could_have_seen() -> None:
    found = control(arrange(measurement(A, B, {"none": NONE})))
    assert found.holds is True
    assert found.gap.se == pytest.approx(np.sqrt((0.25 / 3 + 0.1875 / 3) + (0.25 / 15 + 0.1875 / 15)) / 2)
    assert found.visible == pytest.approx(3.8416 * found.gap.se)
    assert f"a bias of {100 * found.visible:.1f} pp would have been seen in 80 %" in found.said()


def test_failed_and_passed_attempts_and_answers_with_context() -> None:
    helped = [[NO, YES, YES, NO], [YES, YES, YES, NO]]
    samples = arm("A", A, full=A) + arm("B", B) + arm("T", PEER, context="peer", helped=helped)
    row = rows(samples)["peer"]
    # Attempts 1, 2 of the first problem (B .5) and 0, 1, 2 of the second (.25) failed: T passed Y Y, Y N N.
    assert row.gap_failed == pytest.approx((0.5 + 0.5 + 0.75 - 0.25 - 0.25) / 5)
    assert row.gap_passed == pytest.approx((0.5 - 0.5 + 0.75) / 3)
    assert (row.coverage, row.acc_with_context) == (5 / 8, 3 / 5)
    assert row.gain_with_context == pytest.approx((0.5 + 0.5 + 0.75 - 0.25 - 0.25) / 5)
    assert row.gap == pytest.approx(row.gap_failed * 5 / 8 + row.gap_passed * 3 / 8)
    assert min(row.gap_failed_se, row.gap_passed_se, row.gain_with_context_se) > 0


def test_answers_that_were_cut_off() -> None:
    cut = [[NO, NO, NO, YES], [NO, YES, NO, NO]]
    samples = arm("A", A) + arm("B", B) + arm("T", PEER, context="peer", truncated=cut)
    row = rows(samples)["peer"]
    assert (row.truncated, row.truncated_teacher, row.truncated_student) == (2, 0.25, 0.0)
    # Without the cut answers every group of the first problem passed, and the second problem's 1 and .5.
    assert row.gap_complete == pytest.approx((1.0 + 0.75) / 2 - 0.375)
    assert row.gap == pytest.approx(0.25)


def test_costs_are_those_of_the_answers() -> None:
    samples = arm("A", A) + arm("B", B) + arm("T", PEER, context="peer", seconds=0.5, gpu_seconds=1.0)
    row = rows(samples)["peer"]
    assert (row.seconds, row.gpu_minutes, row.tokens_generated) == (4.0, pytest.approx(8 / 60), 80)
    assert rows(arm("A", A) + arm("B", B) + arm("T", PEER, context="peer"))["peer"].gpu_minutes is None


def test_kept_successes_give_the_control_a_gap_of_the_variance_of_an_answer() -> None:
    """E[p (1 - p)] = 0.21 in this world; asking the teacher for every rollout gives 0."""
    rng = np.random.default_rng(3)
    p_N = World(3000).problems(rng, 1)[0]
    a, b, t = (rng.random((3000, n)) < p_N[:, None] for n in (8, 32, 8))
    measured = arrange(measurement([[YES, NO]], [[YES, NO]], {"none": [[NO, YES]]}))
    measured = type(measured)(
        tuple(map(str, range(3000))), 4, answers(a), None, answers(b), False, {"none": answers(t)}
    )
    found = {pool: repooled(measured, pool)[0] for pool in ("all_rollouts", "keep_success", "failed_only")}
    expected = float((p_N * (1 - p_N)).mean())
    assert expected == pytest.approx(0.21, abs=0.01)
    for pool, truth in (("all_rollouts", 0.0), ("failed_only", 0.0), ("keep_success", expected)):
        assert abs(found[pool]["gap"] - truth) < 3 * found[pool]["gap_se_cond"], pool
        assert found[pool]["gap_se_cond"] < 0.006


@pytest.mark.parametrize(
    ("num_problems", "strength", "with_none"), [(40, 0.6, True), (40, -0.5, True), (131, 0.6, False)]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    num_problems: int, strength: float, with_none: bool
) -> None:
    found = simulate_gap(World(num_problems), num_worlds=700, strength=strength, with_none=with_none)
    assert 0.92 <= found.gap <= 0.975
    assert 0.92 <= found.control <= 0.975
    assert found.se_ratio == pytest.approx(1.0, abs=0.08)
    assert found.refused < 0.02


def test_what_is_scored_once_and_well_lessens_the_error() -> None:
    pooled = simulate_gap(World(40), num_worlds=500)
    old = simulate_gap(World(40), num_worlds=500, with_none=False, baseline_samples=1)
    assert pooled.rmse < 0.85 * old.rmse
