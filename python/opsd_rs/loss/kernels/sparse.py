"""The loss without a tail: only the support's logits count, and their gradient is all there is.

Renormalised on the support, a divergence does not depend on what normalises the whole vocabulary:

    log p~_i = z_i - log sum_{j in S} exp z_j,    dL/dz_v = delta_v for v in S, else 0

So the teacher needs its logits at K ids, no product with its matrix. The student needs its product for the choice of
ids and for the sampled token's log-prob. The gradients are dH = sum_k delta_k W[ids_k] and, id by id, a sum of
delta_k h; no product either.

What it does not do: a support that is the whole vocabulary (``pipeline``).
"""

# Shapes: T tokens that count, R of a block; D, E hidden sizes of student and teacher; V vocabulary; K support;
# J = K + 1 with the sampled token last.

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from opsd_rs.loss.divergences import MIN_LOGPROB
from opsd_rs.loss.kernels.backends import RowOps
from opsd_rs.loss.kernels.blocks import Precision, buffer, products, slices
from opsd_rs.loss.kernels.heads import OutputHead
from opsd_rs.loss.kernels.row_losses import RowTerms
from opsd_rs.loss.kernels.rows import RowGradient, RowScores

PART = 32_768
"""Tokens at a time for the gradients' sums: what the sums take beside the gradients is bounded."""


def support_losses(
    hidden: Callable[[slice], Tensor],
    head: OutputHead,
    taught: Callable[[slice], Tensor],
    teacher_head: OutputHead,
    label_T: Tensor,
    terms: RowTerms,
    ops: RowOps,
    *,
    topk: int,
    block: int,
    stored: torch.dtype,
    precision: Precision,
    temperature: float,
    columns_5T: Tensor,
    wants_gradient: bool,
) -> tuple[Tensor, RowGradient | None]:
    """``COLUMNS`` into ``columns_5T``; ids (T, K) and the gradient there. Hidden states are asked for by rows."""
    num_tokens, device, wide = label_T.shape[0], label_T.device, columns_5T.dtype
    student_map, teacher_map = (side.logit_map(temperature) for side in (head, teacher_head))
    ids_TJ = torch.empty(num_tokens, topk + 1, dtype=torch.int64, device=device)
    ids_TJ[:, -1] = label_T
    logprobs_TJ, z_TJ, taught_TJ = (
        torch.empty(num_tokens, topk + 1, dtype=wide, device=device) for _ in range(3)
    )
    slopes: list[Tensor | float] = []
    product_RV = buffer(min(block, num_tokens), head.vocabulary, stored, device)

    def dots(hidden_RD: Tensor, side: OutputHead, ids_RJ: Tensor) -> Tensor:
        # Both sides by the same operation: equal models have equal bits.
        found_RJ = ops.selected_products(hidden_RD, side.matrix(), ids_RJ)
        return found_RJ.to(stored).to(wide) if precision == "rounded" else found_RJ

    for rows in slices(0, num_tokens, block):
        hidden_RD, ids_RJ = hidden(rows), ids_TJ[rows]
        product = products(hidden_RD, head.matrix(), product_RV[: hidden_RD.shape[0]])
        block_rows = ops.rows(product, student_map)
        block_rows.select(topk, ids_RJ)
        student_RJ = dots(hidden_RD, head, ids_RJ)
        scores = block_rows.scores(ids_RJ, True, student_RJ)
        logprobs_TJ[rows] = scores.logprobs_RJ
        z_TJ[rows] = student_map(student_RJ, ids_RJ)
        taught_TJ[rows] = teacher_map(dots(taught(rows), teacher_head, ids_RJ), ids_RJ)
        slopes.append(scores.slope_RJ)
    logprobs_TJ.clamp_(min=MIN_LOGPROB)
    mass_T = logprobs_TJ[:, :-1].exp().sum(-1)
    student_TJ, teacher_TJ = (_from_the_largest(values_TJ) for values_TJ in (z_TJ, taught_TJ))
    student_TJ[:, -1] = logprobs_TJ[:, -1]
    slope = torch.cat(slopes) if slopes and isinstance(slopes[0], Tensor) else student_map.factor  # type: ignore[arg-type]
    none_T1 = student_TJ[:, :1]
    gradient = ops.losses(
        RowScores(student_TJ, none_T1, none_T1, slope),
        RowScores(teacher_TJ, none_T1, none_T1, slope),
        terms,
        columns_5T,
        wants_gradient,
    )
    columns_5T[-1] = mass_T
    return ids_TJ[:, :-1], gradient


def _from_the_largest(z_TJ: Tensor) -> Tensor:
    """Logits below the support's largest, in place; ``divergence`` makes a distribution of them."""
    top_T1 = z_TJ[:, :-1].amax(-1, keepdim=True)
    return z_TJ.sub_(top_T1.masked_fill_(top_T1 == -torch.inf, 0.0))
