"""The law's table: rows read from parquet, csv or jsonl, checked, then averaged by configuration.

In: paths. Out: rows with finite numbers, fractions of 1, or BadInput that names file, row and column; and one
point per configuration. Columns beyond the needed ones are ignored.
"""

from __future__ import annotations

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
    "group_size",
    "dataset_id",
    "split",
    "n_problems",
    "k_gap",
    "k_val",
    "decoding_gap",
    "decoding_val",
)
"""A law holds where these are as in the runs it was fitted on (the group size moves the peer gap itself)."""


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

    def __post_init__(self) -> None:
        if not self.context:
            object.__setattr__(self, "context", self.config_id)


def read_rows(path: Path, *, improvement: bool = True) -> list[LawRow]:
    """The rows of one table; ``improvement``: whether that column is needed. BadInput for all that is not so."""
    records = read_records(path)
    if not records:
        raise BadInput(f"{path}: the table has no rows")
    needed = ["family", "config_id", "gap", *(["improvement"] if improvement else [])]
    columns = dict.fromkeys(name for record in records for name in record)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise BadInput(
            f"{path}: column {', '.join(missing)} is missing (needed: {', '.join(needed)}; "
            f"found: {', '.join(columns) or 'none'})"
        )
    return [
        _row(record, f"{path}: row {place}", improvement) for place, record in enumerate(records, start=1)
    ]


def _row(record: Mapping[str, Any], where: str, improvement: bool) -> LawRow:
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
        domain={key: _plain(record[key]) for key in DOMAIN if record.get(key) not in (None, "")},
    )


def _name(record: Mapping[str, Any], column: str, where: str) -> str:
    value = record.get(column)
    if value is None or str(value).strip() == "":
        raise BadInput(f"{where}, column {column}: empty; every run names its {column}")
    return str(value)


def _number(record: Mapping[str, Any], column: str, where: str) -> float | None:
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
    number = _number(record, column, where)
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
    return _number(record, column, where)


def _plain(value: Any) -> Any:
    """csv holds 8 as text: compare by what it says."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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


# --- configuration means ----------------------------------------------------------------------------------


def configuration_means(rows: Sequence[LawRow]) -> list[dict[str, Any]]:
    """One point per configuration, in order of first appearance."""
    groups: dict[str, list[LawRow]] = {}
    for row in rows:
        groups.setdefault(row.config_id, []).append(row)
    points = []
    for config_id, group in groups.items():
        improvements = [row.improvement for row in group if row.improvement is not None]
        points.append(
            {
                "config_id": config_id,
                "context": group[0].context,
                "num_seeds": len(group),
                "gap": mean([row.gap for row in group]),
                "gap_se": gap_se(group),
                "improvement": mean(improvements),
                "improvement_sd": _sd(improvements),
                "improvement_se": _independent_se([row.improvement_se for row in group]),
                "leverage": None,
                "residual": None,
                "loo_forecast": None,
            }
        )
    return points


def mean(values: Sequence[float]) -> float:
    # Equal values keep their bits: a gap measured once for all seeds must not move.
    return values[0] if min(values) == max(values) else math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def gap_se(group: Sequence[LawRow]) -> float | None:
    """One measurement shared by all seeds keeps its error; separate ones average it down."""
    if len({row.gap for row in group}) == 1:
        return max((row.gap_se for row in group if row.gap_se is not None), default=None)
    return _independent_se([row.gap_se for row in group])


def _independent_se(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(error**2 for error in known)) / len(known)


def shared_domain(rows: Sequence[LawRow]) -> tuple[dict[str, Any], list[str]]:
    """The settings all rows share; a note where they do not."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.domain.items():
            if value not in values.setdefault(key, []):
                values[key].append(value)
    notes = [f"mixes {key} {', '.join(found)}" for key, found in values.items() if len(found) > 1]
    return {key: found[0] for key, found in values.items() if len(found) == 1}, notes
