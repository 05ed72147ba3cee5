"""The row operations on a GPU: one pass over the logits to score them, one to write their gradient.

The vocabulary is cut into groups of 128. ``sweep`` reads a row once and leaves each group's max and sum of
exp(z - max), 1/16 of the row's size. All else reads that, and a few groups of logits:

- ``select``: the K groups with the largest max hold the K largest logits: whatever lies outside of them comes after K
  others, one of each group. Among equals the lowest group, then the lowest id: the rule of ``support``.
- ``rest``: the sum over all ids but the chosen ones; groups with a chosen id are summed again without it, so that
  nothing is subtracted.

This agrees with ``rows``, its plain twin, to fp32 rounding; ids are equal. Sums are in a fixed order: the same bits
every time. What it does not do: fp64, more than 128 ids, the whole vocabulary as support (``rows`` does).
"""

# Shapes: R rows of a block, V vocabulary, G groups, K support, J = K chosen ids and the sampled one, D hidden size.

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor

from opsd_rs.loss.kernels import triton_kernels as kernels
from opsd_rs.loss.kernels.heads import LogitMap
from opsd_rs.loss.kernels.rows import RowScores, normalise, scatter_entries
from opsd_rs.loss.kernels.triton_kernels import GROUP


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
        tile = min(64, _power(self.groups, 1))
        self._launch(
            kernels.sweep, (num_rows, triton.cdiv(self.groups, tile)), self.max_RG, self.sum_RG, TILE=tile
        )

    def _launch(self, kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
        if not grid[0]:
            return
        kernel[grid](
            self.product_RV, self.product_RV.stride(0), self.bias_V, *args, self.vocabulary, self.groups,
            self.logit_map.scale, self.softcap, 1 / self.logit_map.temperature,
            **self.parts, **constants,
        )  # fmt: skip

    def select(self, topk: int) -> Tensor:
        """Ids (R, K)."""
        num_rows = self.product_RV.shape[0]
        ids_RK = torch.empty(num_rows, topk, dtype=torch.int64, device=self.product_RV.device)
        sizes = {"K": topk, "KP": _power(topk), "GP": _power(self.groups)}
        warps = 2 if sizes["KP"] <= 32 else 16  # a tile of KP groups stays in registers
        self._launch(kernels.select, (num_rows,), self.max_RG, self.sum_RG, ids_RK, num_warps=warps, **sizes)
        return ids_RK

    def scores(self, ids_RJ: Tensor, last_is_label: bool, refined_RJ: Tensor | None) -> RowScores:
        """As ``PlainRows.scores``."""
        num_rows, num_ids = ids_RJ.shape
        ids_RJ = ids_RJ.contiguous()
        product_RJ = self.product_RV.gather(-1, ids_RJ) if refined_RJ is None else refined_RJ
        rest = torch.empty(2, num_rows, 1, dtype=torch.float32, device=ids_RJ.device)
        sizes = {"J": num_ids, "JP": _power(num_ids), "GP": _power(self.groups)}
        self._launch(
            kernels.rest,
            (num_rows,),
            self.max_RG,
            self.sum_RG,
            ids_RJ,
            rest[0],
            rest[1],
            num_warps=16,
            **sizes,
        )
        return normalise(self.logit_map(product_RJ, ids_RJ), ids_RJ, last_is_label, rest[0], rest[1])

    def write_gradient(
        self, scores: RowScores, ids_RJ: Tensor, upstream_RJ: Tensor, out_RV: Tensor, last_is_label: bool
    ) -> None:
        """As ``PlainRows.write_gradient``."""
        num_rows, block = out_RV.shape[0], 4096
        dense_R1 = -upstream_RJ.sum(-1, keepdim=True)
        # Before they are overwritten: the slope at the chosen ids.
        slope = self.logit_map.slope(self.logit_map(self.product_RV.gather(-1, ids_RJ), ids_RJ))
        if num_rows:
            kernels.gradient[(num_rows, triton.cdiv(self.vocabulary, block))](
                self.product_RV, self.product_RV.stride(0), self.bias_V, out_RV, out_RV.stride(0),
                scores.max_R1.contiguous(), scores.log_sum_R1.contiguous(), dense_R1, self.vocabulary,
                self.logit_map.scale, self.softcap, self.logit_map.temperature,
                BLOCK=block, num_warps=8, **self.parts,
            )  # fmt: skip
        scatter_entries(out_RV, scores, ids_RJ, upstream_RJ, dense_R1, slope, last_is_label)


def selected_products(hidden_RD: Tensor, weight_VD: Tensor, ids_RJ: Tensor) -> Tensor:
    """<h_r, W_ids> in fp32 (R, J), without a copy of the matrix's rows."""
    num_rows, num_ids = ids_RJ.shape
    out_RJ = torch.empty(num_rows, num_ids, dtype=torch.float32, device=hidden_RD.device)
    hidden_RD, ids_RJ, padded = hidden_RD.contiguous(), ids_RJ.contiguous(), _power(num_ids)
    if num_rows:
        kernels.dots[(num_rows,)](
            hidden_RD, hidden_RD.stride(0), weight_VD, *weight_VD.stride(), ids_RJ, out_RJ, hidden_RD.shape[1],
            J=num_ids, JP=padded, BLOCK=max(16, min(512, 8192 // padded)), num_warps=8,
        )  # fmt: skip
    return out_RJ
