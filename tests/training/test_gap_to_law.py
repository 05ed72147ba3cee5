"""The main path by its commands: gap, train, law fit, law predict, each on the files that the one before wrote.

The task and one of the loggers are a user's own (``riddles``), so that a tiny random model passes some answers: the
loop, the tables and the law know neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import riddles
import tiny_models
from click.testing import CliRunner
from opsd_rs.base import read_lines, read_table
from opsd_rs.cli import main
from opsd_rs.law.rows import DOMAIN
from opsd_rs.measure import show_gap

pytestmark = [pytest.mark.slow, pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

CONTEXTS = ("feedback", "peer_solution_feedback", "own_solution_feedback")
SHARED = (
    "family",
    "config_id",
    "context",
    "context_sha256",
    "size_b",
    "base_model",
    "lr",
    "ema",
    "seed",
    *DOMAIN,
)
SETTINGS = [
    "smoke", "model.dtype=float32", "rollout.engine=hf", "rollout.n=4", "rollout.max_tokens=8",
    "rollout.max_prompt_tokens=512", "gap.n=8", "eval.n=4", "train.num_steps=2", "train.prompts_per_step=4",
    "train.mini_batch_prompts=2", "train.micro_batch_tokens=8192", "optim.lr=1e-2",
    "environment=riddles:Riddles", "environment.modulus=2",
]  # fmt: skip


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command; what it printed, and what it said to the process's own stderr."""

    def run(*words: str) -> str:
        done = CliRunner().invoke(main, list(words), catch_exceptions=False)
        said = capfd.readouterr().err
        assert done.exit_code == 0, done.stderr + said
        return done.stdout if "json" in words else said + done.stdout

    return run


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    return {row["context"]: row for row in read_table(path)}


@pytest.mark.timeout(1200)
def test_gap_train_fit_predict(tmp_path: Path, command: Callable[..., str]) -> None:
    model = tiny_models.tiny(tmp_path / "tiny", "llama")
    settings = [*SETTINGS, f"model.path={model}"]
    gaps, first = tmp_path / "gap", tmp_path / CONTEXTS[0]

    said = command("gap", *settings, f"run.dir={gaps}", f"gap.contexts={','.join(CONTEXTS)}")
    assert (
        "1 of 6 problems are left out, their prompts are longer than rollout.max_prompt_tokens = 512: endless"
        in said
    )
    assert "gap_groups" in said
    assert "identity" not in said, "the table is for people"
    measured = rows_of(gaps / "gap.parquet")
    assert list(measured) == list(CONTEXTS)
    assert {row["acc_val0"] for row in measured.values()} == {None}
    assert {row["n_problems_gap"] for row in measured.values()} == {5}
    assert {(row["k_gap"], row["gap_groups"]) for row in measured.values()} == {(8, 2)}
    assert json.loads((gaps / "gap.json").read_bytes())["gap"]["contexts"] == list(CONTEXTS)
    assert not (gaps / "config.json").exists(), "the folder is free for a run"
    check_samples(gaps, measured)

    for context in CONTEXTS:
        run_dir = tmp_path / context
        words = [f"context={context}", f"run.dir={run_dir}", f"gap.from={gaps / 'gap.parquet'}"]
        words += [f'log.to=["{riddles.__file__}:Recorder", "jsonl"]', "log.Recorder.name=seen.jsonl"]
        words += [] if run_dir == first else [f"eval.from={first / 'eval.parquet'}"]
        command("train", *settings, *words)
        check_run(run_dir, measured[context])
    assert riddles.Riddles.open == 0
    ids = {rows_of(tmp_path / name / "runs.parquet")[name]["baseline_id"] for name in CONTEXTS}
    assert len(ids) == 1
    assert None not in ids

    law = tmp_path / "law.json"
    command("law", "fit", *(str(tmp_path / name / "runs.parquet") for name in CONTEXTS), "--out", str(law))
    forecasts = json.loads(command("law", "predict", str(law), str(gaps / "gap.parquet"), "--format", "json"))
    assert [row["config_id"] for row in forecasts] == [measured[name]["config_id"] for name in CONTEXTS]
    assert [row["config_id"].split("/")[:3] for row in forecasts] == [
        ["tiny", "riddles", n] for n in CONTEXTS
    ]
    (family,) = json.loads(law.read_text())["families"].values()
    assert set(family["domain"]) == set(DOMAIN)
    for row in forecasts:
        assert row["gap"] == measured[row["config_id"].split("/")[2]]["gap"]
        assert (row["forecast"] is None) == (family["slope"] is None)
        allowed = {"few_configs", "slope_undefined", "slope_uncertain", "extrapolation"}
        allowed |= {"ceiling:acc_student_gap", "below_zero:acc_student_gap", "gap_error_unknown"}
        assert set(row["flags"]) <= allowed, "measured as the runs were, so no flag of the domain"


