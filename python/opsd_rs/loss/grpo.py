"""``objective = "grpo"``: a clipped policy gradient, with advantages from the rewards of a problem's own rollouts.

    A_i  = (R_i - mean R) / (std R + 1e-4),  over the graded rollouts of one problem;  R = 1 passed, 0 failed
    L_it = -min(r A_i, clip(r, 1 - eps, 1 + eps_high) A_i) * min(s, c),  r = pi(y_t) / pi_old(y_t)

with s the ratio start of step / sampler, a constant. ``loss_type`` says what the sum of L is divided by:

    grpo     1/N sum_i 1/|y_i| sum_t     dapo     1/(sum_i |y_i|) sum_it     dr_grpo  1/(N max_tokens) sum_it

over the N graded rows of the mini-batch. Sources: DeepSeekMath (arXiv 2402.03300); DAPO (arXiv 2503.14476), whose clip
is asymmetric; Dr. GRPO (arXiv 2503.20783), which does not divide by the deviation either (``scale_rewards = "none"``).
Values are those of TRL's GRPOTrainer at beta 0.

A rollout without verdict is no rollout of the group. Rows of a group whose rewards are equal have no gradient: they
cost no forward, and count in what is divided by.

What it does not do: a KL term, rewards other than passed, or drawing more problems for groups without signal.
"""

# Shapes: T completion tokens of a micro-batch, N rows of a mini-batch.

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsd_rs.base import Bools
from opsd_rs.config import Config, Section
from opsd_rs.loss.objectives import (
    MicroBatch,
    Objective,
    ObjectiveLoss,
    RolloutBatch,
    sampler_difference,
    student_logprobs,
)
from opsd_rs.loss.opsd import importance_weights, log_ratio

Floats = NDArray[np.float32]
LossType = Literal["grpo", "dapo", "dr_grpo"]
STD_FLOOR = 1e-4
"""Added to a group's standard deviation, as in TRL."""


def advantages(rows: RolloutBatch, *, scale: Literal["group", "none"]) -> Floats:
    """(N,), group by group; nan where a rollout has no verdict, 0 where it is alone.

    >>> from opsd_rs.base import Batch
    >>> from opsd_rs.records import Grade
    >>> side = Batch.of([[1]] * 3, [[2]] * 3)
    >>> grades = [Grade("add", i, passed, "accepted", ()) for i, passed in enumerate((True, False, None))]
    >>> advantages(RolloutBatch(side, side, tuple(grades)), scale="none").tolist()
    [0.5, -0.5, nan]
    """
    rewards_N = np.array([np.nan if g.passed is None else float(g.passed) for g in rows.grades])
    found_N = np.full(len(rows), np.nan)
    problems = [grade.problem_id for grade in rows.grades]
    for problem in dict.fromkeys(problems):
        of_group = [row for row, name in enumerate(problems) if name == problem and rewards_N[row] >= 0]
        rewards = rewards_N[of_group]
        if len(rewards) == 0:
            continue
        found_N[of_group] = rewards - rewards.mean()
        if scale == "group":
            found_N[of_group] /= (rewards.std(ddof=1) if len(rewards) > 1 else 0.0) + STD_FLOOR
    return found_N.astype(np.float32)


def row_weights(rows: RolloutBatch, counted: Bools, *, loss_type: LossType, max_tokens: int) -> Floats:
    """(N,): what each token's loss is multiplied by, by its row; ``counted`` are the graded rows."""
    num_rows = max(1, int(counted.sum()))
    lengths_N = rows.student.completion_lengths
    if loss_type == "grpo":
        weights_N = 1.0 / (num_rows * np.maximum(1, lengths_N))
    elif loss_type == "dapo":
        weights_N = np.full(len(rows), 1.0 / max(1, int(lengths_N[counted].sum())))
    else:
        weights_N = np.full(len(rows), 1.0 / (num_rows * max_tokens))
    return weights_N.astype(np.float32)


def clipped_loss(
    logprob_T: Tensor,
    old_logprob_T: Tensor | None,
    advantage_T: Tensor,
    *,
    epsilon: float,
    epsilon_high: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Each token's loss (T,), and whether its ratio is clipped; ``old_logprob_T`` None: the policy has not moved.

    >>> loss_T, clipped_T = clipped_loss(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([2.0]), epsilon=0.2)
    >>> round(loss_T.item(), 3), clipped_T.item()
    (-2.4, True)
    """
    old_T = logprob_T.detach() if old_logprob_T is None else old_logprob_T.detach()
    ratio_T = log_ratio(logprob_T, old_T).exp()
    high = 1 + (epsilon if epsilon_high is None else epsilon_high)
    bounded_T = ratio_T.clamp(1 - epsilon, high)
    loss_T = -torch.min(ratio_T * advantage_T, bounded_T * advantage_T)
    clipped_T = ((ratio_T < 1 - epsilon) & (advantage_T < 0)) | ((ratio_T > high) & (advantage_T > 0))
    return loss_T, clipped_T


class Grpo(Objective):
    """Its keys are those of ``[grpo]``."""

    needs = frozenset({"old_logprobs"})

    def __init__(self, options: Section, config: Config) -> None:
        super().__init__(options, config)
        self._keys = config.grpo

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """Those with a gradient: graded, in a group whose rewards differ."""
        found_N = self._advantages(rows)
        trained: Bools = np.isfinite(found_N) & (found_N != 0)
        return trained

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The clipped loss of the sampled tokens."""
        keys, rows = self._keys, batch.mini_batch
        advantages_N = self._advantages(rows)
        weights_N = row_weights(
            rows,
            np.isfinite(advantages_N),
            loss_type=keys.loss_type,
            max_tokens=self.config.rollout.max_tokens,
        )
        logprob_T = student_logprobs(batch, temperature=batch.temperature)
        advantage_T, weight_T = (
            torch.from_numpy(values_N[batch.places]).to(logprob_T.device)[batch.row_T]
            for values_N in (advantages_N, weights_N)
        )
        loss_T, clipped_T = clipped_loss(
            logprob_T,
            batch.old_logprobs_T,
            advantage_T,
            epsilon=keys.epsilon,
            epsilon_high=keys.epsilon_high,
        )
        sampler_T = importance_weights(
            logprob_T,
            batch.old_logprobs_T,
            batch.rollout_logprobs_T,
            is_clip=None,
            rollout_is_clip=keys.rollout_is_clip,
        )
        sums = {"clipped": clipped_T.sum(), "nll": -logprob_T.detach().sum()}
        total = (loss_T * sampler_T * weight_T).sum()
        return ObjectiveLoss(total, sums | sampler_difference(batch, logprob_T))

    def _advantages(self, rows: RolloutBatch) -> Floats:
        return advantages(rows, scale=self._keys.scale_rewards)
