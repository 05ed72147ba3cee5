"""How many parameters a model has, from its configuration alone."""

from __future__ import annotations

from functools import cache


@cache
def num_parameters(model_dir: str) -> int:
    """Parameters of the causal language model in ``model_dir``; tied ones count once. Allocates no weights.

    :param model_dir: what ``resolve`` returned
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_dir))  # type: ignore[no-untyped-call]
    return sum(parameter.numel() for parameter in model.parameters())
