"""Weights to the sampler: the transport, and that each way of sampling from old weights is found out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from opsd_rs.config import Config
from opsd_rs.errors import OpsdError, Stopped
from opsd_rs.rollout import TOLERANCE, Request, Sampling, make_engine, verify_against
from opsd_rs.rollout.vllm import client
from opsd_rs.rollout.vllm.client import VllmEngine
from opsd_rs.rollout.weights import parcel as weight_sync
from opsd_rs.rollout.weights.parcel import Parcel, fingerprint, pack, unpack, verify_fingerprints
from opsd_rs.rollout.weights.probe import ProbeScore, probe_prompt
from tiny_models import FAMILIES, Family, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator

NONE = frozenset[str]()

# ---- the transport ---------------------------------------------------------------------------------------


@given(st.integers(1, 3000), st.sampled_from([torch.bfloat16, torch.float32, torch.int8]), st.data())
def test_one_flipped_bit_changes_the_fingerprint(size: int, dtype: torch.dtype, data: st.DataObject) -> None:
    raw = torch.randint(0, 255, (size * dtype.itemsize,), dtype=torch.uint8)
    before = fingerprint(raw.view(dtype))
    position, bit = data.draw(st.integers(0, raw.numel() - 1)), data.draw(st.integers(0, 7))
    raw[position] ^= 1 << bit
    assert fingerprint(raw.view(dtype)) != before


def test_a_fingerprint_sees_swapped_rows_and_not_the_storage() -> None:
    tensor = torch.randn(4, 32 * 1024)
    assert fingerprint(tensor) != fingerprint(tensor.flip(0))
    inside = torch.randn(10)
    assert fingerprint(inside[3:]) == fingerprint(inside[3:].clone())
    assert fingerprint(tensor.T) == fingerprint(tensor.T.contiguous())


def test_weights_cross_as_they_are_and_leave_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_sync, "BUCKET_BYTES", 4096)
    torch.manual_seed(0)
    weights = {f"w{i}": torch.randn(33, 17) for i in range(5)} | {"count": torch.arange(3)}
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    parcel = pack(weights.items(), torch.float32, frozenset({"w1"}))
    assert len(parcel.fds) > 1
    received = dict(unpack(parcel.fds))
    assert received.keys() == weights.keys() - {"w1"}
    assert all(torch.equal(received[name], weights[name]) for name in received)
    verify_fingerprints(parcel.fingerprints, {name: fingerprint(t) for name, t in received.items()}, 1)
    parcel.close()
    del received
    assert len(list(Path("/proc/self/fd").iterdir())) == open_before


def test_weights_are_cast_to_the_engines_type() -> None:
    parcel = pack([("w", torch.tensor([1.0 + 2**-12]))], torch.bfloat16, NONE)
    ((_, received),) = unpack(parcel.fds)
    assert received.dtype == torch.bfloat16
    parcel.close()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([("w", torch.zeros(0))], "w is empty: gather"),
        ([("w", torch.zeros(2)), ("w", torch.zeros(2))], "w was sent twice"),
    ],
)
def test_a_faulty_sender_is_told(weights: list[tuple[str, torch.Tensor]], words: str) -> None:
    with pytest.raises(OpsdError, match=words):
        pack(weights, torch.float32, NONE)


def test_verify_against_finds_a_difference_and_a_nan() -> None:
    logprobs_V = torch.tensor([0.1, 0.2, 0.7]).log()
    score = ProbeScore((2, 1), tuple(logprobs_V[[2, 1]].tolist()))
    assert verify_against(score, logprobs_V, 1e-6) == 0
    with pytest.raises(Stopped, match=r"sampler.*output head.*prefix cache.*trainer.*logits"):
        verify_against(score, logprobs_V + torch.tensor([0, 0.1, 0]), 0.01)
    with pytest.raises(Stopped, match="nan"):
        verify_against(score, logprobs_V * torch.nan, 0.01)


def test_the_probe_is_longer_than_two_blocks() -> None:
    assert len(probe_prompt(49152, 4096)) > 2 * 128
    assert all(0 <= token < 400 for token in probe_prompt(400, 4096))


# ---- vLLM ------------------------------------------------------------------------------------------------

SABOTEUR = """
import os, pathlib
from opsd_rs.rollout.vllm import server as vllm_server
from opsd_rs.rollout.vllm.worker import WorkerExtension

