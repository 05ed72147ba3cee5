"""A real student and its teacher on DeepSpeed's CPU accelerator, as two test files build them."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import torch
from opsd_rs.policy import Student, Teacher, device_of_rank, join_ranks, make_teacher
from opsd_rs.policy.process_group import engines

if TYPE_CHECKING:
    from opsd_rs.config import Config

CPU = torch.device("cpu")


def pair(config: Config, model_dir: str, device: torch.device = CPU) -> tuple[Student, Teacher]:
    """Both from the weights in ``model_dir``."""
    join_ranks(device_of_rank())
    student = Student(config, model_dir, device)
    teacher = make_teacher(config, student)
    return student, teacher


def release() -> None:
    """Let go of all students: hooks of DeepSpeed keep an engine alive, with all its memory, that nobody else has."""
    while engines:
        engines.pop().destroy()
    gc.collect()
