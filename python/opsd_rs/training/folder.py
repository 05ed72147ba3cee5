"""The run folder: made or found again, saved to, restored from, and named in what a stopped run says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.base import every, read_table, write_table, write_whole
from opsd_rs.config import Config, resolved_json
from opsd_rs.errors import BadInput, DiskFull
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint, run_json
from opsd_rs.training.loggers.base import Logger
from opsd_rs.training.session import Session
from opsd_rs.training.state import LoopState


def save_checkpoint(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    """Write the checkpoint of the boundary before ``step``."""
    with session.progress.phase("save", step - 1):
        checkpoint.save_state(
            session.run_dir, step, student, teacher, session.ranks, keep=session.config.train.keep_checkpoints
        )


def save_if_due(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    """A checkpoint every ``train.checkpoint_every`` steps, and at the end."""
    train = session.config.train
    if every(train.checkpoint_every, step) or step == train.num_steps:
        save_checkpoint(session, student, teacher, step)


def restore_newest(session: Session, student: Student, teacher: Teacher) -> int:
    """Load the newest checkpoint, if there is one; returns the step that comes next."""
    found = checkpoint.folders(session.run_dir)
    return checkpoint.restore_state(found[-1], student, teacher, session.ranks).step if found else 0


def begin(session: Session, student: Student, teacher: Teacher, loggers: Sequence[Logger]) -> LoopState:
    """Start or resume: load the newest checkpoint and drop what was written after it, which will be done again."""
    step = restore_newest(session, student, teacher)
    if step < session.config.train.num_steps:
        session.draw(step)  # too few problems for a step: say so before any work
    if session.ranks.first:
        for logger in loggers:
            logger.rewind(step)
        evals = read_table(session.run_dir / "eval.parquet")
        if any(row["step"] > step for row in evals):
            write_table(session.run_dir / "eval.parquet", [row for row in evals if row["step"] <= step])
    run_json.add_segment(session, step)
    session.ranks.barrier()
    return LoopState(step)


def prepare_run_folder(config: Config, resume: Path | None) -> Path:
    """Make the run folder, or check that it holds the run to resume."""
    run_dir = resume or Path(config.run.dir)
    path = run_dir / "config.json"
    if os.environ.get("RANK", "0") != "0":
        return run_dir  # the first rank makes and checks it
    if resume is None and path.exists():
        raise BadInput(
            f"run.dir = {run_dir} holds a run already: resume it with `opsd-rs train --resume {run_dir}`,"
            " or name another run.dir"
        )
    if resume is not None and not path.exists():
        raise BadInput(f"{resume} is no run folder: it has no config.json")
    if resume is None:
        run_json.create(run_dir, config.seed)
        write_whole(path, resolved_json(config).encode())
    return run_dir


def resume_hint(run_dir: Path) -> str:
    """The newest checkpoint and the command that resumes from it."""
    kept = checkpoint.folders(run_dir)
    where = f"checkpoint at step {int(kept[-1].name[5:])}" if kept else "no checkpoint yet, it starts over"
    return f"({where}): opsd-rs train --resume {run_dir}"


@contextmanager
def with_resume_hint(run_dir: Path) -> Iterator[None]:
    """A full disk ends the run, but the last checkpoint stays good: say which one it is and how to resume."""
    try:
        yield
    except DiskFull as full:
        raise DiskFull(f"{full}, then resume {resume_hint(run_dir)}") from full
