"""Keys whose effect is on a run: real runs of a tiny model, and what each setting changed in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars
import pytest
import tiny_models
from opsd_rs.base import read_lines, read_table
from opsd_rs.config import load_config
from opsd_rs.errors import BadInput
from opsd_rs.rollout import Sampler
from opsd_rs.training import Session, evaluate_from_config, measure_from_config, open_session, train
from safetensors import safe_open

pytestmark = [pytest.mark.slow, pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

BASE = {
    "seed": "0",
    "model.dtype": "float32",
    "problems.limit": "4",
    "rollout.engine": "hf",
    "rollout.n": "2",
    "rollout.max_tokens": "6",
    "rollout.temperature": "1.0",
    "eval.n": "1",
    "eval.every": "0",
    "gap.n": "2",
    "train.num_steps": "2",
    "train.prompts_per_step": "2",
    "train.mini_batch_prompts": "2",
    "train.checkpoint_every": "0",
    "context": "none",
    "control.mask": "one",
    "log.to": "jsonl",
}
VARIED = {
    "run.config_id": "mine",
    "run.family": "tinies",
    "rollout.n": "3",
    "rollout.max_tokens": "4",
    "eval.n": "2",
    "eval.every": "1",
    "eval.temperature": "0.0",
    "eval.teacher": "true",
    "gap.n": "6",
    "gap.baseline_samples": "3",
    "train.num_steps": "3",
    "train.prompts_per_step": "1",
    "train.mini_batch_prompts": "1",
    "train.checkpoint_every": "1",
    "train.keep_checkpoints": "3",
    "model.dtype": "bfloat16",
    "log.token_kl": "false",
}


class Run(NamedTuple):
    folder: Path

    def rollouts(self, step: int = 0) -> list[dict[str, Any]]:
        return read_table(self.folder / "rollouts" / f"step-{step:06d}.parquet")

    def evals(self) -> list[dict[str, Any]]:
        return read_table(self.folder / "eval.parquet")

    def metrics(self) -> list[dict[str, Any]]:
        return read_lines(self.folder / "metrics.jsonl")

    def row(self) -> dict[str, Any]:
        [row] = polars.read_parquet(self.folder / "runs.parquet").to_dicts()
        return row

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "checkpoints").glob("step-*"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "tiny", "llama")


def run(folder: Path, model: Path, changes: dict[str, str]) -> Run:
    words = {**BASE, "model.path": str(model), "run.dir": str(folder), **changes}
    return Run(train(load_config([], [f"{key}={value}" for key, value in words.items()])))


@pytest.fixture(scope="module")
def base(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("base") / "r", model, {})


@pytest.fixture(scope="module")
def varied(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("varied") / "r", model, VARIED)


def test_where_and_under_which_names(base: Run, varied: Run) -> None:
    assert base.folder.name == "r"
    assert (base.folder / "config.json").exists()
    assert (base.row()["config_id"] != "mine", base.row()["family"]) == (True, "tiny")
    assert (varied.row()["config_id"], varied.row()["family"]) == ("mine", "tinies")


def test_how_much_is_sampled(base: Run, varied: Run) -> None:
    assert len(base.rollouts()) == 2 * 2
    assert len(varied.rollouts()) == 1 * 3
    for done, longest in ((base, 6), (varied, 4)):
        assert max(len(row["completion_ids"]) for row in done.rollouts()) == longest


def test_how_long_and_in_which_updates(base: Run, varied: Run) -> None:
    assert [line["step"] for line in base.metrics()] == [0, 1]
    assert [line["step"] for line in varied.metrics()] == [0, 1, 2]
    assert [line["updates"] for line in base.metrics()] == [1, 1]


def test_what_is_kept(base: Run, varied: Run) -> None:
    assert base.checkpoints() == ["step-000002"]
    assert varied.checkpoints() == ["step-000001", "step-000002", "step-000003"]
    for done, dtype in ((base, "F32"), (varied, "BF16")):
        with safe_open(str(done.folder / "model" / "model.safetensors"), framework="pt") as file:
            assert {file.get_slice(name).get_dtype() for name in file.keys()} == {dtype}  # noqa: SIM118


def test_what_is_kept_of_each_token(base: Run, varied: Run) -> None:
    for step, line in enumerate(base.metrics()):
        values = [row["token_kl"] for row in base.rollouts(step)]
        assert [len(v) for v in values] == [len(row["completion_ids"]) for row in base.rollouts(step)]
        everything = [value for row in values for value in row]
        assert sum(everything) / len(everything) == pytest.approx(line["kl"], rel=1e-2, abs=1e-6)
    assert all("token_kl" not in row for row in varied.rollouts())


def test_when_and_how_is_validated(base: Run, varied: Run) -> None:
    assert sorted({row["step"] for row in base.evals()}) == [0, 2]
    assert sorted({row["step"] for row in varied.evals()}) == [0, 1, 2, 3]
    assert {row["arm"] for row in base.evals()} == {"student"}
    assert {row["arm"] for row in varied.evals()} == {"student", "teacher"}
    assert (base.row()["k_val"], varied.row()["k_val"]) == (1, 2)


def test_how_the_gap_is_measured(base: Run, varied: Run) -> None:
    assert (base.row()["k_gap"], varied.row()["k_gap"]) == (2, 6)
    for done, bare in ((base, 4 * 2), (varied, 3 * 6)):
        samples = [row for row in read_table(done.folder / "samples.parquet") if row["arm"] == "B"]
        assert len(samples) == bare * len({row["problem_id"] for row in samples})


def test_another_seed_samples_other_answers(base: Run, model: Path, tmp_path: Path) -> None:
    other = run(tmp_path / "r", model, {"seed": "1", "train.num_steps": "1"})
    again = run(tmp_path / "again", model, {"train.num_steps": "1"})
    ids = [[row["completion_ids"] for row in done.rollouts()] for done in (base, again, other)]
    assert ids[0] == ids[1] != ids[2]


def test_seeds_share_a_gap_and_a_baseline(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``gap.seed`` and ``eval.seed`` draw what comes before training, ``seed`` all else; so two seeds share tables."""
    drawn: list[set[int]] = []
    plain = Sampler.sample

    def sample(self: Sampler, requests: Any, sampling: Any, **rest: Any) -> Any:
        rollouts = plain(self, requests, sampling, **rest)
        [seed] = {rest["seed"] if rest["seed"] is not None else self._run_seed}
        facts = [(rest["purpose"].split("-")[0], rest["step"], seed)]
        drawn[-1] |= set(facts)  # type: ignore[arg-type]
        return rollouts

    monkeypatch.setattr(Sampler, "sample", sample)
    words = {"train.num_steps": "1", "gap.seed": "7", "eval.seed": "8", "context": "feedback"}
    drawn.append(set())
    first = run(tmp_path / "first", model, words)
    assert drawn[-1] == {("gap", 0, 7), ("eval", 0, 8), ("train", 0, 0), ("eval", 1, 0)}
    tables = {
        "gap.from": str(first.folder / "gap.parquet"),
        "eval.from": str(first.folder / "eval.parquet"),
    }
    drawn.append(set())
    second = run(tmp_path / "second", model, {**words, **tables, "seed": "1"})
    assert drawn[-1] == {("train", 0, 1), ("eval", 1, 1)}
    rows = [first.row(), second.row()]
    for column in ("gap", "gap_se_cond", "acc_teacher", "acc_val0", "baseline_id"):
        assert rows[0][column] == rows[1][column]
    assert [row["seed"] for row in rows] == [0, 1]
    with pytest.raises(BadInput, match=r"seed \(7, here 1\)"):
        run(tmp_path / "third", model, {"seed": "1", "context": "feedback", "gap.from": tables["gap.from"]})
    samples = read_table(first.folder / "samples.parquet")
    assert {(row["arm"], row["seed"]) for row in samples} >= {("A", 7), ("V0", 8), ("V1", 0)}


