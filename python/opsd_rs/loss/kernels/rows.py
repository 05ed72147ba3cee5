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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from opsd_rs.loss.divergences import support
from opsd_rs.loss.kernels.blocks import slices
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
    slope_RJ: Tensor | float
    """dz / d product at the given ids."""


class RowGradient(NamedTuple):
    """The gradient of a row's logits in few numbers: p times ``dense``, and other values at chosen ids.

    >>> scores = RowScores(torch.tensor([[0.5]]).log(), torch.zeros(1, 1), torch.ones(1, 1), 1.0)
    >>> RowGradient.of(scores, torch.tensor([[2.0]])).entries_RJ.item()
    1.0
    """

    dense_R1: Tensor
    entries_RJ: Tensor
    """Of the products: the slope is multiplied in."""

    @classmethod
    def of(cls, scores: RowScores, upstream_RJ: Tensor, *, labelled_RJ: Tensor | None = None) -> RowGradient:
        """From dL/dlog p at the chosen ids; ``labelled_RJ``: these, where the last may be one of the others."""
        dense_R1 = -upstream_RJ.sum(-1, keepdim=True)
        if labelled_RJ is not None:
            # Where the label is in the support, both places of it hold its whole entry.
            same_RJ = labelled_RJ == labelled_RJ[:, -1:]
            of_label_R1 = torch.where(same_RJ, upstream_RJ, 0.0).sum(-1, keepdim=True)
            upstream_RJ = torch.where(same_RJ, of_label_R1, upstream_RJ)
        return cls(dense_R1, (scores.logprobs_RJ.exp() * dense_R1 + upstream_RJ) * scores.slope_RJ)


class PlainRows:
    """A block of products (R, V) and what is asked of it."""

    def __init__(self, product_RV: Tensor, logit_map: LogitMap) -> None:
        self.product_RV, self.logit_map = product_RV, logit_map

    def select(self, topk: int, ids_RJ: Tensor) -> None:
        """Ids of the ``topk`` largest logits into the first columns, by the rule of ``support``."""
        ids_RJ[:, :topk] = support(self.logit_map(self.product_RV), topk)

    def slope(self, ids_RJ: Tensor) -> Tensor | float:
        """dz / d product at ``ids_RJ``."""
        logit_map = self.logit_map
        if logit_map.softcap is None:
            return logit_map.factor
        return logit_map.slope(logit_map(self.product_RV.gather(-1, ids_RJ), ids_RJ))

    def scores(
        self, ids_RJ: Tensor, last_is_label: bool = False, refined_RJ: Tensor | None = None
    ) -> RowScores:
        """Log-probs at ``ids_RJ``, which are distinct in each row but for the last with ``last_is_label``.

        ``refined_RJ``: products in fp32 at those ids, used instead of the block's own. A row with nan, with +inf, or
        with nothing but -inf has nan everywhere.
        """
        slope, product_RV = self.slope(ids_RJ), self.product_RV
        product_RJ = product_RV.gather(-1, ids_RJ) if refined_RJ is None else refined_RJ
        rest_max_R1, rest_sum_R1 = rest_sums(product_RV, self.logit_map, ids_RJ)
        z_RJ = self.logit_map(product_RJ, ids_RJ)
        return normalise(z_RJ, ids_RJ, last_is_label, rest_max_R1, rest_sum_R1, slope)

    def write_gradient(
        self, scores: RowScores, ids_RJ: Tensor, gradient: RowGradient, out_RV: Tensor
    ) -> None:
        """dL/d product into ``out_RV``, which may be the products."""
        z_RV = self.logit_map(self.product_RV)
        slope = self.logit_map.slope(z_RV)
        gradient_RV = (z_RV - scores.max_R1).sub_(scores.log_sum_R1).exp_()
        out_RV.copy_(gradient_RV.mul_(gradient.dense_R1).mul_(slope))
        # The chosen log-probs may be finer than the row's.
        out_RV.scatter_(-1, ids_RJ, gradient.entries_RJ.to(out_RV.dtype))


def selected_products(hidden_RD: Tensor, weight_VD: Tensor, ids_RJ: Tensor) -> Tensor:
    """<h_r, W_ids> in fp32 or better (R, J), from gathered rows of the matrix."""
    num_rows, num_ids = ids_RJ.shape
    wide = torch.promote_types(hidden_RD.dtype, torch.float32)
    out_RJ = torch.empty(num_rows, num_ids, dtype=wide, device=hidden_RD.device)
    for part in _parts(num_rows, num_ids * weight_VD.shape[1]):
        gathered_RJD = weight_VD[ids_RJ[part]].to(wide)
        out_RJ[part] = torch.bmm(gathered_RJD, hidden_RD[part].to(wide).unsqueeze(-1)).squeeze(-1)
    return out_RJ


def mixed_rows(entries_RK: Tensor, weight_VD: Tensor, ids_RK: Tensor, out_RD: Tensor) -> None:
    """sum_k entry_k W[id_k] into ``out_RD``: dH where no other id has a gradient."""
    for part in _parts(out_RD.shape[0], ids_RK.shape[1] * weight_VD.shape[1]):
        gathered_RKD = weight_VD[ids_RK[part]].to(entries_RK.dtype)
        out_RD[part] = torch.bmm(entries_RK[part].unsqueeze(1), gathered_RKD).squeeze(1).to(out_RD.dtype)


def add_entries(sum_VD: Tensor, entries_RK: Tensor, ids_RK: Tensor, hidden_RD: Tensor) -> None:
    """entry_rk h_r added to the rows ids_rk of ``sum_VD``: dW where no other id has a gradient."""
    for part in _parts(hidden_RD.shape[0], ids_RK.shape[1] * hidden_RD.shape[1]):
        outer_RKD = entries_RK[part].unsqueeze(-1) * hidden_RD[part].to(entries_RK.dtype).unsqueeze(1)
        # On a GPU index_add_ adds in any order; this sorts.
        sum_VD.index_put_((ids_RK[part].flatten(),), outer_RKD.flatten(0, 1), accumulate=True)


def _parts(num_rows: int, numbers: int) -> Iterator[slice]:
    """Rows at a time, of so many numbers each in two types."""
    return slices(0, num_rows, max(1, DOTS_BYTES // max(1, 6 * numbers)))


def rest_sums(product_RV: Tensor, logit_map: LogitMap, ids_RJ: Tensor) -> tuple[Tensor, Tensor]:
    """max and sum of exp(z - max), (R, 1) each, over all ids but ``ids_RJ``; -inf and 0 where none is left."""
    z_RV = logit_map(product_RV).scatter(-1, ids_RJ, -torch.inf)
    max_R1 = z_RV.amax(-1, keepdim=True)
    # exp(-inf - -inf) is nan, exp(-inf - 0) the 0 that is meant.
    z_RV -= max_R1.masked_fill(max_R1 == -torch.inf, 0.0)
    return max_R1, z_RV.exp_().sum(-1, keepdim=True)


def normalise(
    z_RJ: Tensor,
    ids_RJ: Tensor,
    last_is_label: bool,
    rest_max_R1: Tensor,
    rest_sum_R1: Tensor,
    slope: Tensor | float,
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
    return RowScores((z_RJ - max_R1) - log_sum_R1, max_R1, log_sum_R1, slope)
