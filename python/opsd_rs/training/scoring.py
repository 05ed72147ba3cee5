"""What is known of a step's rows before the student's own passes: the teacher's hidden states, and old log-probs.

The teacher's weights visit the student's parameters (``Teacher.loaded``), so its forwards are done for a group of
micro-batches at once: as many as fit their hidden states, one per completion token, into ``GROUP_BYTES``. That is a
whole step but for long answers of large models.

Rows whose teacher reads the very prompt that the student read are special where both have equal weights, as in the
control before its first real update: they take the student's own hidden states. Two forwards in different company are
rounded differently, and AdamW would make a full step of that.
"""

# Shapes: T completion tokens of a micro-batch, D hidden size.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from opsd_rs.base import MIB, Batch, Bools, Ints, Ranks
from opsd_rs.config import Config
from opsd_rs.loss import Objective, OutputHead, Predictions, RolloutBatch, sampled_logprobs
from opsd_rs.policy import LONG_ROW, ExternalTeacher, Student, Teacher
from opsd_rs.training.micro_batches import MicroBatches, micro_batches

GROUP_BYTES = 8 * 1024 * MIB
"""For the teacher's hidden states, on each rank."""


@dataclass(frozen=True)
class Step:
    """What the parts of an update share."""

    student: Student
    teacher: Teacher
    objective: Objective
    rows: RolloutBatch
    trained: Bools
    """Per row: whether it enters the loss."""
    config: Config
    ranks: Ranks
    external: ExternalTeacher | None = None

    def trained_of(self, mini_batch: Sequence[int]) -> list[int]:
        """The rows of a mini-batch that enter the loss."""
        return [row for row in mini_batch if self.trained[row]]

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """``array`` on the device."""
        return torch.from_numpy(array).to(self.student.device)

    def divided(self, rows: Sequence[int], batch: Batch) -> MicroBatches:
        """``rows`` of ``batch`` in forward passes."""
        return micro_batches(
            rows,
            batch.lengths,
            budget=self.student.micro_batch_tokens,
            world_size=self.ranks.world_size,
            packed=self.student.packed,
            long_row=LONG_ROW,
        )

    @cached_property
    def same_prompt(self) -> Bools:
        """Per row: whether the teacher reads what the student read."""
        student, teacher = self.rows.student, self.rows.teacher
        return np.array(
            [np.array_equal(student.prompt(row), teacher.prompt(row)) for row in range(len(self.rows))],
            np.bool_,
        )


@dataclass(frozen=True)
class Pass:
    """One forward and backward of this rank.

    >>> side = Batch.of([[1]] * 4, [[2]] * 4)
    >>> rows = RolloutBatch(side, side, ())
    >>> Pass((3, 1), 2, 4, True, False, 2, rows, np.array([3, 1])).rows
    (3, 1)
    """

    rows: tuple[int, ...]
    num_tokens: int
    """Trained tokens of the whole mini-batch."""
    num_rows: int
    """Rows of the whole mini-batch."""
    counts: bool
    """False: this rank has no rows left and repeats one, whose loss is multiplied by 0."""
    last: bool
    """The mini-batch ends with it."""
    largest_share: int
    """Completion tokens, on the rank that has most of them."""
    mini_batch: RolloutBatch
    """All of its rows."""
    places: Ints
    """Which of them ``rows`` are."""


def micro_batches_of(step: Step, mini_batch: Sequence[int]) -> list[Pass]:
    """This rank's part of a mini-batch."""
    trained = step.trained_of(mini_batch)
    # A padded forward of teacher and student alike: the longer side decides.
    batch = step.rows.student if step.student.packed else step.rows.teacher
    shares = step.divided(trained, batch)
    lengths = step.rows.student.completion_lengths
    whole = step.rows.rows(mini_batch)
    place_of = {row: place for place, row in enumerate(mini_batch)}
    found = []
    for place, rows in enumerate(shares[step.ranks.rank]):
        largest = max(int(lengths[share[place]].sum()) for share in shares)
        found.append(
            Pass(
                rows=tuple(rows or trained[:1]),
                mini_batch=whole,
                places=np.array([place_of[row] for row in rows or trained[:1]], np.int64),
                num_tokens=int(lengths[trained].sum()),
                num_rows=len(mini_batch),
                counts=bool(rows),
                last=place == len(shares[0]) - 1,
                largest_share=largest,
            )
        )
    return found


def groups(step: Step, passes: Sequence[Pass]) -> Iterator[list[Pass]]:
    """Passes whose teacher states fit together, the same number of passes on every rank."""
    bytes_per_token = step.student.hidden_bytes
    group: list[Pass] = []
    held = 0
    for part in passes:
        if group and (held + part.largest_share) * bytes_per_token > GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(part)
        held += part.largest_share
    if group:
        yield group


