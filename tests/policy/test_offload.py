"""Average, master weights and moments in host memory: chunk by chunk through the device, and the same to the bit."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import tiny_models
import torch
from engines import CPU, pair
from opsd_rs.policy import host, offload
from opsd_rs.policy import teacher as teacher_module
from swap_cases import BATCHES, CASES, config_of, equal, update, weights_of

if TYPE_CHECKING:
    from pathlib import Path

    from opsd_rs.policy import Student, Teacher
    from opsd_rs.policy.shards import Shards

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks", "released")]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3"))


@pytest.fixture(autouse=True)
def _chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks of a length that divides nothing."""
    monkeypatch.setattr(host, "CHUNK", 10_007)


def train(student: Student, teacher: Teacher, steps: int) -> None:
    for _ in range(steps):
        update(student, between=lambda: teacher.logits(BATCHES[0]))
        teacher.follow(student.fp32_parts())


@pytest.mark.parametrize(
    ("optim", "average", "stage", "dtype", "gradients"),
    [
        *((True, True, *case) for case in CASES),
        *((*one, *case) for one in ((True, False), (False, True)) for case in CASES[1::3]),
    ],
)
def test_offloaded_is_the_same_to_the_bit_and_so_is_its_checkpoint(
    optim: bool, average: bool, stage: int, dtype: str, gradients: str, model_dir: str, tmp_path: Path
) -> None:
    plain = pair(config_of(stage, dtype, gradients), model_dir)
    config = config_of(stage, dtype, gradients, optim=optim, teacher=average)
    moved = pair(config, model_dir)
    train(*plain, steps=2)
    train(*moved, steps=2)
    (tmp_path / "c").mkdir()
    moved[0].save(tmp_path / "c")
    moved[1].save(tmp_path / "c", 0)
    again = pair(config, model_dir)
    again[0].load(tmp_path / "c")
    again[1].load(tmp_path / "c", 0)
    assert again[0].num_optimizer_steps == 2
    for part in (plain, moved, again):
        train(*part, steps=2)
    for student, teacher in (moved, again):
        assert student.is_offloaded == optim
        assert equal(weights_of(student), weights_of(plain[0]))
        assert equal(weights_of(teacher), weights_of(plain[1]))
        for ours, theirs in zip(student.fp32_parts(), plain[0].fp32_parts(), strict=True):
            assert torch.equal(ours, theirs)
        for ours, theirs in zip(teacher.average, plain[1].average, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("optim", [True, False])
def test_a_blend_in_host_memory_is_the_same_to_the_bit(optim: bool, model_dir: str) -> None:
    found = []
    for on_host in (False, True):
        config = config_of(*CASES[0], optim=on_host and optim, teacher=on_host)
        config = config.model_copy(update={"teacher": config.teacher.model_copy(update={"kind": "blend"})})
        student, teacher = pair(config, model_dir)
        train(student, teacher, steps=2)
        found.append([*teacher.average, *teacher.initial])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))
    assert not torch.equal(found[0][0], found[0][-1])


@pytest.mark.parametrize(("stage", "dtype", "gradients"), CASES)
def test_a_gradient_that_is_not_finite_changes_nothing(
    stage: int, dtype: str, gradients: str, model_dir: str
) -> None:
    student, _ = pair(config_of(stage, dtype, gradients, optim=True), model_dir)
    update(student)
    before, parts = weights_of(student), [part.clone() for part in student.fp32_parts()]
    logits_TV = student.logits(BATCHES[0])
    student.backward(logits_TV.float().sum() * torch.inf, last=True)
    assert student.step() == float("inf")
    assert equal(weights_of(student), before)
    assert all(torch.equal(a, b) for a, b in zip(student.fp32_parts(), parts, strict=True))
    update(student)
    assert not equal(weights_of(student), before), "and the next step goes on"


@pytest.mark.parametrize(("stage", "dtype", "gradients"), CASES)
def test_nobody_keeps_the_masters_that_deepspeed_made(
    stage: int, dtype: str, gradients: str, model_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storages: list[torch.UntypedStorage] = []  # held, so that nobody else gets their addresses
    init = offload.HostAdamW.__init__

    def noted(self: offload.HostAdamW, shards: Shards, device: torch.device) -> None:
        storages.extend(master.untyped_storage() for master in shards.masters)
        init(self, shards, device)

    monkeypatch.setattr(offload.HostAdamW, "__init__", noted)
    student, _ = pair(config_of(stage, dtype, gradients, optim=True), model_dir)
    gc.collect()
    addresses = {storage.data_ptr() for storage in storages}
    tensors = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]
    assert [t.shape for t in tensors if t.untyped_storage().data_ptr() in addresses] == []
    assert addresses
    assert student.is_offloaded


def test_settings_that_a_resumed_run_changes_are_those_of_the_next_step(
    model_dir: str, tmp_path: Path
) -> None:
    weights = []
    for factor in (1.0, 0.5):
        config = config_of(1, optim=True)
        student, _ = pair(config, model_dir)
        update(student)
        student.save(tmp_path)
        changed = config.optim.model_copy(update={"lr": config.optim.lr * factor})
        again, _ = pair(config.model_copy(update={"optim": changed}), model_dir)
        again.load(tmp_path)
        update(again)
        weights.append(weights_of(again))
    assert not equal(*weights)


@pytest.mark.parametrize("length", [1, 7, 10_006, 10_007, 10_008, 50_000])
def test_chunks_cover_every_element_once(length: int) -> None:
    one, two = torch.arange(float(length)), torch.zeros(length)
    seen: list[tuple[int, int]] = []

    def work(start: int, stop: int, staged: list[torch.Tensor]) -> None:
        seen.append((start, stop))
        assert {t.data_ptr() for t in staged}.isdisjoint({one.data_ptr(), two.data_ptr()}), (
            "a copy on the device"
        )
        staged[1].add_(staged[0])
        staged[0].zero_()

    host.streamed([one, two], CPU, work, written=(1,))
    assert torch.equal(two, torch.arange(float(length)))
    assert torch.equal(one, two), "what is not written back stays"
    assert [start for start, _ in seen] == [0, *(stop for _, stop in seen)][:-1]
    assert seen[-1][1] == length
    assert max(stop - start for start, stop in seen) <= host.CHUNK


@pytest.mark.parametrize("optim", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_what_goes_through_the_device_in_chunks(
    optim: bool, average: bool, model_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = pair(config_of(1, optim=optim, teacher=average), model_dir)
    passed: list[int] = []
    streamed = host.streamed

    def counted(tensors: list[torch.Tensor], *args: Any, **words: Any) -> None:
        passed.append(len(tensors))
        streamed(tensors, *args, **words)

    for module in (host, offload, teacher_module):
        monkeypatch.setattr(module, "streamed", counted, raising=False)
    counts = {}
    for name, call in {
        "step": lambda: update(student),
        "follow": lambda: teacher.follow(student.fp32_parts()),
        "swap": lambda: teacher.logits(BATCHES[0]),
    }.items():
        passed.clear()
        call()
        counts[name] = list(passed)
    assert counts == {
        "step": [3] if optim else [],  # weights and two moments
        "follow": [average + optim] if average or optim else [],
        "swap": [1] * average + [1] * optim,  # the teacher in, the student back
    }
