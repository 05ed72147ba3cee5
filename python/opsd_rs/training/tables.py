"""A run's numbers as rows for files and as lines for people. Pure functions over what other rooms measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from opsd_rs import __version__
from opsd_rs.base import read_lines, read_table
from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.measure import EvalRow, eval_accuracy, paired_improvement
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
    names = [field.name for field in fields(EvalRow)]
    return [EvalRow(**{name: row[name] for name in names}) for row in read_table(run_dir / "eval.parquet")]


def at(rows: Sequence[EvalRow], step: int, arm: str) -> list[EvalRow]:
    """One arm of one validation."""
    return [row for row in rows if row.step == step and row.arm == arm]


def run_row(config: Config, run_dir: Path, model_dir: str) -> dict[str, Any]:
    """The run's row of the law's table: gap before, improvement after, and the domain they hold in."""
    rows = read_eval_rows(run_dir)
    last = config.train.num_steps
    before, after = at(rows, 0, "student"), at(rows, last, "student")
    improvement, se_cond, se_super = paired_improvement(before, after)
    measured = {row["context"]: row for row in read_table(run_dir / "gap.parquet")}
    gap = measured.get(config.context.name, {})
    metrics = read_lines(run_dir / "metrics.jsonl")
    family = config.run.family or Path(model_dir).name
    r, e = config.rollout, config.eval
    return {
        "run_id": f"{run_dir.name}-{config.seed}",
        "config_id": config.run.config_id
        or f"{family}/{Path(config.problems.path).stem}/{config.context.name}",
        "family": family,
        "base_model": Path(model_dir).name,
        "context": config.context.name,
        "recipe_id": f"{config.loss.kind}-top{config.loss.topk}-{config.teacher.kind}{config.teacher.rate}",
        "horizon_steps": last,
        "opt_updates": metrics[-1]["optimizer_steps"] if metrics else 0,
        "lr": config.optim.lr,
        "ema": config.teacher.rate,
        "group_size": r.n,
        "seed": config.seed,
        "dataset_id": Path(config.problems.path).stem,
        "split": "held_out" if e.problems == "held_out" else "transductive",
        "n_problems": len(before),
        "k_gap": gap.get("k_gap"),
        "k_val": e.n,
        "decoding_gap": f"T={r.temperature},top_p={r.top_p}",
        "decoding_val": f"T={e.temperature},top_p={e.top_p}",
        "acc_student_gap": gap.get("acc_student"),
        "acc_teacher": gap.get("acc_teacher"),
        "gap": gap.get("gap"),
        "gap_se_cond": gap.get("gap_se_cond"),
        "gap_se_super": gap.get("gap_se_super"),
        "coverage": gap.get("coverage"),
        "acc_val0": eval_accuracy(before).mean,
        "acc_val1": eval_accuracy(after).mean,
        "improvement": improvement,
        "improvement_se_cond": se_cond,
        "improvement_se_super": se_super,
        "gap_baseline_shared": config.gap.baseline == "paper",
        "ckpt_rule": "last",
        "kl_final": metrics[-1]["kl"] if metrics else None,
        "context_sha256": config.context.sha256,
        "preamble": f"{config.context.preamble_id or 'unnamed'}:{config.context.preamble_sha256}"
        if config.context.preamble
        else None,
        "code_version": __version__,
    }


def gap_rows_from(path: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a gap measured before; BadInput where a context is not in it."""
    if not path.exists():
        raise BadInput(
            f"gap.from = {path}: no such file; measure it with `opsd-rs gap`, or leave gap.from out"
        )
    rows = [row for row in read_table(path) if row.get("context") in wanted]
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
