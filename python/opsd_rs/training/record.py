"""What a step and a run leave behind: numbers for the loggers, the rollouts, the row for the law, the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from opsd_rs.base import read_lines, write_table
from opsd_rs.law import append_run_row
from opsd_rs.policy import Student
from opsd_rs.records import Grade, Rollout, TeacherContext
from opsd_rs.training import lines, run_json, tables
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.identity import gap_identity
from opsd_rs.training.loggers.base import Logger
from opsd_rs.training.resume import num_recipes
from opsd_rs.training.session import Session
from opsd_rs.training.token_kl import TokenKl


def record_step(
    session: Session,
    loggers: Sequence[Logger],
    student: Student,
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    numbers: dict[str, float | int | None],
    token_kl: TokenKl | None = None,
) -> None:
    """The step's rollouts, and its numbers to every logger."""
    counted = [grade.passed for grade in grades if grade.passed is not None]
    line = {
        "step": step,
        "optimizer_steps": student.num_optimizer_steps,
        **numbers,
        "student_accuracy": sum(counted) / len(counted) if counted else None,
        "infra_errors": len(grades) - len(counted),
        "near_limit": sum("near_limit" in grade.flags for grade in grades) / len(grades),
        "coverage": sum(context.has_context for context in contexts) / len(contexts),
        "truncated": sum(rollout.truncated for rollout in rollouts) / len(rollouts),
        "completion_tokens": sum(len(rollout.completion_ids) for rollout in rollouts),
        "seconds": session.clock.take(),
    }
    if session.ranks.first:
        path = session.run_dir / "rollouts" / f"step-{step:06d}.parquet"
        rollout_table(path, step, rollouts, grades, contexts, token_kl)
        for logger in loggers:
            logger.log(line)
    session.progress.say(lines.step_line(line, session.config.train.num_steps))


def rollout_table(
    path: Path,
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    token_kl: TokenKl | None,
) -> None:
    """A step's rollouts as one parquet file."""
    kept = None if token_kl is None else token_kl.of_rollouts(contexts)
    write_table(path, tables.rollout_rows(step, rollouts, grades, contexts, kept), halves=["token_kl"])


def gpu_hours(run_dir: Path, last: Mapping[str, float], num_gpus: int) -> float | None:
    """Hours of GPU that the run's phases took; None without a GPU, or without ``metrics.jsonl``.

    A step that was done again after a crash counts once; time between the phases (loading a model) does not count.

    :param last: seconds by phase since the last step was recorded
    """
    steps = [line["seconds"] for line in read_lines(run_dir / "metrics.jsonl")]
    if not steps or not num_gpus:
        return None
    return sum(sum(seconds.values()) for seconds in [*steps, last]) * num_gpus / 3600


def finish(session: Session, student: Student, step: int) -> None:
    """The run's row for the law, and the trained weights as a Hugging Face folder.

    :param step: at which the run ended
    """
    if session.ranks.first:
        config, run_dir = session.config, session.run_dir
        row = tables.run_row(
            configuration_columns(session, config.context),
            run_dir,
            run_id=run_json.run_id(run_dir, config.seed),
            identity=gap_identity(session, config.context),
            segments=num_recipes(run_dir),
            opt_updates=student.num_optimizer_steps,
            gpu_hours=gpu_hours(
                run_dir,
                session.clock.take(),
                session.ranks.world_size if session.device.type == "cuda" else 0,
            ),
            last_step=step,
        )
        append_run_row(session.run_dir / "runs.parquet", row)
        session.progress.say(lines.improvement_line(row))
    with session.progress.phase("export", step):
        student.export(session.run_dir / "model", session.model_dir, write=session.ranks.first)
