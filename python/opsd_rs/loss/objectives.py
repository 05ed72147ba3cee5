"""What a run minimises: an objective says which forwards it needs and turns one micro-batch into a loss.

``training.update`` chooses the micro-batches, runs the forwards, checks the loss, and steps the optimizer; it knows no
objective by name. ``objective = "opsd"`` is this package's; a user's own is a subclass of ``Objective``, named by
``module:attribute`` (see ``base.plugins``); the others of this package are a file each (``grpo``, ``rft``, ``ssd``,
``opd``, ``negative_advantage``, ``mixture``):

    class CrossEntropy(Objective):
        class Options(Section):
            label_smoothing: float = 0.0

        def trained_rows(self, rows):
            return np.array([grade.passed is True for grade in rows.grades])

        def loss(self, batch):
            loss_T = F.cross_entropy(batch.student_logits_TV, batch.completion_ids_T, reduction="none")
            return ObjectiveLoss(loss_T.sum() / batch.num_tokens, {"cross_entropy": loss_T.detach().sum()})

What it does not do: run a model, or know about ranks and micro-batches beyond the two counts it divides by.
"""

# Shapes: T completion tokens of a micro-batch, rows laid end to end; D hidden size, V vocabulary.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from opsd_rs.base import Batch, Bools, Ints, LogitRule, resolve_plugin
from opsd_rs.config import Config, LossConfig, Section
from opsd_rs.loss.divergences import logprobs_at
from opsd_rs.loss.kernels import OutputHead, linear_lse_gather, linear_topk_logp, opsd_loss_from_hidden
from opsd_rs.loss.opsd import OpsdLoss, aggregate, opsd_loss
from opsd_rs.records import Grade

Forward = Literal["teacher", "external_teacher", "old_logprobs"]


@dataclass(frozen=True)
class RolloutBatch:
    """A step's rollouts, packed as each side reads them; row ``i`` is the same rollout everywhere.

    >>> rows = Batch.of([[1]], [[2, 3]])
    >>> len(RolloutBatch(rows, rows, (Grade("add", 0, True, "accepted", ()),)))
    1
    """

    student: Batch
    teacher: Batch
    """The self-teacher's; where the objective needs none, the student's rows, all without context."""
    grades: tuple[Grade, ...]

    def __len__(self) -> int:
        return len(self.grades)

    def rows(self, indices: Sequence[int]) -> RolloutBatch:
        """Those rows, in that order."""
        grades = tuple(self.grades[row] for row in indices)
        return RolloutBatch(self.student.rows(indices), self.teacher.rows(indices), grades)


@dataclass(frozen=True)
class Predictions:
    """What one side says of each completion token: a hidden state, and the head that makes logits of it.

    >>> side = Predictions(torch.ones(1, 2), OutputHead(torch.eye(3, 2)))
    >>> side.logits_TV.tolist()
    [[1.0, 1.0, 0.0]]
    """

    hidden_TD: Tensor
    """At place t: the state from which ``completion_ids_T[t]`` is predicted."""
    head: OutputHead

    @cached_property
    def logits_TV(self) -> Tensor:
        """All logits at once, in the compute type, not divided by the temperature."""
        head = self.head
        bias_V = None if head.bias_V is None else head.bias_V[: head.vocabulary]
        product_TV = torch.nn.functional.linear(self.hidden_TD, head.matrix(), bias_V)
        return LogitRule(head.scale, head.softcap).apply(product_TV)


@dataclass(frozen=True)
class MicroBatch:
    """What an objective computes its loss from."""

    rows: RolloutBatch
    completion_ids_T: Tensor
    row_T: Tensor
    """Which row of the micro-batch each completion token belongs to."""
    student: Predictions
    """With gradient."""
    teacher: Predictions | None
    """The self-teacher's, under its own prompt; None unless the objective needs ``teacher``."""
    external: Predictions | None
    """Another model's, under the student's prompt; None unless the objective needs ``external_teacher``."""
    rollout_logprobs_T: Tensor | None
    """The sampler's; None where the rollouts came without."""
    old_logprobs_T: Tensor | None
    """The student's at the start of the step, at ``temperature``. None unless the objective needs ``old_logprobs``,
    and in a step of one update, where start and now are the same."""
    temperature: float
    """The rollouts'."""
    num_tokens: int
    """Trained tokens of the whole mini-batch, over all ranks and micro-batches."""
    num_rows: int
    """Rows of the whole mini-batch, those that are not trained counted."""
    mini_batch: RolloutBatch
    """All rows of the mini-batch, over all ranks, those that are not trained too; a problem's rollouts are together."""
    places: Ints
    """Which of them each row of the micro-batch is."""

    @property
    def student_logits_TV(self) -> Tensor:
        """With gradient; computed where asked for. At place t: the logits that predict ``completion_ids_T[t]``, not
        divided by the temperature."""
        return self.student.logits_TV

    @property
    def teacher_logits_TV(self) -> Tensor | None:
        """The same of the self-teacher."""
        return None if self.teacher is None else self.teacher.logits_TV


