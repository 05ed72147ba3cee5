"""The process group of a run: joined at the start, left without a trace at the end."""

from __future__ import annotations

import os
import sys

import torch


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
