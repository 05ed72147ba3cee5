"""Logits as the model's own ``forward`` gives them, and activations recomputed layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from engines import CPU
from opsd_rs.base import Batch
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.policy import CompletionModel, Student, load_model, model_inputs
from opsd_rs.policy.lm import checkpoint_activations
from tiny_models import save_perturbed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.samples_model

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "final_logit_softcapping": 5.0},
    "gemma3_text": {"head_dim": 16, "final_logit_softcapping": 4.0},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.0625},
    "cohere2": {"logit_scale": 4.0, "head_dim": 16},
}
ROWS = Batch.of([(5, 6, 7), (8,)], [(9, 10), (11, 12, 13)])


def saved(folder: Path, family: str, **settings: Any) -> str:
    """A random model of ``family`` with weights so large that its logits reach the cap."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SHAPE, **settings))
    with torch.no_grad():
        model.lm_head.weight.normal_(0.0, 1.0)
    return save_perturbed(model, folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", HEADS)
def test_logits_are_the_models_own(family: str, dtype: str, tmp_path: Path) -> None:
    model: Any = load_model(saved(tmp_path / family, family, **HEADS[family]), dtype)
    rows = [(5, 6, 7, 9, 10), (8, 11, 12, 13)]
    with torch.no_grad():
        ours_TV = CompletionModel(model)(*model_inputs(ROWS, CPU, packed=False))
        wanted = [model(input_ids=torch.tensor([row])).logits[0] for row in rows]
    wanted_TV = torch.cat([wanted[0][2:4], wanted[1][0:3]])
    tolerance = 1e-4 if dtype == "float32" else 0.1 * wanted_TV.abs().max().item()
    torch.testing.assert_close(ours_TV, wanted_TV, atol=tolerance, rtol=1e-4)
    plain_TV = model.lm_head(torch.randn(4, SHAPE["hidden_size"]).to(model.dtype))
    assert plain_TV.abs().max() > 6.0, "a cap of 5 must be in reach"


def test_a_head_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "hyperclovax", logits_scaling=3.0)
    with pytest.raises(BadInput, match="HyperCLOVAXForCausalLM changes its logits after the output matrix"):
        load_model(folder, "float32")


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite"])
def test_checkpointing_recomputes_every_layer_once_and_changes_no_gradient(
    family: str, tmp_path: Path
) -> None:
    folder = saved(tmp_path / family, family, attention_dropout=0.5, **HEADS[family])
    gradients, forwards = [], []
    for recompute in (False, True):
        model: Any = load_model(folder, "float32")
        if recompute:
            checkpoint_activations(model, folder)
        calls: list[int] = []
        for index, layer in enumerate(model.model.layers):
            layer.mlp.register_forward_hook(lambda *_, calls=calls, index=index: calls.append(index))
        CompletionModel(model)(*model_inputs(ROWS, CPU, packed=False)).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
        forwards.append(calls)
    assert forwards == [[0, 1, 2], [0, 1, 2, 2, 1, 0]]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=0.0, rtol=0.0)


@pytest.mark.usefixtures("left_ranks")
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_student_recomputes_under_every_stage(stage: int, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "llama")
    words = [f"model.path={folder}", "model.gradient_checkpointing=true", f"deepspeed.stage={stage}"]
    from opsd_rs.policy import join_ranks

    join_ranks(CPU)
    student = Student(load_config(["smoke"], words), folder, CPU)
    calls: list[int] = []
    for layer in student.engine.module.lm.model.layers:
        layer.mlp.register_forward_hook(lambda *_: calls.append(1))
    logits_TV = student.logits(ROWS)
    assert len(calls) == SHAPE["num_hidden_layers"]
    student.backward(logits_TV.float().sum(), last=True)
    assert len(calls) == 2 * SHAPE["num_hidden_layers"]
    with torch.no_grad():
        student.logits(ROWS)
    assert len(calls) == 3 * SHAPE["num_hidden_layers"], (
        "without gradient nothing is kept, so nothing is done twice"
    )


def test_a_model_that_cannot_recompute_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "llama")
    model: Any = load_model(folder, "float32")
    model.supports_gradient_checkpointing = False
    with pytest.raises(BadInput, match=r"model\.gradient_checkpointing: LlamaForCausalLM"):
        checkpoint_activations(model, folder)
