"""What a caller may choose, on real processes: comparators, checker programs, extraction, feedback, order of tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graded import ADD, CALL, RIGHT, one, verdicts
from opsd_rs import Case, Grader, Problem, Solution
from opsd_rs.errors import BadInput
from opsd_rs.grading.feedback import fit_tokens
from opsd_rs.problems import load

SAME_SET = """\
import sys
_, expected, output = (open(name).read().split() for name in sys.argv[1:])
assert sys.stdin.read().split() == output
if sorted(expected) != sorted(output):
    sys.exit(f"{output} is not {expected} in any order")
"""


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as found:
        yield found


def with_rule(problem: Problem, compare: str) -> Problem:
    return Problem(problem.problem_id, "", problem.tests, entry_point=problem.entry_point, compare=compare)


# ---- comparators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "accepted"),
    [
        ("exact", ["3", "3\n"]),
        ("official", ["3", "3\n", "3 \n\n", "3.0"]),
        ("tokens", ["3", "3\n", "3 \n\n"]),
        ("float", ["3", "3\n", "3 \n\n", "3.0", "3.0000001"]),
        ("float:abs=0.5", ["3", "3\n", "3 \n\n", "3.0", "3.0000001", "3.4"]),
    ],
)
def test_a_problems_own_rule_comes_first(grader: Grader, compare: str, accepted: list[str]) -> None:
    problem = Problem("three", "", (Case("", "3\n"),), compare=compare)
    texts = ["3", "3\n", "3 \n\n", "3.0", "3.0000001", "3.4", "4"]
    programs = [Solution("three", n, code=f"print({text!r}, end='')") for n, text in enumerate(texts)]
    grades = grader.grade((problem, program) for program in programs)
    assert [text for text, grade in zip(texts, grades, strict=True) if grade.passed] == accepted


def test_results_of_functions(grader: Grader) -> None:
    problem = Problem("half", "", (Case("1", '[0.5, {"a": 1}]'),), entry_point="f")
    code = "def f(x): return [x / 2 + 1e-9, {'a': x + 1e-9}]"
    assert one(grader, problem, code).verdict == "wrong_answer"
    assert one(grader, with_rule(problem, "float"), code).verdict == "accepted"
    assert one(grader, with_rule(problem, "tokens_ci"), code).verdict == "wrong_answer"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"compare": "loose"}, 'compare = "loose": must be official'),
        ({"compare": "float:x"}, "is no tolerance"),
        ({"compare": "checker:/no/such/file.py"}, "No such file"),
        ({"extract": "middle"}, 'extract = "middle": must be one of last, first'),
        ({"feedback": "rude"}, "feedback = 'rude': must be one of leetcode"),
        ({"feedback_chars": 10}, "feedback_chars = 10: must be a whole number of at least 300"),
    ],
)
def test_a_wrong_word_is_named(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match="^.*" + message.replace("(", r"\(")):
        Grader(workers=1, **keywords)


def test_a_wrong_word_in_a_problem_is_named(grader: Grader) -> None:
    with pytest.raises(BadInput, match=r'problem add: compare = "loose": must be official'):
        one(grader, with_rule(ADD, "loose"), RIGHT)


# ---- checker programs ------------------------------------------------------------------------------


def checked(tmp_path: Path, source: str, problem: Problem, code: str) -> Any:
    path = tmp_path / "check.py"
    path.write_text(source)
    with Grader(workers=1, compare=f"checker:{path}") as grader:
        return one(grader, problem, code)


def test_a_checker_decides_and_its_words_are_kept(tmp_path: Path) -> None:
    problem = Problem("any", "", (Case("3", "1 2 3"), Case("2", "1 2")))
    grade = checked(tmp_path, SAME_SET, problem, "print(*range(int(input()), 0, -1))")
    assert grade.verdict == "accepted"
    assert grade.metadata["compare"].startswith("checker:")
    grade = checked(tmp_path, SAME_SET, problem, "print(7)")
    assert verdicts(grade) == ["wrong_answer", "wrong_answer"]
    assert grade.metadata["reason"]["message"] == "['7'] is not ['1', '2', '3'] in any order"
    assert "Checker\n['7'] is not" in grade.feedback


def test_a_checker_of_results(tmp_path: Path) -> None:
    source = """\
