"""A grade and its line: what older versions wrote is read, continued and written again to the byte."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from opsd_rs import Case, Grade, Grader, Problem
from opsd_rs.grading import grade_files
from opsd_rs.grading.files.cache import Cache
from opsd_rs.grading.files.keys import grader_digest, problem_digest, program_key
from opsd_rs.grading.files.record import COLUMNS, Record
from opsd_rs.grading.files.solutions import read_solutions
from opsd_rs.records import NO_GRADER, Reason, SecondVerdict

LINES = (Path(__file__).parents[2] / "data/grade_lines.jsonl").read_text().splitlines()
"""Written before a grade had typed fields: both profiles of LiveCodeBench, second profiles, each kind of failure."""


@pytest.mark.parametrize("line", LINES)
def test_a_recorded_line_is_written_again_as_it_was(line: str) -> None:
    values = json.loads(line)
    record = Record.read(values)
    assert record.text == line
    assert tuple(values) == COLUMNS
    assert record.grade.metadata == values["metadata"]
    assert list(record.grade.metadata) == list(values["metadata"])
    assert Record.of(pickle.loads(pickle.dumps(record.grade))) == record


def test_the_recorded_lines_have_all_kinds_of_facts() -> None:
    grades = [Record.read(json.loads(line)).grade for line in LINES]
    assert {grade.profile for grade in grades} == {"strict", "lcb-2025-05", "lcb-2025-01"}
    assert {grade.verdict for grade in grades} >= {"accepted", "wrong_answer", "runtime_error", "no_code"}
    assert {grade.grader.extract for grade in grades} == {None, "last", "longest"}
    failed = next(grade for grade in grades if grade.message.startswith("ZeroDivisionError"))
    assert failed.reason == Reason(0, "runtime_error", "ZeroDivisionError", failed.message, 2, "f")
    official = next(grade for grade in grades if grade.official_results == (True, -2))
    assert (official.official_metadata or {})["error_code"] == -2
    second = next(grade.also for grade in grades if "profiles_disagree" in grade.flags)
    assert isinstance(second, SecondVerdict)
    assert len({id(grade.grader) for grade in grades}) < len(grades) / 2, "the facts of a grader are shared"


def test_what_no_grader_graded_says_nothing_of_one() -> None:
    assert Grade("add", 0, True, "accepted", ()).metadata == {}
    lost = Grade("add", 0, None, "infra_error", (), message="the node is gone")
    assert lost.metadata == {"message": "the node is gone"}
    assert (lost.profile, lost.isolation, lost.sandbox_level, lost.policy_hash) == (
        "strict",
        "solution",
        "",
        "",
    )
    assert Record.read(json.loads(Record.of(lost).text)).grade == lost
    assert lost.grader == NO_GRADER


def problem_of(name: str) -> Problem:
    return Problem(name, "", (Case("1 2\n", "3\n"), Case("4 5\n", "9\n")))


@pytest.mark.parametrize("kept_in", ["journal", "cache"])
def test_a_run_continues_from_what_an_older_version_kept(tmp_path: Path, kept_in: str) -> None:
    results = [json.loads(line) for line in LINES]
    given = [
        {"problem_id": result["problem_id"], "sample": n, "code": f"print({n})"}
        for n, result in enumerate(results)
    ]
    results = [{**result, "sample": n} for n, result in enumerate(results)]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    problems = [problem_of(name) for name in sorted({result["problem_id"] for result in results})]
    with Grader(workers=1) as grader:
        ours = grader_digest(grader.identity())
    theirs = {problem.problem_id: problem_digest(problem) for problem in problems}
    solutions = read_solutions(tmp_path / "s.jsonl", theirs)
    kept = [
        {"key": program_key(ours, theirs[solution.problem_id], solution, "last"), "result": result}
        for solution, result in zip(solutions, results, strict=True)
        if (result["metadata"].get("also") or {}).get("verdict") != "infra_error"
    ]
    options: dict[str, Any] = {"resume": True}
    if kept_in == "journal":
        text = "".join(json.dumps(line) + "\n" for line in kept)
        (tmp_path / "r.jsonl.journal").write_text(text)
    else:
        options = {"cache": tmp_path / "c"}
        Cache(tmp_path / "c")
        for line in kept:
            (tmp_path / "c" / line["key"][:2]).mkdir(exist_ok=True)
            (tmp_path / "c" / line["key"][:2] / f"{line['key']}.json").write_text(json.dumps(line))
    summary = grade_files(problems, tmp_path / "s.jsonl", tmp_path / "r.jsonl", workers=1, **options)
    assert summary["num_run"] == len(results) - len(kept)
    assert summary["num_resumed" if kept_in == "journal" else "num_cached"] == len(kept)
    lines = {json.loads(line)["sample"]: line for line in (tmp_path / "r.jsonl").read_text().splitlines()}
    wanted = {line["result"]["sample"]: json.dumps(line["result"]) for line in kept}
    assert {sample: lines[sample] for sample in wanted} == wanted
