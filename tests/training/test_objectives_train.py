"""Whole updates of a tiny model by each objective: its own quantity moves its way, what it does not need costs nothing.

The model has 16 tokens, so that a few updates are felt.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import CPU, pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, load_config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.loss import objectives as objectives_module
from opsd_rs.policy import ExternalTeacher, Student, Teacher
from opsd_rs.policy import student as student_module
from opsd_rs.records import Grade
from opsd_rs.training.update import distill, pack_rollouts
from tiny_models import save_perturbed
from transformers import AutoModelForCausalLM, LlamaConfig

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

VOCABULARY = 16
WORDS = [
    "control.mask=one", "rollout.engine=hf", "model.dtype=float32", "optim.lr=3e-3", "optim.eps=1e-4", "loss.topk=4",
    "train.prompts_per_step=2", "train.mini_batch_prompts=2", "train.micro_batch_tokens=64", "rollout.max_tokens=8",
]  # fmt: skip


def saved(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight.mul_(10.0)
    return save_perturbed(model, folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("m") / "student", 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return saved(tmp_path_factory.mktemp("m") / "teacher", 1)


def step_rows(*verdicts: bool | None) -> RolloutBatch:
    """Two problems of four rollouts each; a teacher's row has one token more."""
    draw = np.random.default_rng(0)
    completions = [draw.integers(1, VOCABULARY, 2 + i % 3).tolist() for i in range(8)]
    passed = verdicts or (True, False, None, True, False, True, False, False)
    student = Batch.of([[3, 4]] * 4 + [[5, 6]] * 4, completions)
    return RolloutBatch(
        student=replace(student, logprobs=np.full(sum(map(len, completions)), -2.7, np.float32)),
        teacher=Batch.of([[3, 9, 4]] * 4 + [[5, 9, 6]] * 4, completions),
        grades=tuple(Grade(f"p{i // 4}", i % 4, passed[i], "accepted", ()) for i in range(8)),
    )


def config_of(*words: str) -> Config:
    return load_config([], [*WORDS, *words])


def trained(
    model: str, steps: int, *words: str, rows: RolloutBatch | None = None, external: str | None = None
) -> tuple[list[dict[str, Any]], Student, Teacher]:
    config = config_of(*words)
    student, teacher = pair(config, model)
    outside = None if external is None else ExternalTeacher(external, "float32", CPU, packed=False)
    found = [
        distill(
            student, teacher, make_objective(config), rows or step_rows(), config, Ranks(), external=outside
        )
        for _ in range(steps)
    ]
    return found, student, teacher


@torch.no_grad()
def logprob(student: Student, rows: RolloutBatch) -> np.ndarray[Any, Any]:
    """Mean log-probability of each row's completion."""
    logits_TV = student.logits(rows.student)
    ids_T1 = torch.from_numpy(rows.student.completion_ids)[:, None]
    found_T = torch.log_softmax(logits_TV, -1).gather(-1, ids_T1).squeeze(-1)
    lengths = rows.student.completion_lengths.tolist()
    return np.array([float(part.mean()) for part in torch.split(found_T, lengths)])


@pytest.mark.parametrize("name", ["rft", "ssd"])
def test_the_likelihood_of_own_answers_rises(name: str, model: str) -> None:
    found, *_ = trained(model, 6, f"objective={name}")
    rows = step_rows()
    wanted = [g.passed is True for g in rows.grades] if name == "rft" else [True] * 8
    assert found[0]["trained_tokens"] == rows.student.completion_lengths[wanted].sum()
    assert found[0]["nll"] == pytest.approx(found[0]["loss"], rel=1e-5)
    assert [n["nll"] for n in found] == sorted((n["nll"] for n in found), reverse=True)
    assert found[-1]["nll"] < found[0]["nll"] - 0.3
    assert found[0]["kl"] is None


def test_grpo_raises_what_passed_and_lowers_what_failed(model: str) -> None:
    found, student, _ = trained(model, 4, "objective=grpo")
    fresh, _ = pair(config_of("objective=grpo"), model)
    rows = step_rows()
    moved = logprob(student, rows) - logprob(fresh, rows)
    passed = np.array([g.passed is True for g in rows.grades])
    failed = np.array([g.passed is False for g in rows.grades])
    assert moved[passed].min() > 0 > moved[failed].max()
    assert found[0]["trained_tokens"] == rows.student.completion_lengths[passed | failed].sum()


def test_the_reward_rises_on_two_arms(model: str) -> None:
    """An answer is one token, and passes where its id is even; sampled from the student, step by step."""
    config = config_of("objective=grpo", "optim.lr=1e-3", "grpo.rollout_is_clip=none")
    student, teacher = pair(config, model)
    objective = make_objective(config)
    draw = torch.Generator().manual_seed(0)
    even = []
    for _ in range(12):
        probe = RolloutBatch(*[Batch.of([[3, 4], [5, 6]], [[1], [1]])] * 2, ())
        with torch.no_grad():
            p_PV = torch.softmax(student.logits(probe.student), -1)
        even.append(float(p_PV[:, ::2].sum(-1).mean()))
        ids = torch.multinomial(p_PV, 16, replacement=True, generator=draw).flatten().tolist()
        side = Batch.of([[3, 4]] * 16 + [[5, 6]] * 16, [[token] for token in ids])
        grades = [Grade(f"p{i // 16}", i % 16, token % 2 == 0, "accepted", ()) for i, token in enumerate(ids)]
        distill(student, teacher, objective, RolloutBatch(side, side, tuple(grades)), config, Ranks())
    assert even[-1] > even[0] + 0.2, even


