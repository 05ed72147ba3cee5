"""``OUT/events.jsonl``: what happened to each run and measurement, a line per event, so that a sweep can be killed.

    {"time": "2026-01-31T12:00:00+00:00", "task": "m.base.none.s0", "event": "failed", "attempt": 1, "minutes": 3.1,
     "exit": 1, "reason": "exit code 1: error: ..."}

A run whose row is in ``OUT/runs.parquet`` is done, whatever the events say; they may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from opsd_rs.base import append_line, read_lines

ATTEMPTS = 2
"""A run that fails is repeated once, with the same seed."""


@dataclass
class History:
    """What the events say about one task.

    >>> History(attempts=2, failures=2).given_up
    True
    """

    attempts: int = 0
    """How often it was started."""
    failures: int = 0
    """How often it failed since it was last given another chance; a start that was stopped or killed is no failure."""
    reason: str | None = None
    """Of the last failure."""
    minutes: float = 0.0
    """Of all starts together."""
    done: bool = False
    skipped: str | None = None
    """The forecast by which it is not run."""
    started: str | None = None
    last: Mapping[str, Any] = field(default_factory=dict)

    @property
    def given_up(self) -> bool:
        return self.failures >= ATTEMPTS


class Journal:
    """The events of a sweep, read once and added to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, History] = {}
        for line in read_lines(path):
            self._take(line)

    def of(self, task: str) -> History:
        """What is known of a task."""
        return self._found.setdefault(task, History())

    def add(self, task: str, event: str, **facts: Any) -> None:
        """Record an event, on disk when this returns."""
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": task,
            "event": event,
            **facts,
        }
        append_line(self.path, line)
        self._take(line)

    def retry(self, tasks: Iterable[str]) -> None:
        """Give tasks that have failed another two attempts."""
        for task in tasks:
            if self.of(task).failures:
                self.add(task, "retried")

    def _take(self, line: Mapping[str, Any]) -> None:
        found, event = self.of(line["task"]), line["event"]
        found.last = line
        if event == "started":
            found.attempts += 1
            found.started, found.skipped = line["time"], None
            return
        found.minutes += line.get("minutes", 0.0)
        if event == "failed":
            found.failures += 1
            found.reason = line["reason"]
        elif event == "retried":
            found.failures = 0
        elif event == "skipped":
            found.skipped = line["reason"]
        found.done = event == "done"


def longest(minutes: Iterable[float]) -> float | None:
    """The minutes that a run is expected to take at most: the longest so far; None before the first."""
    return max(minutes, default=None)


def usual(minutes: Iterable[float]) -> float | None:
    """The minutes that a run usually takes: the median so far; None before the first."""
    found = list(minutes)
    return median(found) if found else None
