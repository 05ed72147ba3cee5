"""``opsd_loss`` from hidden states and output matrices: the same loss, and no (T, V) logits.

In: the last hidden states of student and teacher at the completion's places, and the two output heads. Out: the same
``OpsdLoss``; its scalar carries gradients to the student's hidden states, matrix and bias. Memory is a stated budget,
plus an fp32 sum the size of the matrix where the matrix is trained.

What it does not do: run a decoder, or share a vocabulary between processes.
"""

# Shapes: T completion tokens of a micro-batch; D, E hidden sizes of student and teacher; V vocabulary; K support.

from __future__ import annotations

import torch
from torch import Tensor

from opsd_rs.config import LossConfig
from opsd_rs.errors import BadInput
from opsd_rs.loss.divergences import Kind, divergence
from opsd_rs.loss.kernels.backends import Backend
from opsd_rs.loss.kernels.blocks import Precision, check_ids, check_inputs, default_budget
from opsd_rs.loss.kernels.heads import OutputHead
from opsd_rs.loss.kernels.pipeline import OpsdTopkKL, Task
from opsd_rs.loss.opsd import OpsdLoss, aggregate, compared_with


def topk_kl(
    hidden_TD: Tensor,
    head: OutputHead,
    teacher_hidden_TE: Tensor,
    teacher_head: OutputHead,
    completion_ids_T: Tensor,
    token_weight_T: Tensor | None = None,
    *,
    topk: int | None = 20,
    kind: Kind = "reverse_kl",
    jsd_alpha: float = 0.5,
    tail: bool = True,
    temperature: float = 1.0,
    old_logprobs_T: Tensor | None = None,
    rollout_logprobs_T: Tensor | None = None,
    is_clip: float | None = None,
    rollout_is_clip: float | None = None,
    precision: Precision = "refined",
    backend: Backend = "auto",
    budget_bytes: int | None = None,
) -> OpsdLoss:
    """sum_t w_t r_t L_t, with L_t the divergence at the student's top-k (``divergence``) and r_t the importance weight.

    ``token_weight_T`` holds w: mask, 1/N and whatever else a token's loss is multiplied by, constants; None: ones.
    A token of weight 0 is left out altogether: whatever its hidden state holds, it has no gradient, and zeros in the
    per-token outputs. Ids are the student's ``topk`` largest logits, the lowest ids among equals; None, or V and more:
    all. Without ``tail``, unless ids are all, no product is made for the teacher or the gradients. Equal student and
    teacher give exactly no loss and no gradient, but for ``sampled_token``'s value.

    A token with weight and nan in its logits has loss nan, and the matrix's gradient is nan with it.
    ``backward`` costs a multiplication: gradients are made here. Where none is wanted, none is made.

    :raises BadInput: shapes, types, ids or options that do not fit together

    >>> hidden, matrix = torch.randn(3, 8), torch.randn(50, 8)
    >>> head = OutputHead(matrix.requires_grad_())
    >>> out = topk_kl(hidden, head, hidden + 0.1, head, torch.tensor([4, 0, 9]), topk=5)
    >>> out.loss.backward(); matrix.grad.shape
    torch.Size([50, 8])
    """
    num_tokens = completion_ids_T.shape[0]
    check_inputs("student", hidden_TD, head, precision)
    check_inputs("teacher", teacher_hidden_TE, teacher_head, precision)
    if hidden_TD.dtype != teacher_hidden_TE.dtype:
        raise BadInput(f"student is {hidden_TD.dtype}, teacher {teacher_hidden_TE.dtype}; give both the same")
    if head.vocabulary != teacher_head.vocabulary:
        raise BadInput(
            f"the student has {head.vocabulary} tokens, the teacher {teacher_head.vocabulary}; give valid_vocab where"
            " one of the two matrices is padded"
        )
    for name, value_T in (
        ("hidden_TD", hidden_TD), ("teacher_hidden_TE", teacher_hidden_TE), ("token_weight_T", token_weight_T),
        ("old_logprobs_T", old_logprobs_T), ("rollout_logprobs_T", rollout_logprobs_T),
    ):  # fmt: skip
        if value_T is not None and value_T.shape[0] != num_tokens:
            raise BadInput(f"{name} has {value_T.shape[0]} tokens, completion_ids_T {num_tokens}")
    if not temperature > 0:
        raise BadInput(f"temperature = {temperature}: give a number above 0")
    if topk is not None and topk < 1:
        raise BadInput(f"topk = {topk}: give at least 1, or None for the whole vocabulary")
    if kind != "sampled_token":
        size = head.vocabulary if topk is None else min(topk, head.vocabulary)
        nothing = hidden_TD.new_empty(0, size)
        divergence(nothing, nothing, kind=kind, jsd_alpha=jsd_alpha, tail=tail)  # refuses what it cannot do
    if token_weight_T is None:
        token_weight_T = hidden_TD.new_ones(num_tokens, dtype=torch.float32)
    token_weight_T = token_weight_T.detach()
    kept_T = token_weight_T.nonzero().squeeze(-1)
    check_ids("completion_ids_T", completion_ids_T[kept_T], head.vocabulary)
    on = torch.is_grad_enabled()
    task = Task(
        head=head,
        teacher_head=teacher_head,
        teacher_hidden_TE=teacher_hidden_TE.detach(),
        ids_T=completion_ids_T.long(),
        kept_T=kept_T,
        token_weight_T=token_weight_T,
        old_logprobs_T=old_logprobs_T,
        rollout_logprobs_T=rollout_logprobs_T,
        topk=topk,
        kind=kind,
        jsd_alpha=jsd_alpha,
        tail=tail,
        temperature=temperature,
        is_clip=is_clip,
        rollout_is_clip=rollout_is_clip,
        precision=precision,
        backend=backend,
        budget=default_budget(hidden_TD.device) if budget_bytes is None else budget_bytes,
        needs=(
            on and hidden_TD.requires_grad,
            on and head.weight_VD.requires_grad,
            on and head.bias_V is not None and head.bias_V.requires_grad,
        ),
    )
    outputs = OpsdTopkKL.apply(hidden_TD, head.weight_VD, head.bias_V, task)  # type: ignore[no-untyped-call]
    loss, _, kl_T, logprob_T, weight_T, mass_T = outputs
    return OpsdLoss(loss, kl_T, logprob_T, weight_T, mass_T)