def test_the_distance_to_the_external_teacher_falls(model: str, other: str) -> None:
    words = ("objective=opd", f"opd.teacher={other}")
    found, *_ = trained(model, 6, *words, external=other)
    assert found[-1]["kl"] < 0.7 * found[0]["kl"]
    itself, *_ = trained(model, 1, *words, external=model)
    assert (itself[0]["kl"], itself[0]["grad_norm"]) == (0.0, 0.0)
    failed, *_ = trained(model, 1, *words, "loss.rows=failed", external=other)
    assert failed[0]["trained_tokens"] < found[0]["trained_tokens"]


def test_unlikely_tokens_become_less_likely(model: str) -> None:
    words = ("objective=negative_advantage", "negative_advantage.below=0.02")
    fresh, _ = pair(config_of(*words), model)
    rows = step_rows()
    with torch.no_grad():
        before_T = torch.log_softmax(fresh.logits(rows.student), -1).gather(
            -1, torch.from_numpy(rows.student.completion_ids)[:, None]
        )
    unlikely = before_T.squeeze(-1) < np.log(0.02)
    assert 0 < unlikely.sum() < len(unlikely)
    found, student, _ = trained(model, 2, *words)
    with torch.no_grad():
        after_T = torch.log_softmax(student.logits(rows.student), -1).gather(
            -1, torch.from_numpy(rows.student.completion_ids)[:, None]
        )
    assert (after_T - before_T).squeeze(-1)[unlikely].max() < 0
    assert found[0]["unlikely"] == pytest.approx(float(unlikely.float().mean()))
    assert found[0]["trained_tokens"] == len(unlikely)


def test_a_mixture_trains_and_reports_its_parts(model: str) -> None:
    """At the start the self-teacher differs by its context alone; rows of the null verdict stay in opsd."""
    found, *_ = trained(model, 2, "objective=mixture", "mixture.opsd=1.0", "mixture.grpo=0.5")
    opsd, *_ = trained(model, 1, "objective=opsd")
    grpo, *_ = trained(model, 1, "objective=grpo")
    assert found[0]["trained_tokens"] == opsd[0]["trained_tokens"] > grpo[0]["trained_tokens"]
    assert found[0]["loss"] == pytest.approx(opsd[0]["loss"] + 0.5 * grpo[0]["loss"], rel=1e-4)
    assert found[0]["kl"] == pytest.approx(opsd[0]["kl"], rel=1e-4)
    assert found[0]["grpo.nll"] == pytest.approx(grpo[0]["nll"], rel=1e-4)


@pytest.mark.parametrize("name", ["grpo", "rft", "opd", "mixture"])
def test_packed_rows_in_parts_under_any_stage_train_alike(
    name: str, model: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a GPU does it, and how a CPU does; whole, row by row, and with weights that are gathered."""
    from deepspeed.utils import safe_get_full_grad

    rows, gradients, step = step_rows(), [], Student.step

    def recording(student: Student) -> float:
        named = student.parameters_by_name().items()
        gradients.append({name: safe_get_full_grad(p).clone() for name, p in named})
        return step(student)

    monkeypatch.setattr(Student, "step", recording)
    words = (f"objective={name}", f"opd.teacher={other}", "mixture.grpo=0.5", "mixture.opd=0.3")
    for packed, more in (
        (False, []),
        (True, []),
        (True, ["train.micro_batch_tokens=6", "deepspeed.stage=3"]),
    ):
        config = config_of(*words, *more)
        monkeypatch.setattr(student_module, "packs_rows", lambda device, packed=packed: packed)
        monkeypatch.setattr(objectives_module, "from_hidden", lambda device, packed=packed: packed)
        student, teacher = pair(config, model)
        external = ExternalTeacher(other, "float32", CPU, packed=packed)
        distill(student, teacher, make_objective(config), rows, config, Ranks(), external=external)
    plain, *others = gradients
    for found in others:
        for key, gradient in plain.items():
            torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=2e-3)


def test_what_is_not_needed_costs_no_forward_and_no_memory(model: str) -> None:
    """No context, no teacher; rows of groups without signal are not read either."""
    from opsd_rs.policy import make_teacher
    from opsd_rs.records import Rollout
    from opsd_rs.training.teachers import keeps_teacher, without_contexts

    config = config_of("objective=grpo", "train.micro_batch_tokens=5")
    student, _ = pair(config, model)
    assert not keeps_teacher(config)
    assert keeps_teacher(config_of("objective=grpo", "eval.teacher=true"))
    teacher = make_teacher(config, student, kept=False)
    assert teacher.average == []
    rollouts = [
        Rollout(f"p{i // 4}", i % 4, (3, 4), (7, 8, 9), (), "", truncated=False, policy_version=0)
        for i in range(8)
    ]
    passed = [True, False, True, True, False, False, False, None]
    grades = [Grade(f"p{i // 4}", i % 4, passed[i], "accepted", ()) for i in range(8)]
    rows = pack_rollouts(rollouts, grades, without_contexts(rollouts))
    assert not rows.teacher.has_context.any()
    read: list[int] = []
    student.engine.module.register_forward_hook(lambda module, args, out: read.append(len(args[0])))
    numbers = distill(student, teacher, make_objective(config), rows, config, Ranks())
    teacher.follow(student.fp32_parts())
    assert sum(read) == 4  # of the first problem
    assert numbers["trained_tokens"] == 12
