"""``objective = "rft"``: plain negative log-likelihood on the student's own answers that passed.

    L = -1/T sum_t log p(y_t),  over the T tokens of the mini-batch's passed rows

The logits are not divided by the rollouts' temperature: it is supervised fine-tuning, one step at a time. Source:
rejection-sampling fine-tuning (arXiv 2308.01825), on policy. Keys of its own it has none.
"""

# Shapes: T completion tokens of a micro-batch.

from __future__ import annotations

from opsd_rs.base import Bools
from opsd_rs.loss.objectives import (
    MicroBatch,
    Objective,
    ObjectiveLoss,
    RolloutBatch,
    graded_rows,
    student_logprobs,
    token_mean,
)


def nll_loss(batch: MicroBatch) -> ObjectiveLoss:
    """Mean negative log-likelihood of the sampled tokens, at temperature 1."""
    nll_T = -student_logprobs(batch, temperature=1.0)
    return ObjectiveLoss(token_mean(nll_T, batch), {"nll": nll_T.detach().sum()})


class Rft(Objective):
    """``nll_loss`` on rows that passed."""

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """Those that passed."""
        return graded_rows(rows, "passed")

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The negative log-likelihood."""
        return nll_loss(batch)
