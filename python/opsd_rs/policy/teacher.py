"""The self-teacher: the student's weights, followed slowly, scoring the student's completions under its own context.

The average lives in fp32 on the optimizer's own partitions (``torch._foreach_lerp_``, no communication), and nothing
else of the teacher is on the device at rest. To score, it is rounded to the compute type into the student's parameters;
afterwards the student comes back from its fp32 masters, to the bit. A bf16 average would not move: rate times drift
lies far below bf16's resolution at OPSD's learning rates.

Kinds: ``ema`` follows at ``rate`` per outer step; ``fixed`` stays at the initial weights; ``live`` is the student
as of the start of the outer step (the same as ``ema`` at rate 1); ``blend`` is (1 - ``rate``) initial + ``rate``
student as of the start of the outer step, for which the initial weights are kept too, 4 bytes a parameter;
``trust_region`` stays at the initial weights, and whoever scores mixes its logits with the student's
(``training.scoring``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, TeacherConfig
from opsd_rs.errors import BadInput
from opsd_rs.policy.head import HeadParts
from opsd_rs.policy.host import CHUNK, host_zeros, streamed
from opsd_rs.policy.student import Student


class Teacher:
    """Weights that follow the student's once per outer step. ``config.offload``: they lie in host memory.

    with teacher.loaded():  # the student's parameters hold the teacher's weights
        teacher_logits_TV = forward(...)
    ...                     # the student's again; teacher.head_weight is still the teacher's
    teacher.release()

    :param kept: False: no weights are held, the run asks no self-teacher
    :raises BadInput: a trust region over logits with a soft cap, which do not mix
    """

    def __init__(self, config: TeacherConfig, student: Student, *, kept: bool = True) -> None:
        self.config = config
        self.device = student.device
        self.num_updates = 0
        self.head_weight: Tensor | None = None
        """The output matrix (V, D) in the compute type, from the first ``loaded`` to ``release``."""
        self.head_bias: Tensor | None = None
        """The output bias (V,), where the model has one."""
        self._student = student
        self._equal: tuple[tuple[int, int], bool] | None = None
        """For how many updates of both ``equals_student`` was answered last, and its answer."""
        self.kept = kept
        if kept and config.kind == "trust_region" and student.engine.module.head.softcap is not None:
            raise BadInput(
                'teacher.kind = "trust_region" mixes logits, and this model caps them softly: take blend, which mixes'
                " weights"
            )
        self.average = self._copies() if kept else []
        """fp32, one tensor for each of the student's parts."""
        self.initial = self._copies() if kept and config.kind == "blend" else []
        """The weights that the run began with, where the kind needs them: a resumed run loads the model's again."""
        names = {parameter: name for name, parameter in student.parameters_by_name().items()}
        self._shapes = [
            [(names[p], torch.Size(getattr(p, "ds_shape", p.shape)), _shard_numel(p)) for p in group]
            for group in student.part_parameters()
        ]
        self._dtype = next(iter(names)).dtype

    def _copies(self) -> list[Tensor]:
        return [
            host_zeros(self, part.numel(), self.device).copy_(part)
            if self.config.offload
            else part.to(self.device, copy=True)
            for part in self._student.fp32_parts()
        ]

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """For the block, the student's parameters hold the teacher's weights; all ranks enter and leave together.

        No graph of the student may be alive: its backward pass would meet the teacher's weights. Saving, stepping and
        everything else that needs the student's own weights is refused in the block, and so is a second ``loaded``.
        """
        with self._in_student():
            if self.head_weight is None:
                self.head_weight, self.head_bias = self._student.copied_head()
            yield

    def release(self) -> None:
        """Free ``head_weight`` and ``head_bias``, at the end of an update."""
        self.head_weight = self.head_bias = None

    def head(self) -> HeadParts:
        """The teacher's output head, from the first ``loaded`` to ``release``."""
        assert self.head_weight is not None, "the teacher's head is there from `loaded` to `release`"
        head = self._student.engine.module.head
        return HeadParts(self.head_weight, self.head_bias, head.factor, head.softcap)

    def equals_student(self, ranks: Ranks) -> bool:
        """Whether both have the same weights, on every rank. All ranks call it."""
        state = (self._student.num_optimizer_steps, self.num_updates)
        if self._equal is None or self._equal[0] != state:
            parts = zip(self.average, self._student.fp32_parts(), strict=True)
            differs = not all(_equal(mine, theirs) for mine, theirs in parts)
            self._equal = (state, not ranks.any(differs))
        return self._equal[1]

    @torch.no_grad()
    def logits(self, batch: Batch) -> Tensor:
        """Teacher logits_TV at the completion positions; no gradient. Moves the weights in and out for this call."""
        with self._in_student():
            return self._student.forward(batch)

    def _in_student(self) -> AbstractContextManager[None]:
        assert self.kept, "this run keeps no self-teacher"
        return self._student.lent(self.average, on_host=self.config.offload)

    @torch.no_grad()
    def follow(self, parts: list[Tensor]) -> None:
        """theta' <- (1 - r) theta' + r theta, once per outer step."""
        self.release()
        if not self.kept or self.config.kind in ("fixed", "trust_region"):
            return
        rate = 1.0 if self.config.kind == "live" else self.config.rate
        for average, initial in zip(self.average, self.initial, strict=bool(self.initial)):
            average.copy_(initial)
        if self.config.offload:
            for average, part in zip(self.average, parts, strict=True):
                self._follow_in_chunks(average, part, rate)
        elif self._student.is_offloaded:
            for average, part in zip(self.average, parts, strict=True):
                self._follow_from_host(average, part, rate)
        else:
            torch._foreach_lerp_(self.average, parts, rate)
        self.num_updates += 1

    def _follow_in_chunks(self, average: Tensor, part: Tensor, rate: float) -> None:
        on_host = self._student.is_offloaded

        def work(start: int, stop: int, staged: list[Tensor]) -> None:
            torch._foreach_lerp_([staged[0]], [staged[1] if on_host else part[start:stop]], rate)

        streamed([average, part] if on_host else [average], self.device, work, written=(0,))

    def _follow_from_host(self, average: Tensor, part: Tensor, rate: float) -> None:
        def work(start: int, stop: int, staged: list[Tensor]) -> None:
            torch._foreach_lerp_([average[start:stop]], staged, rate)

        streamed([part], self.device, work, written=())

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The average rounded to the compute type, whole tensors by name, for a sampler that answers as the teacher.

        The student's parameters are left alone. Every rank must iterate to the end.
        """
        return self.whole(self._dtype)

    @torch.no_grad()
    def whole(self, dtype: torch.dtype = torch.float32) -> Iterator[tuple[str, Tensor]]:
        """The average as whole tensors by name, rounded to ``dtype``; every rank must iterate to the end."""
        for part, shapes in zip(self.average, self._shapes, strict=True):
            offset = 0
            for name, shape, numel in shapes:
                if self._student.stage == 3:  # each parameter is cut over the ranks
                    flat = _gathered(part[offset : offset + numel].to(self.device).to(dtype))[: shape.numel()]
                else:  # the part of a group is
                    flat = _assembled(part, offset, numel, dtype, self.device)
                offset += numel
                yield name, flat.view(shape)

    def save(self, folder: Path, rank: int) -> None:
        """Write this rank's shards of the average."""
        state = {"kind": self.config.kind, "num_updates": self.num_updates, "average": self.average}
        torch.save(state, folder / f"teacher_rank_{rank}.pt")

    def load(self, folder: Path, rank: int) -> None:
        """Restore the average."""
        self.release()
        if not self.kept:
            return
        path = folder / f"teacher_rank_{rank}.pt"
        state = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        if state["kind"] != self.config.kind:
            raise BadInput(
                f"{path} holds a teacher of kind {state['kind']}, teacher.kind is {self.config.kind}"
            )
        self.num_updates, self._equal = state["num_updates"], None
        for part, saved in zip(self.average, state["average"], strict=True):
            part.copy_(saved)


