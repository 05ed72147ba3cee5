"""Validation: mean@k of the student, and of the self-teacher under fresh contexts."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
from opsd_rs.training import checkpoint, lines, measured, tables
from opsd_rs.training.identity import eval_identity
from opsd_rs.training.prepare import dated
from opsd_rs.training.samples import KEY as SAMPLE_KEY
from opsd_rs.training.samples import keep_samples
from opsd_rs.training.session import Session, open_session
from opsd_rs.training.sync import sync
from opsd_rs.training.teachers import keeps_teacher


def evaluate_from_config(
    config: Config, *, run_dir: Path | None = None, exported: bool = False, out: Path | None = None
) -> list[dict[str, Any]]:
    """``opsd-rs eval``: mean@k of a model, or of a run's last checkpoint, with the validation decoding.

    Nothing is written below ``run_dir`` or ``run.dir``.

    :param exported: of the weights in ``run_dir/model`` instead of the last checkpoint's
    :param out: a table for ``eval.from``, of a configuration's model alone. What it holds of this measurement is not
        measured again; the answers go to ``samples.parquet`` beside it
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
        if out is not None:
            return lines.accuracy_table(_baseline(session, out), config.eval.n)
        step = 0
        if restores and run_dir is not None:
            student = Student(config, session.model_dir, session.device)
            teacher = make_teacher(config, student, kept=keeps_teacher(config))
            step = checkpoint.restore_newest(run_dir, student, teacher, session.ranks, session.progress.say)
            sync(session, student, step)
        problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
        requests = session.sample_requests(problems, config.eval.n)
        seed = config.baseline_seed if step == 0 else config.seed
        rollouts, grades = _answers(session, requests, step, "eval", seed)
        rows = eval_rows(step, "student", config.context.name, rollouts, grades)
        return lines.accuracy_table(rows, config.eval.n)


def _baseline(session: Session, out: Path) -> list[EvalRow]:
    """The student's validation before training, from the table ``out`` or measured and added to it."""
    identity = eval_identity(session)
    known = [row for row in read_table(out) if row.get("identity_id") == identity.short]
    session.ranks.barrier()  # all have read before the first rank writes
    if known:
        return tables.eval_rows_of(known)
    rows = _student_rows(session, 0, "V0", identity)
    if session.ranks.first:
        answers = read_table(session.run_dir / "samples.parquet")
        add_rows(out.with_name("samples.parquet"), answers, key=SAMPLE_KEY)
        add_rows(out, _named(rows, identity))
    return rows


def _student_rows(session: Session, step: int, arm: Arm, identity: Identity) -> list[EvalRow]:
    """The student's validation at a step; its answers go to ``samples.parquet``."""
    config = session.config
    problems = [session.full_problems[problem_id] for problem_id in session.validation_ids]
    requests = session.sample_requests(problems, config.eval.n)
    seed = config.baseline_seed if step == 0 else config.seed
    rollouts, grades = _answers(session, requests, step, "eval", seed)
    samples = student_samples(arm, step, rollouts, grades, tests="full", group_size=None)
    keep_samples(session, samples, identity)
    return eval_rows(step, "student", config.context.name, rollouts, grades)


def _named(rows: Sequence[EvalRow], identity: Identity) -> list[dict[str, Any]]:
    """Rows of ``eval.parquet``."""
    named = {"identity_id": identity.short, "identity": identity.text()}
    return [{**row, **named} for row in eval_table(rows)]


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
    arm: Arm = "V0" if step == 0 else "V1" if step == config.train.num_steps else "V"
    rows = _student_rows(session, step, arm, identity)
    if config.eval.teacher:
        rows += _teacher_rows(session, student, teacher, step, identity)
    if session.ranks.first:
        add_rows(session.run_dir / "eval.parquet", _named(rows, identity))
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
    rollouts, scores = _answers(session, requests, step, "eval-T", config.seed)
    keep_samples(
        session, teacher_samples("VT", step, name, rollouts, scores, contexts, group_size=size), identity
    )
    sync(session, student, step)
    return eval_rows(step, "teacher", name, rollouts, scores)


def _answers(
    session: Session, requests: list[SampleRequest], step: int, purpose: str, seed: int
) -> tuple[list[Rollout], list[Grade]]:
    rollouts = session.sample(
        requests, session.eval_sampling(), purpose=purpose, step=step, phase="eval rollout", seed=seed
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
