"""Hostile programs against the real sandbox: each file in ``attacks/`` is one known way to cheat or to break out.

Its first line says which verdicts are safe. Expected outputs are random nonces that the program's process never
sees, so an accepted test of anything but a ``control_`` is a forgery. Around each program stand probes: a canary
file, listening sockets, a sleeping victim, a secret in the environment, the list of processes, the descriptors that
the driver and the sealed processes hold; beside it an honest program runs over and over in a sandbox of its own.

Every program runs at level S2; some of them at the other levels and with a process per test, all of them there with
OPSD_RS_LONG_TESTS=1.

The last tests take away the layer that stops an attack and require the attack to succeed: a probe that could not
notice a breach would prove nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opsd_rs import Case, Grader, Problem, Solution, _core
from opsd_rs.errors import OpsdError
from processes import alive, family, holdings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

ATTACKS = Path(__file__).parent / "attacks"
NAMES = sorted(path.stem for path in ATTACKS.glob("*.py"))
PORT = 47123  # the programs know it
CANARY = Path("/tmp/opsd_canary/canary.txt")  # and this path
NUM_TESTS = 3  # state that leaks from test to test shows from the second on
LIMITS: dict[str, Any] = {"cpu_seconds": 1.5, "idle_seconds": 1.0, "wall_seconds": 120.0}
PATIENT: dict[str, Any] = {"cpu_seconds": 60.0, "idle_seconds": 60.0, "wall_seconds": 600.0}
"""For honest programs: an emulated processor may be a hundred times slower."""
ENDS = {"cpu": "TLE", "idle": "ILE", "memory": "MLE", "output": "OLE", "wall": "IE"}


@dataclass(frozen=True)
class Attack:
    """One program and what it may do."""

    name: str
    code: str
    safe: frozenset[str]
    is_function: bool

    @classmethod
    def read(cls, name: str) -> Attack:
        code = (ATTACKS / f"{name}.py").read_text()
        header = re.match(r"# expect: \{([A-Z,]+)\} kind=(stdin|func) -- .", code)
        assert header, f"{name}.py lacks its `# expect:` line"
        return cls(name, code, frozenset(header[1].split(",")), header[2] == "func")

    @property
    def is_control(self) -> bool:
        return self.name.startswith("control_")

    @property
    def entry_point(self) -> str | None:
        return "Solution.solve" if self.is_function else None

    @property
    def inputs(self) -> list[bytes]:
        return [b"3\n[1, 2, 3]" if self.is_function else b"3\n1 2 3\n"] * NUM_TESTS


class Range:
    """The surroundings that a program must not reach, and what became of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.secret = f"SECRET-{secrets.token_hex(8)}"
        monkeypatch.setenv("HF_TOKEN", self.secret)
        monkeypatch.delenv("PYTHONPATH", raising=False)
        CANARY.parent.mkdir(exist_ok=True)
        CANARY.write_text(self.secret)
        CANARY.chmod(0o644)
        self.stat = CANARY.stat()
        self.victim = subprocess.Popen(["sleep", "600"])
        self.listeners = [
            socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM),
        ]
        for listener in self.listeners:
            if listener.family == socket.AF_INET:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", PORT))
            else:
                listener.bind("\0opsd-attack-listener")
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
            listener.setblocking(False)

    def breaches(self, outputs: bytes, nonces: list[str]) -> list[str]:
        """Everything that a sealed program could not have done."""
        found = []
        if b"PWNED" in outputs:
            found.append(outputs[outputs.index(b"PWNED") :][:80].decode(errors="replace"))
        found += ["nonce in the output" for nonce in nonces if nonce.encode() in outputs]
        if self.secret.encode() in outputs:
            found.append("secret in the output")
        now = CANARY.stat() if CANARY.exists() else None
        if now is None or (now.st_mode, now.st_mtime_ns, now.st_ino) != (
            self.stat.st_mode, self.stat.st_mtime_ns, self.stat.st_ino,
        ) or CANARY.read_text() != self.secret:  # fmt: skip
            found.append("canary changed")
        if {path.name for path in CANARY.parent.iterdir()} - {CANARY.name}:
            found.append("new files beside the canary")
        state = Path(f"/proc/{self.victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if self.victim.poll() is not None or state != "S":
            found.append(f"victim is {state}")
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()
                found.append(f"heard on {listener.family.name} {listener.type.name}")
        return found

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        for listener in self.listeners:
            listener.close()
        for path in CANARY.parent.iterdir():
            path.unlink()


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Range]:
    place = Range(monkeypatch)
    yield place
    place.close()


