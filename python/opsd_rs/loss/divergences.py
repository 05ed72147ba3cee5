"""The divergence between student and self-teacher, token by token, written as on paper.

    L_t = sum_b P_b (log P_b - log Q_b),  b over the student's top-k tokens and one tail bucket   (reverse KL)

Sources: arXiv 2605.30070 (top-20, reverse KL) and SDPO's conventions for tail and endpoints. This is the plain twin
of any faster kernel; ``reference.closed_form_gradient`` is the plain twin of its backward.

What it does not do: run a model, divide by a temperature, weigh or sum tokens (``opsd``).
"""

# Shapes: T completion tokens of a micro-batch, rows laid end to end; V vocabulary; K support;
# B = K + 1 buckets with a tail, K without. P and p are the student's, Q and q the teacher's.

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from opsd_rs.errors import BadInput

Kind = Literal["reverse_kl", "forward_kl", "jsd", "sampled_token"]

MAX_LOG_SUPPORT = -1e-7
"""Upper bound of the support's log-mass: the tail keeps at least 1e-7, and no gradient there (SDPO)."""
TIE_BYTES, GPU_TIE_BYTES = 32 << 20, 512 << 20
"""For the ids of rows with ties, at a time; a GPU is idle with few of them."""
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
    if topk is None or topk >= vocabulary:
        return torch.arange(vocabulary, device=logits_TV.device).expand(num_tokens, vocabulary)
    every_V = torch.arange(vocabulary, dtype=torch.int32, device=logits_TV.device)
    values_TK1, ids_TK1 = logits_TV.topk(topk + 1, dim=-1)
    values_TK, ids_TK = values_TK1[:, :-1], ids_TK1[:, :-1].contiguous()
    # bf16 logits tie often at the k-th place, and which of the tied ones topk keeps is not specified.
    last_T1 = values_TK[:, -1:]
    tied_N = (values_TK1[:, -1] == values_TK1[:, -2]).nonzero().squeeze(-1)
    place = torch.arange(topk, device=logits_TV.device)
    # All ids of some rows at a time: two fifths of a model's bf16 rows tie at the 20th place.
    tie_bytes = GPU_TIE_BYTES if logits_TV.is_cuda else TIE_BYTES
    for rows in torch.split(tied_N, max(1, tie_bytes // (4 * vocabulary))):
        ties = torch.where(logits_TV[rows] == last_T1[rows], every_V, vocabulary)
        lowest_ids = ties.topk(topk, dim=-1, largest=False, sorted=True).values.long()
        num_above = (values_TK[rows] > last_T1[rows]).sum(-1, keepdim=True)
        filled = lowest_ids.gather(-1, (place - num_above).clamp(min=0))
        ids_TK[rows] = torch.where(place < num_above, ids_TK[rows], filled)
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
        mixture_TB = log_mixture(student_TB.detach(), teacher_TB, jsd_alpha)
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


def log_mixture(log_p_TB: Tensor, log_q_TB: Tensor, alpha: float) -> Tensor:
    """log((1-a) p + a q), from the larger of the two so that it is exactly log p where p = q."""
    difference_TB = log_q_TB - log_p_TB
    from_p_TB = log_p_TB + torch.log1p(alpha * torch.expm1(difference_TB.clamp(max=0.0)))
    from_q_TB = log_q_TB + torch.log1p((1 - alpha) * torch.expm1((-difference_TB).clamp(max=0.0)))
    return torch.where(difference_TB <= 0, from_p_TB, from_q_TB)
