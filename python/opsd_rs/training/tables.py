"""A run's numbers as rows of its tables: rollouts, validations, gaps, and its row for the law."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from opsd_rs.base import read_lines, read_table
from opsd_rs.measure import EvalRow, Identity, eval_accuracy, paired_improvement
from opsd_rs.records import Grade, Rollout, TeacherContext
from opsd_rs.training.measured import GAP_COLUMNS, of_the_newest, own_gap, read_gap_rows
from opsd_rs.training.token_kl import Halves


def rollout_rows(
    step: int,
    rollouts: Sequence[Rollout],
    grades: Sequence[Grade],
    contexts: Sequence[TeacherContext],
    token_kl: Sequence[Halves | None] | None = None,
) -> list[dict[str, Any]]:
    """One row per rollout: what was sampled, how it was graded, what the teacher read.

    :param token_kl: the divergence of each completion token, None for a rollout that was not trained; without it the
        column is left out
    """
    kept = [{}] * len(rollouts) if token_kl is None else [{"token_kl": values} for values in token_kl]
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
            "teacher_spans": teacher_spans(context),
            **more,
        }
        for rollout, grade, context, more in zip(rollouts, grades, contexts, kept, strict=True)
    ]


def teacher_spans(context: TeacherContext) -> list[dict[str, Any]]:
    """Where the statement (``prompt``) and each privileged section lie in the teacher's prompt, in tokens.

    Sections that the row does not have are left out.
    """
    batch = context.batch
    if batch is None or batch.sections is None:
        return []
    start = int(batch.cu_seqlens[context.row])
    spans = {name: (spans[context.row] - start).tolist() for name, spans in batch.sections.items()}
    return [{"section": name, "start": low, "end": high} for name, (low, high) in spans.items() if high > low]


def token_rows(pieces: Mapping[int, bytes]) -> list[dict[str, Any]]:
    """The vocabulary as rows: what shows the ids in ``rollouts/`` as text, where no tokenizer is at hand."""
    return [{"token_id": token_id, "bytes": piece} for token_id, piece in pieces.items()]


def read_eval_rows(run_dir: Path) -> list[EvalRow]:
    """The validations of a run, without those of other measurements that its folder may hold."""
    return eval_rows_of(of_the_newest(read_table(run_dir / "eval.parquet")))


def eval_rows_of(rows: Sequence[Mapping[str, Any]]) -> list[EvalRow]:
    """Rows of an ``eval.parquet`` as records."""
    names = [field.name for field in fields(EvalRow)]
    return [EvalRow(**{name: row[name] for name in names}) for row in rows]


def at(rows: Sequence[EvalRow], step: int, arm: str) -> list[EvalRow]:
    """One arm of one validation."""
    return [row for row in rows if row.step == step and row.arm == arm]


def run_row(
    columns: Mapping[str, Any],
    run_dir: Path,
    *,
    run_id: str,
    identity: Identity,
    segments: int,
    opt_updates: int,
    gpu_hours: float | None,
    last_step: int,
) -> dict[str, Any]:
    """The run's row of the law's table: gap before, improvement after, and the settings they hold under.

    :param columns: ``configuration_columns`` of the run
    :param identity: of its gap
    :param segments: recipes that it was trained by, one after another
    :param last_step: at which it ended: its horizon, unless ``law.stop`` ended it before
    """
    rows = read_eval_rows(run_dir)
    before, after = at(rows, 0, "student"), at(rows, last_step, "student")
    improvement = paired_improvement(before, after)
    gap = own_gap(read_gap_rows(run_dir / "gap.parquet"), columns["context"], identity) or {}
    metrics = read_lines(run_dir / "metrics.jsonl")
    return {
        **columns,
        "run_id": run_id,
        "segments": segments,
        "stopped_at": last_step if last_step < columns["horizon_steps"] else None,
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
        "token_kl0": metrics[0].get("kl") if metrics else None,
        "topk_overlap0": metrics[0].get("topk_overlap") if metrics else None,
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