def check_samples(run_dir: Path, measured: dict[str, dict[str, Any]]) -> None:
    """Every gap with its errors comes out of the single answers again, as does what the student's arm says."""
    samples = read_table(run_dir / "samples.parquet")
    assert [(arm, sum(row["arm"] == arm for row in samples)) for arm in "ABT"] == [
        ("A", 40),
        ("B", 160),
        ("T", 120),
    ]
    assert {row["run_id"] for row in samples} == {None}
    columns = "identity_id arm step context_kind problem_id sample_idx group_id parent_sample context_status correct"
    columns += (
        " reward n_tokens truncated seed decoding_id tests_id prompt_sha256 model_sha run_id correct_full"
    )
    columns += " n_prompt_tokens context_cut context_leak seconds gpu_seconds measurement_id"
    assert set(samples[0]) == set(columns.split())
    assert len({row["measurement_id"] for row in samples}) == 1
    shown = {row["context"]: row for row in show_gap(run_dir).rows}
    for name, row in measured.items():
        for column, value in shown[name].items():
            assert value == pytest.approx(row[column]), column
        teacher = [s for s in samples if s["arm"] == "T" and s["context_kind"] == name]
        assert {s["identity_id"] for s in teacher} == {row["identity_id"]}
        assert sum(s["context_status"] != "bare" for s in teacher) / 40 == row["coverage"]
        assert all(s["parent_sample"] == s["sample_idx"] for s in teacher)
        by_hand = {arm: share_of(samples, arm, name) for arm in "BT"}
        assert row["gap"] == pytest.approx(by_hand["T"] - by_hand["B"])
        assert (row["baseline"], row["k_baseline"]) == ("B", 32), "none is not among the contexts"


def share_of(samples: list[dict[str, Any]], arm: str, name: str) -> float:
    found = [s["correct"] for s in samples if s["arm"] == arm and s["context_kind"] in ("", name)]
    return sum(found) / len(found)


def check_run(run_dir: Path, measured: dict[str, Any]) -> None:
    """What one run left behind."""
    (row,) = read_table(run_dir / "runs.parquet")
    assert {name: row[name] for name in SHARED} == {name: measured[name] for name in SHARED}
    for name in ("gap", "acc_student_gap", "gap_failed", "gap_passed", "coverage"):
        assert row[name] == measured[name], name
    assert row["size_b"] > 0
    assert row["gpu_hours"] is None, "no GPU here"
    assert (row["opt_updates"], row["segments"]) == (4, 1)
    record = json.loads((run_dir / "run.json").read_bytes())
    assert row["run_id"] == record["run_id"]
    assert record["run_id"].startswith(f"{run_dir.name}-0-")
    assert list(record["problems"]["left_out"]) == ["endless"]
    assert record["problems"]["left_out"]["endless"] > 512
    assert record["problems"]["dropped"] == {"max_prompt_tokens": 1}
    assert (record["problems"]["read"], record["problems"]["train"]) == (6, 5)
    (segment,) = record["segments"]
    assert (segment["step"], segment["ranks"], segment["device"]) == (0, 1, "cpu")
    assert {"opsd_rs", "torch", "transformers"} <= set(segment["versions"])
    arms = {row["arm"]: row for row in read_table(run_dir / "samples.parquet")}
    assert set(arms) == {"V1"} if "eval.from" in said_of(run_dir) else {"V0", "V1"}
    assert arms["V1"]["run_id"] == row["run_id"]
    calls = [json.loads(line) for line in (run_dir / "seen.jsonl").read_text().splitlines()]
    assert calls == [["rewind", 0], ["log", 0], ["log", 1], ["close"]]
    assert [line["step"] for line in read_lines(run_dir / "metrics.jsonl")] == [0, 1]
    assert "Riddle: What is" in decoded(run_dir)


def said_of(run_dir: Path) -> str:
    """The tables that the run took from others."""
    config = json.loads((run_dir / "config.json").read_bytes())
    return "eval.from" if config["eval"]["from"] else ""


def decoded(run_dir: Path) -> str:
    """A prompt of the run as text."""
    from transformers import AutoTokenizer

    rollout = read_table(run_dir / "rollouts/step-000000.parquet")[0]
    return str(AutoTokenizer.from_pretrained(run_dir / "model").decode(rollout["prompt_ids"]))
