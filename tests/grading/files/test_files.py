"""Grading from file to file, and published programs against their published verdicts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from graded import ADD, CALL, RIGHT
from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.errors import BadInput
from opsd_rs.grading import grade_files

REAL = Path(__file__).parents[4] / "shared" / "cases" / "grader" / "real" / "lcb_o1_submissions.jsonl.gz"


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as found:
        yield found


def solutions_file(folder: Path, *records: object) -> Path:
    path = folder / "solutions.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solutions = solutions_file(
        tmp_path,
        {"problem_id": "add", "sample": 0, "code": RIGHT},
        {"problem_id": "add", "sample": 1, "completion": "```\nprint(0)\n```"},
        {"problem_id": "call", "sample": 0, "code": "def add(a, b): return a + b"},
    )
    out = tmp_path / "results" / "r.jsonl"
    summary = grade_files([ADD, CALL], solutions, out, workers=2, progress=True)
    assert {name: summary[name] for name in ("num_problems", "num_solutions", "num_null", "num_run")} == {
        "num_problems": 2,
        "num_solutions": 3,
        "num_null": 0,
        "num_run": 3,
    }
    assert (summary["mean_at_k"], summary["pass_at_k"]) == (0.75, {"1": 0.75})
    assert summary["verdicts"] == {"accepted": 2, "wrong_answer": 1}
    assert "graded 3/3" in capsys.readouterr().err
    results = {(r["problem_id"], r["sample"]): r for r in map(json.loads, out.read_text().splitlines())}
    assert set(results) == {("add", 0), ("add", 1), ("call", 0)}
    wrong = results["add", 1]
    assert set(wrong) == {
        "problem_id", "sample", "passed", "verdict", "tests", "feedback", "metadata",
        "profile", "isolation", "sandbox_level", "policy_hash", "flags",
    }  # fmt: skip
    assert set(wrong["tests"][0]) == {"index", "verdict", "cpu_seconds", "wall_seconds", "memory_mib"}
    assert (wrong["passed"], wrong["verdict"]) == (False, "wrong_answer")
    with pytest.raises(BadInput, match=r"r\.jsonl exists"):
        grade_files([ADD, CALL], solutions, out)
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"problem_id": "add", "sam', "line 2: "),
        ("[]", "line 2: must be a JSON object"),
        ('{"problem_id": "add", "sample": 0}', "line 2: needs the key code or the key completion"),
        ('{"code": ""}', "line 2: key problem_id is missing, the row has code"),
        ('{"problem_id": "add", "sample": true, "code": ""}', "line 2: key sample: must be an integer"),
        (
            '{"problem_id": "sub", "sample": 0, "code": ""}',
            "line 2: problem_id 'sub' is not among the problems",
        ),
    ],
)
def test_a_bad_solutions_line_is_named_before_anything_runs(tmp_path: Path, line: str, words: str) -> None:
    path = solutions_file(tmp_path, {"problem_id": "add", "sample": 0, "code": RIGHT})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(BadInput, match=f"solutions.jsonl, {words}"):
        grade_files([ADD], path, tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


# ---- real programs --------------------------------------------------------------------------------

DIFFERENT = {
    # the official runner gives `open(0)` the null device; here it is the standard input, as in a judge
    "O1-Mini/abc315_b",
    "O1-Mini/abc349_a",
    "O1-Mini/abc359_b",
    "O1-Mini/abc365_b",
    # import numpy
    "O1-Mini/abc319_e",
    "O1-Mini/abc341_c",
    "O1-Mini/abc373_f",
    "O1-Mini/abc375_f",
    "O1-Mini/abc384_f",
    # random or hash-ordered output, time or memory near the limit
    "O1-Mini/abc301_e",
    "O1-Mini/abc361_f",
}


@pytest.mark.skipif(not REAL.exists(), reason=f"published LiveCodeBench programs are not at {REAL}")
def test_published_programs_get_their_published_verdicts(grader: Grader) -> None:
    rows = [json.loads(line) for line in gzip.decompress(REAL.read_bytes()).splitlines()]
    rows = [row for row in rows if row["tests"]["kind"] != "none" and row["id"] not in DIFFERENT]
    rows = [row for row in rows if row["here_2025_01"]["result"][-1] != -3][::6]  # no time limits: CI is slow
    items = [
        (
            Problem(
                row["question_id"],
                "",
                tuple(map(Case, row["tests"]["inputs"], row["tests"]["outputs"])),
                entry_point=row["fn_name"],
            ),
            Solution(row["question_id"], number, code=row["code"]),
        )
        for number, row in enumerate(rows)
    ]
    grades = grader.grade(items)
    differ = {
        row["id"]: (row["here_2025_01"]["result"], grade.verdict)
        for row, grade in zip(rows, grades, strict=True)
        if grade.passed is not (row["here_2025_01"]["result"][-1] is True)
    }
    assert differ == {}
    assert len(rows) > 100
    assert 20 < sum(grade.passed is True for grade in grades) < len(rows) - 20, "both kinds are among them"
