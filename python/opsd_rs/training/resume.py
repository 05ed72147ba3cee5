"""Which keys a resumed run may change: those that leave its numbers comparable, and the optimizer's, on record."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from opsd_rs.config import Config, dotted_values
from opsd_rs.errors import BadInput
from opsd_rs.training import run_json

MAY_CHANGE = (
    "optim.lr",
    "optim.betas",
    "optim.eps",
    "optim.weight_decay",
    "optim.clip",
    "teacher.offload",
    "train.num_steps",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.micro_batch_tokens",
    "eval.every",
    "law",
    "log",
    "run.config_id",
    "run.family",
    "run.gpu_share",
    "model.gradient_checkpointing",
    "model.keep_attention",
    "model.compile",
    "train.deterministic",
    "rollout.gpu_memory_utilization",
    "rollout.kv_cache_gib",
    "rollout.max_num_seqs",
    "rollout.enforce_eager",
    "grader.workers",
    "grader.memory_budget_mib",
)
"""Keys, and tables of keys: the optimizer's settings, how long and how often, where it runs. The rest decides what is
sampled, graded, read, compared or how a checkpoint is written, so that a run with two values of it would be two runs in
one folder."""
NEWER = {"optim.gradient_dtype": "float32", "optim.offload": False, "law.file": None, "law.stop": "off"}
"""What runs that began before these keys existed have been doing."""
RECIPE = ("optim",)
"""Of these, what makes a run another recipe."""


def changes(config: Config, run_dir: Path) -> dict[str, tuple[Any, Any]]:
    """Keys of ``config`` that differ from the run's last segment, with both values.

    :raises BadInput: one that may not change
    """
    before = run_json.last_config(run_dir) or _read(run_dir / "config.json")
    old, new = NEWER | dotted_values(before), dotted_values(config)
    # A key that only one side has belongs to another version, or to a plugin; the folder may have been moved.
    found = {
        key: (old[key], new[key]) for key in new if key in old and old[key] != new[key] and key != "run.dir"
    }
    for key, (was, is_now) in found.items():
        if not _among(key, MAY_CHANGE):
            raise BadInput(
                f"{run_dir}: {key} may not change in a run ({json.dumps(was)}, now {json.dumps(is_now)}): start a new"
                f" run; these may: {', '.join(MAY_CHANGE)}"
            )
    return found


def num_recipes(run_dir: Path) -> int:
    """How many recipes the run has been trained by, one after another.

    A segment that a later one began before, or at the same step, trained nothing that is left.
    """
    settings: dict[str, Any] = {}
    kept: list[tuple[int, dict[str, Any]]] = []
    for segment in run_json.segments(run_dir):
        changed = {k: v for k, v in segment.get("changed", {}).items() if _among(k, RECIPE)}
        # What was in force before a key's first change holds for all segments before it.
        kept = [(step, {key: v[0] for key, v in changed.items()} | earlier) for step, earlier in kept]
        settings = settings | {key: v[1] for key, v in changed.items()}
        kept = [(step, earlier) for step, earlier in kept if step < segment["step"]]
        kept.append((segment["step"], settings))
    return 1 + sum(one != other for (_, one), (_, other) in pairwise(kept))


def _among(key: str, names: tuple[str, ...]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found
