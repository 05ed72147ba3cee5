"""Run folders with everything that figures and tables read, and no model: what training leaves, by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from opsd_rs.base import append_line, write_table

if TYPE_CHECKING:
    from pathlib import Path

CONTEXTS = [
    "none",
    "expert_preamble",
    "feedback",
    "llm_peer_hints",
    "own_solution_feedback",
    "peer_solution_feedback",
]


def folder_of_runs(path: Path, contexts: list[str] = CONTEXTS, **more: Any) -> Path:
    """Folders as training leaves them, with everything that figures read and no rollouts."""
    for place, context in enumerate(contexts):
        for seed in (0, 1):
            run = path / f"run-{place}-{seed}"
            run.mkdir(parents=True)
            config = {
                "seed": seed, "context": {"name": context}, "rollout": {"n": 4}, "log": {"token_kl": True},
                "train": {"num_steps": 4, "prompts_per_step": 2},
            }  # fmt: skip
            (run / "config.json").write_text(json.dumps(config))
            (run / "run.json").write_text(json.dumps({"run_id": f"{place}-{seed}", "segments": []}))
            for step in range(4):
                line = {
                    "step": step,
                    "kl": 0.1 / (step + 1),
                    "student_accuracy": 0.2 + 0.1 * step,
                    "grad_norm": 1.0,
                }
                line |= {"completion_tokens": 80, "coverage": 1.0, "truncated": 0.0}
                append_line(
                    run / "metrics.jsonl", line | {"seconds": {"rollout": 2.0, "update": 1.0, "mine": 0.5}}
                )
            validated = [
                {"step": step, "arm": arm, "context": context, "problem_id": f"p{p}", "n": 4,
                 "passed": min(4, p % 3 + (step + place) // 2), "nulls": 0, "truncated": 0, "tokens": 9.0}
                for step in (0, 2, 4) for arm in ("student", "teacher") for p in range(5)
            ]  # fmt: skip
            write_table(run / "eval.parquet", validated)
            gap = 0.03 * place
            measured = {"context": context, "base_model": "m", "seed": seed, "gap": gap, "gap_se_cond": 0.01}
            write_table(
                run / "gap.parquet", [measured | {"coverage": 0.0 if context == "none" else 0.8, "k_gap": 8}]
            )
            row = {
                "run_id": f"{place}-{seed}",
                "family": "m",
                "config_id": context,
                "context": context,
                "seed": seed,
            }
            row |= {"gap": gap, "improvement": 1.4 * gap + 0.01 * (place % 2) + 0.004 * seed, "size_b": 0.135}
            write_table(run / "runs.parquet", [row | more])
    return path
