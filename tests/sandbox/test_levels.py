"""The ladder of isolation levels: each is proved before it is used, and the proof fails where a layer is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from graded import ADD, RIGHT, one, verdicts
from opsd_rs import Case, Grader, Problem, Solution, _core
from opsd_rs.doctor.sandbox import fix_for, levels, read_machine
from opsd_rs.errors import BadInput, OpsdError

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

NUMPY = Path(importlib.util.find_spec("numpy").submodule_search_locations[0])  # type: ignore[union-attr,index]


def start(**options: Any) -> _core.Sandbox:
    return _core.Sandbox(sys.executable, _core.__file__, **options)


@pytest.fixture(scope="module")
def rungs() -> dict[str, tuple[bool, str, str]]:
    found = _core.probe_levels(sys.executable, _core.__file__)
    return {level: (holds, detail, policy) for level, holds, detail, policy in found}


def needs(rungs: dict[str, tuple[bool, str, str]], level: str) -> None:
    if not rungs[level][0]:
        pytest.skip(f"{level} does not hold here: {rungs[level][1]}")


# --- proof ----------------------------------------------------------------------------------------------------


def test_every_level_is_tried_best_first(rungs: dict[str, tuple[bool, str, str]]) -> None:
    assert list(rungs) == ["S3", "S2", "S2j", "S1"]
    assert rungs["S2"][0] or "Landlock" in rungs["S2"][1], "S2 fails for want of Landlock only"
    held = [policy for holds, _, policy in rungs.values() if holds]
    assert len(set(held)) == len(held) > 0, "levels have different rules"


@pytest.mark.parametrize(
    ("level", "layer", "breach"),
    [
        ("S2", "landlock", "read a file"),
        ("S2j", "jail", "read a file"),
        ("S1", "no_open", "read a file"),
        ("S2", "rlimits", "raise a limit"),
        ("S2", "thread_cap", None),  # then it claims no cap, and starts none of its probes
        ("S3", "namespaces", "see its parent"),
        ("S2", "privileges", "/proc shows"),
    ],
)
def test_the_proof_fails_without_the_layer(
    level: str, layer: str, breach: str | None, rungs: dict[str, tuple[bool, str, str]]
) -> None:
    needs(rungs, level)
    whole = start(level=level).prove()
    assert whole >= 30
    if layer == "privileges" and os.geteuid() != 0:
        with pytest.raises(OpsdError, match="enter Landlock: Operation not permitted"):
            start(level=level, without=[layer])  # who may gain privileges may not enter a domain, landlock(7)
        return
    sandbox = start(level=level, without=[layer])
    if breach is None:
        assert sandbox.prove() == whole - 1
    else:
        with pytest.raises(OpsdError, match=breach):
            sandbox.prove()


def test_the_proof_fails_without_filters() -> None:
    with pytest.raises(OpsdError, match="a program can"):
        start(without=["seccomp", "landlock"]).prove()


# --- what a level is ------------------------------------------------------------------------------------------


def test_s3_has_namespaces_of_its_own_and_one_init(rungs: dict[str, tuple[bool, str, str]]) -> None:
    needs(rungs, "S3")
    sandbox = start(level="S3")
    (run,) = sandbox.run("import os; print(os.getpid() < 1000, os.getppid() < 0)", [b""])
    assert run["stdout"] == b"True True\n", run
    users, ours = (Path(f"/proc/{pid}/uid_map").read_text() for pid in (sandbox.pid, "self"))
    assert users != ours
    for name in (
        ("user", "net", "ipc", "mnt") if os.geteuid() == 0 else ()
    ):  # others may not read these, proc(5)
        theirs, ours = (Path(f"/proc/{pid}/ns/{name}").readlink() for pid in (sandbox.pid, "self"))
        assert theirs != ours, name
    children = Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children").read_text().split()
    assert len(children) == 1, "nothing but the init between two programs"
    status = Path(f"/proc/{children[0]}/status").read_text()
    assert "NSpid:\t" + children[0] + "\t1\n" in status
    assert "Seccomp:\t2" in status, "the init is sealed as well"
    assert "CapEff:\t0000000000000000" in status


def test_the_jail_shows_the_library_and_nothing_else(rungs: dict[str, tuple[bool, str, str]]) -> None:
    needs(rungs, "S2j")
    code = (
        "import os, csv, decimal, ssl, zoneinfo\n"
        "print([os.path.exists(path) for path in ('/usr/lib', '/proc/self', '/etc/passwd', '/home', '/var')])\n"
        "os.listdir('/')"
    )
    (run,) = start(level="S2j").run(code, [b""])
    assert run["stdout"] == b"[True, False, False, False, False]\n", run
    assert (run["kind"], run["number"]) == ("PermissionError", 3)


def test_somebody_further_out_may_listen_already() -> None:
    code = f"""