def _shard_numel(parameter: nn.Parameter) -> int:
    """Elements of this parameter on one rank: ZeRO-3's padded share, else the whole."""
    shard = getattr(parameter, "ds_tensor", None)
    return parameter.numel() if shard is None else int(shard.ds_numel)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether all elements are equal; one of the two may be in host memory."""
    if one.device == other.device:
        return torch.equal(one, other)
    device = other.device if one.device.type == "cpu" else one.device
    parts = zip(torch.split(one, CHUNK), torch.split(other, CHUNK), strict=True)
    return all(torch.equal(a.to(device), b.to(device)) for a, b in parts)


def _gathered(shard: Tensor) -> Tensor:
    """One flat tensor from all ranks' equal shares."""
    import torch.distributed as dist

    if dist.get_world_size() == 1:
        return shard
    whole = shard.new_empty(shard.numel() * dist.get_world_size())
    dist.all_gather_into_tensor(whole, shard.contiguous())
    return whole


def _assembled(part: Tensor, start: int, numel: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Elements of a flat tensor of which every rank holds an equal ``part``; each sends what it has of them."""
    import torch.distributed as dist

    found = torch.empty(numel, dtype=dtype, device=device)
    size, mine = part.numel(), dist.get_rank()
    for rank in range(dist.get_world_size()):
        low, high = max(start, rank * size), min(start + numel, (rank + 1) * size)
        if low >= high:
            continue
        piece = found[low - start : high - start]
        if rank == mine:
            piece.copy_(part[low - rank * size : high - rank * size].to(device))
        if dist.get_world_size() > 1:
            dist.broadcast(piece, rank)
    return found


def make_teacher(config: Config, student: Student, *, kept: bool = True) -> Teacher:
    """The self-teacher of ``student``, at the weights that it has now; without weights unless ``kept``."""
    return Teacher(config.teacher, student, kept=kept)
