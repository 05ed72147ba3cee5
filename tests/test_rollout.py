"""The sampler: seeds, the plain loop, vLLM against it, and what happens when a process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.config import Config
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.rollout import (
    Completion,
    Engine,
    HFEngine,
    Request,
    Sampling,
    make_engine,
    next_tokens,
    request_seed,
)
from opsd_rs.vllm_engine import VllmEngine, engine_environment
from tiny_models import tiny

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP = 2  # <|im_end|> of SmolLM2
TESTS = Path(__file__).parent


def config(engine: str = "vllm", dtype: str = "float32", **rollout: Any) -> Config:
    return Config.model_validate(
        {
            "model": {"dtype": dtype},
            "rollout": {"engine": engine, "max_tokens": 64, "max_prompt_tokens": 512, **rollout},
            "teacher": {"max_context_tokens": 512},
        }
    )


def prompts(model_dir: Path, count: int) -> list[tuple[int, ...]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    return [
        tuple(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "Write a Python function that adds numbers." + " Please!" * i}],
                add_generation_prompt=True,
                return_dict=False,
            )
        )
        for i in range(count)
    ]


def requests_of(prompt_ids: list[tuple[int, ...]], n: int = 2) -> list[Request]:
    return [
        Request(ids, request_seed(0, "test", 0, str(i), sample))
        for i, ids in enumerate(prompt_ids)
        for sample in range(n)
    ]


def plain_logprobs(model: Any, request: Request, done: Completion, sampling: Sampling) -> list[float]:
    """Log-probabilities of a completion by one plain forward, no cache, no padding."""
    ids = torch.tensor([request.prompt_ids + done.completion_ids])
    with torch.no_grad():
        logits_LV = model(ids).logits[0, len(request.prompt_ids) - 1 : -1].float() / sampling.temperature
    if sampling.top_p < 1.0:
        for row_V in logits_LV:
            probs = row_V.softmax(-1)
            order = probs.argsort(descending=True)
            kept = int((probs[order].cumsum(0) < sampling.top_p).sum()) + 1
            row_V[order[kept:]] = -torch.inf
    return logits_LV.log_softmax(-1).gather(1, torch.tensor(done.completion_ids)[:, None])[:, 0].tolist()


def largest_gap(model: Any, requests: list[Request], done: list[Completion], sampling: Sampling) -> float:
    return max(
        abs(ours - plain)
        for request, completion in zip(requests, done, strict=True)
        for ours, plain in zip(
            completion.logprobs, plain_logprobs(model, request, completion, sampling), strict=True
        )
    )


# ---- seeds and one step of sampling ----------------------------------------------------------------------


@given(st.integers(0, 2**31), st.integers(0, 500), st.text(max_size=20), st.integers(0, 64))
def test_a_seed_fits_torch_and_tells_requests_apart(
    run_seed: int, step: int, problem_id: str, sample: int
) -> None:
    seed = request_seed(run_seed, "train", step, problem_id, sample)
    assert 0 <= seed < 2**63
    torch.Generator().manual_seed(seed)
    others = {
        request_seed(run_seed + 1, "train", step, problem_id, sample),
        request_seed(run_seed, "gap", step, problem_id, sample),
        request_seed(run_seed, "train", step + 1, problem_id, sample),
        request_seed(run_seed, "train", step, problem_id + "x", sample),
        request_seed(run_seed, "train", step, problem_id, sample + 1),
    }
    assert seed not in others
    assert len(others) == 5


def test_top_p_keeps_the_smallest_set_and_its_logprobs_are_of_that_set() -> None:
    logits_BV = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log().repeat(400, 1)
    generators = [torch.Generator().manual_seed(i) for i in range(400)]
    ids_B, logprobs_B = next_tokens(logits_BV, Sampling(1.0, 0.75, 1, ()), generators)
    assert set(ids_B.tolist()) == {0, 1}
    share = torch.tensor([0.5, 0.3]) / 0.8
    torch.testing.assert_close(logprobs_B, share.log()[ids_B])
    assert abs((ids_B == 0).float().mean().item() - 0.625) < 0.08  # 3.3 standard errors


def test_temperature_shapes_the_draws() -> None:
    logits_BV = torch.tensor([[2.0, 0.0]]).repeat(2000, 1)
    generators = [torch.Generator().manual_seed(i) for i in range(2000)]
    ids_B, _ = next_tokens(logits_BV, Sampling(2.0, 1.0, 1, ()), generators)
    expected = torch.tensor(1.0).sigmoid().item()
    assert abs((ids_B == 0).float().mean().item() - expected) < 0.035


# ---- the plain loop --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture(scope="module")
def loop(tiny_dir: Path) -> Engine:
    return make_engine(config("hf", max_num_seqs=3), str(tiny_dir), device_index=None)


def test_the_loop_samples_each_row_as_if_it_were_alone(loop: Engine, tiny_dir: Path) -> None:
    sampling = Sampling(1.0, 0.9, 12, ())
    requests = requests_of([tuple(range(3, 4 + 5 * i)) for i in range(4)])
    together = loop.generate(requests, sampling)
    assert loop.generate(requests, sampling) == together
    alone = [loop.generate([request], sampling)[0] for request in requests]
    assert [c.completion_ids for c in alone] == [c.completion_ids for c in together]
    assert len({c.completion_ids for c in together}) == len(together)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_dir, dtype=torch.float32)
    assert largest_gap(model, requests, together, sampling) < 1e-4


def test_the_greedy_loop_is_transformers_generate(loop: Engine, tiny_dir: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_dir, dtype=torch.float32)
    prompt = tuple(range(5, 25))
    (ours,) = loop.generate([Request(prompt, 1)], Sampling(0.0, 1.0, 10, ()))
    theirs = model.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False, eos_token_id=None)
    assert list(ours.completion_ids) == theirs[0, len(prompt) :].tolist()


def test_the_loop_stops_at_stop_ids_only(loop: Engine) -> None:
    request = Request(tuple(range(5, 25)), 3)
    (free,) = loop.generate([request], Sampling(1.0, 1.0, 12, ()))
    assert free.truncated
    assert len(free.completion_ids) == 12
    stop = free.completion_ids[7]
    (cut,) = loop.generate([request], Sampling(1.0, 1.0, 12, (stop,)))
    end = free.completion_ids.index(stop) + 1
    assert cut == Completion(free.completion_ids[:end], free.logprobs[:end], truncated=False)


def test_the_loop_copies_weights_and_misses_none(loop: Engine, tiny_dir: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_dir, dtype=torch.float32)
    before = loop.check(loop.probe_ids)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    loop.load(model.named_parameters(), 1)
    after = loop.check(loop.probe_ids)
    assert after != before
    assert loop.version == 1
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert loop.check(loop.probe_ids) == after
    with pytest.raises(Exception, match=r"not sent, first model\.norm\.weight"):
        loop.load(((n, p) for n, p in model.named_parameters() if n != "model.norm.weight"), 2)


def test_a_prompt_that_does_not_fit_names_the_key(loop: Engine) -> None:
    with pytest.raises(BadInput, match=r"prompt 0 of 1 has 576 tokens.*teacher\.max_context_tokens"):
        loop.generate([Request(tuple([5] * 576), 1)], Sampling(1.0, 1.0, 4, ()))


# ---- what needs no vLLM process --------------------------------------------------------------------------


def test_vllm_missing_is_bad_input(monkeypatch: pytest.MonkeyPatch, tiny_dir: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"rollout\.engine.*not installed"):
        make_engine(config(), str(tiny_dir), device_index=None)


def test_no_model_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"model\.path"):
        make_engine(config(), str(tmp_path), device_index=None)


def test_the_engine_is_a_world_of_its_own() -> None:
    launcher = {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "x",
        "LOCAL_RANK": "1",
        "CUDA_VISIBLE_DEVICES": "4,6",
    }
    environment = engine_environment({**launcher, "HOME": "/h"}, config().rollout, 1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "6"
    assert environment["HOME"] == "/h"
    assert not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK"} & environment.keys()
    on_cpu = engine_environment({}, config().rollout, None)
    assert on_cpu["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; print('no room left'); sys.exit(7)", r"exited with code 7 during start.*no room left"),
        ("import os; os.kill(os.getpid(), 9)", r"was killed by SIGKILL.*memory"),
    ],
)
def test_a_process_that_dies_at_start_is_one_line(
    tiny_dir: Path, tmp_path: Path, program: str, words: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(Stopped, match=words) as raised:
        VllmEngine(
            tiny_dir, config().rollout, dtype="float32", vocab_size=400, tied=False, max_model_len=512,
            device_index=None, log_path=tmp_path / "log", command=[sys.executable, "-c", program],
        )  # fmt: skip
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begun < 5


def test_a_silent_process_is_given_up(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("opsd_rs.vllm_engine", fromlist=["x"]).SILENCE_SECONDS, "start", 0.5)
    with pytest.raises(Stopped, match="gave no sign of life"):
        VllmEngine(
            tiny_dir, config().rollout, dtype="float32", vocab_size=400, tied=False, max_model_len=512,
            device_index=None, log_path=tmp_path / "log",
            command=[sys.executable, "-c", "import time; time.sleep(60)"],
        )  # fmt: skip


# ---- vLLM ------------------------------------------------------------------------------------------------


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


def gone(pid: int) -> bool:
    """No such process, or one that is dead and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


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
def test_vllm_and_the_loop_agree_on_greedy_answers(vllm: VllmEngine, smollm2: Path) -> None:
    loop = HFEngine(smollm2, dtype="float32", device=torch.device("cpu"), max_model_len=576, max_num_seqs=8)
    requests = requests_of(prompts(smollm2, 2), n=1)
    sampling = Sampling(0.0, 1.0, 24, (STOP,))
    ours, theirs = loop.generate(requests, sampling), vllm.generate(requests, sampling)
    assert [c.completion_ids for c in ours] == [c.completion_ids for c in theirs]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=1e-4, rtol=0)


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

        def kill() -> None:
            os.kill(fresh.pid, signal.SIGKILL)
            killed.append(time.monotonic())

        timer = threading.Timer(1.5, kill)
        timer.start()
        with pytest.raises(Stopped, match=r"was killed by SIGKILL.*during generate.*resume") as raised:
            fresh.generate(requests_of(prompts(smollm2, 4), n=16), Sampling(1.0, 1.0, 64, ()))
        assert time.monotonic() - killed[0] < 5
        assert "\n" not in str(raised.value)
        with pytest.raises(Stopped):
            fresh.check(fresh.probe_ids)
    finally:
        fresh.close()
    assert gone(fresh.pid)


TRAINER = """
import sys, threading
from opsd_rs.rollout import Request, Sampling, make_engine
from test_rollout import config
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