def group(leader: int) -> set[int]:
    """Live processes of a process group."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == leader and fields[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def held(pids: Iterable[int]) -> dict[int, Counter[str]]:
    """The descriptors of each process that is still there."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = holdings(pid)
    return found


def start(without: tuple[str, ...] = (), level: str = "S2") -> _core.Sandbox:
    return _core.Sandbox(sys.executable, _core.__file__, level=level, without=without)


def start_some() -> _core.Sandbox:
    """At S2, or where the kernel has no Landlock at the next best level."""
    for level in ("S2", "S2j"):
        with contextlib.suppress(OpsdError):
            return start(level=level)
    return start(level="S1")


HONEST = "n = int(input())\nprint(sum(map(int, input().split())) + sum(i * i for i in range(20_000)))"
HONEST_ANSWER = str(6 + sum(i * i for i in range(20_000)))


class Neighbour(threading.Thread):
    """An honest program in a sandbox of its own, as long as the attacks last."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.num_runs = 0
        self.bad: list[dict[str, Any]] = []
        self.over = threading.Event()
        self.up = threading.Event()
        self.running = threading.Lock()

    def run(self) -> None:
        sandbox = start_some()
        self.up.set()
        pause = 0.05
        while not self.over.wait(pause):
            started = time.monotonic()
            with self.running:
                (run,) = sandbox.run(HONEST, [b"3\n1 2 3\n"], **PATIENT)
            pause = max(0.05, 3 * (time.monotonic() - started))  # a slow machine has other things to do, too
            self.num_runs += 1
            if (run["end"], run["stdout"].decode().strip()) != ("finished", HONEST_ANSWER):
                self.bad.append(run)


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    thread = Neighbour()
    thread.start()
    assert thread.up.wait(120.0)
    yield thread
    thread.over.set()
    thread.join()
    assert thread.num_runs > 0


def letters(run: dict[str, Any], answer: str) -> str:
    """The verdict of one test as the corpus spells it."""
    if run["end"] == "stopped":
        return ENDS[run["kind"]]
    if run["end"] == "violation":
        return "SV"
    if run["end"] == "blocked" or (run["end"] == "signaled" and run["number"] == signal.SIGKILL):
        return "IE"  # not judged at all, which is a way out for a program that has no answer
    if run["end"] != "finished":
        return "RE"
    given = run["stdout"] if run["value"] is None else run["value"]
    return "AC" if given.decode(errors="replace").strip() == answer else "WA"


def assault(
    sandbox: _core.Sandbox, attack: Attack, mode: str = "solution"
) -> tuple[list[str], bytes, list[str]]:
    """Runs all tests; returns (verdict per test, all output, the expected answers)."""
    on = "next" if mode == "solution" else "next_fresh"
    quote = '"{}"' if attack.is_function else "{}"
    answers = ["6" if attack.is_control else quote.format(secrets.token_hex(12)) for _ in range(NUM_TESTS)]
    verdicts: dict[int, str] = {}
    outputs = bytearray()  # without standard error: its tracebacks quote the program's source

    def judge(index: int, run: dict[str, Any]) -> str:
        outputs.extend(run["stdout"] + (run["value"] or b""))
        verdicts[index] = letters(run, answers[index])
        if verdicts[index] not in ("AC", "WA") and not run["fresh"]:
            return "again"  # state left behind by an earlier test is no verdict
        return "stop" if verdicts[index] in ("TLE", "ILE", "IE") else on

    # A gibibyte takes longer to fill than some of these have CPU time.
    limits = dict(LIMITS, memory_mib=320) if attack.name.startswith("mem_") else LIMITS
    limits = PATIENT if attack.is_control else limits
    sandbox.run(attack.code, attack.inputs, entry_point=attack.entry_point, judge=judge, **limits)
    nonces = [] if attack.is_control else [answer.strip('"') for answer in answers]
    return [verdicts[index] for index in sorted(verdicts)], bytes(outputs), nonces


LONG = os.environ.get("OPSD_RS_LONG_TESTS") == "1"
SOME = [
    "control_lazy_imports", "control_threads_recursion", "canary_read", "frame_steal", "fork_raw_syscalls", "k_setns",
    "kill_parent", "leader_exit", "memory_of_others", "net_loopback", "own_cpu_limit", "proc_fd_theft",
    "state_leak_marker", "thread_bomb",
]  # fmt: skip
LEVELS = ("S3", "S2", "S2j", "S1")
CASES = [
    (level, mode, name)
    for level in LEVELS
    for mode in ("solution", "test")
    for name in (NAMES if LONG or (level, mode) == ("S2", "solution") else SOME)
    if LONG or mode == "solution" or level == "S3"
]
UNUSABLE = {"S1": {"IE", "RE"}, "S2j": set(), "S2": set(), "S3": set()}
"""What honest programs may meet besides: at S1 modules that cannot be loaded, and nothing that can be opened."""
WITHOUT_PROC = {"S2j": {"control_dev_stdin"}}
"""/dev/stdin leads through /proc, which the jail has not."""


@pytest.mark.parametrize(("level", "mode", "name"), CASES)
def test_attack_is_stopped(
    level: str, mode: str, name: str, surroundings: Range, neighbour: Neighbour
) -> None:
    attack = Attack.read(name)
    sandbox = start(level=level)
    before = group(sandbox.pid)
    with neighbour.running:  # it lives in this process and opens files, too
        descriptors = held([os.getpid(), *before])
    verdicts, outputs, nonces = assault(sandbox, attack, mode)
    deadline = time.monotonic() + 5
    while (left := group(sandbox.pid)) != before and time.monotonic() < deadline:
        time.sleep(0.005)  # a killed process takes a moment to end
    with neighbour.running:
        assert held([os.getpid(), *left]) == descriptors, "descriptors left open"
    assert surroundings.breaches(outputs, nonces) == []
    safe = attack.safe | UNUSABLE[level] | ({"RE"} if name in WITHOUT_PROC.get(level, ()) else set())
    assert set(verdicts) <= safe, (verdicts, outputs[-500:])
    assert attack.is_control or "AC" not in verdicts
    assert left == before, "the program left processes behind"
    assert neighbour.bad == []
    # The zygote still serves, and what it serves next is untouched.
    (after,) = sandbox.run("print(sum(map(int, open(0).read().split()[1:])))", [b"3\n1 2 3\n"], **PATIENT)
    assert (after["end"], after["stdout"]) == ("finished", b"6\n")


WORDS = {
    "accepted": "AC", "wrong_answer": "WA", "runtime_error": "RE", "compile_error": "RE", "time_limit": "TLE",
    "idle_limit": "ILE", "memory_limit": "MLE", "output_limit": "OLE", "security_violation": "SV",
    "infra_error": "IE",
}  # fmt: skip


@pytest.mark.slow
def test_the_grader_gives_no_attack_a_point(surroundings: Range) -> None:
    """The whole corpus through the users' door, where the supervisor knows the answers and does the judging."""
    attacks = [Attack.read(name) for name in NAMES]
    quote = {attack.name: '"{}"' if attack.is_function else "{}" for attack in attacks}
    nonces = [secrets.token_hex(12) for _ in range(NUM_TESTS)]
    items = [
        (
            Problem(
                problem_id=attack.name,
                prompt="Add the numbers.",
                tests=tuple(
                    Case(stdin.decode(), "6" if attack.is_control else quote[attack.name].format(nonce))
                    for stdin, nonce in zip(attack.inputs, nonces, strict=True)
                ),
                entry_point=attack.entry_point,
                time_limit_seconds=LIMITS["cpu_seconds"],
                memory_limit_mib=320 if attack.name.startswith("mem_") else 1024,
            ),
            Solution(attack.name, 0, code=attack.code),
        )
        for attack in attacks
    ]
    with Grader(workers=2) as grader:
        grader.grade([item for item in items if item[0].problem_id.startswith("control_")])
        assert grader.pid is not None
        whole = {pid: files for pid, files in held(family(grader.pid)).items() if alive(pid)}
        grades = []
        for batch in [[item] for item in items] if LONG else [items]:
            grades += grader.grade(batch)
            now = {pid: files for pid, files in held(family(grader.pid)).items() if alive(pid)}
            assert now == whole, (batch[0][0].problem_id, "processes or descriptors left")
    for attack, grade in zip(attacks, grades, strict=True):
        verdicts = {WORDS[test.verdict] for test in grade.tests if test.verdict != "not_run"}
        assert verdicts, attack.name
        assert verdicts <= attack.safe, (attack.name, grade)
        assert grade.passed is attack.is_control, (attack.name, grade)
    assert not any(surroundings.secret in grade.feedback for grade in grades)
    assert surroundings.breaches(b"", []) == []


