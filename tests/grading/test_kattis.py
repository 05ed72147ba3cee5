"""Judges' own programs from Kattis contests, with the verdict that each must get.

The rows hold no time limits, so programs that are to be too slow are left out. One takes half of the time and runs
with OPSD_RS_LONG_TESTS=1 only.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from opsd_rs import Case, Grader, Problem, Solution

FILE = Path(__file__).parents[3] / "shared/cases/grader/real/kattis_submissions.jsonl.gz"
WANTED = {
    "accepted": {"accepted"},
    "wrong_answer": {"wrong_answer"},
    "run_time_error": {"runtime_error", "memory_limit"},  # Kattis has no verdict for memory of its own
}
DEAR = {"aijeopardy/per_overshoot_maxk.py"}
"""Takes as long as all the others together."""


def rows() -> list[dict[str, Any]]:
    if not FILE.is_file():
        pytest.skip(f"needs {FILE}")
    return [json.loads(line) for line in gzip.open(FILE)]


def test_judges_programs_get_their_verdicts() -> None:
    items, labels = [], []
    for row in rows():
        tests = tuple(map(Case, row["inputs"], row["outputs"]))
        problem = Problem(row["problem"], "", tests, time_limit_seconds=20.0)
        for number, program in enumerate(row["submissions"]):
            label = program["judge_expected"]
            if label == "time_limit_exceeded":
                continue
            name = f"{row['problem']}/{program['name']}"
            if name in DEAR and not os.environ.get("OPSD_RS_LONG_TESTS"):
                continue
            items.append((problem, Solution(row["problem"], number, code=program["code"])))
            labels.append((name, WANTED[label]))
    with Grader(compare="tokens_ci", stop="first-failure") as grader:
        grades = grader.grade(items)
    judged = list(zip(labels, grades, strict=True))
    assert [(name, grade.verdict) for (name, wanted), grade in judged if grade.verdict not in wanted] == []
    assert len(judged) > 20
    assert {grade.verdict for grade in grades} >= {"accepted", "wrong_answer", "memory_limit"}
