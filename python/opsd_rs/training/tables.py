"""A run's numbers as rows of its tables: rollouts, validations, gaps, and its row for the law."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines, read_table
from opsd_rs.errors import BadInput
from opsd_rs.measure import EvalRow, GapRow, eval_accuracy, paired_improvement
from opsd_rs.records import Grade, Rollout, TeacherContext


def rollout_rows(
    step: int, rollouts: Sequence[Rollout], grades: Sequence[Grade], contexts: Sequence[TeacherContext]
) -> list[dict[str, Any]]:
    """One row per rollout: what was sampled, how it was graded, what the teacher read."""
    return [
        {
            "step": step,
            "problem_id": rollout.problem_id,
            "sample": rollout.sample,
            "policy_version": rollout.policy_version,
            "text": rollout.text,
            "truncated": rollout.truncated,
            "passed": grade.passed,
            "verdict": grade.verdict,
            "feedback": grade.feedback,
            "context_status": context.status,
            "has_context": context.has_context,
            "context_flags": list(context.flags),
            "prompt_ids": list(rollout.prompt_ids),
            "completion_ids": list(rollout.completion_ids),
            "logprobs": list(rollout.logprobs),
            "teacher_prompt_ids": list(context.prompt_ids),
        }
        for rollout, grade, context in zip(rollouts, grades, contexts, strict=True)
    ]


def read_eval_rows(run_dir: Path) -> list[EvalRow]:
    """The validations of a run."""
    return _eval_rows(read_table(run_dir / "eval.parquet"))


def _eval_rows(rows: Sequence[Mapping[str, Any]]) -> list[EvalRow]:
    names = [field.name for field in fields(EvalRow)]
    return [EvalRow(**{name: row[name] for name in names}) for row in rows]


def at(rows: Sequence[EvalRow], step: int, arm: str) -> list[EvalRow]:
    """One arm of one validation."""
    return [row for row in rows if row.step == step and row.arm == arm]


GAP_COLUMNS = (
    "k_gap", "decoding_gap", "gap_baseline_shared", "acc_student_gap", "acc_teacher", "gap", "gap_se_cond",
    "gap_se_super", "coverage",
)  # fmt: skip
"""What a run's row takes from the row of its gap, which ``gap.from`` may have measured under other settings."""

OLD_GAP_NAMES = {
    "num_problems": "n_problems_gap",
    "acc_student": "acc_student_gap",
    "acc_student_se": "acc_student_gap_se",
}
"""Columns of ``gap.parquet`` as earlier versions called them."""


def run_row(
    columns: Mapping[str, Any],
    run_dir: Path,
    *,
    run_id: str,
    opt_updates: int,
    gpu_hours: float | None,
) -> dict[str, Any]:
    """The run's row of the law's table: gap before, improvement after, and the settings they hold under.

    :param columns: ``configuration_columns`` of the run
    """
    rows = read_eval_rows(run_dir)
    before, after = at(rows, 0, "student"), at(rows, columns["horizon_steps"], "student")
    improvement = paired_improvement(before, after)
    measured = {row["context"]: row for row in read_gap_rows(run_dir / "gap.parquet")}
    gap = measured.get(columns["context"], {})
    metrics = read_lines(run_dir / "metrics.jsonl")
    return {
        **columns,
        "run_id": run_id,
        "opt_updates": opt_updates,
        "n_problems": len(before),
        **{name: gap[name] for name in GAP_COLUMNS if gap.get(name) is not None},
        "acc_val0": eval_accuracy(before).value,
        "acc_val1": eval_accuracy(after).value,
        "improvement": improvement.value,
        "improvement_se_cond": improvement.se_cond,
        "improvement_se_super": improvement.se_super,
        "baseline_id": baseline_id(before),
        "ckpt_rule": "last",
        "kl_final": metrics[-1]["kl"] if metrics else None,
        "gpu_hours": gpu_hours,
    }


def baseline_id(rows: Sequence[EvalRow]) -> str | None:
    """Which measurement of the student before training this is: runs that share one share its error too.

    Made of what was counted, so that a copy (``eval.from``) and a repetition with the same seed get the same name.
    """
    if not rows:
        return None
    counted = [[row.problem_id, row.n, row.passed, row.nulls, row.truncated, row.tokens] for row in rows]
    return hashlib.sha256(json.dumps(sorted(counted)).encode()).hexdigest()[:16]


def gap_row(row: GapRow, columns: Mapping[str, Any], acc_val0: float | None) -> dict[str, Any]:
    """A row of ``gap.parquet``: what was measured, and which run's improvement it lets the law forecast.

    :param columns: ``configuration_columns`` of that run
    :param acc_val0: its validation accuracy before training, where that is known
    """
    return {**columns, **asdict(row), "acc_val0": acc_val0}


def read_gap_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``gap.parquet``, those of earlier versions under today's names and with null for nan."""
    return [
        {
            OLD_GAP_NAMES.get(name, name): None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in read_table(path)
    ]


def gap_rows_from(path: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a gap measured before; BadInput where a context is not in it."""
    if not path.exists():
        raise BadInput(
            f"gap.from = {path}: no such file; measure it with `opsd-rs gap`, or leave gap.from out"
        )
    rows = [row for row in read_gap_rows(path) if row.get("context") in wanted]
    missing = set(wanted) - {row["context"] for row in rows}
    if missing:
        raise BadInput(f"gap.from = {path} holds no gap of context {', '.join(sorted(missing))}")
    return rows


def baseline_from(path: Path) -> list[dict[str, Any]]:
    """Step 0 of another run's validation, taken as this run's baseline."""
    rows = [row for row in read_table(path) if row["step"] == 0 and row["arm"] == "student"]
    if not rows:
        raise BadInput(f"eval.from = {path} holds no student rows of step 0")
    return rows


def known_baseline(run_dir: Path, eval_from: str | None) -> list[EvalRow]:
    """The student's validation before training, where the run has measured it or takes it from another run."""
    rows = at(read_eval_rows(run_dir), 0, "student")
    return rows or (_eval_rows(baseline_from(Path(eval_from))) if eval_from is not None else [])
