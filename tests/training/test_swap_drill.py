"""A run that ends while the teacher's weights are in the student's parameters resumes as if it had not, to the bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models
import torch
from opsd_rs.base import read_lines
from safetensors.torch import load_file

pytestmark = [pytest.mark.samples_model, pytest.mark.slow, pytest.mark.timeout(1200)]

DRILL = str(Path(__file__).parents[1] / "support" / "swap_drill.py")
SETTINGS = [
    "smoke",
    "rollout.engine=hf",
    "rollout.max_tokens=12",
    "problems.limit=2",
    "control.mask=one",
    "train.num_steps=2",
    "train.prompts_per_step=2",
    "train.mini_batch_prompts=1",  # two updates a step
    "train.checkpoint_every=1",
    "optim.lr=1e-3",
    "teacher.rate=0.5",
    "gap.n=2",
    "eval.n=1",
    "eval.every=0",
]


def drill(mark: Path, fault: str, updates: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, DRILL, fault, str(updates), str(mark), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def tensors(run_dir: Path) -> dict[str, torch.Tensor]:
    """The exported weights and, in the last checkpoint, the average."""
    newest = sorted((run_dir / "checkpoints").glob("step-*"))[-1]
    average = torch.load(newest / "teacher_rank_0.pt", weights_only=True)["average"]
    weights = load_file(run_dir / "model" / "model.safetensors")
    return weights | {f"average {i}": part for i, part in enumerate(average)}


LONG = pytest.mark.skipif(
    not os.environ.get("OPSD_RS_LONG_TESTS"), reason="a minute: OPSD_RS_LONG_TESTS=1 runs it"
)


@pytest.mark.parametrize("offload", [False, pytest.param(True, marks=LONG)])
def test_a_run_that_ends_between_the_swaps_resumes_to_the_bit(offload: bool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    model = tiny_models.tiny(tmp_path / "m", "qwen3")
    words = [*SETTINGS, f"model.path={model}"]
    if offload:
        words += ["optim.offload=true", "teacher.offload=true"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = drill(mark, "none", 0, *words, f"run.dir={whole}")
    assert done.returncode == 0, done.stderr[-3000:]

    words += [f"run.dir={broken}"]
    # In the first step, when no checkpoint is there yet, and in the second, when one is. After SIGTERM the update ends
    # between two mini-batches, as the boundary before it is on disk.
    faults = [("nan", 0, 3), ("kill", 0, -9), ("nan", 2, 3), ("kill", 2, -9), ("term", 2, 3)]
    for fault, updates, code in faults[2:4] if offload else faults:
        done = drill(mark, fault, updates, *words)
        assert mark.read_text() == fault, done.stderr[-3000:]
        mark.unlink()
        assert done.returncode == code, done.stderr[-3000:]
        if fault == "nan":
            assert "loss is not finite" in done.stderr.strip().splitlines()[-1]
        words = ["--resume", str(broken)]
    done = drill(mark, "none", 0, *words)
    assert done.returncode == 0, done.stderr[-3000:]

    ours, theirs = tensors(broken), tensors(whole)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    numbers = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_lines(run / "metrics.jsonl")]
        for run in (broken, whole)
    ]
    assert len(numbers[1]) == 2
    assert numbers[0] == numbers[1]
    assert numbers[1][1]["grad_norm"] > 0.0
