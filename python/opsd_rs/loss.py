"""The divergence between student and self-teacher, token by token, written as on paper.

In: two rows of logits for each completion token, the student's under its own prompt and the teacher's under
its privileged context. Out: one number to call ``backward()`` on. Everything is per token: no gradient flows
through sampling, the teacher, the choice of support, the importance weights or the masks.

    L_t = sum_b P_b (log P_b - log Q_b),  b over the student's top-k tokens and one tail bucket   (reverse KL)

Sources: arXiv 2605.30070 (top-20, reverse KL) and SDPO's conventions for tail, endpoints and weights. This is
the plain twin of any faster kernel; ``closed_form_gradient`` is the plain twin of its backward.

What it does not do: run a model, divide by a temperature (logits are taken as they are, except in
``opsd_loss``), or add entropy, reward or reference terms.
"""

# Shapes: T completion tokens of a micro-batch, rows laid end to end; V vocabulary; K support;
# B = K + 1 buckets with a tail, K without. P and p are the student's, Q and q the teacher's.

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from opsd_rs.config import LossConfig
from opsd_rs.errors import BadInput

Kind = Literal["reverse_kl", "forward_kl", "jsd", "sampled_token"]
Aggregate = Literal["token_mean", "sdpo"]

MAX_LOG_SUPPORT = -1e-7
"""Upper bound of the support's log-mass: the tail keeps at least 1e-7, and no gradient there (SDPO)."""
MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-20 before exp, as in SDPO and verl."""
MIN_LOGPROB = -1e4
"""Floor of a log-probability: ids masked with -inf on both sides agree, where -inf - -inf would be nan."""


def support(student_logits_TV: Tensor, topk: int | None) -> Tensor:
    """The student's ``topk`` largest logits as ids (T, K), largest first; ties go to the lower id.

    Equal to the head of a stable descending sort, at the price of a selection. ``None``, or more than V: the
    whole vocabulary, in order. Carries no gradient: ids are constants of the loss.
    """
    # The student's support, not the teacher's: reverse KL weighs each token by the student's probability.
    logits_TV = student_logits_TV.detach()
    num_tokens, vocabulary = logits_TV.shape
    every_V = torch.arange(vocabulary, device=logits_TV.device)
    if topk is None or topk >= vocabulary:
        return every_V.expand(num_tokens, vocabulary)
    values_TK1, ids_TK1 = logits_TV.topk(topk + 1, dim=-1)
    values_TK, ids_TK = values_TK1[:, :-1], ids_TK1[:, :-1].contiguous()
    # bf16 logits tie often at the k-th place, and which of the tied ones topk keeps is not specified.
    last_T1 = values_TK[:, -1:]
    tied_T = values_TK1[:, -1] == values_TK1[:, -2]
    if bool(tied_T.any()):
        ties = torch.where(logits_TV[tied_T] == last_T1[tied_T], every_V, vocabulary)
        lowest_ids = ties.topk(topk, dim=-1, largest=False, sorted=True).values
        num_above = (values_TK[tied_T] > last_T1[tied_T]).sum(-1, keepdim=True)
        place = torch.arange(topk, device=logits_TV.device)
        filled = lowest_ids.gather(-1, (place - num_above).clamp(min=0))
        ids_TK[tied_T] = torch.where(place < num_above, ids_TK[tied_T], filled)
    ids_TK = ids_TK.sort(dim=-1).values
    order_TK = logits_TV.gather(-1, ids_TK).sort(dim=-1, descending=True, stable=True).indices
    return ids_TK.gather(-1, order_TK)


def logprobs_at(logits_TV: Tensor, ids_TK: Tensor) -> Tensor:
    """True log-probabilities (T, K) of ``ids_TK``, normalised over the whole vocabulary in fp32 or better."""
    dtype = torch.promote_types(logits_TV.dtype, torch.float32)
    # log_softmax subtracts the row's maximum before the log of the sum; logits - logsumexp(logits) would lose
    # two decimal digits in fp32 at logits of 25.
    logprobs_TV = torch.log_softmax(logits_TV, dim=-1, dtype=dtype)
    return logprobs_TV.gather(-1, ids_TK).clamp(min=MIN_LOGPROB)


def with_tail(logprobs_TK: Tensor) -> Tensor:
    """The support and one bucket for all the rest (T, K + 1): a distribution again."""
    log_support_T1 = torch.logsumexp(logprobs_TK, dim=-1, keepdim=True).clamp(max=MAX_LOG_SUPPORT)
    return torch.cat([logprobs_TK, torch.log(-torch.expm1(log_support_T1))], dim=-1)


def renormalised(logprobs_TK: Tensor) -> Tensor:
    """The support alone, scaled to a distribution (T, K)."""
    return logprobs_TK - torch.logsumexp(logprobs_TK, dim=-1, keepdim=True)


def divergence(
    student_logprobs_TK: Tensor,
    teacher_logprobs_TK: Tensor,
    *,
    kind: Kind = "reverse_kl",
    jsd_alpha: float = 0.5,
    tail: bool = True,
) -> Tensor:
    """Divergence of student and teacher over the support, per token (T,), in nats.

    ``tail``: both sides get the tail bucket, and the value is a lower bound of the whole vocabulary's; else
    both are renormalised on the support. ``jsd``: mixture M = (1-a) P + a Q, value (1-a) KL(P|M) + a KL(Q|M);
    as in SDPO a = 0 means forward and a = 1 reverse KL (the limits of the formula are 0 there).
    Equal inputs give exactly 0 and exactly no gradient. Raises BadInput where the loss would always be 0.
    """
    if not tail and student_logprobs_TK.shape[-1] == 1:
        raise BadInput(
            "loss.topk = 1 with loss.tail = false: one renormalised token always has probability 1, so the "
            "loss is always 0; set loss.tail = true or a larger loss.topk"
        )
    to_distribution = with_tail if tail else renormalised
    student_TB = to_distribution(student_logprobs_TK)
    teacher_TB = to_distribution(teacher_logprobs_TK.detach())
    if kind == "reverse_kl" or (kind == "jsd" and jsd_alpha == 1.0):
        return _kl(student_TB, teacher_TB)
    if kind == "forward_kl" or (kind == "jsd" and jsd_alpha == 0.0):
        return _kl(teacher_TB, student_TB)
    if kind == "jsd":
        # M is the minimiser of the two terms, so no gradient flows through it (envelope theorem).
        mixture_TB = _log_mixture(student_TB.detach(), teacher_TB, jsd_alpha)
        return (1 - jsd_alpha) * _kl(student_TB, mixture_TB) + jsd_alpha * _kl(teacher_TB, mixture_TB)
    raise BadInput(f"loss.kind = {kind!r} is no divergence; take reverse_kl, forward_kl or jsd")


def _kl(log_p_TB: Tensor, log_q_TB: Tensor) -> Tensor:
    """KL(p|q) = sum_b p log(p/q) - p + q, per token.

    The last two sum to nothing, both being distributions. They are kept because the gradient with respect to
    log p is then p log(p/q), with no "+1" left to cancel across buckets: exactly 0 where p = q. (Adam would
    turn a rounding error into a full step.)
    """
    p_TB, q_TB = log_p_TB.exp(), log_q_TB.exp()
    return (p_TB * (log_p_TB - log_q_TB) - p_TB + q_TB).sum(-1)


def _log_mixture(log_p_TB: Tensor, log_q_TB: Tensor, alpha: float) -> Tensor:
    """log((1-a) p + a q), from the larger of the two so that it is exactly log p where p = q."""
    difference_TB = log_q_TB - log_p_TB
    from_p_TB = log_p_TB + torch.log1p(alpha * torch.expm1(difference_TB.clamp(max=0.0)))
    from_q_TB = log_q_TB + torch.log1p((1 - alpha) * torch.expm1((-difference_TB).clamp(max=0.0)))
    return torch.where(difference_TB <= 0, from_p_TB, from_q_TB)


def sampled_token_loss(student_logprob_T: Tensor, teacher_logprob_T: Tensor) -> Tensor:
    """Score-function form on the sampled token alone (T,): its gradient is an unbiased one-sample estimate of
    the reverse KL's, its value means nothing by itself."""
    return (student_logprob_T - teacher_logprob_T).detach() * student_logprob_T


