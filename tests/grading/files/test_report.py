"""pass@k, mean@k and its interval against their definitions; the official runner's files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs import CaseResult, Grade, Problem, Solution
from opsd_rs.base import pass_at_k
from opsd_rs.grading import report_counts, report_rows
from opsd_rs.grading.files.lcb import outcome, write
from opsd_rs.grading.files.report import Tally, figures, summarise
from opsd_rs.records import SecondVerdict, Verdict
from scipy import stats


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_correct_one(samples: list[bool], k: int) -> None:
    if k > len(samples):
        with pytest.raises(ValueError, match="samples of every problem"):
            pass_at_k([sum(samples)], [len(samples)], k)
        return
    draws = list(itertools.combinations(samples, k))
    [value] = pass_at_k([sum(samples)], [len(samples)], k)
    assert value == pytest.approx(sum(map(any, draws)) / len(draws))


def test_figures_leave_nulls_out_and_take_the_k_that_all_reach() -> None:
    found = figures([[True, False, None], [True, True], [False, False], [None, None]])
    assert (found["num_problems"], found["num_solutions"], found["num_null"]) == (4, 9, 3)
    assert found["mean_at_k"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["pass_at_k"] == {"1": pytest.approx(0.5), "2": pytest.approx(2 / 3)}
    shares = np.array([0.5, 1.0, 0.0])
    low, high = stats.t.interval(0.95, 2, shares.mean(), stats.sem(shares))
    assert found["ci95"] == [pytest.approx(max(low, 0)), pytest.approx(min(high, 1))]
    nothing = figures([[None]])
    assert (nothing["mean_at_k"], nothing["ci95"], nothing["pass_at_k"]) == (None, None, {})


def test_groups_by_difficulty_platform_and_month() -> None:
    heads = {
        "a": Problem("a", "", (), difficulty="easy", date="2025-02-08"),
        "b": Problem("b", "", (), difficulty="hard", date="2025-02-20"),
        "c": Problem("c", "", (), difficulty="easy"),
    }
    tally = Tally()
    for name, passed in (("a", True), ("a", True), ("b", False), ("c", None), ("c", False)):
        verdict: Verdict = "infra_error" if passed is None else "accepted" if passed else "wrong_answer"
        flags = ("near_limit", "confirmed") if passed is False else ()
        tally.add(Grade(name, 0, passed, verdict, (), flags=flags))
    summary = summarise(tally, heads)
    assert list(summary["by"]) == ["difficulty", "month"], "no problem has a platform"
    assert summary["by"]["difficulty"]["easy"]["mean_at_k"] == 0.5
    assert {name: part["num_problems"] for name, part in summary["by"]["month"].items()} == {
        "2025-02": 2,
        "none": 1,
    }
    assert [row[""] for row in report_rows(summary)] == [
        "all", "difficulty easy", "difficulty hard", "month 2025-02", "month none",
    ]  # fmt: skip
    assert {"": "infra_error", "count": 1} in report_counts(summary)
    assert summary["flags"]["near_limit"] == {"count": 2, "share": 0.4}
    assert summary["flags"]["starved"] == {"count": 0, "share": 0.0}
    assert {"": "near_limit (40.0%)", "count": 2} in report_counts(summary)
    assert not any("starved" in row[""] for row in report_counts(summary))


def test_a_second_profile_is_compared_solution_by_solution() -> None:
    tally = Tally()
    for sample, (first, second) in enumerate([(True, True), (True, False), (False, None), (None, True)]):
        also = SecondVerdict("lcb-2025-01", "accepted" if second else "time_limit", second)
        tally.add(Grade("a", sample, first, "accepted", (), also=also))
    summary = summarise(tally, {"a": Problem("a", "", ())})
    assert summary["also"] == {
        "profile": "lcb-2025-01",
        "num_agree": 1,
        "num_unknown": 2,
        "disagreements": [
            {"problem_id": "a", "sample": 1, "strict": "accepted", "lcb-2025-01": "time_limit"}
        ],
    }
    assert {"": "lcb-2025-01 num_disagree", "count": 1} in report_counts({**summary, "num_run": 4})


# ---- the official runner's files ------------------------------------------------------------------


WORDS: dict[str, Verdict] = {
    "+": "accepted", "w": "wrong_answer", "t": "time_limit", "e": "runtime_error", ".": "not_run"
}  # fmt: skip


def result(verdicts: str) -> Grade:
    """A grade whose tests have these verdicts, ``+`` accepted, ``w`` wrong, ``t`` late, ``.`` not run."""
    tests = tuple(CaseResult(n, WORDS[letter], cpu_seconds=0.25) for n, letter in enumerate(verdicts))
    first = next((WORDS[letter] for letter in verdicts if letter not in "+."), "accepted")
    return Grade("a", 0, first == "accepted", first, tests)


@pytest.mark.parametrize(
    ("verdicts", "listed"),
    [("++", [True, True]), ("+w+", [True, -2]), ("t", [-3]), ("++e.", [True, True, -4]), ("+.w", [True, -2])],
)
def test_results_derived_from_our_verdicts(verdicts: str, listed: list[object]) -> None:
    found, metadata = outcome(result(verdicts))
    assert found == listed
    if listed[-1] is True:
        assert json.loads(metadata) == {"execution time": 0.5}
    else:
        assert json.loads(metadata)["error_code"] == listed[-1]


def test_official_results_are_taken_as_they_are() -> None:
    about = {"error_code": -2, "output": "x"}
    official = replace(result("+w"), official_results=(True, -2), official_metadata=about)
    assert outcome(official) == ([True, -2], '{"error_code": -2, "output": "x"}')
    compiled = outcome(replace(result(""), verdict="compile_error", passed=False))
    assert compiled[0] == [-4]


def test_the_files_have_the_official_layout(tmp_path: Path) -> None:
    cards = {name: {"question_id": name, "question_title": name.title()} for name in ("b", "a")}
    solutions = [Solution("b", 1, code="b1"), Solution("b", 0, code="b0"), Solution("a", 0, code="a0"),
                 Solution("a", 1, code="a1", completion="said"), Solution("other", 0, code="")]  # fmt: skip
    lists = [
        result("+w"),
        result("++"),
        result("t"),
        replace(result(""), passed=None),
        result("+"),
    ]
    paths = write(
        tmp_path, "r", cards, solutions, [outcome(found) for found in lists], lambda s: s.code or ""
    )
    assert [path.name for path in paths] == ["r_eval.json", "r_eval_all.json"]
    [metrics, results, metadata], everything = (json.loads(path.read_text()) for path in paths)
    assert results == {"0": [[-3], None], "1": [[True, True], [True, -2]]}
    assert metrics == {"pass@1": 0.25, "detail": {"pass@1": {"0": 0.0, "1": 0.5}}}
    assert [[json.loads(text).get("error_code") for text in row] for row in metadata] == [
        [-3, None],
        [None, -2],
    ]
    assert [row["question_id"] for row in everything] == ["a", "b"]
    first, second = everything
    assert (first["graded_list"], first["pass@1"]) == ([False, None], 0.0)
    assert (first["code_list"], first["output_list"]) == (["a0", "a1"], ["a0", "said"])
    assert (second["graded_list"], second["code_list"], second["pass@1"]) == (
        [True, False],
        ["b0", "b1"],
        0.5,
    )
    assert list(second)[2:] == ["output_list", "code_list", "graded_list", "pass@1", "metadata"]