import json, sys
from pathlib import Path
arguments = [json.loads(line) for line in open(sys.argv[1])]
expected, output = (json.loads(Path(name).read_bytes()) for name in sys.argv[2:])
raise SystemExit(42 if arguments == [1, 2] and expected == 3 and output in (3, -3) else 43)
"""
    problem = Problem("call", "", CALL.tests[:1], entry_point="add")
    assert checked(tmp_path, source, problem, "def add(a, b): return -a - b").passed
    assert checked(tmp_path, source, problem, "def add(a, b): return a - b").verdict == "wrong_answer"
    assert checked(tmp_path, source, problem, "def add(a, b): return {1}").verdict == "wrong_answer"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import sys\n1 / 0", "line 2: ZeroDivisionError"),
        ("\n\ndef (", "line 3"),
        ("raise SystemExit(3)", "exit code 3"),
        ("open('/etc/passwd').read()", "line 1: PermissionError"),
        ("import os\nos.abort()", "signal 6"),
        ("open('input.txt', 'w')", "can only be read"),
    ],
)
def test_a_checker_that_fails_is_no_wrong_answer(tmp_path: Path, source: str, words: str) -> None:
    grade = checked(tmp_path, source, ADD, RIGHT)
    assert (grade.verdict, grade.passed) == ("infra_error", None)
    assert words in grade.metadata["message"]
    assert grade.metadata["message"].startswith("checker ")
    assert checked(tmp_path, source, ADD, "1 / 0").verdict == "runtime_error", "nothing was asked of it"


def test_an_answer_that_makes_a_checker_fail_is_wrong(tmp_path: Path) -> None:
    """The checker judges the expected output without failing, so it is the answer that it cannot read."""
    source = "import sys\nnumber = int(open(sys.argv[3]).read())\nraise SystemExit(int(number != 3))"
    problem = Problem("number", "", (Case("", "3"), Case("", "3")))
    for answer in ("'x'", "chr(0)", "'9' * 5000", "'3 4'", "''"):
        grade = checked(tmp_path, source, problem, f"print({answer})")
        assert (grade.verdict, grade.passed) == ("wrong_answer", False), answer
        assert "the answer cannot be read: checker " in grade.metadata["message"]
        assert "line 2: ValueError" in grade.metadata["message"]
    assert checked(tmp_path, source, problem, "print(3)").verdict == "accepted"
    assert (
        checked(tmp_path, source, Problem("n", "", (Case("", "x"),)), "print('x')").verdict == "infra_error"
    )
    endless = "import sys\nwhile open(sys.argv[3]).read() == 'x\\n': pass"
    grade = checked(tmp_path, endless, Problem("n", "", (Case("", "3"),)), "print('x')")
    assert grade.verdict == "wrong_answer"
    assert "stopped by its cpu limit" in grade.metadata["message"]


def test_no_output_makes_a_checker_fail_to_read(tmp_path: Path) -> None:
    problem = Problem("any", "", (Case("", "x" * 100_000),))
    odd = "import os\nos.write(1, bytes(range(256)) * 4000)"
    assert checked(tmp_path, SAME_SET, problem, odd).verdict == "wrong_answer"


def test_a_problem_file_names_its_checker_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "set.py").write_text(SAME_SET)
    line = {
        "problem_id": "any",
        "prompt": "",
        "tests": [{"input": "3", "output": "1 2 3"}],
        "compare": "checker:set.py",
    }
    (tmp_path / "problems.jsonl").write_text(json.dumps(line) + "\n")
    [problem] = load(tmp_path / "problems.jsonl")
    with Grader(workers=1) as grader:
        assert one(grader, problem, "print('3 2 1')").passed
        assert one(grader, problem, "print('3 2')").verdict == "wrong_answer"


# ---- extraction, entry points, long integers -------------------------------------------------------


def test_thoughts_without_an_end_hold_no_code() -> None:
    answers = [
        "<think>\n```\n1/0\n```\n</think>\n```\n{}\n```",
        "<think>\n```\n{}\n```",
        "```\n{}\n```\nor\n```\n0\n```",
    ]
    items = [(ADD, Solution("add", n, completion=text.format(RIGHT))) for n, text in enumerate(answers)]
    with Grader(workers=1, extract="after-think:first") as grader:
        assert [grade.verdict for grade in grader.grade(items)] == ["accepted", "no_code", "accepted"]


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        ("def add(a, b): return 0\nclass Solution:\n    def add(self, a, b): return a + b", "accepted"),
        ("class Solution:\n    def other(self): pass\ndef add(a, b): return a + b", "accepted"),
        ("class Solution:\n    pass", "runtime_error"),
        ("Solution = None\ndef add(a, b): return a + b", "accepted"),
        ("class Base:\n    def add(self, a, b): return a + b\nclass Solution(Base): pass", "accepted"),
    ],
)
def test_a_bare_name_is_the_method_of_solution_if_there_is_one(
    grader: Grader, code: str, verdict: str
) -> None:
    assert one(grader, CALL, code).verdict == verdict


def test_results_of_many_digits(grader: Grader) -> None:
    digits = "1" + "0" * 5_000
    problem = Problem("power", "", (Case("5000", digits), Case("5001", digits)), entry_point="f")
    assert verdicts(one(grader, problem, "def f(n): return 10 ** n")) == ["accepted", "wrong_answer"]


# ---- feedback --------------------------------------------------------------------------------------


def test_styles_and_budgets() -> None:
    heads = {
        "sdpo": "Test Case 1: Wrong Answer\n",
        "leetcode": "Wrong Answer: 0 of 3 test cases passed\n",
        "lcb": "The program is not correct: its answer to this test is wrong.\nInput: 1 2\nGenerated Output: 0\nExp",
    }
    for style, head in heads.items():
        with Grader(workers=1, feedback=style, feedback_chars=300) as grader:  # type: ignore[arg-type]
            assert one(grader, ADD, "print(0)").feedback.startswith(head)
            assert len(one(grader, ADD, "print('long ' * 999)").feedback) <= 300
    with Grader(workers=1, feedback="none") as grader:
        assert one(grader, ADD, "").feedback == one(grader, ADD, "print(0)").feedback == ""


class Letters:
    """A tokenizer of single characters, its ids in an object of their own, one special token in front."""

    class Found:
        def __init__(self, ids: list[int]) -> None:
            self.ids = ids

    def encode(self, text: str) -> Found:
        return self.Found([0, *map(ord, text)])


def test_a_text_is_cut_to_tokens_at_a_lines_end() -> None:
    text = "Wrong Answer\nInput\n" + "1 2 3 4 5\n" * 20
    for budget in range(0, 240, 7):
        cut = fit_tokens(text, Letters(), budget)
        assert cut == "" or len(cut) + 1 <= budget
        assert cut == text or cut in ("", "... (cut)") or text.startswith(cut.removesuffix("\n... (cut)"))
    assert fit_tokens(text, Letters(), len(text) + 1) == text
    assert fit_tokens(text, Letters(), 40).startswith("Wrong Answer\nInput\n1 2")


# ---- time limits -----------------------------------------------------------------------------------

BUSY = "import time\nstart = time.process_time()\nwhile time.process_time() - start < {}: pass\n" + RIGHT


def test_what_is_near_a_limit_is_said_and_confirmed(grader: Grader) -> None:
    quick = Problem("add", "", ADD.tests[:1], time_limit_seconds=0.8)
    near = one(grader, quick, BUSY.format(0.72))
    assert (near.verdict, near.flags) == ("accepted", ("near_limit",))
    late = one(grader, quick, BUSY.format(0.9))
    assert (late.verdict, set(late.flags)) == ("time_limit", {"confirmed", "near_limit"})
    endless = one(grader, quick, "while True: pass")
    assert (endless.verdict, endless.flags) == ("time_limit", ("confirmed",))
    assert endless.tests[0].cpu_seconds is not None
    assert endless.tests[0].cpu_seconds >= 1.3 * 0.8


def test_a_grader_sums_up_what_it_handed_over() -> None:
    quick = Problem("add", "", ADD.tests[:1], time_limit_seconds=0.4)
    with Grader(workers=1) as grader:
        assert grader.summary()["num_graded"] == 0
        for code in (BUSY.format(0.37), "while True: pass", RIGHT, "print(0)"):
            one(grader, quick, code)
        summary = grader.summary()
    assert (summary["num_graded"], summary["num_null"]) == (4, 0)
    assert summary["verdicts"] == {"accepted": 2, "time_limit": 1, "wrong_answer": 1}
    assert summary["flags"]["near_limit"] == {"count": 1, "share": 0.25}
    assert summary["flags"]["confirmed"] == {"count": 1, "share": 0.25}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_budget_mib", 0), ("memory_mib", -3), ("output_mib", 1.5), ("threads", True),
        ("cpu_seconds", 0), ("idle_seconds", float("nan")), ("wall_seconds", float("inf")),
    ],
)  # fmt: skip
def test_limits_that_are_none_are_refused_before_anything_starts(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=f"{name} = .* above 0"):
        Grader(**{name: value})


def test_a_time_limit_that_comes_from_an_earlier_test_is_none(grader: Grader) -> None:
    leaky = "import string\nif hasattr(string, 'seen'):\n    while True: pass\nstring.seen = 1\n" + RIGHT
    problem = Problem("add", "", ADD.tests[:2], time_limit_seconds=0.5)
    grade = one(grader, problem, leaky)
    assert (grade.verdict, grade.flags) == ("accepted", ("confirmed",))


def test_small_then_large_then_the_rest_and_results_in_order() -> None:
    inputs = ["22", "1", "4444", "333", "5"]
    problem = Problem("size", "", tuple(Case(text, text) for text in inputs))
    seen = []
    for stop_at in inputs:
        code = f"text = input()\nprint(text if text != '{stop_at}' else 'no')"
        with Grader(workers=1, stop="first-failure") as grader:
            found = verdicts(one(grader, problem, code))
        assert found[inputs.index(stop_at)] == "wrong_answer"
        seen.append(found.count("accepted"))
    assert seen == [2, 0, 1, 3, 4], "how many ran before each"
