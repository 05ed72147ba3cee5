"""The grader on real processes: verdicts, feedback, streams, and whose fault an error is."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from graded import ADD, CALL, LOOP, QUICK, RIGHT, one, verdicts
from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.errors import BadInput, OpsdError
from opsd_rs.records import Verdict


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def sdpo() -> Iterator[Grader]:
    with Grader(workers=1, feedback="sdpo") as found:
        yield found


@pytest.mark.parametrize(
    ("problem", "code", "verdict"),
    [
        (ADD, RIGHT, "accepted"),
        (ADD, "print(' 3.0 ' if input() == '1 2' else '9' * 1)", "wrong_answer"),
        (ADD, "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))", "accepted"),
        (ADD, "import os\nos.write(1, b'%d' % sum(map(int, os.read(0, 99).split())))", "accepted"),
        (ADD, f"{RIGHT}\nimport sys\nsys.exit(0)", "accepted"),
        (ADD, f"{RIGHT}\nraise SystemExit(1)", "runtime_error"),
        (ADD, "1 / 0", "runtime_error"),
        (ADD, "import os\nos._exit(3)", "runtime_error"),
        (ADD, "import os\nos.abort()", "runtime_error"),
        (ADD, "def (", "compile_error"),
        (ADD, " \n", "no_code"),
        (ADD, "x = bytearray(8 << 30)", "memory_limit"),
        (ADD, "while True: print('x' * 100_000)", "output_limit"),
        (QUICK, LOOP, "time_limit"),
        (CALL, "def add(a, b): return a + b", "accepted"),
        (CALL, "class Solution:\n    def add(self, a, b): return a + b", "accepted"),
        (CALL, "def add(a, b): return (*a, *b) if isinstance(a, list) else float(a + b)", "accepted"),
        (CALL, "def add(a, b): return str(a + b)", "wrong_answer"),
        (CALL, "def add(a, b): return {1, 2}", "wrong_answer"),
        (CALL, "def plus(a, b): return a + b", "runtime_error"),
        (CALL, "def add(a, b): import os; os._exit(0)", "runtime_error"),
    ],
)
def test_verdicts(grader: Grader, problem: Problem, code: str, verdict: Verdict) -> None:
    grade = one(grader, problem, code)
    assert grade.verdict == verdict, grade
    assert grade.passed is (verdict == "accepted")
    assert [test.index for test in grade.tests] == list(range(len(problem.tests)))
    assert (grade.feedback == "") is (verdict == "accepted")


def test_a_grade_says_where_it_comes_from(grader: Grader) -> None:
    grade = one(grader, ADD, RIGHT)
    assert grade.sandbox_level in ("S2", "S3")
    assert grade.metadata["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert "seccomp" in grade.metadata["sandbox"]
    first = grade.tests[0]
    assert first.cpu_seconds is not None
    assert first.wall_seconds is not None
    assert first.memory_mib is not None
    assert 0 < first.cpu_seconds < 1
    assert first.cpu_seconds < first.wall_seconds + 0.1
    assert 1 < first.memory_mib < 200


def test_megabytes_in_and_out(grader: Grader) -> None:
    text = "".join(f"{number}\n" for number in range(600_000))
    problem = Problem("echo", "Echo.", (Case(text, text), Case(text, text + "1")))
    assert verdicts(one(grader, problem, "import sys\nsys.stdout.write(sys.stdin.read())")) == [
        "accepted",
        "wrong_answer",
    ]


def test_code_is_taken_from_completions(grader: Grader) -> None:
    answer = f"First try:\n```python\n1 / 0\n```\nBetter:\n```python\n{RIGHT}\n```\n"
    grades = grader.grade(
        [
            (ADD, Solution("add", 0, completion=answer)),
            (ADD, Solution("add", 1, completion="I cannot.")),
            (ADD, Solution("add", 2, completion="```python\nprint(", truncated=True)),
        ]
    )
    assert [grade.verdict for grade in grades] == ["accepted", "no_code", "no_code"]
    assert [grade.sample for grade in grades] == [0, 1, 2]
    assert "holds no code" in grades[1].feedback
    assert "length limit" in grades[2].feedback
    assert grades[1].passed is False
    assert set(verdicts(grades[1])) == {"not_run"}


def test_state_of_one_test_never_fails_the_next(grader: Grader) -> None:
    leaky = "import string\nstring.n = getattr(string, 'n', 0) + 1\nassert string.n == 1\n" + RIGHT
    grade = one(grader, ADD, leaky)
    assert grade.verdict == "accepted"
    assert grade.flags == ("state_leak",)


def test_a_wrong_program_that_keeps_state_is_judged_test_by_test(grader: Grader) -> None:
    leaky = "import string\nstring.n = getattr(string, 'n', 0) + 1\nassert string.n == 1\n" + RIGHT
    problem = Problem("add", "Add.", (Case("1 1", "0"), *ADD.tests, Case("1 1", "0"), *ADD.tests))
    wrong = ["wrong_answer", "accepted", "accepted", "accepted"]
    grade = one(grader, problem, leaky)
    assert verdicts(grade) == wrong + wrong
    assert grade.flags == ("state_leak",)
    always = one(grader, problem, "print(-1)")
    assert set(verdicts(always)) == {"wrong_answer"}
    assert always.flags == ()


def test_first_failure_stops_and_never_runs_on() -> None:
    code = "a, b = map(int, input().split())\nprint(a + b if a != 4 else 0)"
    problem = Problem("add", "Add.", (*ADD.tests, *ADD.tests[:2]))
    with Grader(workers=1, stop="first-failure") as stopping:
        # The smallest input runs first, the largest second, the others as given.
        grade = one(stopping, problem, code)
        assert verdicts(grade) == ["accepted", "wrong_answer", "accepted", "not_run", "not_run"]
        assert grade.verdict == "wrong_answer"
    with Grader(workers=1) as running:
        assert verdicts(one(running, ADD, code)) == ["accepted", "wrong_answer", "accepted"]


def test_after_a_failure_a_slow_solution_has_a_budget(grader: Grader) -> None:
    grade = one(grader, QUICK, "import time\ntime.sleep(60)")
    assert verdicts(grade) == ["idle_limit", "not_run"]
    assert grade.flags == ("budget",)
    assert grade.verdict == "idle_limit"


def test_feedback_of_a_real_traceback(sdpo: Grader) -> None:
    code = textwrap.dedent(
        """\
        # Adds.
        def solve(a, b):
            return 12 // (a - 4)

        print(solve(*map(int, input().split())))
        """
    )
    raises = Problem("add", "Add.", (Case("9 3", "2"), *ADD.tests[1:]))
    assert one(sdpo, raises, code).metadata["reason"] == {
        "test": 1,
        "verdict": "runtime_error",
        "exception": "ZeroDivisionError",
        "message": "ZeroDivisionError: integer division or modulo by zero",
        "line": 3,
        "function": "solve",
    }
    assert one(sdpo, ADD, code).feedback == (
        "Runtime Error\n"
        "ZeroDivisionError: integer division or modulo by zero\n"
        "  return 12 // (a - 4)\n"
        "Line 3 in solve (Solution.py)\n"
        "  print(solve(*map(int, input().split())))\n"
        "Line 5 in <module> (Solution.py)\n"
        "\n"
        "Last Executed Input\n"
        "4 5"
    )


def test_feedback_of_real_wrong_answers(sdpo: Grader) -> None:
    code = "import sys\na, b = map(int, input().split())\nprint('a is', a, file=sys.stderr)\nprint(a * b)"
    problem = Problem("add", "Add.", (*ADD.tests[1:], Case("2 2", "4"), Case("0 1", "1")))
    assert one(sdpo, problem, code).feedback == (
        "Test Case 4: Wrong Answer\n\nInput\n0 1\n\nOutput\n0\n\nExpected\n1\n\nDebug Output\na is 0\n"
        "\n"
        "Test Case 1: Wrong Answer\n\nInput\n4 5\n\nOutput\n20\n\nExpected\n9\n\nDebug Output\na is 4"
    )


def test_feedback_can_be_left_out() -> None:
    with Grader(workers=1, feedback=False) as silent:
        assert one(silent, ADD, "print(0)").feedback == ""


def test_equal_in_every_run() -> None:
    code = textwrap.dedent(
        """\
        import random
        class Thing: pass
        things = [Thing() for _ in range(3)]
        print(things, hash("text"), {"a", "b", "c"}, random.random(), sorted(map(id, things)))
        raise SystemExit(1)
        """
    )
    seen = set()
    for _ in range(2):
        with Grader(workers=2) as grader:
            items = [(ADD, Solution("add", sample, code=code.replace("raise", "#"))) for sample in range(6)]
            seen |= {grade.feedback for grade in grader.grade(items)}
    assert len(seen) == 1, seen
    assert "Thing object at 0x" in seen.pop()


def test_nothing_of_our_environment_reaches_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    monkeypatch.setenv("KMP_BLOCKTIME", "1")
    monkeypatch.setenv("HF_TOKEN", "a secret")
    with Grader(workers=1) as grader:
        told = one(
            grader, ADD, "import os\nprint('\\n'.join(sorted(os.environ)), os.environ.get('OMP_NUM_THREADS'))"
        )
        environment = Path(f"/proc/{grader.pid}/environ").read_text()
    for name in ("LD_PRELOAD", "OMP_PROC_BIND", "KMP_BLOCKTIME", "HF_TOKEN"):
        assert name not in told.feedback
        assert name not in environment
    assert "OMP_NUM_THREADS 7" not in told.feedback


# ---- streams, threads, our own errors -------------------------------------------------------------


def test_a_fast_grade_does_not_wait_for_a_slow_one(grader: Grader) -> None:
    slow = Problem("slow", "", ADD.tests[:1], time_limit_seconds=1.5)
    items = [
        (slow, Solution("slow", 0, code=LOOP)),
        *[(ADD, Solution("add", n, code=RIGHT)) for n in range(5)],
    ]
    order = [index for index, _ in grader.stream(items)]
    assert order[-1] == 0
    assert sorted(order) == list(range(6))


def test_items_are_drawn_as_they_are_needed(grader: Grader) -> None:
    drawn = 0

    def endless() -> Iterator[tuple[Problem, Solution]]:
        nonlocal drawn
        while True:
            drawn += 1
            yield ADD, Solution("add", drawn, code=RIGHT)

    stream = grader.stream(endless())
    for _ in range(50):
        assert next(stream)[1].passed
    stream.close()
    assert drawn < 200
    assert one(grader, ADD, RIGHT).passed, "late results of the dropped stream disturb nobody"


def test_threads_share_a_grader(grader: Grader) -> None:
    found: dict[int, list[bool | None]] = {}

    def work(number: int) -> None:
        items = [(ADD, Solution("add", n, code=RIGHT if n % 2 else "print(0)")) for n in range(10)]
        found[number] = [grade.passed for grade in grader.grade(items)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [[False, True] * 5] * 4


def test_progress_counts_to_the_end(grader: Grader) -> None:
    ticks: list[tuple[int, int]] = []
    grader.grade([(ADD, Solution("add", n, code=RIGHT)) for n in range(3)], lambda *tick: ticks.append(tick))
    assert ticks == [(1, 3), (2, 3), (3, 3)]


def test_bad_input_is_named(grader: Grader) -> None:
    with pytest.raises(BadInput, match="problem empty: has no tests"):
        one(grader, Problem("empty", "", ()), RIGHT)
    with pytest.raises(BadInput, match=r"problem call: test 1, input line 2: not a JSON value"):
        one(grader, Problem("call", "", (CALL.tests[0], Case("1\nx", "3")), entry_point="add"), RIGHT)
    with pytest.raises(BadInput, match="'other' was given with problem 'add'"):
        grader.grade([(ADD, Solution("other", 0, code=RIGHT))])
    with pytest.raises(BadInput, match="stop = 'later'"):
        Grader(stop="later")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="workers = 0"):
        Grader(workers=0)
    assert one(grader, ADD, RIGHT).passed


def test_levels_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadInput, match="level = 'S1': is below require = 'S2'"):
        Grader(workers=1, level="S1", require="S2")
    with pytest.raises(BadInput, match="allow_unsandboxed"):
        Grader(workers=1, level="S0")
    with pytest.raises(BadInput, match="require = 'S4'"):
        Grader(workers=1, require="S4")  # type: ignore[arg-type]


def test_a_closed_grader_says_so() -> None:
    grader = Grader(workers=1)
    assert grader.pid is None
    assert one(grader, ADD, RIGHT).passed, "it starts by itself"
    grader.close()
    grader.close()
    with pytest.raises(OpsdError, match="was closed"):
        one(grader, ADD, RIGHT)


def test_a_problem_that_the_supervisor_dropped_is_sent_again() -> None:
    with Grader(workers=1) as grader:
        assert grader._backend is not None
        sent = grader._backend._sent
        sent.limit = 40
        problems = [Problem("add", "", (Case(f"{n} 2\n", f"{n + 2}\n"),)) for n in range(20)]
        for problem in [*problems, *problems[:3]]:
            assert one(grader, problem, RIGHT).passed
        assert (len(sent), sent.total_size <= 40) == (5, True)
