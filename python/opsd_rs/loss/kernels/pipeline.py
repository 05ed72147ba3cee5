"""The loss from hidden states, a chunk of tokens at a time, its gradient made in the forward pass.

For each chunk: student products; ids, log-probs, the teacher's at the same ids, loss and its gradient with respect to
the few log-probs, by blocks; products overwritten by their gradient; dH = dZ W and dW += dZ^T H. No (T, V) tensor
exists. The gradient is linear in the loss's upstream scalar, so the backward pass only scales what is there.

Sources: Liger Kernel's chunked loss (arXiv 2410.10989) for gradients in the forward pass; ``rows`` for the formula.
What it does not do: choose weights of tokens, or check its inputs (``from_hidden``).
"""

# Shapes: T tokens that count, C of a chunk, R of a block; D, E hidden sizes of student and teacher; V vocabulary;
# K support; J = K + 1 with the sampled token last.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from opsd_rs.loss.divergences import MIN_LOGPROB, Kind, divergence
from opsd_rs.loss.kernels.backends import Backend, RowOps, Rows, choose
from opsd_rs.loss.kernels.blocks import Plan, Precision, buffer, product_dtype, products, settled, slices
from opsd_rs.loss.kernels.heads import OutputHead
from opsd_rs.loss.kernels.rows import RowScores
from opsd_rs.loss.opsd import importance_weights, sampled_token_loss


@dataclass(frozen=True, slots=True)
class Task:
    """What the loss is computed from, beside the student's parameters; constants all of them."""

    head: OutputHead
    teacher_head: OutputHead
    teacher_hidden_TE: Tensor
    ids_T: Tensor
    kept_T: Tensor
    """Indices of the tokens that count."""
    token_weight_T: Tensor
    old_logprobs_T: Tensor | None
    rollout_logprobs_T: Tensor | None
    topk: int | None
    kind: Kind
    jsd_alpha: float
    tail: bool
    temperature: float
    is_clip: float | None
    rollout_is_clip: float | None
    precision: Precision
    backend: Backend
    budget: int
    needs: tuple[bool, bool, bool]
    """Gradients wanted: hidden states, matrix, bias."""


COLUMNS = ("loss_T", "kl_T", "logprob_T", "is_weight_T", "mass_T")


@dataclass(slots=True)
class Outputs:
    """Per token (T,), zero where a token does not count, and the gradients of sum_t weight_t loss_t."""

    loss_T: Tensor
    kl_T: Tensor
    logprob_T: Tensor
    is_weight_T: Tensor
    mass_T: Tensor
    hidden_TD: Tensor | None = None
    weight_VD: Tensor | None = None
    bias_V: Tensor | None = None


