"""The process group of a run: joined at the start, left without a trace at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import torch

from opsd_rs.errors import BadInput


def device_of_rank() -> torch.device:
    """This rank's GPU, or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


_lent: list[str] = []
"""What ``join_ranks`` added to the environment, which is the whole process's; ``leave_ranks`` takes it back."""
engines: WeakSet[Any] = WeakSet()
"""DeepSpeed's engines of this group. The gradient hooks of one hold it, weights and all, where Python's collector of
cycles cannot see it: ``leave_ranks`` removes them."""


def join_ranks(device: torch.device) -> tuple[int, int]:
    """Join the process group (torchrun's, or one of our own with a single rank): (rank, world size)."""
    from datetime import timedelta

    import torch.distributed as dist

    if not dist.is_initialized():
        launched = check_launcher(os.environ)
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Rollouts and grading keep ranks waiting for long: NCCL's default of 10 minutes is too short.
        patience = timedelta(hours=2)
        if launched:
            store, rank, world_size = _meet()
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)
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


LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun gives each of its processes."""
MEETING_MINUTES = 5
"""How long ranks wait for each other at the start."""


def check_launcher(environ: Mapping[str, str]) -> bool:
    """Whether a launcher started this process, by its variables: all of them, or none that means anything.

    :raises BadInput: some of them, left over from elsewhere or set by hand
    """
    there = [name for name in LAUNCHER if environ.get(name)]
    if len(there) == len(LAUNCHER):
        return True
    meant = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    if all(environ.get(name) in (None, "", alone) for name, alone in meant.items()):
        return False
    found = ", ".join(f"{name}={environ[name]}" for name in there)
    absent = ", ".join(name for name in LAUNCHER if name not in there)
    raise BadInput(
        f"the environment has {found} but not {absent}: start one process per GPU with `torchrun --nproc-per-node N -m"
        f" opsd_rs.cli ...`, or `unset {' '.join(there)}` to train with one"
    )


def _meet() -> tuple[Any, int, int]:
    """The launcher's store, this rank and their number, once all have come."""
    from datetime import timedelta

    from torch.distributed.rendezvous import rendezvous

    try:
        found: tuple[Any, int, int] = next(rendezvous("env://", timeout=timedelta(minutes=MEETING_MINUTES)))
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise BadInput(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}, but not all ranks met at {where} within {MEETING_MINUTES} minutes"
            f" ({str(error).splitlines()[0][:200]}): start all of them, or `unset {' '.join(LAUNCHER)}` to train with"
            " one process"
        ) from error
    return found


def leave_ranks() -> None:
    """Undo ``join_ranks``: a group left to the interpreter's exit can crash there, a variable left misleads."""
    import torch.distributed as dist

    while engines:
        engines.pop().destroy()
    if dist.is_initialized():
        deepspeed = sys.modules.get("deepspeed")
        if deepspeed is not None and deepspeed.comm.is_initialized():
            # It keeps a copy of the group, which the next student of this process would take for a living one.
            deepspeed.comm.destroy_process_group()
        else:
            dist.destroy_process_group()
    while _lent:
        os.environ.pop(_lent.pop(), None)
