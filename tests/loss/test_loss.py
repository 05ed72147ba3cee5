"""The loss against dense float64 autograd written from the formula, and the properties it must keep."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opsd_rs.config import LossConfig
from opsd_rs.errors import BadInput
from opsd_rs.loss import divergence, logprobs_at, opsd, opsd_loss, support
from opsd_rs.loss.divergences import MAX_LOG_SUPPORT, with_tail
from opsd_rs.loss.opsd import importance_weights, sampled_token_loss
from opsd_rs.loss.reference import closed_form_gradient
from torch import Tensor

# T tokens, V vocabulary, K support.
SHAPES = [(1, 2, 1), (3, 41, 5), (7, 131, 20), (5, 401, 100), (2, 1271, 20)]
KINDS = [("reverse_kl", 0.5), ("forward_kl", 0.5), ("jsd", 0.3), ("jsd", 0.0), ("jsd", 1.0)]


def logits(tokens: int, vocabulary: int, seed: int, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(tokens, vocabulary, generator=generator, dtype=torch.float64)


def textbook(
    student_TV: Tensor, teacher_TV: Tensor, ids_TK: Tensor, kind: str, alpha: float, tail: bool
) -> Tensor:
    """Probabilities, sums and logs, nothing clever; the tail is the sum of what is left out."""
    p_TV, q_TV = student_TV.softmax(-1), teacher_TV.softmax(-1)
    p_TB, q_TB = p_TV.gather(-1, ids_TK), q_TV.gather(-1, ids_TK)
    if tail:
        rest = torch.ones_like(p_TV).scatter(-1, ids_TK, 0.0)
        p_TB = torch.cat([p_TB, (p_TV * rest).sum(-1, keepdim=True)], -1)
        q_TB = torch.cat([q_TB, (q_TV * rest).sum(-1, keepdim=True)], -1)
    else:
        p_TB, q_TB = p_TB / p_TB.sum(-1, keepdim=True), q_TB / q_TB.sum(-1, keepdim=True)
    kl = lambda a, b: (a * (a / b).log()).sum(-1)  # noqa: E731
    if kind == "reverse_kl" or alpha == 1.0:
        return kl(p_TB, q_TB)
    if kind == "forward_kl" or alpha == 0.0:
        return kl(q_TB, p_TB)
    m_TB = (1 - alpha) * p_TB + alpha * q_TB
    return (1 - alpha) * kl(p_TB, m_TB) + alpha * kl(q_TB, m_TB)


def ours(
    student_TV: Tensor, teacher_TV: Tensor, ids_TK: Tensor, kind: str, alpha: float, tail: bool
) -> Tensor:
    student_TK, teacher_TK = logprobs_at(student_TV, ids_TK), logprobs_at(teacher_TV, ids_TK)
    return divergence(student_TK, teacher_TK, kind=kind, jsd_alpha=alpha, tail=tail)  # type: ignore[arg-type]


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("kind", "alpha"), KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_value_and_gradient_agree_with_the_textbook_and_the_closed_form(shape, kind, alpha, tail) -> None:
    tokens, vocabulary, topk = shape
    if not tail and topk == 1:
        pytest.skip("refused: see test_one_token_without_tail")
    teacher_TV = logits(tokens, vocabulary, seed=1)
    upstream_T = torch.linspace(-1.7, 2.3, tokens, dtype=torch.float64)
    student_TV = logits(tokens, vocabulary, seed=2).requires_grad_()
    ids_TK = support(student_TV, topk)
    loss_T = ours(student_TV, teacher_TV, ids_TK, kind, alpha, tail)
    (gradient_TV,) = torch.autograd.grad(loss_T, student_TV, upstream_T)
    plain_T = textbook(student_TV, teacher_TV, ids_TK, kind, alpha, tail)
    (plain_TV,) = torch.autograd.grad(plain_T, student_TV, upstream_T)
    closed_TV = closed_form_gradient(
        student_TV, teacher_TV, ids_TK, kind=kind, jsd_alpha=alpha, tail=tail, upstream_T=upstream_T
    )
    torch.testing.assert_close(loss_T, plain_T, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient_TV, plain_TV, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient_TV, closed_TV, rtol=1e-10, atol=1e-13)
    # Adding a constant to the logits changes nothing, so the gradient sums to nothing.
    torch.testing.assert_close(gradient_TV.sum(-1), torch.zeros_like(upstream_T), rtol=0, atol=1e-12)


def test_objective_formulas_are_the_closed_form() -> None:
    """dL/dz_v = p_v (r_b(v) - L) and p_v - q_b p_v / p_b, written out as in the paper."""
    student_TV, teacher_TV = logits(4, 37, seed=3), logits(4, 37, seed=4)
    ids_TK = support(student_TV, 6)
    P = with_tail(logprobs_at(student_TV, ids_TK))
    Q = with_tail(logprobs_at(teacher_TV, ids_TK))
    bucket_TV = torch.full((4, 37), 6).scatter(-1, ids_TK, torch.arange(6).expand(4, 6))
    p_TV, r_TB = student_TV.softmax(-1), P - Q
    loss_T1 = (P.exp() * r_TB).sum(-1, keepdim=True)
    reverse = closed_form_gradient(student_TV, teacher_TV, ids_TK, kind="reverse_kl")
    torch.testing.assert_close(reverse, p_TV * (r_TB.gather(-1, bucket_TV) - loss_T1), rtol=1e-10, atol=1e-13)
    forward = closed_form_gradient(student_TV, teacher_TV, ids_TK, kind="forward_kl")
    expected = p_TV - (Q - P).exp().gather(-1, bucket_TV) * p_TV
    torch.testing.assert_close(forward, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize(("kind", "alpha"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equal_student_and_teacher_give_exactly_nothing(dtype, kind, alpha, tail) -> None:
    for scale in (0.1, 3.0, 40.0):  # at 40 the tail is clamped
        teacher_TV = logits(9, 203, seed=5, scale=scale).to(dtype)
        student_TV = teacher_TV.clone().requires_grad_()
        loss_T = ours(student_TV, teacher_TV, support(student_TV, 20), kind, alpha, tail)
        loss_T.sum().backward()
        assert torch.equal(loss_T, torch.zeros_like(loss_T))
        assert student_TV.grad is not None
        assert not student_TV.grad.any(), student_TV.grad.abs().max()


@settings(max_examples=150, deadline=None)
@given(
    vocabulary=st.integers(3, 60),
    topk=st.integers(1, 60),
    scale=st.floats(0.05, 12.0),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["reverse_kl", "forward_kl", "jsd"]),
)
def test_merging_the_rest_into_one_bucket_cannot_raise_the_divergence(
    vocabulary, topk, scale, seed, kind
) -> None:
    student_TV, teacher_TV = logits(3, vocabulary, seed, scale), logits(3, vocabulary, seed + 1, scale)
    everything_TV = support(student_TV, None)
    full_T = ours(student_TV, teacher_TV, everything_TV, kind, 0.5, tail=False)
    merged_T = ours(student_TV, teacher_TV, support(student_TV, topk), kind, 0.5, tail=True)
    slack = 1e-5  # the tail's floor of 1e-7 times a log-ratio of up to 100
    assert (merged_T >= -1e-12).all()
    assert (merged_T <= full_T + slack).all()
    if topk >= vocabulary - 1:  # nothing, or one token, was merged
        # Equal, but where one side's token is so rare that its bucket is at its lower bound.
        last_T1 = student_TV.argmin(-1, keepdim=True)
        masses = [
            torch.softmax(z.double(), dim=-1).gather(-1, last_T1)[:, 0] for z in (student_TV, teacher_TV)
        ]
        plain_T = (torch.minimum(*masses) > 2e-7) | torch.tensor(topk >= vocabulary)
        torch.testing.assert_close(merged_T[plain_T], full_T[plain_T], rtol=1e-5, atol=slack)


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd"])
def test_tail_is_clamped_where_the_support_holds_all_mass(kind) -> None:
    """p_topk -> 1: the tail stays at 1e-7, finite, and passes no gradient; the closed form knows."""
    student_TV = logits(4, 50, seed=6)
    student_TV[:, :3] += 60.0
    student_TV.requires_grad_()
    teacher_TV = logits(4, 50, seed=7)
    ids_TK = support(student_TV, 3)
    assert (logprobs_at(student_TV, ids_TK).logsumexp(-1) > MAX_LOG_SUPPORT).all()
    tail_T = with_tail(logprobs_at(student_TV, ids_TK))[:, -1]
    torch.testing.assert_close(tail_T.exp(), torch.full((4,), 1e-7, dtype=torch.float64), rtol=1e-6, atol=0)
    loss_T = ours(student_TV, teacher_TV, ids_TK, kind, 0.5, tail=True)
    (gradient_TV,) = torch.autograd.grad(loss_T.sum(), student_TV)
    assert torch.isfinite(gradient_TV).all()
    closed_TV = closed_form_gradient(student_TV, teacher_TV, ids_TK, kind=kind)  # type: ignore[arg-type]
    torch.testing.assert_close(gradient_TV, closed_TV, rtol=1e-9, atol=1e-15)
    off_support = torch.ones_like(gradient_TV).scatter(-1, ids_TK, 0.0).bool()
    assert gradient_TV[off_support].abs().max() < 1e-20
    if kind == "forward_kl":
        return  # the teacher's tail has mass here, so that forward KL does pull on the clamped tail
    # Else the clamp costs no more than its own size: fp64 without it gives the same gradient.
    plain_T = textbook(student_TV, teacher_TV, ids_TK, kind, 0.5, tail=True)
    (plain_TV,) = torch.autograd.grad(plain_T.sum(), student_TV)
    torch.testing.assert_close(gradient_TV, plain_TV, rtol=0, atol=5e-6)


def test_jsd_ends_are_the_divergences_not_the_limits() -> None:
    student_TV, teacher_TV = logits(5, 64, seed=8), logits(5, 64, seed=9)
    ids_TK = support(student_TV, 10)
    at = lambda kind, alpha: ours(student_TV, teacher_TV, ids_TK, kind, alpha, tail=True)  # noqa: E731
    assert torch.equal(at("jsd", 1.0), at("reverse_kl", 0.5))
    assert torch.equal(at("jsd", 0.0), at("forward_kl", 0.5))
    assert at("jsd", 1e-6).max() < 1e-3 < at("jsd", 0.0).min()


@settings(max_examples=80, deadline=None)
@given(
    vocabulary=st.integers(1, 80),
    topk=st.integers(1, 90),
    levels=st.integers(1, 12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 10_000),
)
def test_support_is_the_head_of_a_stable_sort(vocabulary, topk, levels, dtype, seed) -> None:
    """Few distinct values, so that ties at the k-th place are the rule."""
    generator = torch.Generator().manual_seed(seed)
    student_TV = torch.randint(levels, (6, vocabulary), generator=generator).to(dtype)
    expected = student_TV.sort(dim=-1, descending=True, stable=True).indices[:, :topk]
    found = support(student_TV, topk)
    if topk >= vocabulary:
        expected, found = expected.sort(-1).values, found.sort(-1).values
    assert torch.equal(found, expected)


def test_support_of_the_whole_vocabulary_and_of_nothing() -> None:
    student_TV = logits(3, 11, seed=1).requires_grad_()
    assert torch.equal(support(student_TV, None), torch.arange(11).expand(3, 11))
    assert support(student_TV[:0], 4).shape == (0, 4)
    assert not support(student_TV, 4).requires_grad


def test_logprobs_are_normalised_over_the_vocabulary_in_fp32() -> None:
    student_TV = (logits(6, 1000, seed=11) + 25.0).bfloat16()
    ids_TK = support(student_TV, 20)
    found = logprobs_at(student_TV, ids_TK)
    exact = student_TV.double().log_softmax(-1).gather(-1, ids_TK)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)
    assert (found.exp().sum(-1) < 1).all()
    assert logprobs_at(student_TV.double(), ids_TK).dtype == torch.float64


def test_bf16_logits_train_with_a_bf16_gradient_close_to_fp64() -> None:
    student_TV = logits(6, 300, seed=12).bfloat16().requires_grad_()
    teacher_TV = logits(6, 300, seed=13).bfloat16()
    ids_TK = support(student_TV, 20)
    ours(student_TV, teacher_TV, ids_TK, "reverse_kl", 0.5, tail=True).sum().backward()
    closed_TV = closed_form_gradient(student_TV.double(), teacher_TV.double(), ids_TK)
    assert student_TV.grad is not None
    assert student_TV.grad.dtype == torch.bfloat16
    torch.testing.assert_close(student_TV.grad.double(), closed_TV, rtol=2**-7, atol=1e-6)


def test_masked_vocabulary_and_broken_rows() -> None:
    """-inf logits on both sides are no nan, also where the support must take some; a nan stays in its row."""
    student_TV, teacher_TV = logits(3, 30, seed=14), logits(3, 30, seed=15)
    student_TV[:, 4:], teacher_TV[:, 4:] = -math.inf, -math.inf
    student_TV[1, 0] = math.nan
    student_TV.requires_grad_()
    for topk, tail in ((8, True), (8, False), (None, False)):
        loss_T = ours(student_TV, teacher_TV, support(student_TV, topk), "reverse_kl", 0.5, tail)
        assert torch.isfinite(loss_T[[0, 2]]).all()
        assert torch.isnan(loss_T[1])
        (gradient_TV,) = torch.autograd.grad(loss_T[[0, 2]].sum(), student_TV)
        assert torch.isfinite(gradient_TV[[0, 2]]).all()


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd"])
def test_one_token_without_tail(kind) -> None:
    with pytest.raises(BadInput, match=r"loss\.topk = 1 with loss\.tail = false"):
        ours(logits(2, 9, 1), logits(2, 9, 2), torch.zeros(2, 1, dtype=torch.long), kind, 0.5, tail=False)
    assert ours(logits(2, 9, 1), logits(2, 9, 2), support(logits(2, 9, 1), 1), kind, 0.5, tail=True).min() > 0


def test_no_gradient_reaches_the_teacher() -> None:
    student_TV, teacher_TV = logits(2, 9, 1).requires_grad_(), logits(2, 9, 2).requires_grad_()
    out = opsd_loss(student_TV, teacher_TV, torch.tensor([0, 1]), torch.ones(2), torch.zeros(2))
    out.loss.backward()
    assert student_TV.grad is not None
    assert teacher_TV.grad is None


def test_sampled_token_gradient_is_reverse_kl_in_expectation() -> None:
    """Summed over the vocabulary with weights p_v, its gradient is the full reverse KL's."""
    student_TV, teacher_TV = logits(1, 13, seed=16).requires_grad_(), logits(1, 13, seed=17)
    p_V, q_V = student_TV.log_softmax(-1)[0], teacher_TV.log_softmax(-1)[0]
    expectation = (p_V.exp().detach() * sampled_token_loss(p_V, q_V)).sum()
    (sampled_TV,) = torch.autograd.grad(expectation, student_TV)
    closed_TV = closed_form_gradient(student_TV, teacher_TV, support(student_TV, None), tail=False)
    torch.testing.assert_close(sampled_TV, closed_TV, rtol=1e-10, atol=1e-13)


