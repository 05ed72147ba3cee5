"""One sandbox at a time: what an honest program may count on, and that nothing outlives its driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from opsd_rs import _core
from opsd_rs.errors import BadInput, OpsdError

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


def start(**options: Any) -> _core.Sandbox:
    return _core.Sandbox(sys.executable, _core.__file__, **options)


@pytest.fixture(scope="module")
def sandbox() -> _core.Sandbox:
    return start()


def one(sandbox: _core.Sandbox, code: str, stdin: bytes = b"", **options: Any) -> dict[str, Any]:
    (run,) = sandbox.run(code, [stdin], **options)
    return run


def call(sandbox: _core.Sandbox, code: str, *arguments: object, entry_point: str = "f") -> dict[str, Any]:
    text = "\n".join(json.dumps(argument) for argument in arguments)
    return one(sandbox, code, text.encode(), entry_point=entry_point)


def members(leader: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == leader and fields[0] not in "ZX":
                found.add(int(entry.name))
    return found


def wait_until_empty(leader: int) -> None:
    for _ in range(100):
        if not members(leader):
            return
        time.sleep(0.05)
    pytest.fail(f"processes of group {leader} outlived their driver: {members(leader)}")


# --- the same world in every run ------------------------------------------------------------------------------

WORLD = """
import random, time, os
print(object(), hash("word"), list({"a", "b", "c", "dd"}), random.random(), id([]), time.tzname, sorted(os.environ))
"""


def test_equal_output_in_every_process_and_zygote(sandbox: _core.Sandbox) -> None:
    first = one(sandbox, WORLD)["stdout"]
    assert first
    one(sandbox, "x = [bytearray(999) for _ in range(9999)]")  # another program's history
    call(sandbox, "def f(x): return [x] * 1000", 1)
    assert one(sandbox, WORLD)["stdout"] == first
    other = start()
    assert other.pid != sandbox.pid
    assert one(other, WORLD)["stdout"] == first
    loose = start(without=["determinism"])
    assert one(loose, WORLD)["stdout"] != first, "the layer does nothing"


# --- standard input and output --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "print(input())",
        "import sys; sys.stdout.write(sys.stdin.readline())",
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())",
        "import os; os.write(1, os.read(0, 100))",
        "print(open(0).read().strip())",
        "import sys\nfor line in sys.stdin: print(line.strip())",
        "import atexit; atexit.register(lambda: print(input()))",
        "import threading; threading.Thread(target=lambda: print(input())).start()",
        "print(input()); exit()",
        "import sys; print(input()); sys.exit(0)",
        "import os; os.write(1, os.read(0, 100)); os._exit(0)",
        "class A:\n    def __del__(self): print('é 7')\na = A()",
        "if __name__ == '__main__':\n    print(input())",
        "from concurrent.futures import ThreadPoolExecutor as P\nprint(P(2).submit(input).result())",
    ],
)
def test_ways_to_read_and_write(sandbox: _core.Sandbox, code: str) -> None:
    for run in sandbox.run(code, ["é 7\n".encode()] * 3):
        assert run["end"] == "finished", run
        assert run["stdout"].decode().strip() == "é 7", run


def test_tests_of_one_program_do_not_see_each_other(sandbox: _core.Sandbox) -> None:
    code = """
import builtins, sys, os, random, signal, decimal
print(hasattr(builtins, "mark"), sys.getrecursionlimit(), random.random(), "MARK" in os.environ, "x" in globals(),
      signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, decimal.getcontext().prec, sys.argv, input())
