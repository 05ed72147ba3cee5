"""Where the time goes: a clock of named spans, and lines on stderr about long tasks."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.base.files import write_whole


class Clock:
    """Named spans of wall time, summed until taken.

    >>> clock = Clock()
    >>> with clock("rollout"):
    ...     pass
    >>> list(clock.take())
    ['rollout']
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """The sums so far, rounded to milliseconds; they start again at zero."""
        seconds, self._seconds = self._seconds, {}
        return {name: round(value, 3) for name, value in seconds.items()}


def every(interval: int, step: int) -> bool:
    """Whether ``step`` is due: true at ``interval``, ``2 * interval``...; never for an interval of 0."""
    return interval > 0 and step > 0 and step % interval == 0


QUIET_SECONDS = 15.0
"""Off a terminal, a phase that lasts prints a line this often."""


class Ticker:
    """Counts one long task on stderr, with the time it may still take: in place on a terminal, else a line at times.

    >>> Ticker.line("graded", 30, 100, 20, 10.0)
    'graded 30/100, about 35 s left'
    """

    def __init__(self, label: str, *, last_line: bool = True) -> None:
        """``last_line``: print the end too; without it, what follows takes the line's place."""
        self._label = label
        self._last_line = last_line
        self._terminal = sys.stderr.isatty()
        self._start = self._shown = time.monotonic()
        self._before = 0

    def start(self, done: int, total: int) -> None:
        """Start the clock; what is ``done`` already does not count for the pace."""
        self._start, self._before = time.monotonic(), done
        if done:
            self._write(done, total, self._start)

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` now."""
        now = time.monotonic()
        ends = self._last_line and done == total
        if ends or now - self._shown >= (0.2 if self._terminal else QUIET_SECONDS):
            self._write(done, total, now)

    def _write(self, done: int, total: int, now: float) -> None:
        self._shown = now
        text = self.line(self._label, done, total, done - self._before, now - self._start)
        ends = self._last_line and done == total
        print_status(text, "\n" if ends or not self._terminal else "\r")

    @staticmethod
    def line(label: str, done: int, total: int, num_timed: int, seconds: float) -> str:
        """``num_timed`` of those done took ``seconds``."""
        left = seconds / num_timed * (total - done) if num_timed and done < total else None
        return f"{label} {done}/{total}" + ("" if left is None else f", about {left:.0f} s left")


def print_status(text: str, end: str = "\n") -> None:
    """A line on stderr; on a terminal it takes the place of what a ticker left there."""
    clear = "\x1b[2K\r" if sys.stderr.isatty() else ""
    print(f"{clear}{text}", end=end, file=sys.stderr, flush=True)


class Progress:
    """Times phases with ``clock`` and shows them on stderr. ``speak=False`` on all ranks but the first."""

    def __init__(self, folder: Path | None, clock: Clock, *, speak: bool = True) -> None:
        self._folder = folder if speak else None
        self._clock = clock
        self._speak = speak

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[Callable[[int, int], None]]:
        """Time the block under ``name``; it may call the yielded function with (done, total)."""
        if self._folder is not None:
            record = {"step": step, "phase": name, "pid": os.getpid()}
            write_whole(self._folder / "progress.json", json.dumps(record).encode())
        ticker = Ticker(f"step {step}: {name}", last_line=False)
        with self._clock(name):
            yield ticker if self._speak else lambda done, total: None

    def say(self, text: str) -> None:
        """One line for people."""
        if self._speak:
            print_status(text)
