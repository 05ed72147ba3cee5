"""How much memory a run takes, per GPU and phase: one function, from the model's shape and the configuration.

Fitted to runs on one H200 (torch 2.11, DeepSpeed 0.19, ZeRO-1): Qwen3-0.6B and -4B with answers of 1k to 32k tokens,
where it lies within 15 % of the peak. For other shapes, and for more than one GPU, it is arithmetic that nobody has
measured.

Letters: N parameters, W GPUs, T tokens of a micro-batch, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsd_rs.base import MIB
from opsd_rs.model.size import num_parameters

if TYPE_CHECKING:
    from opsd_rs.config import Config

GIB = 1024 * MIB
SHARDED_BYTES = 16
"""Per parameter: fp32 weights, both moments of Adam, the EMA teacher's average; every stage shares them out."""
MOMENT_BYTES = 8
"""Of these, what exists only after the first step."""
GRADIENT_BYTES = 4
"""Per parameter; stage 2 and 3 share it out."""
COMPUTE_BYTES = 2
"""Per parameter of the student's compute copy (stage 3 shares it out), and of the teacher's (never shared)."""
STEP_BYTES = 4
"""Per parameter, for a moment in the optimizer's step, shared out."""
LOGIT_BYTES = 15
"""Per completion token and vocabulary entry, both sides' logits and the loss between them; one more at a temperature
other than 1."""
HIDDEN_BYTES, INNER_BYTES = 47, 8
"""Per token, layer and unit of the hidden and of the feed-forward size, kept for the backward pass."""


@dataclass(frozen=True)
class Shape:
    """What memory depends on, read from ``config.json``.

    >>> Shape(num_parameters=596_049_920, num_layers=28, hidden=1024, inner=3072, vocab=151_936).num_layers
    28
    """

    num_parameters: int
    num_layers: int
    hidden: int
    inner: int
    vocab: int

    @classmethod
    def of(cls, model_dir: str) -> Shape:
        """Of the text model in ``model_dir``; loads no weights."""
        from transformers import AutoConfig

        config: Any = AutoConfig.from_pretrained(model_dir).get_text_config()
        return cls(
            num_parameters=num_parameters(model_dir),
            num_layers=int(config.num_hidden_layers),
            hidden=int(config.hidden_size),
            inner=int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size),
            vocab=int(config.vocab_size),
        )


@dataclass(frozen=True)
class Memory:
    """GiB of one GPU. ``update`` and ``rollout`` include what stays (``fixed``), not the engine's share.

    >>> Memory(fixed=13.3, step=2.2, update=15.5, engine_share=0.4, checkpoint=9.0).fixed
    13.3
    """

    fixed: float
    """Weights, gradients, optimizer, teacher: there in every phase once the first step is done."""
    step: float
    """More, for a moment in the optimizer's step."""
    update: float
    """The peak of an update: the largest micro-batch, or the optimizer's step."""
    engine_share: float
    """Share of the whole GPU that vLLM takes beside it; 0 under the engine ``hf``, which holds one more copy."""
    checkpoint: float
    """On disk, all ranks together."""


def training_memory(
    config: Config, shape: Shape, *, prompt_tokens: int, completion_tokens: int, num_gpus: int
) -> Memory:
    """The memory of training ``config`` on ``num_gpus`` GPUs.

    :param prompt_tokens: of the longest student prompt
    :param completion_tokens: of the longest answer that an update meets
    """
    params, stage = shape.num_parameters, config.deepspeed.stage
    share = params / num_gpus
    fixed = share * SHARDED_BYTES + params * COMPUTE_BYTES
    fixed += (share if stage >= 2 else params) * GRADIENT_BYTES
    fixed += (share if stage == 3 else params) * COMPUTE_BYTES
    if config.rollout.engine == "hf":
        fixed += params * COMPUTE_BYTES
    step = share * STEP_BYTES
    row = prompt_tokens + completion_tokens
    rows = max(1, (config.train.micro_batch_tokens or row) // row)
    tokens = rows * row
    per_layer = HIDDEN_BYTES * shape.hidden + INNER_BYTES * shape.inner
    if config.model.gradient_checkpointing:
        kept = tokens * (2 * shape.hidden * shape.num_layers + per_layer)
    else:
        kept = tokens * per_layer * shape.num_layers
    logit_bytes = LOGIT_BYTES + (config.rollout.temperature != 1.0)
    head = rows * completion_tokens * shape.vocab * logit_bytes
    return Memory(
        fixed=fixed / GIB,
        step=step / GIB,
        update=(fixed + max(step, kept + head)) / GIB,
        engine_share=config.rollout.gpu_memory_utilization if config.rollout.engine == "vllm" else 0.0,
        checkpoint=params * (SHARDED_BYTES + COMPUTE_BYTES) / GIB,
    )
