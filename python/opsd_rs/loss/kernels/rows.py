"""What happens to a few rows of logits: chosen ids, log-probs there, and the gradient with respect to every logit.

    log p_v = (z_v - m) - log s,   m = max z,   s = sum_v exp(z_v - m)
    dL/dz_v = g_v [v chosen] - p_v sum_j g_j,    g_j = dL/dlog p_j at the chosen ids

Every loss of a few log-probs has this gradient: p times one number per row, and a few entries. (The tail bucket is no
exception: it is a function of the support's log-probs.) The lse is never formed: m + log s would lose two digits.

``refined``: bf16 products carry an error of up to 0.06 at 25, larger than the divergence near convergence. The chosen
logits are then computed again in fp32, from the hidden state and the chosen rows of the matrix; s takes the fp32 values
for the chosen ids and the rounded ones for all others.

This is the plain twin of ``triton_rows``. What it does not do: compute the products, or know which loss it serves.
"""

# Shapes: R rows of a block, V vocabulary, K support, J = K chosen ids and the sampled one, D hidden size.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from opsd_rs.loss.divergences import support
from opsd_rs.loss.kernels.heads import LogitMap

DOTS_BYTES = 32 << 20
"""Memory for gathered rows of the matrix at a time."""


@dataclass(frozen=True, slots=True)
class RowScores:
    """Log-probs at chosen ids and what normalises a row.

    >>> scores = PlainRows(torch.zeros(1, 4), LogitMap(None, 1.0, None, 1.0)).scores(torch.tensor([[2]]))
    >>> scores.logprobs_RJ.exp().item(), scores.max_R1.item()
    (0.25, 0.0)
    """

    logprobs_RJ: Tensor
    """At the given ids, unclamped, fp32 or better."""
    max_R1: Tensor
    log_sum_R1: Tensor


class PlainRows:
    """A block of products (R, V) and what is asked of it."""

    def __init__(self, product_RV: Tensor, logit_map: LogitMap) -> None:
        self.product_RV, self.logit_map = product_RV, logit_map

    def select(self, topk: int | None) -> Tensor:
        """Ids (R, K) of the ``topk`` largest logits, by the rule of ``support``: among equals the lowest ids."""
        return support(self.logit_map(self.product_RV), topk)

    def scores(
        self, ids_RJ: Tensor, last_is_label: bool = False, refined_RJ: Tensor | None = None
    ) -> RowScores:
        """Log-probs at ``ids_RJ``, which are distinct in each row but for the last with ``last_is_label``.

        ``refined_RJ``: products in fp32 at those ids, used instead of the block's own. A row with nan, with +inf, or
        with nothing but -inf has nan everywhere.
        """
        product_RJ = self.product_RV.gather(-1, ids_RJ) if refined_RJ is None else refined_RJ
        rest_max_R1, rest_sum_R1 = rest_sums(self.product_RV, self.logit_map, ids_RJ)
        return normalise(self.logit_map(product_RJ, ids_RJ), ids_RJ, last_is_label, rest_max_R1, rest_sum_R1)

    def write_gradient(
        self,
        scores: RowScores,
        ids_RJ: Tensor,
        upstream_RJ: Tensor,
        out_RV: Tensor,
        last_is_label: bool = False,
    ) -> None:
        """dL/d product into ``out_RV``, which may be the products, from dL/dlog p at the chosen ids."""
        dense_R1 = -upstream_RJ.sum(-1, keepdim=True)
        z_RV = self.logit_map(self.product_RV)
        slope = self.logit_map.slope(z_RV)
        slope_RJ = slope.gather(-1, ids_RJ) if isinstance(slope, Tensor) else slope
        gradient_RV = (z_RV - scores.max_R1).sub_(scores.log_sum_R1).exp_().mul_(dense_R1).mul_(slope)
        out_RV.copy_(gradient_RV)
        scatter_entries(out_RV, scores, ids_RJ, upstream_RJ, dense_R1, slope_RJ, last_is_label)


def selected_products(hidden_RD: Tensor, weight_VD: Tensor, ids_RJ: Tensor) -> Tensor:
    """<h_r, W_ids> in fp32 (R, J), from gathered rows of the matrix."""
    num_rows, num_ids = ids_RJ.shape
    out_RJ = torch.empty(num_rows, num_ids, dtype=torch.float32, device=hidden_RD.device)
    rows = max(1, DOTS_BYTES // max(1, num_ids * weight_VD.shape[1] * 6))
    for start in range(0, num_rows, rows):
        part = slice(start, start + rows)
        gathered_RJD = weight_VD[ids_RJ[part]].float()
        out_RJ[part] = torch.bmm(gathered_RJD, hidden_RD[part].float().unsqueeze(-1)).squeeze(-1)
    return out_RJ


def rest_sums(product_RV: Tensor, logit_map: LogitMap, ids_RJ: Tensor) -> tuple[Tensor, Tensor]:
    """max and sum of exp(z - max), (R, 1) each, over all ids but ``ids_RJ``; -inf and 0 where none is left."""
    z_RV = logit_map(product_RV).scatter(-1, ids_RJ, -torch.inf)
    max_R1 = z_RV.amax(-1, keepdim=True)
    # exp(-inf - -inf) is nan, exp(-inf - 0) the 0 that is meant.
    z_RV -= max_R1.masked_fill(max_R1 == -torch.inf, 0.0)
    return max_R1, z_RV.exp_().sum(-1, keepdim=True)


def normalise(
    z_RJ: Tensor, ids_RJ: Tensor, last_is_label: bool, rest_max_R1: Tensor, rest_sum_R1: Tensor
) -> RowScores:
    """Log-probs of the chosen logits, each counted once, and the rest's sum."""
    counted_RJ = z_RJ
    if last_is_label:
        again_R = (ids_RJ[:, :-1] == ids_RJ[:, -1:]).any(-1)
        last_R1 = z_RJ[:, -1].masked_fill(again_R, -torch.inf).unsqueeze(-1)
        counted_RJ = torch.cat([z_RJ[:, :-1], last_R1], dim=-1)
    max_R1 = torch.maximum(rest_max_R1, counted_RJ.amax(-1, keepdim=True))
    sum_R1 = rest_sum_R1 * (rest_max_R1 - max_R1).exp() + (counted_RJ - max_R1).exp().sum(-1, keepdim=True)
    log_sum_R1 = sum_R1.log()
    return RowScores((z_RJ - max_R1) - log_sum_R1, max_R1, log_sum_R1)


def scatter_entries(
    out_RV: Tensor,
    scores: RowScores,
    ids_RJ: Tensor,
    upstream_RJ: Tensor,
    dense_R1: Tensor,
    slope: Tensor | float,
    last_is_label: bool,
) -> None:
    """Overwrite the gradient at the chosen ids, where the log-probs may be finer than the row's."""
    entries_RJ = (scores.logprobs_RJ.exp() * dense_R1 + upstream_RJ) * slope
    if last_is_label:
        # First the label, then the support over it: where it is among them, its part is added to theirs.
        out_RV.scatter_(-1, ids_RJ[:, -1:], entries_RJ[:, -1:].to(out_RV.dtype))
        label_RJ = torch.where(ids_RJ == ids_RJ[:, -1:], upstream_RJ[:, -1:], 0.0) * slope
        ids_RJ, entries_RJ = ids_RJ[:, :-1], (entries_RJ + label_RJ)[:, :-1]
    out_RV.scatter_(-1, ids_RJ, entries_RJ.to(out_RV.dtype))
