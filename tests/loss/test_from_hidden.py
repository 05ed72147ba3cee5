"""The loss from hidden states against the loss on all logits: values, gradients, memory, and every odd shape."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from head_cases import DEVICES, EXTRAS, Case, Largest, case, chunked, gradients, plain, relative, upcast
from opsd_rs.config import LossConfig
from opsd_rs.errors import BadInput
from opsd_rs.loss import OpsdLoss
from opsd_rs.loss.kernels import OutputHead, pipeline, topk_kl
from opsd_rs.loss.kernels.blocks import Plan
from torch import Tensor

KINDS = [
    ("reverse_kl", 0.5),
    ("forward_kl", 0.5),
    ("jsd", 0.3),
    ("jsd", 0.0),
    ("jsd", 1.0),
    ("sampled_token", 0.5),
]
pytestmark = pytest.mark.parametrize("device", DEVICES)


def assert_same(found: OpsdLoss, exact: OpsdLoss, mask_T: Tensor, **tolerance: float) -> None:
    torch.testing.assert_close(found.loss, exact.loss, **tolerance)
    for name in ("kl_T", "student_logprob_T", "weight_T", "topk_mass_T"):
        value_T, exact_T = getattr(found, name), getattr(exact, name)
        torch.testing.assert_close(value_T[mask_T], exact_T[mask_T], **tolerance)
        assert not value_T[~mask_T].any()
        assert not value_T.requires_grad


@pytest.mark.parametrize("topk", [1, 7, 53, 60, None])
@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("kind", "alpha"), KINDS)
def test_equal_to_the_loss_on_all_logits(device, kind, alpha, tail, topk) -> None:
    config = LossConfig(kind=kind, jsd_alpha=alpha, tail=tail, topk=topk)
    given = case(device=device)
    if topk == 1 and not tail and kind != "sampled_token":
        with pytest.raises(BadInput, match=r"loss\.topk = 1"):
            chunked(given, config)
        return
    exact, found = plain(given, config), chunked(given, config)
    tolerance = {"rtol": 1e-9, "atol": 1e-11}
    assert_same(found, exact, given.mask_T, **tolerance)
    for ours, theirs in zip(gradients(given, found), gradients(given, exact), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("kind", ["reverse_kl", "jsd", "sampled_token"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_equal_whatever_a_family_does_to_its_logits(device, extra, kind) -> None:
    config = LossConfig(kind=kind, topk=6, aggregate="sdpo")
    given = case(device=device, seed=1, **EXTRAS[extra])
    exact, found = plain(given, config), chunked(given, config)
    assert_same(found, exact, given.mask_T, rtol=1e-9, atol=1e-11)
    for ours, theirs in zip(gradients(given, found), gradients(given, exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
        assert ours.any()
    if (used := given.head.valid_vocab) is not None:
        assert not gradients(given, chunked(given, config))[1][used:].any()


@pytest.mark.parametrize("aggregate", ["token_mean", "sdpo"])
def test_equal_with_importance_weights_and_counts_of_the_mini_batch(device, aggregate) -> None:
    config = LossConfig(topk=5, aggregate=aggregate, is_clip=1.2, rollout_is_clip=1.1)
    given = case(device=device, seed=2)
    start_T = plain(given, config).student_logprob_T
    options: dict[str, Any] = {
        "rollout_logprobs_T": start_T - torch.linspace(-1, 1, 13, device=device),
        "old_logprobs_T": start_T + torch.linspace(-0.7, 0.9, 13, device=device),
        "num_tokens": 40,
        "num_rows": 9,
    }
    exact, found = plain(given, config, **options), chunked(given, config, **options)
    assert exact.weight_T.unique().numel() > 5
    assert_same(found, exact, given.mask_T, rtol=1e-9, atol=1e-11)
    for ours, theirs in zip(gradients(given, found), gradients(given, exact), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("topk", [2, 4, None])
@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(
    ("kind", "alpha"), KINDS[:5]
)  # a sampled token's value is no integral of its gradient
def test_gradcheck(device, kind, alpha, tail, topk) -> None:
    given = case(tokens=3, size=4, vocabulary=11, device=device, seed=3, **EXTRAS["bias"])
    weight_T = torch.tensor([0.4, 0.0, 1.7], device=device)

    def loss(hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
        head = OutputHead(weight_VD, bias_V, softcap=6.0)
        return topk_kl(
            hidden_TD, head, given.taught_TE, given.teacher, given.ids_T, weight_T,
            topk=topk, kind=kind, jsd_alpha=alpha, tail=tail, temperature=0.8, budget_bytes=1,
        ).loss  # fmt: skip

    assert torch.autograd.gradcheck(loss, given.leaves)


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd", "sampled_token"])
def test_fp32_is_as_close_to_fp64_as_the_plain_path_is(device, kind) -> None:
    config = LossConfig(kind=kind, topk=20)
    shape: dict[str, Any] = {"tokens": 40, "size": 32, "vocabulary": 1003, "device": device, "std": 0.6}
    given = case(**shape, dtype=torch.float32)
    exact_case = upcast(given)
    exact, found = plain(exact_case, config), chunked(given, config, budget_bytes=1 << 20)
    assert_same(found, plain(given, config), given.mask_T, rtol=1e-4, atol=2e-5)
    exact_gradients = gradients(exact_case, exact)
    errors, plain_errors = (
        [relative(a, b) for a, b in zip(gradients(given, out), exact_gradients, strict=True)]
        for out in (found, plain(given, config))
    )
    assert max(errors) <= max(2e-6, 2 * max(plain_errors)), (errors, plain_errors)


@pytest.mark.parametrize("topk", [20, None])
def test_bf16_refined_is_exact_where_rounded_logits_are_not(device, topk) -> None:
    """Close to convergence: the teacher differs by 1e-2 of a logit, which bf16 logits of 20 cannot show."""
    shape: dict[str, Any] = {
        "tokens": 64,
        "size": 128,
        "teacher_size": 128,
        "vocabulary": 1001,
        "device": device,
    }
    given = case(**shape, dtype=torch.bfloat16, std=0.8, seed=4)
    noise_VD = 1e-3 * torch.randn(1001, 128, generator=torch.Generator().manual_seed(0)).to(device)
    taught = OutputHead((given.head.weight_VD.float() * (1 + noise_VD)).bfloat16().detach())
    given = given._replace(taught_TE=given.hidden_TD.detach(), teacher=taught)
    exact_case = upcast(given)
    config = LossConfig(topk=topk)
    exact = plain(exact_case, config)
    exact_gradients = gradients(exact_case, exact)
    refined = chunked(given, config, budget_bytes=1 << 21)
    rounded = chunked(given, config, budget_bytes=1 << 21, precision="rounded")
    in_fp32 = chunked(given, config, budget_bytes=1 << 21, precision="float32")
    # A rounded logit of the rest moves the sum by 1e-3 of its own share.
    mask_T = given.mask_T
    for out in (refined, in_fp32):
        error = (out.student_logprob_T - exact.student_logprob_T)[mask_T].abs().max().item()
        assert error <= 2e-4, error
        kl_error_T = (out.kl_T - exact.kl_T)[mask_T].abs()
        assert (kl_error_T <= 2e-5 + 0.05 * exact.kl_T[mask_T]).all(), kl_error_T.max()
        for ours, theirs in zip(gradients(given, out), exact_gradients, strict=True):
            assert relative(ours, theirs) <= 2e-2
    rounded_error = (rounded.student_logprob_T - exact.student_logprob_T)[mask_T].abs().max().item()
    assert rounded_error > 5e-3
    assert relative(gradients(given, rounded)[0], exact_gradients[0]) > 0.1


@pytest.mark.parametrize("precision", ["refined", "rounded", "float32"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("extra", ["plain", "all"])
def test_equal_models_give_exactly_nothing(device, dtype, precision, extra) -> None:
    for std, budget, (kind, alpha) in zip(
        (0.3, 1.0, 2.0, 4.0, 1.0), (1, 3000, 8000, 20_000, 1 << 20), KINDS[:5], strict=True
    ):
        given = case(dtype=dtype, device=device, std=std, tokens=29, **EXTRAS[extra])
        copied = OutputHead(
            given.head.weight_VD.detach().clone(),
            None if given.head.bias_V is None else given.head.bias_V.detach().clone(),
            *(given.head.scale, given.head.softcap, given.head.valid_vocab),
        )
        given = given._replace(taught_TE=given.hidden_TD.detach().clone(), teacher=copied)
        for topk, tail in ((5, True), (5, False), (None, False)):
            config = LossConfig(kind=kind, jsd_alpha=alpha, topk=topk, tail=tail)
            out = chunked(given, config, precision=precision, budget_bytes=budget)
            assert not out.kl_T.any()
            assert out.loss.item() == 0.0
            for gradient in gradients(given, out):
                assert not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ties_go_to_the_lowest_ids(device, dtype) -> None:
    """Integers of few levels tie exactly in any type: at the k-th place, and over hundreds of ids."""
    generator = torch.Generator().manual_seed(5)
    hidden_TD = torch.randint(-1, 2, (40, 3), generator=generator).to(device, dtype).requires_grad_()
    hidden_TD.data[0] = 0  # all logits equal
    weight_VD = torch.randint(-1, 2, (517, 3), generator=generator).to(device, dtype).requires_grad_()
    teacher = OutputHead(torch.randn(517, 3, generator=generator).to(device, dtype))
    ones_T, rows_T = torch.ones(40, device=device), torch.zeros(40, device=device)
    ids_T = torch.zeros(40, dtype=torch.long, device=device)
    given = Case(
        hidden_TD, OutputHead(weight_VD), hidden_TD.detach(), teacher, ids_T, ones_T.bool(), rows_T, 1.0
    )
    config = LossConfig(topk=9)
    found, exact = chunked(given, config, budget_bytes=100_000), plain(given, config)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(found.kl_T, exact.kl_T, **tolerance)
    # Which of the tied ids are chosen shows in the matrix's gradient: the support's rows alone without a tail.
    config = LossConfig(topk=9, tail=False)
    ours, theirs = (gradients(given, run(given, config))[1] for run in (chunked, plain))
    assert not ours.any(-1).all()
    assert theirs[~ours.any(-1)].abs().max() < (1e-6 if dtype == torch.float32 else 2e-2)
    torch.testing.assert_close(ours, theirs, **tolerance)


def test_masked_vocabulary(device) -> None:
    """A bias of -inf takes ids out on both sides, also where the support must take some of them."""
    given = case(device=device, bias=True, seed=6)
    bias_V = given.head.bias_V.detach().clone()
    bias_V[4:] = -math.inf
    head = OutputHead(given.head.weight_VD, bias_V)
    teacher = OutputHead(given.teacher.weight_VD, bias_V)
    given = given._replace(head=head, teacher=teacher, ids_T=given.ids_T % 4)
    for topk, tail in ((8, True), (8, False), (2, True), (None, False)):
        config = LossConfig(topk=topk, tail=tail)
        exact, found = plain(given, config), chunked(given, config)
        assert_same(found, exact, given.mask_T, rtol=1e-9, atol=1e-11)
        for ours, theirs in zip(
            torch.autograd.grad(found.loss, given.leaves[:2]),
            torch.autograd.grad(exact.loss, given.leaves[:2]),
            strict=True,
        ):
            assert torch.isfinite(ours).all()
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_token_stays_one_token_and_a_masked_one_is_nothing(device, value) -> None:
    given = case(device=device, seed=7)
    given.hidden_TD.data[3] = value
    given.taught_TE[8] = value
    mask_T = torch.ones_like(given.mask_T)
    out = chunked(given._replace(mask_T=mask_T), LossConfig(topk=5))
    broken_T = torch.isnan(out.kl_T)
    assert broken_T.nonzero().flatten().tolist() == [3, 8]
    assert torch.isnan(out.loss)
    hidden, weight = torch.autograd.grad(out.loss, given.leaves)
    assert torch.isnan(hidden[[3, 8]]).all()
    assert torch.isfinite(hidden[~broken_T]).all()
    assert torch.isnan(weight).any()
    masked = given._replace(mask_T=~broken_T)
    found = chunked(masked, LossConfig(topk=5))
    hidden, weight = torch.autograd.grad(found.loss, given.leaves)
    assert not hidden[[3, 8]].any()
    assert torch.isfinite(weight).all()
    assert torch.isfinite(found.loss)


@pytest.mark.parametrize("tokens", [0, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_nothing_to_train_on_is_a_zero_in_the_graph(device, tokens, dtype) -> None:
    given = case(tokens=tokens, device=device, dtype=dtype, **EXTRAS["all"])
    given = given._replace(mask_T=torch.zeros_like(given.mask_T))
    out = chunked(given, LossConfig())
    assert out.kl_T.shape == (tokens,)
    assert out.loss.item() == 0.0
    for gradient, leaf in zip(gradients(given, out), given.leaves, strict=True):
        assert gradient.shape == leaf.shape
        assert not gradient.any()


@pytest.mark.parametrize("tail", [True, False])
def test_any_chunk_gives_the_same(device, tail, monkeypatch) -> None:
    config, given = LossConfig(topk=7, tail=tail), case(device=device, dtype=torch.float32, tokens=37)
    exact = chunked(given, config, budget_bytes=1 << 24)
    exact_gradients = gradients(given, exact)
    for part, budget in enumerate((1, 2000, 4000, 9000, 30_000), 4):
        monkeypatch.setattr(pipeline, "PART", part)
        found = chunked(given, config, budget_bytes=budget)
        assert_same(found, exact, given.mask_T, rtol=1e-5, atol=1e-6)
        for ours, theirs in zip(gradients(given, found), exact_gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_a_plan_keeps_within_its_budget(device) -> None:
    for tokens, vocabulary, budget in ((1, 10, 1), (1000, 151_936, 1 << 30), (100_000, 50, 1 << 20)):
        plan = Plan.of(tokens, vocabulary, budget=budget, kept=2, scratch=28)
        assert plan.chunk % plan.block == 0
        assert plan.block == 1 or plan.block * vocabulary * 28 + plan.chunk * vocabulary * 2 <= budget


def test_no_tensor_is_as_large_as_the_logits(device) -> None:
    given = case(tokens=300, size=4, teacher_size=4, vocabulary=2000, device=device, dtype=torch.float32)
    with Largest() as plain_mode:
        gradients(given, plain(given, LossConfig()))
    with Largest() as mode:
        gradients(given, chunked(given, LossConfig(), budget_bytes=1_000_000))
    assert plain_mode.numel == 300 * 2000
    assert mode.numel * 4 <= 1_000_000


def test_what_is_frozen_costs_no_products(device) -> None:
    given = case(device=device, dtype=torch.float32)
    config = LossConfig(topk=5)
    without_tail = LossConfig(topk=5, tail=False)

    def count(hidden: bool, matrix: bool, grad: bool = True, config: LossConfig = config) -> int:
        given.hidden_TD.requires_grad_(hidden)
        given.head.weight_VD.requires_grad_(matrix)
        with Largest() as mode, torch.set_grad_enabled(grad):
            out = chunked(given, config, budget_bytes=1 << 22)
        assert out.loss.requires_grad == (grad and (hidden or matrix))
        return mode.products

    assert [count(True, True), count(True, False), count(False, True), count(False, False)] == [4, 3, 3, 2]
    assert count(True, True, grad=False) == 2
    assert count(True, True, config=without_tail) == 1  # the choice of ids


def test_a_tied_matrix_gets_both_gradients(device) -> None:
    given = case(device=device, seed=8)
    weight_VD = given.head.weight_VD
    hidden_TD = torch.tanh(weight_VD[given.ids_T])
    tied = given._replace(hidden_TD=hidden_TD)
    found, exact = (run(tied, LossConfig(topk=5)).loss for run in (chunked, plain))
    (ours,), (theirs,) = (
        torch.autograd.grad(found, weight_VD, retain_graph=True),
        torch.autograd.grad(exact, weight_VD, retain_graph=True),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    (tripled,) = torch.autograd.grad(3 * found, weight_VD)  # the second time through the same graph
    torch.testing.assert_close(tripled, 3 * theirs, rtol=1e-9, atol=1e-11)
    with pytest.raises(RuntimeError, match="second time"):  # what was kept for it is freed
        torch.autograd.grad(found, weight_VD)


def test_the_teacher_gets_no_gradient_and_may_be_the_student_s_matrix(device) -> None:
    given = case(device=device, teacher_size=8, seed=9)
    taught = given.taught_TE.requires_grad_()
    out = chunked(given._replace(teacher=given.head, taught_TE=taught), LossConfig(topk=5))
    out.loss.backward()
    assert taught.grad is None
    assert given.head.weight_VD.grad is not None


def test_the_matrix_s_gradient_is_summed_in_fp32(device) -> None:
    """1,500 chunks of one token each: sums in bf16 would have lost most of them."""
    shape: dict[str, Any] = {"tokens": 1500, "size": 4, "vocabulary": 19, "device": device, "std": 0.7}
    given = case(**shape, dtype=torch.bfloat16)
    found = gradients(given, chunked(given, LossConfig(topk=3), budget_bytes=1, precision="float32"))[1]
    exact_case = upcast(given)
    assert relative(found, gradients(exact_case, plain(exact_case, LossConfig(topk=3)))[1]) < 5e-3


def test_autocast_changes_nothing(device) -> None:
    given = case(device=device, dtype=torch.float32)
    exact = chunked(given, LossConfig(topk=5))
    with torch.autocast(device, dtype=torch.bfloat16):
        found = chunked(given, LossConfig(topk=5))
    assert torch.equal(found.kl_T, exact.kl_T)


BAD: dict[str, tuple[str, Any]] = {
    "shape": ("do not fit", lambda g: g._replace(hidden_TD=g.hidden_TD[:, :3])),
    "half": ("underflow", lambda g: case(dtype=torch.float16)),
    "types": ("give both the same", lambda g: g._replace(hidden_TD=g.hidden_TD.float())),
    "vocabularies": ("give valid_vocab", lambda g: g._replace(teacher=OutputHead(g.teacher.weight_VD[:-1]))),
    "ids": ("the vocabulary has 53", lambda g: g._replace(ids_T=g.ids_T + 53)),
    "tokens": ("has 5 tokens", lambda g: g._replace(taught_TE=g.taught_TE[:5])),
    "temperature": ("temperature = 0.0", lambda g: g._replace(temperature=0.0)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_refused(device, name) -> None:
    said, broken = BAD[name]
    with pytest.raises(BadInput, match=said):
        chunked(broken(case()), LossConfig())


@pytest.mark.parametrize(
    "options", [{"bias_V": torch.zeros(3)}, {"valid_vocab": 6}, {"scale": 0.0}, {"softcap": -1.0}], ids=str
)
def test_a_head_that_does_not_fit_is_refused(device, options) -> None:
    with pytest.raises(BadInput, match=next(iter(options))):
        OutputHead(torch.eye(5), **options)
