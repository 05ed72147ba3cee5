"""State that a program keeps from test to test buys it nothing: neither CPU time nor a second guess."""

from __future__ import annotations

from typing import Any

import pytest
from graded import verdicts
from opsd_rs import Case, Grader, Problem, Solution

BURN = """
import time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
"""
HOARD = (
    BURN
    + """
import sys
done = vars(sys).setdefault("_hoard", [0.0])
if input() == "easy":
    burn(0.4)
    done[0] += 0.4
    print("easy")
else:
    burn(max(0.0, 2.0 - done[0]))
    print("hard")
"""
)
"""Needs two seconds for the last test, and works ahead in the easy ones."""
GUESSES = {
    "by the number of the test": """
import sys
frame, number = sys._getframe(), 0
while frame:
    number = frame.f_locals.get("index", number) if frame.f_code.co_name == "run" else number
    frame = frame.f_back
fresh, sys._seen = not hasattr(sys, "_seen"), True
print("NO" if fresh and number else "YES")
""",
    "by the input that a fresh process begins with": """
import sys
fresh, sys._seen = not hasattr(sys, "_seen"), True
print("NO" if fresh and input() != "0" else "YES")
""",
    "by the limit on CPU time": """
import resource, sys
fresh, sys._seen = not hasattr(sys, "_seen"), True
print("NO" if fresh and resource.getrlimit(resource.RLIMIT_CPU)[0] < 20 else "YES")
""",
}


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as grader:
        yield grader


@pytest.mark.parametrize("isolation", ["solution", "test"])
def test_work_of_earlier_tests_makes_no_program_fast_enough(isolation: Any) -> None:
    tests = (*(Case("easy", "easy") for _ in range(6)), Case("hard", "hard"))
    problem = Problem("hoard", "", tests, time_limit_seconds=1.0)
    with Grader(workers=1, isolation=isolation) as grader:
        [grade] = grader.grade([(problem, Solution("hoard", 0, code=HOARD))])
    assert grade.verdict == "time_limit", grade
    assert verdicts(grade)[-1] == "time_limit"


@pytest.mark.parametrize("how", GUESSES)
def test_a_program_that_knows_that_its_first_answer_was_wrong_gains_nothing(grader: Grader, how: str) -> None:
    answers = ["YES"] * 5 + ["NO"]
    tests = tuple(Case(f"{number}\n", answer) for number, answer in enumerate(answers))
    [grade] = grader.grade([(Problem("guess", "", tests), Solution("guess", 0, code=GUESSES[how]))])
    assert grade.verdict == "wrong_answer", grade


def test_a_right_program_that_used_much_of_its_process_runs_again(grader: Grader) -> None:
    """Its tests take 0.2 and 0.9 of the limit: too much for one process, fine for two."""
    code = BURN + "share = float(input())\nburn(share)\nprint(share)"
    problem = Problem("twice", "", (Case("0.2", "0.2"), Case("0.9  ", "0.9")), time_limit_seconds=1.0)
    [grade] = grader.grade([(problem, Solution("twice", 0, code=code))])
    assert grade.verdict == "accepted", grade
    assert "repeated" in grade.flags


def test_a_right_program_that_its_own_state_hurts_is_accepted(grader: Grader) -> None:
    code = "import sys\nseen = vars(sys).setdefault('_seen', [])\nseen.append(int(input()))\nprint(sum(seen))"
    tests = tuple(Case(f"{number}\n", f"{number}") for number in range(1, 5))
    [grade] = grader.grade([(Problem("leak", "", tests), Solution("leak", 0, code=code))])
    assert (grade.verdict, grade.flags) == ("accepted", ("state_leak",))
