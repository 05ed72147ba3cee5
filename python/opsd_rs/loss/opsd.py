"""The OPSD loss: divergences weighed and summed to one number to call ``backward()`` on.

In: two rows of logits for each completion token, the student's under its own prompt and the teacher's under
its privileged context. Everything is per token: no gradient flows through sampling, the teacher, the choice of
support, the importance weights or the masks.

Sources: arXiv 2605.30070 and SDPO's conventions for weights and aggregation.

What it does not do: run a model, or add entropy, reward or reference terms.
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
from opsd_rs.loss.divergences import divergence, logprobs_at, support

Aggregate = Literal["token_mean", "sdpo"]
MAX_LOG_RATIO = 20.0
"""Log-ratios are clamped to +-20 before exp, as in SDPO and verl."""


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
        weight_T = weight_T * log_ratio(now_T, old_T).exp().clamp(max=is_clip)
    if rollout_is_clip is not None and rollout_logprob_T is not None:
        weight_T = weight_T * log_ratio(old_T, rollout_logprob_T.detach()).exp().clamp(max=rollout_is_clip)
    return weight_T


def compared_with(
    config: LossConfig, old_logprobs_T: Tensor | None, rollout_logprobs_T: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """(old, rollout) log-probs as ``importance_weights`` takes them: ``loss.old = "sampler"`` makes the sampler's the
    old ones, and no second ratio is left."""
    return (rollout_logprobs_T, None) if config.old == "sampler" else (old_logprobs_T, rollout_logprobs_T)


def log_ratio(log_above_T: Tensor, log_below_T: Tensor) -> Tensor:
    """Log of a ratio of probabilities, within ``MAX_LOG_RATIO``."""
    return (log_above_T - log_below_T).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


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
    old_logprobs_T, rollout_logprobs_T = compared_with(config, old_logprobs_T, rollout_logprobs_T)
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
