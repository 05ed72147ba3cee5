"""The gap of one or several contexts, before training or on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsd_rs.base import StopNow, stop_signals, write_table
from opsd_rs.config import Config, ContextConfig, load_context
from opsd_rs.errors import Stopped
from opsd_rs.measure import GapRow, eval_accuracy, measure_gaps
from opsd_rs.training import lines, tables
from opsd_rs.training.columns import configuration_columns
from opsd_rs.training.lock import locked
from opsd_rs.training.notes import write_notes
from opsd_rs.training.prepare import dated
from opsd_rs.training.session import Session, open_session


def measure_gap(session: Session, contexts: Sequence[ContextConfig]) -> list[dict[str, Any]]:
    """Each context's gap, from ``gap.from`` or measured; every row is on disk before the next is begun."""
    path = session.run_dir / "gap.parquet"
    config = session.config
    if config.gap.from_ is not None and not path.exists() and session.ranks.first:
        write_table(path, tables.gap_rows_from(Path(config.gap.from_), [c.name for c in contexts]))
    session.ranks.barrier()
    rows = tables.read_gap_rows(path)
    missing = [c for c in contexts if c.name not in {row["context"] for row in rows}]
    if missing:
        train_problems = {problem.problem_id: problem for problem in session.train_problems}
        acc_val0 = eval_accuracy(tables.known_baseline(session.run_dir, config.eval.from_)).value
        by_name = {context.name: context for context in missing}

        def report(row: GapRow) -> None:
            if session.ranks.first:
                columns = configuration_columns(session, by_name[row.context])
                write_table(path, [*tables.read_gap_rows(path), tables.gap_row(row, columns, acc_val0)])
            session.progress.say(lines.gap_line(row))

        measure_gaps(
            {name: session.assembler_of(context) for name, context in by_name.items()},
            train_problems,
            session.full_problems,
            n=config.gap.n,
            baseline=config.gap.baseline,
            draw=lambda requests, purpose: session.sample(
                requests, session.train_sampling(), purpose=purpose, step=0, phase="gap rollout"
            ),
            grade=lambda rollouts, problems: session.grade(rollouts, problems, step=0, phase="gap grade"),
            write=lambda assembler, rollouts, grades, problems: write_notes(
                session, assembler, rollouts, grades, problems, step=0, remember=False
            ),
            report=report,
        )
    return tables.read_gap_rows(path)


def measure_from_config(config: Config) -> list[dict[str, Any]]:
    """``opsd-rs gap``: the contexts of ``gap.contexts`` (or the run's own), rows of ``gap.parquet``."""
    config = dated(config)
    contexts = [load_context(name) for name in config.gap.contexts] or [config.context]
    run_dir = Path(config.run.dir)
    with (
        stop_signals() as stop,
        locked(run_dir),
        _hint(run_dir),
        open_session(config, run_dir, stop) as session,
    ):
        stop.deferred = True
        rows = measure_gap(session, contexts)
        wanted = {context.name for context in contexts}
        return [row for row in rows if row["context"] in wanted]


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
