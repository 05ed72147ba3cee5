"""The environment ``code``: its problems, the student's message, and verdicts with feedback from the real sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opsd_rs.config import load_config
from opsd_rs.environments import make_environment
from opsd_rs.errors import OpsdError
from opsd_rs.records import Solution


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "adding.jsonl"
    tests = [{"input": "1\n2", "output": "3", "public": True}, {"input": "5\n-5", "output": "0"}]
    record = {"problem_id": "add", "prompt": "Add.", "entry_point": "add", "tests": tests}
    path.write_text(json.dumps(record | {"starter_code": "def add(a, b):\n"}) + "\n")
    return path


def test_problems_message_and_grades(problems: Path) -> None:
    words = ["control.mask=one", f"problems.path={problems}", "problems.prompt=sdpo", "grader.workers=1"]
    environment = make_environment(load_config([], words))
    assert environment.dataset_id == "adding"
    found = environment.problems()
    assert [problem.problem_id for problem in found.train] == ["add"]
    (problem,) = found.full
    message = environment.message(problem)
    assert message.startswith("You are an expert programmer.")
    assert "def add(a, b):" in message
    ticks: list[tuple[int, int]] = []
    answers = [
        (problem, Solution("add", sample, completion=f"```python\ndef add(a, b):\n    return {result}\n```"))
        for sample, result in enumerate(("a + b", "a - b"))
    ]
    with environment:
        right, wrong = environment.grade(answers, lambda done, total: ticks.append((done, total)))
    assert (right.passed, wrong.passed) == (True, False)
    assert "Wrong Answer" in wrong.feedback
    assert right.feedback == ""
    assert ticks == [(1, 2), (2, 2)]
    with pytest.raises(OpsdError):
        environment.grade(answers)


def test_the_plain_message_is_the_statement(problems: Path) -> None:
    environment = make_environment(load_config([], ["control.mask=one", f"problems.path={problems}"]))
    (problem,) = environment.problems().full
    assert environment.message(problem) == "Add."
