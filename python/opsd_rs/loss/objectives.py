"""What a run minimises: an objective says which forwards it needs and turns one micro-batch into a loss.

``training.update`` chooses the micro-batches, runs the forwards, checks the loss, and steps the optimizer; it knows no
objective by name. ``objective = "opsd"`` is this package's; a user's own is a subclass of ``Objective``, named by
``module:attribute`` (see ``base.plugins``):

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

import torch
from torch import Tensor

from opsd_rs.base import Batch, Bools, LogitRule, resolve_plugin
from opsd_rs.config import Config, Section
from opsd_rs.loss.divergences import logprobs_at
from opsd_rs.loss.kernels import OutputHead, linear_lse_gather, opsd_loss_from_hidden
from opsd_rs.loss.opsd import OpsdLoss, opsd_loss
from opsd_rs.records import Grade

Forward = Literal["teacher", "old_logprobs"]


@dataclass(frozen=True)
class RolloutBatch:
    """A step's rollouts, packed as each side reads them; row ``i`` is the same rollout everywhere.

    >>> rows = Batch.of([[1]], [[2, 3]])
    >>> len(RolloutBatch(rows, rows, (Grade("add", 0, True, "accepted", ()),)))
    1
    """

    student: Batch
    teacher: Batch
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
        product_TV = torch.nn.functional.linear(self.hidden_TD, head.weight_VD, head.bias_V)
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
        """Which rows enter the loss: by default those that have context. Rows without completion never do."""
        return rows.teacher.has_context

    @abstractmethod
    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The loss of ``batch``, whose rows are all trained ones."""


class OpsdObjective(Objective):
    """The divergence between student and self-teacher; its keys are those of ``[loss]``."""

    def __init__(self, options: Section, config: Config) -> None:
        super().__init__(options, config)
        compares = config.loss.is_clip is not None and config.loss.old == "trainer"
        self.needs = frozenset({"teacher", "old_logprobs"} if compares else {"teacher"})

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """``opsd_loss`` with ``[loss]``."""
        out = _opsd_loss(batch, self.config)
        sums = {"kl": out.kl_T.sum(), "topk_mass": out.topk_mass_T.sum()}
        topk = self.config.loss.topk
        if topk is not None and batch.teacher is not None:
            sums["topk_overlap"] = topk_overlap(batch.student, batch.teacher, topk) * len(out.kl_T)
        if batch.rollout_logprobs_T is not None:
            # |trainer - sampler|: large where the two disagree about the policy.
            difference_T = (out.student_logprob_T - batch.rollout_logprobs_T).abs()
            sums["rollout_logprob_difference"] = difference_T.sum()
        return ObjectiveLoss(out.loss, sums, out.kl_T.detach())


def _opsd_loss(batch: MicroBatch, config: Config) -> OpsdLoss:
    """On a GPU from hidden states; on a CPU from all logits, the plain twin."""
    student, teacher = batch.student, batch.teacher
    assert teacher is not None
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
