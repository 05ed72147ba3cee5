"""Numbers that were measured before are taken for what they are: by what made them, never by a context's name alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import riddles
import tiny_models
from click.testing import CliRunner
from opsd_rs.base import read_table, write_table
from opsd_rs.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

SETTINGS = [
    "smoke", "model.dtype=float32", "rollout.engine=hf", "rollout.n=2", "rollout.max_tokens=6",
    "rollout.max_prompt_tokens=512", "eval.n=2", "train.num_steps=1", "train.prompts_per_step=2",
    "train.mini_batch_prompts=1", "environment=riddles:Riddles", "environment.modulus=2", "environment.count=3",
    "gap.contexts=[]", "context=feedback",
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models of one architecture, in folders of one name."""
    return [
        str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "llama", seed=seed))
        for seed in (0, 1)
    ]


Command = Callable[..., str]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command; what it said, to the process's own stderr too."""

    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(main, list(words))
        said = done.stderr + capfd.readouterr().err
        assert done.exit_code == code, said + done.stdout
        return said

    return run


def gaps(run_dir: Path) -> list[dict[str, Any]]:
    return read_table(run_dir / "gap.parquet")


@pytest.mark.timeout(600)
def test_a_row_of_something_else_stays_and_the_gap_is_measured(
    models: list[str], tmp_path: Path, command: Command
) -> None:
    run_dir = tmp_path / "gap"
    mine = tmp_path / "mine.toml"

    def measure(*words: str) -> str:
        model = [] if any(word.startswith("model.path") for word in words) else [f"model.path={models[0]}"]
        return command("gap", *SETTINGS, f"run.dir={run_dir}", *model, *words)

    def context(preamble: str) -> None:
        mine.write_text(f'[context]\nname = "mine"\nstatic = true\ntemplate = "{preamble} {{prompt}}"\n')

    context("Be brief.")
    measure()
    expected = 1
    for changed, field in [
        (["gap.n=8"], "n (4, here 8)"),
        ([f"model.path={models[1]}"], "weights ("),
        (["seed=3"], "seed (0, here 3)"),
        (["rollout.temperature=0.5"], "decoding (T=1.0,top_p=1.0,max_tokens=6, here T=0.5"),
        (["rollout.max_tokens=5"], "max_tokens=5"),
        (["environment.modulus=3"], "environment ("),
        (["environment.count=2"], "problems ("),
        (["gap.baseline=paper"], "baseline (split, here paper)"),
        (["model.dtype=bfloat16"], "dtype (float32, here bfloat16)"),
        (["teacher.max_context_tokens=600"], "max_context_tokens (1024, here 600)"),
        (["grader.feedback=lcb"], "grader ("),
        (["problems.split_seed=1"], "split ("),
        (["model.enable_thinking=true"], "chat ("),
    ]:
        said = measure(*changed)
        expected += 1
        assert len(gaps(run_dir)) == expected, changed
        assert "measured with another" in said, changed
        assert "gap feedback: student" in said
        assert "that row stays, the gap is measured again" in said
        if expected == 2:  # later lines compare with the row before, which differs in two fields
            assert f"another {field};" in said
        else:
            assert field in said
        assert "measured with another" not in measure(*changed), "now it is known"
        assert len(gaps(run_dir)) == expected, changed
    assert gaps(run_dir)[1]["k_gap"] == 8

    for same in (["optim.lr=0.1"], ["train.num_steps=7"], ["control.mask=one"], ["teacher.rate=0.5"],
                 ["eval.n=4"], ["grader.workers=1"], ["train.micro_batch_tokens=999"]):  # fmt: skip
        assert "self-teacher" not in measure(*same), "the line of a measured gap"
        assert len(gaps(run_dir)) == expected, same

    twice = [f'gap.contexts=["{mine}", "{mine}"]', f"model.path={models[0]}", f"run.dir={tmp_path}"]
    assert "two contexts are called mine" in command("gap", *SETTINGS, *twice, code=2)
    measure(f"context={mine}")
    context("Think about every case first.")
    said = measure(f"context={mine}")
    assert "gap mine: measured with another context (" in said
    first, second = [row for row in gaps(run_dir) if row["context"] == "mine"]
    assert first["context_sha256"] != second["context_sha256"]