def opsd_loss_from_hidden(
    hidden_TD: Tensor,
    teacher_hidden_TE: Tensor,
    completion_ids_T: Tensor,
    mask_T: Tensor,
    row_T: Tensor,
    rollout_logprobs_T: Tensor | None = None,
    old_logprobs_T: Tensor | None = None,
    *,
    head: OutputHead,
    teacher_head: OutputHead,
    config: LossConfig | None = None,
    num_tokens: int | None = None,
    num_rows: int | None = None,
    temperature: float = 1.0,
    precision: Precision = "refined",
    backend: Backend = "auto",
    budget_bytes: int | None = None,
) -> OpsdLoss:
    """``opsd_loss``, with hidden states and heads where that takes logits; all else means the same.

    Values per token are zero where ``mask_T`` is false.

    >>> head = OutputHead(torch.eye(3, requires_grad=True))
    >>> hidden = torch.tensor([[2.0, 0.0, -1.0]])
    >>> ids, mask, row = torch.tensor([0]), torch.tensor([True]), torch.tensor([0])
    >>> out = opsd_loss_from_hidden(hidden, -hidden, ids, mask, row, head=head, teacher_head=head)
    >>> round(out.loss.item(), 2)
    2.47
    """
    config = config or LossConfig()
    # Aggregation is linear in the tokens' losses: its gradient is each token's weight.
    with torch.enable_grad():
        wide = torch.promote_types(hidden_TD.dtype, torch.float32)
        ones_T = torch.ones(mask_T.shape, dtype=wide, device=mask_T.device, requires_grad=True)
        total = aggregate(
            ones_T,
            mask_T,
            row_T,
            mode=config.aggregate,
            num_tokens=int(mask_T.bool().sum()) if num_tokens is None else num_tokens,
            num_rows=int(torch.unique(row_T).numel()) if num_rows is None else num_rows,
        )
        (token_weight_T,) = torch.autograd.grad(total, ones_T)
    old_logprobs_T, rollout_logprobs_T = compared_with(config, old_logprobs_T, rollout_logprobs_T)
    return topk_kl(
        hidden_TD,
        head,
        teacher_hidden_TE,
        teacher_head,
        completion_ids_T,
        token_weight_T,
        topk=config.topk,
        kind=config.kind,
        jsd_alpha=config.jsd_alpha,
        tail=config.tail and config.topk is not None,
        temperature=temperature,
        old_logprobs_T=old_logprobs_T,
        rollout_logprobs_T=rollout_logprobs_T,
        is_clip=config.is_clip,
        rollout_is_clip=config.rollout_is_clip,
        precision=precision,
        backend=backend,
        budget_bytes=budget_bytes,
    )
