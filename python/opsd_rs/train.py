"""On-policy self-distillation, as the paper's algorithm box (arXiv 2605.30070): measure the gap, then train.

``train`` is the clock: it samples, grades, assembles, distils, follows and syncs, validates and saves. The
mathematics of a step is in ``distill``; what the teacher sees is in ``context``; the rooms are opened in ``house``.

Everything a step draws depends on (seed, step) alone, so a run that was killed goes on from its last checkpoint as
if nothing had happened: the same ``metrics.jsonl`` but for ``seconds``, the same weights to the bit on CPU.
"""

from __future__ import annotations

import os
import signal
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsd_rs import checkpoint, run_table
from opsd_rs.base import add_rows, append_line, cut_lines, every, read_table, write_table, write_whole
from opsd_rs.checkpoint import State
from opsd_rs.config import Config, ContextConfig
from opsd_rs.distill import Row, distill
from opsd_rs.errors import BadInput, DiskFull, Stopped
from opsd_rs.house import House, open_house
from opsd_rs.law import append_run_row
from opsd_rs.measure import EvalRow, GapRow, eval_rows, eval_table, gap_table, measure_gaps
from opsd_rs.policy import CompletionLogits, Student, Teacher, load_model
from opsd_rs.records import Ask, Grade, Rollout, TeacherContext
from opsd_rs.sync import sync


def train(config: Config, *, resume: Path | None = None) -> Path:
    """Train ``config`` (or go on in the folder ``resume``); returns the run folder.

    Raises BadInput before any work on bad input, Stopped when the run ended early and can be resumed, DiskFull where
    there was no room; it can be resumed then, too.
    """
    run_dir = _run_folder(config, resume)
    with open_house(config, run_dir) as house, _politely() as asked_to_stop, _telling_how_to_go_on(run_dir):
        student = Student(config, house.model_dir, house.device)
        teacher = make_teacher(student, house)
        state = _restore(house, student, teacher)
        step = state.step
        try:
            sync(house, student, step)
            if step == 0:
                measure_gap(house, [config.context])
            for step in range(state.step, config.train.num_steps):
                _validate_if_due(house, student, teacher, step)
                # ---- the algorithm box ----------------------------------------------------------------------
                problems = house.draw(step)
                rollouts = house.sample(
                    house.asks(problems, config.rollout.n), house.train_sampling(), purpose="train", step=step
                )
                seen = {problem.problem_id: problem for problem in problems}
                grades = house.grade(rollouts, seen, step=step)
                contexts = house.contexts(house.assembler, rollouts, grades, seen, step)
                _stop_if(asked_to_stop, house)
                house.updating = True
                with house.progress.phase("update", step) as tick:
                    paired = zip(rollouts, contexts, strict=True)
                    rows = [Row(r, c) for r, c in paired if c.status != "dropped"]
                    numbers = distill(student, teacher, rows, config, house.ranks, tick)
                with house.progress.phase("follow", step):
                    teacher.follow(student.fp32_parts())
                # -----------------------------------------------------------------------------------------------
                _record(house, student, step, rollouts, grades, contexts, numbers)
                house.updating = False
                if every(config.train.checkpoint_every, step + 1) or step + 1 == config.train.num_steps:
                    save(house, student, teacher, step + 1)
                step += 1  # from here on a stop finds the boundary behind this step
                sync(house, student, step)
                _stop_if(asked_to_stop, house)
            _validate_if_due(house, student, teacher, config.train.num_steps)
        except Stopped as stop:
            raise _stopped(stop, house, student, teacher, step) from stop
        _finish(house, student)
    return run_dir


def make_teacher(student: Student, house: House) -> Teacher:
    """The self-teacher: a frozen copy of the model and an fp32 average on the student's shards."""
    module = CompletionLogits(load_model(house.model_dir, house.config.model.dtype)).to(house.device)
    names = {parameter: name for name, parameter in student.parameters_by_name().items()}
    return Teacher(
        house.config.teacher,
        module,
        student.fp32_parts(),
        student.part_parameters(),
        names,
        sharded_parameters=student.stage == 3,
    )


