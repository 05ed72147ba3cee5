"""The supervisor process of a grader, seen from Python: start it, send jobs, receive replies, end it.

In: jobs with their problems. Out: replies as dictionaries, to whoever submitted the job. The protocol is described in
``rust/grade/src/serve/protocol.rs``. This process is never forked, and its environment is not inherited.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import queue
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from opsd_rs.base import MOST_TEST_CHARS, SizedLru
from opsd_rs.errors import OpsdError
from opsd_rs.grading.backend import Mailbox
from opsd_rs.grading.official import quirks
from opsd_rs.grading.settings import comparator
from opsd_rs.records import Problem, Solution

START_SECONDS = 120.0
"""Longest wait for the sandboxes to start; normally well under one second."""
_BOOT = """
import sys, posix
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import module_from_spec
loader = ExtensionFileLoader("_core", sys.argv[1])
core = module_from_spec(ModuleSpec("_core", loader, origin=sys.argv[1]))
loader.exec_module(core)
core.supervise()
posix._exit(0)
"""
"""Loads the extension by its path: ``-I -S`` hides site-packages, and nothing of them is needed."""


class _Sent(NamedTuple):
    """A problem that the supervisor holds. Keeping the object here keeps its ``id()`` from being reused."""

    problem: Problem
    key: int
    num_bytes: int


class Supervisor:
    """The process at the other end of the socket. One thread here reads all replies and distributes them; one writes,
    so that no caller waits until the other side has read a large problem."""

    def __init__(self, core: str, settings: Mapping[str, Any]) -> None:
        """Start it and wait for its sandboxes. ``core``: path of the extension module.

        :raises OpsdError: it cannot start; the message is its own
        """
        self._owner = os.getpid()
        self._official = {settings.get("profile"), settings.get("also")} - {"strict", None} != set()
        self._lock = threading.RLock()  # a stream may be dropped, and its jobs cancelled, during any call
        self._failure: str | None = None
        self._waiting: dict[int, Mailbox] = {}
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._jobs = itertools.count()
        self._keys = itertools.count()
        # What the supervisor keeps between calls, so that a problem is sent once for all its rollouts.
        self._sent = SizedLru[int, _Sent](MOST_TEST_CHARS, lambda sent: sent.num_bytes)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._socket, theirs = socket.socketpair()
        with theirs:
            # vfork and exec: this process is not copied at any time, however large it is. A new session: Ctrl-C
            # reaches this process first. None of our variables (LD_PRELOAD, OMP_*, tokens) is passed on.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _BOOT, core],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        self._replies = self._socket.makefile("rb")
        hello = {**settings, "parent": os.getpid(), "python": sys.executable, "core": core}
        self._socket.settimeout(START_SECONDS)
        try:
            self._socket.sendall(_frame(hello))
            reply = self._receive()
        except TimeoutError:
            reply = {"kind": "fault", "message": f"no sandbox started within {START_SECONDS:.0f} s"}
        except OSError:
            reply = None
        self._socket.settimeout(None)
        self._threads: list[threading.Thread] = []
        if reply is None or reply["kind"] != "ready":
            reason = self._death() if reply is None else reply["message"]
            self.close(reason)
            raise OpsdError(f"the grader cannot start: {reason}")
        self.sandbox_level: str = reply["sandbox_level"]
        self.sandbox: str = reply["sandbox"]
        self.policy_hash: str = hashlib.sha256(reply["policy"].encode()).hexdigest()
        for work, name in ((self._read, "opsd-grades"), (self._write, "opsd-jobs")):
            self._threads.append(threading.Thread(target=work, name=name, daemon=True))
            self._threads[-1].start()

    def check(self) -> None:
        """Raise if this supervisor can no longer grade."""
        if os.getpid() != self._owner:
            raise OpsdError("this Grader belongs to the process that forked this one; make a new one here")
        if self._failure is not None:
            raise OpsdError(self._failure)

    def submit(self, problem: Problem, solution: Solution, results: Mailbox) -> int:
        """Send a job, and first its problem if the supervisor does not hold it; the number of the job."""
        candidate = {
            "code": solution.code,
            "completion": solution.completion,
            "truncated": solution.truncated,
        }
        with self._lock:
            self.check()
            job = next(self._jobs)
            key = self._key_of(problem)
            self._send({"kind": "job", "job": job, "key": key, "solution": candidate})
            self._waiting[job] = results
            return job

    def forget(self, jobs: Iterable[int]) -> None:
        """Cancel jobs: those that wait never start, those that run end within a moment."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            left = [job for job in jobs if self._waiting.pop(job, None) is not None]
            if left and self._failure is None:
                self._send({"kind": "cancel", "jobs": left})

    def close(self, reason: str) -> None:
        """End the process. Callers that still wait get ``reason``."""
        if os.getpid() != self._owner:
            return  # a forked copy: the socket is its parent's
        with self._lock:
            self._failure = self._failure or reason
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._outbox.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():  # it may be the one that drops the grader
                thread.join()  # one saw the end of the stream, the other the None in its queue
        self._fail_all()
        self._sent.clear()
        self._replies.close()
        self._socket.close()
        self._stderr.close()

    def _key_of(self, problem: Problem) -> int:
        """Key of ``problem`` in the supervisor, which gets it now if it does not hold it."""
        if (known := self._sent.get(id(problem))) is not None:
            return known.key
        texts = [(_utf8(test.input), _utf8(test.output)) for test in problem.tests]
        sizes = [(len(given), len(wanted)) for given, wanted in texts]
        sent = _Sent(problem, next(self._keys), sum(map(sum, sizes)))
        own = problem.compare and comparator(problem.compare, f"problem {problem.problem_id}: compare")
        record = {
            "problem_id": problem.problem_id,
            "entry_point": problem.entry_point,
            "time_limit_seconds": problem.time_limit_seconds,
            "memory_limit_mib": problem.memory_limit_mib,
            "compare": own,
            "official": quirks(problem) if self._official else {},
        }
        self._send({"kind": "put_problem", "key": sent.key, "problem": record, "sizes": sizes})
        self._outbox.put(b"".join(itertools.chain(*texts)))
        for _, old in self._sent.put(id(problem), sent):
            self._send({"kind": "drop_problem", "key": old.key})
        return sent.key

    def _send(self, message: Mapping[str, Any]) -> None:
        self._outbox.put(_frame(message))

    def _write(self) -> None:
        """The writing thread. If the process ended, the reading thread notices and reports it."""
        with contextlib.suppress(OSError):
            while (frame := self._outbox.get()) is not None:
                self._socket.sendall(frame)

    def _receive(self) -> dict[str, Any] | None:
        head = self._replies.read(4)
        body = self._replies.read(struct.unpack(">I", head)[0]) if len(head) == 4 else b""
        return json.loads(body) if body.endswith(b"}") else None

    def _read(self) -> None:
        """The reading thread: puts each reply into the mailbox of its job, until the process ends."""
        while True:
            try:
                reply = self._receive()
            except (OSError, ValueError):  # closed by another thread, or cut off within a reply
                reply = None
            if reply is None or reply["kind"] == "fault":
                failure = (
                    f"the grader's supervisor died: {self._death()}" if reply is None else reply["message"]
                )
                with self._lock:
                    self._failure = self._failure or failure
                self._fail_all()
                return
            with self._lock:
                results = self._waiting.pop(reply["job"], None)
            if results is not None:
                results.put(reply)

    def _fail_all(self) -> None:
        """Tell every mailbox that waits that no reply will come."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            fault = {"kind": "fault", "message": self._failure}
        for results in {id(results): results for results in waiting.values()}.values():
            results.put(fault)

    def _death(self) -> str:
        """How the process ended, and the end of its standard error."""
        try:
            code = self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "it closed its socket but still runs"
        self._stderr.seek(0)
        said = self._stderr.read()[-2000:].decode("utf-8", "replace").strip()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{how}; it said: {said}" if said else how


def _utf8(text: str) -> bytes:
    """A lone surrogate has no UTF-8 form and becomes "?"."""
    return text.encode("utf-8", "replace")


def _frame(message: Mapping[str, Any]) -> bytes:
    body = _utf8(json.dumps(message, ensure_ascii=False))
    return struct.pack(">I", len(body)) + body