def importance_weights(
    logprob_T: Tensor,
    old_logprob_T: Tensor | None,
    rollout_logprob_T: Tensor | None,
    *,
    is_clip: float | None,
    rollout_is_clip: float | None,
) -> Tensor:
    """Weights of each token's loss (T,): how much likelier the sampled token is now than when it was drawn.

    min(now / start of step, ``is_clip``) * min(start of step / sampler, ``rollout_is_clip``), detached,
    bounded above only. ``old_logprob_T`` None: this is the step's only update, so start of step is now.
    A clip of None, or no sampler log-probs: that ratio is left out.
    """
    now_T = logprob_T.detach()
    old_T = now_T if old_logprob_T is None else old_logprob_T.detach()
    weight_T = torch.ones_like(now_T)
    if is_clip is not None:
        weight_T = weight_T * _ratio(now_T, old_T).clamp(max=is_clip)
    if rollout_is_clip is not None and rollout_logprob_T is not None:
        weight_T = weight_T * _ratio(old_T, rollout_logprob_T.detach()).clamp(max=rollout_is_clip)
    return weight_T


def _ratio(log_above_T: Tensor, log_below_T: Tensor) -> Tensor:
    return (log_above_T - log_below_T).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()


def aggregate(
    loss_T: Tensor, mask_T: Tensor, row_T: Tensor, *, mode: Aggregate, num_tokens: int, num_rows: int
) -> Tensor:
    """A micro-batch's share of the mini-batch loss: the sum of all shares, over ranks too, is that loss.

    ``mask_T`` is true on trained tokens (completion tokens of rows that have a context), ``row_T`` names each
    token's row by any integer. ``token_mean`` divides by ``num_tokens``, the trained tokens of the whole
    mini-batch. ``sdpo``: mean over the mini-batch's ``num_rows`` rows, masked ones counted, of each row's
    mean over its trained tokens; a row must not be divided between micro-batches.
    """
    trained_T = mask_T.bool()
    # where, not a product: a masked token may hold inf or nan.
    loss_T = torch.where(trained_T, loss_T, torch.zeros_like(loss_T))
    if mode == "token_mean":
        return loss_T.sum() / max(1, num_tokens)
    if mode == "sdpo":
        _, row_index_T = torch.unique(row_T, return_inverse=True)
        lengths_R = torch.zeros_like(row_index_T).index_add_(0, row_index_T, trained_T.to(row_index_T.dtype))
        return (loss_T / lengths_R[row_index_T].clamp(min=1)).sum() / max(1, num_rows)
    raise BadInput(f"loss.aggregate = {mode!r} is unknown; take token_mean or sdpo")