@dataclass(frozen=True)
class ObjectiveLoss:
    """A micro-batch's share of the mini-batch loss, and what to report.

    >>> ObjectiveLoss(torch.zeros(()), {"entropy": torch.ones(3).sum()}).token_sums["entropy"].item()
    3.0
    """

    loss: Tensor
    """Scalar; the sum of all shares, over ranks too, is the mini-batch's loss."""
    token_sums: Mapping[str, Tensor] = field(default_factory=dict)
    """Metrics as sums over the micro-batch's tokens; ``metrics.jsonl`` holds their means over a step's tokens."""
    token_kl_T: Tensor | None = None
    """The divergence at each completion token, nats, for the rollout record (``log.token_kl``)."""
    token_counts: Mapping[str, int] = field(default_factory=dict)
    """Over how many tokens a sum is, where that is not all of the micro-batch's."""


class Objective(ABC):
    """Called with its checked options and the whole configuration; ``loss`` is called once per micro-batch."""

    class Options(Section):
        """The objective's own keys, those of ``[objective]``."""

    needs: frozenset[Forward] = frozenset()
    """Forwards beside the student's own."""

    def __init__(self, options: Section, config: Config) -> None:
        self.options = options
        self.config = config

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """Which rows enter the loss. Rows without completion never do. By default those that have context, or all
        where the objective needs no self-teacher; then no context is made."""
        return rows.teacher.has_context if "teacher" in self.needs else np.ones(len(rows), np.bool_)

    @abstractmethod
    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The loss of ``batch``, whose rows are all trained ones."""


class OpsdObjective(Objective):
    """The divergence between student and self-teacher; its keys are those of ``[loss]``."""

    def __init__(self, options: Section, config: Config) -> None:
        super().__init__(options, config)
        self.needs = frozenset(["teacher", *compared_forwards(config.loss)])

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """Those that have context, as far as ``loss.rows`` lets them."""
        return rows.teacher.has_context & graded_rows(rows, self.config.loss.rows)

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """``opsd_loss`` with ``[loss]``."""
        assert batch.teacher is not None
        out = divergence_loss(batch, batch.student, batch.teacher, self.config)
        sums = {"kl": out.kl_T.sum(), "topk_mass": out.topk_mass_T.sum()}
        topk = self.config.loss.topk
        if topk is not None:
            sums["topk_overlap"] = topk_overlap(batch.student, batch.teacher, topk) * len(out.kl_T)
        sums |= sampler_difference(batch, out.student_logprob_T)
        return ObjectiveLoss(out.loss, sums, out.kl_T.detach())


def divergence_loss(
    batch: MicroBatch, student: Predictions, teacher: Predictions, config: Config
) -> OpsdLoss:
    """``opsd_loss`` with ``[loss]``: on a GPU from hidden states; on a CPU from all logits, the plain twin."""
    tokens: tuple[Any, ...] = (
        batch.completion_ids_T,
        torch.ones_like(batch.completion_ids_T, dtype=torch.bool),
        batch.row_T,
        batch.rollout_logprobs_T,
        batch.old_logprobs_T,
    )
    options: dict[str, Any] = {
        "config": config.loss,
        "num_tokens": batch.num_tokens,
        "num_rows": batch.num_rows,
        "temperature": batch.temperature,
    }
    if not from_hidden(student.hidden_TD.device):
        return opsd_loss(student.logits_TV, teacher.logits_TV, *tokens, **options)
    options |= {"head": student.head, "teacher_head": teacher.head}
    return opsd_loss_from_hidden(student.hidden_TD, teacher.hidden_TD, *tokens, **options)


def compared_forwards(loss: LossConfig) -> set[Forward]:
    """What the ratio now/old of ``[loss]`` takes."""
    return {"old_logprobs"} if loss.is_clip is not None and loss.old == "trainer" else set()


def sampler_difference(batch: MicroBatch, logprob_T: Tensor) -> dict[str, Tensor]:
    """|trainer - sampler|, a metric: large where the two disagree about the policy."""
    if batch.rollout_logprobs_T is None:
        return {}
    difference_T = (logprob_T.detach() - batch.rollout_logprobs_T).abs()
    return {"rollout_logprob_difference": difference_T.sum()}


def graded_rows(rows: RolloutBatch, which: Literal["all", "failed", "passed"]) -> Bools:
    """Rows by their grade; one without verdict has neither failed nor passed."""
    if which == "all":
        return np.ones(len(rows), np.bool_)
    return np.array([grade.passed is (which == "passed") for grade in rows.grades], np.bool_)


def student_logprobs(batch: MicroBatch, *, temperature: float) -> Tensor:
    """The student's log-probabilities of the sampled tokens (T,), with gradient."""
    side, ids_T1 = batch.student, batch.completion_ids_T.unsqueeze(-1)
    if from_hidden(side.hidden_TD.device):
        found = linear_topk_logp(side.hidden_TD, side.head, ids_TK=ids_T1, temperature=temperature)
        return found.logprobs_TK.squeeze(-1)
    return logprobs_at(side.logits_TV / temperature, ids_T1).squeeze(-1)