import ctypes, struct, sys
sys.path[:] = {sys.path!r}
from opsd_rs import _core
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))  # BPF_RET, SECCOMP_RET_ALLOW
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(allow)))
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
listener = libc.syscall(317 if {platform.machine() == "x86_64"} else 277, 1, 8, program)  # SECCOMP_SET_MODE_FILTER
assert listener > 0, ctypes.get_errno()
sandbox = _core.Sandbox(sys.executable, _core.__file__)
(run,) = sandbox.run("print(input())", [b"5"])
print(sandbox.describe().count("no thread cap"), run["stdout"], sandbox.prove() > 30)
print(sandbox.run("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)", [b""])[0]["end"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "1 b'5\\n' True\nviolation\n", done.stderr


def test_root_builds_the_jail_by_its_own_right_where_user_namespaces_are_refused() -> None:
    code = f"""
import sys
sys.path[:] = {sys.path!r}
from opsd_rs import _core
open("/proc/sys/user/max_user_namespaces", "w").write("0")
sandbox = _core.Sandbox(sys.executable, _core.__file__, level="S2j")
code = "import os; print(input(), os.path.exists('/etc/passwd'))"
print(sandbox.run(code, [b"5"])[0]["stdout"], sandbox.prove() > 30)
try:
    _core.Sandbox(sys.executable, _core.__file__, level="S3")
except Exception as error:
    print("user namespace" in str(error))
"""
    # Root of a user namespace, in which no further one can be made.
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    assert done.stdout == "b'5 False\\n' True\nTrue\n", done.stderr


@pytest.mark.parametrize("level", ["S3", "S2", "S2j", "S1"])
def test_honest_programs_run_at_every_level(level: str, rungs: dict[str, tuple[bool, str, str]]) -> None:
    needs(rungs, level)
    code = (
        "import sys, math, collections, heapq, threading, asyncio, random\n"
        "seen = []\nt = threading.Thread(target=seen.append, args=(1,)); t.start(); t.join()\n"
        "print(sum(map(int, sys.stdin.read().split())) + len(seen))"
    )
    runs = start(level=level).run(code, [b"1 2\n", b"3 4\n"])
    assert [run["stdout"] for run in runs] == [b"4\n", b"8\n"], runs


@pytest.mark.parametrize("profile", ["strict", "lcb-2025-05"])
def test_s1_never_blames_a_program_for_an_import_it_cannot_make(profile: str) -> None:
    with Grader(workers=1, level="S1", profile=profile) as grader:
        blocked = one(grader, ADD, f"import turtledemo\n{RIGHT}")
        absent = one(grader, ADD, f"import no_such_module\n{RIGHT}")
        guarded = one(grader, ADD, f"try:\n    import turtledemo\nexcept ImportError: pass\n{RIGHT}")
        warm = one(grader, ADD, f"import heapq, asyncio, decimal\n{RIGHT}")
        numpy = one(grader, ADD, f"import numpy as np\n{RIGHT}")
    assert blocked.passed is None
    assert verdicts(blocked)[0] == "infra_error"
    assert blocked.metadata["message"].startswith("import blocked: turtledemo")
    assert absent.verdict == ("runtime_error" if profile == "strict" else "compile_error")
    assert guarded.passed and warm.passed and numpy.passed  # noqa: PT018
    assert warm.sandbox_level == "S1"


def test_a_program_cannot_claim_that_an_import_was_blocked() -> None:
    forged = 'import os\nos.write(4, b\'{"end": "blocked", "module": "csv"}\\n\'); os._exit(1)'
    (run,) = start(level="S2").run(forged, [b""])
    assert run["end"] == "exited"
    code = "class ImportBlocked(ImportError): pass\nraise ImportBlocked('x', name='csv')"
    (run,) = start(level="S1").run(code, [b""])
    assert (run["end"], run["kind"]) == ("raised", "ImportBlocked")


def test_s0_is_no_isolation_and_says_so(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("3")
    with pytest.raises(BadInput, match="allow_unsandboxed"):
        Grader(level="S0")
    problem = Problem("read", "Read.", (Case("", "3"),))
    code = f"print(open({str(secret)!r}).read())"
    with Grader(workers=1, level="S0", allow_unsandboxed=True) as grader:
        grade = one(grader, problem, code)
        assert (grade.passed, grade.sandbox_level) == (True, "S0")
    with Grader(workers=1) as grader:
        grade = one(grader, problem, code)
        assert grade.passed is False
        assert grade.sandbox_level in ("S2", "S3")


def test_exactly_the_level_asked_for(rungs: dict[str, tuple[bool, str, str]]) -> None:
    hashes = set()
    for level in ("S3", "S2"):
        needs(rungs, level)
        with Grader(workers=1, level=level) as grader:
            grade = one(grader, ADD, RIGHT)
        assert (grade.sandbox_level, grade.passed) == (level, True)
        hashes.add(grade.policy_hash)
    with Grader(workers=1, level="S2", memory_mib=512) as grader:
        hashes.add(one(grader, ADD, RIGHT).policy_hash)
    assert len(hashes) == 3, "another level or another limit is another policy"
    assert all(len(fingerprint) == 64 for fingerprint in hashes)


UNSHARE = ["unshare", "--user", "--map-current-user", "bash", "-c"]


def test_a_machine_that_gives_less_is_refused_with_the_reason() -> None:
    """No user namespaces can be made inside this one: S3 is out of reach, S2 is not."""
    script = (
        "from opsd_rs import Grader\n"
        "with Grader(workers=1) as g: print(g._backend.sandbox_level)\n"
        "Grader(workers=1, require='S3').__enter__()\n"
    )
    command = 'echo 0 > /proc/sys/user/max_user_namespaces || exit 77; exec "$0" -c "$1"'
    done = subprocess.run(
        [*UNSHARE, command, sys.executable, script], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no user namespace to take rights away in: {done.stderr.strip()}")
    assert done.stdout == "S2\n", done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "level S3 does not hold on this machine (S3: user namespace: " in last
    assert "doctor" in last


# --- names of calls, numpy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("import os; os.chroot('/')", "chroot"),
        ("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)", "ptrace"),
        ("import ctypes; ctypes.CDLL(None).unshare(0x10000000)", "unshare"),
        (
            "import threading, os; t = threading.Thread(target=os.chroot, args=('/',)); t.start(); t.join()",
            "chroot",
        ),
    ],
)
def test_a_violation_names_its_call(code: str, call: str) -> None:
    (run,) = start().run(code, [b""])
    assert (run["end"], run["kind"]) == ("violation", call)
    (run,) = start(without=["thread_cap"]).run(code, [b""])
    assert (run["end"], run["kind"]) == ("violation", None), "the kernel kills where it cannot ask"


def test_numpy_comes_alone() -> None:
    folders = [path for path in (NUMPY, NUMPY.with_name("numpy.libs")) if path.is_dir()]
    sandbox = start(packages=folders, numpy=True)
    code = "import numpy as np, numpy.linalg\nprint(int(np.linalg.det(np.eye(3)) + np.arange(4).sum()))"
    (run,) = sandbox.run(code, [b""])
    assert run["stdout"] == b"7\n", run
    assert run["cpu_seconds"] < 0.05, "numpy was not there beforehand"
    for neighbour in ("polars", "pytest", "opsd_rs"):
        (run,) = sandbox.run(f"import {neighbour}", [b""])
        assert run["kind"] == "ModuleNotFoundError", (neighbour, run)
    (run,) = sandbox.run(f"print(open({str(NUMPY.parent / 'pytest' / '__init__.py')!r}).read(9))", [b""])
    assert run["kind"] == "PermissionError"
    (run,) = start(packages=folders).run(code, [b""])  # the common zygote's children can import it, slowly
    assert run["stdout"] == b"7\n"
    (run,) = start().run(code, [b""])
    assert run["kind"] == "ModuleNotFoundError"


def test_programs_with_numpy_are_graded_by_default() -> None:
    code = "import numpy as np\nprint(np.array(input().split(), dtype=int).sum())"
    with Grader(workers=1) as grader:
        assert one(grader, ADD, code).passed
        assert one(grader, ADD, RIGHT).passed


# --- memory for all programs together --------------------------------------------------------------------------

GROW = (
    "import time\nx = bytearray(120 << 20)\nx[::4096] = b'1' * len(x[::4096])\n"
    f"end = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n{RIGHT}"
)


def test_programs_that_need_too_much_together_run_one_by_one() -> None:
    single = Problem("add", "", ADD.tests[:1])
    items = [(single, Solution("add", sample, code=GROW)) for sample in range(4)]
    with Grader(workers=4, memory_budget_mib=200, isolation="test") as grader:
        grades = grader.grade(items)
    assert all(grade.passed for grade in grades), grades
    assert any(grade.flags for grade in grades), "nobody was killed: the test tests nothing"
    with Grader(workers=4, isolation="test") as grader:
        assert not any(grade.flags for grade in grader.grade(items))


# --- doctor ---------------------------------------------------------------------------------------------------


def test_the_fix_depends_on_who_refuses(tmp_path: Path) -> None:
    refused = "user namespace: Operation not permitted (os error 1)"
    assert "--security-opt" in fix_for(refused, {"place": "docker"})
    assert "securityContext.seccompProfile" in fix_for(refused, {"place": "kubernetes"})
    assert "apparmor_restrict_unprivileged_userns" in fix_for(refused, {"apparmor": "1", "place": ""})
    assert "max_user_namespaces" in fix_for(refused, {"most": "0"})
    lacking = "this kernel has no Landlock (5.13 or later, and `landlock` in lsm=)"
    assert "gVisor" in fix_for(lacking, {"place": "gvisor", "release": "4.4.0"})
    assert "4.18.0" in fix_for(lacking, {"release": "4.18.0"})
    assert "lsm=" in fix_for(lacking, {"release": "6.1.0", "lsm": "lockdown,yama"})
    # What holds here decides what is advised.
    assert fix_for(refused, {"held": "S2 S2j S1"}).endswith("; S2 does not need it")
    assert fix_for(refused, {"held": "S1", "most": "0"}).endswith("; S1 does not need it")
    assert fix_for(lacking, {"held": "S1"}).endswith("--require S1")
    assert "require" not in fix_for(lacking, {"held": ""})
    rungs = [("S3", False, refused, ""), ("S2", False, lacking, ""), ("S2j", False, refused, "")]
    details = [detail for _, _, detail in levels([*rungs, ("S1", True, "x", "")], {"place": ""})]
    assert [("S1" in detail, "S2j" in detail) for detail in details] == [(True, False)] * 3 + [(False, False)]
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/version").write_text("Linux version 4.4.0 gVisor\n")
    assert read_machine({}, tmp_path)["place"] == "gvisor"
    (tmp_path / "proc/version").write_text("Linux version 6.1\n")
    assert read_machine({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)["place"] == "kubernetes"
    (tmp_path / ".dockerenv").touch()
    assert read_machine({}, tmp_path)["place"] == "docker"


def test_a_missing_level_is_a_fault_only_where_the_default_needs_it() -> None:
    rows = [("S3", False, "user namespace: no", ""), ("S2", False, "this kernel has no Landlock", "")]
    assert [state for _, state, _ in levels(rows, {})] == ["absent", "fault"]
    rows = [("S3", True, "all", ""), ("S2", False, "x", "")]
    assert [state for _, state, _ in levels(rows, {})] == ["ok", "absent"]
