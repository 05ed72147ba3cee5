"""The row operations on a GPU: one pass over the logits to score them, one to write their gradient.

The vocabulary is cut into groups of 128. ``sweep`` reads a row once and leaves each group's max and sum of
exp(z - max), 1/16 of the row's size. All else reads that, and a few groups of logits:

- ``select``: the K largest logits. The largest of all is the largest of its group; then that group stands for its
  next. Among equals the lowest group, then the lowest id: the rule of ``support``.
- ``score``: the sum over all ids but the chosen ones, where groups with a chosen id are summed again without it, and
  log-probs of the chosen ones.
- ``gradient``: writes the gradient over the row, and over that the entries of the chosen ids.

This agrees with ``rows``, its plain twin, to fp32 rounding; ids are equal. Sums are in a fixed order: the same bits
every time. What it does not do: fp64, more than 128 ids, the whole vocabulary as support (``rows`` does).
"""

# Shapes: R rows of a block, V vocabulary, G groups, K support, J = K chosen ids and the sampled one, D hidden size.

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor

from opsd_rs.loss.divergences import MAX_LOG_SUPPORT, MIN_LOGPROB
from opsd_rs.loss.kernels import triton_kernels as kernels
from opsd_rs.loss.kernels.heads import LogitMap
from opsd_rs.loss.kernels.row_losses import RowTerms
from opsd_rs.loss.kernels.rows import PlainRows, RowGradient, RowScores
from opsd_rs.loss.kernels.triton_kernels import GROUP
from opsd_rs.loss.kernels.triton_loss_kernel import FORWARD, JSD, REVERSE, SAMPLED, row_loss
from opsd_rs.loss.opsd import MAX_LOG_RATIO

SELECT_WARPS, GRADIENT_BLOCK, LOSS_ROWS, SWEEP_TILE, SWEEP_WARPS = 2, 4096, 8, 64, 4
"""Fastest of those tried on an H200."""


def _power(number: int, least: int = 16) -> int:
    return max(least, int(triton.next_power_of_2(number)))


