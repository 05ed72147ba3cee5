"""``RUN/samples.parquet``: every graded answer of every arm, from which each accuracy and gap can be computed again.

Columns: ``run_id, arm, step, group_id, problem_id, sample_idx, parent_sample, context_kind, context_status, correct,
reward, n_tokens, truncated, seed, decoding_id, tests_id, prompt_sha256, model_sha, identity_id``. ``measure.Sample``
says what they mean; ``identity_id`` is that of the row of ``gap.parquet`` or ``eval.parquet`` that the answers went
into. A and B belong to all contexts of a measurement: theirs is that of the gap without its context.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from opsd_rs.base import add_rows
from opsd_rs.measure import Identity, Sample
from opsd_rs.training import run_json

if TYPE_CHECKING:
    from opsd_rs.training.session import Session

KEY = ("identity_id", "arm", "step", "context_kind", "problem_id", "sample_idx")
"""What tells one answer from another; one that was drawn again after a crash replaces the first."""


def without_context(identity: Identity) -> Identity:
    """The identity that the student's arms of a gap share."""
    return dataclasses.replace(identity, context=None, max_context_tokens=None)


def keep_samples(session: Session, samples: Sequence[Sample], identity: Identity) -> None:
    """Append answers to the run's table, whole or not at all. The first rank writes."""
    if not session.ranks.first or not samples:
        return
    path = session.run_dir / "samples.parquet"
    shared = {
        "run_id": run_json.known_run_id(session.run_dir),
        # What is sampled after the first step draws by the run's seed, whatever the baseline's is.
        "seed": session.config.seed if samples[0].step else identity.seed,
        "decoding_id": identity.decoding,
        "model_sha": identity.weights,
        "identity_id": identity.short,
    }
    add_rows(path, [{**_row(sample), **shared} for sample in samples], key=KEY)


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "arm": sample.arm,
        "step": sample.step,
        "group_id": sample.group,
        "problem_id": sample.problem_id,
        "sample_idx": sample.sample,
        "parent_sample": sample.parent_sample,
        "context_kind": sample.context,
        "context_status": sample.status,
        "correct": sample.passed,
        "reward": None if sample.passed is None else float(sample.passed),
        "n_tokens": sample.num_tokens,
        "truncated": sample.truncated,
        "tests_id": sample.tests,
        "prompt_sha256": sample.prompt_sha256,
    }
