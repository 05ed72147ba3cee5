"""How much memory a run takes, per GPU and phase: one function, from the model's shape and the configuration.

Activations are fitted to runs on one H200 (torch 2.11, DeepSpeed 0.19, ZeRO-1, packed rows): SmolLM2-135M with 256
short rows, Qwen3-0.6B and -4B with one row of 8k to 32k tokens, within 15 % of the peaks. For other shapes, more than
one GPU and fp32 it is arithmetic that nobody has measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsd_rs.base import MIB
from opsd_rs.model.size import num_parameters

if TYPE_CHECKING:
    from opsd_rs.config import Config

GIB = 1024 * MIB
MASTER_BYTES, MOMENT_BYTES, AVERAGE_BYTES = 4, 8, 4
"""Per parameter: fp32 weights, both moments of Adam (after the first step), the teacher's average; all shared out."""
TYPE_BYTES = {"bfloat16": 2, "float32": 4}
"""Per parameter of the weights that compute, which stage 3 shares out, and of gradients, which stages 2 and 3 do. The
teacher has none of its own: it scores with the student's."""
STEP_BYTES = 4
"""Per parameter, for a moment in DeepSpeed's step, shared out; gradients of another type are flattened first."""
BUCKET = 500_000_000
"""Gradients that DeepSpeed collects before it sends them to other ranks, also where there are none."""
SUB_GROUP = 10**9
"""Parameters of which stage 3 makes its step at a time."""
STREAMED = 7 * 64 * MIB * 4
"""What a step from host memory holds on the GPU: two slots of weights and moments, and a gradient."""
HIDDEN_UNITS, INNER_UNITS = 11, 4
"""Numbers kept for the backward pass, per token, layer and unit of the hidden and of the feed-forward size."""
RECOMPUTED = 1.75
"""A layer that is computed again holds its activations and some of their gradients."""
HEAD_BYTES = 3 * GIB
"""Budget of the loss head's logits (``loss.kernels``); fewer tokens take less."""
LEAST_TOKENS, MOST_TOKENS = 1024, 65_536
"""Of a chosen budget. More make no GPU faster."""
USABLE = 0.85
"""Share of free memory that a chosen budget may fill: the estimate is off by up to 15 %."""


@dataclass(frozen=True)
class Shape:
    """What memory depends on, read from ``config.json``.

    >>> Shape(596_049_920, num_layers=28, hidden=1024, inner=3072, vocab=151_936, attention=2048).num_layers
    28
    """

    num_parameters: int
    num_layers: int
    hidden: int
    inner: int
    vocab: int
    attention: int
    """Size of all query heads together."""

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
            attention=int(config.num_attention_heads)
            * int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads),
        )


@dataclass(frozen=True)
class Memory:
    """GiB of one GPU and its process. ``update`` includes what stays, not the engine's share.

    >>> memory = Memory({"weights": 1.1, "masters": 2.2}, {"average": 2.2}, 2.2, 5.5, 0.4, 9.0)
    >>> memory.fixed, memory.host
    (3.3000000000000003, 2.2)
    """

    on_gpu: Mapping[str, float]
    """What is there in every phase once the first step is done, by name."""
    on_host: Mapping[str, float]
    """What is in host memory instead."""
    step: float
    """More, for a moment in the optimizer's step."""
    update: float
    """The peak of an update: the largest micro-batch, or the optimizer's step."""
    engine_share: float
    """Share of the whole GPU that vLLM takes beside it; 0 under the engine ``hf``, which holds one more copy."""
    checkpoint: float
    """On disk, all ranks together."""

    @property
    def fixed(self) -> float:
        """GiB that stay on the GPU."""
        return sum(self.on_gpu.values())

    @property
    def host(self) -> float:
        """GiB that stay in host memory."""
        return sum(self.on_host.values())


def training_memory(
    config: Config,
    shape: Shape,
    *,
    prompt_tokens: int,
    completion_tokens: int,
    num_gpus: int,
    self_teacher: bool = True,
    external: int = 0,
) -> Memory:
    """The memory of training ``config`` on ``num_gpus`` GPUs.

    :param self_teacher: the run keeps one
    :param external: parameters of an external teacher, whole on each GPU

    :param prompt_tokens: of the longest student prompt
    :param completion_tokens: of the longest answer that an update meets
    """
    params, stage, optim = shape.num_parameters, config.deepspeed.stage, config.optim
    share = params / num_gpus
    compute = TYPE_BYTES[config.model.dtype]
    weights = (share if stage == 3 else params) * compute
    gradients = (share if stage >= 2 else params) * TYPE_BYTES[optim.gradient_dtype]
    gpu, host = {"weights": weights, "gradients": gradients}, dict[str, float]()
    (host if optim.offload else gpu).update(
        {"masters": share * MASTER_BYTES, "moments": share * MOMENT_BYTES}
    )
    average = 0.0
    if self_teacher:
        average = share * AVERAGE_BYTES
        (host if config.teacher.offload else gpu)["average"] = average
        if config.teacher.kind == "blend":
            (host if config.teacher.offload else gpu)["initial weights"] = average
    if external:
        gpu["external teacher"] = external * compute
    if config.rollout.engine == "hf":
        gpu["sampler"] = params * compute
    if stage == 3:
        gpu["gradient bucket"] = BUCKET * compute
    fixed = sum(gpu.values())
    step = _step(config, share)
    row = prompt_tokens + completion_tokens
    tokens = max(row, config.train.micro_batch_tokens or row)
    held = activations(config, shape, tokens=tokens, completion_tokens=tokens * completion_tokens / row)
    masters = MASTER_BYTES + MOMENT_BYTES + (AVERAGE_BYTES if self_teacher else 0)
    return Memory(
        on_gpu={name: size / GIB for name, size in gpu.items()},
        on_host={name: size / GIB for name, size in host.items()},
        step=step / GIB,
        update=(fixed + max(step, _backward(config, gradients) + held)) / GIB,
        engine_share=config.rollout.gpu_memory_utilization if config.rollout.engine == "vllm" else 0.0,
        checkpoint=params * (masters + (0 if optim.offload else compute)) / GIB,
    )