def run(hidden_TD: Tensor, task: Task) -> Outputs:
    """The whole forward pass, and the gradients that ``task.needs`` names."""
    num_tokens, device = hidden_TD.shape[0], hidden_TD.device
    wide = torch.promote_types(hidden_TD.dtype, torch.float32)
    matrix_VD, teacher_VE = task.head.matrix(), task.teacher_head.matrix()
    vocabulary, num_kept = matrix_VD.shape[0], task.kept_T.shape[0]
    whole = task.kind != "sampled_token" and (task.topk is None or task.topk >= vocabulary)
    stored = product_dtype(
        hidden_TD.dtype, "float32" if whole and task.precision == "refined" else task.precision
    )
    num_ids = 1 if task.kind == "sampled_token" else 1 + min(vocabulary, task.topk or vocabulary)
    ops = choose(task.backend, device, stored, num_ids=num_ids, whole=whole)
    # Products of a wider type cannot be overwritten by their gradient.
    apart = stored != hidden_TD.dtype and any(task.needs)
    kept = stored.itemsize + (hidden_TD.dtype.itemsize if apart else 0)
    plan = Plan.of(num_kept, vocabulary, budget=task.budget, kept=kept, scratch=ops.scratch)
    out = Outputs(*torch.zeros(len(COLUMNS), num_tokens, dtype=wide, device=device))
    if task.needs[0]:
        out.hidden_TD = torch.zeros_like(hidden_TD)
    if task.needs[1]:
        out.weight_VD = torch.zeros_like(task.head.weight_VD, dtype=wide)
    if task.needs[2]:
        assert task.head.bias_V is not None
        out.bias_V = torch.zeros_like(task.head.bias_V, dtype=wide)
    rows_of_chunk = min(plan.chunk, num_kept)
    kept_CV = buffer(rows_of_chunk, vocabulary, stored, device)
    gradient_CV = buffer(rows_of_chunk, vocabulary, hidden_TD.dtype, device) if apart else kept_CV
    teacher_RV = buffer(min(plan.block, num_kept), vocabulary, stored, device)
    for chunk in slices(0, num_kept, plan.chunk):
        hidden_CD = hidden_TD[task.kept_T[chunk]]
        for block in slices(chunk.start, chunk.stop, plan.block):
            part = slice(block.start - chunk.start, block.stop - chunk.start)
            product_RV = products(hidden_CD[part], matrix_VD, kept_CV[part])
            taught_RE = task.teacher_hidden_TE[task.kept_T[block]]
            taught_RV = products(taught_RE, teacher_VE, teacher_RV[: taught_RE.shape[0]])
            _block(
                hidden_CD[part], product_RV, taught_RE, taught_RV, gradient_CV[part], task, ops, block, out
            )
        _matrix_products(gradient_CV[: hidden_CD.shape[0]], hidden_CD, matrix_VD, task.kept_T[chunk], out)
    return out


def _block(
    hidden_RD: Tensor,
    product_RV: Tensor,
    taught_RE: Tensor,
    taught_RV: Tensor,
    gradient_RV: Tensor,
    task: Task,
    ops: RowOps,
    block: slice,
    out: Outputs,
) -> None:
    """Loss of a block's rows into ``out``, and their gradient into ``gradient_RV``."""
    kept_R = task.kept_T[block]
    label_R1 = task.ids_T[kept_R].unsqueeze(-1)
    student_map, teacher_map = (head.logit_map(task.temperature) for head in (task.head, task.teacher_head))
    sampled = task.kind == "sampled_token"
    student_rows, teacher_rows = ops.rows(product_RV, student_map), ops.rows(taught_RV, teacher_map)
    ids_RJ = label_R1
    if not sampled:
        support_RK = student_rows.select(min(task.topk or product_RV.shape[1], product_RV.shape[1]))
        ids_RJ = torch.cat([support_RK, label_R1], dim=-1)
    whole = ids_RJ.shape[1] > product_RV.shape[1]
    refine = task.precision == "refined" and product_RV.dtype == torch.bfloat16 and not whole

    def score(rows: Rows, hidden: Tensor, head: OutputHead) -> RowScores:
        dots = ops.selected_products(hidden, head.matrix(), ids_RJ) if refine else None
        return rows.scores(ids_RJ, not sampled, dots)

    student = score(student_rows, hidden_RD, task.head)
    teacher = score(teacher_rows, taught_RE, task.teacher_head)
    with torch.enable_grad():
        leaf_RJ = (student.logprobs_RJ if sampled else student.logprobs_RJ[:, :-1]).detach().requires_grad_()
        student_RJ = leaf_RJ.clamp(min=MIN_LOGPROB)
        label_R = student.logprobs_RJ[:, -1].clamp(min=MIN_LOGPROB)
        if sampled:
            taught_R = teacher.logprobs_RJ[:, 0].clamp(min=MIN_LOGPROB)
            loss_R = sampled_token_loss(student_RJ[:, 0], taught_R)
            kl_R = label_R - taught_R
        else:
            taught_RK = teacher.logprobs_RJ[:, :-1].clamp(min=MIN_LOGPROB)
            loss_R = divergence(
                student_RJ, taught_RK, kind=task.kind, jsd_alpha=task.jsd_alpha, tail=task.tail
            )
            kl_R = loss_R.detach()
        is_weight_R = importance_weights(
            label_R,
            _at(task.old_logprobs_T, kept_R),
            _at(task.rollout_logprobs_T, kept_R),
            is_clip=task.is_clip,
            rollout_is_clip=task.rollout_is_clip,
        )
        weight_R = is_weight_R * task.token_weight_T[kept_R].to(is_weight_R.dtype)
        weighted_R = loss_R * weight_R
        if any(task.needs):
            (upstream_RJ,) = torch.autograd.grad(weighted_R.sum(), leaf_RJ)
    mass_R = student_RJ.detach().exp().sum(-1)
    found = (weighted_R.detach(), kl_R, label_R, is_weight_R, mass_R)
    for column, value_R in zip(COLUMNS, found, strict=True):
        getattr(out, column)[kept_R] = value_R
    if any(task.needs):
        ids_RJ = ids_RJ[:, : leaf_RJ.shape[1]]
        scores = RowScores(leaf_RJ.detach(), student.max_R1, student.log_sum_R1)
        student_rows.write_gradient(scores, ids_RJ, upstream_RJ, gradient_RV, False)


