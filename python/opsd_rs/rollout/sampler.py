"""Prompts to rollouts: an engine, a seed per request, and text beside the ids.

A request's seed depends on (run seed, purpose, step, problem, sample) only, and requests go to the engine in a fixed
order: the same step samples the same answers, after a resume too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from opsd_rs.base import Ranks
from opsd_rs.records import Rollout, SampleRequest
from opsd_rs.rollout.engine import Completion, Engine, Request, Sampling, request_seed


class Sampler:
    """Draws rollouts from ``engine``; ``decode`` turns completion ids into text, special tokens left out."""

    def __init__(
        self, engine: Engine, decode: Callable[[Sequence[int]], str], *, run_seed: int, ranks: Ranks
    ) -> None:
        self.engine = engine
        self._decode = decode
        self._run_seed = run_seed
        self._ranks = ranks

    def sample(
        self,
        requests: Sequence[SampleRequest],
        sampling: Sampling,
        *,
        purpose: str,
        step: int,
        seed: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Rollout]:
        """One rollout per request, in order; each rank draws its share and all ranks get all.

        ``purpose`` keeps draws apart that must be independent (``train``, ``gap-A``, ``eval``...).

        :param seed: instead of the run's
        """
        mine = self._ranks.share(requests)
        seeded = [
            Request(
                r.prompt_ids,
                request_seed(self._run_seed if seed is None else seed, purpose, step, r.problem_id, r.sample),
            )
            for r in mine
        ]
        completions: list[Completion] = []
        with self._ranks.stop_together():
            if seeded:
                completions = self.engine.generate(seeded, sampling, progress)
        # What travels between ranks is arrays; the prompts are known to all.
        drawn = self._ranks.gather(
            [
                (
                    np.array(c.completion_ids, np.int64),
                    np.array(c.logprobs, np.float64),
                    self._decode(c.completion_ids),
                    c.truncated,
                )
                for c in completions
            ]
        )
        return [
            Rollout(
                problem_id=request.problem_id,
                sample=request.sample,
                prompt_ids=request.prompt_ids,
                completion_ids=tuple(ids.tolist()),
                logprobs=tuple(logprobs.tolist()),
                text=text,
                truncated=truncated,
                policy_version=self.engine.version,
            )
            for request, (ids, logprobs, text, truncated) in zip(requests, drawn, strict=True)
        ]
