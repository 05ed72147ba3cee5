"""The student: a DeepSpeed engine round a causal LM. Forward to completion logits, backward, step, save, restore.

In: micro-batches of token ids. Out: logits at completion positions, fp32 partitions for the teacher to follow,
whole weights for the sampler. Gradient accumulation is ours: the caller says when a mini-batch ends, and losses
arrive already divided by the mini-batch's global token count.

Shapes: B rows of a micro-batch, L padded length, T completion tokens of the micro-batch, V vocabulary.

What it does not do: sequence or tensor parallelism, LoRA, fp16.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.base import MIB, Batch, without_wildcards, writing
from opsd_rs.config import Config
from opsd_rs.errors import BadInput, DiskFull, Stopped
from opsd_rs.policy.head import check_head
from opsd_rs.policy.inputs import model_inputs
from opsd_rs.policy.lm import (
    CompletionModel,
    Read,
    check_attention,
    checkpoint_activations,
    compile_layers,
    load_model,
)
from opsd_rs.policy.offload import HostAdamW
from opsd_rs.policy.process_group import engines
from opsd_rs.policy.shards import shards_of
from opsd_rs.policy.zero import deepspeed_settings

DEFAULT_TOKENS = 4096
"""Tokens of a micro-batch, unless the configuration or the GPU's memory says otherwise."""


def packs_rows(device: torch.device) -> bool:
    """Whether rows go through the model end to end there; else as padded rectangles."""
    return device.type == "cuda"


