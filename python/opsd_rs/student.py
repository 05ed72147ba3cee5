"""The student: a DeepSpeed engine round a causal LM. Forward to completion logits, backward, step, save, restore.

In: micro-batches of token ids. Out: logits at completion positions, fp32 partitions for the teacher to follow,
whole weights for the sampler. Gradient accumulation is ours: the caller says when a mini-batch ends, and losses
arrive already divided by the mini-batch's global token count.

Shapes: B rows of a micro-batch, L padded length, T completion tokens of the micro-batch, V vocabulary.

What it does not do: sequence or tensor parallelism, LoRA, fp16.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.base import MIB, writing
from opsd_rs.config import Config
from opsd_rs.errors import BadInput, DiskFull

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class Batch:
    """Rows of ``prompt + completion``, padded on the right; ``index_T`` names the positions that predict.

    >>> Batch.of([(5, 6)], [(7, 8)], "cpu").index_T.tolist()  # logits at 6 and 7 predict 7 and 8
    [1, 2]
    """

    input_ids_BL: Tensor
    attention_mask_BL: Tensor
    index_T: Tensor
    """Flat positions ``b * L + t`` whose logits predict a completion token."""
    target_T: Tensor
    """The completion tokens themselves, verbatim."""
    row_T: Tensor
    """Which row of the micro-batch each completion token belongs to."""

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        device: torch.device | str,
    ) -> Batch:
        """Lay out one micro-batch. Prompts must not be empty: the first completion token needs a predictor."""
        rows = [(*prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        length = max(len(row) for row in rows)
        input_ids = torch.zeros(len(rows), length, dtype=torch.long)
        mask = torch.zeros(len(rows), length, dtype=torch.long)
        index: list[int] = []
        target: list[int] = []
        which: list[int] = []
        for b, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
            # Masks come from lengths, never from ids: the end-of-turn token may equal the padding token.
            input_ids[b, : len(row)] = torch.tensor(row)
            mask[b, : len(row)] = 1
            first = len(prompt)
            index.extend(range(b * length + first - 1, b * length + len(row) - 1))
            target.extend(row[first:])
            which.extend([b] * (len(row) - first))
        tensors = (input_ids, mask, torch.tensor(index), torch.tensor(target), torch.tensor(which))
        return cls(*(tensor.to(device) for tensor in tensors))


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


def device_of_rank() -> torch.device:
    """This rank's GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


_lent: list[str] = []
"""What ``join_ranks`` added to the environment, which is the whole process's; ``leave_ranks`` takes it back."""


def join_ranks(device: torch.device) -> tuple[int, int]:
    """Join the process group (torchrun's, or one of our own with a single rank): (rank, world size)."""
    from datetime import timedelta

    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Rollouts and grading keep ranks waiting for long: NCCL's default of 10 minutes is too short.
        patience = timedelta(hours=2)
        if "WORLD_SIZE" in os.environ and "MASTER_ADDR" in os.environ:  # torchrun
            dist.init_process_group(backend, timeout=patience)
        else:
            alone = torch._C._distributed_c10d.HashStore()  # no port to collide on
            dist.init_process_group(backend, store=alone, rank=0, world_size=1, timeout=patience)
            # DeepSpeed looks this one up when it starts and, under ZeRO-3, in the middle of a step (zero/utils.py
            # of 0.19.8). It needs neither RANK nor WORLD_SIZE once there is a group, and a library that meets them
            # takes this process for one of a launcher's.
            if "LOCAL_RANK" not in os.environ:
                os.environ["LOCAL_RANK"] = "0"
                _lent.append("LOCAL_RANK")
    return dist.get_rank(), dist.get_world_size()


def leave_ranks() -> None:
    """Undo ``join_ranks``: a group left to the interpreter's exit can crash there, a variable left misleads."""
    import torch.distributed as dist

    if dist.is_initialized():
        deepspeed = sys.modules.get("deepspeed")
        if deepspeed is not None and deepspeed.comm.is_initialized():
            # It keeps a copy of the group, which the next student of this process would take for a living one.
            deepspeed.comm.destroy_process_group()
        else:
            dist.destroy_process_group()
    while _lent:
        os.environ.pop(_lent.pop(), None)


