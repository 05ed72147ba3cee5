"""Tensors that transformers renames while it loads a model are found before vLLM starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.rollout import check_engine


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_dense_models_have_the_names_on_disk(family: tiny_models.Family, tmp_path: Path) -> None:
    folder = tiny_models.tiny(tmp_path / "m", family)
    config = load_config(["smoke"], ["rollout.engine=vllm"])
    assert check_engine(config, str(folder)) == "vllm is there, tensors have the names on disk"


def test_a_mixture_of_experts_is_refused_under_vllm_alone(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 96,
        "hidden_size": 32,
        "intermediate_size": 48,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    }
    AutoModelForCausalLM.from_config(Qwen3MoeConfig(**shape)).save_pretrained(tmp_path)
    with pytest.raises(
        BadInput, match=r"Qwen3MoeForCausalLM keeps 12 tensors under other names.*mlp\.experts\.0"
    ):
        check_engine(load_config(["smoke"], ["rollout.engine=vllm"]), str(tmp_path))
    assert check_engine(load_config(["smoke"], ["rollout.engine=hf"]), str(tmp_path)) == "hf, in this process"
