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
import secrets
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from attack_range import (
    LIMITS,
    NAMES,
    NUM_TESTS,
    PATIENT,
    Attack,
    Range,
    assault,
    group,
    held,
    start,
    start_some,
)
from opsd_rs import Case, Grader, Problem, Solution
from processes import alive, family

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


@pytest.fixture
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Range]:
    place = Range(monkeypatch)
    yield place
    place.close()


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
    attack = Attack.read(name, surroundings)
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
    """The whole corpus through the users' interface, where the supervisor knows the answers and does the judging."""
    attacks = [Attack.read(name, surroundings) for name in NAMES]
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
    """The supervisor's messages fill the socket; it must not wait for space."""
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
        ("direct_read", ("seccomp",)),
        ("clocks_of_others", ("seccomp",)),
        ("descriptors_in_flight", ("seccomp",)),
        ("forged_credentials", ("seccomp",)),
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
    verdicts, outputs, nonces = assault(sandbox, Attack.read(name, surroundings))
    leader = sandbox.pid
    found = surroundings.breaches(outputs, nonces)
    del sandbox
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)  # what got away because we let it
    assert found, (verdicts, outputs[-500:])
