"""The law's table: rows read from parquet, csv or jsonl, and checked.

In: paths. Out: rows with finite numbers, fractions of 1, or BadInput that names file, row and column. Columns beyond
the needed ones are ignored.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opsd_rs.base import read_records
from opsd_rs.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DOMAIN = (
    "recipe_id",
    "horizon_steps",
    "lr",
    "prompts_per_step",
    "mini_batch_prompts",
    "max_tokens",
    "aggregate",
    "group_size",
    "dataset_id",
    "problem_filter",
    "tests_split",
    "split",
    "n_problems",
    "k_gap",
    "k_val",
    "decoding_gap",
    "decoding_val",
)
"""A law holds where these are as in the runs it was fitted on (the group size moves the peer gap itself)."""

APART = (
    *(name for name in DOMAIN if name not in ("k_gap", "k_val")),
    "opt_updates",
    "ema",
    "base_model",
    "model_sha",
    "problems_sha",
    "context",
    "context_sha256",
    "control_mask",
)
"""Runs that differ in one of these are no seeds of each other, whatever their ``config_id`` says. How many samples
measured them is not among these: it changes the error and not the quantity."""


@dataclass(frozen=True, slots=True)
class LawRow:
    """One run of one configuration.

    >>> LawRow("qwen3-8b", "qwen3-8b/lcb/feedback", gap=0.045, improvement=0.088).context
    'qwen3-8b/lcb/feedback'
    """

    family: str
    config_id: str
    gap: float
    improvement: float | None = None
    """None only in tables of measured gaps, whose improvement is to be forecast."""
    gap_se: float | None = None
    improvement_se: float | None = None
    acc_val0: float | None = None
    """Validation accuracy of the student before training; None where a gap was measured without a run."""
    acc_student_gap: float | None = None
    """The student's accuracy in the gap's own measurement."""
    context: str = ""
    run_id: str | None = None
    synthetic: bool = False
    domain: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those of ``APART`` that are known."""
    segments: int = 1
    """Recipes that the run was trained by, one after another."""
    identity: str = ""
    """What was measured, but for the seed; rows of one configuration may be about different weights."""
    seed: str | None = None
    stopped_at: int | None = None
    """The step at which a stop rule ended the run; None where it ran to its horizon."""
    acc_teacher: float | None = None
    acc_val1: float | None = None
    baseline_id: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    """The row as read, for columns that only some tables have."""

    def __post_init__(self) -> None:
        if not self.context:
            object.__setattr__(self, "context", self.config_id)


def read_rows(path: Path, *, improvement: bool = True) -> list[LawRow]:
    """The rows of one table; ``improvement``: whether that column is needed. BadInput for all that is not so."""
    return rows_of(read_records(path), str(path), improvement=improvement)


def rows_of(records: Sequence[Mapping[str, Any]], where: str, *, improvement: bool = True) -> list[LawRow]:
    """The same of records that have been read; ``where`` names them in an error."""
    if not records:
        raise BadInput(f"{where}: the table has no rows")
    needed = ["family", "config_id", "gap", *(["improvement"] if improvement else [])]
    columns = dict.fromkeys(name for record in records for name in record)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise BadInput(
            f"{where}: column {', '.join(missing)} is missing (needed: {', '.join(needed)}; "
            f"found: {', '.join(columns) or 'none'})"
        )
    return [
        row_of(record, f"{where}: row {place}", improvement=improvement)
        for place, record in enumerate(records, start=1)
    ]


