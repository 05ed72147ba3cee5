"""The gap of one or several contexts, before training or on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from opsd_rs.base import StopNow, add_rows, read_table, stop_signals, write_table, write_whole
from opsd_rs.config import Config, ContextConfig, load_context, resolved_json
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.measure import (
    CONTROL,
    Control,
    Draw,
    GapRow,
    GradeAll,
    Identity,
    Sample,
    Write,
    base_identity,
    control,
    eval_accuracy,
    gap_rows,
    measure_gaps,
    measurement_of,
    read_samples,
)
from opsd_rs.training import lines, measured, tables
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.identity import eval_identity, gap_identity
from opsd_rs.training.lock import locked
from opsd_rs.training.notes import write_notes
from opsd_rs.training.prepare import dated
from opsd_rs.training.samples import keep_samples
from opsd_rs.training.session import Session, open_session
from opsd_rs.training.start import check_tables


def measure_gap(
    session: Session, contexts: Sequence[ContextConfig], *, gate: Callable[[Control], None] | None = None
) -> list[dict[str, Any]]:
    """Each context's gap, from ``gap.from`` or measured; every row is on disk before the next is begun.

    :param gate: given the control's result where ``none`` is among the contexts; may raise. Unset: it is said
    """
    path, config = session.run_dir / "gap.parquet", session.config
    identities = {context.name: gap_identity(session, context) for context in contexts}
    by_name = {context.name: context for context in contexts}
    acc_val0 = eval_accuracy(tables.eval_rows_of(_baseline(session))).value

    def add(row: GapRow) -> None:
        if session.ranks.first:
            columns = configuration_columns(session, by_name[row.context])
            add_rows(path, [measured.gap_row(row, columns, identities[row.context], acc_val0)])
        session.progress.say(lines.gap_line(row))

    known = measured.read_gap_rows(path)
    missing = [name for name in by_name if measured.matching(known, name, identities[name]) is None]
    session.ranks.barrier()  # all have read before the first rank writes
    if config.gap.from_ is not None:
        if missing and session.ranks.first:
            add_rows(path, [_copied(session, by_name[name], identities[name], acc_val0) for name in missing])
        missing = []
    for name in missing:
        if said := measured.stale(known, name, identities[name]):
            session.progress.say(said)
    judge = gate or (lambda found: session.progress.say(found.said()))
    if CONTROL in by_name and CONTROL not in missing:
        found = _known_control(session, identities[CONTROL])
        if found is not None:
            judge(found)
    if missing:
        _measure(session, {name: by_name[name] for name in missing}, identities, add, judge)
        if session.ranks.first:
            refresh(session.run_dir, identities[missing[0]])
    session.ranks.barrier()
    rows = measured.read_gap_rows(path)
    found_rows = (measured.matching(rows, name, identity) for name, identity in identities.items())
    return [dict(row) for row in found_rows if row is not None]


def refresh(run_dir: Path, identity: Identity) -> None:
    """Compute the rows of a measurement again from all its samples: which contexts it has decides what the student's
    term is made of, and to what each is compared."""
    samples, path = run_dir / "samples.parquet", run_dir / "gap.parquet"
    base = base_identity(identity)
    found, _ = measurement_of(read_table(samples), samples, base.short)
    numbers = {row.context: asdict(row) for row in gap_rows(found)}
    of_samples = {
        row["context_kind"]: row["identity_id"]
        for row in read_table(samples)
        if row.get("measurement_id") == base.short and row["arm"] == "T"
    }
    rows = []
    for row in read_table(path):
        new = numbers.get(row["context"])
        if new is not None and row.get("identity_id") == of_samples[row["context"]]:
            row |= {name: value for name, value in new.items() if name != "context_sha256"}
        rows.append(row)
    write_table(path, rows)


def _known_control(session: Session, identity: Identity) -> Control | None:
    """The control of a measurement that this folder holds; None where only its row is there."""
    path = session.run_dir / "samples.parquet"
    rows = [row for row in read_table(path) if row.get("measurement_id") == base_identity(identity).short]
    return (
        control(measurement_of(rows, path)[0])
        if any(row["context_kind"] == CONTROL for row in rows)
        else None
    )


def _measure(
    session: Session,
    contexts: dict[str, ContextConfig],
    identities: dict[str, Identity],
    add: Callable[[GapRow], None],
    gate: Callable[[Control], None],
) -> None:
    config = session.config
    base = base_identity(next(iter(identities.values())))

    def keep(samples: Sequence[Sample]) -> None:
        name = samples[0].context
        keep_samples(session, samples, identities[name] if name else base)

    measure_gaps(
        {name: session.assembler_of(context) for name, context in contexts.items()},
        {problem.problem_id: problem for problem in session.train_problems},
        session.full_problems,
        n=config.num_gap_groups * config.rollout.n,
        group_size=config.rollout.n,
        baseline=config.gap.baseline,
        baseline_samples=config.gap.baseline_samples if config.gap.baseline == "split" else 1,
        report=add,
        keep=keep,
        gate=gate,
        known=known_teachers(session, base, but=contexts),
        **engine_of(session),
    )


class Engine(TypedDict):
    """What draws, grades and writes for the arms of a gap."""

    draw: Draw
    grade: GradeAll
    write: Write
    num_gpus: int


def engine_of(session: Session) -> Engine:
    """With the training decoding and ``gap.seed``, at step 0."""
    seed = session.config.gap_seed
    return {
        "draw": lambda requests, purpose: session.sample(
            requests, session.train_sampling(), purpose=purpose, step=0, phase="gap rollout", seed=seed
        ),
        "grade": lambda rollouts, problems: session.grade(rollouts, problems, step=0, phase="gap grade"),
        "write": lambda assembler, rollouts, grades, problems, group: write_notes(
            session, assembler, rollouts, grades, problems, step=0, remember=False, group=group, seed=seed
        ),
        "num_gpus": session.ranks.world_size if session.device.type == "cuda" else 0,
    }


def known_samples(
    session: Session, base: Identity, identities: Mapping[str, Identity] | None = None
) -> list[Sample]:
    """The answers of a measurement that the folder holds already; every rank reads them.

    :param identities: of the contexts whose answers are wanted; unset, of all
    """
    path = session.run_dir / "samples.parquet"
    ids = None if identities is None else {base.short, *(one.short for one in identities.values())}
    rows = [row for row in read_table(path) if row.get("measurement_id") == base.short]
    rows = [row for row in rows if ids is None or row["identity_id"] in ids]
    found = read_samples(rows, path)
    session.ranks.barrier()  # all have read before the first rank writes
    return found


def known_teachers(session: Session, base: Identity, *, but: Container[str]) -> list[Sample]:
    """Answers of the contexts that were measured before, under the identities that their rows have now."""
    return [
        sample for sample in known_samples(session, base) if sample.arm == "T" and sample.context not in but
    ]


def _baseline(session: Session) -> list[dict[str, Any]]:
    """The student's validation before training, where this folder or ``eval.from`` holds it."""
    identity, other = eval_identity(session), session.config.eval.from_
    own = measured.known_baseline(session.run_dir, identity)
    return own or ([] if other is None else measured.baseline_from(Path(other), identity))


