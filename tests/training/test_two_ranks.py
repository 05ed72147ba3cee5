"""Two ranks under torchrun do what one does: the same rollouts, notes and losses, one run folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from opsd_rs.base import read_lines, read_table

pytestmark = [pytest.mark.samples_model, pytest.mark.slow]

SETTINGS = [
    "smoke",
    "model.dtype=float32",
    "rollout.engine=hf",
    "rollout.max_tokens=16",
    "problems.limit=3",
    "train.num_steps=2",
    "train.prompts_per_step=3",
    "train.mini_batch_prompts=3",
    "train.micro_batch_tokens=999",
    "optim.lr=1e-4",
    "optim.eps=1e-4",
    "context=oel_merged",
    "context.notes.temperature=1.0",
    "context.notes.max_tokens=8",
    "context.notes.merge_tokens=8",
    "eval.n=1",
    "gap.n=2",
]


def train(run_dir: Path, model: Path, stage: int, ranks: int) -> list[dict[str, Any]]:
    # Standalone: the launcher listens on a port that the system chooses and holds it, so that nobody else takes it.
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    words = [f"model.path={model}", f"run.dir={run_dir}", f"deepspeed.stage={stage}", *SETTINGS]
    command = [sys.executable, *(launcher if ranks > 1 else ["-m"]), "opsd_rs.cli", "train", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return read_lines(run_dir / "metrics.jsonl")


@pytest.mark.timeout(1200)
def test_the_teachers_weights_go_in_and_out_on_two_ranks(tmp_path: Path) -> None:
    """At every stage, with every class of DeepSpeed, also from host memory; the checks are in the script."""
    model = tiny_models.tiny(tmp_path / "tiny", "qwen3")
    script = Path(__file__).parents[1] / "support" / "swap_on_ranks.py"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(script), str(model), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "combinations that held: 12" in done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, smollm2: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A folder with a model (``tiny``) and a run of one rank (``one``), and what that run measured."""
    root = tmp_path_factory.mktemp("alone")
    model = tiny_models.tiny(root / "tiny", "qwen3", tokenizer=smollm2)
    return root, train(root / "one", model, 2, ranks=1)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stage", [2, 3])
def test_two_ranks_train_as_one(stage: int, tmp_path: Path, alone: tuple[Path, list[dict[str, Any]]]) -> None:
    root, one = alone  # on one rank there is nothing to shard: it is the measure of both stages
    two = train(tmp_path / "two", root / "tiny", stage, ranks=2)
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert (a["trained_tokens"], a["optimizer_steps"]) == (b["trained_tokens"], b["optimizer_steps"])
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-3)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-3)
    runs = (root / "one", tmp_path / "two")
    first, second = (read_table(run / "rollouts/step-000000.parquet") for run in runs)
    assert [row["completion_ids"] for row in first] == [row["completion_ids"] for row in second]
    for here, there in zip(first, second, strict=True):  # each rank saw its share of the tokens
        assert (here["token_kl"] is None) == (there["token_kl"] is None)
        assert there["token_kl"] == pytest.approx(here["token_kl"], rel=1e-2, abs=1e-5)
    assert any(row["token_kl"] for row in second)
    for name in ("oel_merged-000000", "oel_merged-000001", "oel_merged-memory"):
        written, again = (read_lines(run / f"notes/{name}.jsonl") for run in runs)
        assert written == again  # both ranks drew their share of the texts, and each was written once
        assert written
        keys = [line.get("key", line["step"]) for line in written]
        assert len(keys) == len(set(keys))
    checkpoint = tmp_path / "two" / "checkpoints" / "step-000002"
    assert {path.name for path in checkpoint.glob("teacher_rank_*.pt")} == {
        "teacher_rank_0.pt",
        "teacher_rank_1.pt",
    }
