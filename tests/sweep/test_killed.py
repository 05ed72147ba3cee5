"""A real sweep of tiny runs on the machine's cores: killed with everything it started, continued, stopped in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from opsd_rs.base import read_lines, read_table
from processes import alive, family, wait_until

pytestmark = [pytest.mark.samples_model, pytest.mark.slow, pytest.mark.timeout(900)]

GRID = """
out = "sw"
base = ["smoke"]
set = [
  "model.dtype=float32", "rollout.engine=hf", "rollout.max_tokens=6", "rollout.n=2", "problems.limit=2", "gap.n=2",
  "eval.n=1", "eval.every=0", "train.num_steps=2", "train.prompts_per_step=1", "train.mini_batch_prompts=1",
  "train.checkpoint_every=1", "control.mask=one",
]
models = ["tiny"]
contexts = ["none", "feedback", "own_solution_feedback", "opsd"]
seeds = [0, 1]
per_gpu = 2
"""
STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "tiny", "llama")


@pytest.fixture
def place(model: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with the grid and the model; no process of it outlives the test."""
    (tmp_path / "grid.toml").write_text(GRID)
    (tmp_path / "tiny").symlink_to(model, target_is_directory=True)
    yield tmp_path
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def start(place: Path, *words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "opsd_rs.cli", "sweep", "grid.toml", "--gpus", "none", *words],
        cwd=place,
        stdout=(place / "out").open("a"),
        stderr=(place / "err").open("a"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    STARTED.append(process)
    return process


def said(place: Path) -> str:
    return (place / "err").read_text() + (place / "out").read_text()


def rows(place: Path) -> list[dict[str, object]]:
    return read_table(place / "sw" / "runs.parquet")


def test_killed_in_the_middle_it_leaves_no_process_and_goes_on(place: Path) -> None:
    """4 contexts x 2 seeds, two at a time."""
    first = start(place)
    runs = place / "sw" / "runs"

    def is_in_the_middle() -> bool:
        """A run has ended, and another one has a checkpoint and has not."""
        begun = {path.parts[-4] for path in runs.glob("*/checkpoints/step-000001/state.json")}
        ended = {row["cell"] for row in rows(place)}
        left = [name for name in begun - ended if not (runs / name / "runs.parquet").exists()]
        return bool(ended and left) or first.poll() is not None

    assert wait_until(is_in_the_middle, 600), said(place)
    members = family(first.pid)
    first.kill()
    first.wait()
    assert len(members) >= 3, "the sweep, two runs, what they started"
    assert wait_until(lambda: not any(map(alive, members)), 20), "no orphans"
    done = {row["cell"] for row in rows(place)}
    assert 0 < len(done) < 8, said(place)

    second = start(place)
    assert second.wait(800) == 0, said(place)
    found = rows(place)
    assert len(found) == 8
    assert len({row["cell"] for row in found}) == 8
    assert {(row["context"], row["seed"]) for row in found} == {
        (context, seed)
        for context in ("none", "feedback", "own_solution_feedback", "opsd")
        for seed in (0, 1)
    }
    assert [row["cell"] for row in found][: len(done)] == [
        row["cell"] for row in found if row["cell"] in done
    ]
    assert len({row["baseline_id"] for row in found}) == 1, "one baseline for all"
    for context in ("feedback", "opsd"):
        assert len({row["gap"] for row in found if row["context"] == context}) == 1
    events = read_lines(place / "sw" / "events.jsonl")
    started = [line["task"] for line in events if line["event"] == "started"]
    assert [started.count(name) for name in done] == [1] * len(done), "what had its row was not run again"
    assert [task for task in started if ".gap-" in task or ".baseline-" in task] == started[:2]
    resumed = [line["task"] for line in events if line.get("words", ["", ""])[1] == "--resume"]
    assert resumed, "a run with a checkpoint went on from it"
    segments = [json.loads((runs / name / "run.json").read_bytes())["segments"] for name in resumed]
    assert any(len(found) == 2 and found[1]["step"] >= 1 for found in segments)
    assert not [line for line in events if line["event"] == "failed"], events


def test_a_signal_stops_its_runs_with_a_checkpoint(place: Path) -> None:
    with (place / "grid.toml").open("a") as file:
        file.write("\n[shared]\ngap = false\nbaseline = false\n")
    grid = (place / "grid.toml").read_text()
    (place / "grid.toml").write_text(
        grid.replace("num_steps=2", "num_steps=500").replace("every=1", "every=0")
    )
    process = start(place)
    runs = place / "sw" / "runs"

    def have_both_made_a_step() -> bool:
        made = [path for path in runs.glob("*/metrics.jsonl") if path.stat().st_size > 0]
        return len(made) == 2 or process.poll() is not None

    assert wait_until(have_both_made_a_step, 300)
    members = family(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 3, said(place)
    assert not any(map(alive, members))
    last = said(place).strip().splitlines()[-1]
    assert last.startswith("error: stopped by SIGINT: 0 of 8 runs done, 0 running, 0 failed, 8 left")
    assert last.endswith("the same command goes on")
    events = read_lines(place / "sw" / "events.jsonl")
    assert [line["event"] for line in events] == ["started", "started", "stopped", "stopped"]
    assert {line["exit"] for line in events[2:]} == {3}
    assert len(list(runs.glob("*/checkpoints/step-*/state.json"))) == 2
    shown = subprocess.run(
        [sys.executable, "-m", "opsd_rs.cli", "sweep", "grid.toml", "--status", "--format", "json"],
        cwd=place, capture_output=True, check=True,
    )  # fmt: skip
    states = [line["state"] for line in json.loads(shown.stdout)]
    assert states == ["stopped"] * 2 + ["waiting"] * 6


def test_a_configuration_that_cannot_start_is_found_before_any_run(place: Path) -> None:
    (place / "broken.toml").write_text(
        '[context]\nname = "broken"\nstatic = true\ntemplate = "{prompt}"\nfunction = "nowhere.py:f"\n'
    )
    (place / "grid.toml").write_text(GRID.replace('"opsd"', '"opsd", "broken.toml"'))
    process = start(place)
    assert process.wait(120) == 2, said(place)
    lines = [line for line in said(place).splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: run tiny.base.broken.s0: ")
    assert not (place / "sw" / "runs").exists()
    (place / "grid.toml").write_text(GRID)
    checked = start(place, "--check")
    assert checked.wait(120) == 0, said(place)
    assert "8 runs, 4 configurations: a run can start with each" in said(place)
    assert not (place / "sw" / "runs").exists()
    assert [path.name for path in (place / "sw" / "logs").iterdir()] == ["check.log"]