@dataclass(frozen=True, slots=True)
class OpsdLoss:
    """What ``opsd_loss`` found; only ``loss`` carries a gradient.

    >>> OpsdLoss(*(torch.zeros(()), *([torch.zeros(1)] * 4))).kl_T
    tensor([0.])
    """

    loss: Tensor
    """Scalar, this micro-batch's share of the mini-batch loss."""
    kl_T: Tensor
    """Divergence per token before weights, nats; for ``sampled_token`` the log-ratio, an estimate of it."""
    student_logprob_T: Tensor
    """Of the sampled tokens; the ``old_logprobs_T`` of the step's later updates."""
    weight_T: Tensor
    topk_mass_T: Tensor
    """Probability the student gives to its support; for ``sampled_token`` to the sampled token."""


def opsd_loss(
    student_logits_TV: Tensor,
    teacher_logits_TV: Tensor,
    completion_ids_T: Tensor,
    mask_T: Tensor,
    row_T: Tensor,
    rollout_logprobs_T: Tensor | None = None,
    old_logprobs_T: Tensor | None = None,
    config: LossConfig | None = None,
    num_tokens: int | None = None,
    num_rows: int | None = None,
    temperature: float = 1.0,
) -> OpsdLoss:
    """The whole loss of one micro-batch, for a training loop of your own.

    Logits at place t are those that predict ``completion_ids_T[t]``. ``rollout_logprobs_T``: the sampler's
    log-probs; ``old_logprobs_T``: the trainer's at the start of the step, None when on policy.
    ``num_tokens``, ``num_rows``: of the mini-batch; left out, this micro-batch is all of it.
    ``temperature``: the rollouts'; divides both sides' logits.

    >>> logits = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    >>> out = opsd_loss(logits, -logits, torch.tensor([0]), torch.tensor([True]), torch.tensor([0]))
    >>> out.loss.backward(); bool(logits.grad[0, 0] > 0)
    True
    """
    config = config or LossConfig()
    student_TV, teacher_TV = student_logits_TV, teacher_logits_TV.detach()
    if temperature != 1.0:
        student_TV, teacher_TV = student_TV / temperature, teacher_TV / temperature
    sampled_T1 = completion_ids_T.unsqueeze(-1)
    if config.kind == "sampled_token":
        logprob_T = logprobs_at(student_TV, sampled_T1).squeeze(-1)
        teacher_logprob_T = logprobs_at(teacher_TV, sampled_T1).squeeze(-1)
        loss_T = sampled_token_loss(logprob_T, teacher_logprob_T)
        kl_T, mass_T = (logprob_T - teacher_logprob_T).detach(), logprob_T.detach().exp()
    else:
        topk_ids_TK = support(student_TV, config.topk)
        # One softmax for the support and the sampled token.
        both = logprobs_at(student_TV, torch.cat([topk_ids_TK, sampled_T1], dim=-1))
        student_logprobs_TK, logprob_T = both[:, :-1], both[:, -1]
        loss_T = divergence(
            student_logprobs_TK,
            logprobs_at(teacher_TV, topk_ids_TK),
            kind=config.kind,
            jsd_alpha=config.jsd_alpha,
            tail=config.tail and config.topk is not None,
        )
        kl_T, mass_T = loss_T.detach(), student_logprobs_TK.detach().exp().sum(-1)
    weight_T = importance_weights(
        logprob_T,
        old_logprobs_T,
        rollout_logprobs_T,
        is_clip=config.is_clip,
        rollout_is_clip=config.rollout_is_clip,
    )
    loss = aggregate(
        loss_T * weight_T,
        mask_T,
        row_T,
        mode=config.aggregate,
        num_tokens=int(mask_T.bool().sum()) if num_tokens is None else num_tokens,
        num_rows=int(torch.unique(row_T).numel()) if num_rows is None else num_rows,
    )
    return OpsdLoss(loss, kl_T, logprob_T.detach(), weight_T, mass_T)