builtins.mark = x = 1; sys.setrecursionlimit(77); os.environ["MARK"] = "1"; sys.argv.append("a")
signal.signal(signal.SIGUSR1, lambda *a: None); decimal.getcontext().prec = 3; builtins.print = None
"""
    runs = sandbox.run(code, [b"same"] * 3)
    assert [run["fresh"] for run in runs] == [True, False, False]
    assert {run["stdout"] for run in runs} == {runs[0]["stdout"]}, runs


def test_again_runs_the_same_test_in_a_fresh_process(sandbox: _core.Sandbox) -> None:
    asked = []

    def judge(index: int, run: dict[str, Any]) -> str:
        asked.append((index, run["fresh"]))
        return "again" if (index, run["fresh"]) == (1, False) else "next"

    sandbox.run("print(1)", [b""] * 3, judge=judge)
    assert asked == [(0, True), (1, False), (1, True), (2, False)]


# --- how a test ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1/0", {"end": "raised", "kind": "ZeroDivisionError", "number": 1}),
        ("\n\ndef f():\n    return [][3]\nf()", {"end": "raised", "kind": "IndexError", "number": 4}),
        ("raise MemoryError", {"end": "stopped", "kind": "memory"}),
        ("x = []\nwhile True: x.append(bytearray(1 << 20))", {"end": "stopped", "kind": "memory"}),
        ("import sys; sys.exit(3)", {"end": "exited", "number": 3}),
        ("import sys; sys.exit('bad')", {"end": "exited", "number": 1}),
        ("import os; os.abort()", {"end": "signaled", "number": signal.SIGABRT}),
        ("def", {"end": "compile", "kind": "SyntaxError", "number": 1}),
        ("x = 1\n  y = 2", {"end": "compile", "kind": "IndentationError", "number": 2}),
        ("\0", {"end": "compile"}),
        ("while True: pass", {"end": "stopped", "kind": "cpu"}),
        ("import time; time.sleep(60)", {"end": "stopped", "kind": "idle"}),
        ("while True: print('x' * 99999)", {"end": "stopped", "kind": "output"}),
    ],
)
def test_ends(sandbox: _core.Sandbox, code: str, expected: dict[str, Any]) -> None:
    run = one(sandbox, code, cpu_seconds=2.0, idle_seconds=0.8, memory_mib=256, output_mib=4)
    assert {key: run[key] for key in expected} == expected, run
    assert not run["starved"]


def test_times_and_memory_are_measured(sandbox: _core.Sandbox) -> None:
    code = "import time\nx = b'1' * (64 << 20)\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    run = one(sandbox, code)
    assert run["end"] == "finished"
    assert 0.3 <= run["cpu_seconds"] < 0.6
    assert run["wall_seconds"] >= 0.3
    assert 64 <= run["memory_mib"] < 128


# --- function calls -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("[1, (2, 3), {'a': None}]", '[1,[2,3],{"a":null}]'),
        ("True", "true"),
        ("-0.0", "-0.0"),
        ("1e22", "1e+22"),
        ("float('nan')", "NaN"),
        ("'é\\n\"\\ud800'", '"\\u00e9\\n\\"\\ud800"'),
        ("2 ** 200", str(2**200)),
        ("type('I', (int,), {'__eq__': lambda *a: True, '__repr__': lambda s: 'no'})(5)", "5"),
        ("type('L', (list,), {'__iter__': lambda s: iter('no'), '__len__': lambda s: 9})([1])", "[1]"),
        ("[[], {}, ()]", "[[],{},[]]"),
        ("Counter('aab')", '{"a":2,"b":1}'),
    ],
)
def test_values(sandbox: _core.Sandbox, expression: str, text: str) -> None:
    assert call(sandbox, f"def f(): return {expression}")["value"].decode() == text


@pytest.mark.parametrize("expression", ["{1, 2}", "(i for i in [1])", "object()", "{1: 2}"])
def test_values_without_a_json_form(sandbox: _core.Sandbox, expression: str) -> None:
    run = call(sandbox, f"def f(): return {expression}")
    assert (run["end"], run["value"]) == ("finished", None)
    assert "no JSON form" in run["note"]


def test_a_long_integer_is_spelled_and_read_whatever_the_interpreters_limit(sandbox: _core.Sandbox) -> None:
    def f(code: str, *lines: str) -> dict[str, Any]:
        (run,) = sandbox.run(code, ["\n".join(lines).encode()], entry_point="f")
        return run

    digits = "7" * 9_000
    assert f("def f(n): return [n, -n]", digits)["value"].decode() == f"[{digits},-{digits}]"
    # The program's own limit stays the interpreter's.
    assert f("def f(n): return str(n)", digits)["kind"] == "ValueError"


def test_cyclic_and_huge_values_end(sandbox: _core.Sandbox) -> None:
    assert "nested" in call(sandbox, "def f():\n    x = []\n    x.append(x)\n    return x")["note"]
    run = one(sandbox, "def f(): return 'x' * (3 << 20)", b"", entry_point="f", output_mib=2)
    assert (run["end"], run["kind"]) == ("stopped", "output")


@pytest.mark.parametrize(
    ("code", "entry_point", "end"),
    [
        ("def f(a, b): return a - b", "f", "2"),
        ("class Solution:\n    def f(self, a, b): return a - b", "f", "2"),
        ("class Solution:\n    def f(self, a: List[int], b): return a - b", "Solution.f", "2"),
        ("class Other:\n    def f(self, a, b): return a - b", "Other.f", "2"),
        ("def search(a, b): return a - b", "search", "2"),
        ("x = 1", "search", "missing"),  # not re.search of the prelude
        ("x = 1", "f", "missing"),
        ("class Solution: pass", "f", "missing"),
        ("class Solution: pass", "Solution.f", "missing"),
        ("import sys\ndef f(a, b): sys.exit(0)", "f", "exited"),
        ("def f(a): return a", "f", "raised"),
    ],
)
def test_entry_points(sandbox: _core.Sandbox, code: str, entry_point: str, end: str) -> None:
    run = call(sandbox, code, 5, 3, entry_point=entry_point)
    assert (run["value"] or run["end"].encode()).decode() == end


def test_arguments_that_are_not_json_are_nobodys_wrong_answer() -> None:
    with pytest.raises(OpsdError, match="arguments"):
        one(start(), "def f(x): return x", b"{nonsense", entry_point="f")


def test_bad_limits_and_layers_are_named(sandbox: _core.Sandbox) -> None:
    with pytest.raises(BadInput, match="cpu_seconds"):
        one(sandbox, "", cpu_seconds=-1.0)
    with pytest.raises(BadInput, match='no layer "walls"'):
        start(without=["walls"])


# --- nothing outlives its driver ------------------------------------------------------------------------------


def test_dropping_a_sandbox_ends_its_processes() -> None:
    sandbox = start()
    leader = sandbox.pid
    assert members(leader) == {leader}
    del sandbox
    wait_until_empty(leader)


@pytest.mark.parametrize("victim", ["driver", "zygote"])
def test_kill_9_leaves_nothing_behind(victim: str) -> None:
    script = (
        "import sys; from opsd_rs import _core\n"
        "s = _core.Sandbox(sys.executable, _core.__file__); print(s.pid, flush=True)\n"
        "s.run('while True: pass', [b''], cpu_seconds=600.0, wall_seconds=600.0)\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    leader = int(driver.stdout.readline())
    deadline = time.monotonic() + 20
    while len(members(leader)) < 2:
        assert time.monotonic() < deadline, "the program never started"
        time.sleep(0.02)
    os.kill(driver.pid if victim == "driver" else leader, signal.SIGKILL)
    wait_until_empty(leader)
    said = driver.communicate(timeout=30)[1]
    assert victim == "driver" or "OpsdError: sandbox: " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs a system Python")
def test_root_runs_programs_as_nobody_where_python_is_readable_to_all() -> None:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(sys.version_info >= (3, 11))"],
        capture_output=True,
        text=True,
    )
    if version.stdout.strip() != "True":
        pytest.skip("the system Python is older than 3.11")
    sandbox = _core.Sandbox("/usr/bin/python3", _core.__file__)
    code = "import os, csv, zlib; print(os.getuid(), os.getgid(), os.getgroups())"
    assert one(sandbox, code)["stdout"] == b"1999999999 1999999999 []\n"


def test_the_probe_finds_what_this_machine_evidently_has() -> None:
    found = {name: available for name, _, available, detail in _core.probe() if detail}
    assert found["seccomp"] and found["landlock"] and found["pidfd"], found  # noqa: PT018


def test_extra_packages_can_be_imported_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "extra.py").write_text("word = 'from outside'")
    (tmp_path / "opsd_rs").mkdir()
    (tmp_path / "opsd_rs" / "__init__.py").write_text("answers = 1")
    tmp_path.chmod(0o755)
    sandbox = start(site_packages=[tmp_path])
    assert one(sandbox, "import extra; print(extra.word)")["stdout"] == b"from outside\n"
    assert one(sandbox, "import opsd_rs; print(opsd_rs.answers)")["end"] == "raised"
    assert one(start(), "import extra")["kind"] == "ModuleNotFoundError"