def row_of(record: Mapping[str, Any], where: str, *, improvement: bool) -> LawRow:
    """One row; ``where`` names it in an error."""
    return LawRow(
        family=_name(record, "family", where),
        config_id=_name(record, "config_id", where),
        gap=_fraction(record, "gap", where),
        improvement=_fraction(record, "improvement", where) if improvement else None,
        gap_se=_optional(record, "gap_se_cond", where, or_else="gap_se"),
        improvement_se=_optional(record, "improvement_se_cond", where, or_else="improvement_se"),
        acc_val0=_optional(record, "acc_val0", where),
        acc_student_gap=_optional(record, "acc_student_gap", where),
        context=str(record.get("context") or ""),
        run_id=None if record.get("run_id") in (None, "") else str(record["run_id"]),
        synthetic=str(record.get("synthetic")).strip().lower() in ("true", "1", "yes"),
        domain=_known(record, DOMAIN),
        settings=_settings(record),
        segments=int(number_of(record, "segments", where) or 1),
        identity=_but_seed(record.get("identity")),
        seed=None if record.get("seed") in (None, "") else plain_value(record["seed"]),
        stopped_at=None if (at := _optional(record, "stopped_at", where)) is None else int(at),
        acc_teacher=_optional(record, "acc_teacher", where),
        acc_val1=_optional(record, "acc_val1", where),
        baseline_id=None if record.get("baseline_id") in (None, "") else str(record["baseline_id"]),
        record=record,
    )


def _but_seed(identity: Any) -> str:
    """The column ``identity`` of a gap, its seed left out; a table's own column of that name is taken as it is."""
    try:
        found = json.loads(identity or "{}")
    except (TypeError, ValueError):
        found = identity
    if isinstance(found, dict):
        found.pop("seed", None)
    return json.dumps(found, sort_keys=True)


def _known(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    return {name: plain_value(record[name]) for name in names if record.get(name) not in (None, "")}


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    found = _known(record, APART)
    if "prompts_per_step" in found:
        # Steps and batches say it better: a seed may skip an update that had nothing to train on.
        found.pop("opt_updates", None)
    return found


def _name(record: Mapping[str, Any], column: str, where: str) -> str:
    value = record.get(column)
    if value is None or str(value).strip() == "":
        raise BadInput(f"{where}, column {column}: empty; every run names its {column}")
    return str(value)


def number_of(record: Mapping[str, Any], column: str, where: str) -> float | None:
    value = record.get(column)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{where}, column {column}: {value!r} is not a number") from None
    if not math.isfinite(number):
        raise BadInput(f"{where}, column {column}: {value!r} is not a finite number")
    return number


def _fraction(record: Mapping[str, Any], column: str, where: str) -> float:
    number = number_of(record, column, where)
    if number is None:
        raise BadInput(f"{where}, column {column}: empty; leave rows out that have no {column}")
    if abs(number) > 1:
        raise BadInput(
            f"{where}, column {column}: {number:g} is no difference of two accuracies; "
            "write fractions of 1, not percentage points"
        )
    return number


def _optional(record: Mapping[str, Any], column: str, where: str, or_else: str | None = None) -> float | None:
    """A column that may be absent; nan (how earlier versions wrote what is not known) counts as absent."""
    if or_else is not None and column not in record:
        column = or_else
    value = record.get(column)
    if isinstance(value, float) and math.isnan(value):
        return None
    return number_of(record, column, where)


def plain_value(value: Any) -> str:
    """csv holds 8 and 0.000001 as text: compare by what it says.

    >>> plain_value("1e-6"), plain_value(0.000001), plain_value("8.0"), plain_value(8), plain_value("T=1.0")
    ('1e-06', '1e-06', '8', '8', 'T=1.0')
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(int(number)) if number.is_integer() else str(number) if math.isfinite(number) else str(value)


def unique_rows(rows: Sequence[tuple[Path, LawRow]]) -> list[tuple[Path, LawRow]]:
    """A run that is in two tables counts once; BadInput where the two disagree."""
    seen: dict[str, tuple[Path, LawRow]] = {}
    kept = []
    for path, row in rows:
        if row.run_id is None:
            kept.append((path, row))
        elif row.run_id not in seen:
            seen[row.run_id] = (path, row)
            kept.append((path, row))
        elif seen[row.run_id][1] != row:
            raise BadInput(f"{path}: run_id {row.run_id} is also in {seen[row.run_id][0]}, with other values")
    return kept
