"""Where the time goes: a clock of named spans, and lines on stderr about long tasks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.base import console
from opsd_rs.base.files import write_whole
from opsd_rs.base.signals import WHOLE, StopSignals


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


LINE_SECONDS, TENTH_SECONDS = 60.0, 10.0
"""Off a terminal a task prints a line a minute, and one for each tenth that it does, no two within ten seconds."""


class Ticker:
    """Counts one long task on stderr, with the time it may still take: in place on a terminal, else a line at times.

    >>> Ticker.line("graded", 30, 100, 20, 10.0)
    'graded 30/100, about 35 s left'
    """

    def __init__(self, label: str, *, last_line: bool = True) -> None:
        """``last_line``: print the end too; without it, what follows takes the line's place."""
        self._label = label
        self._last_line = last_line
        self._terminal = console.is_terminal()
        self._start = self._shown = time.monotonic()
        self._before = 0
        self._last: int | None = 0  # how many were done when a line was last printed

    def start(self, done: int, total: int) -> None:
        """Start the clock; what is ``done`` already does not count for the pace."""
        self._start, self._before = time.monotonic(), done
        if done:
            self._write(done, total, self._start)

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` now."""
        now = time.monotonic()
        ends = self._last_line and done == total
        if ends or self._is_due(done, total, now - self._shown):
            self._write(done, total, now)

    def _is_due(self, done: int, total: int, seconds: float) -> bool:
        if self._terminal:
            return seconds >= 0.2
        if done == self._last:
            return False
        tenths = 10 * done // max(total, 1) > 10 * (self._last or 0) // max(total, 1)
        return seconds >= (TENTH_SECONDS if tenths else LINE_SECONDS)

    def _write(self, done: int, total: int, now: float) -> None:
        self._shown, self._last = now, done
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
    clear = "\x1b[2K\r" if console.is_terminal() else ""
    console.write(f"{clear}{text}{end}")


class Progress:
    """Times phases with ``clock`` and shows them on stderr. ``speak=False`` on all ranks but the first.

    ``stop``: each tick of a phase asks it, and raises Stopped where a signal has come.
    """

    def __init__(
        self, folder: Path | None, clock: Clock, *, speak: bool = True, stop: StopSignals | None = None
    ) -> None:
        self._folder = folder if speak else None
        self._clock = clock
        self._speak = speak
        self._stop = stop or StopSignals()

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[Callable[[int, int], None]]:
        """Time the block under ``name``; it may call the yielded function with (done, total)."""
        self._stop.phase = name
        if self._folder is not None:
            record = {"step": step, "phase": name, "pid": os.getpid()}
            write_whole(self._folder / "progress.json", json.dumps(record).encode())
        show: Callable[[int, int], None] = Ticker(f"step {step}: {name}", last_line=False)
        if not self._speak:
            show = _nothing

        def tick(done: int, total: int) -> None:
            if name not in WHOLE:
                self._stop.check()
            show(done, total)

        with self._clock(name):
            yield tick

    def say(self, text: str) -> None:
        """One line for people."""
        if self._speak:
            print_status(text)


def _nothing(done: int, total: int) -> None:
    pass
