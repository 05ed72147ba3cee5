"""``objective = "ssd"``: plain negative log-likelihood on all of the student's own answers, passed or not.

    L = -1/T sum_t log p(y_t),  over the T tokens of the mini-batch

Source: simple self-distillation (arXiv 2604.01193). Sampled at temperature 1 its expected gradient
is 0; below it, or with ``rollout.top_p`` below 1, the student learns the sharper distribution that it was drawn from.
The logits of the loss are not divided by the temperature, therefore. Keys of its own it has none.
"""

from __future__ import annotations

from opsd_rs.loss.objectives import MicroBatch, Objective, ObjectiveLoss
from opsd_rs.loss.rft import nll_loss


class Ssd(Objective):
    """``nll_loss`` on all rows."""

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The negative log-likelihood."""
        return nll_loss(batch)
