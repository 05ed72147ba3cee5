"""Screening by its command on a tiny model: rounds, a kill, the same result, a control that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import riddles
import tiny_models
from click.testing import CliRunner
from opsd_rs.base import read_lines, read_table
from opsd_rs.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.samples_model, pytest.mark.usefixtures("left_ranks")]

CONTEXTS = ("none", "feedback", "own_solution_feedback", "peer_solution_feedback", "concise")
SETTINGS = [
    "smoke", "model.dtype=float32", "rollout.engine=hf", "rollout.n=2", "rollout.max_tokens=6",
    "rollout.max_prompt_tokens=512", "environment=riddles:Riddles", "environment.modulus=2", "environment.count=3",
    f"gap.contexts={','.join(CONTEXTS)}", "gap.baseline_samples=2",
]  # fmt: skip
# A group of every problem is 6 answers. B 8 x 3 = 24; two rounds of halving, then the winner.
BUDGET = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "llama"))


@pytest.fixture
def command(model: str, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[str, str]]:
    """Run a command; what it printed and what it said."""

    def run(name: str, *words: str, code: int = 0) -> tuple[str, str]:
        done = CliRunner().invoke(main, [name, *SETTINGS, f"model.path={model}", *words])
        said = done.stderr + capfd.readouterr().err
        assert done.exit_code == code, said + done.stdout
        return done.stdout, said

    return run


def answers(run_dir: Path) -> dict[tuple[Any, ...], Any]:
    keys = ("arm", "context_kind", "problem_id", "sample_idx")
    return {
        tuple(row[key] for key in keys): row["correct"] for row in read_table(run_dir / "samples.parquet")
    }


def numbers(run_dir: Path) -> list[dict[str, Any]]:
    return read_table(run_dir / "screen.parquet")


@pytest.mark.timeout(1200)
def test_a_screening_that_was_killed_ends_the_same(model: str, tmp_path: Path, command: Any) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ["--budget-samples", str(BUDGET), "--anyway"]
    out, said = command("screen", f"run.dir={whole}", *words)
    rounds = read_lines(whole / "screen.jsonl")
    sizes = [len(line["contexts"]) for line in rounds]
    assert sizes[0] == 5
    assert sizes == sorted(sizes, reverse=True)
    assert rounds[0]["contexts"][0] == "none", "its gate comes first"
    summary = json.loads((whole / "screen.json").read_bytes())
    assert summary["samples"] == len(answers(whole)) <= BUDGET
    assert "control: the gap of none" in said
    assert "round 1: 5 contexts" in said
    assert f"next: {summary['action'].replace('_', ' ')}" in out
    rows = numbers(whole)
    assert {row["context"] for row in rows} == set(CONTEXTS)
    assert sum(row["p_best"] for row in rows) == pytest.approx(1)
    assert {"family", "config_id", "gap", "gap_se_cond", "acc_student_gap"} <= set(rows[0]), (
        "what law predict reads"
    )
    assert rounds[-1]["final"]
    assert rounds[-1]["contexts"] == [summary["winner"]] != ["none"]
    (row,) = read_table(whole / "gap.parquet")
    assert (row["context"], row["k_gap"]) == (summary["winner"], 2 * rounds[-1]["groups"])
    assert row["gap"] == rows[0]["gap"] == summary["fresh"]["gap"]

    kill_midway(killed, [*SETTINGS, f"model.path={model}", f"run.dir={killed}", *words])
    before = answers(killed)
    assert 0 < len(before) < len(answers(whole))
    command("screen", f"run.dir={killed}", *words)
    assert answers(killed) == answers(whole)
    assert [row | {"config_id": ""} for row in numbers(killed)] == [
        row | {"config_id": ""} for row in numbers(whole)
    ]
    assert read_lines(killed / "screen.jsonl") == rounds

    _, again = command("screen", f"run.dir={killed}", *words)
    assert "round" not in again, "nothing is left to draw"
    command("screen", f"run.dir={killed}", "--budget-samples", str(2 * BUDGET), "--anyway")
    assert len(answers(killed)) > len(before)
    other = command("screen", f"run.dir={killed}", "gap.contexts=none,feedback", *words, code=2)[1]
    assert "this folder screens other contexts" in other
    assert riddles.Riddles.open == 0


def kill_midway(run_dir: Path, words: list[str]) -> None:
    """``kill -9`` once a context of the first round is on disk."""
    code = "from opsd_rs.cli import main; main()"
    path = os.pathsep.join([*sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", code, "screen", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table, deadline = run_dir / "samples.parquet", time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if table.exists() and any(row["arm"] == "T" for row in read_table(table)):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.timeout(600)
def test_where_a_screening_ends(tmp_path: Path, command: Any) -> None:
    said = command("screen", f"run.dir={tmp_path / 'a'}", "--budget-samples", "60", code=2)[1]
    # B 24, a group of five contexts and A 36, two fresh groups of T and A 24.
    assert "need 84 answers for one round and the final samples" in said
    assert not (tmp_path / "a" / "samples.parquet").exists()
    assert "give a budget" in command("screen", f"run.dir={tmp_path / 'a'}", code=2)[1]
    one = command("screen", f"run.dir={tmp_path / 'b'}", "gap.contexts=none", "--minutes", "1", code=2)[1]
    assert "two contexts or more" in one
    paper = command("screen", f"run.dir={tmp_path / 'b'}", "gap.baseline=paper", "--minutes", "1", code=2)[1]
    assert 'gap.baseline = "paper"' in paper
    command("screen", f"run.dir={tmp_path / 'c'}", "--minutes", "0.001", "--anyway")
    rounds = read_lines(tmp_path / "c" / "screen.jsonl")
    assert [line["groups"] for line in rounds[:1]] == [1], (
        "the first round tells how fast it is, and ends the minutes"
    )
    assert len(rounds) <= 2
    command("screen", f"run.dir={tmp_path / 'd'}", "--budget-samples", "2000", "--p-best", "0.5", "--anyway")
    summary = json.loads((tmp_path / "d" / "screen.json").read_bytes())
    assert summary["samples"] < 2000 or max(row["p_best"] for row in numbers(tmp_path / "d")) < 0.5


@pytest.mark.timeout(600)
def test_a_control_outside_its_gate_is_refused(tmp_path: Path, command: Any) -> None:
    """A teacher whose bare prompt is another than the student's: what the control is there to find."""
    biased = tmp_path / "biased.toml"
    biased.write_text(
        '[context]\nname = "none"\nstatic = true\ntemplate = "{prompt} Say exactly: yes yes yes"\n'
    )
    run_dir = tmp_path / "gap"
    # Greedy but for the name: each side always gives the same answer; another prompt, another share that passes.
    words = [f"run.dir={run_dir}", f'gap.contexts=["{biased}", "feedback"]', "environment.count=30",
             "rollout.temperature=1e-6"]  # fmt: skip
    _, said = command("gap", *words, code=2)
    assert "outside 3 standard errors" in said
    assert "would have been seen in 80 % of measurements" in said
    assert "--anyway" in said
    (row,) = read_table(run_dir / "gap.parquet")
    assert row["context"] == "none", "what was measured stays"
    again = command("gap", *words, code=2)[1]
    assert "outside 3 standard errors" in again
    assert "gap none: student" not in again, again
    out, said = command("gap", *words, "--anyway")
    assert "nothing joins the student's term" in said
    assert {row["baseline"] for row in read_table(run_dir / "gap.parquet")} == {"B"}
    assert "feedback" in out
    without = command("gap", f"run.dir={tmp_path / 'other'}", "gap.contexts=feedback")[1]
    assert "none is not among the contexts, so nothing checks the harness" in without
