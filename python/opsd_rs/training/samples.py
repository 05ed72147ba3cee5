"""``RUN/samples.parquet``: every graded answer of every arm, from which each accuracy and gap can be computed again.

Columns: ``run_id, arm, step, group_id, problem_id, sample_idx, parent_sample, context_kind, context_status, correct,
correct_full, reward, n_tokens, n_prompt_tokens, truncated, context_cut, context_leak, seconds, gpu_seconds, seed,
decoding_id, tests_id, prompt_sha256, model_sha, identity_id, measurement_id``. ``measure.Sample`` says what they mean;
``identity_id`` is that of the row of ``gap.parquet`` or ``eval.parquet`` that the answers went into. A and B belong to
all contexts of a measurement: theirs is that of the gap without its context, which is everyone's ``measurement_id``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opsd_rs.base import add_rows
from opsd_rs.measure import Identity, Sample, base_identity, sample_row
from opsd_rs.training import run_json

if TYPE_CHECKING:
    from opsd_rs.training.session import Session

KEY = ("identity_id", "arm", "step", "context_kind", "problem_id", "sample_idx")
"""What tells one answer from another; one that was drawn again after a crash replaces the first."""


def keep_samples(session: Session, samples: Sequence[Sample], identity: Identity) -> None:
    """Append answers to the run's table, whole or not at all. The first rank writes."""
    if not session.ranks.first or not samples:
        return
    path = session.run_dir / "samples.parquet"
    is_of_gap = samples[0].arm in ("A", "B", "T")
    shared = {
        "run_id": run_json.known_run_id(session.run_dir),
        # What is sampled after the first step draws by the run's seed, whatever the baseline's is.
        "seed": session.config.seed if samples[0].step else identity.seed,
        "decoding_id": identity.decoding,
        "model_sha": identity.weights,
        "identity_id": identity.short,
        "measurement_id": base_identity(identity).short if is_of_gap else None,
    }
    add_rows(path, [{**sample_row(sample), **shared} for sample in samples], key=KEY)
