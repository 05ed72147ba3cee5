"""The student: a DeepSpeed engine round a causal LM. Forward to completion logits, backward, step, save, restore.

In: micro-batches of token ids. Out: logits at completion positions, fp32 partitions for the teacher to follow,
whole weights for the sampler. Gradient accumulation is ours: the caller says when a mini-batch ends, and losses
arrive already divided by the mini-batch's global token count.

Shapes: B rows of a micro-batch, L padded length, T completion tokens of the micro-batch, V vocabulary.

What it does not do: sequence or tensor parallelism, LoRA, fp16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.base import MIB, Batch, without_wildcards, writing
from opsd_rs.config import Config
from opsd_rs.errors import DiskFull
from opsd_rs.policy.inputs import model_inputs
from opsd_rs.policy.lm import CompletionLogits, checkpoint_activations, load_model
from opsd_rs.policy.process_group import engines
from opsd_rs.policy.zero import deepspeed_settings


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
        settings = deepspeed_settings(config)
        zero3 = None
        if self.stage == 3:
            from transformers.integrations.deepspeed import HfDeepSpeedConfig

            # Must live while the model loads, so that it loads in parts.
            zero3 = HfDeepSpeedConfig(settings)  # type: ignore[no-untyped-call]
        lm = load_model(model_dir, config.model.dtype)
        del zero3
        if config.model.gradient_checkpointing:
            checkpoint_activations(lm, model_dir)
        module = CompletionLogits(lm)
        if self.stage != 3:
            module.to(device)
        optim = config.optim
        self._optim_settings: dict[str, Any] = {
            "lr": optim.lr,
            "betas": optim.betas,
            "eps": optim.eps,
            "weight_decay": optim.weight_decay,
        }
        optimizer = torch.optim.AdamW(
            module.parameters(), **self._optim_settings, fused=device.type == "cuda" or None
        )
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=settings, dist_init_required=False
        )
        engines.add(self.engine)
        self.world_size = dist.get_world_size()
        self.num_optimizer_steps = 0

    def logits(self, batch: Batch) -> Tensor:
        """Student logits_TV at the completion positions; with gradient where gradients are enabled."""
        # The engine counts its forwards and keeps buffers for a backward; one without gradient passes it by.
        forward = self.engine if torch.is_grad_enabled() else self.engine.module
        logits: Tensor = forward(*model_inputs(batch, self.device))
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
        """Restore what ``save`` wrote; equal to the bit at the same world size and stage; [optim] is not restored."""
        with without_wildcards(folder) as plain_folder:
            path, client_state = self.engine.load_checkpoint(str(plain_folder), tag="deepspeed")
        if path is None:
            raise FileNotFoundError(f"{folder} has no DeepSpeed state")
        self.num_optimizer_steps = client_state["num_optimizer_steps"]
        # DeepSpeed restores the settings too; a resumed run may have changed them.
        for group in self.engine.optimizer.param_groups:
            group.update(self._optim_settings)

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
                    # save_pretrained refuses settings that contradict each other; they are the model's, not ours.
                    generation.to_json_file(folder / "generation_config.json")
        except DiskFull:
            partial.unlink(missing_ok=True)
            raise
