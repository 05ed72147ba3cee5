"""``objective = "mixture"``: a weighted sum of objectives on the same rollouts, such as opsd + c grpo.

    L = sum_j w_j L_j,  w from ``[mixture]``

Each part trains on its own rows and divides by its own counts, as if it were alone: rows without context are left out
of ``opsd`` and stay in ``grpo``. A row that no part trains costs no forward. Metrics are each over its own part's
tokens: those of ``opsd`` under their own names, the others' with the part before them (``grpo.clipped``).
The divergence of each token is not recorded (``log.token_kl``): not every row has one.
"""

# Shapes: T completion tokens of a micro-batch, D hidden size.

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from opsd_rs.base import Bools, resolve_plugin
from opsd_rs.config import Config, Section, objective_weights
from opsd_rs.loss.objectives import MicroBatch, Objective, ObjectiveLoss, Predictions, RolloutBatch


class Mixture(Objective):
    """Its parts are made from the same configuration."""

    def __init__(self, options: Section, config: Config) -> None:
        super().__init__(options, config)
        self.weights = objective_weights(config)
        self.parts: dict[str, Objective] = {
            name: resolve_plugin("objective", name)(Section(), config) for name in self.weights
        }
        self.needs = frozenset().union(*(part.needs for part in self.parts.values()))

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """Those of any part."""
        trained = np.zeros(len(rows), np.bool_)
        for part in self.parts.values():
            trained |= part.trained_rows(rows)
        return trained

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """The parts' losses, each on its own rows of the micro-batch."""
        total = batch.student.hidden_TD.sum() * 0.0  # a loss with a graph, where no part has rows here
        found: dict[str, ObjectiveLoss] = {}
        sizes: dict[str, int] = {}
        for name, part in self.parts.items():
            own = part_of(batch, part)
            if own is not None:
                found[name], sizes[name] = part.loss(own), len(own.completion_ids_T)
                total = total + self.weights[name] * found[name].loss
        sums, counts = self._metrics(found, sizes)
        return ObjectiveLoss(total, sums, token_counts=counts)

    def _metrics(
        self, found: dict[str, ObjectiveLoss], sizes: dict[str, int]
    ) -> tuple[dict[str, Tensor], dict[str, int]]:
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for name, out in found.items():
            for metric, value in out.token_sums.items():
                key = metric if name == "opsd" else f"{name}.{metric}"
                sums[key] = value
                counts[key] = out.token_counts.get(metric, sizes[name])
        return sums, counts


def part_of(batch: MicroBatch, part: Objective) -> MicroBatch | None:
    """``batch`` as ``part`` would meet it alone: its own rows and counts; None where it trains none of them."""
    rows = batch.mini_batch
    trained_N = part.trained_rows(rows) & (rows.student.completion_lengths > 0)
    kept_R = trained_N[batch.places]
    if not kept_R.any():
        return None
    which = np.flatnonzero(kept_R)
    device = batch.row_T.device
    kept_T = torch.from_numpy(kept_R).to(device)[batch.row_T]
    number_R = torch.from_numpy(np.cumsum(kept_R) - 1).to(device)

    def tokens(values_T: Tensor | None) -> Tensor | None:
        return None if values_T is None else values_T[kept_T]

    def side(said: Predictions | None) -> Predictions | None:
        return None if said is None else Predictions(said.hidden_TD[kept_T], said.head)

    student = side(batch.student)
    assert student is not None
    return replace(
        batch,
        rows=batch.rows.rows(which.tolist()),
        completion_ids_T=batch.completion_ids_T[kept_T],
        row_T=number_R[batch.row_T[kept_T]],
        student=student,
        teacher=side(batch.teacher),
        external=side(batch.external),
        rollout_logprobs_T=tokens(batch.rollout_logprobs_T),
        old_logprobs_T=tokens(batch.old_logprobs_T),
        num_tokens=int(rows.student.completion_lengths[trained_N].sum()),
        places=batch.places[which],
    )
