"""From the log-probs of a few rows to each token's loss, what is told of it, and its gradient in few numbers.

``divergence`` itself is differentiated by autograd, so that the loss has one definition. This is the plain twin of
``triton_rows.row_losses``. What it does not do: see more of a row than its chosen ids.
"""

# Shapes: R rows of a block, K support, J = K and the sampled token last; the sampled token alone for ``sampled_token``.

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from opsd_rs.loss.divergences import MIN_LOGPROB, Kind, divergence
from opsd_rs.loss.kernels.rows import RowGradient, RowScores
from opsd_rs.loss.opsd import importance_weights, sampled_token_loss

COLUMNS = ("loss_T", "kl_T", "logprob_T", "is_weight_T", "mass_T")
"""Of the result: weighted loss, divergence, the sampled token's log-prob and importance weight, the support's mass."""


class RowTerms(NamedTuple):
    """What the loss of a block's rows depends on, beside log-probs.

    >>> RowTerms("jsd", 0.5, True, None, None, torch.ones(2), None, None).kind
    'jsd'
    """

    kind: Kind
    jsd_alpha: float
    tail: bool
    is_clip: float | None
    rollout_is_clip: float | None
    weight_R: Tensor
    old_R: Tensor | None
    rollout_R: Tensor | None

    def part(self, rows: slice) -> RowTerms:
        """Of some of the rows."""
        given = (None if values_R is None else values_R[rows] for values_R in (self.old_R, self.rollout_R))
        old_R, rollout_R = given
        return self._replace(weight_R=self.weight_R[rows], old_R=old_R, rollout_R=rollout_R)


def row_losses(
    student: RowScores, teacher: RowScores, terms: RowTerms, out_5R: Tensor, wants_gradient: bool
) -> RowGradient | None:
    """``COLUMNS`` into the rows of ``out_5R``; the gradient of the weighted loss's sum at the support."""
    sampled = terms.kind == "sampled_token"
    with torch.enable_grad():
        leaf_RK = (student.logprobs_RJ if sampled else student.logprobs_RJ[:, :-1]).detach().requires_grad_()
        student_RK = leaf_RK.clamp(min=MIN_LOGPROB)
        label_R = student.logprobs_RJ[:, -1].clamp(min=MIN_LOGPROB)
        if sampled:
            taught_R = teacher.logprobs_RJ[:, 0].clamp(min=MIN_LOGPROB)
            loss_R = sampled_token_loss(student_RK[:, 0], taught_R)
            kl_R = label_R - taught_R
        else:
            taught_RK = teacher.logprobs_RJ[:, :-1].clamp(min=MIN_LOGPROB)
            loss_R = divergence(
                student_RK, taught_RK, kind=terms.kind, jsd_alpha=terms.jsd_alpha, tail=terms.tail
            )
            kl_R = loss_R.detach()
        is_weight_R = importance_weights(
            label_R,
            terms.old_R,
            terms.rollout_R,
            is_clip=terms.is_clip,
            rollout_is_clip=terms.rollout_is_clip,
        )
        weighted_R = loss_R * (is_weight_R * terms.weight_R.to(is_weight_R.dtype))
        upstream_RK = torch.autograd.grad(weighted_R.sum(), leaf_RK)[0] if wants_gradient else None
    mass_R = student_RK.detach().exp().sum(-1)
    for column_R, value_R in zip(
        out_5R, (weighted_R.detach(), kl_R, label_R, is_weight_R, mass_R), strict=True
    ):
        column_R.copy_(value_R)
    if upstream_RK is None:
        return None
    size = upstream_RK.shape[1]
    slope = student.slope_RJ if not isinstance(student.slope_RJ, Tensor) else student.slope_RJ[:, :size]
    scores = RowScores(leaf_RK.detach(), student.max_R1, student.log_sum_R1, slope)
    found = RowGradient.of(scores, upstream_RK)
    # Renormalised, the gradient is the support's alone; what the sum says is rounding.
    return found if sampled or terms.tail else RowGradient(torch.zeros_like(found.dense_R1), found.entries_RJ)
