"""The self-teacher: the student's weights, followed slowly, scoring the student's completions under its own context.

The average lives in fp32 on the optimizer's own partitions (``torch._foreach_lerp_``, no communication) and is
published once per outer step into a frozen copy of the model in the compute type. A bf16 average would not move:
rate times drift lies far below bf16's resolution at OPSD's learning rates.

Kinds: ``ema`` follows at ``rate`` per outer step; ``fixed`` stays at the initial weights; ``live`` is the student
as of the start of the outer step (the same as ``ema`` at rate 1).

What it does not do: partition the published copy; every rank holds it whole (2 bytes per parameter in bf16).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, TeacherConfig
from opsd_rs.errors import BadInput
from opsd_rs.policy.head import HeadParts
from opsd_rs.policy.inputs import model_inputs
from opsd_rs.policy.lm import CompletionModel, load_model
from opsd_rs.policy.student import Student, packs_rows


class Teacher:
    """Weights that follow the student's once per outer step.

    ``parts`` are the student's fp32 shards on this rank, ``groups`` the parameters each covers, ``names`` the
    parameters' Hugging Face names, ``module`` a frozen ``CompletionModel`` of the same shape.
    """

    def __init__(
        self,
        config: TeacherConfig,
        module: nn.Module,
        parts: list[Tensor],
        groups: list[list[nn.Parameter]],
        names: dict[nn.Parameter, str],
        *,
        sharded_parameters: bool,
    ) -> None:
        self.config = config
        self.module = module.requires_grad_(False).eval()
        self.average = [part.clone() for part in parts]
        self.device = next(module.parameters()).device
        self.packed = packs_rows(self.device)
        self._equal: tuple[tuple[int, int], bool] | None = None
        self.num_updates = 0
        self._sharded = sharded_parameters
        self._shapes = [
            [(names[p], torch.Size(getattr(p, "ds_shape", p.shape)), _shard_numel(p)) for p in group]
            for group in groups
        ]
        self._targets = {name.removeprefix("lm."): p for name, p in self.module.named_parameters()}

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Teacher logits_TV at the completion positions; no gradient."""
        logits: Tensor = self.module(*model_inputs(batch, self.device, packed=self.packed))
        return logits

    @contextmanager
    def loaded(self, student: Student) -> Iterator[Teacher]:
        yield self

    @torch.no_grad()
    def hidden(self, batch: Batch) -> Tensor:
        """Hidden states at the completion positions; no gradient."""
        found: Tensor = self.module(
            *model_inputs(batch, self.device, packed=self.packed), lambda hidden_TD, head: hidden_TD
        )
        return found

    def head(self) -> HeadParts:
        module: Any = self.module
        head = module.lm.lm_head
        return HeadParts(head.weight, getattr(head, "bias", None), module.head.factor, module.head.softcap)

    def release(self) -> None:
        pass

    def equals(self, student: Student, ranks: Ranks) -> bool:
        """Whether both have the same weights, on every rank. All ranks call it."""
        state = (student.num_optimizer_steps, self.num_updates)
        if self._equal is None or self._equal[0] != state:
            pairs = zip(self.average, student.fp32_parts(), strict=True)
            differs = not all(torch.equal(mine, theirs) for mine, theirs in pairs)
            self._equal = (state, not ranks.any(differs))
        return self._equal[1]

    @torch.no_grad()
    def follow(self, parts: list[Tensor]) -> None:
        """theta' <- (1 - r) theta' + r theta, once per outer step, then publish."""
        if self.config.kind == "fixed":
            return
        rate = self.config.rate if self.config.kind == "ema" else 1.0
        torch._foreach_lerp_(self.average, parts, rate)
        self.num_updates += 1
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the average, rounded to the compute type, into the module that scores."""
        for name, tensor in self.whole():
            target = self._targets[name]
            target.copy_(tensor.view(target.shape))

    @torch.no_grad()
    def whole(self) -> Iterator[tuple[str, Tensor]]:
        """The average as whole fp32 tensors by name; gathers over ranks, so every rank must iterate to the end."""
        for part, shapes in zip(self.average, self._shapes, strict=True):
            if self._sharded:  # ZeRO-3: each parameter is cut over the ranks
                offset = 0
                for name, shape, numel in shapes:
                    shard = part[offset : offset + numel]
                    offset += numel
                    yield name, _gather(shard)[: shape.numel()].view(shape)
            else:  # ZeRO-1, 2: the group's flat buffer is cut over the ranks
                flat, offset = _gather(part), 0
                for name, shape, _ in shapes:
                    yield name, flat[offset : offset + shape.numel()].view(shape)
                    offset += shape.numel()

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The published weights by name, for a sampler that answers as the teacher."""
        yield from ((name, parameter.detach()) for name, parameter in self._targets.items())

    def save(self, folder: Path, rank: int) -> None:
        """Write this rank's shards of the average."""
        state = {"kind": self.config.kind, "num_updates": self.num_updates, "average": self.average}
        torch.save(state, folder / f"teacher_rank_{rank}.pt")

    def load(self, folder: Path, rank: int) -> None:
        """Restore the average and publish it."""
        path = folder / f"teacher_rank_{rank}.pt"
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["kind"] != self.config.kind:
            raise BadInput(
                f"{path} holds a teacher of kind {state['kind']}, teacher.kind is {self.config.kind}"
            )
        self.num_updates = state["num_updates"]
        for part, saved in zip(self.average, state["average"], strict=True):
            part.copy_(saved)
        self.publish()


def _shard_numel(parameter: nn.Parameter) -> int:
    """Elements of this parameter on one rank: ZeRO-3's padded share, else the whole."""
    shard = getattr(parameter, "ds_tensor", None)
    return parameter.numel() if shard is None else int(shard.ds_numel)


def _gather(part: Tensor) -> Tensor:
    """One flat tensor from all ranks' equal shares."""
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return part
    whole = part.new_empty(part.numel() * dist.get_world_size())
    dist.all_gather_into_tensor(whole, part.contiguous())
    return whole


def make_teacher(config: Config, model_dir: str, student: Student) -> Teacher:
    """The self-teacher: a frozen copy of the model and an fp32 average on the student's shards."""
    module = CompletionModel(load_model(model_dir, config.model.dtype, packed=student.packed)).to(
        student.device
    )
    names = {parameter: name for name, parameter in student.parameters_by_name().items()}
    return Teacher(
        config.teacher,
        module,
        student.fp32_parts(),
        student.part_parameters(),
        names,
        sharded_parameters=student.stage == 3,
    )
