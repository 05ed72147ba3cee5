"""New weights to the sampler, and the proof that it samples from them.

The engine proves that every bit arrived; here its answer on a probe prompt is compared with the trainer's own
forward, which no amount of bookkeeping on the engine's side can imitate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from opsd_rs.base import Batch
from opsd_rs.rollout import TOLERANCE, verify_against

if TYPE_CHECKING:
    from opsd_rs.policy import Student, Teacher
    from opsd_rs.training.session import Session


def sync(session: Session, source: Student | Teacher, step: int) -> float:
    """Load ``source``'s weights into this rank's engine; returns the largest log-prob difference on the probe.

    Raises Stopped where the engine does not answer as the trainer does. All ranks call it.
    """
    engine = session.sampler.engine
    with session.progress.phase("sync", step):
        engine.load(source.weights(), engine.version + 1)
        logprobs_V = _next_logprobs(source, engine.probe_ids)
        tolerance = TOLERANCE[session.config.model.dtype]
        return verify_against(engine.check(engine.probe_ids), logprobs_V, tolerance)


@torch.no_grad()
def _next_logprobs(source: Student | Teacher, prompt_ids: tuple[int, ...]) -> Tensor:
    """The trainer's log-probabilities of the token after ``prompt_ids``, at temperature 1 (V,)."""
    logits_TV = source.logits(Batch.of([prompt_ids], [(0,)]))
    return torch.log_softmax(logits_TV[0].float(), dim=-1)
