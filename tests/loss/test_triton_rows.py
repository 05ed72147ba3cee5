"""The Triton row kernels agree with their plain twin: in Triton's interpreter everywhere, compiled on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import opsd_rs
import pytest
import torch
import triton_cases
from head_cases import EXTRAS, case, chunked, gradients, relative, upcast
from opsd_rs.config import LossConfig
from opsd_rs.errors import BadInput
from opsd_rs.loss.kernels import OutputHead, linear_lse_topk, linear_topk_logp, topk_kl
from opsd_rs.loss.kernels.backends import choose

CASES = Path(triton_cases.__file__)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_kernels_in_the_interpreter() -> None:
    pytest.importorskip("triton")
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": f"{Path(opsd_rs.__file__).parent.parent}:{CASES.parent}",
    }
    words = [sys.executable, "-W", "ignore", str(CASES), "cpu"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 30


def test_the_choice_of_operations() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")

    def name(device: torch.device, stored: torch.dtype, **options: Any) -> str:
        return choose("auto", device, stored, **{"num_ids": 21, "whole": False, **options}).name

    assert name(cpu, torch.bfloat16) == "torch"
    assert name(cuda, torch.float64) == "torch"
    assert name(cuda, torch.bfloat16, num_ids=129) == "torch"
    assert name(cuda, torch.bfloat16, whole=True) == "torch"
    assert choose("torch", cuda, torch.bfloat16, num_ids=2, whole=False).name == "torch"
    with pytest.raises(BadInput, match="at most 128 fit"):
        choose("triton", cuda, torch.bfloat16, num_ids=129, whole=False)
    with pytest.raises(BadInput, match="neither bfloat16 nor float32"):
        choose("triton", cuda, torch.float64, num_ids=1, whole=False)
    with pytest.raises(BadInput, match="take auto, torch or triton"):
        choose("cuda", cuda, torch.float64, num_ids=1, whole=False)  # type: ignore[arg-type]


@pytest.mark.gpu
@needs_gpu
def test_kernels_compiled() -> None:
    assert triton_cases.main("cuda", topks=(1, 5, 20, 100)) > 200


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd", "sampled_token"])
def test_both_backends_give_the_same_loss(kind, dtype, extra) -> None:
    assert choose("auto", torch.device("cuda"), dtype, num_ids=8, whole=False).name == "triton"
    given = case(tokens=200, size=64, vocabulary=1003, dtype=dtype, device="cuda", std=0.5, **EXTRAS[extra])
    outs = [
        chunked(given, LossConfig(kind=kind, topk=7), backend=backend, budget_bytes=1 << 20)
        for backend in ("triton", "torch")
    ]
    torch.testing.assert_close(outs[0].kl_T, outs[1].kl_T, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outs[0].student_logprob_T, outs[1].student_logprob_T, rtol=1e-4, atol=1e-4)
    for a, b in zip(gradients(given, outs[0]), gradients(given, outs[1]), strict=True):
        assert relative(a, b) < (1e-3 if dtype == torch.float32 else 1e-2)


@pytest.mark.gpu
@needs_gpu
def test_a_real_vocabulary_against_fp64() -> None:
    """bf16, V = 151,936: log-probs, divergence, and both gradients; twice the same bits; memory as said."""
    shape: dict[str, Any] = {"tokens": 700, "size": 512, "teacher_size": 512, "vocabulary": 151_936}
    given = case(**shape, dtype=torch.bfloat16, device="cuda", std=0.3)
    # Few ids hold most of the mass, as in a language model.
    rank_V = torch.randperm(151_936, generator=torch.Generator().manual_seed(0)).to("cuda")
    bias_V = -1.5 * torch.log1p(rank_V)
    given = given._replace(
        head=OutputHead(given.head.weight_VD, bias_V),
        taught_TE=(given.hidden_TD.detach().float() * 1.02).bfloat16(),
        teacher=OutputHead(given.head.weight_VD.detach(), bias_V),
    )
    leaves = given.leaves[:2]
    budget = 1 << 28
    chunked(given, LossConfig(), budget_bytes=budget)  # compiles
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    out = chunked(given, LossConfig(), budget_bytes=budget)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak < budget + 4 * given.head.weight_VD.numel() + 2 * given.hidden_TD.numel() + (96 << 20), peak
    found = torch.autograd.grad(out.loss, leaves)
    again = chunked(given, LossConfig(), budget_bytes=budget)
    assert torch.equal(again.loss, out.loss)
    assert all(torch.equal(a, b) for a, b in zip(found, torch.autograd.grad(again.loss, leaves), strict=True))
    exact_case = upcast(given)
    exact = chunked(exact_case, LossConfig(), budget_bytes=1 << 32)
    mask_T = given.mask_T
    # What is rounded is the rest: an error of up to 2^-9 of a logit of about 15, weighed by its share.
    rest_T = 1 - exact.topk_mass_T[mask_T]
    assert 0.05 < rest_T.mean().item() < 0.6
    error_T = (out.student_logprob_T - exact.student_logprob_T)[mask_T].abs()
    assert (error_T <= 2e-4 + 0.02 * rest_T).all(), error_T.max()
    assert error_T.mean().item() <= 5e-4
    kl_error_T = (out.kl_T - exact.kl_T)[mask_T].abs()
    assert kl_error_T.mean().item() <= 0.02 * exact.kl_T[mask_T].mean().item()
    for ours, theirs in zip(found, torch.autograd.grad(exact.loss, exact_case.leaves[:2]), strict=True):
        assert relative(ours, theirs) <= 2e-2
        cosine = torch.nn.functional.cosine_similarity(ours.double().flatten(), theirs.flatten(), 0)
        assert cosine >= 0.9998


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("topk", [1, 20, 100])
def test_scores_and_their_gradient_on_both_backends(topk) -> None:
    given = case(
        tokens=90, size=32, vocabulary=1003, dtype=torch.float32, device="cuda", bias=True, softcap=20.0
    )
    found = []
    for backend in ("triton", "torch"):
        options: dict[str, Any] = {"labels_T": given.ids_T, "backend": backend, "budget_bytes": 1 << 19}
        out = linear_topk_logp(given.hidden_TD, given.head, topk, **options)
        assert torch.equal(out.ids_TK, linear_lse_topk(given.hidden_TD, given.head, topk, **options).ids_TK)
        assert out.label_logprobs_T is not None
        loss = out.logprobs_TK.square().sum() + out.log_tail_T.exp().sum() + out.label_logprobs_T.sum()
        found.append((out.logprobs_TK, *torch.autograd.grad(loss, given.leaves)))
    for a, b in zip(*found, strict=True):
        assert relative(a, b) < 1e-4


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("tail", [True, False])
def test_the_host_waits_for_the_device_twice(tail: bool) -> None:
    """To count the tokens with weight, and to check their ids; then never, however many chunks there are."""
    given = case(tokens=300, size=64, vocabulary=1003, dtype=torch.bfloat16, device="cuda")
    weight_T, taught = (
        torch.ones(300, device="cuda"),
        OutputHead(torch.randn(1003, 6, device="cuda").bfloat16()),
    )

    def run() -> None:
        out = topk_kl(
            given.hidden_TD,
            given.head,
            given.taught_TE,
            taught,
            given.ids_T,
            weight_T,
            tail=tail,
            budget_bytes=1 << 19,
        )
        out.loss.backward()

    run()  # compiles
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    waits = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
    assert len(waits) <= 3, waits  # nonzero waits twice on some versions


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd"])
def test_without_a_tail_at_a_real_vocabulary(kind: str) -> None:
    """bf16, thousands of tokens that share ids: gradients against fp64, twice the same bits."""
    shape: dict[str, Any] = {"tokens": 3000, "size": 256, "teacher_size": 256, "vocabulary": 32_000}
    given = case(**shape, dtype=torch.bfloat16, device="cuda", std=0.3)
    rank_V = torch.randperm(32_000, generator=torch.Generator().manual_seed(0)).to("cuda")
    bias_V = -1.5 * torch.log1p(rank_V)
    given = given._replace(
        head=OutputHead(given.head.weight_VD, bias_V), teacher=OutputHead(given.teacher.weight_VD, bias_V)
    )
    config, leaves = LossConfig(kind=kind, tail=False), given.leaves[:2]  # type: ignore[arg-type]
    out = chunked(given, config, budget_bytes=1 << 28)
    found = torch.autograd.grad(out.loss, leaves)
    again = chunked(given, config, budget_bytes=1 << 28)
    assert torch.equal(again.loss, out.loss)
    assert all(torch.equal(a, b) for a, b in zip(found, torch.autograd.grad(again.loss, leaves), strict=True))
    exact_case = upcast(given)
    exact = chunked(exact_case, config, budget_bytes=1 << 30)
    for ours, theirs in zip(found, torch.autograd.grad(exact.loss, exact_case.leaves[:2]), strict=True):
        assert relative(ours, theirs) <= 1e-2
