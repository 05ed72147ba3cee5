"""How a run is asked to stop, and what it does then: the next boundary, a checkpoint, one line."""

from __future__ import annotations

import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager

from opsd_rs.errors import Stopped
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint
from opsd_rs.training.folder import save_checkpoint, way_on
from opsd_rs.training.session import Session


@contextmanager
def deferred_signals() -> Iterator[list[str]]:
    """Collect SIGTERM and SIGINT instead of dying of them: the run stops at the next boundary, with a checkpoint.

    A second signal acts at once, as usual.
    """
    asked: list[str] = []

    def note(number: int, frame: types.FrameType | None) -> None:
        asked.append(signal.Signals(number).name)
        signal.signal(number, old[signal.Signals(number)])

    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in old:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def stop_if(asked: list[str], session: Session) -> None:
    if session.ranks.any(bool(asked)):
        raise Stopped(asked[0] if asked else "another rank was asked to stop")


def stopped(stop: Stopped, session: Session, student: Student, teacher: Teacher, step: int) -> Stopped:
    """Save the boundary the weights stand at, unless an update was under way; say how to go on."""
    saved = {folder.name for folder in checkpoint.folders(session.run_dir)}
    if not session.updating and f"step-{step:06d}" not in saved:
        save_checkpoint(session, student, teacher, step)
    return Stopped(f"step {step}: {stop} {way_on(session.run_dir)}")
