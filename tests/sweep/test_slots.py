"""Who gets which GPU, which cores and how much memory, as numbers; and which GPUs a machine has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.config import load_config
from opsd_rs.sweep.slots import gpus_here, share_out


@given(num_gpus=st.integers(0, 8), per_gpu=st.integers(1, 9), num_cores=st.integers(1, 130))
def test_every_core_is_used_and_slots_are_alike(num_gpus: int, per_gpu: int, num_cores: int) -> None:
    gpus = [str(number) for number in range(num_gpus)]
    found = share_out(gpus, per_gpu, range(num_cores), granted=num_cores, memory_mib=2**20)
    assert len(found) == max(num_gpus, 1) * per_gpu
    assert [slot.number for slot in found] == list(range(len(found)))
    assert Counter(slot.gpu for slot in found) == dict.fromkeys(gpus or [None], per_gpu)
    used = Counter(core for slot in found for core in slot.cores)
    assert (
        set(used) == set(range(num_cores))
        or len(found) < num_cores
        or len(used) == min(len(found), num_cores)
    )
    if len(found) <= num_cores:
        assert set(used.values()) == {1}
        assert set(used) == set(range(num_cores))
    sizes = [len(slot.cores) for slot in found]
    assert max(sizes) - min(sizes) <= 1
    assert all(slot.threads == len(slot.cores) for slot in found)
    assert {slot.gpu_share for slot in found} == {1 / per_gpu}
    assert sum(slot.grader_mib for slot in found) <= max(32 * 1024, 256 * len(found))


def test_the_first_runs_go_to_different_gpus_and_one_gpu_s_runs_to_neighbouring_cores() -> None:
    found = share_out(["0", "1"], 2, range(8), granted=8, memory_mib=4096)
    assert [(slot.gpu, slot.cores) for slot in found] == [
        ("0", (0, 1)), ("1", (4, 5)), ("0", (2, 3)), ("1", (6, 7)),
    ]  # fmt: skip


def test_a_quota_bounds_threads_and_binds_to_no_core() -> None:
    found = share_out([], 3, range(64), granted=7.0, memory_mib=4096)
    assert [(slot.cores, slot.threads) for slot in found] == [((), 2)] * 3


def test_what_the_user_has_set_stays() -> None:
    (slot,) = share_out(["0"], 1, range(4), granted=4, memory_mib=8000)
    words = ["grader.workers=1", "grader.memory_budget_mib=99", "run.gpu_share=0.3"]
    assert slot.words(load_config([], words)) == []
    assert slot.words(load_config([])) == [
        "grader.workers=4", "grader.memory_budget_mib=2000", "run.gpu_share=1",
    ]  # fmt: skip
    (on_cpu,) = share_out([], 1, range(4), granted=4, memory_mib=8000)
    assert not [word for word in on_cpu.words(load_config([])) if "gpu_share" in word]
    assert on_cpu.variables()["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("variable", "files", "expected"),
    [
        (None, ["nvidia0", "nvidia3", "nvidiactl", "nvidia-uvm"], ["0", "1"]),
        (None, ["dxg"], ["0"]),
        (None, ["null"], []),
        ("5, 7", ["nvidia5", "nvidia7"], ["5", "7"]),
        ("MIG-a,MIG-b", ["nvidia0"], ["MIG-a", "MIG-b"]),
        ("1,-1,2", ["nvidia0"], ["1"]),
        ("", ["nvidia0"], []),
        ("0", [], []),
    ],
)
def test_the_gpus_of_a_machine(
    tmp_path: Path, variable: str | None, files: list[str], expected: list[str]
) -> None:
    for name in files:
        (tmp_path / name).touch()
    environment = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert gpus_here(environment, tmp_path) == expected