def measure_gap(house: House, contexts: Sequence[ContextConfig]) -> list[dict[str, Any]]:
    """Each context's gap, from ``gap.from`` or measured; every row is on disk before the next is begun."""
    path = house.run_dir / "gap.parquet"
    config = house.config
    if config.gap.from_ is not None and not path.exists() and house.ranks.first:
        write_table(path, run_table.gap_rows_from(Path(config.gap.from_), [c.name for c in contexts]))
    house.ranks.barrier()
    rows = read_table(path)
    missing = [c for c in contexts if c.name not in {row["context"] for row in rows}]
    if missing:
        train_problems = {problem.problem_id: problem for problem in house.train_problems}

        def report(row: GapRow) -> None:
            if house.ranks.first:
                add_rows(path, gap_table([row]))
            house.progress.say(run_table.gap_line(row))

        measure_gaps(
            {context.name: house.assembler_of(context) for context in missing},
            train_problems,
            house.full_problems,
            n=config.gap.n,
            baseline=config.gap.baseline,
            draw=lambda asks, purpose: house.sample(
                asks, house.train_sampling(), purpose=purpose, step=0, phase="gap rollout"
            ),
            grade=lambda rollouts, problems: house.grade(rollouts, problems, step=0, phase="gap grade"),
            write=lambda assembler, rollouts, grades, problems: house.notes(
                assembler, rollouts, grades, problems, step=0, remember=False
            ),
            report=report,
        )
    return read_table(path)


def measure_from_config(config: Config) -> list[dict[str, Any]]:
    """``opsd-rs gap``: the contexts of ``gap.contexts`` (or the run's own), rows of ``gap.parquet``."""
    from opsd_rs.config import load_context

    contexts = [load_context(name) for name in config.gap.contexts] or [config.context]
    run_dir = Path(config.run.dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with open_house(config, run_dir) as house:
        rows = measure_gap(house, contexts)
        wanted = {context.name for context in contexts}
        return [row for row in rows if row["context"] in wanted]


def evaluate_from_config(config: Config, *, run_dir: Path | None = None) -> list[dict[str, Any]]:
    """``opsd-rs eval``: mean@k of a model, or of a run's last checkpoint, with the validation decoding."""
    folder = run_dir or Path(config.run.dir)
    folder.mkdir(parents=True, exist_ok=True)
    with open_house(config, folder) as house:
        step = 0
        if run_dir is not None:
            student = Student(config, house.model_dir, house.device)
            step = _restore(house, student, make_teacher(student, house)).step
            sync(house, student, step)
        problems = [house.full_problems[problem_id] for problem_id in house.validation_ids]
        asks = house.asks(problems, config.eval.n)
        rollouts = house.sample(asks, house.eval_sampling(), purpose="eval", step=step)
        grades = house.grade(rollouts, house.full_problems, step=step)
        rows = eval_rows(step, "student", config.context.name, rollouts, grades)
        return run_table.accuracy_table(rows, config.eval.n)


def validate(house: House, student: Student, teacher: Teacher, step: int) -> None:
    """mean@k of the student, and with ``eval.teacher`` of the self-teacher under fresh contexts."""
    config = house.config
    problems = [house.full_problems[problem_id] for problem_id in house.validation_ids]
    asks = house.asks(problems, config.eval.n)
    rows = _answer(house, asks, "student", step, "eval")
    if config.eval.teacher:
        # The teacher reads what it would read in training: contexts from training-decoding rollouts.
        train_problems = {problem.problem_id: problem for problem in house.train_problems}
        seen = {**house.full_problems, **train_problems}
        built_from = house.sample(
            asks, house.train_sampling(), purpose="eval-A", step=step, phase="eval rollout"
        )
        grades = house.grade(built_from, seen, step=step, phase="eval grade")
        contexts = house.contexts(house.assembler, built_from, grades, seen, step)
        sync(house, teacher, step)
        asks = [Ask(c.problem_id, c.sample, c.prompt_ids) for c in contexts]
        rows += _answer(house, asks, "teacher", step, "eval-T")
        sync(house, student, step)
    if house.ranks.first:
        add_rows(house.run_dir / "eval.parquet", eval_table(rows))
    house.progress.say(run_table.eval_line(rows, step, config.eval.n))


def _answer(house: House, asks: list[Ask], arm: str, step: int, purpose: str) -> list[EvalRow]:
    rollouts = house.sample(asks, house.eval_sampling(), purpose=purpose, step=step, phase="eval rollout")
    grades = house.grade(rollouts, house.full_problems, step=step, phase="eval grade")
    return eval_rows(step, arm, house.config.context.name, rollouts, grades)


def _validate_if_due(house: House, student: Student, teacher: Teacher, step: int) -> None:
    config, path = house.config, house.run_dir / "eval.parquet"
    last = step == config.train.num_steps
    if not (step == 0 or last or every(config.eval.every, step)):
        return
    if any(row["step"] == step for row in read_table(path)):
        return  # measured before the run was stopped
    if step == 0 and config.eval.from_ is not None:
        if house.ranks.first:
            add_rows(path, run_table.baseline_from(Path(config.eval.from_)))
    else:
        validate(house, student, teacher, step)
    house.ranks.barrier()


def save(house: House, student: Student, teacher: Teacher, step: int) -> Path:
    """Write the checkpoint of the boundary before ``step``."""
    with house.progress.phase("save", step - 1):
        return checkpoint.save(
            house.run_dir, step, student, teacher, house.ranks, keep=house.config.train.keep_checkpoints
        )


def _restore(house: House, student: Student, teacher: Teacher) -> State:
    """The newest checkpoint's state, or the start; what was written past it is cut, and will be done again."""
    found = checkpoint.folders(house.run_dir)
    state = checkpoint.restore(found[-1], student, teacher, house.ranks) if found else State()
    if house.ranks.first:
        cut_lines(house.run_dir / "metrics.jsonl", state.step)
        evals = read_table(house.run_dir / "eval.parquet")
        if any(row["step"] > state.step for row in evals):
            write_table(house.run_dir / "eval.parquet", [row for row in evals if row["step"] <= state.step])
    house.ranks.barrier()
    return state


def _record(
    house: House,
    student: Student,
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    numbers: dict[str, float | int | None],
) -> None:
    """One line of ``metrics.jsonl`` and the step's rollouts."""
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
        "seconds": house.clock.take(),
    }
    if house.ranks.first:
        path = house.run_dir / "rollouts" / f"step-{step:06d}.parquet"
        write_table(path, run_table.rollout_rows(step, rollouts, grades, contexts))
        append_line(house.run_dir / "metrics.jsonl", line)
    house.progress.say(run_table.step_line(line, house.config.train.num_steps))


