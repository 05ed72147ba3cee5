"""The run folder: found or made, locked, claimed once everything is checked, saved to, restored from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from opsd_rs.base import StopNow, every, read_lines, read_table, write_table, write_whole
from opsd_rs.config import Config, resolved_json
from opsd_rs.errors import BadInput, DiskFull, Stopped
from opsd_rs.policy import Student, Teacher
from opsd_rs.training import checkpoint, run_json, tables
from opsd_rs.training.lock import locked
from opsd_rs.training.loggers.base import Logger
from opsd_rs.training.resume import changes
from opsd_rs.training.session import Session
from opsd_rs.training.state import LoopState


@contextmanager
def run_folder(config: Config, resume: Path | None) -> Iterator[Path]:
    """The folder of a new run, or of the one to resume, locked for the block.

    It becomes this run's in ``begin``; until then a start that fails leaves nothing that refuses the next one.

    :raises BadInput: it cannot be written, is in use, holds another run, or no run that can be resumed
    """
    run_dir = resume or Path(config.run.dir)
    if resume is not None and not is_run(resume):
        raise BadInput(f"{resume} is no run folder: it has no config.json of a run")
    if os.environ.get("RANK", "0") != "0":
        with _resume_hint_added(run_dir):
            yield run_dir  # the first rank makes, locks and checks it
        return
    with locked(run_dir), _resume_hint_added(run_dir):
        if resume is not None:
            check_resumable(config, run_dir)
        elif (run_dir / "config.json").exists():
            if not is_run(run_dir):
                raise BadInput(
                    f"run.dir = {run_dir} holds a config.json that is no run's: name another run.dir"
                )
            raise BadInput(
                f"run.dir = {run_dir} holds a run already: resume it with `opsd-rs train --resume {run_dir}`,"
                " or name another run.dir"
            )
        yield run_dir


def is_run(folder: Path) -> bool:
    """Whether a run has claimed ``folder``; a model's folder has a config.json, too."""
    try:
        return "rollout" in json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False


def check_resumable(config: Config, run_dir: Path) -> None:
    """Refuse what cannot be resumed before anything is loaded.

    :raises BadInput: a key was changed that may not be, every checkpoint is damaged or gone, or the run is past the
        steps asked for
    """
    changes(config, run_dir)
    there, whole = checkpoint.folders(run_dir), checkpoint.whole(run_dir)
    if there and not whole:
        faults = [f"checkpoint {f.name} is damaged ({checkpoint.damage(f)})" for f in reversed(there)]
        raise BadInput(f"{run_dir}: {checkpoint.no_whole_checkpoint(faults)}")
    num_steps, cadence = config.train.num_steps, config.train.checkpoint_every
    if whole and checkpoint.step_of(whole[-1]) > num_steps:
        raise BadInput(
            f"{run_dir}: train.num_steps = {num_steps} lies before the newest checkpoint ({whole[-1].name})"
        )
    done = len(read_lines(run_dir / "metrics.jsonl"))
    if not there and ((run_dir / "model").exists() or (cadence and done > cadence)):
        raise BadInput(
            f"{run_dir}: the run has done {done} steps and its folder checkpoints/ is gone: there is nothing to resume"
            " from; to start again, name another run.dir"
        )


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


def begin(session: Session, student: Student, teacher: Teacher, loggers: Sequence[Logger]) -> LoopState:
    """Start or resume: claim the folder, load the newest checkpoint, drop what was written after it to do it again."""
    run_dir, config = session.run_dir, session.config
    step = checkpoint.restore_newest(run_dir, student, teacher, session.ranks, session.progress.say)
    if step < config.train.num_steps:
        session.draw(step)  # too few problems for a step: say so before any work
    if session.ranks.first:
        path = run_dir / "config.json"
        changed = changes(config, run_dir) if path.exists() else {}
        if not path.exists():
            run_json.create(run_dir, config.seed)
        if changed or not path.exists():
            write_whole(path, resolved_json(config).encode())
        for logger in loggers:
            logger.rewind(step)
        evals = read_table(run_dir / "eval.parquet")
        if any(row["step"] > step for row in evals):
            write_table(run_dir / "eval.parquet", [row for row in evals if row["step"] <= step])
        if not (run_dir / "tokens.parquet").exists():
            write_table(run_dir / "tokens.parquet", tables.token_rows(session.assembler.token_bytes()))
        run_json.add_segment(session, step, changed)
        for key, (before, after) in changed.items():
            session.progress.say(f"{key} = {after} from step {step} on (before: {before})")
    session.ranks.barrier()
    return LoopState(step)


def resume_hint(run_dir: Path) -> str:
    """The newest checkpoint and the command that resumes from it."""
    if not (run_dir / "config.json").exists():
        return "before its first step: there is no checkpoint, the same command starts it again"
    kept = checkpoint.whole(run_dir)
    where = (
        f"checkpoint at step {checkpoint.step_of(kept[-1])}" if kept else "no checkpoint yet, it starts over"
    )
    return f"({where}): opsd-rs train --resume {run_dir}"


@contextmanager
def _resume_hint_added(run_dir: Path) -> Iterator[None]:
    """What ended the run at once leaves the last checkpoint good: say which one it is and how to resume."""
    try:
        yield
    except DiskFull as full:
        raise DiskFull(f"{full}, then resume {resume_hint(run_dir)}") from full
    except StopNow as now:
        raise Stopped(f"stopped at once by {now} {resume_hint(run_dir)}") from None
