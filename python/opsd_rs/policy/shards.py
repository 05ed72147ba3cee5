"""This rank's fp32 master weights inside DeepSpeed, and the compute-type parameters under them.

DeepSpeed 0.19.8 picks one of three optimizer classes, by stage, compute type and gradient type, and each names the same
things differently: all of those names are in this file. A part is one flat tensor of a rank: its share of a parameter
group at stages 1 and 2, the concatenated shares of its parameters at stage 3, padding included.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from opsd_rs.policy.host import copied_from_host

NORM_PIECE = {"cuda": 2**26, "cpu": 2**16}
"""Elements. On a GPU, DeepSpeed takes the norm of a copy of each; on a CPU torch adds one square after the other in
fp32, which costs three digits over 2**24 of them."""


class Shards(ABC):
    """The parts of one optimizer, all in the same order and of the same sizes."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    @property
    @abstractmethod
    def masters(self) -> list[Tensor]:
        """The fp32 master weights, as DeepSpeed holds them; a list that may be written into."""

    @property
    @abstractmethod
    def groups(self) -> list[list[nn.Parameter]]:
        """For each part, the parameters it covers, in order."""

    @property
    @abstractmethod
    def compute(self) -> list[Tensor]:
        """For each part, the same elements of the parameters, in the compute type."""

    @abstractmethod
    def gradients(self, part: int) -> list[Tensor]:
        """The accumulated gradient of a part in pieces, in order; they may end before the part does."""

    @abstractmethod
    def begin_step(self) -> Tensor | None:
        """Measure the gradient's norm, as DeepSpeed does; returns what to multiply the gradients by to clip them.

        None where the norm is not finite: then the gradients are gone and nothing may be updated.
        """

    @abstractmethod
    def end_step(self) -> None:
        """Publish the parts and drop the gradients."""

    @abstractmethod
    def publish(self) -> None:
        """Make whole parameters of every rank's ``compute``. All ranks call it."""

    def before_writing(self) -> None:  # noqa: B027
        """Bring the parameters into the state in which ``compute`` may be written to."""

    @torch.no_grad()
    def take(self, parts: Sequence[Tensor], *, on_host: bool = False) -> None:
        """Round fp32 ``parts`` into the parameters, as DeepSpeed does after a step. All ranks call it.

        No graph may be alive: its backward pass would meet other weights, unnoticed.

        :param on_host: the parts are in host memory
        """
        self.before_writing()
        for target, part in zip(self.compute, parts, strict=True):
            if on_host:
                copied_from_host(part.detach(), target)
            else:
                target.copy_(part)
        self.publish()

    def link_masters(self) -> None:
        """Let go of masters that were replaced in ``masters``."""
        for group, master in zip(self.optimizer.optimizer.param_groups, self.masters, strict=True):
            group["params"] = [master]
        self.optimizer._link_all_hp_params()


class _Flat(Shards):
    """Stages 1 and 2: the parameters of a group are slices of one flat tensor, cut evenly over the ranks."""

    def _rank(self, part: int) -> int:
        return torch.distributed.get_rank(self.optimizer.real_dp_process_group[part])

    @property
    @abstractmethod
    def _partitions(self) -> list[list[Tensor]]:
        """For each part, the slices of all ranks."""

    @property
    @abstractmethod
    def _whole(self) -> list[Tensor]: ...

    @property
    def compute(self) -> list[Tensor]:
        return [parts[self._rank(i)].detach() for i, parts in enumerate(self._partitions)]

    def publish(self) -> None:
        from deepspeed.runtime.utils import all_gather_dp_groups

        optimizer = self.optimizer
        all_gather_dp_groups(
            groups_flat=self._whole,
            partitioned_param_groups=self._partitions,
            dp_process_group=optimizer.real_dp_process_group,
            start_alignment_factor=optimizer.nccl_start_alignment_factor,
            allgather_bucket_size=optimizer.allgather_bucket_size,
        )