@pytest.mark.timeout(600)
def test_other_runs_tables_are_refused_by_field(models: list[str], tmp_path: Path, command: Command) -> None:
    first, gap = tmp_path / "first", tmp_path / "first" / "gap.parquet"
    baseline = first / "eval.parquet"
    here = [*SETTINGS, f"model.path={models[0]}"]
    command("gap", *here, f"run.dir={first}")
    command("train", *here, f"run.dir={first}")
    assert len(gaps(first)) == 1, "the run took the gap that its folder held"
    (row,) = read_table(first / "runs.parquet")
    assert row["gap"] == gaps(first)[0]["gap"]
    assert row["run_id"] == json.loads((first / "run.json").read_bytes())["run_id"]

    def refused(name: str, *words: str) -> str:
        run_dir = tmp_path / name
        said = command("train", *here, f"run.dir={run_dir}", *words, code=2)
        assert not (run_dir / "gap.parquet").exists()
        assert not list(run_dir.glob("sampler_*")), "before anything started"
        return said.strip().splitlines()[-1]

    assert "weights (" in refused("a", f"gap.from={gap}", f"model.path={models[1]}")
    assert "n (4, here 8)" in refused("b", f"gap.from={gap}", "gap.n=8")
    assert "weights (" in refused("c", f"eval.from={baseline}", f"model.path={models[1]}")
    assert "n (2, here 4)" in refused("d", f"eval.from={baseline}", "eval.n=4")
    assert "problems (" in refused("e", f"eval.from={baseline}", "environment.count=2")
    assert "no such file" in refused("f", f"eval.from={tmp_path / 'nowhere.parquet'}")
    assert not (tmp_path / "f").exists()
    unnamed = [{k: v for k, v in row.items() if not k.startswith("identity")} for row in read_table(baseline)]
    write_table(tmp_path / "old.parquet", unnamed)
    assert "earlier version" in refused("g", f"eval.from={tmp_path / 'old.parquet'}")

    second = tmp_path / "second"
    command("train", *here, f"run.dir={second}", f"gap.from={gap}", f"eval.from={baseline}", "optim.lr=1e-3")
    (copied,), (theirs,) = gaps(second), gaps(first)
    assert (copied["gap"], copied["identity"], copied["lr"]) == (theirs["gap"], theirs["identity"], 1e-3)
    (other,) = read_table(second / "runs.parquet")
    assert other["baseline_id"] == row["baseline_id"]
    assert other["config_id"] != row["config_id"]
    assert other["config_id"] == copied["config_id"]


@pytest.mark.timeout(600)
def test_an_old_run_folder_resumes_under_another_name(
    models: list[str], tmp_path: Path, command: Command
) -> None:
    """As an earlier version left it: no split_seed, no identities, no samples, the run named by its folder."""
    run_dir = tmp_path / "old"
    command("train", *SETTINGS, f"model.path={models[0]}", f"run.dir={run_dir}")
    config = json.loads((run_dir / "config.json").read_bytes())
    del config["problems"]["split_seed"]
    config["gap"]["n"] = 3
    (run_dir / "config.json").write_text(json.dumps(config))
    for name in ("gap", "eval"):
        plain = [without_identity(row) for row in read_table(run_dir / f"{name}.parquet")]
        write_table(run_dir / f"{name}.parquet", plain)
    write_table(run_dir / "runs.parquet", [read_table(run_dir / "runs.parquet")[0] | {"run_id": "old-0"}])
    for name in ("run.json", "samples.parquet"):
        (run_dir / name).unlink()
    moved = run_dir.rename(tmp_path / "moved")
    command("train", "--resume", str(moved))
    (row,) = read_table(moved / "runs.parquet")
    assert (row["run_id"], row["segments"]) == ("old-0", 1)
    assert row["gap"] == gaps(moved)[0]["gap"], "a finished run's own"
    assert row["improvement"] is not None


def without_identity(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("identity")}


def test_riddles_are_left() -> None:
    assert riddles.Riddles.open == 0