def closed_form_gradient(
    student_logits_TV: Tensor,
    teacher_logits_TV: Tensor,
    topk_ids_TK: Tensor,
    *,
    kind: Kind = "reverse_kl",
    jsd_alpha: float = 0.5,
    tail: bool = True,
    upstream_T: Tensor | None = None,
) -> Tensor:
    """dL/dz (T, V) with respect to the student's logits, without autograd: the slow, plain twin.

    For any loss of bucket masses, with g_b = dL/dP_b:  dL/dz_v = p_v (g_b(v) - sum_b P_b g_b)  with a tail,
    the tail's g being 0 where it is clamped; renormalised, the same with P on the support and 0 off it. Up to
    a constant, which cancels: reverse g = log P - log Q, forward g = 1 - Q/P, jsd g = (1-a)(log P - log M).
    """
    if kind == "jsd" and jsd_alpha in (0.0, 1.0):
        kind = "reverse_kl" if jsd_alpha == 1.0 else "forward_kl"
    with torch.no_grad():
        student_TK = logprobs_at(student_logits_TV, topk_ids_TK)
        teacher_TK = logprobs_at(teacher_logits_TV, topk_ids_TK)
        to_distribution = with_tail if tail else renormalised
        P_TB, Q_TB = to_distribution(student_TK), to_distribution(teacher_TK)  # logs
        if kind == "reverse_kl":
            g_TB = P_TB - Q_TB
        elif kind == "forward_kl":
            g_TB = 1 - (Q_TB - P_TB).exp()
        elif kind == "jsd":
            g_TB = (1 - jsd_alpha) * (P_TB - _log_mixture(P_TB, Q_TB, jsd_alpha))
        else:
            raise BadInput(f"no closed form for loss.kind = {kind!r}")
        if tail:
            clamped_T = torch.logsumexp(student_TK, dim=-1) > MAX_LOG_SUPPORT
            g_TB[:, -1].masked_fill_(clamped_T, 0.0)
            p_TV = torch.softmax(student_logits_TV, dim=-1, dtype=g_TB.dtype)
            g_TV = g_TB[:, -1:].expand_as(p_TV).scatter(-1, topk_ids_TK, g_TB[:, :-1])
        else:
            p_TV = torch.zeros_like(student_logits_TV, dtype=g_TB.dtype).scatter(-1, topk_ids_TK, P_TB.exp())
            g_TV = torch.zeros_like(p_TV).scatter(-1, topk_ids_TK, g_TB)
        gradient_TV = p_TV * (g_TV - (P_TB.exp() * g_TB).sum(-1, keepdim=True))
        return gradient_TV if upstream_T is None else gradient_TV * upstream_T.unsqueeze(-1)
