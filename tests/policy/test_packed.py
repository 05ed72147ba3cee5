"""Packed rows against padded ones: the same hidden states and gradients, for every family of attention."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from opsd_rs.base import Batch
from opsd_rs.errors import BadInput
from opsd_rs.policy import CompletionModel, load_model, model_inputs
from opsd_rs.policy import attention as attention_module
from opsd_rs.policy import inputs as inputs_module
from opsd_rs.policy.attention import PACKED, packed_attention
from opsd_rs.policy.lm import check_attention, checkpoint_activations
from tiny_models import save_perturbed
from transformers import AutoConfig, AutoModelForCausalLM
from update_paths import cosine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]
KINDS = ["sliding_attention", "full_attention"]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "layer_types": KINDS},
    "qwen3": {"head_dim": 16},
    "olmo3": {"sliding_window": 4, "layer_types": KINDS},
    "gemma3_text": {"head_dim": 16, "sliding_window": 6, "layer_types": KINDS, "query_pre_attn_scalar": 9},
}
LENGTHS = [(3, 4), (1, 1), (12, 5), (1, 9), (20, 20)]
ROWS = Batch.of(
    [[3 + (7 * row + i) % 90 for i in range(prompt)] for row, (prompt, _) in enumerate(LENGTHS)],
    [[5 + (11 * row + i) % 90 for i in range(completion)] for row, (_, completion) in enumerate(LENGTHS)],
)


def saved(folder: Path, family: str, **settings: Any) -> str:
    shape = {
        "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2,
    }  # fmt: skip
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**shape, **settings}))
    return save_perturbed(model, folder)


def run(
    folder: str, device: str, dtype: str, batch: Batch, *, packed: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Hidden states at the completions, and gradients of a sum that weighs each number differently."""
    model = CompletionModel(load_model(folder, dtype, packed=packed)).to(device)
    kept: list[torch.Tensor] = []

    def read(hidden_TD: torch.Tensor, head: Any) -> torch.Tensor:
        kept.append(hidden_TD.detach().float().cpu())
        logits_TV = hidden_TD @ head.weight_VD.T
        weight_TV = (
            torch.linspace(-1, 1, logits_TV.numel(), device=device).view_as(logits_TV).to(logits_TV.dtype)
        )
        return (logits_TV.square() * weight_TV).sum()

    model(*model_inputs(batch, torch.device(device), packed=packed), read).backward()
    gradients = {name: p.grad.float().cpu() for name, p in model.named_parameters() if p.grad is not None}
    return kept[0], gradients


@pytest.mark.samples_model
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_padded_rows(family: str, device: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / family, family, **FAMILIES[family])
    wanted, wanted_gradients = run(folder, "cpu", "float32", ROWS, packed=False)
    found, gradients = run(folder, device, "float32" if device == "cpu" else "bfloat16", ROWS, packed=True)
    assert gradients.keys() == wanted_gradients.keys()
    if device == "cpu":
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    else:
        assert (found - wanted).norm() < 0.02 * wanted.norm()
    for name, wanted_gradient in wanted_gradients.items():
        cosine = torch.nn.functional.cosine_similarity(
            gradients[name].flatten(), wanted_gradient.flatten(), 0
        )
        assert cosine > (1 - 1e-5 if device == "cpu" else 0.99), name


@pytest.mark.samples_model
@pytest.mark.parametrize("family", ["llama", "olmo3"])
def test_a_row_does_not_see_its_neighbours(family: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / family, family, **FAMILIES[family])
    whole, _ = run(folder, "cpu", "float32", ROWS, packed=True)
    at = 0
    for row, (_, completion) in enumerate(LENGTHS):
        alone, _ = run(folder, "cpu", "float32", ROWS.rows([row]), packed=True)
        torch.testing.assert_close(whole[at : at + completion], alone, atol=1e-5, rtol=1e-5)
        at += completion


@pytest.mark.samples_model
@pytest.mark.parametrize("device", DEVICES)
def test_a_long_row_alone_is_padded_behind_its_end(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "m", "llama")
    dtype = "float32" if device == "cpu" else "bfloat16"
    wanted, wanted_gradients = run(folder, device, dtype, ROWS.rows([4]), packed=True)
    for module in (attention_module, inputs_module):
        monkeypatch.setattr(module, "LONG_ROW", 32)
    inputs = model_inputs(ROWS.rows([4]), torch.device(device), packed=True)
    assert inputs.input_ids_BL.shape == (1, 1024)
    assert inputs.longest == 1024
    found, gradients = run(folder, device, dtype, ROWS.rows([4]), packed=True)
    assert (found - wanted).norm() <= (1e-5 if device == "cpu" else 0.02) * wanted.norm()
    for name, gradient in gradients.items():
        assert cosine(gradient, wanted_gradients[name]) > (1 - 1e-5 if device == "cpu" else 0.99), name