def token_mean(loss_T: Tensor, batch: MicroBatch) -> Tensor:
    """The micro-batch's share of the mean over all trained tokens of the mini-batch."""
    ones_T = torch.ones_like(batch.row_T, dtype=torch.bool)
    return aggregate(
        loss_T,
        ones_T,
        batch.row_T,
        mode="token_mean",
        num_tokens=batch.num_tokens,
        num_rows=batch.num_rows,
    )


OVERLAP_TOKENS = 256
"""Of a micro-batch, evenly apart, whose likeliest tokens are compared: a sample costs next to nothing."""


@torch.no_grad()
def topk_overlap(student: Predictions, teacher: Predictions, topk: int) -> Tensor:
    """Share of the student's ``topk`` likeliest tokens that are among the teacher's, a mean over sampled places.

    >>> side = Predictions(torch.tensor([[3.0, 2.0, 1.0]]), OutputHead(torch.eye(3)))
    >>> other = Predictions(torch.tensor([[3.0, 1.0, 2.0]]), OutputHead(torch.eye(3)))
    >>> topk_overlap(side, side, 2).item(), topk_overlap(side, other, 2).item()
    (1.0, 0.5)
    """
    num_tokens = len(student.hidden_TD)
    count = min(num_tokens, OVERLAP_TOKENS)
    places_P = torch.arange(count, device=student.hidden_TD.device) * num_tokens // count
    ids = [
        Predictions(side.hidden_TD.detach()[places_P], side.head)
        .logits_TV.topk(min(topk, len(side.head.weight_VD)), dim=-1)
        .indices
        for side in (student, teacher)
    ]
    return (ids[0].unsqueeze(-1) == ids[1].unsqueeze(-2)).any(-1).float().mean()


def sampled_logprobs(side: Predictions, ids_T: Tensor, *, temperature: float) -> Tensor:
    """Log-probabilities of the sampled tokens (T,), no gradient: what later updates of a step compare with."""
    ids_T1, hidden_TD = ids_T.unsqueeze(-1), side.hidden_TD.detach()
    if from_hidden(hidden_TD.device):
        return linear_lse_gather(hidden_TD, side.head, ids_T1, temperature=temperature).logprobs_TK.squeeze(
            -1
        )
    return logprobs_at(side.logits_TV.detach() / temperature, ids_T1).squeeze(-1)


def from_hidden(device: torch.device) -> bool:
    """Whether logits are made a chunk at a time there."""
    return device.type == "cuda"


def make_objective(config: Config) -> Objective:
    """The objective that ``config.objective`` names."""
    made: Objective = resolve_plugin("objective", config.objective.name)(config.objective.options, config)
    return made