class TritonRows:
    """A block of products and what is asked of it; the same methods as ``PlainRows``."""

    def __init__(self, product_RV: Tensor, logit_map: LogitMap) -> None:
        self.product_RV, self.logit_map = product_RV, logit_map
        num_rows, self.vocabulary = product_RV.shape
        self.groups = triton.cdiv(self.vocabulary, GROUP)
        self.max_RG, self.sum_RG = (
            torch.empty(num_rows, self.groups, dtype=torch.float32, device=product_RV.device)
            for _ in range(2)
        )
        bias_V = logit_map.bias_V
        # A pointer that is not read where there is no bias.
        self.bias_V = self.max_RG if bias_V is None else bias_V.contiguous()
        self.softcap = logit_map.softcap or 0.0
        self.parts = {
            "HAS_BIAS": bias_V is not None,
            "HAS_FACTOR": logit_map.scale != 1.0 or logit_map.temperature != 1.0,
            "HAS_CAP": logit_map.softcap is not None,
        }
        tile = min(SWEEP_TILE, _power(self.groups, 1))
        grid = (num_rows, triton.cdiv(self.groups, tile))
        self._launch(kernels.sweep, grid, self.max_RG, self.sum_RG, TILE=tile, num_warps=SWEEP_WARPS)

    def _launch(self, kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
        if not grid[0]:
            return
        kernel[grid](
            self.product_RV, self.product_RV.stride(0), self.bias_V, *args, self.vocabulary, self.groups,
            self.logit_map.scale, self.softcap, 1 / self.logit_map.temperature,
            **self.parts, **constants,
        )  # fmt: skip

    def select(self, topk: int, ids_RJ: Tensor) -> None:
        """Ids into the first ``topk`` columns."""
        whole = _power(self.groups // 2 + 1)
        self._launch(
            kernels.select, (ids_RJ.shape[0],), self.max_RG, self.sum_RG, ids_RJ, ids_RJ.stride(0),
            K=topk, GP=whole, GP2=_power(self.groups - whole), num_warps=SELECT_WARPS,
        )  # fmt: skip

    def slope(self, ids_RJ: Tensor) -> Tensor | float:
        """As ``PlainRows.slope``."""
        return PlainRows(self.product_RV, self.logit_map).slope(ids_RJ)

    def scores(self, ids_RJ: Tensor, last_is_label: bool, refined_RJ: Tensor | None) -> RowScores:
        """As ``PlainRows.scores``."""
        num_rows, num_ids = ids_RJ.shape
        options: Any = {"dtype": torch.float32, "device": ids_RJ.device}
        logprobs_RJ = torch.empty(num_rows, num_ids, **options)
        max_R1, log_sum_R1 = (torch.empty(num_rows, 1, **options) for _ in range(2))
        slope = self.logit_map.factor if self.logit_map.softcap is None else torch.empty_like(logprobs_RJ)
        padded = _power(num_ids)
        self._launch(
            kernels.score, (num_rows,), self.max_RG, self.sum_RG, ids_RJ.contiguous(),
            self.max_RG if refined_RJ is None else refined_RJ, logprobs_RJ, max_R1, log_sum_R1,
            slope if isinstance(slope, Tensor) else self.max_RG,
            J=num_ids, JP=padded, GP=_power(self.groups), LABELLED=last_is_label,
            REFINED=refined_RJ is not None, num_warps=4 if padded <= 32 else 16,
        )  # fmt: skip
        return RowScores(logprobs_RJ, max_R1, log_sum_R1, slope)

    def write_gradient(
        self, scores: RowScores, ids_RJ: Tensor, gradient: RowGradient, out_RV: Tensor
    ) -> None:
        """As ``PlainRows.write_gradient``."""
        (num_rows, num_ids), block = gradient.entries_RJ.shape, GRADIENT_BLOCK
        if num_rows:
            kernels.gradient[(num_rows, triton.cdiv(self.vocabulary, block))](
                self.product_RV, self.product_RV.stride(0), self.bias_V, out_RV, out_RV.stride(0),
                scores.max_R1.contiguous(), scores.log_sum_R1.contiguous(), gradient.dense_R1.contiguous(),
                ids_RJ, ids_RJ.stride(0), gradient.entries_RJ.contiguous(), self.vocabulary,
                self.logit_map.scale, self.softcap, self.logit_map.temperature,
                J=num_ids, JP=_power(num_ids), BLOCK=block, num_warps=8, **self.parts,
            )  # fmt: skip


def row_losses(
    student: RowScores, teacher: RowScores, terms: RowTerms, out_5R: Tensor, wants_gradient: bool
) -> RowGradient | None:
    """As ``row_losses.row_losses``, in one launch."""
    num_rows, num_ids = student.logprobs_RJ.shape
    kind = (
        terms.kind
        if terms.kind != "jsd"
        else {0.0: "forward_kl", 1.0: "reverse_kl"}.get(terms.jsd_alpha, "jsd")
    )
    numbers = {"reverse_kl": REVERSE, "forward_kl": FORWARD, "jsd": JSD, "sampled_token": SAMPLED}
    num_entries = num_ids if kind == "sampled_token" else num_ids - 1
    dense_R1, entries_RK = (
        torch.empty(num_rows, size, dtype=torch.float32, device=out_5R.device) for size in (1, num_entries)
    )
    slope, old_R, rollout_R = student.slope_RJ, terms.old_R, terms.rollout_R
    if terms.rollout_is_clip is None:
        rollout_R = None
    if num_rows:
        row_loss[(triton.cdiv(num_rows, LOSS_ROWS),)](
            student.logprobs_RJ, teacher.logprobs_RJ, slope if isinstance(slope, Tensor) else dense_R1,
            terms.weight_R, dense_R1 if old_R is None else old_R, dense_R1 if rollout_R is None else rollout_R,
            out_5R, out_5R.stride(0), dense_R1, entries_RK, num_rows,
            1.0 if isinstance(slope, Tensor) else slope, terms.jsd_alpha, terms.is_clip or 0.0,
            terms.rollout_is_clip or 0.0, MIN_LOGPROB, MAX_LOG_SUPPORT, MAX_LOG_RATIO,
            J=num_ids, KP=_power(num_ids), KIND=numbers[kind], TAIL=terms.tail,
            HAS_OLD=old_R is not None, HAS_CLIP=terms.is_clip is not None, HAS_ROLLOUT=rollout_R is not None,
            HAS_SLOPE=isinstance(slope, Tensor), GRADIENT=wants_gradient, ROWS=LOSS_ROWS, num_warps=4,
        )  # fmt: skip
    return RowGradient(dense_R1, entries_RK) if wants_gradient else None


def selected_products(hidden_RD: Tensor, weight_VD: Tensor, ids_RJ: Tensor) -> Tensor:
    """<h_r, W_ids> in fp32 (R, J), without a copy of the matrix's rows."""
    num_rows, num_ids = ids_RJ.shape
    out_RJ = torch.empty(num_rows, num_ids, dtype=torch.float32, device=hidden_RD.device)
    hidden_RD, ids_RJ, padded = hidden_RD.contiguous(), ids_RJ.contiguous(), _power(num_ids)
    if num_rows:
        kernels.dots[(num_rows,)](
            hidden_RD, hidden_RD.stride(0), weight_VD, *weight_VD.stride(), ids_RJ, out_RJ, hidden_RD.shape[1],
            J=num_ids, JP=padded, BLOCK=max(16, 4096 // padded), num_warps=4,
        )  # fmt: skip
    return out_RJ


def scaled(values: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``values * factor`` in another type, in one pass; torch's takes thrice the time where types differ."""
    out = torch.empty(values.shape, dtype=dtype, device=values.device)
    if values.numel():
        kernels.scaled[(triton.cdiv(values.numel(), 4096),)](
            values.contiguous(), factor, out, values.numel(), BLOCK=4096, num_warps=8
        )
    return out
