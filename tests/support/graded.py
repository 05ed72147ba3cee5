"""What the grader's tests share: two small problems, a right program, a wrong one that never ends."""

from __future__ import annotations

from opsd_rs import Case, Grade, Grader, Problem, Solution
from opsd_rs.records import Verdict

ADD = Problem("add", "Add.", (Case("1 2\n", "3\n"), Case("4 5\n", "9\n"), Case("10 20\n", "30\n")))
CALL = Problem("call", "Add.", (Case("1\n2", "3"), Case("[1]\n[2]", "[1, 2]")), entry_point="add")
QUICK = Problem("quick", "Loop.", ADD.tests[:2], time_limit_seconds=0.3)
RIGHT = "print(sum(map(int, input().split())))"
LOOP = "while True: pass"


def one(grader: Grader, problem: Problem, code: str) -> Grade:
    [grade] = grader.grade([(problem, Solution(problem.problem_id, 0, code=code))])
    return grade


def verdicts(grade: Grade) -> list[Verdict]:
    return [test.verdict for test in grade.tests]
