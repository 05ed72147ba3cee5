"""The loss from hidden states, a chunk of tokens at a time: no (T, V) logits matrix, forward or backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.loss.kernels.heads import OutputHead
    from opsd_rs.loss.kernels.opsd_head import OpsdHead
    from opsd_rs.loss.kernels.pipeline import OpsdTopkKL
    from opsd_rs.loss.kernels.scores import TopkLogprobs, linear_lse_gather, linear_lse_topk, linear_topk_logp
    from opsd_rs.loss.kernels.from_hidden import opsd_loss_from_hidden, topk_kl

__all__ = [
    "OpsdHead", "OpsdTopkKL", "OutputHead", "TopkLogprobs", "linear_lse_gather", "linear_lse_topk", "linear_topk_logp",
    "opsd_loss_from_hidden", "topk_kl",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "heads": ["OutputHead"],
    "opsd_head": ["OpsdHead"],
    "pipeline": ["OpsdTopkKL"],
    "scores": ["TopkLogprobs", "linear_lse_gather", "linear_lse_topk", "linear_topk_logp"],
    "from_hidden": ["opsd_loss_from_hidden", "topk_kl"],
})  # fmt: skip
