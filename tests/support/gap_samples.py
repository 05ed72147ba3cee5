"""Graded answers of a gap's arms, made from tables of what passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.measure import Sample

Table = Sequence[Sequence[bool | None]]
"""Per problem, per sample: whether it passed."""


def arm(
    name: str,
    table: Table,
    *,
    context: str = "",
    size: int = 2,
    full: Table | None = None,
    helped: Table | None = None,
    truncated: Table | None = None,
    **fields: Any,
) -> list[Sample]:
    """Samples of one arm."""
    return [
        Sample(
            arm=name,  # type: ignore[arg-type]
            step=0,
            context=context,
            group=sample // size,
            problem_id=f"p{problem}",
            sample=sample,
            parent_sample=sample if name == "T" else None,
            status=None if name != "T" else "feedback" if helped and helped[problem][sample] else "bare",
            passed=passed,
            num_tokens=10,
            truncated=bool(truncated and truncated[problem][sample]),
            tests="train_half" if name == "A" else "full",
            prompt_sha256="5f1c",
            passed_full=None if full is None else full[problem][sample],
            **fields,
        )
        for problem, row in enumerate(table)
        for sample, passed in enumerate(row)
    ]


def measurement(a: Table, b: Table, teachers: Mapping[str, Table], **fields: Any) -> list[Sample]:
    """All arms; A by all tests as by those of training."""
    found = arm("A", a, full=a, **fields) + arm("B", b, **fields)
    for name, table in teachers.items():
        found += arm(
            "T", table, context=name, helped=[[name != "none"] * len(row) for row in table], **fields
        )
    return found
