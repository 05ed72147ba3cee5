"""Start the engine that a configuration names."""

from __future__ import annotations

from pathlib import Path

import torch

from opsd_rs.config import Config
from opsd_rs.errors import BadInput
from opsd_rs.rollout.engine import Engine
from opsd_rs.rollout.hf import HFEngine


def check_engine(config: Config, model_dir: str) -> str:
    """What can be said of the engine before it starts, in a line.

    :raises BadInput: vLLM is not installed, or could not take the model's weights
    """
    if config.rollout.engine == "hf":
        return "hf, in this process"
    from importlib.util import find_spec

    from opsd_rs.rollout.weights.names import check_names

    if find_spec("vllm") is None:
        raise BadInput(
            "rollout.engine = \"vllm\", but vLLM is not installed: pip install 'opsd-rs[vllm]', or set rollout.engine"
            ' = "hf"'
        )
    check_names(Path(model_dir))
    return "vllm is there, tensors have the names on disk"


def make_engine(
    config: Config, model_dir: str, *, device_index: int | None, log_path: Path | None = None
) -> Engine:
    """Start the engine that ``rollout.engine`` names, with the weights in ``model_dir``.

    ``device_index``: the GPU, counted as torch counts; None: CPU. ``log_path``: where vLLM's output goes; by
    default a temporary file, kept only after a failure.

    Raises BadInput where the model cannot be read, or vLLM cannot be imported or refuses the settings.
    """
    from transformers import AutoConfig

    try:
        text = AutoConfig.from_pretrained(model_dir).get_text_config()
    except (OSError, ValueError) as error:
        raise BadInput(f"model.path: {model_dir} is no readable model directory: {error}") from error
    share = config.rollout.gpu_memory_utilization * config.run.gpu_share
    rollout = config.rollout.model_copy(update={"gpu_memory_utilization": share})
    # Teacher prompts are sampled from too, when the gap is measured.
    prompt_tokens = max(rollout.max_prompt_tokens, config.teacher.max_context_tokens)
    max_model_len = min(prompt_tokens + rollout.max_tokens, int(text.max_position_embeddings))
    if rollout.engine == "hf":
        return HFEngine(
            Path(model_dir),
            dtype=config.model.dtype,
            device=torch.device("cpu") if device_index is None else torch.device("cuda", device_index),
            max_model_len=max_model_len,
            max_num_seqs=rollout.max_num_seqs,
        )
    from opsd_rs.rollout.vllm.client import VllmEngine

    check_engine(config, model_dir)

    return VllmEngine(
        Path(model_dir),
        rollout,
        dtype=config.model.dtype,
        vocab_size=int(text.vocab_size),
        tied=bool(text.tie_word_embeddings),
        max_model_len=max_model_len,
        device_index=device_index,
        log_path=log_path,
    )
