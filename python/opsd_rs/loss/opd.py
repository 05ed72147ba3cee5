"""``objective = "opd"``: on-policy distillation from another, larger model, without any context.

    L_t = sum_b P_b (log P_b - log Q_b),  b over the student's top-k tokens and one tail bucket

with Q the external teacher's under the student's own prompt. It is the divergence of ``opsd``, with all keys of
``[loss]``; the teacher is ``opd.teacher``. Sources: GKD (arXiv 2306.13649) and Thinking Machines' "On-Policy
Distillation"; support and tail as in ``divergences``.

What it does not do: compare vocabularies that differ (the start refuses them), or ask a server.
"""

from __future__ import annotations

from dataclasses import replace

from opsd_rs.base import Bools
from opsd_rs.config import Config, Section
from opsd_rs.loss.objectives import (
    MicroBatch,
    Objective,
    ObjectiveLoss,
    Predictions,
    RolloutBatch,
    compared_forwards,
    divergence_loss,
    graded_rows,
    sampler_difference,
)


class Opd(Objective):
    """The divergence between student and external teacher."""

    def __init__(self, options: Section, config: Config) -> None:
        super().__init__(options, config)
        self.needs = frozenset(["external_teacher", *compared_forwards(config.loss)])

    def trained_rows(self, rows: RolloutBatch) -> Bools:
        """All, as far as ``loss.rows`` lets them."""
        return graded_rows(rows, self.config.loss.rows)

    def loss(self, batch: MicroBatch) -> ObjectiveLoss:
        """``opsd_loss`` with ``[loss]`` and the other teacher."""
        assert batch.external is not None
        student, teacher = same_vocabulary(batch.student, batch.external)
        out = divergence_loss(batch, student, teacher, self.config)
        sums = {"kl": out.kl_T.sum(), "topk_mass": out.topk_mass_T.sum()}
        sums |= sampler_difference(batch, out.student_logprob_T)
        return ObjectiveLoss(out.loss, sums, out.kl_T.detach())


def same_vocabulary(one: Predictions, other: Predictions) -> tuple[Predictions, Predictions]:
    """Both without the rows by which one matrix is padded further than the other's."""
    size = min(one.head.vocabulary, other.head.vocabulary)

    def cut(side: Predictions) -> Predictions:
        if side.head.vocabulary == size:
            return side
        return Predictions(side.hidden_TD, replace(side.head, valid_vocab=size))

    return cut(one), cut(other)
