"""The gap of one or several contexts, before training or on its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from opsd_rs.base import StopNow, add_rows, stop_signals, write_whole
from opsd_rs.config import Config, ContextConfig, load_context, resolved_json
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.measure import GapRow, Identity, Sample, eval_accuracy, measure_gaps
from opsd_rs.training import lines, measured, tables
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.identity import eval_identity, gap_identity
from opsd_rs.training.lock import locked
from opsd_rs.training.notes import write_notes
from opsd_rs.training.prepare import dated
from opsd_rs.training.samples import keep_samples, without_context
from opsd_rs.training.session import Session, open_session
from opsd_rs.training.start import check_tables


def measure_gap(session: Session, contexts: Sequence[ContextConfig]) -> list[dict[str, Any]]:
    """Each context's gap, from ``gap.from`` or measured; every row is on disk before the next is begun."""
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
    if missing:
        _measure(session, {name: by_name[name] for name in missing}, identities, add)
    session.ranks.barrier()
    rows = measured.read_gap_rows(path)
    found = (measured.matching(rows, name, identity) for name, identity in identities.items())
    return [dict(row) for row in found if row is not None]


def _measure(
    session: Session,
    contexts: dict[str, ContextConfig],
    identities: dict[str, Identity],
    add: Callable[[GapRow], None],
) -> None:
    config = session.config

    def keep(samples: Sequence[Sample]) -> None:
        name = samples[0].context or next(iter(contexts))
        identity = identities[name]
        keep_samples(session, samples, identity if samples[0].context else without_context(identity))

    measure_gaps(
        {name: session.assembler_of(context) for name, context in contexts.items()},
        {problem.problem_id: problem for problem in session.train_problems},
        session.full_problems,
        n=config.num_gap_groups * config.rollout.n,
        group_size=config.rollout.n,
        baseline=config.gap.baseline,
        draw=lambda requests, purpose: session.sample(
            requests,
            session.train_sampling(),
            purpose=purpose,
            step=0,
            phase="gap rollout",
            seed=config.gap_seed,
        ),
        grade=lambda rollouts, problems: session.grade(rollouts, problems, step=0, phase="gap grade"),
        write=lambda assembler, rollouts, grades, problems, group: write_notes(
            session,
            assembler,
            rollouts,
            grades,
            problems,
            step=0,
            remember=False,
            group=group,
            seed=config.gap_seed,
        ),
        report=add,
        keep=keep,
    )


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
    return {**row, **columns, **{name: row[name] for name in measured.GAP_COLUMNS}, "acc_val0": acc_val0}


def measure_from_config(config: Config) -> list[dict[str, Any]]:
    """``opsd-rs gap``: the contexts of ``gap.contexts`` (or the run's own), rows of ``gap.parquet``.

    Leaves its configuration in ``gap.json``; the folder stays free for a run.
    """
    config = dated(config)
    contexts = [load_context(name) for name in config.gap.contexts] or [config.context]
    twice = [name for name, count in Counter(context.name for context in contexts).items() if count > 1]
    if twice:
        raise BadInput(
            f"gap.contexts: two contexts are called {', '.join(twice)}: a row is found by its name"
        )
    run_dir = Path(config.run.dir)
    with (
        stop_signals() as stop,
        locked(run_dir),
        _hint(run_dir),
        open_session(
            config, run_dir, stop, check=partial(check_tables, config, run_dir, contexts)
        ) as session,
    ):
        stop.deferred = True
        if session.ranks.first:
            write_whole(run_dir / "gap.json", resolved_json(config).encode())
        return measure_gap(session, contexts)


@contextmanager
def _hint(run_dir: Path) -> Iterator[None]:
    """Where the block is stopped, say what is kept."""
    try:
        yield
    except (Stopped, StopNow) as stop:
        why = f"stopped at once by {stop}" if isinstance(stop, StopNow) else str(stop)
        kept = (
            f"the gaps measured so far are in {run_dir / 'gap.parquet'}, the same command measures the others"
        )
        raise Stopped(f"{why}: {kept}") from None
