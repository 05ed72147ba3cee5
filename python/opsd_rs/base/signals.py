"""SIGINT, SIGTERM and SIGHUP as requests to stop: answered at once, acted on where nothing is lost, or at the second.

Long phases ask ``check`` as they go and end within seconds; phases that must be whole (an update, a save) end first.
Whoever asks again is not kept waiting: the second signal ends the command where it stands.
"""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager

from opsd_rs.base import console
from opsd_rs.errors import Stopped

WHOLE = frozenset({"assemble", "export", "follow", "save", "sync", "update"})
"""Phases that a first signal lets end."""


class StopNow(BaseException):
    """A signal came before there was anything to save, or for the second time. Its text is the signal's name."""


class StopSignals:
    """Which signal asked for a stop, if any.

    >>> stop = StopSignals()
    >>> stop.asked is None
    True
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.deferred = False
        """Whether the first signal waits for ``check``; until a command sets it, it ends the command at once."""
        self.phase = "start"
        self._old: dict[signal.Signals, object] = {}

    def check(self) -> None:
        """Raise Stopped where a signal has come."""
        if self.asked is not None:
            raise Stopped(f"stopped by {self.asked}")

    def install(self) -> None:
        """Take the signals over, but for those that the process was told to ignore (``nohup``)."""
        if threading.current_thread() is not threading.main_thread():
            return  # signal(2) handlers belong to the main thread, and so does whatever it has set up
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            old = signal.getsignal(number)
            if old is not signal.SIG_IGN and old is not None:
                self._old[number] = old
                signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back."""
        for number, old in self._old.items():
            signal.signal(number, old)  # type: ignore[arg-type]
        self._old = {}

    def _note(self, number: int, frame: types.FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.asked is not None or not self.deferred:
            self.asked = self.asked or name
            self.restore()
            raise StopNow(name)
        self.asked = name
        when = f"after this {self.phase}" if self.phase in WHOLE else f"in the {self.phase} phase"
        console.write(f"\n{name}: stopping {when}; again to stop now\n")


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """The requests to stop that come while the block runs; one that ends it at once leaves it as Stopped."""
    signals = StopSignals()
    signals.install()
    try:
        yield signals
    except StopNow as now:
        raise Stopped(f"stopped at once by {now}") from None
    finally:
        signals.restore()
