"""The two ways through an update, packed rows with the loss from hidden states and padded rows with all logits: the
same numbers and gradients on recorded rows. And the control, whose update is exactly nothing on both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from engines import CPU, pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import Config, load_config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.loss import objectives as objectives_module
from opsd_rs.policy import Student
from opsd_rs.policy import student as student_module
from opsd_rs.records import Grade
from opsd_rs.training import scoring
from opsd_rs.training.update import distill
from perturbed import perturb
from transformers import AutoConfig, AutoModelForCausalLM

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

STEP = Path(__file__).parents[2] / "benches" / "data" / "step256.npz"
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


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
    with torch.no_grad():
        weights = perturb({name: parameter.detach() for name, parameter in model.named_parameters()})
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    model.save_pretrained(folder)
    return str(folder)


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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("tokens", [100_000, 1500, 600])
def test_both_paths_give_the_same_update(
    tokens: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path / "tiny", "qwen3")
    rows = recorded(2 if device == "cpu" else 32)
    dtype = "float32" if device == "cpu" else "bfloat16"
    config = config_of(
        f"model.dtype={dtype}", f"train.micro_batch_tokens={tokens}", "rollout.temperature=0.7"
    )
    place = torch.device(device)
    slow = updated(
        monkeypatch, model, config_of(f"model.dtype={dtype}", "rollout.temperature=0.7"), rows,
        packed=False, device=place,
    )  # fmt: skip
    fast = updated(monkeypatch, model, config, rows, packed=True, device=place)
    assert slow.numbers["kl"] > 3e-4
    for name in ("loss", "kl", "grad_norm", "topk_mass", "rollout_logprob_difference"):
        assert fast.numbers[name] == pytest.approx(slow.numbers[name], rel=5e-3), name
    least = 0.999 if device == "cpu" else 0.99
    for name, gradient in slow.gradients[0].items():
        assert cosine(gradient, fast.gradients[0][name]) > least, name


def test_both_paths_weigh_later_updates_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three updates: the later ones compare with the start of the step, whose log-probs each path reads its own way."""
    model = random_model(tmp_path / "tiny", "llama")
    config = config_of("model.dtype=float32", "train.mini_batch_prompts=1", "train.micro_batch_tokens=1000")
    rows = recorded(3)
    slow, fast = (updated(monkeypatch, model, config, rows, packed=packed) for packed in (False, True))
    assert slow.numbers["updates"] == 3
    for name in ("loss", "kl", "grad_norm"):
        assert fast.numbers[name] == pytest.approx(slow.numbers[name], rel=5e-3), name


def test_groups_of_any_size_give_the_same_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher visits the student's parameters once, or once for each micro-batch."""
    model = random_model(tmp_path / "tiny", "llama")
    config = config_of("model.dtype=float32", "train.mini_batch_prompts=1", "train.micro_batch_tokens=1000")
    rows, found, visits = recorded(3), [], []
    lent = Student.lent
    for size in (scoring.GROUP_BYTES, 1):
        seen: list[int] = []

        def counting(self: Student, *args: Any, seen: list[int] = seen, **kwargs: Any) -> Any:
            seen.append(1)
            return lent(self, *args, **kwargs)

        monkeypatch.setattr(scoring, "GROUP_BYTES", size)
        monkeypatch.setattr(Student, "lent", counting)
        found.append(updated(monkeypatch, model, config, rows, packed=False))
        visits.append(len(seen))
    assert visits[0] == 1
    assert visits[1] > 3
    assert found[0].numbers["loss"] == pytest.approx(found[1].numbers["loss"], rel=1e-5)
    for one, other in zip(found[0].gradients, found[1].gradients, strict=True):
        for name, gradient in one.items():
            torch.testing.assert_close(other[name], gradient, atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize(
    ("device", "compiled"),
    [("cpu", False), *(pytest.param("cuda", on, marks=[pytest.mark.gpu, NO_GPU]) for on in (False, True))],
)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("tokens", [100_000, 300])
def test_the_control_is_exactly_nothing(
    tokens: int, packed: bool, compiled: bool, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher reads the student's prompt and has its weights: no gradient at all, and weights that stay; a decay of
    lr * 0.01 = 1e-8 is less than fp32 resolves."""
    model = random_model(tmp_path / "tiny", "llama")
    config = config_of(
        "context=none", "control.mask=one", f"train.micro_batch_tokens={tokens}", "optim.eps=1e-8",
        "optim.lr=1e-6", "train.mini_batch_prompts=1", f"model.compile={str(compiled).lower()}",
    )  # fmt: skip
    rows = recorded(2)
    control = RolloutBatch(rows.student, rows.student, rows.grades)
    monkeypatch.setattr(student_module, "packs_rows", lambda device: packed)
    monkeypatch.setattr(objectives_module, "from_hidden", lambda device: packed)
    student, teacher = pair(config, model, torch.device(device))
    before = {name: weight.clone() for name, weight in student.weights()}
    masters = [part.clone() for part in student.fp32_parts()]
    for _ in range(3):
        numbers = distill(student, teacher, make_objective(config), control, config, Ranks())
        assert (numbers["grad_norm"], numbers["loss"], numbers["updates"]) == (0.0, 0.0, 2)
        teacher.follow(student.fp32_parts())
    assert all(torch.equal(before[name], weight) for name, weight in student.weights())
    assert all(torch.equal(*both) for both in zip(masters, student.fp32_parts(), strict=True))
