"""What a run takes from other runs' tables, checked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opsd_rs.config import Config, ContextConfig
from opsd_rs.training import measured, tables
from opsd_rs.training.identity import Subject, eval_identity, gap_identity
from opsd_rs.training.prepare import Prepared


def check_tables(
    config: Config, run_dir: Path, contexts: Sequence[ContextConfig], prepared: Prepared
) -> None:
    """Refuse what ``gap.from`` and ``eval.from`` hold of another measurement, unless the folder has its own.

    :raises BadInput: naming the fields that differ
    """
    subject = Subject(
        config, prepared.model_dir, prepared.environment, prepared.problem_set, prepared.assembler
    )
    if config.gap.from_ is not None:
        own = measured.read_gap_rows(run_dir / "gap.parquet")
        for context in contexts:
            identity = gap_identity(subject, context)
            if measured.matching(own, context.name, identity) is None:
                measured.gap_row_from(Path(config.gap.from_), context.name, identity)
    if config.eval.from_ is not None and not tables.at(tables.read_eval_rows(run_dir), 0, "student"):
        measured.baseline_from(Path(config.eval.from_), eval_identity(subject))


def check_start(config: Config, run_dir: Path, resume: Path | None, prepared: Prepared) -> None:
    """``check_tables`` of a run that starts; one that is resumed has its tables."""
    if resume is None:
        check_tables(config, run_dir, [config.context], prepared)
