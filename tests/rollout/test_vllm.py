"""vLLM against the plain loop and the model itself, and what happens when one of its processes dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.rollout import HFEngine, Sampling, make_engine
from opsd_rs.rollout.vllm.client import VllmEngine
from samplers import STOP, config, gone, largest_gap, num_certain, prompts, requests_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.samples_model

TESTS = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def vllm(smollm2: Path) -> Iterator[VllmEngine]:
    engine = make_engine(config(), str(smollm2), device_index=None)
    assert isinstance(engine, VllmEngine)
    yield engine
    engine.close()
    assert gone(engine.pid)


@pytest.fixture(scope="module")
def policy(smollm2: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(1.0, 1.0, 32, (STOP,)), Sampling(0.6, 0.95, 32, (STOP,))])
def test_vllm_logprobs_are_the_models(
    vllm: VllmEngine, policy: Any, smollm2: Path, sampling: Sampling
) -> None:
    requests = requests_of(prompts(smollm2, 3))
    done = vllm.generate(requests, sampling)
    assert largest_gap(policy, requests, done, sampling) < 1e-4
    for completion in done:
        ended = completion.completion_ids[-1] == STOP
        assert completion.truncated == (not ended)
        assert ended or len(completion.completion_ids) == 32
        assert STOP not in completion.completion_ids[:-1]


@pytest.mark.model
@pytest.mark.slow
def test_vllm_and_the_loop_agree_on_greedy_answers(vllm: VllmEngine, policy: Any, smollm2: Path) -> None:
    loop = HFEngine(smollm2, dtype="float32", device=torch.device("cpu"), max_model_len=576, max_num_seqs=8)
    requests = requests_of(prompts(smollm2, 2), n=1)
    sampling = Sampling(0.0, 1.0, 24, (STOP,))
    ours, theirs = loop.generate(requests, sampling), vllm.generate(requests, sampling)
    compared = 0
    for request, a, b in zip(requests, ours, theirs, strict=True):
        end = num_certain(policy, request, a)
        assert a.completion_ids[:end] == b.completion_ids[:end]
        torch.testing.assert_close(
            torch.tensor(a.logprobs[:end]), torch.tensor(b.logprobs[:end]), atol=1e-4, rtol=0
        )
        compared += end
    assert compared > 0


@pytest.mark.model
@pytest.mark.slow
def test_more_seeded_prompt_tokens_than_one_batch_holds(vllm: VllmEngine, smollm2: Path) -> None:
    ids = prompts(smollm2, 1)[0]
    # Distinct from the first block on, so that the prefix cache cannot serve them.
    requests = requests_of([(100 + i, *(ids * 9)[:299]) for i in range(16)], n=1)
    assert sum(len(request.prompt_ids) for request in requests) > 4096
    done = vllm.generate(requests, Sampling(1.0, 1.0, 2, ()))
    assert all(len(completion.completion_ids) == 2 for completion in done)


@pytest.mark.model
@pytest.mark.slow
def test_progress_counts_up_and_reaches_the_end(vllm: VllmEngine, smollm2: Path) -> None:
    seen: list[tuple[int, int]] = []
    vllm.generate(
        requests_of(prompts(smollm2, 4)), Sampling(1.0, 1.0, 64, ()), lambda d, n: seen.append((d, n))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (8, 8)
    assert len(seen) > 1


@pytest.mark.model
@pytest.mark.slow
def test_the_same_requests_give_the_same_bits_and_a_killed_engine_is_one_line(
    vllm: VllmEngine, smollm2: Path
) -> None:
    requests, sampling = requests_of(prompts(smollm2, 4)), Sampling(1.0, 1.0, 24, (STOP,))
    warm = vllm.generate(requests, sampling)
    assert vllm.generate(requests, sampling) == warm
    fresh = make_engine(config(), str(smollm2), device_index=None)
    assert isinstance(fresh, VllmEngine)
    try:
        assert fresh.generate(requests, sampling) == warm

        killed: list[float] = []

        def kill(done: int, total: int) -> None:
            os.kill(fresh.pid, signal.SIGKILL)
            killed.append(time.monotonic())

        # Far more than any processor samples until the first report.
        with pytest.raises(Stopped, match=r"was killed by SIGKILL.*during generate.*resume") as raised:
            fresh.generate(requests_of(prompts(smollm2, 4), n=64), Sampling(1.0, 1.0, 64, ()), kill)
        assert time.monotonic() - killed[0] < 60  # long before the engine's silence is given up
        assert "\n" not in str(raised.value)
        with pytest.raises(Stopped):
            fresh.check(fresh.probe_ids)
    finally:
        fresh.close()
    assert gone(fresh.pid)


TRAINER = """
import sys, threading
from opsd_rs.rollout import Request, Sampling, make_engine
from samplers import config
model_dir, where = sys.argv[1:]
held = []
def start():
    held.append(make_engine(config(), model_dir, device_index=None))
if where == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
engine = held[0]
engine.generate([Request((5, 6, 7), 1)], Sampling(1.0, 1.0, 4, ()))
print(engine.pid, flush=True)
while True:
    engine.generate([Request((5, 6, 7), i) for i in range(64)], Sampling(1.0, 1.0, 64, ()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_killed_trainer_leaves_nothing(tiny_dir: Path, tmp_path: Path, where: str) -> None:
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    package = str(Path(__import__("opsd_rs").__file__).parents[1])
    path = os.pathsep.join([str(TESTS), package, os.environ.get("PYTHONPATH", "")])
    trainer = subprocess.Popen(
        [sys.executable, str(script), str(tiny_dir), where],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert trainer.stdout is not None
    with trainer.stdout as out:
        line = out.readline()
        assert line, "the trainer did not start its engine"
        engine_pid = int(line)
        assert not gone(engine_pid)
        time.sleep(0.5)
        trainer.kill()
        trainer.wait()
    deadline = time.monotonic() + 10
    while not gone(engine_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(engine_pid)


@pytest.mark.slow
def test_an_error_inside_the_engine_is_one_line(tiny_dir: Path) -> None:
    engine = make_engine(config(), str(tiny_dir), device_index=None)
    try:
        with pytest.raises(Stopped, match=r"failed during score.*log") as raised:
            engine.check([])
        assert "\n" not in str(raised.value)
    finally:
        engine.close()


@pytest.mark.slow
def test_a_model_that_vllm_refuses_is_bad_input(tiny_dir: Path, tmp_path: Path) -> None:
    import json
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(tiny_dir, broken)
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**settings, "hidden_size": 48, "head_dim": 16}))
    with pytest.raises(BadInput, match=r"vLLM does not start with model\.path.*log") as raised:
        make_engine(config(), str(broken), device_index=None)
    assert "\n" not in str(raised.value)