def test_a_kept_baseline_is_what_a_run_measures(model: Path, tmp_path: Path) -> None:
    """``opsd-rs eval --out`` writes what ``eval.from`` takes, once."""
    words = {**BASE, "model.path": str(model), "run.dir": str(tmp_path / "none"), "train.num_steps": "1"}
    out = tmp_path / "kept" / "eval.parquet"
    config = load_config([], [f"{key}={value}" for key, value in words.items()])
    shown = evaluate_from_config(config, out=out)
    before = out.read_bytes()
    assert evaluate_from_config(config, out=out) == shown
    assert out.read_bytes() == before
    done = run(tmp_path / "r", model, {"train.num_steps": "1"})
    kept = [row for row in done.evals() if row["step"] == 0]
    assert [{**row, "identity": ""} for row in read_table(out)] == [{**row, "identity": ""} for row in kept]
    assert {row["arm"] for row in read_table(out.with_name("samples.parquet"))} == {"V0"}
    taken = run(tmp_path / "taken", model, {"train.num_steps": "1", "eval.from": str(out)})
    assert taken.row()["baseline_id"] == done.row()["baseline_id"]


def test_a_control_that_is_masked_does_not_train(base: Run, model: Path, tmp_path: Path) -> None:
    masked = run(
        tmp_path / "r",
        model,
        {"control.mask": "zero", "train.num_steps": "1", "train.mini_batch_prompts": "1"},
    )
    assert masked.metrics()[0]["updates"] == 0
    assert base.metrics()[0]["trained_tokens"] > 0


