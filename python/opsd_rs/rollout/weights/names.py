"""Whether the trainer's parameters have the names of the tensors on disk, which is how vLLM takes new weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from opsd_rs.errors import BadInput
from opsd_rs.rollout.weights.parcel import checkpoint_names


def check_names(model_dir: Path) -> None:
    """Refuse a model that transformers renames or fuses while it loads; nothing is loaded to find out.

    :raises BadInput: tensors on disk that the trainer has under other names: mixtures of experts, vision towers
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model_dir)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    names = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    names |= {name for name, _ in model.named_buffers()}
    missing = sorted(checkpoint_names(model_dir) - names)
    if missing:
        raise BadInput(
            f"model.path = {model_dir}: {type(model).__name__} keeps {len(missing)} tensors under other names than the"
            f" files do (first {missing[0]}), so vLLM could not take new weights: use a dense text-only model, or"
            " rollout.engine=hf"
        )
