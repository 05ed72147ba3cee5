"""What a run does when it is asked to stop: the boundary that the weights stand at is saved, one line says the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opsd_rs.errors import Stopped
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint
from opsd_rs.training.folder import resume_hint, save_checkpoint
from opsd_rs.training.session import Session
from opsd_rs.training.state import LoopState


def stop_if(session: Session) -> None:
    """Raise Stopped on every rank where one of them was asked to stop. All ranks call it."""
    with session.ranks.stop_together():
        session.stop.check()


def between_updates(
    session: Session, state: LoopState, tick: Callable[[int, int], None]
) -> Callable[[int, int], None]:
    """``tick`` for an update, which may end it between two mini-batches.

    The weights of a step that is cut short are lost, so it ends only where the boundary before it is on disk;
    otherwise the update comes to its end first.
    """
    saved = checkpoint.is_saved(session.run_dir, state.step)

    def ticked(done: int, total: int) -> None:
        if saved and done < total:
            stop_if(session)
        tick(done, total)

    return ticked


@contextmanager
def stops(session: Session, student: Student, teacher: Teacher, state: LoopState) -> Iterator[None]:
    """Where the block is stopped, save the boundary, unless an update was under way, and say how to resume."""
    session.stop.deferred = True
    try:
        yield
    except Stopped as stop:
        if state.at_boundary and not checkpoint.is_saved(session.run_dir, state.step):
            save_checkpoint(session, student, teacher, state.step)
        raise Stopped(f"step {state.step}: {stop} {resume_hint(session.run_dir)}") from stop