@pytest.mark.samples_model
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("length", [4, 24])
def test_kept_attention_is_not_computed_again(
    length: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpointed layers with and without their attention's outputs kept: equal gradients, half the attention. With 24
    tokens a long row, which is its own kernel on a GPU."""
    for module in (attention_module, inputs_module):
        monkeypatch.setattr(module, "LONG_ROW", 16)
    folder = saved(
        tmp_path / "m", "olmo3" if length == 4 else "llama", **(FAMILIES["olmo3"] if length == 4 else {})
    )
    rows = Batch.of([[7] * 5, [9] * 3], [[3, 4, 5, 6], [8, 1]]) if length == 4 else ROWS.rows([4])
    dtype = "float32" if device == "cpu" else "bfloat16"
    gradients, calls = [], []
    plain = attention_module._plain
    for keep in (False, True):
        seen: list[int] = []

        def counting(*args: Any, seen: list[int] = seen) -> torch.Tensor:
            seen.append(1)
            return plain(*args)

        monkeypatch.setattr(attention_module, "_plain", counting)
        lm = load_model(folder, dtype, packed=True)
        checkpoint_activations(lm, folder, keep_attention=keep)
        model = CompletionModel(lm).to(device)
        inputs = model_inputs(rows, torch.device(device), packed=True)
        model(*inputs, lambda hidden_TD, head: hidden_TD.float().square().sum()).backward()
        # Last, a pass without gradients, which keeps nothing.
        with torch.no_grad():
            model(*inputs)
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        calls.append(len(seen))
    # Two layers; on a CPU the plain way is taken for a backward pass, too.
    assert calls == ([6, 6] if device == "cpu" else [6, 2])
    for name, gradient in gradients[0].items():
        if device == "cpu":
            torch.testing.assert_close(gradients[1][name], gradient, atol=0.0, rtol=0.0)
        else:
            assert cosine(gradients[1][name].cpu(), gradient.cpu()) > 0.999, name


@pytest.mark.samples_model
@pytest.mark.parametrize("device", DEVICES)
def test_a_model_whose_attention_is_another_is_refused(device: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "llama")
    lm: Any = load_model(folder, "float32" if device == "cpu" else "bfloat16", packed=True)
    model = CompletionModel(lm).to(device)
    check_attention(model, folder)
    assert lm.config._attn_implementation == PACKED
    for layer in lm.model.layers:  # a bias that eager attention adds and packed rows do not know
        layer.self_attn.scaling = 4.0
        layer.self_attn.forward = partial(_without_scaling, layer.self_attn.forward, layer.self_attn)
    with pytest.raises(BadInput, match="LlamaForCausalLM attends otherwise than packed rows do"):
        check_attention(model, folder)


def _without_scaling(forward: Any, module: Any, *args: Any, **kwargs: Any) -> Any:
    module.scaling = 4.0 if module.config._attn_implementation == PACKED else 0.25
    return forward(*args, **kwargs)


@pytest.mark.samples_model
def test_what_packed_rows_cannot_do_is_refused_by_name(tmp_path: Path) -> None:
    capped = saved(tmp_path / "capped", "gemma2", head_dim=16)
    with pytest.raises(BadInput, match=r"gemma2 caps its attention scores softly \(attn_logit_softcapping\)"):
        load_model(capped, "float32", packed=True)
    load_model(capped, "float32")
    query = torch.zeros(1, 1, 2, 8)
    options: dict[str, Any] = {
        "cu_seq_lens_q": torch.tensor([0, 2], dtype=torch.int32),
        "max_length_q": 2,
        "s_aux": torch.zeros(1),
    }
    with pytest.raises(BadInput, match="Linear uses attention sinks"):
        packed_attention(torch.nn.Linear(1, 1), query, query, query, None, 1.0, **options)


def test_layers_of_another_kind_are_refused_by_name() -> None:
    class Text:
        model_type = "other"
        layer_types = ("full_attention", "chunked_attention")

    class Config:
        get_text_config: Callable[[], type[Text]] = staticmethod(lambda: Text)

    with pytest.raises(BadInput, match="other has layers of chunked_attention"):
        attention_module.check_supported(Config(), "m")
