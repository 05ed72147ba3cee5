"""One recorded step, and one update of it by either way: what the tests of both ways share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from engines import CPU, pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, load_config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.loss import objectives as objectives_module
from opsd_rs.policy import Student
from opsd_rs.policy import student as student_module
from opsd_rs.records import Grade
from opsd_rs.training.update import distill
from tiny_models import save_perturbed
from transformers import AutoConfig, AutoModelForCausalLM

if TYPE_CHECKING:
    import pytest

STEP = Path(__file__).parents[2] / "benches" / "data" / "step256.npz"


def recorded(num_problems: int) -> RolloutBatch:
    """Rows of one step of SmolLM2-135M: 32 problems, 8 answers each, of at most 512 tokens."""
    found = np.load(STEP)

    def batch(side: str) -> Batch:
        ids, cu_seqlens, spans = (found[f"{side}_{name}"] for name in ("ids", "cu", "spans"))
        return Batch(
            ids.astype(np.int64), cu_seqlens.astype(np.int32), spans.astype(np.int64), found["has_context"]
        )

    student = replace(batch("student"), logprobs=found["logprobs"].astype(np.float32))
    grades = tuple(
        Grade(f"p{p}", row, bool(found["passed"][row]), "accepted", ())
        for row, p in enumerate(found["problem"])
    )
    rows = RolloutBatch(student, batch("teacher"), grades)
    return rows.rows(np.flatnonzero(found["problem"] < num_problems).tolist())


def random_model(folder: Path, family: str) -> str:
    """Of the recorded rows' vocabulary."""
    shape = {
        "vocab_size": 49_152, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 2048,
        "tie_word_embeddings": family == "qwen3",
    }  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape))
    return save_perturbed(model, folder)


class Found(NamedTuple):
    numbers: dict[str, Any]
    gradients: list[dict[str, torch.Tensor]]
    """Of each update."""


def updated(
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    config: Config,
    rows: RolloutBatch,
    *,
    packed: bool,
    device: torch.device = CPU,
) -> Found:
    """One step whose teacher is another model than the student."""
    from deepspeed.utils import safe_get_full_grad

    gradients: list[dict[str, torch.Tensor]] = []
    step = Student.step

    def recording(student: Student) -> float:
        named = student.parameters_by_name().items()
        gradients.append({name: safe_get_full_grad(p).float().cpu() for name, p in named})
        return step(student)

    with monkeypatch.context() as patch:
        patch.setattr(student_module, "packs_rows", lambda device: packed)
        patch.setattr(objectives_module, "from_hidden", lambda device: packed)
        patch.setattr(Student, "step", recording)
        student, teacher = pair(config, model, device)
        noise = torch.Generator().manual_seed(1)
        for part in teacher.average:
            part.add_(0.1 * torch.randn(part.shape, generator=noise).to(part.device))
        numbers = distill(student, teacher, make_objective(config), rows, config, Ranks())
    return Found(numbers, gradients)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    one, other = one.double().flatten(), other.double().flatten()
    return float(one @ other / (one.norm() * other.norm()))


def config_of(*words: str) -> Config:
    plain = ["optim.lr=1e-4", "optim.eps=1e-2", "train.prompts_per_step=32", "train.mini_batch_prompts=32"]
    return load_config([], [*plain, *words])
