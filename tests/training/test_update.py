"""One step's mathematics on real rollouts of a real model, and on rows made to be awkward."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import recorded
import tiny_models
import torch
from engines import pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, LossConfig, TeacherConfig, load_context
from opsd_rs.config.tree import ModelConfig, OptimConfig, TrainConfig
from opsd_rs.context import Assembler
from opsd_rs.errors import Stopped
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.policy import Student, Teacher
from opsd_rs.records import Grade, Rollout, TeacherContext
from opsd_rs.training.update import distill, pack_rollouts

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks", "released")]


@pytest.mark.model
@pytest.mark.slow
def test_the_divergence_on_a_fixed_batch_of_real_rollouts_falls_by_half(smollm2: Path) -> None:
    """The rollouts are recorded and the arithmetic is float32: on every processor the same numbers but for rounding."""
    config = Config(
        model=ModelConfig(dtype="float32"),
        teacher=TeacherConfig(kind="fixed"),
        optim=OptimConfig(lr=1e-5),
        train=TrainConfig(mini_batch_prompts=recorded.NUM_PROBLEMS, micro_batch_tokens=4096),
        loss=LossConfig(is_clip=None, rollout_is_clip=None),
    )
    context = load_context("peer_solution_feedback")
    assembler = Assembler(
        smollm2, context, enable_thinking=False, max_context_tokens=1024, prompt_style="plain"
    )
    rollouts = recorded.rollouts(assembler)
    grades = [
        Grade(r.problem_id, r.sample, passed=r.sample == 0, verdict="accepted", tests=()) for r in rollouts
    ]
    contexts = assembler.teacher_contexts(rollouts, grades, {p.problem_id: p for p in recorded.chosen()})
    rows = pack_rollouts(rollouts, grades, contexts)
    assert sum(rows.teacher.has_context) == 4  # each group's only success has no peer to read

    student, teacher = pair(config, str(smollm2))
    objective = make_objective(config)
    kl = [distill(student, teacher, objective, rows, config, Ranks())["kl"] for _ in range(4)]
    assert kl[0] is not None
    assert kl[-1] is not None
    assert kl[0] > 0.01
    assert kl[-1] < kl[0] / 2, kl  # about a quarter; a larger learning rate overshoots at first


class Row(NamedTuple):
    rollout: Rollout
    has_context: bool
    passed: bool


def row(
    problem: str,
    sample: int,
    length: int,
    *,
    has_context: bool = True,
    passed: bool = True,
    logprob: float = -5.0,
) -> Row:
    completion = tuple(10 + (7 * sample + i) % 50 for i in range(length))
    rollout = Rollout(
        problem, sample, (3, 4, 5), completion, (logprob,) * length, "", truncated=False, policy_version=0
    )
    return Row(rollout, has_context, passed)


def packed(rows: list[Row]) -> RolloutBatch:
    rollouts = [row.rollout for row in rows]
    teacher = Batch.of(
        [(3, 9, 9, 4, 5)] * len(rows),
        [r.completion_ids for r in rollouts],
        has_context=[row.has_context for row in rows],
    )
    grades = [
        Grade(r.problem_id, r.sample, row.passed, "accepted", ())
        for r, row in zip(rollouts, rows, strict=True)
    ]
    contexts = [
        TeacherContext(r.problem_id, r.sample, "peer", row.has_context, batch=teacher, row=i)
        for i, (r, row) in enumerate(zip(rollouts, rows, strict=True))
    ]
    return pack_rollouts(rollouts, grades, contexts)


def update(student: Student, teacher: Teacher, rows: list[Row], config: Config) -> dict[str, Any]:
    return distill(student, teacher, make_objective(config), packed(rows), config, Ranks())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "llama"))


def tiny_config(**loss: object) -> Config:
    return Config(
        model=ModelConfig(dtype="float32"),
        optim=OptimConfig(lr=1e-3, eps=1e-2),
        loss=LossConfig.model_validate(loss),
        train=TrainConfig(mini_batch_prompts=2, micro_batch_tokens=22),
    )


def other_teacher(teacher: Teacher) -> None:
    """Make the teacher differ from the student, which it equals at the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for part in teacher.average:
            part.add_(0.05 * torch.randn_like(part))