class Student:
    """The policy being trained.

    ``Student(config, model_dir, device)`` loads the model and starts DeepSpeed; ``config.deepspeed.stage`` in 1..3.
    """

    def __init__(self, config: Config, model_dir: str, device: torch.device) -> None:
        import deepspeed
        import torch.distributed as dist

        self.device = device
        self.stage = config.deepspeed.stage
        if device.type == "cpu":
            # One rank has nothing to share, and building this op needs a compiler and a minute.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        settings = _deepspeed_settings(config)
        zero3 = None
        if self.stage == 3:
            from transformers.integrations.deepspeed import HfDeepSpeedConfig

            # Must live while the model loads, so that it loads in parts.
            zero3 = HfDeepSpeedConfig(settings)  # type: ignore[no-untyped-call]
        lm = load_model(model_dir, config.model.dtype)
        del zero3
        if config.model.gradient_checkpointing:
            lm.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})  # type: ignore[operator]
        module = CompletionLogits(lm)
        if self.stage != 3:
            module.to(device)
        optim = config.optim
        optimizer = torch.optim.AdamW(
            module.parameters(),
            lr=optim.lr,
            betas=optim.betas,
            eps=optim.eps,
            weight_decay=optim.weight_decay,
            fused=device.type == "cuda" or None,
        )
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=settings, dist_init_required=False
        )
        self.world_size = dist.get_world_size()
        self.num_optimizer_steps = 0

    def logits(self, batch: Batch) -> Tensor:
        """Student logits_TV at the completion positions, with gradient."""
        logits: Tensor = self.engine(batch.input_ids_BL, batch.attention_mask_BL, batch.index_T)
        return logits

    @torch.no_grad()
    def logits_no_grad(self, batch: Batch) -> Tensor:
        """The same, without gradient."""
        logits: Tensor = self.engine.module(batch.input_ids_BL, batch.attention_mask_BL, batch.index_T)
        return logits

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate this micro-batch's share; ``last`` closes the mini-batch.

        ZeRO averages over ranks while ``loss`` is already this rank's share of a global mean: hence the factor.
        """
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.world_size)

    def step(self) -> float:
        """Clip, AdamW; returns the gradient's norm before clipping. The caller acts on one that is not finite."""
        self.engine.step()
        self.num_optimizer_steps += 1
        return float(self.engine.get_global_grad_norm())

    def parameters_by_name(self) -> dict[str, nn.Parameter]:
        """Parameters under their Hugging Face names; a tied head appears once, as the embedding."""
        return {
            name.removeprefix("lm."): parameter for name, parameter in self.engine.module.named_parameters()
        }

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Whole weights in the compute type, one after the other. Under ZeRO-3 every rank must iterate to the end."""
        if self.stage < 3:
            for name, parameter in self.parameters_by_name().items():
                yield name, parameter.detach()
            return
        import deepspeed

        for name, parameter in self.parameters_by_name().items():
            with deepspeed.zero.GatheredParameters([parameter]):
                yield name, parameter.detach().clone()

    def fp32_parts(self) -> list[Tensor]:
        """This rank's fp32 master shards. The attribute depends on which of three optimizers DeepSpeed chose."""
        optimizer = self.engine.optimizer
        for name in (
            "fp32_partitioned_groups_flat",  # stage 3
            "fp32_groups_flat_partition",  # stage 1 with fp32 gradient accumulation (BF16_Optimizer)
            "single_partition_of_fp32_groups",  # stages 1 and 2
        ):
            if hasattr(optimizer, name):
                return [part.detach() for part in getattr(optimizer, name)]
        raise RuntimeError(f"{type(optimizer).__name__} keeps no fp32 shards under a name known here")

    def part_parameters(self) -> list[list[nn.Parameter]]:
        """For each of ``fp32_parts``, the parameters it covers, in order."""
        optimizer = self.engine.optimizer
        for name in ("fp16_groups", "bf16_groups", "round_robin_bit16_groups"):
            if hasattr(optimizer, name) and (name != "fp16_groups" or self.stage == 3):
                return [list(group) for group in getattr(optimizer, name)]
        raise RuntimeError(f"{type(optimizer).__name__} names no parameter groups known here")

    def save(self, folder: Path) -> None:
        """Write model and optimizer state into ``folder`` (all ranks call it)."""
        self.engine.save_checkpoint(
            str(folder),
            tag="deepspeed",
            client_state={"num_optimizer_steps": self.num_optimizer_steps},
            save_latest=False,
        )

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote; equal to the bit at the same world size and stage."""
        path, client_state = self.engine.load_checkpoint(str(folder), tag="deepspeed")
        if path is None:
            raise BadInput(f"{folder}: no DeepSpeed state; the checkpoint is not whole, remove its folder")
        self.num_optimizer_steps = client_state["num_optimizer_steps"]

    def export(self, folder: Path, model_dir: str, *, write: bool) -> None:
        """Write the trained weights as a Hugging Face folder, tokenizer included; all ranks call it, one writes."""
        from safetensors.torch import save_file
        from transformers import AutoConfig, AutoTokenizer, GenerationConfig

        weights = {name: tensor.cpu().contiguous() for name, tensor in self.weights()}
        if not write:
            return
        partial = folder / ".model.safetensors.partial"
        size = sum(tensor.nbytes for tensor in weights.values()) / MIB
        try:
            with writing(f"the trained model ({size:.1f} MiB)", folder):
                folder.mkdir(parents=True, exist_ok=True)
                save_file(weights, partial, metadata={"format": "pt"})
                partial.replace(folder / "model.safetensors")
                AutoConfig.from_pretrained(model_dir).save_pretrained(folder)
                AutoTokenizer.from_pretrained(model_dir).save_pretrained(folder)
                generation: GenerationConfig | None = None
                with suppress(OSError):  # not every model has one
                    generation = GenerationConfig.from_pretrained(model_dir)
                if generation is not None:
                    generation.save_pretrained(folder)
        except DiskFull:
            partial.unlink(missing_ok=True)
            raise


def _deepspeed_settings(config: Config) -> dict[str, Any]:
    """DeepSpeed's own configuration. Accumulation stays 1: the boundary is set by hand."""
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optim.clip,
        "zero_optimization": {
            "stage": config.deepspeed.stage,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_allow_untested_optimizer": True,
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }
    if config.model.dtype == "bfloat16":
        settings["bf16"] = {"enabled": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings
