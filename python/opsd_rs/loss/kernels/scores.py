"""Log-probs of a few ids per token, from hidden states: for scoring, and for losses of one's own.

``linear_lse_topk`` chooses the ids, ``linear_lse_gather`` takes them; both score without gradient, in O(T K) memory and
a budget. ``linear_topk_logp`` is differentiable: it keeps two numbers per token and computes the products again in its
backward pass, a fifth more work than the loss that knows its gradient at once (``topk_kl``).
"""

# Shapes: T tokens, D hidden size, V vocabulary, K ids, J = K and the label where there is one.

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from opsd_rs.errors import BadInput
from opsd_rs.loss.divergences import MIN_LOGPROB, with_tail
from opsd_rs.loss.kernels.backends import Backend, RowOps, choose
from opsd_rs.loss.kernels.blocks import (
    Plan,
    Precision,
    buffer,
    check_ids,
    check_inputs,
    default_budget,
    product_dtype,
    products,
    settled,
    slices,
)
from opsd_rs.loss.kernels.heads import OutputHead
from opsd_rs.loss.kernels.pipeline import add_outer
from opsd_rs.loss.kernels.rows import RowGradient, RowScores


class TopkLogprobs(NamedTuple):
    """Log-probs in nats over the whole vocabulary, fp32 or better, at least ``MIN_LOGPROB``.

    >>> TopkLogprobs(torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2), torch.zeros(1), None).label_logprobs_T
    """

    ids_TK: Tensor
    logprobs_TK: Tensor
    log_tail_T: Tensor
    """Of all ids but these; at least log 1e-7, as in the loss."""
    label_logprobs_T: Tensor | None


class _Options(NamedTuple):
    topk: int | None
    ids_TK: Tensor | None
    labels_T: Tensor | None
    temperature: float
    precision: Precision
    backend: Backend
    budget: int | None


def linear_lse_topk(
    hidden_TD: Tensor,
    head: OutputHead,
    topk: int | None,
    *,
    labels_T: Tensor | None = None,
    temperature: float = 1.0,
    precision: Precision = "refined",
    backend: Backend = "auto",
    budget_bytes: int | None = None,
) -> TopkLogprobs:
    """The ``topk`` most probable ids of each token, largest first (``support``), and their log-probs; no gradient.

    >>> out = linear_lse_topk(torch.tensor([[3.0, 1.0, 3.0]]), OutputHead(torch.eye(3)), 2)
    >>> out.ids_TK.tolist(), round(out.logprobs_TK[0, 0].item(), 3)
    ([[0, 2]], -0.759)
    """
    return _scored(
        hidden_TD, head, _Options(topk, None, labels_T, temperature, precision, backend, budget_bytes)
    )


def linear_lse_gather(
    hidden_TD: Tensor,
    head: OutputHead,
    ids_TK: Tensor,
    *,
    labels_T: Tensor | None = None,
    temperature: float = 1.0,
    precision: Precision = "refined",
    backend: Backend = "auto",
    budget_bytes: int | None = None,
) -> TopkLogprobs:
    """Log-probs at given ids, which are distinct within a token; no gradient.

    :raises BadInput: an id twice in a row, or outside of the vocabulary

    >>> out = linear_lse_gather(torch.zeros(1, 3), OutputHead(torch.eye(3)), torch.tensor([[2]]))
    >>> [round(x, 3) for x in (out.logprobs_TK.item(), out.log_tail_T.item())]
    [-1.099, -0.405]
    """
    return _scored(
        hidden_TD, head, _Options(None, ids_TK, labels_T, temperature, precision, backend, budget_bytes)
    )


def linear_topk_logp(
    hidden_TD: Tensor,
    head: OutputHead,
    topk: int | None = None,
    ids_TK: Tensor | None = None,
    *,
    labels_T: Tensor | None = None,
    temperature: float = 1.0,
    precision: Precision = "refined",
    backend: Backend = "auto",
    budget_bytes: int | None = None,
) -> TopkLogprobs:
    """The same at ``topk`` chosen ids, or at ``ids_TK``, with gradients to hidden states, matrix and bias.

    For any loss of the log-probs, the tail and the label's log-prob. dz_v = g_v - p_v sum_j g_j.

    :raises BadInput: both or none of ``topk`` and ``ids_TK``, ids twice in a row or outside of the vocabulary

    >>> hidden = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True)
    >>> out = linear_topk_logp(hidden, OutputHead(torch.eye(3)), topk=1)
    >>> (-out.logprobs_TK.sum()).backward(); [round(x, 3) for x in hidden.grad[0].tolist()]
    [-0.424, 0.212, 0.212]
    """
    if (topk is None) == (ids_TK is None):
        raise BadInput("linear_topk_logp: give topk or ids_TK, one of the two")
    options = _Options(topk, ids_TK, labels_T, temperature, precision, backend, budget_bytes)
    _check(hidden_TD, head, options)
    ids_TJ, logprobs_TJ = _TopkLogp.apply(  # type: ignore[no-untyped-call]
        hidden_TD, head.weight_VD, head.bias_V, head, options
    )
    return _with_tail(ids_TJ, logprobs_TJ, labels_T is not None)


def _with_tail(ids_TJ: Tensor, logprobs_TJ: Tensor, labelled: bool) -> TopkLogprobs:
    logprobs_TJ = logprobs_TJ.clamp(min=MIN_LOGPROB)
    if labelled:
        ids_TJ, label_T, logprobs_TJ = ids_TJ[:, :-1], logprobs_TJ[:, -1], logprobs_TJ[:, :-1]
    return TopkLogprobs(ids_TJ, logprobs_TJ, with_tail(logprobs_TJ)[:, -1], label_T if labelled else None)


def _check(hidden_TD: Tensor, head: OutputHead, options: _Options) -> None:
    check_inputs("hidden states", hidden_TD, head, options.precision)
    if not options.temperature > 0:
        raise BadInput(f"temperature = {options.temperature}: give a number above 0")
    if options.topk is not None and options.topk < 1:
        raise BadInput(f"topk = {options.topk}: give at least 1, or None for the whole vocabulary")
    for name, ids in (("ids_TK", options.ids_TK), ("labels_T", options.labels_T)):
        if ids is None:
            continue
        if ids.shape[0] != hidden_TD.shape[0] or ids.dim() != (2 if name == "ids_TK" else 1):
            raise BadInput(f"{name} has shape {tuple(ids.shape)} for {hidden_TD.shape[0]} tokens")
        check_ids(name, ids, head.vocabulary)
    if options.ids_TK is not None:
        sorted_TK = options.ids_TK.sort(-1).values
        if options.ids_TK.shape[1] == 0 or bool((sorted_TK[:, 1:] == sorted_TK[:, :-1]).any()):
            raise BadInput("ids_TK: give at least one id for each token, none of them twice")


def _plan(
    hidden_TD: Tensor, head: OutputHead, num_ids: int, options: _Options
) -> tuple[torch.dtype, RowOps, Plan]:
    """Type of the products, operations on them, and how many at a time."""
    whole = num_ids == head.vocabulary
    precision: Precision = "float32" if whole and options.precision == "refined" else options.precision
    stored = product_dtype(hidden_TD.dtype, precision)
    width = num_ids + (options.labels_T is not None)
    ops = choose(options.backend, hidden_TD.device, stored, num_ids=width, whole=whole)
    budget = default_budget(hidden_TD.device) if options.budget is None else options.budget
    kept = hidden_TD.dtype.itemsize
    plan = Plan.of(hidden_TD.shape[0], head.vocabulary, budget=budget, kept=kept, scratch=ops.scratch)
    return stored, ops, plan


@torch.no_grad()
def _scored(hidden_TD: Tensor, head: OutputHead, options: _Options) -> TopkLogprobs:
    _check(hidden_TD, head, options)
    with settled(hidden_TD.device):
        ids_TJ, logprobs_TJ, _, _ = _score(hidden_TD, head, options)
    return _with_tail(ids_TJ, logprobs_TJ, options.labels_T is not None)


def _score(hidden_TD: Tensor, head: OutputHead, options: _Options) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(ids_TJ, logprobs_TJ, max_T1, log_sum_T1); the label's column last."""
    num_tokens, device = hidden_TD.shape[0], hidden_TD.device
    matrix_VD, logit_map = head.matrix(), head.logit_map(options.temperature)
    vocabulary, labels_T = head.vocabulary, options.labels_T
    if options.ids_TK is not None:
        num_ids = options.ids_TK.shape[1]
    else:
        num_ids = vocabulary if options.topk is None else min(options.topk, vocabulary)
    stored, ops, plan = _plan(hidden_TD, head, num_ids, options)
    refine = options.precision == "refined" and stored == torch.bfloat16
    wide = torch.promote_types(hidden_TD.dtype, torch.float32)
    width = num_ids + (labels_T is not None)
    ids_TJ = torch.empty(num_tokens, width, dtype=torch.int64, device=device)
    logprobs_TJ = torch.empty(num_tokens, width, dtype=wide, device=device)
    max_T1, log_sum_T1 = (torch.empty(num_tokens, 1, dtype=wide, device=device) for _ in range(2))
    if options.ids_TK is not None:
        ids_TJ[:, :num_ids] = options.ids_TK
    if labels_T is not None:
        ids_TJ[:, -1] = labels_T
    product_RV = buffer(min(plan.block, num_tokens), vocabulary, stored, device)
    for block in slices(0, num_tokens, plan.block):
        hidden_RD = hidden_TD[block]
        product = products(hidden_RD, matrix_VD, product_RV[: hidden_RD.shape[0]])
        block_rows = ops.rows(product, logit_map)
        if options.ids_TK is None:
            block_rows.select(num_ids, ids_TJ[block])
        dots = ops.selected_products(hidden_RD, matrix_VD, ids_TJ[block]) if refine else None
        scores = block_rows.scores(ids_TJ[block], labels_T is not None, dots)
        logprobs_TJ[block], max_T1[block], log_sum_T1[block] = (
            scores.logprobs_RJ, scores.max_R1, scores.log_sum_R1,
        )  # fmt: skip
    return ids_TJ, logprobs_TJ, max_T1, log_sum_T1


class _TopkLogp(torch.autograd.Function):
    """Log-probs at chosen ids; the products are computed again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        head: OutputHead,
        options: _Options,
    ) -> tuple[Tensor, Tensor]:
        with settled(hidden_TD.device):
            ids_TJ, logprobs_TJ, max_T1, log_sum_T1 = _score(hidden_TD, head, options)
        ctx.options, ctx.head = options, (head.scale, head.softcap, head.valid_vocab)
        ctx.save_for_backward(hidden_TD, weight_VD, bias_V, ids_TJ, logprobs_TJ, max_T1, log_sum_T1)
        ctx.mark_non_differentiable(ids_TJ)
        return ids_TJ, logprobs_TJ

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Any, upstream_TJ: Tensor) -> tuple[Tensor | None, ...]:
        with settled(upstream_TJ.device):
            return _TopkLogp.gradients(ctx, upstream_TJ)

    @staticmethod
    def gradients(ctx: Any, upstream_TJ: Tensor) -> tuple[Tensor | None, ...]:
        """The products again, by blocks, and what follows from them."""
        hidden_TD, weight_VD, bias_V, ids_TJ, logprobs_TJ, max_T1, log_sum_T1 = ctx.saved_tensors
        options: _Options = ctx.options
        head = OutputHead(weight_VD, bias_V, *ctx.head)
        matrix_VD, logit_map, vocabulary = head.matrix(), head.logit_map(options.temperature), head.vocabulary
        num_tokens, wide = hidden_TD.shape[0], logprobs_TJ.dtype
        labelled = options.labels_T is not None
        stored, ops, plan = _plan(hidden_TD, head, ids_TJ.shape[1] - labelled, options)
        needs = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden_TD) if needs[0] else None
        d_weight = torch.zeros_like(weight_VD, dtype=wide) if needs[1] else None
        d_bias = torch.zeros_like(bias_V, dtype=wide) if needs[2] else None
        product_RV = buffer(min(plan.block, num_tokens), vocabulary, stored, hidden_TD.device)
        gradient_CV = buffer(min(plan.chunk, num_tokens), vocabulary, hidden_TD.dtype, hidden_TD.device)
        for chunk in slices(0, num_tokens, plan.chunk):
            for block in slices(chunk.start, chunk.stop, plan.block):
                part = slice(block.start - chunk.start, block.stop - chunk.start)
                product = products(hidden_TD[block], matrix_VD, product_RV[: block.stop - block.start])
                block_rows, ids_RJ = ops.rows(product, logit_map), ids_TJ[block]
                slope = block_rows.slope(ids_RJ)
                scores = RowScores(logprobs_TJ[block], max_T1[block], log_sum_T1[block], slope)
                twice = ids_RJ if labelled else None
                gradient = RowGradient.of(scores, upstream_TJ[block], labelled_RJ=twice)
                block_rows.write_gradient(scores, ids_RJ, gradient, gradient_CV[part])
            dz_CV = gradient_CV[: chunk.stop - chunk.start]
            if d_hidden is not None:
                torch.mm(dz_CV, matrix_VD, out=d_hidden[chunk])
            if d_weight is not None:
                add_outer(d_weight[:vocabulary], dz_CV, hidden_TD[chunk], first=chunk.start == 0)
            if d_bias is not None:
                d_bias[:vocabulary] += dz_CV.sum(0, dtype=wide)
        return d_hidden, _cast(d_weight, weight_VD), _cast(d_bias, bias_V), None, None


def _cast(gradient: Tensor | None, like: Tensor | None) -> Tensor | None:
    return None if gradient is None or like is None else gradient.to(like.dtype)
