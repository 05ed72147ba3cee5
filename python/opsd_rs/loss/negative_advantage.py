"""``objective = "negative_advantage"``: every unlikely sampled token has advantage -1; no teacher, no verifier.

    L = -1/T sum_t A [p(y_t) < tau] log p(y_t),  A = -1, tau = 0.05

The student becomes surer of itself, whatever it says: what an objective gains beyond this control comes from its
teacher or verifier. Source: arXiv 2608.31046. ``[negative_advantage]`` holds A and tau. Whether a token counts is
decided by the student's own probability of the moment, at the rollouts' temperature, and has no gradient.
"""

# Shapes: T completion tokens of a micro-batch.

from __future__ import annotations

import math

import torch
from torch import Tensor

from opsd_rs.loss.objectives import MicroBatch, Objective, ObjectiveLoss, student_logprobs, token_mean


def unlikely_loss(logprob_T: Tensor, *, advantage: float, below: float) -> tuple[Tensor, Tensor]:
    """Each token's loss (T,), and whether it counts.

    >>> loss_T, counts_T = unlikely_loss(torch.tensor([-4.0, -1.0]), advantage=-1.0, below=0.05)
    >>> loss_T.tolist(), counts_T.tolist()
    ([-4.0, 0.0], [True, False])
    """
    counts_T = logprob_T.detach() < math.log(below)
    return -advantage * torch.where(counts_T, logprob_T, torch.zeros_like(logprob_T)), counts_T


class NegativeAdvantage(Objective):
    """``unlikely_loss`` on all rows."""

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """Mean over all trained tokens, those that do not count among them."""
        keys = self.config.negative_advantage
        logprob_T = student_logprobs(batch, temperature=batch.temperature)
        loss_T, counts_T = unlikely_loss(logprob_T, advantage=keys.advantage, below=keys.below)
        sums = {"unlikely": counts_T.sum(), "nll": -logprob_T.detach().sum()}
        return ObjectiveLoss(token_mean(loss_T, batch), sums)
