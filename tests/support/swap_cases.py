"""Students and teachers whose weights change places: the combinations of settings, and updates to compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from opsd_rs.base import Batch
from opsd_rs.config import Config
from opsd_rs.config.tree import DeepSpeedConfig, ModelConfig, OptimConfig, TeacherConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsd_rs.policy import Student, Teacher

KINDS = [  # stage, compute type, gradient type, DeepSpeed's class, bytes of a gradient
    (1, "float32", "float32", "DeepSpeedZeroOptimizer", 4),
    (1, "bfloat16", "float32", "BF16_Optimizer", 4),
    (1, "bfloat16", "bfloat16", "DeepSpeedZeroOptimizer", 2),
    (2, "float32", "float32", "DeepSpeedZeroOptimizer", 4),
    (2, "bfloat16", "float32", "DeepSpeedZeroOptimizer", 4),
    (2, "bfloat16", "bfloat16", "DeepSpeedZeroOptimizer", 2),
    (3, "float32", "float32", "DeepSpeedZeroOptimizer_Stage3", 4),
    (3, "bfloat16", "float32", "DeepSpeedZeroOptimizer_Stage3", 4),
    (3, "bfloat16", "bfloat16", "DeepSpeedZeroOptimizer_Stage3", 2),
]
CASES = [(stage, dtype, gradients) for stage, dtype, gradients, _, _ in KINDS]
BATCHES = [Batch.of([(1, 2, 3), (1, 2)], [(4, 5, 6), (7, 8, 9, 10)]), Batch.of([(3,)], [(11, 12)])]


def config_of(
    stage: int, dtype: str = "bfloat16", gradients: str = "float32", kind: str = "ema", **offload: bool
) -> Config:
    optim = {"lr": 3e-2, "gradient_dtype": gradients, "offload": offload.get("optim", False)}
    teacher = {"kind": kind, "rate": 0.25, "offload": offload.get("teacher", False)}
    return Config(
        deepspeed=DeepSpeedConfig(stage=stage),
        model=ModelConfig.model_validate({"dtype": dtype}),
        optim=OptimConfig.model_validate(optim),
        teacher=TeacherConfig.model_validate(teacher),
    )


def accumulate(student: Student, between: Callable[[], Any] = lambda: None) -> None:
    for batch in BATCHES:
        logits_TV = student.logits(batch).float()
        target_T = torch.from_numpy(batch.completion_ids)
        student.backward(
            torch.nn.functional.cross_entropy(logits_TV, target_T) / 2, last=batch is BATCHES[-1]
        )
        between()


def update(student: Student, between: Callable[[], Any] = lambda: None) -> None:
    accumulate(student, between)
    student.step()


def weights_of(source: Student | Teacher) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in source.weights()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
