"""How many tokens go through the model at a time, where the configuration does not say: what fits into free memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from opsd_rs.base import MIB
from opsd_rs.model import Shape, coming_bytes, token_budget

if TYPE_CHECKING:
    from opsd_rs.policy import Student
    from opsd_rs.training.session import Session


def set_token_budget(session: Session, student: Student) -> None:
    """Choose ``student.micro_batch_tokens`` where ``train.micro_batch_tokens`` is unset, on a GPU, and say so.

    All ranks call it.
    Student, teacher and sampler have their memory by now, but for the optimizer's moments before its first step.
    """
    config = session.config
    if config.train.micro_batch_tokens is not None or student.device.type != "cuda":
        return
    free = torch.cuda.mem_get_info(student.device)[0]
    free += torch.cuda.memory_reserved(student.device) - torch.cuda.memory_allocated(student.device)
    shape = Shape.of(session.model_dir)
    if student.num_optimizer_steps == 0:
        free -= int(coming_bytes(config, shape, session.ranks.world_size))
    least = min(session.ranks.gather([free]))  # all ranks cut their rows by the same budget
    student.micro_batch_tokens = token_budget(config, shape, least)
    session.progress.say(
        f"train.micro_batch_tokens: {student.micro_batch_tokens}, for {least / (1024 * MIB):.1f} GiB of free memory"
    )
