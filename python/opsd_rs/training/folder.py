"""The run folder: made or found again, saved to, restored from, and named in what a stopped run says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.base import cut_lines, read_table, write_table, write_whole
from opsd_rs.config import Config
from opsd_rs.errors import BadInput, DiskFull
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint, run_json
from opsd_rs.training.checkpoint import State
from opsd_rs.training.session import Session


def save_checkpoint(session: Session, student: Student, teacher: Teacher, step: int) -> Path:
    """Write the checkpoint of the boundary before ``step``."""
    with session.progress.phase("save", step - 1):
        return checkpoint.save_state(
            session.run_dir, step, student, teacher, session.ranks, keep=session.config.train.keep_checkpoints
        )


def restore_newest(session: Session, student: Student, teacher: Teacher) -> State:
    """The newest checkpoint's state, or the start; what was written past it is cut, and will be done again."""
    found = checkpoint.folders(session.run_dir)
    state = checkpoint.restore_state(found[-1], student, teacher, session.ranks) if found else State()
    if session.ranks.first:
        cut_lines(session.run_dir / "metrics.jsonl", state.step)
        evals = read_table(session.run_dir / "eval.parquet")
        if any(row["step"] > state.step for row in evals):
            write_table(session.run_dir / "eval.parquet", [row for row in evals if row["step"] <= state.step])
    session.ranks.barrier()
    return state


def prepare_run_folder(config: Config, resume: Path | None) -> Path:
    """Make the run folder, or check that it is the one to go on in."""
    from opsd_rs.config import resolved_json

    run_dir = resume or Path(config.run.dir)
    path = run_dir / "config.json"
    if os.environ.get("RANK", "0") != "0":
        return run_dir  # the first rank's to make and to check
    if resume is None and path.exists():
        raise BadInput(
            f"run.dir = {run_dir} holds a run already: go on with `opsd-rs train --resume {run_dir}`,"
            " or name another run.dir"
        )
    if resume is not None and not path.exists():
        raise BadInput(f"{resume} is no run folder: it has no config.json")
    if resume is None:
        run_json.create(run_dir, config.seed)
        write_whole(path, resolved_json(config).encode())
    return run_dir


def way_on(run_dir: Path) -> str:
    kept = checkpoint.folders(run_dir)
    where = f"checkpoint at step {int(kept[-1].name[5:])}" if kept else "no checkpoint yet, it starts again"
    return f"({where}): opsd-rs train --resume {run_dir}"


@contextmanager
def with_resume_hint(run_dir: Path) -> Iterator[None]:
    """A full disk ends the run, but the last checkpoint stays good: say which one, and how to go on from it."""
    try:
        yield
    except DiskFull as full:
        raise DiskFull(f"{full}, then go on {way_on(run_dir)}") from full
