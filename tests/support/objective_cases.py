"""One micro-batch for the tests of objectives: real shapes, random hidden states, no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from opsd_rs.base import Batch
from opsd_rs.config import Config, load_config
from opsd_rs.loss import MicroBatch, Objective, OutputHead, Predictions, RolloutBatch, make_objective
from opsd_rs.records import Grade

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

HIDDEN, VOCABULARY = 6, 17
PLAIN = ("control.mask=one", "loss.topk=4", "rollout.max_tokens=9")


def rows_of(verdicts: Sequence[Sequence[bool | None]], lengths: Sequence[int] = (3, 1, 4, 2)) -> RolloutBatch:
    """Rollouts of one problem after another, graded as ``verdicts`` say; completions of ``lengths``, in turn."""
    flat = [
        (f"p{p}", sample, passed) for p, group in enumerate(verdicts) for sample, passed in enumerate(group)
    ]
    draw = np.random.default_rng(0)
    completions = [draw.integers(1, VOCABULARY, lengths[i % len(lengths)]).tolist() for i in range(len(flat))]
    student = Batch.of([[3, 4]] * len(flat), completions)
    total = sum(map(len, completions))
    student = replace(student, logprobs=draw.normal(-2.5, 0.5, total).astype(np.float32))
    teacher = Batch.of(
        [[3, 9, 4]] * len(flat), completions, has_context=[i % 2 == 0 for i in range(len(flat))]
    )
    grades = [
        Grade(problem, sample, passed, "infra_error" if passed is None else "accepted", ())
        for problem, sample, passed in flat
    ]
    return RolloutBatch(student, teacher, tuple(grades))


@dataclass
class Case:
    """An objective, and what it computes from."""

    objective: Objective
    config: Config
    rows: RolloutBatch
    hidden_TD: torch.Tensor
    """Of all rows of the mini-batch."""
    matrix_VD: torch.Tensor
    teacher: Predictions
    external: Predictions
    old_T: torch.Tensor | None

    def batch(self, rows: Sequence[int] | None = None) -> MicroBatch:
        """The micro-batch of ``rows``; None: of all that are trained."""
        trained = self.objective.trained_rows(self.rows) & (self.rows.student.completion_lengths > 0)
        chosen = np.flatnonzero(trained) if rows is None else np.array(rows)
        part = self.rows.rows(chosen.tolist())
        tokens = torch.from_numpy(np.isin(self.rows.student.completion_rows, chosen))
        needs = self.objective.needs
        return MicroBatch(
            rows=part,
            completion_ids_T=torch.from_numpy(part.student.completion_ids),
            row_T=torch.from_numpy(part.student.completion_rows),
            student=Predictions(self.hidden_TD[tokens], OutputHead(self.matrix_VD)),
            teacher=self._side(self.teacher, tokens) if "teacher" in needs else None,
            external=self._side(self.external, tokens) if "external_teacher" in needs else None,
            rollout_logprobs_T=torch.from_numpy(part.student.logprobs).to(self.hidden_TD.dtype),
            old_logprobs_T=None if self.old_T is None or "old_logprobs" not in needs else self.old_T[tokens],
            temperature=self.config.rollout.temperature,
            num_tokens=int(self.rows.student.completion_lengths[trained].sum()),
            num_rows=len(self.rows),
            mini_batch=self.rows,
            places=chosen,
        )

    @staticmethod
    def _side(side: Predictions, tokens: torch.Tensor) -> Predictions:
        return Predictions(side.hidden_TD[tokens], side.head)

    def gradients(self, *micro_batches: Sequence[int]) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Loss, and gradients of hidden states and matrix, summed over micro-batches; all trained rows without any."""
        for leaf in (self.hidden_TD, self.matrix_VD):
            leaf.grad = None
        total = 0.0
        for rows in micro_batches or (None,):
            out = self.objective.loss(self.batch(rows))
            out.loss.backward()
            total += out.loss.item()
        return total, self.hidden_TD.grad.clone(), self.matrix_VD.grad.clone()


def case(
    *words: str, rows: RolloutBatch | None = None, moved: bool = True, dtype: Any = torch.float64
) -> Case:
    """``moved``: the policy is not that of the start of the step any more."""
    config = load_config([], [*PLAIN, *words])
    rows = rows_of([(True, False, None, False), (True, True), (False, True)]) if rows is None else rows
    torch.manual_seed(0)
    count = int(rows.student.completion_lengths.sum())
    hidden_TD = torch.randn(count, HIDDEN, dtype=dtype).requires_grad_()
    matrix_VD = torch.randn(VOCABULARY, HIDDEN, dtype=dtype).requires_grad_()
    teacher = Predictions(
        torch.randn(count, HIDDEN, dtype=dtype), OutputHead(torch.randn(VOCABULARY, HIDDEN, dtype=dtype))
    )
    wider = OutputHead(torch.randn(VOCABULARY + 3, 4, dtype=dtype))  # padded further, and of another size
    external = Predictions(torch.randn(count, 4, dtype=dtype), wider)
    logits_TV = hidden_TD.detach() @ matrix_VD.detach().T / config.rollout.temperature
    ids_T1 = torch.from_numpy(rows.student.completion_ids)[:, None]
    now_T = torch.log_softmax(logits_TV, -1).gather(-1, ids_T1).squeeze(-1)
    old_T = now_T + 0.4 * torch.randn(count, dtype=dtype) if moved else None
    return Case(make_objective(config), config, rows, hidden_TD, matrix_VD, teacher, external, old_T)


def on_path(monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    """The GPU's path, from hidden states, or the CPU's, from all logits."""
    from opsd_rs.loss import objectives

    monkeypatch.setattr(objectives, "from_hidden", lambda device: packed)