def _let_segments_grow() -> None:
    """From here on memory is taken in segments that grow, so that batches of ever new shapes leave no holes.

    Not before: weights and optimizer state stay in plain segments, which another process can be given (CUDA IPC). What
    the environment says about the allocator goes first.
    """
    if not any(os.environ.get(name) for name in ALLOCATOR_VARIABLES):
        torch._C._accelerator_setAllocatorSettings("expandable_segments:True")


ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


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
        self.packed = packs_rows(device)
        if config.model.keep_attention and not self.packed:
            raise BadInput(
                "model.keep_attention: it needs packed rows, which a GPU has; leave it false on a CPU"
            )
        lm = load_model(model_dir, config.model.dtype, packed=self.packed)
        del zero3
        if self.stage == 3:
            with deepspeed.zero.GatheredParameters(list(lm.get_submodule("lm_head").parameters())):
                check_head(lm, model_dir)
        module = CompletionModel(lm)
        if self.stage != 3:
            module.to(device)
            if self.packed:
                check_attention(module, model_dir)
        if config.model.gradient_checkpointing:
            checkpoint_activations(lm, model_dir, keep_attention=config.model.keep_attention)
        if config.model.compile:
            compile_layers(lm)
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
        text: Any = lm.config
        self.hidden_bytes = text.get_text_config().hidden_size * next(lm.parameters()).dtype.itemsize
        """Of one token's hidden state."""
        self.micro_batch_tokens = config.train.micro_batch_tokens or DEFAULT_TOKENS
        self.world_size, self._rank = dist.get_world_size(), dist.get_rank()
        self.num_optimizer_steps = 0
        self.shards = shards_of(self.engine.optimizer)
        self._on_host = HostAdamW(self.shards, device) if config.optim.offload else None
        self._is_lent = False
        self._graph_waits = False
        if device.type == "cuda":
            _let_segments_grow()

    def logits(self, batch: Batch) -> Tensor:
        """Student logits_TV at the completion positions; with gradient where gradients are enabled."""
        return self.read(batch, None)

    def read(self, batch: Batch, read: Read | None) -> Tensor:
        """What ``read`` makes of the hidden states at the completion positions, or logits_TV; with gradient where
        gradients are enabled."""
        self.check_own("a student's forward")
        self._graph_waits = torch.is_grad_enabled()
        return self.forward(batch, read)

    def forward(self, batch: Batch, read: Read | None = None) -> Tensor:
        """The same of the weights that are in the parameters now: the student's, or in ``lent`` others."""
        # The engine counts its forwards and keeps buffers for a backward; one without gradient passes it by.
        forward = self.engine if torch.is_grad_enabled() else self.engine.module
        found: Tensor = forward(*model_inputs(batch, self.device, packed=self.packed), read)
        return found

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Accumulate this micro-batch's share; ``last`` closes the mini-batch.

        ZeRO averages over ranks while ``loss`` is already this rank's share of a global mean: hence the factor.
        """
        self.check_own("a backward pass")
        self.engine.set_gradient_accumulation_boundary(last)
        self.engine.backward(loss * self.world_size)
        self._graph_waits = False

    def step(self) -> float:
        """Clip, AdamW; returns the gradient's norm before clipping. The caller acts on one that is not finite."""
        self.check_own("a step")
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
        self.check_own("reading the student's weights")
        return self._weights()

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        if self.stage < 3:
            for name, parameter in self.parameters_by_name().items():
                yield name, parameter.detach()
            return
        import deepspeed

        for name, parameter in self.parameters_by_name().items():
            with deepspeed.zero.GatheredParameters([parameter]):
                yield name, parameter.detach().clone()

    @torch.no_grad()
    def copied_head(self) -> tuple[Tensor, Tensor | None]:
        """Copies of the output matrix (V, D) and bias (V,) that are in the parameters now. All ranks call it."""
        import deepspeed

        head = self.engine.module.lm.lm_head
        bias: Tensor | None = getattr(head, "bias", None)
        gathered = deepspeed.zero.GatheredParameters(list(head.parameters()), enabled=self.stage == 3)
        with gathered:
            return head.weight.detach().clone(), None if bias is None else bias.detach().clone()

    def fp32_parts(self) -> list[Tensor]:
        """This rank's fp32 master shards; in host memory where ``is_offloaded``."""
        return [master.detach() for master in self.shards.masters]

    def part_parameters(self) -> list[list[nn.Parameter]]:
        """For each of ``fp32_parts``, the parameters it covers, in order."""
        return self.shards.groups

    @property
    def is_offloaded(self) -> bool:
        """Whether masters and moments are in host memory (``optim.offload``)."""
        return self._on_host is not None

    def take(self, parts: Sequence[Tensor], *, on_host: bool = False) -> None:
        """Round fp32 ``parts``, shaped as ``fp32_parts``, into the parameters. All ranks call it."""
        self.shards.take(parts, on_host=on_host)

    @contextmanager
    def lent(self, parts: Sequence[Tensor], *, on_host: bool = False) -> Iterator[None]:
        """For the block, the parameters hold ``parts``; then the student's own weights, from its masters, to the bit.

        No graph of the student may be alive. Of the student's methods only ``forward`` and ``copied_head`` answer in
        the block. All ranks enter and leave together; where one fails alone in it, its parameters stay as they are and
        nothing can be saved from them.
        """
        self.check_own("lending the student's parameters a second time")
        assert not self._graph_waits, "a forward with gradient waits for its backward pass"
        self._is_lent = True
        try:
            self.take(parts, on_host=on_host)
            yield
        except BaseException as error:
            # Another rank that does not fail would never come to the collectives by which the weights come back.
            if self.world_size == 1 or isinstance(error, Stopped):
                self._take_back()
            raise
        self._take_back()

    def _take_back(self) -> None:
        self.take(self.fp32_parts(), on_host=self.is_offloaded)
        self._is_lent = False

    def check_own(self, what: str) -> None:
        """Refuse ``what`` while other weights are in the parameters."""
        assert not self._is_lent, f"{what}, while the parameters hold the teacher's weights"

    def save(self, folder: Path) -> None:
        """Write model and optimizer state into ``folder`` (all ranks call it)."""
        self.check_own("saving")
        if self._on_host is not None:
            self._on_host.save(folder, self._rank)
            return
        self.engine.save_checkpoint(
            str(folder),
            tag="deepspeed",
            client_state={"num_optimizer_steps": self.num_optimizer_steps},
            save_latest=False,
        )

    def load(self, folder: Path) -> None:
        """Restore what ``save`` wrote; equal to the bit at the same world size and stage; [optim] is not restored."""
        self.check_own("loading")
        if self._on_host is not None:
            self._on_host.load(folder, self._rank)
            self.num_optimizer_steps = self._on_host.num_steps
            return
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
        self.check_own("exporting")
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
