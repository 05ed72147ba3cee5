"""The language model: loaded from a folder, its head applied at completion positions only.

Shapes: B rows of a micro-batch, L padded length, D hidden size, T completion tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from opsd_rs.errors import BadInput
from opsd_rs.policy.head import Head, check_head

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class CompletionLogits(nn.Module):
    """The language model, with its head applied at chosen positions only: prompts never meet the vocabulary."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm
        self.head = Head(lm)

    def forward(self, input_ids_BL: Tensor, attention_mask_BL: Tensor, index_T: Tensor) -> Tensor:
        """Logits_TV at ``index_T``, in the compute type."""
        lm: Any = self.lm
        hidden_BLD = lm.model(input_ids=input_ids_BL, attention_mask=attention_mask_BL, use_cache=False)[0]
        logits: Tensor = self.head(lm.lm_head, hidden_BLD.flatten(0, 1)[index_T])
        return logits


def load_model(model_dir: str, dtype: str) -> nn.Module:
    """A Hugging Face causal LM in the compute type, in evaluation mode (no dropout: OPSD is deterministic).

    :raises BadInput: no Llama-like decoder, or one whose logits are not the output matrix's and a known function's
    """
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=DTYPES[dtype])
    if not hasattr(model, "lm_head") or not hasattr(model, "model"):
        raise BadInput(
            f"model.path = {model_dir}: {type(model).__name__} has no `model` and `lm_head`;"
            " use a Llama-like decoder (Qwen3, Olmo 3, Llama, SmolLM2)"
        )
    if not hasattr(model.lm_head.weight, "ds_id"):  # ZeRO-3 has cut it up; the teacher's copy is checked then
        check_head(model.eval(), model_dir)
    evaluated: nn.Module = model.eval()
    return evaluated


def checkpoint_activations(lm: nn.Module, model_dir: str) -> None:
    """Recompute each layer's activations in the backward pass instead of keeping them.

    Layers of transformers do so in training mode alone, and nothing else here is in it: so the layers themselves are
    switched, without their children, and dropout stays off. Reentrant checkpoints run a layer to its end, inside its
    own backward pass: others jump over the hooks by which ZeRO-3 gathers a layer's weights and gives them back.

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
    for layer in layers:
        layer.training = True
        layer._gradient_checkpointing_func = _recomputed
        if isinstance(getattr(layer, "dropout", None), float):
            layer.dropout = 0.0  # older layers apply it themselves, in training mode


def _recomputed(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, done again in the backward pass; a forward without gradients keeps nothing anyway."""
    if not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=True)


def initial_weights(model_dir: str, dtype: str) -> Iterator[tuple[str, Tensor]]:
    """The weights on disk by name, in the compute type, for a sampler that answers as the model did at first."""
    yield from (
        (name, parameter.detach()) for name, parameter in load_model(model_dir, dtype).named_parameters()
    )