def _at(value_T: Tensor | None, kept_R: Tensor) -> Tensor | None:
    return None if value_T is None else value_T[kept_R]


def _matrix_products(
    gradient_CV: Tensor, hidden_CD: Tensor, matrix_VD: Tensor, kept_C: Tensor, out: Outputs
) -> None:
    """dH of the chunk's tokens; dW and db of the chunk added in fp32 or better."""
    if out.hidden_TD is not None:
        out.hidden_TD[kept_C] = gradient_CV @ matrix_VD
    if out.weight_VD is not None:
        add_outer(out.weight_VD[: matrix_VD.shape[0]], gradient_CV, hidden_CD)
    if out.bias_V is not None:
        out.bias_V[: matrix_VD.shape[0]] += gradient_CV.sum(0, dtype=out.bias_V.dtype)


def add_outer(sum_VD: Tensor, gradient_CV: Tensor, hidden_CD: Tensor) -> None:
    """``sum_VD += gradient_CV.T @ hidden_CD``, accumulated in the type of ``sum_VD``."""
    if sum_VD.dtype == hidden_CD.dtype:
        sum_VD.addmm_(gradient_CV.T, hidden_CD)
    elif hidden_CD.is_cuda:
        torch.addmm(sum_VD, gradient_CV.T, hidden_CD, out_dtype=sum_VD.dtype, out=sum_VD)
    else:
        for part in slices(0, hidden_CD.shape[0], 256):  # fp32 copies of a part alone
            sum_VD.addmm_(gradient_CV[part].to(sum_VD.dtype).T, hidden_CD[part].to(sum_VD.dtype))


class OpsdTopkKL(torch.autograd.Function):
    """sum_t weight_t loss_t as a scalar with gradient, and ``Outputs`` per token without."""

    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, weight_VD: Tensor, bias_V: Tensor | None, task: Task
    ) -> tuple[Tensor, ...]:
        """(loss, weighted loss_T, kl_T, logprob_T, is_weight_T, mass_T)."""
        with settled(hidden_TD.device):
            out = run(hidden_TD.detach(), task)
        per_token = tuple(getattr(out, column) for column in COLUMNS)
        ctx.mark_non_differentiable(*per_token)
        ctx.set_materialize_grads(False)
        # Saved, not kept on ctx: they are freed by the backward pass, not with the last name of the loss.
        ctx.save_for_backward(out.hidden_TD, out.weight_VD, out.bias_V)
        ctx.dtypes = tuple(None if x is None else x.dtype for x in (hidden_TD, weight_VD, bias_V))
        return (out.loss_T.sum(), *per_token)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        """The saved gradients times ``upstream``, in the types of the inputs."""
        if upstream is None:
            return None, None, None, None
        scaled: list[Tensor | None] = []
        for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True):
            if gradient is None:
                scaled.append(None)
            else:
                scaled.append(torch.mul(gradient, upstream, out=torch.empty_like(gradient, dtype=dtype)))
        return (*scaled, None)
