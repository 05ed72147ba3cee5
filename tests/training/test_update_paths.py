"""The two ways through an update, packed rows with the loss from hidden states and padded rows with all logits: the
same numbers and gradients on recorded rows. And the control, whose update is exactly nothing on both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from engines import pair
from opsd_rs.base import Ranks
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.loss import objectives as objectives_module
from opsd_rs.policy import Student
from opsd_rs.policy import student as student_module
from opsd_rs.training import scoring
from opsd_rs.training.update import distill
from update_paths import config_of, cosine, random_model, recorded, updated

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks", "released")]


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


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
