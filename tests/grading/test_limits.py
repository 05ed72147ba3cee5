"""Limits as a user meets them: a message with figure and bound, space for the right answer, equal on all machines."""

from __future__ import annotations

import re

import pytest
from graded import one, verdicts
from opsd_rs import Case, Grader, Problem, Solution

THREE = tuple(Case(f"{number}\n", "3") for number in range(3))
MESSAGES = {
    "while True: pass": ("time_limit", r"time_limit: [\d.]+ s of 0\.5 s"),
    "import time; time.sleep(60)": ("idle_limit", r"idle_limit: [\d.]+ s of 1 s"),
    "held = []\nwhile True: held.append(bytearray(1 << 20))": (
        "memory_limit",
        r"memory_limit: [\d.]+ MiB of 200 MiB(, and no space for what it asked for next)?",
    ),
    "held = bytearray(1 << 30)": (
        "memory_limit",
        r"memory_limit: [\d.]+ MiB of 200 MiB, and no space for what it asked for next",
    ),
    "while True: print('x' * 9999)": ("output_limit", r"output_limit: 2 MiB of 2 MiB"),
}


@pytest.mark.parametrize("code", MESSAGES)
def test_a_limit_says_how_much_of_how_much(code: str) -> None:
    problem = Problem("p", "", (Case("", "1"),), time_limit_seconds=0.5, memory_limit_mib=200)
    with Grader(workers=1, idle_seconds=1.0, output_mib=2) as grader:
        grade = one(grader, problem, code)
    verdict, message = MESSAGES[code]
    assert grade.verdict == verdict, grade
    assert re.fullmatch(message, grade.message), grade.message


@pytest.mark.parametrize("then", ["bytearray(1 << 40)", "print('x' * (2 << 20))", "1 / 0", "os.abort()"])
def test_what_comes_after_the_time_limit_does_not_count(then: str) -> None:
    """A test may run to 1.3 times its limit; how far it gets until then depends on the machine."""
    code = f"import os, time\nwhile time.process_time() < {{}}: pass\n{then}"
    problem = Problem("p", "", (Case("", "1"),), time_limit_seconds=1.0)
    with Grader(workers=1, output_mib=1) as grader:
        assert one(grader, problem, code.format(1.15)).verdict == "time_limit"
        assert one(grader, problem, code.format(0.1)).verdict != "time_limit"


@pytest.mark.parametrize("feedback", ["sdpo", "leetcode", "lcb"])
def test_figures_are_not_in_the_feedback(feedback: str) -> None:
    """They differ from run to run, and a teacher's context must not."""
    problem = Problem("p", "", (Case("", "1"),), time_limit_seconds=0.2)
    with Grader(workers=1, feedback=feedback) as grader:
        grade = one(grader, problem, "while True: pass")
    assert grade.feedback
    assert "time_limit" not in grade.feedback


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("held = bytearray(1 << 40)", "memory_limit"),
        ("while True: print('x' * 9999)", "output_limit"),
        ("while True: pass", "time_limit"),
        ("import time; time.sleep(60)", "idle_limit"),
    ],
)
def test_first_timeout_ends_at_a_limit_of_any_kind(code: str, verdict: str) -> None:
    problem = Problem("p", "", THREE, time_limit_seconds=0.3)
    with Grader(workers=1, stop="first-timeout", output_mib=1, idle_seconds=0.5) as grader:
        grade = one(grader, problem, code)
        wrong = one(grader, problem, "print(4)")
    assert verdicts(grade) == [verdict, "not_run", "not_run"]
    assert verdicts(wrong) == ["wrong_answer"] * 3


def test_a_right_answer_fits_however_long_it_is() -> None:
    long = "7" * 20_000_000
    texts = Problem("texts", "", (Case("1", long),))
    values = Problem("values", "", (Case("1", '"' + "é" * 4_000_000 + '"'),), entry_point="f")
    with Grader(workers=1) as grader:
        assert one(grader, texts, "print('7' * 20_000_000)").verdict == "accepted"
        assert one(grader, texts, "while True: print('7' * 20_000_000)").verdict == "output_limit"
        assert one(grader, values, "def f(x): return 'é' * 4_000_000").verdict == "accepted"
    with Grader(workers=1, output_mib=1) as grader:
        assert one(grader, texts, "print('7' * 20_000_000)").verdict == "accepted"


def test_a_byte_order_mark_is_no_part_of_the_program() -> None:
    with Grader(workers=1) as grader:
        problem = Problem("p", "", THREE)
        assert one(grader, problem, "\ufeffprint(3)").verdict == "accepted"
        assert one(grader, problem, "print(3)\ufeff").verdict == "compile_error"


OWN_STREAM = """
import os, sys
class Stream:
    def __init__(self): self.parts = []
    def write(self, text): self.parts.append(text)
    def flush(self): os.write(1, "".join(self.parts).encode()); self.parts.clear()
sys.stdout = Stream()
print(3)
"""
OVER_ANOTHER = """
import sys
parts = []
class Stream:
    def write(self, text): parts.append(text)
    def flush(self):
        sys.__stdout__.write("".join(parts)); parts.clear(); sys.__stdout__.flush()
sys.stdout = Stream()
print(3)
"""
FINALIZER = """
import os
class Answer:
    def __del__(self): os.write(1, text.encode())
text = "3"
answer = Answer()
"""
IN_A_CYCLE = """
class Node:
    def __del__(self): print(self.value)
one, two = Node(), None
one.value, one.itself = 3, one
"""
AT_EXIT = "import atexit\natexit.register(lambda: print(3))"
WRAPPER = "import io, sys\nsys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, 'w', closefd=False)))\nprint(3)"
ONCE = """
import os, sys
class Stream:
    text = ""
    def write(self, text): self.text += text
    def flush(self): os.write(1, self.text.encode())
sys.stdout = Stream()
print(3)
"""


@pytest.mark.parametrize("code", [OWN_STREAM, OVER_ANOTHER, FINALIZER, IN_A_CYCLE, AT_EXIT, WRAPPER, ONCE])
def test_what_a_program_writes_at_its_end_counts(code: str) -> None:
    """As the interpreter does it: exit functions, one flush of the streams, then finalizers."""
    with Grader(workers=1) as grader:
        grade = one(grader, Problem("p", "", THREE), code)
    assert (grade.verdict, grade.flags) == ("accepted", ()), grade


def test_programs_see_the_same_number_of_cores_everywhere() -> None:
    code = """
import multiprocessing, os
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor() as pool: assert sum(pool.map(int, "111")) == 3
print(os.cpu_count(), multiprocessing.cpu_count(), len(os.sched_getaffinity(0)))
"""
    problem = Problem("p", "", (Case("", "4 4 4"),))
    with Grader(workers=1) as grader:
        [grade] = grader.grade([(problem, Solution("p", 0, code=code))])
    assert grade.verdict == "accepted", grade
