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
from typing import Any, NamedTuple

import torch
from torch import Tensor

from opsd_rs.loss.divergences import Kind
from opsd_rs.loss.kernels.backends import Backend, RowOps, Rows, choose, scaled
from opsd_rs.loss.kernels.blocks import Plan, Precision, buffer, product_dtype, products, settled, slices
from opsd_rs.loss.kernels.heads import OutputHead
from opsd_rs.loss.kernels.row_losses import COLUMNS, RowTerms
from opsd_rs.loss.kernels.rows import RowScores
from opsd_rs.loss.kernels.sparse import PART, support_losses


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


@dataclass(slots=True)
class Outputs:
    """Per token (T,), zero where a token does not count, and the gradients of sum_t weight_t loss_t."""

    columns_5T: Tensor
    hidden_TD: Tensor | None = None
    weight_VD: Tensor | None = None
    bias_V: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens that count: of what is given per token their part, the same tensors where that is all of it."""

    index_T: Tensor | None

    @classmethod
    def of(cls, task: Task) -> Kept:
        """Of the whole call."""
        return cls(None if task.kept_T.shape == task.ids_T.shape else task.kept_T)

    def take(self, values: Tensor) -> Tensor:
        """Values of the kept tokens."""
        return values if self.index_T is None else values[self.index_T]

    def part(self, values: Tensor, rows: slice) -> Tensor:
        """Some of them; ``values`` are of all tokens."""
        return values[rows] if self.index_T is None else values[self.index_T[rows]]

    def spread(self, values: Tensor, num_tokens: int) -> Tensor:
        """Values of the kept tokens in their places (..., T), zeros between them."""
        if self.index_T is None:
            return values
        out = values.new_zeros(*values.shape[:-1], num_tokens)
        return out.index_copy_(-1, self.index_T, values)


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
    bytes_kept = stored.itemsize + (hidden_TD.dtype.itemsize if apart else 0)
    plan = Plan.of(num_kept, vocabulary, budget=task.budget, kept=bytes_kept, scratch=ops.scratch)
    kept = Kept.of(task)
    columns_5K = torch.empty(len(COLUMNS), num_kept, dtype=wide, device=device)
    out = Outputs(columns_5K, *_gradients(hidden_TD, task, wide))
    if not (task.tail or whole or task.kind == "sampled_token"):
        _support_alone(hidden_TD, task, ops, plan.block, stored, kept, out)
        out.columns_5T = kept.spread(columns_5K, num_tokens)
        return out
    rows_of_chunk = min(plan.chunk, num_kept)
    kept_CV = buffer(rows_of_chunk, vocabulary, stored, device)
    gradient_CV = buffer(rows_of_chunk, vocabulary, hidden_TD.dtype, device) if apart else kept_CV
    teacher_RV = buffer(min(plan.block, num_kept), vocabulary, stored, device)
    label_K, terms = _given(task, kept)
    for chunk in slices(0, num_kept, plan.chunk):
        hidden_CD = kept.part(hidden_TD, chunk)
        for block in slices(chunk.start, chunk.stop, plan.block):
            part = slice(block.start - chunk.start, block.stop - chunk.start)
            product_RV = products(hidden_CD[part], matrix_VD, kept_CV[part])
            taught_RE = kept.part(task.teacher_hidden_TE, block)
            taught_RV = products(taught_RE, teacher_VE, teacher_RV[: taught_RE.shape[0]])
            _block(
                Side(hidden_CD[part], product_RV, task.head), Side(taught_RE, taught_RV, task.teacher_head),
                label_K[block], terms.part(block), task, ops, columns_5K[:, block], gradient_CV[part],
            )  # fmt: skip
        _matrix_products(gradient_CV[: hidden_CD.shape[0]], hidden_CD, matrix_VD, chunk, kept, out)
    out.columns_5T = kept.spread(columns_5K, num_tokens)
    return out


def _gradients(hidden_TD: Tensor, task: Task, wide: torch.dtype) -> tuple[Tensor | None, ...]:
    """Tensors for those that are wanted; zeros only where no chunk writes."""
    num_kept, weight_VD = task.kept_T.shape[0], task.head.weight_VD
    d_hidden = d_weight = d_bias = None
    if task.needs[0]:
        make = torch.empty_like if num_kept == hidden_TD.shape[0] else torch.zeros_like
        d_hidden = make(hidden_TD, memory_format=torch.contiguous_format)
    if task.needs[1]:
        d_weight = torch.empty(weight_VD.shape, dtype=wide, device=weight_VD.device)
        d_weight[task.head.vocabulary if num_kept else 0 :] = 0
    if task.needs[2]:
        assert task.head.bias_V is not None
        d_bias = torch.zeros_like(task.head.bias_V, dtype=wide)
    return d_hidden, d_weight, d_bias


def _given(task: Task, kept: Kept) -> tuple[Tensor, RowTerms]:
    """Sampled tokens and terms of the kept tokens."""
    old_T, rollout_T = (
        None if values_T is None else kept.take(values_T).contiguous()
        for values_T in (task.old_logprobs_T, task.rollout_logprobs_T)
    )
    weight_T = kept.take(task.token_weight_T).contiguous()
    terms = RowTerms(
        task.kind, task.jsd_alpha, task.tail, task.is_clip, task.rollout_is_clip, weight_T, old_T, rollout_T
    )
    return kept.take(task.ids_T), terms


def _support_alone(
    hidden_TD: Tensor, task: Task, ops: RowOps, block: int, stored: torch.dtype, kept: Kept, out: Outputs
) -> None:
    """The loss without a tail, and its gradients."""
    label_K, terms = _given(task, kept)
    assert task.topk is not None
    ids_KK, gradient = support_losses(
        lambda rows: kept.part(hidden_TD, rows), task.head,
        lambda rows: kept.part(task.teacher_hidden_TE, rows), task.teacher_head, label_K, terms, ops,
        topk=task.topk, block=block, stored=stored, precision=task.precision, temperature=task.temperature,
        columns_5T=out.columns_5T, wants_gradient=any(task.needs),
    )  # fmt: skip
    if out.weight_VD is not None:
        out.weight_VD.zero_()
    if gradient is None:
        return
    matrix_VD = task.head.matrix()
    for rows in slices(0, label_K.shape[0], PART):
        entries_RK, ids_RK, hidden_RD = gradient.entries_RJ[rows], ids_KK[rows], kept.part(hidden_TD, rows)
        if out.hidden_TD is not None:
            d_hidden = out.hidden_TD[rows] if kept.index_T is None else torch.empty_like(hidden_RD)
            ops.mixed_rows(entries_RK, matrix_VD, ids_RK, d_hidden)
            if kept.index_T is not None:
                out.hidden_TD[kept.index_T[rows]] = d_hidden
        if out.weight_VD is not None:
            ops.add_entries(out.weight_VD[: matrix_VD.shape[0]], entries_RK, ids_RK, hidden_RD)
        if out.bias_V is not None:
            out.bias_V.index_put_((ids_RK.flatten(),), entries_RK.flatten(), accumulate=True)


class Side(NamedTuple):
    """A block of the student or of the teacher.

    >>> Side(torch.zeros(1, 2), torch.zeros(1, 3), OutputHead(torch.zeros(3, 2))).head.vocabulary
    3
    """

    hidden_RD: Tensor
    product_RV: Tensor
    head: OutputHead


def _block(
    student: Side,
    teacher: Side,
    label_R: Tensor,
    terms: RowTerms,
    task: Task,
    ops: RowOps,
    columns_5R: Tensor,
    gradient_RV: Tensor,
) -> None:
    """Loss of a block's rows into ``columns_5R``, and their gradient into ``gradient_RV``."""
    num_rows, vocabulary = student.product_RV.shape
    sampled = task.kind == "sampled_token"
    num_support = 0 if sampled else min(task.topk or vocabulary, vocabulary)
    rows = [ops.rows(side.product_RV, side.head.logit_map(task.temperature)) for side in (student, teacher)]
    ids_RJ = torch.empty(num_rows, num_support + 1, dtype=torch.int64, device=label_R.device)
    ids_RJ[:, -1] = label_R
    if not sampled:
        rows[0].select(num_support, ids_RJ)
    refine = (
        task.precision == "refined"
        and student.product_RV.dtype == torch.bfloat16
        and num_support < vocabulary
    )

    def score(rows: Rows, side: Side) -> RowScores:
        dots = ops.selected_products(side.hidden_RD, side.head.matrix(), ids_RJ) if refine else None
        return rows.scores(ids_RJ, not sampled, dots)

    scores = score(rows[0], student)
    gradient = ops.losses(scores, score(rows[1], teacher), terms, columns_5R, any(task.needs))
    if gradient is not None:
        support_RK = ids_RJ[:, : gradient.entries_RJ.shape[1]]
        rows[0].write_gradient(scores, support_RK, gradient, gradient_RV)


