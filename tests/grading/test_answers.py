"""From an answer to its grade: where the program is, what it may import, what the summary says about both."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from graded import ADD, RIGHT
from opsd_rs import Grader, Solution
from opsd_rs.grading import grade_files, report_counts, report_notes
from opsd_rs.records import Grade

FENCED = f"```python\n{RIGHT}\n```"
SNIPPET = f"{FENCED}\nTry it:\n```python\nassert 1 + 2 == 3\n```"
UNCLOSED = f"```python\n{RIGHT}"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as found:
        yield found


def answered(grader: Grader, text: str, *, truncated: bool = False) -> Grade:
    [grade] = grader.grade([(ADD, Solution("add", 0, completion=text, truncated=truncated))])
    return grade


@pytest.mark.parametrize("text", [FENCED, SNIPPET, UNCLOSED, f"<answer>{FENCED}</answer><|im_end|>"])
def test_the_program_of_an_answer_is_graded(grader: Grader, text: str) -> None:
    assert answered(grader, text).passed
    assert grader.code_of(Solution("add", 0, completion=text)).strip() == RIGHT


@pytest.mark.parametrize(
    ("text", "truncated", "why"),
    [
        ("", False, "the answer is empty"),
        ("I cannot.", False, "the answer has no code block: no line with ```"),
        ("```\n \n```", False, "every code block of the answer is blank"),
        (UNCLOSED, True, "the answer ended at the token limit inside its only code block"),
        ("Let me think", True, "the answer ended at the token limit before a code block"),
        (f"<think>\n{FENCED}\n</think>\nNo.", False, "all code blocks stand in the thoughts"),
    ],
)
def test_an_answer_without_code_says_why(grader: Grader, text: str, truncated: bool, why: str) -> None:
    grade = answered(grader, text, truncated=truncated)
    assert (grade.verdict, grade.passed) == ("no_code", False)
    assert grade.message.startswith(why)
    assert grade.message.endswith("(extract = last)")
    assert grade.reason is not None
    assert grade.reason.message == grade.message
    assert grader.code_of(Solution("add", 0, completion=text, truncated=truncated)) == ""


def test_code_that_is_blank_says_so(grader: Grader) -> None:
    [grade] = grader.grade([(ADD, Solution("add", 0, code=" \n"))])
    assert (grade.verdict, grade.message) == ("no_code", "the program is blank")


def test_the_official_profiles_imply_the_official_rule() -> None:
    two = f"```python\nprint(0)\n```\n{FENCED}\n```python\nprint(0)"
    for settings, rule, passed in (
        ({"profile": "lcb-2025-05"}, "official", False),
        ({"profile": "lcb-2025-01", "extract": "longest"}, "longest", True),
        ({}, "last", True),
    ):
        with Grader(workers=1, **settings) as grader:  # type: ignore[arg-type]
            grade = answered(grader, two)
            assert (grade.grader.extract, grade.passed) == (rule, passed)
            assert grader.identity()["extract"] == rule
    with Grader(workers=1, profile="lcb-2025-05") as grader:
        assert answered(grader, "I cannot.").flags == ("no_code",), "the runner judges the empty program"
        assert answered(grader, FENCED).flags == ()
    assert Grader(profile="lcb-2025-05").code_of(Solution("add", 0, completion=f"{FENCED} and\n```")) == ""


@pytest.mark.skipif(importlib.util.find_spec("sortedcontainers") is None, reason="needs sortedcontainers")
def test_sortedcontainers_is_there_where_a_judge_would_have_it() -> None:
    code = "from sortedcontainers import SortedList\nprint(sum(SortedList(map(int, input().split()))))"
    for profile, passed in (("strict", True), ("lcb-2025-05", False)):
        with Grader(workers=1, profile=profile) as grader:  # type: ignore[arg-type]
            [grade] = grader.grade([(ADD, Solution("add", 0, code=code))])
            assert grade.passed is passed
            assert ("sortedcontainers" in grader.identity()["packages"]) is passed


def test_the_summary_counts_missing_modules_and_answers_without_code(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"problem_id": "add", "code": f"import absent_one\n{RIGHT}"},
        {"problem_id": "add", "code": f"from absent_two.part import x\n{RIGHT}  # 1"},
        {"problem_id": "add", "code": f"import absent_one.part\n{RIGHT}  # 2"},
        {"problem_id": "add", "code": RIGHT},
        *({"problem_id": "add", "completion": f"I cannot. {n}"} for n in range(6)),
        {"problem_id": "add", "completion": "```\n```"},
    ]
    solutions = tmp_path / "s.jsonl"
    solutions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = grade_files([ADD], solutions, tmp_path / "r.jsonl", workers=1)
    assert summary["missing_modules"] == {"absent_one": 2, "absent_two": 1}
    assert summary["no_code"] == {
        "the answer has no code block: no line with ```": 6,
        "every code block of the answer is blank": 1,
    }
    cannot, missing = report_notes(summary)
    assert cannot.startswith("7 of 11 answers hold no code (6: the answer has no code block")
    assert missing.startswith("3 of 11 solutions failed for want of a module (absent_one 2, absent_two 1)")
    assert "--site-packages" in missing
    assert report_counts(summary)
    official = grade_files([ADD], solutions, tmp_path / "o.jsonl", workers=1, profile="lcb-2025-05")
    assert official["no_code"] == {"the rule official finds no program": 7}
    assert official["missing_modules"] == {"absent_one": 2, "absent_two": 1}
    assert report_notes(official)[0].startswith("7 of 11 answers hold no code")
    half = {**summary, "no_code": {"x": 5}, "missing_modules": {}}
    assert report_notes(half) == []
