"""How a run is asked to stop, and what it does then: the next boundary, a checkpoint, one line."""

from __future__ import annotations

import signal
import types
from collections.abc import Iterator
from contextlib import contextmanager

from opsd_rs.errors import Stopped
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint
from opsd_rs.training.folder import resume_hint, save_checkpoint
from opsd_rs.training.session import Session
from opsd_rs.training.state import LoopState


@contextmanager
def deferred_signals() -> Iterator[list[str]]:
    """Collect SIGTERM and SIGINT instead of exiting at once: the run stops at the next boundary, with a checkpoint.

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
    """Raise ``Stopped`` on every rank where one of them was asked to stop."""
    if session.ranks.any(bool(asked)):
        raise Stopped(asked[0] if asked else "another rank was asked to stop")


def stopped(stop: Stopped, session: Session, student: Student, teacher: Teacher, state: LoopState) -> Stopped:
    """Save the boundary that the weights stand at, unless an update was under way; say how to resume."""
    saved = {folder.name for folder in checkpoint.folders(session.run_dir)}
    if state.at_boundary and f"step-{state.step:06d}" not in saved:
        save_checkpoint(session, student, teacher, state.step)
    return Stopped(f"step {state.step}: {stop} {resume_hint(session.run_dir)}")
