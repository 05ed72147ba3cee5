"""The name of a recipe: everything by which two runs of one context differ, but their seed.

Runs of one recipe are averaged as seeds, so whatever changes what is trained is in its name: the main settings in
words, all others, where they are not at their defaults, as a short hash.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from opsd_rs.base import own_name
from opsd_rs.config import (
    OBJECTIVE_TABLES,
    Config,
    ProblemsConfig,
    dotted_values,
    may_ask_the_self_teacher,
    tables_read,
)

ELSEWHERE = (
    # told by columns of their own, or by the words of the name
    "context.", "control.mask", "eval.n", "eval.problems", "eval.temperature", "eval.top_p", "gap.", "loss.aggregate",
    "loss.kind", "loss.topk", "model.path", "objective.name", "optim.lr", "problems.", "rollout.max_tokens",
    "rollout.n", "rollout.temperature", "rollout.top_p", "seed", "teacher.kind", "teacher.rate",
    "train.mini_batch_prompts", "train.num_steps", "train.prompts_per_step",
)  # fmt: skip
"""Beginnings of keys that the hash leaves to others."""
NO_MATTER = (
    "deepspeed.", "eval.every", "eval.from", "eval.seed", "eval.teacher", "grader.allow_unsandboxed",
    "grader.level", "grader.memory_budget_mib", "grader.require", "grader.workers", "law.", "log.", "model.chat_date",
    "model.compile", "model.gradient_checkpointing", "model.keep_attention", "optim.offload", "rollout.enforce_eager",
    "rollout.engine", "rollout.gpu_memory_utilization", "rollout.kv_cache_gib", "rollout.max_num_seqs", "run.",
    "teacher.offload", "train.checkpoint_every", "train.deterministic", "train.keep_checkpoints",
)  # fmt: skip
"""Beginnings of keys that decide where and how fast a run runs, and what of it is watched."""


def recipe_id(config: Config) -> str:
    """What is minimised, how the teacher follows, how far and how fast, on which problems and tests.

    >>> recipe_id(Config())
    'reverse_kl-top20-token_mean-ema0.01-lr1e-06-b32-m1-s50-t8192-all-hash0.5'
    """
    train, loss = config.train, config.loss
    objective = config.objective.name
    words = [
        *([loss.kind, f"top{loss.topk}", loss.aggregate] if objective == "opsd" else [objective]),
        *([f"{config.teacher.kind}{config.teacher.rate}"] if may_ask_the_self_teacher(config) else []),
        f"lr{config.optim.lr}",
        f"b{train.prompts_per_step}",
        f"m{train.mini_batch_prompts}",
        f"s{train.num_steps}",
        f"t{config.rollout.max_tokens}",
        problem_filter(config.problems),
        tests_split(config.problems),
    ]
    rest = _rest(config)
    if rest:
        words.append(hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:6])
    return "-".join(words)


def recipe_columns(config: Config) -> dict[str, Any]:
    """The columns of a run's row that its configuration alone decides, and no context or model."""
    rollout, evaluation = config.rollout, config.eval
    return {
        "control_mask": config.control.mask,
        "recipe_id": recipe_id(config),
        "horizon_steps": config.train.num_steps,
        "lr": config.optim.lr,
        "prompts_per_step": config.train.prompts_per_step,
        "mini_batch_prompts": config.train.mini_batch_prompts,
        "max_tokens": rollout.max_tokens,
        "aggregate": config.loss.aggregate,
        "ema": config.teacher.rate,
        "group_size": rollout.n,
        "seed": config.seed,
        "problem_filter": problem_filter(config.problems),
        "tests_split": tests_split(config.problems),
        "split": "held_out" if evaluation.problems == "held_out" else "transductive",
        "k_gap": config.num_gap_groups * rollout.n,
        "gap_groups": config.num_gap_groups,
        "k_val": evaluation.n,
        "decoding_gap": f"T={rollout.temperature},top_p={rollout.top_p}",
        "decoding_val": f"T={evaluation.temperature},top_p={evaluation.top_p}",
        "gap_baseline_shared": config.gap.baseline == "paper",
    }


def problem_filter(problems: ProblemsConfig) -> str:
    """Which problems of the file are kept.

    >>> problem_filter(ProblemsConfig(limit=16, difficulty=("easy", "hard")))
    'difficulty=easy+hard,limit=16'
    """
    wanted = {
        "kind": problems.kind if problems.kind != "all" else None,
        "difficulty": "+".join(problems.difficulty),
        "platform": "+".join(problems.platform),
        "release": "+".join(problems.release),
        "from": problems.date_from,
        "to": problems.date_to,
        "limit": problems.limit,
        "prompt": problems.prompt if problems.prompt != "plain" else None,
    }
    return ",".join(f"{name}={value}" for name, value in wanted.items() if value) or "all"


def tests_split(problems: ProblemsConfig) -> str:
    """How the tests are divided and the problems held out.

    >>> tests_split(ProblemsConfig(held_out=0.2, split_seed=3))
    'hash0.5,held_out=0.2,split_seed=3'
    """
    found = problems.split + (str(problems.train_tests) if problems.split != "none" else "")
    found += f",held_out={problems.held_out}" if problems.held_out else ""
    drawn = problems.split == "hash" or problems.held_out
    return found + (f",split_seed={problems.split_seed}" if problems.split_seed and drawn else "")


def _rest(config: Config) -> dict[str, Any]:
    """The keys that no word tells, where they are not at their defaults; so a later version's keys change no name."""
    read = tables_read(config)
    left_out = [*ELSEWHERE, *NO_MATTER, *(f"{table}." for table in OBJECTIVE_TABLES if table not in read)]
    if config.objective.name == "opsd" and config.loss.aggregate == "token_mean":
        left_out.append("train.micro_batch_tokens")  # the loss does not depend on it
    return {
        key: value
        for key, value in dotted_values(config).items()
        if not key.startswith(tuple(left_out)) and _defaults().get(key) != value
    }


def run_settings(config: Config) -> dict[str, Any]:
    """Every key that decides a run's numbers, where it is not at its default; files and models by their last names.

    Two runs with the same of these are one run, on whatever machine. A later version's keys are not in it.

    >>> run_settings(Config.model_validate({"seed": 3, "run": {"dir": "x"}, "model": {"path": "models/qwen3"}}))
    {'seed': 3, 'model.path': 'qwen3'}
    """
    by_name = ("model.path", "problems.path")
    return {
        key: own_name(value) if key in by_name else value
        for key, value in dotted_values(config).items()
        if not key.startswith((*NO_MATTER, "gap.from", "gap.contexts", "train.micro_batch_tokens"))
        and _defaults().get(key) != value
    }


@cache
def _defaults() -> dict[str, Any]:
    return dotted_values(Config())
