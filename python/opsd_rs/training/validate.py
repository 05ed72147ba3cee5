"""Validation: mean@k of the student, and of the self-teacher under fresh contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opsd_rs.base import add_rows, every, read_table
from opsd_rs.config import Config
from opsd_rs.measure import EvalRow, eval_rows, eval_table
from opsd_rs.policy import Student, Teacher, make_teacher
from opsd_rs.records import SampleRequest
from opsd_rs.training import lines, tables
from opsd_rs.training.folder import restore_newest
from opsd_rs.training.session import Session, open_session
from opsd_rs.training.sync import sync


def evaluate_from_config(config: Config, *, run_dir: Path | None = None) -> list[dict[str, Any]]:
    """``opsd-rs eval``: mean@k of a model, or of a run's last checkpoint, with the validation decoding."""
    folder = run_dir or Path(config.run.dir)
    folder.mkdir(parents=True, exist_ok=True)
    with open_session(config, folder) as session:
        step = 0
        if run_dir is not None:
            student = Student(config, session.model_dir, session.device)
            step = restore_newest(session, student, make_teacher(config, session.model_dir, student))
            sync(session, student, step)
        problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
        requests = session.sample_requests(problems, config.eval.n)
        rollouts = session.sample(requests, session.eval_sampling(), purpose="eval", step=step)
        grades = session.grade(rollouts, session.full_problems, step=step)
        rows = eval_rows(step, "student", config.context.name, rollouts, grades)
        return lines.accuracy_table(rows, config.eval.n)


def validate(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    """mean@k of the student, and with ``eval.teacher`` of the self-teacher under fresh contexts."""
    config = session.config
    problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
    requests = session.sample_requests(problems, config.eval.n)
    rows = _answers(session, requests, "student", step, "eval")
    if config.eval.teacher:
        # The teacher reads what it would read in training: contexts from training-decoding rollouts.
        train_problems = {problem.problem_id: problem for problem in session.train_problems}
        seen = {**session.full_problems, **train_problems}
        built_from = session.sample(
            requests, session.train_sampling(), purpose="eval-A", step=step, phase="eval rollout"
        )
        grades = session.grade(built_from, seen, step=step, phase="eval grade")
        contexts = session.contexts(session.assembler, built_from, grades, seen, step)
        sync(session, teacher, step)
        requests = [SampleRequest(c.problem_id, c.sample, c.prompt_ids) for c in contexts]
        rows += _answers(session, requests, "teacher", step, "eval-T")
        sync(session, student, step)
    if session.ranks.first:
        add_rows(session.run_dir / "eval.parquet", eval_table(rows))
    session.progress.say(lines.eval_line(rows, step, config.eval.n))


def _answers(
    session: Session, requests: list[SampleRequest], arm: str, step: int, purpose: str
) -> list[EvalRow]:
    rollouts = session.sample(
        requests, session.eval_sampling(), purpose=purpose, step=step, phase="eval rollout"
    )
    grades = session.grade(rollouts, session.full_problems, step=step, phase="eval grade")
    return eval_rows(step, arm, session.config.context.name, rollouts, grades)


def validate_if_due(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    config, path = session.config, session.run_dir / "eval.parquet"
    last = step == config.train.num_steps
    if not (step == 0 or last or every(config.eval.every, step)):
        return
    if any(row["step"] == step for row in read_table(path)):
        return  # measured before the run was stopped
    if step == 0 and config.eval.from_ is not None:
        if session.ranks.first:
            add_rows(path, tables.baseline_from(Path(config.eval.from_)))
    else:
        validate(session, student, teacher, step)
    session.ranks.barrier()