class BF16Shards(_Flat):
    """``BF16_Optimizer``: stage 1, bf16 parameters, fp32 gradients that every rank holds whole.

    It takes the norm and clips parameter by parameter, at four kernels each: in a small model, that takes as long as
    all else in its step. Here it is given the flat gradients in large pieces; their padding is 0.
    """

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer)
        optimizer.get_grads_for_norm = self._pieces

    def _pieces(self, for_clipping: bool = False) -> Any:
        flat: list[Tensor] = self.optimizer.fp32_groups_gradients_flat
        pieces = [piece for part in flat for piece in torch.split(part, NORM_PIECE[part.device.type])]
        return pieces if for_clipping else (pieces, {})  # the latter: of experts, apart

    @property
    def masters(self) -> list[Tensor]:
        found: list[Tensor] = self.optimizer.fp32_groups_flat_partition
        return found

    @property
    def groups(self) -> list[list[nn.Parameter]]:
        return [list(group) for group in self.optimizer.bf16_groups]

    @property
    def _partitions(self) -> list[list[Tensor]]:
        found: list[list[Tensor]] = self.optimizer.bf16_partitioned_groups
        return found

    @property
    def _whole(self) -> list[Tensor]:
        found: list[Tensor] = self.optimizer.bf16_groups_flat
        return found

    def gradients(self, part: int) -> list[Tensor]:
        return [self.optimizer.fp32_groups_gradient_flat_partition[part]]

    def begin_step(self) -> Tensor | None:
        from deepspeed.runtime.utils import clip_tensors_by_global_norm, get_global_norm_of_tensors

        optimizer = self.optimizer
        gradients, _ = optimizer.get_grads_for_norm()
        norm = get_global_norm_of_tensors(input_tensors=gradients, mpu=None, norm_type=optimizer.norm_type)
        optimizer.overflow = _invalid(norm)
        optimizer._global_grad_norm = float("inf") if optimizer.overflow else norm
        if optimizer.overflow:
            optimizer.clear_hp_grads()
            optimizer.clear_lp_grads()
            return None
        clip_tensors_by_global_norm(  # in place, as the gradients are whole here
            input_tensors=optimizer.get_grads_for_norm(for_clipping=True),
            max_norm=optimizer.clip_grad,
            global_norm=norm,
            mpu=None,
        )
        return torch.ones((), device=self.compute[0].device)

    def end_step(self) -> None:
        self.publish()
        self.optimizer.clear_hp_grads()


class ZeroShards(_Flat):
    """``DeepSpeedZeroOptimizer``: stages 1 and 2 otherwise."""

    @property
    def masters(self) -> list[Tensor]:
        found: list[Tensor] = self.optimizer.single_partition_of_fp32_groups
        return found

    @property
    def groups(self) -> list[list[nn.Parameter]]:
        return [list(group) for group in self.optimizer.round_robin_bit16_groups]

    @property
    def _partitions(self) -> list[list[Tensor]]:
        found: list[list[Tensor]] = self.optimizer.parallel_partitioned_bit16_groups
        return found

    @property
    def _whole(self) -> list[Tensor]:
        found: list[Tensor] = self.optimizer.bit16_groups_flat
        return found

    def gradients(self, part: int) -> list[Tensor]:
        flat = self.optimizer._get_preflattened_grad_partition(part)
        return (
            [piece.reshape(-1) for piece in self.optimizer.averaged_gradients[part]]
            if flat is None
            else [flat]
        )

    def begin_step(self) -> Tensor | None:
        from deepspeed.runtime.zero.stage_1_and_2 import INITIAL_MICRO_STEP_ID

        optimizer = self.optimizer
        optimizer.micro_step_id = INITIAL_MICRO_STEP_ID
        optimizer.overflow = False
        if optimizer.check_grad_overflow:
            optimizer.check_overflow(partition_gradients=optimizer.partition_gradients)
        norm = None if optimizer.overflow else optimizer.scaled_global_norm()
        optimizer.overflow = norm is None or _invalid(norm)
        optimizer._global_grad_norm = float("inf") if optimizer.overflow else norm
        if norm is None or optimizer.overflow:
            optimizer.zero_grad(set_to_none=True)
            self._drop_gradients()
            return None
        return _clip(norm, optimizer.clip_grad)

    def end_step(self) -> None:
        for i in range(len(self.masters)):
            self.optimizer.free_grad_in_param_list(self.optimizer.params_not_in_partition[i])
            self.optimizer.free_grad_in_param_list(self.optimizer.params_in_partition[i])
        self._drop_gradients()
        self.publish()

    def _drop_gradients(self) -> None:
        optimizer = self.optimizer
        optimizer._release_preflattened_grad_buffers()
        for i in list(optimizer.averaged_gradients):
            optimizer.averaged_gradients[i] = None
            optimizer.all_grad_tensors[i] = None