def _matrix_products(
    gradient_CV: Tensor, hidden_CD: Tensor, matrix_VD: Tensor, chunk: slice, kept: Kept, out: Outputs
) -> None:
    """dH of the chunk's tokens; dW and db of the chunk added in fp32 or better."""
    if out.hidden_TD is not None:
        if kept.index_T is None:
            torch.mm(gradient_CV, matrix_VD, out=out.hidden_TD[chunk])
        else:
            out.hidden_TD[kept.index_T[chunk]] = gradient_CV @ matrix_VD
    if out.weight_VD is not None:
        add_outer(out.weight_VD[: matrix_VD.shape[0]], gradient_CV, hidden_CD, first=chunk.start == 0)
    if out.bias_V is not None:
        out.bias_V[: matrix_VD.shape[0]] += gradient_CV.sum(0, dtype=out.bias_V.dtype)


def add_outer(sum_VD: Tensor, gradient_CV: Tensor, hidden_CD: Tensor, *, first: bool) -> None:
    """``sum_VD += gradient_CV.T @ hidden_CD``, accumulated in the type of ``sum_VD``; ``first``: written, not added."""
    if sum_VD.dtype != hidden_CD.dtype and hidden_CD.is_cuda:
        if first:
            torch.mm(gradient_CV.T, hidden_CD, out_dtype=sum_VD.dtype, out=sum_VD)
        else:
            torch.addmm(sum_VD, gradient_CV.T, hidden_CD, out_dtype=sum_VD.dtype, out=sum_VD)
        return
    if first:
        sum_VD.zero_()
    # On a CPU fp32 copies of a part alone.
    size = hidden_CD.shape[0] if sum_VD.dtype == hidden_CD.dtype else 256
    for part in slices(0, hidden_CD.shape[0], size):
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
        per_token = out.columns_5T.unbind()
        ctx.mark_non_differentiable(*per_token)
        ctx.set_materialize_grads(False)
        # Saved, not kept on ctx: they are freed by the backward pass, not with the last name of the loss.
        ctx.save_for_backward(out.hidden_TD, out.weight_VD, out.bias_V)
        ctx.dtypes = tuple(None if x is None else x.dtype for x in (hidden_TD, weight_VD, bias_V))
        return (per_token[0].sum(), *per_token)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        """The saved gradients times ``upstream``, in the types of the inputs."""
        if upstream is None:
            return None, None, None, None
        found = [
            None if gradient is None else scaled(gradient, upstream, dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        ]
        return (*found, None)
