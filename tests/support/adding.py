"""The shipped contexts, and rollouts of one problem with their grades, for the tests of words and of token ids."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import opsd_rs
from opsd_rs.config import ContextConfig
from opsd_rs.context import Assembler
from opsd_rs.records import Case, Grade, Problem, Rollout

CONTEXTS = Path(opsd_rs.__file__).parent / "configs" / "contexts"
NAMES = [
    "concise",
    "corrupted_solution",
    "erl",
    "expert_preamble",
    "feedback",
    "few_shot",
    "llm_peer_hints",
    "none",
    "oel",
    "oel_merged",
    "opcd_experience",
    "opcd_system_prompt",
    "opsd",
    "opsd_explained",
    "own_solution_feedback",
    "paper-2605.30070",
    "peer_solution_feedback",
    "reference_free",
    "retrieved_examples",
    "rltf_sd",
    "sdft",
    "sdpo",
    "wrong_problem_solution",
]
ADD = Problem("add", "Add {two} integers.", (Case("1\n2", "3"),), entry_point="add")


def load(name: str, **changes: Any) -> ContextConfig:
    table = tomllib.loads((CONTEXTS / f"{name}.toml").read_text(encoding="utf-8"))["context"]
    return ContextConfig.model_validate({**table, **changes})


def rollout(sample: int, text: str, problem_id: str = "add") -> Rollout:
    return Rollout(problem_id, sample, (1,), (5, 2), (-0.1, -0.2), text, truncated=False, policy_version=0)


def grade(sample: int, passed: bool | None, feedback: str = "", problem_id: str = "add") -> Grade:
    verdict: Any = {True: "accepted", False: "wrong_answer", None: "infra_error"}[passed]
    return Grade(problem_id, sample, passed, verdict, (), feedback)


def assembler(path: Path, context: ContextConfig, **options: Any) -> Assembler:
    defaults: dict[str, Any] = {"enable_thinking": False, "max_context_tokens": 4096, "prompt_style": "plain"}
    return Assembler(path, context, **{**defaults, **options})