def faults():
    return pathlib.Path(os.environ["OPSD_FAULTS"]).read_text().split()

refresh = WorkerExtension.opsd_refresh_head
reset = vllm_server.Server.reset_cache
load = vllm_server.Server.load

def no_refresh(self):
    return None if "head" in faults() else refresh(self)

def no_reset(self):
    return True if "cache" in faults() else reset(self)

def blind(self, fds, version):
    report = load(self, fds, version)
    return report | {"stale_head": 0, "cached_tokens": 0} if "blind" in faults() else report

WorkerExtension.opsd_refresh_head = no_refresh
vllm_server.Server.reset_cache = no_reset
vllm_server.Server.load = blind
vllm_server.main()
"""
"""The server, less one fix at a time, as a file says: what the tests below must find out."""


def config(dtype: str = "float32") -> Config:
    return Config.model_validate(
        {
            "model": {"dtype": dtype},
            "rollout": {"max_tokens": 32, "max_prompt_tokens": 512},
            "teacher": {"max_context_tokens": 512},
        }
    )


def load_policy(model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval().requires_grad_(False)


def moved(policy: Any, base: dict[str, torch.Tensor], seed: int, scale: float) -> Any:
    """``policy`` at a random distance from ``base``: ``scale`` standard deviations of each tensor."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in policy.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        # A norm's weights may all be equal, hence the 1.
        size = base[name].std() if base[name].numel() > 1 and base[name].std() > 0 else 1.0
        parameter.copy_(base[name] + scale * size * noise)
    return policy


def next_logprobs(policy: Any, prompt_ids: tuple[int, ...]) -> torch.Tensor:
    with torch.inference_mode():
        return policy(torch.tensor([prompt_ids])).logits[0, -1].log_softmax(-1)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "faults"
    path.write_text("")
    return path


@pytest.fixture(scope="module")
def engine(smollm2: Path, faults: Path) -> Iterator[VllmEngine]:
    """fp32 vLLM over SmolLM2, behind the saboteur, who does nothing until told."""
    script = faults.with_name("saboteur.py")
    script.write_text(SABOTEUR)
    os.environ["OPSD_FAULTS"] = str(faults)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "SERVER", (sys.executable, str(script)))
        held = VllmEngine(
            smollm2, config().rollout, dtype="float32", vocab_size=49152, tied=True, max_model_len=544,
            device_index=None,
        )  # fmt: skip
    yield held
    held.close()
    del os.environ["OPSD_FAULTS"]


@pytest.fixture(scope="module")
def policy(smollm2: Path) -> Any:
    return load_policy(smollm2)


@pytest.fixture(scope="module")
def base(policy: Any) -> dict[str, torch.Tensor]:
    return {name: parameter.clone() for name, parameter in policy.named_parameters()}


