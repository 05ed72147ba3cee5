"""The language model: loaded from a folder, its head applied at completion positions only.

Shapes: B rows of a micro-batch, L padded length, D hidden size, T completion tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.errors import BadInput

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class CompletionLogits(nn.Module):
    """The language model, with its head applied at chosen positions only: prompts never meet the vocabulary."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, input_ids_BL: Tensor, attention_mask_BL: Tensor, index_T: Tensor) -> Tensor:
        """Logits_TV at ``index_T``, in the compute type."""
        lm: Any = self.lm
        hidden_BLD = lm.model(input_ids=input_ids_BL, attention_mask=attention_mask_BL, use_cache=False)[0]
        logits: Tensor = lm.lm_head(hidden_BLD.flatten(0, 1)[index_T])
        return logits


def load_model(model_dir: str, dtype: str) -> nn.Module:
    """A Hugging Face causal LM in the compute type, in evaluation mode (no dropout: OPSD is deterministic)."""
    from transformers import AutoModelForCausalLM

    model: nn.Module = AutoModelForCausalLM.from_pretrained(model_dir, dtype=DTYPES[dtype])
    if not hasattr(model, "lm_head") or not hasattr(model, "model"):
        raise BadInput(
            f"model.path = {model_dir}: {type(model).__name__} has no `model` and `lm_head`;"
            " use a Llama-like decoder (Qwen3, Olmo 3, Llama, SmolLM2)"
        )
    return model.eval()


def initial_weights(model_dir: str, dtype: str) -> Iterator[tuple[str, Tensor]]:
    """The weights on disk by name, in the compute type, for a sampler that answers as the model did at first."""
    yield from (
        (name, parameter.detach()) for name, parameter in load_model(model_dir, dtype).named_parameters()
    )
