"""``grpo`` beside TRL's GRPOTrainer, each of the loss types that both name: equal values, equal gradients."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from objective_cases import on_path
from opsd_rs.base import Batch
from opsd_rs.config import load_config
from opsd_rs.loss import MicroBatch, OutputHead, Predictions, RolloutBatch, make_objective
from opsd_rs.loss.grpo import advantages
from opsd_rs.records import Grade
from transformers import AutoModelForCausalLM, LlamaConfig

pytestmark = [
    pytest.mark.samples_model,
    pytest.mark.skipif(not find_spec("trl"), reason="trl is not installed"),
]

VERDICTS = {"a": (True, False, False, True), "b": (False, False, True, False)}
LENGTHS = (5, 2, 7, 1, 3, 6, 4, 2)
VOCABULARY, MAX_TOKENS, PROMPT = 40, 8, [3, 5, 9]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's own, of a tiny model; nothing is sampled."""
    import tiny_models
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    folder = tmp_path_factory.mktemp("trl")
    words = AutoTokenizer.from_pretrained(tiny_models.tiny(folder / "tiny", "llama"))
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(shape, dtype=torch.float32)
    with torch.no_grad():
        model.lm_head.weight.mul_(20.0)  # else all tokens are as likely
    settings = GRPOConfig(
        output_dir=str(folder / "out"), per_device_train_batch_size=8, num_generations=4, beta=0.0,
        max_completion_length=MAX_TOKENS, epsilon=0.2, epsilon_high=0.28, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", gradient_checkpointing=False,
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": "x"}] * 8)
    made = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), settings, rows, processing_class=words
    )
    made.current_gradient_accumulation_steps = 1
    return made


def step() -> RolloutBatch:
    draw = np.random.default_rng(0)
    completions = [draw.integers(1, VOCABULARY, n).tolist() for n in LENGTHS]
    student = Batch.of([PROMPT] * len(LENGTHS), completions)
    student = replace(student, logprobs=draw.normal(-3.5, 1.0, sum(LENGTHS)).astype(np.float32))
    grades = [
        Grade(problem, sample, passed, "accepted", ())
        for problem, group in VERDICTS.items()
        for sample, passed in enumerate(group)
    ]
    return RolloutBatch(student, student, tuple(grades))


def padded(values_T: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
    """Tokens end to end as TRL's rectangle."""
    return torch.nn.utils.rnn.pad_sequence(
        list(torch.split(values_T, list(LENGTHS))), batch_first=True, padding_value=fill
    )


def theirs(
    trainer: Any, rows: RolloutBatch, old_T: torch.Tensor, ratio_T: torch.Tensor, scale: Any
) -> torch.Tensor:
    ids = padded(torch.from_numpy(rows.student.completion_ids))
    mask = padded(torch.ones(sum(LENGTHS), dtype=torch.long))
    return trainer._compute_loss(
        trainer.model,
        {
            "prompt_ids": torch.tensor([PROMPT] * len(LENGTHS)),
            "prompt_mask": torch.ones(len(LENGTHS), len(PROMPT), dtype=torch.long),
            "completion_ids": ids,
            "completion_mask": mask,
            "advantages": torch.from_numpy(advantages(rows, scale=scale)),
            "old_per_token_logps": padded(old_T),
            "importance_sampling_ratio": padded(ratio_T, 1.0),
            "num_items_in_batch": mask.sum(),
        },
    )


def hidden_states(model: Any, rows: RolloutBatch) -> torch.Tensor:
    """Row by row, without padding."""
    found = []
    for row in range(len(rows)):
        ids = np.concatenate([rows.student.prompt(row), rows.student.completion(row)])
        states = model.model(input_ids=torch.from_numpy(ids)[None])[0][0]
        found.append(states[len(PROMPT) - 1 : -1])
    return torch.cat(found)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_values_and_gradients(
    loss_type: str, scale: str, packed: bool, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(monkeypatch, packed)
    config = load_config(
        [],
        [
            "control.mask=one", "objective=grpo", f"grpo.loss_type={loss_type}", f"grpo.scale_rewards={scale}",
            "grpo.epsilon=0.2", "grpo.epsilon_high=0.28", f"rollout.max_tokens={MAX_TOKENS}",
        ],
    )  # fmt: skip
    rows, model, objective = step(), trainer.model, make_objective(config)
    assert objective.trained_rows(rows).all()
    ids_T = torch.from_numpy(rows.student.completion_ids)
    with torch.no_grad():
        logits_TV = model.lm_head(hidden_states(model, rows))
        now_T = torch.log_softmax(logits_TV, -1).gather(-1, ids_T[:, None]).squeeze(-1)
        noise_T = 0.3 * torch.randn(len(now_T), generator=torch.Generator().manual_seed(3))
        old_T = now_T + noise_T  # so that some ratios are clipped on either side
    rollout_T = torch.from_numpy(rows.student.logprobs)

    monkeypatch.setattr(trainer, "loss_type", loss_type)
    monkeypatch.setattr(trainer, "use_vllm", True)
    monkeypatch.setattr(trainer, "vllm_importance_sampling_correction", True)
    monkeypatch.setattr(trainer, "args", replace_plain(trainer.args, steps_per_generation=1))
    model.train()
    ratio_T = (old_T - rollout_T).exp().clamp(max=2.0)
    model.zero_grad()
    wanted = theirs(trainer, rows, old_T, ratio_T, scale)
    wanted.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    out = objective.loss(
        MicroBatch(
            rows=rows,
            completion_ids_T=ids_T,
            row_T=torch.from_numpy(rows.student.completion_rows),
            student=Predictions(hidden_states(model, rows), OutputHead(model.lm_head.weight)),
            teacher=None,
            external=None,
            rollout_logprobs_T=rollout_T,
            old_logprobs_T=old_T,
            temperature=1.0,
            num_tokens=sum(LENGTHS),
            num_rows=len(rows),
            mini_batch=rows,
            places=np.arange(len(rows)),
        )
    )
    out.loss.backward()
    assert 0 < int(out.token_sums["clipped"]) < sum(LENGTHS)
    assert out.loss.item() == pytest.approx(wanted.item(), rel=1e-5, abs=2e-7)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-6, rtol=1e-4)


def replace_plain(args: Any, **changes: Any) -> Any:
    """A copy of TRL's arguments, whose own checks are for a whole run."""
    import copy

    found = copy.copy(args)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def test_a_groups_deviation_is_trls() -> None:
    from trl.trainer.utils import nanstd

    rewards = torch.tensor([[1.0, 0.0, float("nan"), 0.0]])
    grades = tuple(
        Grade("a", i, None if r != r else bool(r), "accepted", ()) for i, r in enumerate(rewards[0].tolist())
    )
    side = Batch.of([[1]] * 4, [[2]] * 4)
    found = advantages(RolloutBatch(side, side, grades), scale="group")
    wanted = (rewards - rewards.nanmean()) / (nanstd(rewards, dim=1) + 1e-4)
    np.testing.assert_allclose(found, wanted[0].numpy(), rtol=1e-5)
