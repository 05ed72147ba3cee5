"""Keys whose effect is on an update: two values each on the same rows, and what they make of weights and numbers."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tiny_models
import torch
from engines import CPU, pair
from opsd_rs.base import Batch, Ranks
from opsd_rs.config import load_config
from opsd_rs.loss import RolloutBatch, make_objective
from opsd_rs.policy import leave_ranks
from opsd_rs.records import Grade
from opsd_rs.rollout import HFEngine, Request, Sampling, make_engine
from opsd_rs.rollout.vllm.options import engine_environment, llm_options
from opsd_rs.training.start import gpu_gib
from opsd_rs.training.token_budget import free_bytes, hold_to_share
from opsd_rs.training.update import distill

if TYPE_CHECKING:
    from opsd_rs.config import Config

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

BASE = {
    "control.mask": "one",
    "model.dtype": "float32",
    "rollout.engine": "hf",
    "optim.lr": "1e-2",
    "optim.eps": "1e-3",
    "train.prompts_per_step": "2",
    "train.mini_batch_prompts": "1",
    "train.micro_batch_tokens": "18",
    "loss.is_clip": "none",
    "loss.rollout_is_clip": "none",
    "teacher.rate": "0.5",
}
# key: two values, and keys that both need
EFFECTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "optim.lr": ("1e-2", "1e-3", {}),
    "optim.betas": ("[0.9, 0.999]", "[0.0, 0.5]", {}),
    "optim.eps": ("1e-3", "1e-1", {}),
    "optim.weight_decay": ("0.01", "0.9", {}),
    "optim.clip": ("1.0", "1e-6", {}),
    "train.mini_batch_prompts": ("1", "2", {}),
    "loss.kind": ("reverse_kl", "forward_kl", {}),
    "loss.jsd_alpha": ("0.5", "0.1", {"loss.kind": "jsd"}),
    "loss.topk": ("20", "2", {"loss.tail": "false"}),
    "loss.tail": ("true", "false", {"loss.topk": "2"}),
    "loss.aggregate": ("token_mean", "sdpo", {"train.mini_batch_prompts": "2"}),
    "loss.is_clip": ("none", "1e-3", {}),
    "loss.rollout_is_clip": ("none", "1e-3", {}),
    "loss.old": ("trainer", "sampler", {"loss.is_clip": "2.0"}),
    "teacher.kind": ("ema", "fixed", {}),
    "teacher.rate": ("0.5", "0.1", {}),
    "rollout.temperature": ("1.0", "3.0", {}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("m") / "tiny", "llama"))


def rows() -> RolloutBatch:
    """Two problems with two rollouts each, of uneven length; what the sampler gave them is not what they have."""
    completions = [[11, 12, 13], [21, 22], [31], [41, 42, 43, 44]]
    return RolloutBatch(
        student=dataclasses.replace(Batch.of([[3, 4]] * 4, completions), logprobs=np.full(10, -9.0)),
        teacher=Batch.of([[3, 9, 8, 7, 4]] * 4, completions, has_context=[True] * 4),
        grades=tuple(Grade(f"p{i // 2}", i % 2, i % 2 == 0, "accepted", ()) for i in range(4)),
    )


def config_of(changes: dict[str, str]) -> Config:
    return load_config([], [f"{key}={value}" for key, value in {**BASE, **changes}.items()])


def updated(model: str, changes: dict[str, str]) -> tuple[dict[str, torch.Tensor], dict[str, Any], Any]:
    """Weights of student and teacher after two steps, the numbers of the second, and the student."""
    config = config_of(changes)
    student, teacher = pair(config, model)
    for _ in range(2):
        numbers = distill(student, teacher, make_objective(config), rows(), config, Ranks())
        teacher.follow(student.fp32_parts())
    weights = {name: tensor.clone() for name, tensor in student.weights()}
    return weights | {f"teacher {name}": t.clone() for name, t in teacher.weights()}, numbers, student


@pytest.mark.parametrize("key", EFFECTS)
def test_two_values_train_differently(key: str, model: str) -> None:
    one, two, both = EFFECTS[key]
    first, _, _ = updated(model, {**both, key: one})
    again, _, _ = updated(model, {**both, key: one})
    other, _, _ = updated(model, {**both, key: two})
    assert all(torch.equal(first[name], again[name]) for name in first), "the same setting trains the same"
    moved = max((first[name] - other[name]).abs().max().item() for name in first)
    assert moved > 1e-7, key
    leave_ranks()
    gc.collect()  # else all 16 keys' students stay until the file's end: 7 GiB


def test_tokens_at_a_time_change_the_forwards_and_not_the_update(model: str) -> None:
    counts = {}
    for size in (1, 100):
        config = config_of({"train.micro_batch_tokens": str(size), "train.mini_batch_prompts": "2"})
        student, teacher = pair(config, model)
        calls: list[int] = []
        student.engine.module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        distill(student, teacher, make_objective(config), rows(), config, Ranks())
        counts[size] = len(calls)
    assert counts == {1: 8, 100: 2}  # the teacher's and the student's


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_stage_is_deepspeeds(stage: int, model: str) -> None:
    student, _ = pair(config_of({"deepspeed.stage": str(stage)}), model)
    assert student.engine.zero_optimization_stage() == stage


def test_the_engine_and_how_many_sequences_it_decodes_at_a_time(model: str) -> None:
    engine = make_engine(config_of({"rollout.max_num_seqs": "2"}), model, device_index=None)
    assert isinstance(engine, HFEngine)
    sizes: list[int] = []
    engine._model.register_forward_hook(
        lambda module, args, kwargs, out: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    engine.generate([Request((5, 6), seed) for seed in range(5)], Sampling(1.0, 1.0, 1, ()))
    assert sizes == [2, 2, 1]
    options = llm_options(
        Path(model), config_of({"rollout.max_num_seqs": "2"}).rollout, "float32", 99, device_index=None
    )
    assert options["max_num_seqs"] == 2


def test_the_cache_of_the_cpu_build() -> None:
    found = {
        size: engine_environment({}, config_of({"rollout.kv_cache_gib": size}).rollout, None)[
            "VLLM_CPU_KVCACHE_SPACE"
        ]
        for size in ("1", "3")
    }
    assert found == {"1": "1", "3": "3"}


@pytest.mark.gpu_option
@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        ("rollout.gpu_memory_utilization", "gpu_memory_utilization", {"0.3": 0.3, "0.5": 0.5}),
        ("rollout.enforce_eager", "enforce_eager", {"true": True, "false": False}),
    ],
)
def test_what_vllm_is_given_on_a_gpu(key: str, name: str, values: dict[str, Any]) -> None:
    for word, value in values.items():
        options = llm_options(Path("m"), config_of({key: word}).rollout, "bfloat16", 99, device_index=0)
        assert options[name] == value


@pytest.mark.gpu_option
def test_what_a_share_of_the_gpu_is_given(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM's part, the part that torch holds to, the budget of a batch, and what a run may need at its start."""
    cuda = torch.device("cuda", 0)
    taken: list[tuple[float, torch.device]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *words: taken.append(words))
    for words in ({}, {"run.gpu_share": "0.25"}):
        hold_to_share(config_of({**words, "rollout.engine": "hf"}), cuda)
    assert taken == [(0.25, cuda)], "a run that has the GPU for itself asks for no bound"
    given: list[float] = []
    monkeypatch.setattr(
        "opsd_rs.rollout.vllm.client.VllmEngine",
        lambda folder, rollout, **rest: given.append(rollout.gpu_memory_utilization),
    )
    monkeypatch.setattr("opsd_rs.rollout.start.check_engine", lambda config, model_dir: "")
    shared = config_of(
        {"run.gpu_share": "0.25", "rollout.engine": "vllm", "rollout.gpu_memory_utilization": "0.4"}
    )
    make_engine(shared, model, device_index=0)
    assert given == [pytest.approx(0.1)]
    gpu = SimpleNamespace(total_memory=80 << 30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    assert (gpu_gib(config_of({})), gpu_gib(shared)) == (80.0, 20.0)


@pytest.mark.gpu_option
def test_a_batch_is_cut_to_the_share_and_to_what_neighbours_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 1 << 30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (40 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 6 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 * gib)
    found = {
        share: free_bytes(config_of({"run.gpu_share": share, "rollout.engine": "hf"}), torch.device("cuda"))
        / gib
        for share in ("1.0", "0.75", "0.25")
    }
    assert found == {"1.0": 41.0, "0.75": 41.0, "0.25": 20 - 6 + 1}


def test_the_compute_type(model: str) -> None:
    for dtype in ("float32", "bfloat16"):
        student, _ = pair(config_of({"model.dtype": dtype}), model)
        assert {str(p.dtype) for p in student.engine.module.parameters()} == {f"torch.{dtype}"}
        assert student.device == CPU