def _copied(
    session: Session, context: ContextConfig, identity: Identity, acc_val0: float | None
) -> dict[str, Any]:
    """The row of ``gap.from``, under this run's own settings for training."""
    row = measured.gap_row_from(Path(str(session.config.gap.from_)), context.name, identity)
    columns = configuration_columns(session, context)
    return {**row, **columns, **{name: row.get(name) for name in measured.GAP_COLUMNS}, "acc_val0": acc_val0}


def measure_from_config(config: Config, *, anyway: bool = False) -> list[dict[str, Any]]:
    """``opsd-rs gap``: the contexts of ``gap.contexts`` (or the run's own), rows of ``gap.parquet``.

    Leaves its configuration in ``gap.json``; the folder stays free for a run.

    :param anyway: go on where the control is outside its gate
    :raises BadInput: the control is outside its gate; what was measured is kept
    """
    config = dated(config)
    contexts = contexts_of(config) or [config.context]
    with measuring(config, contexts, "gap.parquet") as session:
        if all(context.name != CONTROL for context in contexts):
            session.progress.say("control: none is not among the contexts, so nothing checks the harness")
        return measure_gap(session, contexts, gate=gate_of(session, anyway=anyway))


def contexts_of(config: Config) -> list[ContextConfig]:
    """Those of ``gap.contexts``.

    :raises BadInput: two of one name
    """
    contexts = [load_context(name) for name in config.gap.contexts]
    twice = [name for name, count in Counter(context.name for context in contexts).items() if count > 1]
    if twice:
        raise BadInput(
            f"gap.contexts: two contexts are called {', '.join(twice)}: a row is found by its name"
        )
    return contexts


def gate_of(session: Session, *, anyway: bool) -> Callable[[Control], None]:
    """Say the control's result; refuse one that is outside its gate, unless ``anyway``."""

    def gate(found: Control) -> None:
        said = found.said()
        if found.holds is False and not anyway:
            raise BadInput(
                f"{said}: template, pooling or decoding differ between student and teacher, or it is chance (3 in"
                f" 1,000). Look at the rows of {session.run_dir / 'samples.parquet'}; measure with another seed or more"
                " samples (gap.n), or go on with --anyway"
            )
        session.progress.say(
            said if found.holds is not False else f"{said}; nothing joins the student's term"
        )

    return gate


@contextmanager
def measuring(config: Config, contexts: Sequence[ContextConfig], table: str) -> Iterator[Session]:
    """A session that measures ``contexts`` in ``run.dir``; leaves its configuration in ``gap.json``.

    :param table: the file that keeps what was measured when it is stopped
    """
    run_dir = Path(config.run.dir)
    with (
        stop_signals() as stop,
        locked(run_dir),
        _kept_hint(run_dir, table),
        open_session(
            config, run_dir, stop, check=partial(check_tables, config, run_dir, contexts)
        ) as session,
    ):
        stop.deferred = True
        if session.ranks.first:
            write_whole(run_dir / "gap.json", resolved_json(config).encode())
        yield session


@contextmanager
def _kept_hint(run_dir: Path, table: str) -> Iterator[None]:
    """Where the block is stopped, say what is kept."""
    try:
        yield
    except (Stopped, StopNow) as stop:
        why = f"stopped at once by {stop}" if isinstance(stop, StopNow) else str(stop)
        kept = f"what was measured so far is in {run_dir / table}, the same command measures the rest"
        raise Stopped(f"{why}: {kept}") from None
