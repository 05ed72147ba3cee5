"""The loss: the divergence as on paper, and what turns it into one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsd_rs._lazy import lazy_exports

if TYPE_CHECKING:
    # isort: off
    from opsd_rs.loss.divergences import divergence, logprobs_at, support
    from opsd_rs.loss.opsd import OpsdLoss, opsd_loss

__all__ = ["OpsdLoss", "divergence", "logprobs_at", "opsd_loss", "support"]
__getattr__, __dir__ = lazy_exports(__name__, {
    "divergences": ["divergence", "logprobs_at", "support"],
    "opsd": ["OpsdLoss", "opsd_loss"],
})  # fmt: skip