class Zero3Shards(Shards):
    """``DeepSpeedZeroOptimizer_Stage3``: every parameter is cut over the ranks, small ones stay whole beside it."""

    @property
    def masters(self) -> list[Tensor]:
        found: list[Tensor] = self.optimizer.fp32_partitioned_groups_flat
        return found

    @property
    def groups(self) -> list[list[nn.Parameter]]:
        return [list(group) for group in self.optimizer.fp16_groups]

    @property
    def compute(self) -> list[Tensor]:
        return [part.detach() for part in self.optimizer.fp16_partitioned_groups_flat]

    def gradients(self, part: int) -> list[Tensor]:
        return list(self.optimizer.averaged_gradients[part])

    def begin_step(self) -> Tensor | None:
        from deepspeed.runtime.utils import combine_grad_norm_groups

        optimizer = self.optimizer
        optimizer._pre_step()
        self.before_writing()
        norm = combine_grad_norm_groups(optimizer._get_norm_groups())
        optimizer.overflow = _invalid(norm)
        optimizer._global_grad_norm = float("inf") if optimizer.overflow else norm
        optimizer.zero_grad(set_to_none=True)
        if optimizer.overflow:
            optimizer.averaged_gradients = {}
            return None
        return _clip(norm, optimizer.clip_grad)

    def end_step(self) -> None:
        self.optimizer.averaged_gradients = {}
        self.publish()

    def before_writing(self) -> None:
        self.optimizer._partition_all_parameters()

    def publish(self) -> None:
        optimizer = self.optimizer
        for i in range(len(self.masters)):
            optimizer._unflatten_partitioned_parameters(i)
        if kept_whole := optimizer.persistent_parameters:
            kept_whole[0].all_gather(kept_whole)
        optimizer.invalidate_secondary_tensor()

    def link_masters(self) -> None:
        pass  # this class hands a part to AdamW for the moment of its step only


def shards_of(optimizer: Any) -> Shards:
    """The parts of the optimizer that DeepSpeed has made.

    :raises RuntimeError: a class that is not known here
    """
    for name, kind in (
        ("fp32_partitioned_groups_flat", Zero3Shards),
        ("fp32_groups_flat_partition", BF16Shards),
        ("single_partition_of_fp32_groups", ZeroShards),
    ):
        if hasattr(optimizer, name):
            found: Shards = kind(optimizer)
            # Masters that are the parameters could not bring the student back.
            for master, compute in zip(found.masters, found.compute, strict=True):
                assert master.data_ptr() != compute.data_ptr()
            return found
    raise RuntimeError(f"{type(optimizer).__name__} keeps no fp32 shards under a name known here")


def _invalid(norm: Any) -> bool:
    from deepspeed.runtime.utils import is_invalid_grad_norm

    return bool(is_invalid_grad_norm(norm))


def _clip(norm: Tensor, bound: float) -> Tensor:
    """In DeepSpeed's own words, so that the product is equal to the bit."""
    return 1.0 / torch.clamp((norm + 1e-6) / bound, min=1.0)
