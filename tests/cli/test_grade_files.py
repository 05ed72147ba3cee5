"""``opsd-rs grade`` and ``opsd-rs data check``: what they say about files before and after anything runs."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from opsd_rs.cli import main


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_grade_says_what_a_reader_should_know_first(tmp_path: Path) -> None:
    problems, solutions = tmp_path / "problems.jsonl", tmp_path / "solutions.jsonl"
    good = {"problem_id": "add", "prompt": "Add.", "tests": [{"input": "1", "output": "1"}]}
    problems.write_text(json.dumps(good) + '\n{"probl\n')
    rows = [{"problem_id": "add", "completion": "Sorry."}, {"problem_id": "add", "completion": "No."}]
    rows.append({"problem_id": "add", "code": "import absent\nprint(1)"})
    solutions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        "grade",
        "--problems",
        problems,
        "--solutions",
        solutions,
        "--out",
        tmp_path / "r.jsonl",
        "--workers",
        1,
    ]
    done = run(*map(str, words))
    assert done.exit_code == 0, done.stderr
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes[0].startswith(
        f"note: 1 rows of the problems could not be read, no solution is theirs: {problems}:2"
    )
    assert notes[1].startswith("note: 2 of 3 answers hold no code (2: the answer has no code block")
    assert notes[2].startswith("note: 1 of 3 solutions failed for want of a module (absent 1)")


def test_grade_needs_a_solution(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text("")
    words = [
        "grade",
        "--problems",
        "primer",
        "--solutions",
        tmp_path / "s.jsonl",
        "--out",
        tmp_path / "r.jsonl",
    ]
    done = run(*map(str, words))
    assert done.exit_code == 2
    assert done.stderr.endswith("s.jsonl: holds no solution: did the step that writes it fail?\n")
    assert not (tmp_path / "r.jsonl").exists()


def test_data_check_names_form_and_faults(tmp_path: Path) -> None:
    pair = {"inputs": ["1"], "outputs": ["1"]}
    rows = [
        {"id": "good", "input_output": json.dumps(pair)},
        {"id": "broken", "input_output": "{"},
        {"id": "empty", "input_output": None},
        {"question_id": "lcb", "public_test_cases": [{"input": "1", "output": "2", "testtype": "stdin"}]},
    ]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    done = run("data", "check", str(path), "--format", "json")
    assert done.exit_code == 2
    found = json.loads(done.stdout)
    assert (found["num_rows"], found["num_tests"], found["kinds"]) == (5, 2, {"stdin": 2})
    assert found["forms"] == {"APPS, TACO (input_output)": 3, "LiveCodeBench": 1}
    faults = [(fault["where"], fault["problem_id"], fault["kind"]) for fault in found["faults"]]
    assert faults == [
        (f"{path}:5", None, "broken"), (f"{path}:2", "broken", "broken"), (f"{path}:3", "empty", "unsupported"),
    ]  # fmt: skip
    assert f"{path}:2 (broken): broken: key input_output: not JSON" in done.stderr
    assert done.stderr.endswith(f"error: {path}: 3 of 5 rows cannot be graded, see above\n")
    path.write_text(json.dumps(rows[0]))
    done = run("data", "check", str(path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert "APPS, TACO" in done.stdout
