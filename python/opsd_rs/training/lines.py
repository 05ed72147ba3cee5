"""A run's numbers as lines for a terminal: steps, gaps, validations, the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsd_rs.measure import EvalRow, GapRow, eval_accuracy, num_nulls


def accuracy_table(rows: Sequence[EvalRow], k: int) -> list[dict[str, Any]]:
    """What ``opsd-rs eval`` prints: mean@k with its errors."""
    found = eval_accuracy(rows)
    return [
        {
            f"mean@{k}": found.value,
            "se_cond": found.se_cond,
            "se_super": found.se_super,
            "problems": found.num_problems,
            "nulls": num_nulls(rows),
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
    """A context's gap in one line, with a warning where one is due."""
    note = row.note()
    return (
        f"gap {row.context}: student {number(row.acc_student_gap)}, self-teacher {number(row.acc_teacher)},"
        f" gap {number(row.gap, '+')} (SE {number(row.gap_se_cond)}), coverage {row.coverage:.2f}"
        f"{'; ' + note if note else ''}"
    )


def eval_line(rows: Sequence[EvalRow], step: int, k: int) -> str:
    """A validation in one line."""
    parts = []
    for arm in dict.fromkeys(row.arm for row in rows):
        mine = [row for row in rows if row.arm == arm]
        found, failed = eval_accuracy(mine), num_nulls(mine)
        nulls = f", {failed} infrastructure errors left out" if failed else ""
        parts.append(f"{arm} mean@{k} {number(found.value)} (SE {number(found.se_cond)}{nulls})")
    return f"validation at step {step}: " + "; ".join(parts)


def number(value: float | None, sign: str = "") -> str:
    """Three digits, or a question mark for what is not known."""
    return "?" if value is None else f"{value:{sign}.3f}"


def distinguishable(value: float | None, se: float | None) -> bool:
    """Whether a difference lies outside 2 standard errors of 0."""
    return value is not None and se is not None and abs(value) > 2 * se


def improvement_line(row: Mapping[str, Any]) -> str:
    """The run's result in one line."""
    value, se = row["improvement"], row["improvement_se_cond"]
    verdict = "" if distinguishable(value, se) else ", not distinguishable from 0"
    return f"improvement {number(value, '+')} (SE {number(se)}{verdict}) with context {row['context']}"
