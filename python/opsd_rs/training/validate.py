"""Validation: mean@k of the student, and of the self-teacher under fresh contexts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from opsd_rs.base import add_rows, every, read_table, stop_signals
from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.measure import (
    Arm,
    EvalRow,
    Identity,
    by_group,
    eval_rows,
    eval_table,
    student_samples,
    teacher_samples,
)
from opsd_rs.policy import Student, Teacher, make_teacher
from opsd_rs.records import Grade, Rollout, SampleRequest
from opsd_rs.training import checkpoint, lines, measured
from opsd_rs.training.identity import eval_identity
from opsd_rs.training.prepare import dated
from opsd_rs.training.samples import keep_samples
from opsd_rs.training.session import Session, open_session
from opsd_rs.training.sync import sync
from opsd_rs.training.teachers import keeps_teacher


def evaluate_from_config(
    config: Config, *, run_dir: Path | None = None, exported: bool = False
) -> list[dict[str, Any]]:
    """``opsd-rs eval``: mean@k of a model, or of a run's last checkpoint, with the validation decoding.

    Nothing is written below ``run_dir`` or ``run.dir``.

    :param exported: of the weights in ``run_dir/model`` instead of the last checkpoint's
    :raises BadInput: the run has no whole checkpoint, or no exported weights
    """
    restores = run_dir is not None and not exported
    config = dated(config) if run_dir is None else config
    if run_dir is not None:
        _check_readable(run_dir, exported)
        if exported:
            model = config.model.model_copy(update={"path": str(run_dir / "model")})
            config = config.model_copy(update={"model": model})
    with (
        stop_signals() as stop,
        tempfile.TemporaryDirectory(prefix="opsd-rs-eval-") as scratch,
        open_session(config, Path(scratch), stop, keeps_logs=False) as session,
    ):
        stop.deferred = True
        step = 0
        if restores and run_dir is not None:
            student = Student(config, session.model_dir, session.device)
            teacher = make_teacher(config, student, kept=keeps_teacher(config))
            step = checkpoint.restore_newest(run_dir, student, teacher, session.ranks, session.progress.say)
            sync(session, student, step)
        problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
        requests = session.sample_requests(problems, config.eval.n)
        rollouts = session.sample(requests, session.eval_sampling(), purpose="eval", step=step)
        grades = session.grade(rollouts, session.full_problems, step=step)
        rows = eval_rows(step, "student", config.context.name, rollouts, grades)
        return lines.accuracy_table(rows, config.eval.n)


def _check_readable(run_dir: Path, exported: bool) -> None:
    if exported:
        if not (run_dir / "model" / "config.json").is_file():
            raise BadInput(f"{run_dir}: no exported weights in {run_dir / 'model'}: the run has not ended")
    elif not checkpoint.whole(run_dir):
        there = ", or evaluate the exported weights with --exported" if (run_dir / "model").is_dir() else ""
        raise BadInput(f"{run_dir}: no whole checkpoint in {run_dir / 'checkpoints'}{there}")


def validate(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    """mean@k of the student, and with ``eval.teacher`` of the self-teacher under fresh contexts."""
    student.check_own("validation")
    config = session.config
    identity = eval_identity(session)
    problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
    requests = session.sample_requests(problems, config.eval.n)
    rollouts, grades = _answers(session, requests, step, "eval")
    arm: Arm = "V0" if step == 0 else "V1" if step == config.train.num_steps else "V"
    keep_samples(
        session, student_samples(arm, step, rollouts, grades, tests="full", group_size=None), identity
    )
    rows = eval_rows(step, "student", config.context.name, rollouts, grades)
    if config.eval.teacher:
        rows += _teacher_rows(session, student, teacher, step, identity)
    if session.ranks.first:
        named = {"identity_id": identity.short, "identity": identity.text()}
        add_rows(session.run_dir / "eval.parquet", [{**row, **named} for row in eval_table(rows)])
    session.progress.say(lines.eval_line(rows, step, config.eval.n))


def _teacher_rows(
    session: Session, student: Student, teacher: Teacher, step: int, identity: Identity
) -> list[EvalRow]:
    """The teacher reads what it would read in training: contexts from groups of ``rollout.n`` rollouts, with the
    training decoding; the first ``eval.n`` of a problem's rows are asked."""
    config = session.config
    size, n, name = config.rollout.n, config.eval.n, config.context.name
    problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
    train_problems = {problem.problem_id: problem for problem in session.train_problems}
    seen = {**session.full_problems, **train_problems}
    built_from = session.sample(
        session.sample_requests(problems, -(-n // size) * size),
        session.train_sampling(),
        purpose="eval-A",
        step=step,
        phase="eval rollout",
    )
    grades = session.grade(built_from, seen, step=step, phase="eval grade")
    keep_samples(
        session,
        student_samples("VA", step, built_from, grades, tests="train_half", group_size=size),
        identity,
    )
    contexts = [
        context
        for group, places in enumerate(by_group(built_from, size))
        for context in session.contexts(
            session.assembler,
            [built_from[place] for place in places],
            [grades[place] for place in places],
            seen,
            step,
            group,
        )
        if context.sample < n
    ]
    sync(session, teacher, step)
    requests = [SampleRequest(c.problem_id, c.sample, c.prompt_ids) for c in contexts]
    rollouts, scores = _answers(session, requests, step, "eval-T")
    keep_samples(
        session, teacher_samples("VT", step, name, rollouts, scores, contexts, group_size=size), identity
    )
    sync(session, student, step)
    return eval_rows(step, "teacher", name, rollouts, scores)


def _answers(
    session: Session, requests: list[SampleRequest], step: int, purpose: str
) -> tuple[list[Rollout], list[Grade]]:
    rollouts = session.sample(
        requests, session.eval_sampling(), purpose=purpose, step=step, phase="eval rollout"
    )
    return rollouts, session.grade(rollouts, session.full_problems, step=step, phase="eval grade")


def validate_if_due(session: Session, student: Student, teacher: Teacher, step: int) -> None:
    """Validate before the first step, every ``eval.every`` steps and at the end, unless it is in the table already."""
    config, path = session.config, session.run_dir / "eval.parquet"
    last = step == config.train.num_steps
    if not (step == 0 or last or every(config.eval.every, step)):
        return
    if measured.is_measured(read_table(path), step, eval_identity(session)):
        return  # before the run was stopped
    if step == 0 and config.eval.from_ is not None:
        if session.ranks.first:
            add_rows(path, measured.baseline_from(Path(config.eval.from_), eval_identity(session)))
    else:
        validate(session, student, teacher, step)
    session.ranks.barrier()