FORGED_DONE = """
import os, struct
def done(text, tests):
    for index in tests:
        os.write(3, struct.pack("<8Q", 6, index, 1, len(text), 0, 0, 0, 0) + text)
"""


def test_a_program_that_never_reads_what_comes_next_blocks_nobody() -> None:
    """The supervisor's messages fill the socket; it must not wait for room."""
    sandbox, verdicts = start(), []

    def judge(index: int, run: dict[str, Any]) -> str:
        verdicts.append(run["end"])
        return "next"

    code = FORGED_DONE + 'os.set_blocking(3, True)\ndone(b\'{"end":"finished"}\\n\', range(700))'
    sandbox.run(code, [b""] * 700, judge=judge, **LIMITS)
    assert len(verdicts) == 700


SHAPES = [
    "a w 1099511627776 0",
    "a w 4294967296 4294967296 0",
    "l 16000000",
    "a w " + "1 " * 4000 + "1\nj 1\n1",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_result_that_announces_too_much_does_not_end_the_grader(shape: str) -> None:
    report = b'{"step":"value"}\n' + shape.encode() + b"\n"
    forger = f"def solve(*_):\n    done({report!r}, range(1, 4))\n    return 1"
    problem = Problem(
        problem_id="p",
        prompt="Add.",
        tests=(Case("1", "[1, 2]"),) * 3,
        entry_point="solve",
        time_limit_seconds=2.0,
    )
    honest = Solution("p", 1, code="def solve(x):\n    return [x, 2]")
    with Grader(workers=1, profile="lcb-2025-05") as grader:
        forged, right = grader.grade(
            [(problem, Solution("p", 0, code=FORGED_DONE + forger)), (problem, honest)]
        )
    assert (forged.passed, right.passed) == (False, True)


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("k_rwx_shellcode", ("seccomp",)),
        ("k_personality", ("seccomp",)),
        ("fork_raw_syscalls", ("seccomp",)),
        ("net_loopback", ("seccomp", "landlock")),
        ("kill_scan", ("seccomp", "landlock")),
        ("canary_write", ("seccomp", "landlock")),
        ("canary_read", ("landlock",)),
        ("device_read", ("landlock",)),
        ("env_secret", ("clean_env",)),
        ("thread_bomb", ("thread_cap",)),
        ("thread_fan", ("thread_cap",)),
        ("fd_exhaust", ("rlimits",)),
        ("rlimit_raise", ("rlimits",)),
    ],
)
def test_attack_succeeds_without_the_layer_that_stops_it(
    name: str, without: tuple[str, ...], surroundings: Range
) -> None:
    sandbox = start(without)
    verdicts, outputs, nonces = assault(sandbox, Attack.read(name))
    leader = sandbox.pid
    found = surroundings.breaches(outputs, nonces)
    del sandbox
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)  # what got away because we let it
    assert found, (verdicts, outputs[-500:])
