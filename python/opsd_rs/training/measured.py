"""Rows that were measured before: which of a table's are about what is to be measured now, and which are not.

A row carries its identity. In the run's own ``gap.parquet`` a row of another identity stays and is not used; in a table
that ``gap.from`` or ``eval.from`` names it is refused, with the fields that differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opsd_rs.base import read_table
from opsd_rs.errors import BadInput
from opsd_rs.measure import GapRow, Identity, differences, read_identity

GAP_COLUMNS = (
    "k_gap", "gap_groups", "decoding_gap", "gap_baseline_shared", "acc_student_gap", "acc_teacher", "gap",
    "gap_se_cond", "gap_se_super", "coverage", "gap_failed", "gap_passed",
)  # fmt: skip
"""What a run's row takes from the row of its gap."""

OLD_GAP_NAMES = {
    "num_problems": "n_problems_gap",
    "acc_student": "acc_student_gap",
    "acc_student_se": "acc_student_gap_se",
}
"""Columns of ``gap.parquet`` as earlier versions called them."""


def gap_row(
    row: GapRow, columns: Mapping[str, Any], identity: Identity, acc_val0: float | None
) -> dict[str, Any]:
    """A row of ``gap.parquet``: what was measured, and which run's improvement it lets the law forecast.

    :param columns: ``configuration_columns`` of that run
    :param acc_val0: its validation accuracy before training, where that is known
    """
    named = {"identity_id": identity.short, "identity": identity.text()}
    return {**columns, **asdict(row), "acc_val0": acc_val0, **named}


def read_gap_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``gap.parquet``, those of earlier versions under today's names and with null for nan."""
    return [
        {
            OLD_GAP_NAMES.get(name, name): None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in read_table(path)
    ]


def matching(rows: Sequence[Mapping[str, Any]], context: str, identity: Identity) -> Mapping[str, Any] | None:
    """The newest row of the context and the identity; None without one."""
    found = [row for row in rows if row.get("context") == context and not _differs(row, identity)]
    return found[-1] if found else None


def own_gap(rows: Sequence[Mapping[str, Any]], context: str, identity: Identity) -> Mapping[str, Any] | None:
    """A finished run's own gap. A run of an earlier version measured it without saying so: such a row is the run's."""
    unnamed = [row for row in rows if row.get("context") == context and not row.get("identity")]
    return matching(rows, context, identity) or (unnamed[-1] if unnamed else None)


def stale(rows: Sequence[Mapping[str, Any]], context: str, identity: Identity) -> str:
    """Why the rows of this context are not used: a line for the newest; empty where there is none."""
    found = [row for row in rows if row.get("context") == context]
    return (
        f"gap {context}: {_reason(found[-1], identity)}; that row stays, the gap is measured again"
        if found
        else ""
    )


def gap_row_from(path: Path, context: str, identity: Identity) -> Mapping[str, Any]:
    """The row that ``gap.from`` holds of a gap.

    :raises BadInput: no such table or context, or the measurement of something else, naming the fields that differ
    """
    if not path.exists():
        raise BadInput(
            f"gap.from = {path}: no such file; measure it with `opsd-rs gap`, or leave gap.from out"
        )
    rows = [row for row in read_gap_rows(path) if row.get("context") == context]
    if not rows:
        raise BadInput(f"gap.from = {path} holds no gap of context {context}")
    found = matching(rows, context, identity)
    if found is None:
        nearest = min(reversed(rows), key=lambda row: len(_differs(row, identity)))
        raise BadInput(
            f"gap.from = {path}, context {context}: {_reason(nearest, identity)}; measure it again with "
            "`opsd-rs gap`, or leave gap.from out"
        )
    return found


def baseline_from(path: Path, identity: Identity) -> list[dict[str, Any]]:
    """Step 0 of another run's validation, taken as this run's baseline.

    :raises BadInput: no such table, no such rows, or the validation of something else, naming the fields that differ
    """
    if not path.exists():
        raise BadInput(f"eval.from = {path}: no such file; leave eval.from out and the baseline is measured")
    rows = [row for row in read_table(path) if row["step"] == 0 and row["arm"] == "student"]
    if not rows:
        raise BadInput(f"eval.from = {path} holds no student rows of step 0")
    other = [row for row in rows if _differs(row, identity)]
    if other:
        raise BadInput(
            f"eval.from = {path}: {_reason(other[0], identity)}; take a baseline of the same measurement, or leave "
            "eval.from out"
        )
    return rows


def known_baseline(run_dir: Path, identity: Identity) -> list[dict[str, Any]]:
    """The student's validation before training, where this folder holds it."""
    rows = read_table(run_dir / "eval.parquet")
    return [
        row for row in rows if row["step"] == 0 and row["arm"] == "student" and not _differs(row, identity)
    ]


def of_the_newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows of the measurement that was written last, and those of earlier versions, which do not say theirs."""
    named = [row["identity_id"] for row in rows if row.get("identity_id")]
    return [row for row in rows if row.get("identity_id") in (None, *named[-1:])]


def is_measured(rows: Sequence[Mapping[str, Any]], step: int, identity: Identity) -> bool:
    """Whether a run has validated ``step`` already, as ``identity`` or, by an earlier version, without saying so."""
    return any(row["step"] == step and row.get("identity_id") in (None, identity.short) for row in rows)


UNNAMED = "the row was written by an earlier version and does not say what it was measured with"


def _differs(row: Mapping[str, Any], identity: Identity) -> list[str]:
    found = read_identity(row.get("identity"))
    return [UNNAMED] * 99 if found is None else differences(found, identity)


def _reason(row: Mapping[str, Any], identity: Identity) -> str:
    found = _differs(row, identity)
    return UNNAMED if UNNAMED in found else f"measured with another {', '.join(found)}"
