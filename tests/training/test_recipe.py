"""A recipe's name: what it is made of, and that every key of the configuration is in it, or is said not to matter."""

from __future__ import annotations

import pytest
from opsd_rs.config import load_config
from opsd_rs.config.keys import keys
from opsd_rs.training.recipe import ELSEWHERE, NO_MATTER, recipe_id

CONTROL = "control.mask=one"


def name(*overrides: str) -> str:
    return recipe_id(load_config([], [CONTROL, *overrides]))


TOLD = (
    "optim.lr=2e-6", "train.prompts_per_step=16", "train.mini_batch_prompts=2", "train.num_steps=9",
    "rollout.max_tokens=64", "loss.aggregate=sdpo", "loss.kind=forward_kl", "loss.topk=none", "teacher.kind=fixed",
    "teacher.rate=0.5", "problems.limit=16", "problems.difficulty=easy", "problems.kind=stdin", "problems.platform=x",
    "problems.release=v6", "problems.date_from=2025-01-01", "problems.date_to=2025-01-01", "problems.split=none",
    "problems.train_tests=0.25", "problems.held_out=0.5", "problems.split_seed=4", "problems.prompt=sdpo",
)  # fmt: skip
HASHED = (
    "optim.betas=[0.9, 0.95]", "optim.clip=0.5", "optim.weight_decay=0.0", "optim.eps=1e-6", "loss.is_clip=none",
    "loss.rollout_is_clip=3.0", "loss.tail=false", "loss.jsd_alpha=0.3", "model.dtype=float32",
    "model.enable_thinking=true", "teacher.max_context_tokens=4096", "rollout.max_prompt_tokens=512",
    "grader.stop=never", "grader.cpu_seconds=2.0", "grader.feedback=lcb",
)  # fmt: skip


@pytest.mark.parametrize("override", [*TOLD, *HASHED])
def test_what_changes_the_training_changes_the_name(override: str) -> None:
    assert name(override) != name()


def test_no_two_of_them_share_a_name() -> None:
    names = [name(override) for override in ("seed=0", *TOLD, *HASHED)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "override",
    ["seed=5", "run.dir=x", "rollout.engine=hf", "train.checkpoint_every=1", "eval.every=1", "grader.workers=1",
     "train.micro_batch_tokens=4000", "deepspeed.stage=2", "gap.n=8", "gap.contexts=none", "eval.teacher=true"],
)  # fmt: skip
def test_what_does_not_change_it_does_not(override: str) -> None:
    assert name(override) == name()


def test_under_sdpo_s_mean_the_micro_batch_is_part_of_it() -> None:
    assert name("loss.aggregate=sdpo") != name("loss.aggregate=sdpo", "train.micro_batch_tokens=4000")


def test_a_key_is_told_by_words_or_hashed_and_every_exception_exists() -> None:
    for beginning in (*ELSEWHERE, *NO_MATTER):
        assert any(key.startswith(beginning) for key in keys()), beginning
    assert not set(ELSEWHERE) & set(NO_MATTER)


def test_the_words() -> None:
    found = name(
        "problems.limit=16", "problems.difficulty=easy,hard", "problems.held_out=0.2", "problems.split_seed=3"
    )
    assert found == (
        "reverse_kl-top20-token_mean-ema0.01-lr1e-06-b32-m1-s50-t8192-difficulty=easy+hard,limit=16"
        "-hash0.5,held_out=0.2,split_seed=3"
    )
