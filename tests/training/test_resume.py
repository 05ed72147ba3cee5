"""A run killed with kill -9 in each of its phases and resumed is the run that was never killed, to the bit.

The real command, the real vLLM engine, the real sandbox, DeepSpeed on its CPU accelerator. The model is a tiny one, so
that six starts and a dozen checkpoints take a minute or two; OPSD_RS_LONG_TESTS=1 adds SmolLM2-135M (eight minutes).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from opsd_rs.base import read_lines, read_table
from safetensors.torch import load_file

pytestmark = [pytest.mark.model, pytest.mark.samples_model, pytest.mark.slow]

CLI = [str(Path(sys.executable).parent / "opsd-rs"), "train"]
PATIENCE_SECONDS = 600
SETTINGS = [
    "smoke",
    "problems.limit=3",
    "train.num_steps=4",
    "train.prompts_per_step=2",
    "train.mini_batch_prompts=1",  # two updates a step: the old log-probs are in play
    "train.checkpoint_every=1",
    "rollout.max_tokens=24",
    "gap.n=2",
    "eval.n=2",
    "eval.every=2",
]
MODELS = ["tiny", *(["smollm2-135m"] if os.environ.get("OPSD_RS_LONG_TESTS") else [])]
KILLS = [(0, "rollout"), (1, "grade"), (2, "update"), (2, "save")]


@pytest.fixture(scope="module", params=MODELS)
def model_dir(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, smollm2: Path
) -> Path:
    if request.param == "smollm2-135m":
        return smollm2
    return tiny_models.tiny(tmp_path_factory.mktemp("models") / "tiny", "qwen3", tokenizer=smollm2)


def start(run_dir: Path, *words: str) -> subprocess.Popen[bytes]:
    log = (run_dir.parent / f"{run_dir.name}.log").open("ab")
    with log:
        return subprocess.Popen([*CLI, *words], stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], run_dir: Path) -> None:
    code = process.wait(PATIENCE_SECONDS)
    assert code == 0, (run_dir.parent / f"{run_dir.name}.log").read_text()[-3000:]


def kill_in(process: subprocess.Popen[bytes], run_dir: Path, step: int, phase: str) -> list[int]:
    """Kill -9 as soon as the run says that it is in this phase; returns the processes it had started."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted = f'{{"step": {step}, "phase": "{phase}", '.encode()
    path = run_dir / "progress.json"
    while time.monotonic() < deadline:
        if path.exists() and path.read_bytes().startswith(wanted):
            family = descendants(process.pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            return family
        if process.poll() is not None:
            log = (run_dir.parent / f"{run_dir.name}.log").read_text()[-3000:]
            pytest.fail(f"the run ended before step {step}, {phase}: {log}")
        time.sleep(0.001)
    pytest.fail(f"step {step}, {phase} was not reached")


def descendants(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found, frontier = [], [pid]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        found += frontier
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids: list[int]) -> None:
    assert len(pids) >= 2, "the sampler and the grader were expected"
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in pids if alive(pid)]
    assert not left, f"left behind: {[Path(f'/proc/{pid}/cmdline').read_bytes() for pid in left]}"


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    lines = read_lines(run_dir / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def averages(run_dir: Path) -> list[torch.Tensor]:
    folder = sorted((run_dir / "checkpoints").glob("step-*"))[-1]
    state = torch.load(folder / "teacher_rank_0.pt", weights_only=True)
    return [part.view(torch.int32) for part in state["average"]]


@pytest.mark.timeout(2400)
def test_killed_anywhere_and_resumed_is_the_same_run(tmp_path: Path, model_dir: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(whole, *SETTINGS, f"model.path={model_dir}", f"run.dir={whole}")
    finish(process, whole)

    words = [*SETTINGS, f"model.path={model_dir}", f"run.dir={killed}"]
    for step, phase in KILLS:
        assert_gone(kill_in(start(killed, *words), killed, step, phase))
        words = ["--resume", str(killed)]
    finish(start(killed, *words), killed)

    assert len(metrics(whole)) == 4
    assert metrics(killed) == metrics(whole)
    for name in ("gap.parquet", "eval.parquet", "samples.parquet", "runs.parquet"):
        ours, theirs = read_table(killed / name), read_table(whole / name)
        assert ours, name
        for row in ours + theirs:
            row.pop("run_id", None)  # the folder's name
            row.pop("seconds", None)
        assert json.dumps(ours) == json.dumps(theirs), name
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (killed, whole))
    assert all(torch.equal(ours[name].view(torch.int16), theirs[name].view(torch.int16)) for name in theirs)
    for a, b in zip(averages(killed), averages(whole), strict=True):
        assert torch.equal(a, b)
    trained = load_file(whole / "model" / "model.safetensors")["model.embed_tokens.weight"]
    start_weights = load_file(model_dir / "model.safetensors")["model.embed_tokens.weight"].to(trained.dtype)
    assert not torch.equal(trained, start_weights), "nothing was trained, so nothing was compared"


@pytest.mark.timeout(900)
def test_sigterm_and_a_dead_sampler_stop_with_a_checkpoint(tmp_path: Path, model_dir: Path) -> None:
    run_dir = tmp_path / "run"
    words = [*SETTINGS, "train.checkpoint_every=0", f"model.path={model_dir}", f"run.dir={run_dir}"]
    log = tmp_path / "run.log"

    process = start(run_dir, *words)
    wait_for_phase(process, run_dir, 0, "rollout")
    process.terminate()
    assert process.wait(120) == 3, log.read_text()[-2000:]
    last = log.read_text().strip().splitlines()[-1]
    assert "SIGTERM" in last
    assert f"--resume {run_dir}" in last

    process = start(run_dir, "--resume", str(run_dir))
    wait_for_phase(process, run_dir, 1, "rollout")
    (sampler,) = [pid for pid in descendants(process.pid) if b"rollout.vllm.server" in command(pid)]
    os.kill(sampler, signal.SIGKILL)
    assert process.wait(120) == 3, log.read_text()[-2000:]
    last = log.read_text().strip().splitlines()[-1]
    assert "sampler" in last.lower() or "vllm" in last.lower()
    assert f"--resume {run_dir}" in last
    assert (run_dir / "checkpoints" / "step-000001").is_dir()
    assert [line["step"] for line in metrics(run_dir)] == [0]


@pytest.mark.timeout(600)
def test_weights_out_of_range_stop_with_one_line(tmp_path: Path, model_dir: Path) -> None:
    run_dir = tmp_path / "run"
    # The first update throws the weights out of range, the next mini-batch meets them.
    process = start(run_dir, *SETTINGS, "optim.lr=1e30", f"model.path={model_dir}", f"run.dir={run_dir}")
    log = tmp_path / "run.log"
    assert process.wait(PATIENCE_SECONDS) == 3, log.read_text()[-2000:]
    said = log.read_text()
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: step 0: ")
    assert "nothing past the last checkpoint is kept; lower optim.lr" in last
    assert f"--resume {run_dir}" in last
    assert metrics(run_dir) == [], "a step with such a loss must not be written down as done"


def wait_for_phase(process: subprocess.Popen[bytes], run_dir: Path, step: int, phase: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    wanted = f'{{"step": {step}, "phase": "{phase}", '.encode()
    path = run_dir / "progress.json"
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().startswith(wanted):
            return
        time.sleep(0.005)
    pytest.fail(f"step {step}, {phase} was not reached")


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
