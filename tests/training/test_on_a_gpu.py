"""What an update does on a GPU alone: a budget from free memory, and the same bits every time where asked for."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engines import CPU, pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.model import Shape, coming_bytes
from opsd_rs.model.memory import USABLE, activations
from opsd_rs.policy import Student
from opsd_rs.records import Grade
from opsd_rs.training.deterministic import WORKSPACE, deterministic
from opsd_rs.training.token_budget import set_token_budget
from opsd_rs.training.update import distill
from tiny_models import tiny

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
WORDS = ["control.mask=one", "train.prompts_per_step=1", "optim.lr=1e-3"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny(tmp_path_factory.mktemp("m") / "tiny", "llama"))


def said_by(student: Student, model: str, *words: str) -> list[str]:
    said: list[str] = []
    session: Any = SimpleNamespace(
        config=load_config([], [*WORDS, *words]),
        model_dir=model,
        ranks=Ranks(),
        progress=SimpleNamespace(say=said.append),
    )
    set_token_budget(session, student)
    return said


def test_a_cpu_and_a_given_budget_leave_it_alone(model: str) -> None:
    student, _ = pair(load_config([], WORDS), model)
    assert (said_by(student, model), student.micro_batch_tokens) == ([], 4096)
    given, _ = pair(load_config([], [*WORDS, "train.micro_batch_tokens=77"]), model)
    assert (said_by(given, model, "train.micro_batch_tokens=77"), given.micro_batch_tokens) == ([], 77)


@pytest.mark.gpu
@NO_GPU
def test_the_budget_is_chosen_from_free_memory(model: str) -> None:
    student, _ = pair(load_config([], WORDS), model, torch.device("cuda"))
    (said,) = said_by(student, model)
    assert student.micro_batch_tokens == 65_536  # of a model this small
    assert "train.micro_batch_tokens: 65536, for " in said
    torch.cuda.empty_cache()  # what earlier tests left counts as free
    config, shape = load_config([], WORDS), Shape.of(model)
    need = activations(config, shape, tokens=32_768, completion_tokens=32_768) / USABLE
    left = int(need + coming_bytes(config, shape, 1))
    filled = torch.empty(torch.cuda.mem_get_info()[0] - left, dtype=torch.uint8, device="cuda")
    said_by(student, model)
    assert 16_384 < student.micro_batch_tokens <= 40_960  # the allocator takes whole pages
    del filled


def test_deterministic_kernels_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    memory: Any = torch.utils.deterministic
    with deterministic(on=False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(on=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ[WORKSPACE] == ":4096:8"
        assert not memory.fill_uninitialized_memory
    assert not torch.are_deterministic_algorithms_enabled()
    assert memory.fill_uninitialized_memory
    monkeypatch.delenv(WORKSPACE)


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("compiled", [False, True])
def test_a_deterministic_update_has_the_same_bits_every_time(compiled: bool, model: str) -> None:
    ids = torch.randint(5, 300, (40, 400), generator=torch.Generator().manual_seed(0)).tolist()
    rows = Batch.of([row[:50] for row in ids], [row[50 : 100 + 7 * i] for i, row in enumerate(ids)])
    taught = Batch.of([row[25:50] for row in ids], [row[50 : 100 + 7 * i] for i, row in enumerate(ids)])
    batch = RolloutBatch(rows, taught, tuple(Grade("p", i, True, "accepted", ()) for i in range(40)))
    config = load_config([], [*WORDS, f"model.compile={str(compiled).lower()}"])
    found = []
    with deterministic(on=True):
        for _ in range(3):
            student, teacher = pair(config, model, torch.device("cuda"))
            distill(student, teacher, make_objective(config), batch, config, Ranks())
            found.append([part.clone() for part in student.fp32_parts()])
    for other in found[1:]:
        assert all(torch.equal(*both) for both in zip(found[0], other, strict=True))


def test_layers_are_compiled_by_key(model: str) -> None:
    for on in (False, True):
        student, _ = pair(load_config([], [*WORDS, f"model.compile={str(on).lower()}"]), model)
        layers = student.engine.module.lm.model.layers
        assert all((layer._compiled_call_impl is not None) is on for layer in layers)


def test_attention_outputs_cannot_be_kept_on_a_cpu(model: str) -> None:
    words = ["model.gradient_checkpointing=true", "model.keep_attention=true"]
    with pytest.raises(BadInput, match=r"model\.keep_attention: it needs packed rows"):
        Student(load_config([], [*WORDS, *words]), model, CPU)
