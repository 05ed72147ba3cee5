"""The official profiles against records of LiveCodeBench's runner, and against what the records leave out."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graded import ADD, CALL, RIGHT, one, verdicts
from lcb_runs import call, edge_cases, run_all, same
from opsd_rs import Case, Grader, Problem
from opsd_rs.errors import BadInput
from opsd_rs.grading import Profile

LONG = os.environ.get("OPSD_RS_LONG_TESTS") == "1"
ROWS = edge_cases()
OFFICIAL: tuple[Profile, Profile] = ("lcb-2025-05", "lcb-2025-01")

NOT_REPRODUCED = {
    "guard.open_write_tmp": [-4],
    "guard.socket_allowed": [-4],
    "guard.frame_walk_reads_answer": [-2],
    "fn.frame_walk_reads_answer": [-4],
    "guard.patch_comparator": [-4],
    "fn.eq_always_true_object": [False],
    "fn.eq_returns_string": [False],
    "fn.eq_returns_unpicklable": [False],
}
"""Cheats, and what a sandbox forbids: what these programs get here instead."""
NEWER_PYTHON = {"exit.recursion_cache_200000", "exit.int_str_limit_50001", "src.eval_in_comprehension"}
"""Recorded under 3.11; later interpreters behave otherwise by themselves."""
SLOW = {name for name, row in ROWS.items() if name.startswith("time.") or "thread_leftover" in name}
"""Rows that wait for a time limit: once per profile is enough where both agree."""


@pytest.fixture(scope="module")
def graders() -> Iterator[dict[str, Grader]]:
    with (
        Grader(profile="lcb-2025-05", workers=2) as newer,
        Grader(profile="lcb-2025-01", workers=2) as older,
    ):
        yield {"lcb-2025-05": newer, "lcb-2025-01": older}


@pytest.fixture(scope="module")
def found(graders: dict[str, Grader]) -> dict[str, dict[str, Any]]:
    newer = run_all(graders["lcb-2025-05"], ROWS, ROWS)
    names = ROWS if LONG else ROWS.keys() - SLOW
    return {"lcb-2025-05": newer, "lcb-2025-01": run_all(graders["lcb-2025-01"], ROWS, names)}


@pytest.mark.parametrize("profile", OFFICIAL)
@pytest.mark.parametrize("name", ROWS)
def test_recorded_runs(found: dict[str, dict[str, Any]], name: str, profile: Profile) -> None:
    if sys.version_info >= (3, 12) and name in NEWER_PYTHON:
        pytest.skip("recorded under Python 3.11, which differs here")
    if name not in found[profile]:
        pytest.skip("waits for a time limit; run under both profiles with OPSD_RS_LONG_TESTS=1")
    result, grade = found[profile][name]
    if name in NOT_REPRODUCED:
        assert grade.passed is False
        assert result[0] == NOT_REPRODUCED[name]
        return
    row = ROWS[name]
    official = row.get("official_2025_01", row["official"]) if profile == "lcb-2025-01" else row["official"]
    same(result, official)
    if grade is not None:
        assert grade.passed is official["passed"]
        assert (grade.verdict == "accepted") is official["passed"]
        assert grade.profile == profile


WRONG = (-2, "wrong_answer")
RUNTIME = (-4, "runtime_error")
OUTSIDE = (-4, "compile_error")
GONE = (-5, "runtime_error")

SOLVE = "class Solution:\n    def f(self, x):\n        return {}"


def solve(value: str, expected: str, given: str = "1") -> dict[str, Any]:
    return call(SOLVE.format(value), (given, expected))


def program(code: str, *tests: tuple[str, str]) -> dict[str, Any]:
    return call(code, *(tests or (("", "5"),)), fn_name=None)


MORE: dict[str, tuple[dict[str, Any], list[Any], tuple[int, str] | None]] = {
    # comparison
    "snan": (program("print('sNaN')", ("", "1")), [-4], OUTSIDE),
    "snan forgets passes": (program("print(input())", ("1", "1"), ("sNaN", "1")), [-4], OUTSIDE),
    "lone surrogate": (program(r"print('\ud800')"), [-2], WRONG),
    # input
    "list of stdin": (program("import sys\nprint(len(list(sys.stdin)))", ("a\nb\n", "2")), [-4], RUNTIME),
    "open 0": (program("print(open(0).read())", ("a", "a")), [-2], WRONG),
    "open 0 twice": (program("open(0).read()\nprint(5)", ("", "5"), ("", "5")), [True, -4], RUNTIME),
    "builtins.open 0": (program("import builtins\nprint(builtins.open(0).read())", ("5", "5")), [True], None),
    "stdin has no fileno": (program("import sys\nsys.stdin.fileno()"), [-4], RUNTIME),
    "no buffer.readlines": (program("import sys\nsys.stdin.buffer.readlines()"), [-4], RUNTIME),
    "stdin.read is everything": (program("input()\nimport sys\nprint(sys.stdin.read())", ("5", "5")), [True], None),
    "buffer of stdin bound before": (
        program("from sys import stdin\nfor line in stdin: print(1)\nprint(5)"), [True], None,
    ),
    # output
    "stdout bound before": (program("print(5, file=stdout)"), [-2], WRONG),
    "stdout.buffer": (program("import sys\nsys.stdout.buffer.write(b'5')"), [-4], RUNTIME),
    "__stdout__": (program("import sys\nprint(5, file=sys.__stdout__)"), [-2], WRONG),
    "stdout replaced": (program("import sys, io\nsys.stdout = io.StringIO()\nprint(5)"), [-2], WRONG),
    "redirected and back": (
        program("import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()): print(4)\nprint(5)"),
        [True], None,
    ),
    # the end
    "exit()": (program("print(5)\nexit()"), [True], None),
    "raise SystemExit": (program("print(5)\nraise SystemExit('no')"), [True], None),
    "BaseException": (program("class E(BaseException): pass\nraise E"), [-2], GONE),
    "exit while importing": (call("import sys\nsys.exit()", ("1", "1")), [-2], GONE),
    "exit in a method": (call("def f(x): exit()", ("1", "1")), [-2], GONE),
    "repr raises": (
        program("class E(Exception):\n    def __repr__(self): raise ValueError('no repr')\nraise E"), [-4], OUTSIDE,
    ),
    "int to text at the limit": (program("print(len(str(10**49999)))", ("", "50000")), [True], None),
    # the source
    "global without a module": (program("c = 1\ndef g():\n    global c\n    c += 1\ng()"), [-4], RUNTIME),
    "global at top level": (
        program("global c\nc = 4\ndef g():\n    global c\n    c += 1\ng()\nprint(c)"), [True], None,
    ),
    "globals stay": (
        program("def g():\n    global n\n    n = globals().get('n', 4) + 1\ng()\nprint(n)", ("", "5"), ("", "5")),
        [True, -2], WRONG,
    ),
    "return at top level": (program("print(5)\nreturn"), [True], None),
    "nonlocal at top level": (program("x = 4\ndef g():\n    nonlocal x\n    x = 5\ng()\nprint(x)"), [True], None),
    "else of the guard": (
        program("if __name__ == '__main__':\n    print(5)\nelse:\n    print(4)"), [True], None,
    ),
    "guard and more": (program("if __name__ == '__main__' and 1: print(5)"), [-2], WRONG),
    "guard the other way": (program("if '__main__' == __name__: print(5)"), [-2], WRONG),
    "bom": (program("\ufeffprint(5)"), [-4], OUTSIDE),
    "nul": (program("print(5)\0"), [-4], OUTSIDE),
    "fence left": (program("```python\nprint(5)\n```"), [-4], OUTSIDE),
    "class Solution in a comment": (program("# class Solution\nprint(5)"), [True], None),
    "local class": (program("import pickle\nclass A: pass\npickle.dumps(A())"), [-4], RUNTIME),
    "prelude is typing's": (program("print(ChainMap is __import__('typing').ChainMap)", ("", "True")), [True], None),
    "too long for unparse": (program("print(" + "+".join(["1"] * 3000) + ")", ("", "3000")), [-4], OUTSIDE),
    # what is gone
    **{
        f"no {name}": (program(f"import os\nos.{name}()"), [-4], RUNTIME)
        for name in ("system", "kill", "fork", "unlink", "chdir", "putenv")
    },
    "no environ": (program("import os\nos.environ['A'] = '1'"), [-4], RUNTIME),
    "no temporary files": (program("import tempfile\ntempfile.TemporaryFile()"), [-4], RUNTIME),
    "no processes": (program("import subprocess\nsubprocess.run(['true'])"), [-4], RUNTIME),
    "no pool": (program("import multiprocessing\nmultiprocessing.Pool(2)"), [-4], RUNTIME),
    "no help": (program("help()"), [-4], RUNTIME),
    "no shutil.rmtree": (program("import shutil\nshutil.rmtree('x')"), [-4], RUNTIME),
    "stderr without a descriptor": (
        program("import sys, io\nsys.stderr = io.StringIO()\nprint(5)", ("", "5"), ("", "5")), [-4], OUTSIDE,
    ),
    "raising fork again": (program("import posix\nposix.fork()"), [-4], RUNTIME),
    # functions
    **{
        f"{value} is not {expected}": (solve(value, expected), [False], WRONG)
        for value, expected in {
            "{1, 2}": "[1, 2]", "range(2)": "[0, 1]", "collections.deque([1])": "[1]", "{1: 2}": '{"1": 2}',
            "{1: 2}.keys()": "[1]", "((1, 2), (3, 4))": "[[1, 2], [3, 4]]", "b'1'": "1", "[b'1']": "[1]",
            "float('nan')": "NaN", "[float('nan')]": "[NaN]", "2**53 + 1": "9007199254740992.0", "object()": "null",
            "iter([])": "[]", "[1, (2,)]": "[1, [2]]", "__import__('decimal').Decimal('0.1')": "0.1",
            "__import__('fractions').Fraction(1, 3)": "0.3333333333333333", "1j": "1", "'1'": "1",
            "lambda: 1": "1", "__import__('decimal').Decimal('nan')": "NaN", "10**400": "1e400",
            "__import__('enum').Enum('E', 'A').A": "1", "__import__('types').SimpleNamespace()": "{}",
            "__import__('decimal').Decimal('1e999999999')": "1", "[[1], 2]": "[[1], [2]]", "{'a': ()}": '{"a": []}',
        }.items()
    },
    **{
        f"{value} is {expected}": (solve(value, expected), [True], None)
        for value, expected in {
            "(1, [2])": "[1, [2]]", "[None, 'é', -0.0]": '[null, "\\u00e9", 0]', "True": "1", "[1, 2.0]": "[1.0, 2]",
            "collections.namedtuple('P', 'x y')(1, 2)": "[1, 2]", "collections.Counter('aa')": '{"a": 2}',
            "Counter('aa')": '{"a": 2}', "collections.defaultdict(int, a=1)": '{"a": 1}',
            "collections.OrderedDict(b=1, a=[2])": '{"a": [2], "b": 1}', "collections.ChainMap({'a': 1})": '{"a": 1}',
            "collections.UserList([1])": "[1]", "collections.UserString('a')": '"a"', "1 + 0j": "1",
            "__import__('decimal').Decimal('2.50')": "2.5", "__import__('decimal').Decimal('-inf')": "-Infinity",
            "[__import__('fractions').Fraction(4, 2)]": "[2]", "[collections.Counter('a')]": '[{"a": 1}]',
            "__import__('enum').IntEnum('E', 'A').A": "1", "type('S', (str,), {})('a')": '"a"', "[[], {}]": "[[], {}]",
            "[True, {'a': (None)}]": '[1, {"a": null}]', "2**70": "1180591620717411303424", "'\\ud800'": '"\\ud800"',
            "__import__('types').MappingProxyType({'a': 1})": '{"a": 1}', "1e400": "1e999", "''": '""',
            "[1, 'NaN']": '[1, "NaN"]',
        }.items()
    },
    "the reader's NaN": (call("def f(x): return [x]", ("NaN", "[NaN]")), [True], None),
    "the reader's NaN, bare": (call("def f(x): return x", ("NaN", "NaN")), [False], WRONG),
    "signalling Decimal": (solve("__import__('decimal').Decimal('snan')", "1"), [-4], RUNTIME),
    "itself inside": (call("def f(x):\n    a = []\n    a.append(a)\n    return a", ("1", "[[1]]")), [False], WRONG),
    "too long an integer": (call("def f(x): return 1 << 300_000", ("1", "1")), [False, -4], RUNTIME),
    "too long an integer inside": (call("def f(x): return [1, 1 << 300_000]", ("1", "[1]")), [False, -4], RUNTIME),
    "own eq, honest or not": (
        call("class E(int):\n    def __eq__(s, o): return True\ndef f(x): return [E(3)]", ("1", "[4]")), [False], WRONG,
    ),
    "str raises": (
        call("class E:\n    def __str__(s): raise ValueError('no')\ndef f(x): return E()", ("1", "1")),
        [False, -4], RUNTIME,
    ),
    "async method": (call("async def f(x): return x", ("1", "1")), [False], WRONG),
    "generator method": (call("def f(x): yield x", ("1", "[1]")), [False], WRONG),
    "module state": (
        call("n = []\ndef f(x):\n    n.append(x)\n    return len(n)", ("1", "1"), ("1", "1")), [True, False], WRONG,
    ),
    "trailing newline": (call("def f(x): return x", ("1\n", "1")), [-4], OUTSIDE),
    "bad test after good ones": (call("def f(x): return x", ("1", "1"), ("'", "1")), [-4], OUTSIDE),
    "missing before unreadable": (call("def g(x): return x", ("'", "1")), [-4], OUTSIDE),
    "inherited": (call("class A:\n    def f(self, x): return x\nclass Solution(A): pass", ("1", "1")), [True], None),
    "input at top level": (call("input()\ndef f(x): return x", ("1", "1")), [-4], OUTSIDE),
}  # fmt: skip
"""Row, official results, official code (success: None) with our verdict: from a description of the runner."""


def test_what_the_records_leave_out(graders: dict[str, Grader]) -> None:
    found = run_all(graders["lcb-2025-05"], {name: row for name, (row, _, _) in MORE.items()}, MORE)
    wrong = {}
    for name, (_, results, failure) in MORE.items():
        (got, metadata), grade = found[name]
        assert grade is not None
        verdict = "accepted" if failure is None else failure[1]
        code = None if failure is None else failure[0]
        if (got, metadata.get("error_code"), grade.verdict) != (results, code, verdict):
            wrong[name] = got, metadata, grade.verdict
    assert wrong == {}


def test_numpy_results(graders: dict[str, Grader]) -> None:
    numpy = pytest.importorskip("numpy")
    cases = {
        "np.array([1])": ("[1]", [True]),
        "np.array([1, 2])": ("[1, 3]", [True, -4]),
        "np.array([1, 2, 3])": ("[1, 2]", [-4]),
        "np.array([[1], [2]])": ("[[1], [2, 3]]", [-4]),
        "[np.int64(1), np.float64(0.5), np.str_('a'), np.bool_(True)]": ('[1, 0.5, "a", true]', [True]),
        "[np.array([1, 2])]": ("[[1, 2]]", [-4]),
        "np.float32(0.1)": ("0.1", [True]),
        "[np.float32(0.1)]": ("[0.1]", [True]),
        "np.float64(0.1)": ("0.1", [True]),
        "np.int64(3)": ("4", [False]),
        "np.array(['a'])": ('["a"]', [True]),
        "list(np.arange(3))": ("[0, 1, 2]", [True]),
        "np.arange(3).tolist()": ("[0, 1, 2]", [True]),
        "np.array([1.5]).sum()": ("1.5", [True]),
        "np.int64(1)": ("[1]", [True]),
        "np.array(2)": ("2", [True]),
    }
    rows = {
        value: call(f"import numpy as np\ndef f(x): return {value}", ("1", expected))
        for value, (expected, _) in cases.items()
    }
    found = run_all(graders["lcb-2025-05"], rows, rows)
    assert {value: found[value][0][0] for value in cases} == {
        value: results for value, (_, results) in cases.items()
    }
    # Its own words, from this interpreter's numpy.
    for value, expected in (("np.array([1, 2])", [1, 3]), ("np.array([1, 2, 3])", [1, 2])):
        with pytest.raises(ValueError, match=r".") as caught:
            bool(eval(value, {"np": numpy}) == expected)
        assert found[value][0][1]["error"] == repr(caught.value)


def test_time(graders: dict[str, Grader]) -> None:
    """The alarm rings inside the program, which may swallow it or switch it off; the deadline is enforced outside."""
    loop = "while True: pass"
    rows = {
        "second test": program(f"if input() == 'b':\n    {loop}\nprint(5)", ("a", "5"), ("b", "5")),
        "swallowed": program(f"while True:\n    try:\n        {loop}\n    except BaseException: pass"),
        "switched off": program("import signal, time\nsignal.alarm(0)\ntime.sleep(1.6)\nprint(5)"),
        "long call": program("import re\nre.match('(a+)+b', 'a' * 40)"),
        "importing": call(loop, ("1", "1")),
    }
    for row in rows.values():
        row["timeout"] = 1
    found = run_all(graders["lcb-2025-05"], rows, rows)
    assert {name: (results[0], grade.verdict) for name, (results, grade) in found.items() if grade} == {
        "second test": ([True, -3], "time_limit"),
        "swallowed": ([-2], "time_limit"),
        "switched off": ([True], "accepted"),
        "long call": ([-3], "time_limit"),
        "importing": ([-4], "compile_error"),
    }
    swallowed, grade = found["swallowed"]
    assert swallowed[1]["error_code"] == -5
    assert grade is not None
    # (timeout + 1) x tests + 5; where it had to wait for a core it ran again alone, until 2 s after its timeout.
    ends = 1 + 2 if "starved" in grade.flags else (1 + 1) * 1 + 5
    assert grade.tests[0].wall_seconds == pytest.approx(ends, abs=1.5)


def test_memory_and_stack(graders: dict[str, Grader]) -> None:
    code = "import mmap\nx = mmap.mmap(-1, {} << 20)\nprint(5)"
    rows = {"3 GiB": program(code.format(3000)), "5 GiB": program(code.format(5000))}
    found = run_all(graders["lcb-2025-05"], rows, rows)
    assert found["3 GiB"][0][0] == [True]
    assert found["5 GiB"][0] == (
        [-4],
        {
            "error": "OSError(12, 'Cannot allocate memory')",
            "error_code": -4,
            "error_message": "Runtime Error",
            "inputs": "",
            "expected": "5",
        },
    )


def test_answers_and_later_inputs_are_not_in_the_process(graders: dict[str, Grader]) -> None:
    code = (
        "import gc, sys\n"
        "frame, seen = sys._getframe(), []\n"
        "while frame: seen.append(repr(frame.f_locals) + repr(frame.f_globals)); frame = frame.f_back\n"
        "seen += [repr(x) for x in gc.get_objects() if type(x) in (dict, list, tuple)]\n"
        "print(any(word in text for text in seen for word in map('-'.join, [('nonce', 'answer'), ('nonce', 'later')])))"
    )
    row = program(code, ("first", "nonce-answer"), ("nonce-later", "x"))
    (_, metadata), _ = run_all(graders["lcb-2025-05"], {"walk": row}, ["walk"])["walk"]
    assert metadata["output"] == "False\n"


def test_grades(graders: dict[str, Grader]) -> None:
    """Order and state are the runner's; what our own result line says follows from its codes."""
    grader = graders["lcb-2025-05"]
    grade = one(grader, ADD, "n = 0\nfor part in input().split(): n += int(part)\nprint(n if n < 30 else 0)")
    assert verdicts(grade) == ["accepted", "accepted", "wrong_answer"]
    assert grade.metadata["official_results"] == [True, True, -2]
    assert "30" in grade.feedback
    stopped = one(grader, ADD, "print(3)")
    assert verdicts(stopped) == ["accepted", "wrong_answer", "not_run"]
    assert one(grader, ADD, "").verdict == "compile_error", "an empty program is run"
    assert one(grader, ADD, RIGHT).metadata["official_metadata"].keys() == {"execution time"}
    prefixed = Problem("call", "Add.", CALL.tests, entry_point="Solution.add")
    assert one(grader, prefixed, "def add(a, b): return a + b").passed is True, "the prefix is ignored"
    assert one(grader, Problem("none", "", ()), "print(1)").passed is True