def _finish(house: House, student: Student) -> None:
    """The run's row for the law, its figure's data, and the trained weights as a Hugging Face folder."""
    if house.ranks.first:
        row = run_table.run_row(house.config, house.run_dir, house.model_dir)
        append_run_row(house.run_dir / "runs.parquet", row)
        house.progress.say(run_table.improvement_line(row))
    with house.progress.phase("export", house.config.train.num_steps):
        student.export(house.run_dir / "model", house.model_dir, write=house.ranks.first)


def _run_folder(config: Config, resume: Path | None) -> Path:
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
        write_whole(path, resolved_json(config).encode())
    return run_dir


@contextmanager
def _politely() -> Iterator[list[str]]:
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


def _stop_if(asked: list[str], house: House) -> None:
    if house.ranks.any(bool(asked)):
        raise Stopped(asked[0] if asked else "another rank was asked to stop")


def _stopped(stop: Stopped, house: House, student: Student, teacher: Teacher, step: int) -> Stopped:
    """Save the boundary the weights stand at, unless an update was under way; say how to go on."""
    saved = {folder.name for folder in checkpoint.folders(house.run_dir)}
    if not house.updating and f"step-{step:06d}" not in saved:
        save(house, student, teacher, step)
    return Stopped(f"step {step}: {stop} {_way_on(house.run_dir)}")


def _way_on(run_dir: Path) -> str:
    kept = checkpoint.folders(run_dir)
    where = f"checkpoint at step {int(kept[-1].name[5:])}" if kept else "no checkpoint yet, it starts again"
    return f"({where}): opsd-rs train --resume {run_dir}"


@contextmanager
def _telling_how_to_go_on(run_dir: Path) -> Iterator[None]:
    """A full disk ends the run, but the last checkpoint stays good: say which one, and how to go on from it."""
    try:
        yield
    except DiskFull as full:
        raise DiskFull(f"{full}, then go on {_way_on(run_dir)}") from full
