"""The loss: the divergence as on paper, what turns it into one number, and objectives to plug in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.loss.divergences import divergence, logprobs_at, support
    from opsd_rs.loss.kernels import (
        OutputHead, TopkLogprobs, linear_lse_gather, linear_lse_topk, linear_topk_logp, opsd_loss_from_hidden, topk_kl,
    )  # fmt: skip
    from opsd_rs.loss.objectives import (
        MicroBatch, Objective, ObjectiveLoss, Predictions, RolloutBatch, make_objective, sampled_logprobs,
    )  # fmt: skip
    from opsd_rs.loss.opsd import OpsdLoss, opsd_loss

__all__ = [
    "MicroBatch", "Objective", "ObjectiveLoss", "OpsdLoss", "OutputHead", "Predictions", "RolloutBatch", "TopkLogprobs",
    "divergence", "linear_lse_gather", "linear_lse_topk", "linear_topk_logp", "logprobs_at", "make_objective",
    "opsd_loss", "opsd_loss_from_hidden", "sampled_logprobs", "support", "topk_kl",
]  # fmt: skip
__getattr__, __dir__ = lazy_exports(__name__, {
    "divergences": ["divergence", "logprobs_at", "support"],
    "kernels": "OutputHead TopkLogprobs linear_lse_gather linear_lse_topk linear_topk_logp opsd_loss_from_hidden "
    "topk_kl",
    "objectives": "MicroBatch Objective ObjectiveLoss Predictions RolloutBatch make_objective sampled_logprobs",
    "opsd": ["OpsdLoss", "opsd_loss"],
})  # fmt: skip