@pytest.mark.parametrize("aggregate", ["token_mean", "sdpo"])
def test_one_step_does_not_depend_on_the_micro_batches(tiny: str, aggregate: str) -> None:
    rows = [row("a", 0, 5), row("a", 1, 3, has_context=False), row("b", 0, 1), row("b", 1, 8)]
    found = []
    for size in (1, 2, 4):
        config = tiny_config(aggregate=aggregate)
        config = config.model_copy(
            update={"train": config.train.model_copy(update={"micro_batch_tokens": size})}
        )
        student, teacher = pair(config, tiny)
        other_teacher(teacher)
        numbers = update(student, teacher, rows, config)
        assert numbers["trained_tokens"] == 14
        found.append((numbers, {name: w.clone() for name, w in student.weights()}))
    (first, weights), *others = found
    for numbers, theirs in others:
        assert numbers["loss"] == pytest.approx(first["loss"], rel=1e-5)
        assert numbers["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-4)
        for name, weight in weights.items():
            torch.testing.assert_close(theirs[name], weight, atol=1e-6, rtol=1e-4)


def test_masked_rows_count_in_sdpos_denominator_and_not_in_the_token_mean(tiny: str) -> None:
    trained = [row("a", 0, 4), row("a", 1, 4)]
    masked = [row("a", 2, 4, has_context=False), row("a", 3, 4, has_context=False)]
    losses = {}
    for aggregate in ("token_mean", "sdpo"):
        for rows in (trained, trained + masked):
            config = tiny_config(aggregate=aggregate)
            student, teacher = pair(config, tiny)
            other_teacher(teacher)
            losses[aggregate, len(rows)] = update(student, teacher, rows, config)["loss"]
    assert losses["token_mean", 4] == pytest.approx(losses["token_mean", 2])
    assert losses["sdpo", 4] == pytest.approx(losses["sdpo", 2] / 2)


def test_a_step_without_context_updates_nothing(tiny: str) -> None:
    config = tiny_config()
    student, teacher = pair(config, tiny)
    before = {name: weight.clone() for name, weight in student.weights()}
    numbers = update(student, teacher, [row("a", 0, 4, has_context=False)], config)
    assert (numbers["loss"], numbers["updates"], student.num_optimizer_steps) == (None, 0, 0)
    assert all(torch.equal(before[name], weight) for name, weight in student.weights())


def test_ratios_use_the_policy_at_the_start_of_the_step(tiny: str) -> None:
    """With two updates a step, the second mini-batch's ratio now/start differs from 1; without it, nothing does."""
    rows = [row("a", 0, 6), row("b", 0, 6)]
    seen = {}
    for clip in (None, 10.0):
        config = tiny_config(is_clip=clip, rollout_is_clip=None)
        train = config.train.model_copy(update={"mini_batch_prompts": 1})
        optim = config.optim.model_copy(update={"lr": 0.05, "eps": 1e-8})
        config = config.model_copy(update={"train": train, "optim": optim})
        student, teacher = pair(config, tiny)
        other_teacher(teacher)
        numbers = update(student, teacher, rows, config)
        assert numbers["updates"] == 2
        seen[clip] = numbers["loss"]
    assert seen[None] != pytest.approx(seen[10.0], rel=1e-3)


def test_a_policy_that_does_not_move_has_the_ratio_one_at_any_temperature(tiny: str) -> None:
    """Both ends of the ratio are read at the rollouts' temperature: the weighted loss is the divergence itself."""
    config = tiny_config(is_clip=10.0, rollout_is_clip=None)
    changes = {
        "train": config.train.model_copy(update={"mini_batch_prompts": 1}),
        "optim": config.optim.model_copy(update={"lr": 1e-12}),
        "rollout": config.rollout.model_copy(update={"temperature": 0.5}),
    }
    config = config.model_copy(update=changes)
    student, teacher = pair(config, tiny)
    other_teacher(teacher)
    numbers = update(student, teacher, [row("a", 0, 6), row("b", 0, 6)], config)
    assert numbers["updates"] == 2
    assert numbers["loss"] == pytest.approx(numbers["kl"], rel=1e-5)


def test_a_loss_that_is_not_finite_stops_before_the_optimizer(tiny: str) -> None:
    config = tiny_config(kind="sampled_token", rollout_is_clip=2.0)
    student, teacher = pair(config, tiny)
    before = {name: weight.clone() for name, weight in student.weights()}
    bad = row("a", 0, 4)
    bad = bad._replace(rollout=replace(bad.rollout, logprobs=(float("nan"),) * 4))
    with pytest.raises(Stopped, match="not finite"):
        update(student, teacher, [bad], config)
    assert student.num_optimizer_steps == 0
    assert all(torch.equal(before[name], weight) for name, weight in student.weights())