@dataclass(frozen=True)
class Scores:
    """The teacher's hidden states of a group, by row."""

    step: Step
    hidden_TD: dict[int, Tensor]
    head: OutputHead

    def predictions(self, rows: Sequence[int], student_hidden_TD: Tensor) -> Predictions:
        """The teacher's side of a micro-batch."""
        hidden_TD = torch.cat([self.hidden_TD[row] for row in rows])
        step = self.step
        same = step.same_prompt[list(rows)]
        # All ranks ask, whatever their rows: each knows its own shard.
        if bool(step.same_prompt.any()) and step.teacher.equals_student(step.ranks):
            same_T = np.repeat(same, step.rows.student.completion_lengths[list(rows)])
            hidden_TD = torch.where(step.tensor(same_T).unsqueeze(-1), student_hidden_TD.detach(), hidden_TD)
        return Predictions(hidden_TD, self.head)


def teacher_scores(step: Step, group: Sequence[Pass]) -> Scores | None:
    """One forward of the teacher over all rows of the group; None where the objective needs none."""
    if "teacher" not in step.objective.needs:
        return None
    teacher, batch = step.teacher, step.rows.teacher
    found: dict[int, Tensor] = {}
    with torch.no_grad(), teacher.loaded():
        for rows in _own_passes(step, group, batch):
            hidden_TD = step.student.forward(batch.rows(rows), lambda hidden_TD, head: hidden_TD)
            found |= _by_row(rows, hidden_TD, batch.completion_lengths)
    return Scores(step, found, OutputHead(*teacher.head()))


def external_predictions(step: Step, rows: RolloutBatch) -> Predictions | None:
    """The external teacher's side of a micro-batch; None where the objective needs none."""
    if "external_teacher" not in step.objective.needs:
        return None
    assert step.external is not None, "the objective needs an external teacher, and none was given"
    hidden_TE, head = step.external.read(rows.student)
    return Predictions(hidden_TE, OutputHead(*head))


@torch.no_grad()
def student_under_contexts(step: Step, part: Pass) -> Tensor | None:
    """What the student says now where the teacher reads: its hidden states, for a trust region; else None.

    None too while both have equal weights: a mix of equal logits is these logits. All ranks call it.
    """
    if step.teacher.config.kind != "trust_region" or step.teacher.equals_student(step.ranks):
        return None
    batch = step.rows.teacher
    found: dict[int, Tensor] = {}
    for rows in _own_passes(step, [part], batch):
        hidden_TD = step.student.forward(batch.rows(rows), lambda hidden_TD, head: hidden_TD)
        found |= _by_row(rows, hidden_TD, batch.completion_lengths)
    return torch.cat([found[row] for row in part.rows])


def mixed_logits(one: Predictions, other: Predictions, share: float) -> Predictions:
    """(1 - share) logits of ``one`` + share logits of ``other``: a product of both hidden states, end to end, with both
    matrices side by side. The heads have no soft cap.

    >>> side = Predictions(torch.tensor([[1.0, 2.0]]), OutputHead(torch.eye(2)))
    >>> mixed_logits(side, Predictions(torch.zeros(1, 2), side.head), 0.25).logits_TV.tolist()
    [[0.75, 1.5]]
    """
    shares = ((one, 1 - share), (other, share))
    hidden_TE = torch.cat([side.hidden_TD.detach() * part for side, part in shares], dim=-1)
    weight_VE = torch.cat([side.head.weight_VD.detach() for side, _ in shares], dim=-1)
    biases = [None if side.head.bias_V is None else side.head.bias_V.detach() * part for side, part in shares]
    bias_V = None if biases[0] is None or biases[1] is None else biases[0] + biases[1]
    return Predictions(hidden_TE, OutputHead(weight_VE, bias_V, one.head.scale, None))


def _own_passes(step: Step, passes: Sequence[Pass], batch: Batch) -> list[list[int]]:
    """The rows of ``passes``, each once, in forward passes by ``batch``'s lengths; equally many on all ranks."""
    rows = list(dict.fromkeys(row for part in passes for row in part.rows))
    alone = micro_batches(
        rows,
        batch.lengths,
        budget=step.student.micro_batch_tokens,
        world_size=1,
        packed=step.student.packed,
        long_row=LONG_ROW,
    )[0]
    most = max(step.ranks.gather([len(alone)]))
    return alone + [rows[:1]] * (most - len(alone))


@torch.no_grad()
def start_logprobs(step: Step, passes: Sequence[Pass]) -> dict[int, Tensor]:
    """Log-probs of this rank's rows before the step's first update, by the row's index."""
    batch, found = step.rows.student, dict[int, Tensor]()
    for rows in _own_passes(step, passes, batch):
        part = batch.rows(rows)
        ids_T = step.tensor(part.completion_ids)

        def read(hidden_TD: Tensor, head: Any, ids_T: Tensor = ids_T) -> Tensor:
            side = Predictions(hidden_TD, OutputHead(*head))
            return sampled_logprobs(side, ids_T, temperature=step.config.rollout.temperature)

        found |= _by_row(rows, step.student.read(part, read), batch.completion_lengths)
    return found


def _by_row(rows: Sequence[int], values_T: Tensor, lengths: Ints) -> dict[int, Tensor]:
    return dict(zip(rows, torch.split(values_T, lengths[list(rows)].tolist()), strict=True))