def test_the_decoding_of_training(model: Path, tmp_path: Path) -> None:
    """A nucleus of next to nothing is greedy decoding, and so is a temperature of next to nothing."""
    cold = {"train.num_steps": "1", "loss.rollout_is_clip": "none"}
    found = {
        name: [row["completion_ids"] for row in run(tmp_path / name, model, {**cold, **words}).rollouts()]
        for name, words in {
            "nucleus": {"rollout.top_p": "1e-6"},
            "cold": {"rollout.temperature": "1e-3"},
            "warm": {},
        }.items()
    }
    assert found["nucleus"] == found["cold"] != found["warm"]
    assert found["cold"][0] == found["cold"][1], "two greedy answers to one problem"


def test_the_contexts_of_the_gap(model: Path, tmp_path: Path) -> None:
    words = {
        **BASE,
        "model.path": str(model),
        "run.dir": str(tmp_path / "g"),
        "gap.contexts": "none,feedback",
    }
    rows = measure_from_config(load_config([], [f"{key}={value}" for key, value in words.items()]))
    assert [row["context"] for row in rows] == ["none", "feedback"]
    assert json.dumps(rows, default=str)


def test_the_decoding_and_the_problems_of_validation(model: Path, tmp_path: Path) -> None:
    def session(*words: str) -> Session:
        settings = [f"{key}={value}" for key, value in {**BASE, "model.path": str(model)}.items()]
        with open_session(load_config([], [*settings, "problems.held_out=0.5", *words]), tmp_path) as found:
            return found

    greedy = session("eval.temperature=0.0", "eval.top_p=0.5", "eval.problems=held_out")
    assert (greedy.eval_sampling().temperature, greedy.eval_sampling().top_p) == (0.0, 0.5)
    plain = session("eval.temperature=0.9", "eval.top_p=1.0")
    assert (plain.eval_sampling().temperature, plain.eval_sampling().top_p) == (0.9, 1.0)
    assert greedy.validation_ids == [p.problem_id for p in greedy.problem_set.held_out]
    assert plain.validation_ids == [p.problem_id for p in plain.problem_set.full]
