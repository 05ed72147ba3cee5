"""The language model: loaded from a folder, its hidden states read at completion positions only.

Shapes: B rows of a micro-batch, L padded length, D hidden size, T completion tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from opsd_rs.base import Batch
from opsd_rs.errors import BadInput
from opsd_rs.policy.attention import KEPT, PACKED, check_supported, register
from opsd_rs.policy.head import Head, HeadParts, check_head, make_readable
from opsd_rs.policy.inputs import model_inputs
from opsd_rs.policy.kept_attention import Kept, keeping

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}

ATTENTION_TOLERANCE = 0.1
"""Largest difference of hidden states, as a share of their size; bf16 rounds to 0.03 over 36 layers."""

Read = Callable[[Tensor, HeadParts], Tensor]
"""What is made of hidden_TD and the output head; runs inside the head's module, where its weights are whole."""


class CompletionModel(nn.Module):
    """The language model, with its head applied at chosen positions only: prompts never meet the vocabulary."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm
        self.head = Head(lm)
        make_readable(lm, self.head)

    def forward(
        self,
        input_ids_BL: Tensor,
        attention_mask_BL: Tensor | None,
        position_ids_BL: Tensor | None,
        cu_seqlens: Tensor | None,
        index_T: Tensor,
        longest: int,
        read: Read | None = None,
    ) -> Tensor:
        """What ``read`` makes of the hidden states at ``index_T``; without it, logits_TV in the compute type."""
        lm: Any = self.lm
        options: dict[str, Any] = {}
        if cu_seqlens is not None:
            options = {
                "position_ids": position_ids_BL,
                "cu_seq_lens_q": cu_seqlens,
                "cu_seq_lens_k": cu_seqlens,
                "max_length_q": longest,
                "max_length_k": longest,
            }
        hidden_BLD = lm.model(
            input_ids=input_ids_BL, attention_mask=attention_mask_BL, use_cache=False, **options
        )[0]
        hidden_TD = hidden_BLD.flatten(0, 1)[index_T]
        if read is not None:
            found: Tensor = lm.lm_head(hidden_TD, read)
            return found
        logits: Tensor = self.head(lm.lm_head, hidden_TD)
        return logits


def load_model(model_dir: str, dtype: str, *, packed: bool = False) -> nn.Module:
    """A Hugging Face causal LM in the compute type, in evaluation mode (no dropout: OPSD is deterministic).

    :param packed: its attention takes packed rows; else padded ones
    :raises BadInput: no Llama-like decoder, or one whose logits are not the output matrix's and a known function's
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {}
    if packed:
        check_supported(AutoConfig.from_pretrained(model_dir), model_dir)
        register()
        options = {"attn_implementation": PACKED}
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=DTYPES[dtype], **options)
    if not hasattr(model, "lm_head") or not hasattr(model, "model"):
        raise BadInput(
            f"model.path = {model_dir}: {type(model).__name__} has no `model` and `lm_head`;"
            " use a Llama-like decoder (Qwen3, Olmo 3, Llama, SmolLM2)"
        )
    if not hasattr(model.lm_head.weight, "ds_id"):  # ZeRO-3 has cut it up; the teacher's copy is checked then
        check_head(model.eval(), model_dir)
    evaluated: nn.Module = model.eval()
    return evaluated


@torch.no_grad()
def check_attention(model: CompletionModel, model_dir: str) -> None:
    """Compare packed rows with the family's own attention, on a few tokens.

    :raises BadInput: they differ: the family does something to its attention that packed rows do not know
    """
    lm: Any = model.lm
    device, vocabulary = lm.lm_head.weight.device, lm.lm_head.weight.shape[0]
    ids = [(7919 * i) % vocabulary for i in range(1, 13)]
    batch = Batch.of([ids[:1], ids[7:8]], [ids[1:7], ids[8:]])

    def hidden(packed: bool) -> Tensor:
        hidden_TD: Tensor = model(
            *model_inputs(batch, device, packed=packed), lambda hidden_TD, head: hidden_TD
        )
        return hidden_TD.float()

    found = hidden(packed=True)
    before = lm.config._attn_implementation
    lm.set_attn_implementation("eager")
    try:
        wanted = hidden(packed=False)
    finally:
        lm.set_attn_implementation(before)
    if not (found - wanted).norm() <= ATTENTION_TOLERANCE * wanted.norm():
        raise BadInput(
            f"model.path = {model_dir}: {type(lm).__name__} attends otherwise than packed rows do (supported: Llama,"
            " Qwen2, Qwen3, Olmo 3, Gemma 3 and families that attend like them)"
        )


def checkpoint_activations(lm: nn.Module, model_dir: str, *, keep_attention: bool = False) -> None:
    """Recompute each layer's activations in the backward pass instead of keeping them.

    Layers of transformers do so in training mode alone, and nothing else here is in it: so the layers themselves are
    switched, without their children, and dropout stays off. Reentrant checkpoints run a layer to its end, inside its
    own backward pass: others jump over the hooks by which ZeRO-3 gathers a layer's weights and gives them back.

    :param keep_attention: attention outputs are kept; only for packed rows
    :raises BadInput: the model cannot
    """
    model: Any = lm
    if model.supports_gradient_checkpointing:
        model.gradient_checkpointing_enable()
    layers = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
    if not layers:
        raise BadInput(
            f"model.gradient_checkpointing: {type(lm).__name__} ({model_dir}) does not support it; leave it false"
        )
    if keep_attention:
        model.set_attn_implementation(KEPT)
    for layer in layers:
        layer.training = True
        layer._gradient_checkpointing_func = partial(_recomputed, keep_attention)
        if isinstance(getattr(layer, "dropout", None), float):
            layer.dropout = 0.0  # older layers apply it themselves, in training mode


def _recomputed(keep_attention: bool, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, done again in the backward pass; a forward without gradients keeps nothing anyway."""
    if not torch.is_grad_enabled():
        return function(*args)
    if keep_attention:
        function = partial(_keeping, Kept(), function)
    return checkpoint(function, *args, use_reentrant=True)


def _keeping(kept: Kept, function: Callable[..., Any], *args: Any) -> Any:
    with keeping(kept):
        found = function(*args)
    kept.replay = True
    return found


def compile_layers(lm: nn.Module) -> None:
    """Compile each decoder layer on its first call, for rows of any number and length."""
    model: Any = lm
    for layer in model.model.layers:
        layer.compile(dynamic=True)


def initial_weights(model_dir: str, dtype: str) -> Iterator[tuple[str, Tensor]]:
    """The weights on disk by name, in the compute type, for a sampler that answers as the model did at first."""
    yield from (
        (name, parameter.detach()) for name, parameter in load_model(model_dir, dtype).named_parameters()
    )
