"""Time and progress: named spans of wall time, how often to do something, and lines on stderr while work lasts.

In: counts of done and total. Out: on a terminal one line that is rewritten, elsewhere a line now and then.
"""

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
    """True at ``interval``, ``2 * interval``...; an interval of 0 means never."""
    return interval > 0 and step > 0 and step % interval == 0


QUIET_SECONDS = 15.0
"""Seconds between lines where stderr is not a terminal."""


class Ticker:
    """Counts one long task on stderr, with the time left: one moving line on a terminal, else a line now and then.

    >>> Ticker.line("graded", 30, 100, 20, 10.0)
    'graded 30/100, about 35 s left'
    """

    def __init__(self, label: str) -> None:
        self._label = label
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
        if done == total or now - self._shown >= (0.2 if self._terminal else QUIET_SECONDS):
            self._write(done, total, now)

    def _write(self, done: int, total: int, now: float) -> None:
        self._shown = now
        text = self.line(self._label, done, total, done - self._before, now - self._start)
        clear, end = ("\x1b[2K\r", "\n" if done == total else "") if self._terminal else ("", "\n")
        print(f"{clear}{text}", end=end, file=sys.stderr, flush=True)

    @staticmethod
    def line(label: str, done: int, total: int, num_timed: int, seconds: float) -> str:
        """``num_timed`` of those done took ``seconds``."""
        left = seconds / num_timed * (total - done) if num_timed and done < total else None
        return f"{label} {done}/{total}" + ("" if left is None else f", about {left:.0f} s left")


class Progress:
    """Times phases with ``clock`` and shows them on stderr. ``speak=False`` on all ranks but the first."""

    def __init__(self, folder: Path | None, clock: Clock, *, speak: bool = True) -> None:
        self._folder = folder if speak else None
        self._clock = clock
        self._speak = speak
        self._terminal = speak and sys.stderr.isatty()
        self._shown = 0.0

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[Callable[[int, int], None]]:
        """Time the block under ``name``; it may call the yielded function with (done, total)."""
        if self._folder is not None:
            record = {"step": step, "phase": name, "pid": os.getpid()}
            write_whole(self._folder / "progress.json", json.dumps(record).encode())
        start = self._shown = time.monotonic()

        def tick(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._shown < (0.2 if self._terminal else QUIET_SECONDS):
                return
            self._shown = now
            left = (now - start) / done * (total - done) if done else None
            eta = "" if left is None else f", about {left:.0f} s left"
            self._write(f"step {step}: {name} {done}/{total}{eta}", end="\r" if self._terminal else "\n")

        tick(0, 1)
        with self._clock(name):
            yield tick

    def say(self, text: str) -> None:
        """One line for people."""
        self._write(text, end="\n")

    def _write(self, text: str, end: str) -> None:
        if self._speak:
            clear = "\x1b[2K\r" if self._terminal else ""
            print(f"{clear}{text}", end=end, file=sys.stderr, flush=True)
