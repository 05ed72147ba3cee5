"""What a program's tests leave behind for the next one: its streams, its files, its process's memory."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from opsd_rs import _core

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


@pytest.fixture(scope="module")
def sandbox() -> _core.Sandbox:
    return _core.Sandbox(sys.executable, _core.__file__)


@pytest.mark.parametrize(
    "leaving",
    [
        "",
        "sys.stdin.read(1)",
        "next(iter(sys.stdin))",
        "sys.stdout.mark = 1",
        "sys.stdout.write = None",
        "sys.stdout.buffer.write(b'')",
        "sys.stdout.flush(); sys.stdout.close()",
        "sys.stdout.detach()",
        "sys.stdout.reconfigure(newline='\\r\\n', write_through=True)",
        "sys.stdout, sys.stderr = sys.stderr, sys.stdout",
        "sys.stdout = io.StringIO()",
        "sys.stdout = sys.__stdout__ = io.TextIOWrapper(io.BytesIO())",
        "sys.stderr.close()",
        "with sys.stdin: pass",
        "with sys.stdout: pass",
        "sys.stdout.flush(); os.write(1, b'')",
        "sys.stdout.flush(); sys.stdout.seek(0); sys.stdout.truncate()",
        "import json",
        "sys.setrecursionlimit(100)",
        "sys.set_int_max_str_digits(700)",
        "print(4 * 'x' * 5000, file=sys.stderr)",
        "del sys.stdout",
    ],
)
def test_what_a_test_leaves_of_its_streams(sandbox: _core.Sandbox, leaving: str) -> None:
    code = f"""
import io, os, sys
print(input(), hasattr(sys.stdout, "mark"), sys.stdout.encoding, sys.stdout is sys.__stdout__, sys.stdout.closed,
      sys.stderr.errors, sys.getrecursionlimit(), len(str(10 ** 4000)))
{leaving}
"""
    runs = sandbox.run(code, [f"{i} \n rest".encode() for i in range(4)])
    want = "{}  False utf-8 True False backslashreplace 1000 4001\n"
    if "truncate" in leaving:
        want = ""
    assert [run["stdout"].decode() for run in runs] == [want.format(i) for i in range(4)]
    assert [run["fresh"] for run in runs] == [True, False, False, False]


@pytest.mark.parametrize(
    ("setup", "look", "change"),
    [
        ("import random", "random.random()", "0"),
        ("import builtins", "builtins.print.__name__", "builtins.print = lambda *a, f=print: f(*a)"),
        ("import os", "os.environ.get('TZ')", "os.environ['TZ'] = 'x'"),
        ("import sys", "len(sys.path)", "sys.path.append('x')"),
        ("import sys", "sys.argv", "sys.argv.append('x')"),
        ("import sys", "sys.gettrace()", "sys.settrace(lambda *a: None)"),
        ("import gc", "gc.isenabled()", "gc.disable()"),
        ("from gc import *", "isenabled()", "disable()"),
        ("from decimal import *", "1 / Decimal(3)", "getcontext().prec = 3"),
        ("import threading", "threading.stack_size()", "threading.stack_size(1 << 20)"),
        ("import signal", "signal.getsignal(10)", "signal.signal(10, signal.SIG_IGN)"),
        ("import cgitb, sys", "getattr(sys, 'exc' + 'epth' + 'ook').__name__", "cgitb.enable()"),
    ],
)
def test_what_a_test_leaves_of_its_world(sandbox: _core.Sandbox, setup: str, look: str, change: str) -> None:
    if "cgitb" in setup and sys.version_info >= (3, 13):
        pytest.skip("no cgitb any more")
    runs = sandbox.run(f"{setup}\nprint({look})\n{change}", [b""] * 4)
    assert [(run["end"], run["fresh"]) for run in runs] == [("finished", True)] + [("finished", False)] * 3
    assert {run["stdout"] for run in runs} == {runs[0]["stdout"]}


def test_a_long_output_is_followed_by_a_short_one(sandbox: _core.Sandbox) -> None:
    code = "n = int(input()); print('x' * n); import sys; print('e' * n, file=sys.stderr)"
    lengths = [3, 1023, 1024, 30_000, 40_000, 5, 200_000, 1]
    runs = sandbox.run(code, [f"{n}\n".encode() for n in lengths], output_mib=1)
    assert [run["stdout"] for run in runs] == [b"x" * n + b"\n" for n in lengths]
    assert [run["stderr"] for run in runs] == [(b"e" * n + b"\n")[-(64 << 10) :] for n in lengths]


def test_the_cap_on_output_is_each_test_s_own(sandbox: _core.Sandbox) -> None:
    code = "n = int(input()); print('x' * n, end='')"
    lengths = [60_000, (1 << 20) - 1, 50_000, 1 << 20]
    runs = sandbox.run(code, [f"{n}\n".encode() for n in lengths], output_mib=1)
    assert [(run["end"], run["kind"]) for run in runs] == [("finished", None)] * 3 + [("stopped", "output")]
    assert [len(run["stdout"]) for run in runs] == lengths


@pytest.mark.parametrize("length", [0, 30_000, 40_000, 500_000])
def test_programs_of_any_length(sandbox: _core.Sandbox, length: int) -> None:
    code = f"text = '{'x' * length}'\nprint(len(text), input())"
    assert sandbox.run(code, [b"a"])[0]["stdout"] == f"{length} a\n".encode()


def test_the_interpreter_lies_in_huge_pages_where_there_are_any(sandbox: _core.Sandbox) -> None:
    """And works without, which a process can ask for."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        pytest.skip("no huge pages here")
    try:
        smaps = Path(f"/proc/{sandbox.pid}/smaps").read_text()
    except PermissionError:
        pytest.skip("the sandbox may not be looked into by an ordinary user")
    parts = re.findall(r" (r-xp|rw-p) .*?AnonHugePages: +(\d+)", smaps, re.DOTALL)
    code_kib = sum(int(kib) for rights, kib in parts if rights == "r-xp")
    text = Path(sysconfig.get_config_var("LIBDIR")) / str(sysconfig.get_config_var("LDLIBRARY"))
    if text.exists() and text.suffix != ".a" and platform.machine() == "x86_64":
        assert code_kib >= 2048
    no_huge_pages = """
import ctypes, sys
assert ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) == 0  # PR_SET_THP_DISABLE, inherited
from opsd_rs import _core
sandbox = _core.Sandbox(sys.executable, _core.__file__)
huge = [line for line in open(f"/proc/{sandbox.pid}/smaps") if line.startswith("AnonHugePages") and " 0 kB" not in line]
print(sandbox.run("print(input())", [b"5"])[0]["stdout"], huge)
"""
    done = subprocess.run([sys.executable, "-c", no_huge_pages], capture_output=True, text=True, check=True)
    assert done.stdout == "b'5\\n' []\n"
