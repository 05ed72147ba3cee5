"""A run's numbers as lines for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.measure import EvalRow, GapRow, eval_accuracy


def accuracy_table(rows: Sequence[EvalRow], k: int) -> list[dict[str, Any]]:
    """One row for people: mean@k with its errors."""
    found = eval_accuracy(rows)
    return [
        {
            f"mean@{k}": found.mean,
            "se_conditional": found.se_conditional,
            "se_super": found.se_super,
            "problems": found.num_problems,
            "nulls": found.num_nulls,
        }
    ]


def step_line(line: Mapping[str, Any], num_steps: int) -> str:
    """A step in one line."""
    shown = (f"{name} {line[name]:.4f}" for name in ("loss", "kl") if line[name] is not None)
    loss = " ".join(shown) or "none trained"
    accuracy = "-" if line["student_accuracy"] is None else f"{line['student_accuracy']:.3f}"
    seconds = sum(line["seconds"].values())
    return (
        f"step {line['step'] + 1}/{num_steps}: {loss} accuracy {accuracy} coverage {line['coverage']:.2f}"
        f" ({seconds:.0f} s)"
    )


def gap_line(row: GapRow) -> str:
    """A context's gap in one line, with what must be told about it."""
    note = row.note()
    return (
        f"gap {row.context}: student {row.acc_student:.3f}, self-teacher {row.acc_teacher:.3f}, gap {row.gap:+.3f}"
        f" (SE {row.gap_se_cond:.3f}), coverage {row.coverage:.2f}{'; ' + note if note else ''}"
    )


def eval_line(rows: Sequence[EvalRow], step: int, k: int) -> str:
    """A validation in one line."""
    parts = []
    for arm in dict.fromkeys(row.arm for row in rows):
        found = eval_accuracy([row for row in rows if row.arm == arm])
        nulls = f", {found.num_nulls} infrastructure errors left out" if found.num_nulls else ""
        parts.append(f"{arm} mean@{k} {found.mean:.3f} (SE {found.se_conditional:.3f}{nulls})")
    return f"validation at step {step}: " + "; ".join(parts)


def distinguishable(value: float, se: float) -> bool:
    """Whether a difference lies outside 2 standard errors of 0."""
    return math.isfinite(value) and math.isfinite(se) and abs(value) > 2 * se


def improvement_line(row: Mapping[str, Any]) -> str:
    """The run's result in one line."""
    value, se = row["improvement"], row["improvement_se_cond"]
    verdict = "" if distinguishable(value, se) else ", not distinguishable from 0"
    return f"improvement {value:+.3f} (SE {se:.3f}{verdict}) with context {row['context']}"
