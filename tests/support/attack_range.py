"""Hostile programs as the corpus in ``attacks/`` has them, the surroundings they must not reach, and one assault.

Around each program stand probes: a canary file, listening sockets, a sleeping victim, a secret in the environment,
the list of processes, the descriptors that the driver and the sealed processes hold. The canary's folder, the port and
the name of the abstract socket belong to one test: the programs hold ``@CANARY@``, ``@PORT@`` and ``@NAME@`` in their
places, so that two checkouts that test at the same time do not meet.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opsd_rs import _core
from opsd_rs.errors import OpsdError
from processes import holdings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

ATTACKS = Path(__file__).parents[1] / "attacks"
NAMES = sorted(path.stem for path in ATTACKS.glob("*.py"))
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
    def read(cls, name: str, around: Range) -> Attack:
        """The program against these surroundings."""
        code = around.fill((ATTACKS / f"{name}.py").read_text())
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
        # In the system's folder, which everybody may enter: only the sandbox keeps a program out.
        self.folder = Path(tempfile.mkdtemp(prefix="opsd-canary-"))
        self.folder.chmod(0o755)
        self.canary = self.folder / "canary.txt"
        self.canary.write_text(self.secret)
        self.canary.chmod(0o644)
        self.stat = self.canary.stat()
        self.name = f"opsd-attack-{secrets.token_hex(8)}"
        self.victim = subprocess.Popen(["sleep", "600"])
        stream, datagram = bind_pair()
        self.port = stream.getsockname()[1]
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        local.bind(f"\0{self.name}")
        self.listeners = [stream, datagram, local]
        for listener in self.listeners:
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
            listener.setblocking(False)

    def fill(self, code: str) -> str:
        """A program with the places of these surroundings."""
        for word, place in {"@CANARY@": self.canary, "@PORT@": self.port, "@NAME@": self.name}.items():
            code = code.replace(word, str(place))
        return code

    def breaches(self, outputs: bytes, nonces: list[str]) -> list[str]:
        """Everything that a sealed program could not have done."""
        found = []
        if b"PWNED" in outputs:
            found.append(outputs[outputs.index(b"PWNED") :][:80].decode(errors="replace"))
        found += ["nonce in the output" for nonce in nonces if nonce.encode() in outputs]
        if self.secret.encode() in outputs:
            found.append("secret in the output")
        now = self.canary.stat() if self.canary.exists() else None
        if now is None or (now.st_mode, now.st_mtime_ns, now.st_ino) != (
            self.stat.st_mode, self.stat.st_mtime_ns, self.stat.st_ino,
        ) or self.canary.read_text() != self.secret:  # fmt: skip
            found.append("canary changed")
        if {path.name for path in self.folder.iterdir()} - {self.canary.name}:
            found.append("new files beside the canary")
        state = Path(f"/proc/{self.victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if self.victim.poll() is not None or state in "TtZX":  # stopped, traced or dead, proc(5)
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
        shutil.rmtree(self.folder)


def bind_pair() -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same port of this machine, which the system chooses."""
    for _ in range(100):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        stream.bind(("127.0.0.1", 0))
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagram.bind(stream.getsockname())
        except OSError as error:
            stream.close()
            datagram.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return stream, datagram
    raise AssertionError("no port is free for both TCP and UDP")


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
