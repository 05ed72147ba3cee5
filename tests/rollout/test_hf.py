"""The sampler: seeds, the plain loop, and what can be said of vLLM without starting it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.errors import BadInput, Stopped
from opsd_rs.rollout import Completion, Request, Sampling, make_engine
from opsd_rs.rollout.engine import Engine, request_seed
from opsd_rs.rollout.hf import next_tokens
from opsd_rs.rollout.vllm import client
from opsd_rs.rollout.vllm.client import VllmEngine
from opsd_rs.rollout.vllm.options import engine_environment
from samplers import config, largest_gap, num_certain, requests_of

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


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_draws_are_those_of_torch_multinomial(top_p: float) -> None:
    """Row by row, each with its own generator, at several steps in a row."""
    torch.manual_seed(0)
    ours, theirs = ([torch.Generator().manual_seed(seed) for seed in range(40)] for _ in range(2))
    sampling = Sampling(0.7, top_p, 1, ())
    for _ in range(3):
        logits_BV = torch.randn(40, 5000) * 3
        ids_B, logprobs_B = next_tokens(logits_BV, sampling, ours)
        scaled_BV = logits_BV / 0.7
        if top_p < 1:
            sorted_BV, order_BV = scaled_BV.softmax(-1).sort(dim=-1, descending=True, stable=True)
            outside_BV = torch.zeros_like(sorted_BV, dtype=torch.bool)
            outside_BV.scatter_(1, order_BV, sorted_BV.cumsum(-1) - sorted_BV >= top_p)
            scaled_BV = scaled_BV.masked_fill(outside_BV, -torch.inf)
        probs_BV = scaled_BV.log_softmax(-1).exp()
        pairs = zip(probs_BV, theirs, strict=True)
        wanted = [int(torch.multinomial(probs_V, 1, generator=generator)) for probs_V, generator in pairs]
        assert ids_B.tolist() == wanted
        torch.testing.assert_close(logprobs_B, probs_BV.log().gather(1, ids_B[:, None])[:, 0])


# ---- the plain loop --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loop(tiny_dir: Path) -> Engine:
    return make_engine(config("hf", max_num_seqs=3), str(tiny_dir), device_index=None)


@pytest.mark.samples_model
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


@pytest.mark.samples_model
def test_the_greedy_loop_is_transformers_generate(loop: Engine, tiny_dir: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(tiny_dir, dtype=torch.float32)
    prompt = tuple(range(5, 25))
    (ours,) = loop.generate([Request(prompt, 1)], Sampling(0.0, 1.0, 10, ()))
    theirs = model.generate(torch.tensor([prompt]), max_new_tokens=10, do_sample=False, eos_token_id=None)
    end = num_certain(model, Request(prompt, 1), ours)
    assert end > 0
    assert list(ours.completion_ids[:end]) == theirs[0, len(prompt) :][:end].tolist()


@pytest.mark.samples_model
def test_the_loop_stops_at_stop_ids_only(loop: Engine) -> None:
    request = Request(tuple(range(5, 25)), 3)
    (free,) = loop.generate([request], Sampling(1.0, 1.0, 12, ()))
    assert free.truncated
    assert len(free.completion_ids) == 12
    stop = free.completion_ids[7]
    (cut,) = loop.generate([request], Sampling(1.0, 1.0, 12, (stop,)))
    end = free.completion_ids.index(stop) + 1
    assert cut == Completion(free.completion_ids[:end], free.logprobs[:end], truncated=False)


@pytest.mark.samples_model
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


@pytest.mark.samples_model
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
        (
            "import sys; print('no space left'); sys.exit(7)",
            r"exited with code 7 during start.*no space left",
        ),
        ("import os; os.kill(os.getpid(), 9)", r"was killed by SIGKILL.*memory"),
    ],
)
def test_a_process_that_dies_at_start_is_one_line(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(client, "SERVER", (sys.executable, "-c", program))
    begun = time.monotonic()
    with pytest.raises(Stopped, match=words) as raised:
        VllmEngine(
            tiny_dir, config().rollout, dtype="float32", vocab_size=400, tied=False, max_model_len=512,
            device_index=None, log_path=tmp_path / "log",
        )  # fmt: skip
    assert "\n" not in str(raised.value)
    assert time.monotonic() - begun < 60  # no hour, as for one that is silent


def test_a_silent_process_is_given_up(
    tiny_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SERVER", (sys.executable, "-c", "import time; time.sleep(60)"))
    monkeypatch.setitem(client.SILENCE_SECONDS, "start", 0.5)
    with pytest.raises(Stopped, match="gave no sign of life"):
        VllmEngine(
            tiny_dir, config().rollout, dtype="float32", vocab_size=400, tied=False, max_model_len=512,
            device_index=None, log_path=tmp_path / "log",
        )  # fmt: skip
