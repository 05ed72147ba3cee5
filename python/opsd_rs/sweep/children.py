"""A run as a process: started on its slot, stopped in order, and never left behind.

The kernel kills a child when the sweep's own process ends, however that ends (``PR_SET_PDEATHSIG``, prctl(2)); what a
run has started itself (grader, vLLM) ends with the run by the same means. Each child has a session of its own, so that
a terminal's Ctrl-C reaches the sweep alone, which then asks its runs to stop.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from opsd_rs.sweep.slots import Slot

COMMAND = (sys.executable, "-m", "opsd_rs.cli")
PR_SET_PDEATHSIG = 1
TAIL_BYTES = 20_000


class Child:
    """A started command; its output is appended to ``log``."""

    def __init__(
        self, words: Sequence[str], slot: Slot, log: Path, *, command: Sequence[str] | None = None
    ) -> None:
        command = COMMAND if command is None else command
        self.slot = slot
        self.started = time.time()
        self._clock = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        environment = {**os.environ, **slot.variables()}
        with log.open("ab") as file:
            when = datetime.now(UTC).isoformat(timespec="seconds")
            file.write(f"== {when}: {shlex.join([*command[1:], *words])}\n".encode())
            file.flush()
            self._from = file.tell()
            self._process = subprocess.Popen(
                [*command, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,
                preexec_fn=_tied_to(os.getpid(), slot.cores),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def minutes(self) -> float:
        """Since the start."""
        return (time.monotonic() - self._clock) / 60

    def ended(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to stop with a checkpoint; asked again, it ends where it stands."""
        if self.ended() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it."""
        if self.ended() is None:
            self._process.kill()
        self._process.wait()

    def reason(self) -> str:
        """How it ended: its exit code or signal, and the last line that it printed."""
        code = self._process.returncode
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        said = last_line(self._log, self._from)
        return f"{how}: {said}" if said else f"{how}, without a word"


def last_line(log: Path, start: int = 0) -> str:
    """The last line with a word in it that a log holds after the byte ``start``; empty without one."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - TAIL_BYTES))
        text = file.read().decode(errors="replace").replace("\r", "\n")
    lines = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    return lines[-1][:500] if lines else ""


def _tied_to(parent: int, cores: Sequence[int]) -> Callable[[], None]:
    """What a child does before its program starts; the library is loaded here, in the parent."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before this process could be tied to it
            os._exit(1)
        if cores:
            os.sched_setaffinity(0, cores)

    return tie
