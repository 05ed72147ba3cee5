"""How many tokens go through the model at a time, where the configuration does not say: what fits into free memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opsd_rs.base import MIB
from opsd_rs.config import Config
from opsd_rs.model import Shape, coming_bytes, token_budget

if TYPE_CHECKING:
    from opsd_rs.policy import Student
    from opsd_rs.training.session import Session


def hold_to_share(config: Config, device: torch.device) -> None:
    """From here on torch takes no more than this run's share of the GPU: it runs out of memory, not its neighbours."""
    if device.type == "cuda" and config.run.gpu_share < 1:
        torch.cuda.set_per_process_memory_fraction(trainer_share(config), device)


def free_bytes(config: Config, device: torch.device) -> int:
    """What this process can still take of the GPU: of what is free, and of its share."""
    reserved = torch.cuda.memory_reserved(device)
    on_device, total = torch.cuda.mem_get_info(device)
    own = int(trainer_share(config) * total) - reserved
    free = min(on_device, own) if config.run.gpu_share < 1 else on_device
    return free + reserved - torch.cuda.memory_allocated(device)


def trainer_share(config: Config) -> float:
    """What is left of ``run.gpu_share`` beside vLLM, as a share of the whole GPU.

    >>> from opsd_rs.config import Config
    >>> words = {"run": {"gpu_share": 0.5}, "rollout": {"engine": "vllm", "gpu_memory_utilization": 0.4}}
    >>> trainer_share(Config.model_validate(words))
    0.3
    """
    rollout, share = config.rollout, config.run.gpu_share
    return share * (1 - rollout.gpu_memory_utilization) if rollout.engine == "vllm" else share


def set_token_budget(session: Session, student: Student) -> None:
    """Choose ``student.micro_batch_tokens`` where ``train.micro_batch_tokens`` is unset, on a GPU, and say so.

    All ranks call it.
    Student, teacher and sampler have their memory by now, but for the optimizer's moments before its first step.
    """
    config = session.config
    if config.train.micro_batch_tokens is not None or student.device.type != "cuda":
        return
    free = free_bytes(config, student.device)
    shape = Shape.of(session.model_dir)
    if student.num_optimizer_steps == 0:
        free -= int(coming_bytes(config, shape, session.ranks.world_size))
    least = min(session.ranks.gather([free]))  # all ranks cut their rows by the same budget
    student.micro_batch_tokens = token_budget(config, shape, least)
    session.progress.say(
        f"train.micro_batch_tokens: {student.micro_batch_tokens}, for {least / (1024 * MIB):.1f} GiB of free memory"
    )