def test_a_timeout_is_rounded_up() -> None:
    problem = Problem("nap", "", (Case("", "5"),), time_limit_seconds=0.4)
    with Grader(profile="lcb-2025-05", workers=1) as grader:
        assert one(grader, problem, "import time\ntime.sleep(0.6)\nprint(5)").passed is True


def test_a_second_profile() -> None:
    lines = "import sys\nfor line in sys.stdin: print(sum(map(int, line.split())))"
    with Grader(profile="strict", also="lcb-2025-05", workers=1) as grader:
        grade = one(grader, ADD, lines)
        assert (grade.passed, grade.profile) == (True, "strict")
        assert "official_results" not in grade.metadata
        also = grade.metadata["also"]
        assert (also["profile"], also["passed"], also["verdict"]) == ("lcb-2025-05", False, "runtime_error")
        assert also["official_results"] == [-4]
        assert (
            also["official_metadata"]["error"]
            == "TypeError(\"'MockStdinWithBuffer' object is not iterable\")"
        )
        assert "profiles_disagree" in grade.flags
        agreed = one(grader, ADD, RIGHT)
        assert (agreed.passed, agreed.metadata["also"]["passed"]) == (True, True)
        assert "profiles_disagree" not in agreed.flags
    with Grader(profile="lcb-2025-05", also="strict", workers=1) as grader:
        grade = one(grader, Problem("none", "", ()), "print(1)")
        assert grade.metadata["also"]["passed"] is None
        assert "no tests" in grade.metadata["also"]["message"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"profile": "lcb"}, "profile = 'lcb': must be one of strict, lcb-2025-05, lcb-2025-01"),
        ({"also": "strict"}, "also = 'strict': is the profile itself"),
        (
            {"profile": "lcb-2025-05", "isolation": "test"},
            "isolation = 'test': profile lcb-2025-05 runs all tests",
        ),
        (
            {"also": "lcb-2025-01", "isolation": "test"},
            "isolation = 'test': profile lcb-2025-01 runs all tests",
        ),
        (
            {"profile": "lcb-2025-05", "idle_seconds": 1.0},
            "idle_seconds = 1.0: profile lcb-2025-05 has no such limit",
        ),
    ],
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        Grader(**settings)
    assert str(caught.value).startswith(words)


def test_the_rows_are_all_there() -> None:
    assert len(ROWS) == 253
    assert NOT_REPRODUCED.keys() <= ROWS.keys()
    assert (Path(__file__).parents[2] / "data/lcb_edge_cases.jsonl").exists()
