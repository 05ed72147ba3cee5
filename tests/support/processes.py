"""Processes seen from outside, for tests that kill them (proc(5))."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self


def children(pid: int) -> list[int]:
    """Direct children of ``pid``, of all its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # the thread has just ended
            continue
    return found


def family(pid: int) -> list[int]:
    """``pid`` and all below it."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it became true in time; the default is for a busy machine."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def descriptors(pid: int) -> Counter[str]:
    """What the open descriptors of a process are, by kind: ``socket``, ``memfd:stdin``, ``/dev/null`` and so on."""
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile; the one that lists them, too
            kinds[str(link.readlink()).split(" ")[0].split(":[")[0].removeprefix("/")] += 1
    return kinds


def holdings(pid: int) -> Counter[str]:
    """As :func:`descriptors`. Of a sealed process an ordinary user may learn the number alone (proc(5), since 6.2)."""
    try:
        return descriptors(pid)
    except PermissionError:
        return Counter({"any": Path(f"/proc/{pid}/fd").stat().st_size})


def programs(supervisor: int) -> list[int]:
    """The programs a grader runs now: children of its sandboxes, or of the first process of a sandbox's namespace."""
    found: list[int] = []
    for sandbox in children(supervisor):
        for child in children(sandbox):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
                numbers = re.search(r"^NSpid:(.*)$", status, re.MULTILINE)
                first = numbers is not None and len(numbers[1].split()) > 1 and numbers[1].split()[-1] == "1"
                found += children(child) if first else [child]
    return found


class Watcher:
    """Counts the programs a grader starts, from outside.

    A context manager. Looks every few milliseconds, so that a program must live a little to be seen.
    """

    def __init__(self, supervisor: int) -> None:
        self.supervisor = supervisor
        self.seen: dict[tuple[int, str], float] = {}
        """Each program's pid with its start time (together never given twice), and when it was first seen."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def programs(self) -> list[int]:
        """Those alive now."""
        return programs(self.supervisor)

    def _watch(self) -> None:
        while not self._over.wait(0.004):
            for pid in self.programs():
                with contextlib.suppress(OSError):
                    start = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]
                    self.seen.setdefault((pid, start), time.monotonic())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