@pytest.fixture(autouse=True)
def honest(request: pytest.FixtureRequest, faults: Path) -> Iterator[None]:
    """After each test the saboteur is told to stop, and the engine may be used again."""
    yield
    faults.write_text("")
    if "engine" in request.fixturenames:
        request.getfixturevalue("engine")._broken = False


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
def test_there_and_back_the_sampler_follows(
    engine: VllmEngine, policy: Any, base: dict[str, torch.Tensor]
) -> None:
    sampling = Sampling(1.0, 1.0, 16, (2,))
    requests = [Request(tuple(range(50, 90)), seed) for seed in range(4)]
    before = engine.generate(requests, sampling)
    for version, (seed, scale) in enumerate([(0, 0.05), (1, 0.1), (2, 1e-5), (3, 0.0)], start=1):
        engine.load(moved(policy, base, seed, scale).named_parameters(), version)
        difference = verify_against(
            engine.check(engine.probe_ids), next_logprobs(policy, engine.probe_ids), 1e-3
        )
        assert difference < TOLERANCE["float32"]
        assert engine.version == version
        assert (engine.generate(requests, sampling) == before) == (scale == 0.0) or scale == 1e-5


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 1e-4])
@pytest.mark.parametrize(
    ("fault", "words"),
    [("head", r"entries of its output head are those of older weights"), ("cache", r"from a prefix cache")],
)
def test_the_load_itself_finds_a_missing_mend_however_small_the_update(
    engine: VllmEngine,
    policy: Any,
    base: dict[str, torch.Tensor],
    faults: Path,
    fault: str,
    words: str,
    scale: float,
) -> None:
    engine.load(moved(policy, base, 0, 0.0).named_parameters(), 1)
    faults.write_text(fault)
    with pytest.raises(Stopped, match=words):
        engine.load(moved(policy, base, 5, scale).named_parameters(), 2)


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["head", "cache"])
def test_the_probe_finds_a_missing_mend_too(
    engine: VllmEngine, policy: Any, base: dict[str, torch.Tensor], faults: Path, fault: str
) -> None:
    engine.load(moved(policy, base, 0, 0.0).named_parameters(), 1)
    verify_against(engine.check(engine.probe_ids), next_logprobs(policy, engine.probe_ids), 1e-3)
    faults.write_text(f"{fault} blind")
    engine.load(moved(policy, base, 6, 0.1).named_parameters(), 2)
    with pytest.raises(Stopped, match="sampler and trainer do not agree"):
        verify_against(
            engine.check(engine.probe_ids), next_logprobs(policy, engine.probe_ids), TOLERANCE["float32"]
        )


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
def test_bits_changed_on_the_way_are_found(
    engine: VllmEngine, policy: Any, base: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(policy, base, 0, 0.0)

    def careless(*arguments: Any) -> Parcel:
        parcel = pack(*arguments)
        size = os.fstat(parcel.fds[0]).st_size
        os.pwrite(parcel.fds[0], b"\x3f", size - 1)
        return parcel

    monkeypatch.setattr("opsd_rs.rollout.vllm.client.pack", careless)
    with pytest.raises(Stopped, match="1 of 272 tensors changed on the way"):
        engine.load(policy.named_parameters(), 1)


@pytest.mark.samples_model
@pytest.mark.model
@pytest.mark.slow
def test_a_tensor_left_out_is_found_before_anything_is_loaded(
    engine: VllmEngine, policy: Any, base: dict[str, torch.Tensor]
) -> None:
    engine.load(moved(policy, base, 0, 0.0).named_parameters(), 1)
    before = engine.check(engine.probe_ids)
    moved(policy, base, 7, 0.1)
    with pytest.raises(OpsdError, match=r"were not sent, first model\.norm\.weight"):
        engine.load(((n, p) for n, p in policy.named_parameters() if n != "model.norm.weight"), 2)
    assert engine.check(engine.probe_ids) == before


@pytest.mark.samples_model
@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_samples_and_follows(family: Family, tmp_path: Path) -> None:
    model_dir = tiny(tmp_path / family, family)
    policy = load_policy(model_dir)
    base = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    held = make_engine(config(), str(model_dir), device_index=None)
    try:
        verify_against(held.check(held.probe_ids), next_logprobs(policy, held.probe_ids), 1e-4)
        for version in (1, 2):
            held.load(moved(policy, base, version, 0.5).named_parameters(), version)
            verify_against(held.check(held.probe_ids), next_logprobs(policy, held.probe_ids), 1e-4)
        prompt = held.probe_ids[:150]
        (done,) = held.generate([Request(prompt, 1)], Sampling(1.0, 1.0, 8, ()))
        ids = torch.tensor([prompt + done.completion_ids])
        with torch.inference_mode():
            logprobs = policy(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        plain = logprobs.gather(1, torch.tensor(done.completion_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(done.logprobs), plain, atol=1e-4, rtol=0)
    finally:
        held.close()
