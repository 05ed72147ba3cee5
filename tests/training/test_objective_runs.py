"""Whole runs by objectives without self-teacher: what they leave out, how they go on, and what is refused before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from opsd_rs.base import read_lines, read_table
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.training import train
from opsd_rs.training.plan import plan_run
from opsd_rs.training.prepare import prepare
from opsd_rs.training.start import check_memory

pytestmark = [pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

RIDDLES = Path(__file__).parents[1] / "support" / "riddles.py"
WORDS = [
    f"environment={RIDDLES}:Riddles", "environment.count=4", "environment.modulus=2", "model.dtype=float32",
    "rollout.engine=hf", "rollout.n=4", "rollout.max_tokens=6", "rollout.max_prompt_tokens=200", "eval.n=1",
    "eval.every=0",
    "train.prompts_per_step=2", "train.mini_batch_prompts=1", "train.checkpoint_every=1", "train.num_steps=2",
    "context=feedback", "optim.lr=1e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("m") / "student"
    return str(tiny_models.tiny(folder, "llama"))


@pytest.fixture(scope="module")
def other(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of another family, with the student's tokenizer."""
    folder = tmp_path_factory.mktemp("m") / "teacher"
    return str(tiny_models.tiny(folder, "qwen3", tokenizer=Path(model), seed=1))


@pytest.mark.slow
def test_a_run_without_teacher_assembles_nothing_and_goes_on(model: str, tmp_path: Path) -> None:
    words = [*WORDS, f"model.path={model}", f"run.dir={tmp_path / 'run'}", "objective=grpo"]
    run = train(load_config([], words))
    lines = read_lines(run / "metrics.jsonl")
    assert [line["kl"] for line in lines] == [None, None]
    assert all("assemble" not in line["seconds"] for line in lines)
    assert not any("gap" in phase for line in lines for phase in line["seconds"])
    assert max(line["trained_tokens"] for line in lines) > 0
    assert not (run / "gap.parquet").exists()
    rollouts = read_table(run / "rollouts" / "step-000000.parquet")
    assert {tuple(row["teacher_prompt_ids"]) for row in rollouts} == {()}
    [row] = read_table(run / "runs.parquet")
    assert row["recipe_id"].startswith("grpo-lr0.001-b2-m1")
    assert row["gap"] is None
    shard = next((run / "checkpoints").glob("step-*2/teacher_rank_0.pt"))
    assert shard.stat().st_size < 10_000  # no weights
    train(load_config([str(run / "config.json")], ["train.num_steps=3"]), resume=run)
    assert len(read_lines(run / "metrics.jsonl")) == 3


@pytest.mark.slow
def test_a_run_beside_an_external_teacher(model: str, other: str, tmp_path: Path) -> None:
    words = [
        *WORDS,
        f"model.path={model}",
        f"run.dir={tmp_path / 'run'}",
        "objective=opd",
        f"opd.teacher={other}",
    ]
    run = train(load_config([], words))
    kl = [line["kl"] for line in read_lines(run / "metrics.jsonl")]
    assert min(kl) > 0
    assert json.loads((run / "config.json").read_text())["opd"]["teacher"] == other


def test_another_teacher_is_another_loss(model: str, other: str, tmp_path: Path) -> None:
    """And another recipe, counted in memory."""
    from opsd_rs.training.recipe import recipe_id

    words = [*WORDS, f"model.path={model}", f"run.dir={tmp_path / 'run'}", "objective=opd"]
    configs = [load_config([], [*words, f"opd.teacher={folder}"]) for folder in (model, other)]
    assert len({recipe_id(config) for config in configs}) == 2
    alone = check_memory(load_config([], [*words[:-1], "objective=rft"]), prepare(configs[0]))
    with_teacher = [check_memory(config, prepare(config)) for config in configs]
    for found in with_teacher:
        assert found.fixed == pytest.approx(alone.fixed + found.on_gpu["external teacher"])
        assert "average" not in found.on_gpu
    self_taught = check_memory(load_config([], [*words[:-1]]), prepare(configs[0]))
    assert self_taught.on_gpu["average"] == pytest.approx(self_taught.on_gpu["masters"])
    assert self_taught.checkpoint > alone.checkpoint


def test_the_check_names_what_is_wrong_with_the_teacher(model: str, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    tiny_models.tiny(foreign, "llama")
    parts = json.loads((foreign / "tokenizer.json").read_text())
    vocabulary = parts["model"]["vocab"]
    first, second = list(vocabulary)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (foreign / "tokenizer.json").write_text(json.dumps(parts))
    short = tmp_path / "short"
    tiny_models.tiny(short, "llama", tokenizer=Path(model))
    shape = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps({**shape, "max_position_embeddings": 20}))
    words = [*WORDS, f"model.path={model}", f"run.dir={tmp_path / 'run'}", "objective=opd"]
    for folder, message in (
        (foreign, "another tokenizer than the student's: 2 tokens have different ids"),
        (short, "the model has 20 positions"),
        (tmp_path / "nowhere", "no such directory"),
        (tmp_path, "without config.json"),
    ):
        with pytest.raises(BadInput, match=f"^opd.teacher.*{message}"):
            plan_run(load_config([], [*words, f"opd.teacher={folder}"]))
        with pytest.raises(BadInput, match=f"^opd.teacher.*{message}"):
            train(load_config([], [*words, f"opd.teacher={folder}"]))
        assert not (tmp_path / "run" / "metrics.jsonl").exists()