def activations(config: Config, shape: Shape, *, tokens: float, completion_tokens: float) -> float:
    """Bytes that a micro-batch of packed rows holds at its peak: in a layer, or in the loss head after all of them.

    :param tokens: of the student's rows, prompts too
    """
    size = TYPE_BYTES[config.model.dtype]
    of_layer = tokens * size * (HIDDEN_UNITS * shape.hidden + INNER_UNITS * shape.inner)
    if not config.model.gradient_checkpointing:
        kept, again = of_layer * shape.num_layers, 0.0
    else:
        units = shape.hidden + (shape.attention if config.model.keep_attention else 0)
        kept, again = tokens * size * units * shape.num_layers, RECOMPUTED * of_layer
    matrix = shape.vocab * shape.hidden
    states = 3 * completion_tokens * shape.hidden * size  # both sides', and the student's gradient
    logits = min(HEAD_BYTES, 2 * completion_tokens * shape.vocab * size)
    return (
        kept + max(again, logits + 4 * matrix) + states + size * matrix
    )  # fp32 gradient; the teacher's matrix


def token_budget(config: Config, shape: Shape, free_bytes: float) -> int:
    """Tokens of a micro-batch that fit into ``free_bytes``, a multiple of 1,024."""
    for tokens in range(MOST_TOKENS, LEAST_TOKENS, -1024):
        if activations(config, shape, tokens=tokens, completion_tokens=tokens) <= USABLE * free_bytes:
            return tokens
    return LEAST_TOKENS


def coming_bytes(config: Config, shape: Shape, num_gpus: int) -> float:
    """Bytes on each GPU that the optimizer's first step takes and never gives back."""
    return 0.0 if config.optim.offload else shape.num_parameters * MOMENT_BYTES / num_gpus


def _backward(config: Config, gradients: float) -> float:
    """Bytes that gradients need on their way, beside activations."""
    stage, compute, own = config.deepspeed.stage, config.model.dtype, config.optim.gradient_dtype
    if stage == 3 or (stage == 1 and compute != own):
        return 0.0  # it stays, and DeepSpeed's class for the other has none
    # Stage 2 adds up gradients of the weights' own type in a second set, from the second micro-batch on.
    return BUCKET * TYPE_BYTES[compute] + (gradients if stage == 2 and compute == own else 0.0)


def _step(config: Config, share: float) -> float:
    """Bytes that the optimizer's step needs for a moment; ``share`` parameters are this rank's."""
    if config.optim.offload:
        return min(STREAMED, 4 * 4 * share)
    if config.deepspeed.stage == 1 and config.model.dtype != config.optim.gradient_dtype:
        return 0.0  # this class of DeepSpeed's has its gradients where AdamW wants them
    if config.deepspeed.stage == 3:
        share = min(share, SUB_GROUP)
    size = TYPE_BYTES[config.optim.gradient_dtype]
    return share * (STEP_BYTES + (size if size != STEP_BYTES else 0))


def shortage(
    config: Config, memory: Memory, *, gpu_gib: float | None, host_gib: float, processes: int
) -> str | None:
    """What certainly does not fit, with the sum and what to change; None where all that stays does.

    :param gpu_gib: of one GPU; None where there is none
    :param host_gib: of the whole machine
    :param processes: that share it
    """
    if gpu_gib is not None:
        engine = memory.engine_share * gpu_gib
        needs = {**memory.on_gpu, **({"vLLM": engine} if engine else {})}
        if sum(needs.values()) > gpu_gib:
            return (
                f"does not fit on a GPU: {_sum(needs)} of {gpu_gib:.1f} GiB, without any activations;"
                f" {', '.join(_ways(config, needs))} or use more GPUs"
            )
    if memory.host * processes > host_gib:
        times = f"{processes} times " if processes > 1 else ""
        return (
            f"does not fit in host memory: {times}{_sum(memory.on_host)} of {host_gib:.1f} GiB; leave optim.offload or"
            " teacher.offload false"
        )
    return None


def _ways(config: Config, needs: Mapping[str, float]) -> Iterator[str]:
    """What takes less on the GPU, with what it saves where that is known."""
    if not config.optim.offload:
        yield f"set optim.offload (-{needs['masters'] + needs['moments']:.1f})"
    if "average" in needs:
        saved = needs["average"] + needs.get("initial weights", 0.0)
        yield f"set teacher.offload (-{saved:.1f})"
    if "external teacher" in needs:
        yield "take a smaller opd.teacher"
    if config.model.dtype == "bfloat16" and config.optim.gradient_dtype == "float32":
        yield f'set optim.gradient_dtype = "bfloat16" (-{needs["gradients"] / 2:.1f})'
    if "vLLM" in needs:
        yield "lower rollout.gpu_memory_utilization"


def _sum(parts: Mapping[str, float]) -> str:
    """``weights 1.1 + average 2.2 = 3.3``."""
    return f"{' + '.join(f'{name} {size:.1f}' for name, size in parts.items())} = {sum(parts.values()):.1f}"
