"""A real student and its teacher on DeepSpeed's CPU accelerator, as two test files build them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from opsd_rs.policy import CompletionModel, Student, Teacher, device_of_rank, join_ranks, load_model

if TYPE_CHECKING:
    from opsd_rs.config import Config

CPU = torch.device("cpu")


def pair(config: Config, model_dir: str) -> tuple[Student, Teacher]:
    """Both from the weights in ``model_dir``."""
    join_ranks(device_of_rank())
    student = Student(config, model_dir, CPU)
    names = {parameter: name for name, parameter in student.parameters_by_name().items()}
    teacher = Teacher(
        config.teacher,
        CompletionModel(load_model(model_dir, config.model.dtype)),
        student.fp32_parts(),
        student.part_parameters(),
        names,
        sharded_parameters=config.deepspeed.stage == 3,
    )
    return student, teacher
