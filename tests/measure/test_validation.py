"""mean@k from graded answers: rows by problem, nulls left out of every mean, the two standard errors."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from opsd_rs.measure import EvalRow, eval_accuracy, eval_rows, eval_table, num_nulls, paired_improvement
from opsd_rs.records import Grade, Rollout, Verdict


def rollout(problem_id: str, sample: int, length: int = 2, *, truncated: bool = False) -> Rollout:
    return Rollout(problem_id, sample, (1,), (5,) * length, (-0.1,) * length, "", truncated, policy_version=0)


def grade(problem_id: str, sample: int, passed: bool | None) -> Grade:
    verdicts: dict[bool | None, Verdict] = {True: "accepted", False: "wrong_answer", None: "infra_error"}
    return Grade(problem_id, sample, passed, verdicts[passed], ())


def row(problem_id: str, passed: int, n: int = 4, nulls: int = 0) -> EvalRow:
    return EvalRow(0, "student", "none", problem_id, n, passed, nulls, truncated=0, tokens=2.0)


def test_answers_are_counted_by_problem_in_order_of_appearance() -> None:
    rollouts = [
        rollout("b", 0, 1),
        rollout("a", 0, 4),
        rollout("b", 1, 3, truncated=True),
        rollout("a", 1, 4),
    ]
    grades = [grade("b", 0, True), grade("a", 0, False), grade("b", 1, None), grade("a", 1, True)]
    assert eval_rows(5, "teacher", "feedback", rollouts, grades) == [
        EvalRow(5, "teacher", "feedback", "b", n=1, passed=1, nulls=1, truncated=1, tokens=2.0),
        EvalRow(5, "teacher", "feedback", "a", n=2, passed=1, nulls=0, truncated=0, tokens=4.0),
    ]
    with pytest.raises(ValueError, match="zip"):
        eval_rows(5, "teacher", "feedback", rollouts, grades[:3])


def test_accuracy_is_the_mean_over_problems_with_both_errors() -> None:
    found = eval_accuracy([row("a", 4), row("b", 1), row("c", 0)])
    assert found.value == pytest.approx((1 + 0.25 + 0) / 3)
    assert found.se_cond == pytest.approx(math.sqrt(0.25 * 0.75 / 3) / 3)
    shares = [1.0, 0.25, 0.0]
    mean = sum(shares) / 3
    assert found.se_super == pytest.approx(math.sqrt(sum((s - mean) ** 2 for s in shares) / 2 / 3))
    assert found.num_problems == 3


def test_problems_without_a_countable_answer_leave_the_mean() -> None:
    rows = [row("a", 2), row("b", 0, n=0, nulls=4), row("c", 1, n=3, nulls=1)]
    found = eval_accuracy(rows)
    assert (found.num_problems, num_nulls(rows)) == (2, 5)
    assert found.value == pytest.approx((2 / 4 + 1 / 3) / 2)


def test_what_the_answers_do_not_determine_is_none() -> None:
    assert eval_accuracy([]) == eval_accuracy([row("a", 0, n=0, nulls=2)])
    nothing = eval_accuracy([])
    assert (nothing.value, nothing.se_cond, nothing.se_super, nothing.num_problems) == (None, None, None, 0)
    one = eval_accuracy([row("a", 1, n=1)])
    assert (one.value, one.se_cond, one.se_super) == (1.0, None, None)


def test_an_improvement_pairs_problems_whatever_their_order() -> None:
    before = [row("a", 1), row("b", 2), row("only-before", 4)]
    after = [row("b", 4), row("a", 1), row("only-after", 4)]
    found = paired_improvement(before, after)
    assert (found.value, found.num_problems) == (0.25, 2)
    assert found.se_cond == pytest.approx(math.sqrt(2 * 0.25 * 0.75 / 3 + 0.25 / 3) / 2)
    assert found.se_super == pytest.approx(0.25)
    back = paired_improvement(after, before)
    assert (back.value, back.se_cond) == (-0.25, found.se_cond)
    assert paired_improvement([], after).value is None


def test_rows_on_disk_have_the_names_of_the_record() -> None:
    (plain,) = eval_table([replace(row("a", 3), step=7)])
    assert plain == {
        "step": 7, "arm": "student", "context": "none", "problem_id": "a", "n": 4, "passed": 3, "nulls": 0,
        "truncated": 0, "tokens": 2.0,
    }  # fmt: skip