def test_importance_weights_are_bounded_above_only_and_detached() -> None:
    now = torch.tensor([0.0, -1.0, -2.0, -30.0, -0.1], requires_grad=True)
    old = torch.tensor([-0.5, -5.0, -0.5, -1.0, -90.0])
    rollout = torch.tensor([-0.6, -5.0, -3.0, -1.0, 0.0])
    weight = importance_weights(now, old, rollout, is_clip=2.0, rollout_is_clip=2.0)
    expected = [
        math.exp(0.5) * math.exp(0.1),
        2.0 * 1.0,  # e^4 cut to 2
        math.exp(-1.5) * 2.0,  # e^2.5 cut to 2
        math.exp(-20.0),  # e^-29 stopped at e^-20
        2.0 * math.exp(-20.0),
    ]
    torch.testing.assert_close(weight, torch.tensor(expected))
    assert not weight.requires_grad
    on_policy = importance_weights(now, None, rollout, is_clip=2.0, rollout_is_clip=3.0)
    torch.testing.assert_close(on_policy, (now.detach() - rollout).clamp(-20, 20).exp().clamp(max=3.0))
    none = importance_weights(now, old, None, is_clip=None, rollout_is_clip=2.0)
    assert torch.equal(none, torch.ones(5))


def ragged_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Five rows of 1 to 7 tokens; row 2 has no context, row 3 trains on part of its tokens."""
    lengths = [4, 1, 6, 7, 2]
    row_T = torch.repeat_interleave(torch.arange(5), torch.tensor(lengths))
    mask_T = row_T != 2
    mask_T[11:14] = False
    loss_T = torch.rand(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return loss_T, mask_T, row_T


def test_aggregation_on_ragged_rows_by_hand() -> None:
    loss_T, mask_T, row_T = ragged_batch()
    loss_T[4 + 1] = math.nan  # of the masked row: must not leak
    token_mean = opsd.aggregate(loss_T, mask_T, row_T, mode="token_mean", num_tokens=11, num_rows=5)
    kept = [i for i in range(20) if mask_T[i]]
    assert len(kept) == 11
    assert token_mean.item() == pytest.approx(sum(loss_T[i].item() for i in kept) / 11)
    sdpo = opsd.aggregate(loss_T, mask_T, row_T, mode="sdpo", num_tokens=11, num_rows=5)
    rows = [[loss_T[i].item() for i in kept if row_T[i] == row] for row in range(5)]
    by_hand = sum(sum(row) / len(row) for row in rows if row) / 5  # the masked row counts in the five
    assert sdpo.item() == pytest.approx(by_hand)


@pytest.mark.parametrize("mode", ["token_mean", "sdpo"])
@pytest.mark.parametrize("micro_batches", [[[0, 1, 2, 3, 4]], [[0], [1], [2], [3], [4]], [[3, 0], [4, 2, 1]]])
def test_loss_does_not_depend_on_the_micro_batches(mode, micro_batches) -> None:
    loss_T, mask_T, row_T = ragged_batch()
    whole = opsd.aggregate(loss_T, mask_T, row_T, mode=mode, num_tokens=11, num_rows=5)
    shares = []
    for rows in micro_batches:
        where = torch.cat([(row_T == row).nonzero().flatten() for row in rows])
        shares.append(
            opsd.aggregate(
                loss_T[where], mask_T[where], row_T[where] + 100, mode=mode, num_tokens=11, num_rows=5
            )
        )
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=1e-12, atol=0)


def test_a_mini_batch_without_any_trained_token_is_zero_and_still_backpropagates() -> None:
    student_TV = logits(3, 9, 1).requires_grad_()
    for aggregate in ("token_mean", "sdpo"):
        config = LossConfig(aggregate=aggregate, topk=4)
        out = opsd_loss(
            student_TV,
            logits(3, 9, 2),
            torch.tensor([0, 1, 2]),
            torch.zeros(3),
            torch.zeros(3),
            config=config,
        )
        out.loss.backward()
        assert out.loss.item() == 0.0
        assert not student_TV.grad.any()


@pytest.mark.parametrize("kind", ["reverse_kl", "forward_kl", "jsd", "sampled_token"])
@pytest.mark.parametrize("topk", [5, None])
def test_opsd_loss_is_its_parts_and_micro_batch_invariant(kind, topk) -> None:
    loss_T, mask_T, row_T = ragged_batch()
    tokens = loss_T.numel()
    teacher_TV, ids_T = logits(tokens, 31, seed=21), torch.arange(tokens) % 31
    rollout_T = logits(tokens, 31, seed=22).log_softmax(-1)[range(tokens), ids_T]
    config = LossConfig(kind=kind, topk=topk)
    student_TV = logits(tokens, 31, seed=20).requires_grad_()
    whole = opsd_loss(student_TV, teacher_TV, ids_T, mask_T, row_T, rollout_T, config=config, temperature=0.7)
    (gradient_TV,) = torch.autograd.grad(whole.loss, student_TV)
    by_parts = torch.zeros_like(gradient_TV)
    total = 0.0
    for row in range(5):
        at = row_T == row
        part = opsd_loss(
            student_TV[at],
            teacher_TV[at],
            ids_T[at],
            mask_T[at],
            row_T[at],
            rollout_T[at],
            config=config,
            num_tokens=11,
            num_rows=5,
            temperature=0.7,
        )
        by_parts += torch.autograd.grad(part.loss, student_TV)[0]
        total += part.loss.item()
    torch.testing.assert_close(gradient_TV, by_parts, rtol=1e-10, atol=1e-15)
    assert whole.loss.item() == pytest.approx(total, rel=1e-12)
    expected = (student_TV.detach() / 0.7).log_softmax(-1)[range(tokens), ids_T]
    torch.testing.assert_close(whole.student_logprob_T, expected)
    assert not gradient_TV[~mask_T].any()
    assert (whole.topk_mass_T <= 1 + 1e-12).all()
    if kind == "reverse_kl":  # over the tokens that the student finds likeliest, whatever the teacher does
        ids_TK = student_TV.detach().argsort(dim=-1, descending=True)[:, :topk]
        kl_T = textbook(student_TV / 0.7, teacher_TV / 0.7, ids_TK, kind, 0.5, tail=topk is not None)
        torch.testing.assert_close(whole.kl_T, kl_T.detach())
        torch.testing.assert_close(whole.loss, (kl_T * whole.weight_T)[mask_T].mean())


def test_following_the_gradient_lowers_the_divergence() -> None:
    """Plain descent from random logits to a random teacher: the reverse KL on the support falls by half."""
    student_TV = logits(8, 60, seed=30).float().requires_grad_()
    teacher_TV = logits(8, 60, seed=31).float()
    first = None
    for _ in range(100):
        out = opsd_loss(
            student_TV, teacher_TV, torch.zeros(8, dtype=torch.long), torch.ones(8), torch.arange(8)
        )
        first = first or out.kl_T.mean().item()
        (gradient_TV,) = torch.autograd.grad(out.loss, student_TV)
        student_TV = (student_TV - 10.0 * gradient_TV).detach().requires_grad_()
    assert out.kl_T.mean().item() < 0.5 * first


def test_unknown_words_are_refused() -> None:
    with pytest.raises(BadInput, match="kind"):
        ours(logits(1, 4, 1), logits(1, 4, 2), torch.tensor([[0, 1]]), "sampled_token", 0.5, tail=True)
    with pytest.raises(BadInput, match="aggregate"):
        opsd.aggregate(torch.ones(1), torch.ones(1), torch.zeros(1), mode="mean", num_tokens=1, num_rows=1)  # type: ignore[arg-type]
