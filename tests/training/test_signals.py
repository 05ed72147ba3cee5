"""Ctrl-C, SIGTERM, SIGHUP and readers that go away: one word at once, the end within seconds, nothing lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models

pytestmark = [pytest.mark.samples_model, pytest.mark.slow]

CLI = [str(Path(sys.executable).parent / "opsd-rs")]
SETTINGS = [
    "smoke",
    "rollout.engine=hf",
    "rollout.max_tokens=400",
    "rollout.n=8",
    "problems.limit=8",
    "train.num_steps=60",
    "train.prompts_per_step=1",
    "train.mini_batch_prompts=1",
    "train.checkpoint_every=0",
    "gap.n=8",
    "eval.n=1",
    "eval.every=0",
]
PATIENCE_SECONDS = 240
STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny(tmp_path_factory.mktemp("m") / "m", "qwen3")


def heard() -> None:
    """Undo what a shell does to background jobs, and nohup to all: they ignore signals, and so do their children."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """What a test has started; none of it outlives the test."""
    yield STARTED
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


def start(
    folder: Path, model: Path, *words: str, command: str = "train", before: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*before, *CLI, command, *SETTINGS, f"model.path={model}", "run.dir=r", *words],
        cwd=folder,
        stderr=(folder / "err").open("w"),
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=heard,
    )
    STARTED.append(process)
    return process


def wait_for(process: subprocess.Popen[str], folder: Path, phase: str, steps: int = 0) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            now = json.loads((folder / "r" / "progress.json").read_bytes())
        except (OSError, ValueError):
            now = {"phase": "", "step": 0}
        if now["phase"] == phase and now["step"] >= steps:
            return
        time.sleep(0.002)
    pytest.fail(f"{phase} was not reached: {(folder / 'err').read_text()[-1500:]}")


def said(folder: Path) -> list[str]:
    return [line for line in (folder / "err").read_text().splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("phase", "number", "word"),
    [
        ("gap rollout", signal.SIGINT, "gap.n=64"),
        ("eval rollout", signal.SIGTERM, "eval.n=64"),
        ("rollout", signal.SIGHUP, "train.prompts_per_step=8"),
    ],
)
def test_a_signal_ends_a_long_phase_with_a_checkpoint(
    model: Path, tmp_path: Path, phase: str, number: signal.Signals, word: str
) -> None:
    process = start(tmp_path, model, "rollout.max_tokens=60", "rollout.n=2", "gap.n=4", word)
    wait_for(process, tmp_path, phase)
    process.send_signal(number)
    assert process.wait(60) == 3, said(tmp_path)
    first = next(line for line in said(tmp_path) if line.startswith(number.name))
    # By the time that the signal comes the run may have gone on to the phase that follows.
    reached = rf"{number.name}: stopping (in the (gap |eval )?(rollout|grade) phase|after this \w+); again to stop now"
    assert re.fullmatch(reached, first)
    last = said(tmp_path)[-1]
    steps = len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert (
        last
        == f"error: step {steps}: stopped by {number.name} (checkpoint at step {steps}): opsd-rs train --resume r"
    )
    assert (tmp_path / "r" / "checkpoints" / f"step-{steps:06d}" / "state.json").exists()
    assert steps <= 1, "the run did not go on"


def test_an_update_ends_before_its_run_does(model: Path, tmp_path: Path) -> None:
    process = start(tmp_path, model, "rollout.max_tokens=32")
    wait_for(process, tmp_path, "update", steps=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3, said(tmp_path)
    steps = len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert f"(checkpoint at step {steps}): opsd-rs train --resume r" in said(tmp_path)[-1]


def test_a_second_signal_ends_it_where_it_stands(model: Path, tmp_path: Path) -> None:
    process = start(tmp_path, model)
    wait_for(process, tmp_path, "sync")
    process.send_signal(signal.SIGTERM)
    while not any("again to stop now" in line for line in said(tmp_path)) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3
    assert "stopped" in said(tmp_path)[-1]


def test_a_signal_before_there_is_a_run_leaves_no_run(model: Path, tmp_path: Path) -> None:
    process = start(tmp_path, model)
    end = time.monotonic() + PATIENCE_SECONDS
    while not (tmp_path / "r" / ".lock").exists() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
    assert "stopped at once by SIGTERM before its first step: there is no checkpoint" in said(tmp_path)[-1]
    assert not (tmp_path / "r" / "config.json").exists()


def test_a_gap_that_is_stopped_says_what_is_kept(model: Path, tmp_path: Path) -> None:
    process = start(tmp_path, model, "gap.contexts=none,feedback", command="gap")
    wait_for(process, tmp_path, "gap rollout")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3
    assert "stopped by SIGINT: what was measured so far is in r/gap.parquet" in said(tmp_path)[-1]


def test_hangups_stay_ignored_under_nohup(model: Path, tmp_path: Path) -> None:
    process = start(tmp_path, model, before=("nohup",))
    wait_for(process, tmp_path, "gap rollout")
    process.send_signal(signal.SIGHUP)
    time.sleep(1.0)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 3
    assert "SIGTERM" in said(tmp_path)[-1]


def test_a_run_outlives_the_reader_of_its_lines(model: Path, tmp_path: Path) -> None:
    """As under ``2>&1 | tee log``: Ctrl-C ends tee first, and nothing that the run says can be written."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [*CLI, "train", *SETTINGS, "rollout.max_tokens=16", f"model.path={model}", "run.dir=r"],
        cwd=tmp_path,
        stderr=write,
        stdout=write,
        start_new_session=True,
        preexec_fn=heard,
    )
    os.close(write)
    wait_for(process, tmp_path, "update", steps=1)  # type: ignore[arg-type]
    os.close(read)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 3
    steps = len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines())
    assert (tmp_path / "r" / "checkpoints" / f"step-{steps:06d}").is_dir()
