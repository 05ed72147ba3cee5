"""``teacher.kind = "trust_region"``: the teacher's logits are a mix of the initial model's and of the student's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from engines import pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.policy import Student, make_teacher
from opsd_rs.records import Grade
from opsd_rs.training.update import distill
from tiny_models import save_perturbed
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

if TYPE_CHECKING:
    from opsd_rs.config import Config
    from opsd_rs.loss import MicroBatch, ObjectiveLoss

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

SHAPE = {
    "vocab_size": 24, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 64,
}  # fmt: skip


def config_of(kind: str, rate: float) -> Config:
    return load_config(
        [],
        [
            "control.mask=one", "model.dtype=float32", "optim.lr=1e-2", "optim.eps=1e-4", "train.micro_batch_tokens=12",
            f"teacher.kind={kind}", f"teacher.rate={rate}", "train.prompts_per_step=2", "train.mini_batch_prompts=2",
        ],
    )  # fmt: skip


def rows() -> RolloutBatch:
    completions = [[11, 12, 13], [21, 22], [7], [3, 4, 5, 6]]
    return RolloutBatch(
        Batch.of([[3, 4]] * 4, completions),
        Batch.of([[3, 9, 4]] * 3 + [[3, 4]], completions),  # the last reads what the student read
        tuple(Grade(f"p{i // 2}", i, True, "accepted", ()) for i in range(4)),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    return save_perturbed(
        AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), dtype=torch.float32),
        tmp_path_factory.mktemp("m") / "tiny",
    )


def logits_by_row(student: Student) -> list[torch.Tensor]:
    with torch.no_grad():
        found_TV = student.logits(rows().teacher)
    return list(torch.split(found_TV, rows().teacher.completion_lengths.tolist()))


def test_logits_mix_once_the_student_has_moved(model: str) -> None:
    share = 0.3
    config = config_of("trust_region", share)
    student, teacher = pair(config, model)
    objective = make_objective(config)
    initial = logits_by_row(student)
    seen: list[MicroBatch] = []
    plain = objective.loss

    def recording(batch: MicroBatch) -> ObjectiveLoss:
        seen.append(batch)
        return plain(batch)

    objective.loss = recording  # type: ignore[method-assign]
    for _ in range(2):
        seen.clear()
        now = logits_by_row(student)
        numbers = distill(student, teacher, objective, rows(), config, Ranks())
        teacher.follow(student.fp32_parts())
        assert len(seen) > 1
        for batch in seen:
            wanted = [(1 - share) * initial[row] + share * now[row] for row in batch.places]
            torch.testing.assert_close(batch.teacher_logits_TV, torch.cat(wanted), atol=1e-5, rtol=1e-4)
    assert max(float((a - b).abs().max()) for a, b in zip(initial, now, strict=True)) > 0.01
    assert numbers["grad_norm"] > 0


def test_at_the_start_it_is_the_initial_model_to_the_bit(model: str) -> None:
    found = []
    for kind in ("fixed", "trust_region"):
        student, teacher = pair(config_of(kind, 0.3), model)
        config = config_of(kind, 0.3)
        found.append(distill(student, teacher, make_objective(config), rows(), config, Ranks()))
    assert found[0] == found[1]


def test_a_share_of_one_is_the_student_itself(model: str) -> None:
    """And its own context is all that teaches: where that is the student's prompt, there is nothing to learn."""
    config = config_of("trust_region", 1.0)
    student, teacher = pair(config, model)
    same = RolloutBatch(rows().student, rows().student, rows().grades)
    objective = make_objective(config)
    distill(student, teacher, objective, rows(), config, Ranks())
    assert distill(student, teacher, objective, same, config, Ranks())["kl"] == pytest.approx(0.0, abs=1e-6)


def test_capped_logits_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    capped = Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=5.0, sliding_window=32)
    folder = save_perturbed(AutoModelForCausalLM.from_config(capped, dtype=torch.float32), tmp_path / "gemma")
    student, _ = pair(config_of("ema", 0.3), folder)
    with pytest.raises(BadInput, match=r"trust_region.*take blend"):
        make_teacher(config_of("trust_region", 0.3), student)
